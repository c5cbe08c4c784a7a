/* A module of two source files, for tests/test_embedding.py: this one imports fastconv. */
#include "fastconv.h"

#include "second.h"

#ifdef _WIN32
#include <windows.h>
typedef HANDLE thread;
#define THREAD DWORD WINAPI
#define start(handle, run, job) ((*(handle) = CreateThread(NULL, 0, run, job, 0, NULL)) == NULL)
#define finish(handle) WaitForSingleObject(handle, INFINITE)
#else
#include <pthread.h>
typedef pthread_t thread;
#define THREAD void *
#define start(handle, run, job) pthread_create(handle, NULL, run, job)
#define finish(handle) pthread_join(handle, NULL)
#endif

enum { THREADS = 4, ROUNDS = 25, SIZE = 40, IN = 24, OUT = 24, TAPS = 3, LEFT = SIZE - TAPS + 1 };

typedef struct {
    fastconv_conv2d layer;
    float *x, *w, *y;
    int failed;
} job;

/* y = 1 * 1, summed over the taps and channels: whole numbers, which are exact. */
static THREAD compute(void *argument) {
    job *mine = (job *)argument;
    int round, i;
    for (round = 0; round < ROUNDS; round++) {
        mine->failed |= fastconv_forward_f32(&mine->layer, mine->x, mine->w, NULL, mine->y) != FASTCONV_OK;
        for (i = 0; i < LEFT * LEFT * OUT; i++) {
            mine->failed |= mine->y[i] != TAPS * TAPS * IN;
            mine->y[i] = 0;
        }
    }
    return 0;
}

/* Threads that Python never saw compute while this one holds the GIL and waits for them: were it needed, they
 * would wait for each other.  Returns how many of them went wrong. */
static PyObject *with_the_gil_held(PyObject *module, PyObject *unused) {
    static float x[SIZE * SIZE * IN], w[TAPS * TAPS * IN * OUT];
    job jobs[THREADS];
    thread threads[THREADS];
    int started = 0, wrong = 0, i;
    (void)module, (void)unused;
    for (i = 0; i < SIZE * SIZE * IN; i++) {
        x[i] = 1;
    }
    for (i = 0; i < TAPS * TAPS * IN * OUT; i++) {
        w[i] = 1;
    }
    for (i = 0; i < THREADS; i++) {
        jobs[i].layer = fastconv_conv2d_default();
        jobs[i].layer.batch = 1;
        jobs[i].layer.in_height = jobs[i].layer.in_width = SIZE;
        jobs[i].layer.kernel_height = jobs[i].layer.kernel_width = TAPS;
        jobs[i].layer.in_channels = IN;
        jobs[i].layer.out_channels = OUT;
        jobs[i].layer.num_threads = 1 + i % 2;
        jobs[i].layer.algorithm = FASTCONV_DIRECT;     /* sums of ones, exactly */
        jobs[i].x = x, jobs[i].w = w, jobs[i].failed = 0;
        jobs[i].y = (float *)malloc(LEFT * LEFT * OUT * sizeof(float));
        if (jobs[i].y == NULL || start(&threads[i], compute, &jobs[i]) != 0) {
            break;
        }
        started++;
    }
    wrong = THREADS - started;
    for (i = 0; i < started; i++) {
        finish(threads[i]);
        wrong += jobs[i].failed;
        free(jobs[i].y);
    }
    return PyLong_FromLong(wrong);
}

/* (status, text, version) of a call, in this file or the other one. */
static PyObject *here(PyObject *module, PyObject *unused) {
    fastconv_conv2d layer = fastconv_conv2d_default();
    int64_t shape[4];
    fastconv_status status;
    (void)module, (void)unused;
    layer.kernel_height = layer.kernel_width = 3;
    status = fastconv_output_shape(&layer, shape);
    return Py_BuildValue("(isz)", (int)status, fastconv_status_string(status), fastconv_version());
}

static PyObject *there(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return second_call();
}

static PyObject *import_there(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyLong_FromLong(second_import());
}

static PyMethodDef functions[] = {
    {"with_the_gil_held", with_the_gil_held, METH_NOARGS, NULL},
    {"here", here, METH_NOARGS, NULL},
    {"there", there, METH_NOARGS, NULL},
    {"import_there", import_there, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "two_files", NULL, -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_two_files(void) {
    if (fastconv_import() < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
