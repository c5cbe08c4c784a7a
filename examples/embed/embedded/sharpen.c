/* A C program that sharpens a PGM picture: ./sharpen source.pgm target.pgm
 *
 * It starts a Python interpreter, because that is where fastconv lives, lets go of it, and computes. */
#include <fastconv.h> /* brings Python.h, which has to be the first header */

#include <string.h>

#include "pgm.h"

/* Each pixel, and what it has more than its neighbours; with padding, so the size stays. */
static const float filter[3][3][1][1] = {
    {{{0}}, {{-1}}, {{0}}},
    {{{-1}}, {{5}}, {{-1}}},
    {{{0}}, {{-1}}, {{0}}},
};

static int fail(const char *words, const char *got) {
    fprintf(stderr, "%s, got %s\n", words, got);
    return 1;
}

/* The interpreter of PYTHON, which the Makefile defines, with the packages that are installed for it. */
static int start_python(void) {
    PyConfig config;
    PyStatus status;
    PyConfig_InitPythonConfig(&config);
    status = PyConfig_SetBytesString(&config, &config.program_name, PYTHON);
    if (!PyStatus_Exception(status)) {
        status = Py_InitializeFromConfig(&config);
    }
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? -1 : 0;
}

/* No Python in here. */
static int sharpen(const char *source, const char *target) {
    fastconv_conv2d layer = fastconv_conv2d_default();
    fastconv_status status;
    pgm picture;
    float *sharp;
    int failed;
    if (pgm_read(source, &picture) < 0) {
        return fail("the first file must be a binary PGM", source);
    }
    sharp = (float *)malloc((size_t)picture.height * (size_t)picture.width * sizeof(float));
    layer.batch = layer.in_channels = layer.out_channels = 1;
    layer.in_height = picture.height;
    layer.in_width = picture.width;
    layer.kernel_height = layer.kernel_width = 3;
    layer.pad_top = layer.pad_bottom = layer.pad_left = layer.pad_right = 1;
    /* Where malloc found no memory, this is FASTCONV_NULL_ARRAY and nothing worse. */
    status = fastconv_forward_f32(&layer, picture.pixels, &filter[0][0][0][0], NULL, sharp);
    if (status != FASTCONV_OK) {
        failed = fail("the picture must be one that can be convolved", fastconv_status_string(status));
    } else if (pgm_write(target, picture.height, picture.width, sharp) < 0) {
        failed = fail("the second file must be one that can be written", target);
    } else {
        failed = 0;
        printf("%d x %d pixels, by fastconv %s\n", picture.height, picture.width, fastconv_version());
    }
    free(picture.pixels);
    free(sharp);
    return failed;
}

int main(int count, char **arguments) {
    PyThreadState *python;
    int failed;
    if (count != 3) {
        return fail("usage: sharpen source.pgm target.pgm", "another number of arguments");
    }
    if (start_python() < 0) {
        return fail("a Python interpreter must start", PYTHON);
    }
    if (fastconv_import() < 0) {
        PyErr_Print();
        return 1;
    }
    python = PyEval_SaveThread(); /* lets go of the GIL */
    failed = sharpen(arguments[1], arguments[2]);
    PyEval_RestoreThread(python);
    return Py_FinalizeEx() < 0 ? 1 : failed;
}
