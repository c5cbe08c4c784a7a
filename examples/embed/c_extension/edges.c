/* A Python module in C: edges.detect(source, target) finds the edges in a PGM picture.
 *
 * The two Sobel filters, as one convolution with one input channel and two output channels, give the
 * slope of the grey values to the right and downwards; the length of that arrow is the edge. */
#include <fastconv.h> /* brings Python.h, which has to be the first header */

#include <math.h>

#include "pgm.h"

/* (kernel height, kernel width, input channels, output channels): the output channel is the fastest index,
 * so each pair is what one pixel adds to (the slope to the right, the slope downwards). */
static const float sobel[3][3][1][2] = {
    {{{-1, -1}}, {{0, -2}}, {{1, -1}}},
    {{{-2, 0}}, {{0, 0}}, {{2, 0}}},
    {{{-1, 1}}, {{0, 2}}, {{1, 1}}},
};

/* The edges of a picture into `edges`, which has two rows and columns less, for there is no padding. */
static fastconv_status find_edges(const pgm *picture, float *slopes, float *edges) {
    fastconv_conv2d layer = fastconv_conv2d_default();
    fastconv_status status;
    int64_t i, shape[4];
    layer.batch = 1;
    layer.in_height = picture->height;
    layer.in_width = picture->width;
    layer.in_channels = 1;
    layer.kernel_height = layer.kernel_width = 3;
    layer.out_channels = 2;
    status = fastconv_output_shape(&layer, shape);
    if (status == FASTCONV_OK) {
        status = fastconv_forward_f32(&layer, picture->pixels, &sobel[0][0][0][0], NULL, slopes);
    }
    if (status == FASTCONV_OK) {
        for (i = 0; i < shape[1] * shape[2]; i++) {
            edges[i] = hypotf(slopes[2 * i], slopes[2 * i + 1]) / 4;
        }
    }
    return status;
}

/* From file to file; returns what went wrong, or NULL.  Touches nothing of Python's. */
static const char *detect_in_file(const char *source, const char *target, pgm *picture) {
    const char *problem = NULL;
    float *slopes, *edges;
    size_t count;
    fastconv_status status;
    if (pgm_read(source, picture) < 0) {
        return "source must be a binary PGM file";
    }
    count = (size_t)picture->height * (size_t)picture->width;
    slopes = (float *)malloc(2 * count * sizeof(float));
    edges = (float *)malloc(count * sizeof(float));
    if (slopes == NULL || edges == NULL) {
        problem = "there must be memory for three pictures";
    } else if ((status = find_edges(picture, slopes, edges)) != FASTCONV_OK) {
        problem = fastconv_status_string(status);
    } else if (pgm_write(target, picture->height - 2, picture->width - 2, edges) < 0) {
        problem = "target must be a file that can be written";
    }
    free(slopes);
    free(edges);
    free(picture->pixels);
    return problem;
}

static PyObject *detect(PyObject *module, PyObject *arguments) {
    const char *source, *target, *problem;
    pgm picture;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "ss:detect", &source, &target)) {
        return NULL;
    }
    /* Between these two lines other Python threads run. */
    Py_BEGIN_ALLOW_THREADS
    problem = detect_in_file(source, target, &picture);
    Py_END_ALLOW_THREADS
    if (problem != NULL) {
        return PyErr_Format(PyExc_ValueError, "%s, got %s and %s", problem, source, target);
    }
    return Py_BuildValue("(ii)", picture.height - 2, picture.width - 2);
}

static PyMethodDef functions[] = {
    {"detect", detect, METH_VARARGS, "detect(source, target): write the edges in a PGM file to another one."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "edges", "Edges of pictures.", -1, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_edges(void) {
    /* Once, while the GIL is held; if it fails, Python's exception says why. */
    if (fastconv_import() < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
