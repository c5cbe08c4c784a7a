/* fastconv.h: two-dimensional convolution and its gradients from C and C++, without the GIL.
 *
 * Everything here is inline over one table of function pointers, which `fastconv_import` fetches from
 * the installed Python package: there is nothing to link with.  C11 or C++17; needs Python.h, no NumPy.
 *
 *     if (fastconv_import() < 0) return NULL;             with the GIL, once in each source file
 *     fastconv_conv2d layer = fastconv_conv2d_default();
 *     layer.batch = 1, layer.in_height = 5, ...
 *     fastconv_status status = fastconv_forward_f32(&layer, x, w, bias, y);
 *
 * All but `fastconv_import` need no GIL and no Python thread, and may run in several threads at once.
 * The table belongs to this source file ("static"): each file that includes this header and calls it has
 * to import.  A call without is FASTCONV_NOT_IMPORTED.
 *
 * Arrays are C-contiguous, aligned to their elements, and the result overlaps no other array:
 *
 *     x, dx    (batch, in_height, in_width, in_channels)
 *     w, dw    (kernel_height, kernel_width, in_channels / groups, out_channels)
 *     bias     (out_channels), or NULL for none
 *     y, dy    (batch, out_height, out_width, out_channels)       see fastconv_output_shape
 *
 * An array without elements may be NULL.  A result is written as a whole, whatever was in it; a call
 * that returns another status than FASTCONV_OK has not touched it.  No sum is an empty result: where
 * there are no input channels y is the bias, where there is no image dw is zero.
 */
#ifndef FASTCONV_H
#define FASTCONV_H

#include <Python.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised only if older callers could no longer work. */
#define FASTCONV_ABI_VERSION 1

/* What a call has to say.  One value a cause, never reused; later versions add more. */
typedef enum {
    FASTCONV_OK = 0,
    FASTCONV_NOT_IMPORTED = 1,      /* fastconv_import() was not called in this source file */
    FASTCONV_NULL_DESCRIPTOR = 2,
    FASTCONV_BAD_STRUCT_SIZE = 3,
    FASTCONV_NULL_ARRAY = 4,        /* an array that has elements is NULL */
    FASTCONV_MISALIGNED = 5,        /* an array is not aligned to its elements */
    FASTCONV_OVERLAP = 6,           /* the result overlaps another array */
    FASTCONV_BAD_SIZE = 7,          /* negative batch, height, width or channels */
    FASTCONV_BAD_KERNEL = 8,        /* kernel below 1 x 1 */
    FASTCONV_BAD_STRIDE = 9,        /* below 1 */
    FASTCONV_BAD_PADDING = 10,      /* negative */
    FASTCONV_BAD_DILATION = 11,     /* below 1 */
    FASTCONV_BAD_GROUPS = 12,       /* below 1, or no divisor of the channels */
    FASTCONV_KERNEL_TOO_LARGE = 13, /* larger than the padded input */
    FASTCONV_OVERFLOW = 14,         /* a size, or a product of sizes in bytes, of 2**60 or more */
    FASTCONV_UNKNOWN_ALGORITHM = 15,
    FASTCONV_ALGORITHM_REFUSED = 16, /* the algorithm cannot serve this call */
    FASTCONV_BAD_NUM_THREADS = 17,  /* negative, or above 1024 */
    FASTCONV_NO_MEMORY = 18,
    FASTCONV_BAD_PASS = 19,         /* no fastconv_pass */
    FASTCONV_STATUS_WIDTH_ = 0x7fffffff /* no status: makes the type as wide as an int */
} fastconv_status;

typedef enum { FASTCONV_AUTO = 0, FASTCONV_DIRECT, FASTCONV_WINOGRAD } fastconv_algorithm;

typedef enum { FASTCONV_FORWARD = 0, FASTCONV_INPUT_GRAD, FASTCONV_WEIGHT_GRAD } fastconv_pass;

/* One convolution.  `struct_size` is sizeof(fastconv_conv2d) of the header you compiled with: the struct
 * only grows at its end, and what a smaller one leaves out has the value of fastconv_conv2d_default. */
typedef struct {
    size_t struct_size;
    int64_t batch, in_height, in_width, in_channels;
    int64_t kernel_height, kernel_width, out_channels;
    int64_t stride_height, stride_width;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t dilation_height, dilation_width, groups;
    int32_t algorithm, num_threads; /* fastconv_algorithm; num_threads 0: as fastconv.get_num_threads() */
} fastconv_conv2d;

/* The table.  It only ever grows at its end, and `struct_size` says how far it goes.  `layer` is a
 * fastconv_conv2d; statuses are ints here, so that the width of an enum is nobody's concern. */
typedef struct {
    size_t struct_size;
    int abi_version;
    const char *version;
    const char *(*status_string)(int status);
    int (*output_shape)(const void *layer, int64_t *shape);
    int (*forward_f32)(const void *layer, const float *x, const float *w, const float *bias, float *y);
    int (*forward_f64)(const void *layer, const double *x, const double *w, const double *bias, double *y);
    int (*input_grad_f32)(const void *layer, const float *dy, const float *w, float *dx);
    int (*input_grad_f64)(const void *layer, const double *dy, const double *w, double *dx);
    int (*weight_grad_f32)(const void *layer, const float *x, const float *dy, float *dw);
    int (*weight_grad_f64)(const void *layer, const double *x, const double *dy, double *dw);
    int (*workspace_f32)(const void *layer, int pass, int64_t *bytes);
    int (*workspace_f64)(const void *layer, int pass, int64_t *bytes);
} fastconv_api;

static const fastconv_api *fastconv_api_ = NULL; /* of this source file */

/* Fetch the table, with the GIL: 0, or -1 with a Python exception set.  Once for each source file. */
static inline int fastconv_import(void) {
    const fastconv_api *api = (const fastconv_api *)PyCapsule_Import("fastconv._C_API", 0);
    if (api == NULL) {
        return -1;
    }
    if (api->abi_version != FASTCONV_ABI_VERSION || api->struct_size < sizeof(fastconv_api)) {
        PyErr_Format(
            PyExc_ImportError,
            "fastconv must have C interface %d with a table of at least %zu bytes, got fastconv %s with %d and %zu",
            FASTCONV_ABI_VERSION, sizeof(fastconv_api), api->version, api->abi_version, api->struct_size);
        return -1;
    }
    fastconv_api_ = api;
    return 0;
}

/* Version of the package that computes, or NULL before fastconv_import(). */
static inline const char *fastconv_version(void) { return fastconv_api_ == NULL ? NULL : fastconv_api_->version; }

/* One line about a status, for any number; never NULL. */
static inline const char *fastconv_status_string(fastconv_status status) {
    if (fastconv_api_ == NULL) {
        return "fastconv_import() was not called in this source file";
    }
    return fastconv_api_->status_string((int)status);
}

/* A descriptor with stride, dilation and groups 1, no padding, FASTCONV_AUTO, the default threads; sizes 0. */
static inline fastconv_conv2d fastconv_conv2d_default(void) {
    fastconv_conv2d layer;
    layer.struct_size = sizeof(fastconv_conv2d);
    layer.batch = layer.in_height = layer.in_width = layer.in_channels = 0;
    layer.kernel_height = layer.kernel_width = layer.out_channels = 0;
    layer.stride_height = layer.stride_width = 1;
    layer.pad_top = layer.pad_bottom = layer.pad_left = layer.pad_right = 0;
    layer.dilation_height = layer.dilation_width = layer.groups = 1;
    layer.algorithm = FASTCONV_AUTO;
    layer.num_threads = 0;
    return layer;
}

/* shape of y: (batch, out_height, out_width, out_channels), where
 * out_height = (in_height + pad_top + pad_bottom - dilation_height * (kernel_height - 1) - 1) / stride_height + 1 */
static inline fastconv_status fastconv_output_shape(const fastconv_conv2d *layer, int64_t shape[4]) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED : (fastconv_status)fastconv_api_->output_shape(layer, shape);
}

/* Bytes of workspace that a pass takes beside its arrays (all weights finite). */
static inline fastconv_status fastconv_workspace_f32(const fastconv_conv2d *layer, fastconv_pass pass, int64_t *bytes) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->workspace_f32(layer, (int)pass, bytes);
}

static inline fastconv_status fastconv_workspace_f64(const fastconv_conv2d *layer, fastconv_pass pass, int64_t *bytes) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->workspace_f64(layer, (int)pass, bytes);
}

/* y[n, i, j, o] = bias[o] + sum over kh, kw, c of
 *     x[n, i * stride_height + kh * dilation_height - pad_top, j * ..., c] * w[kh, kw, c, o] */
static inline fastconv_status fastconv_forward_f32(const fastconv_conv2d *layer, const float *x, const float *w,
                                                   const float *bias, float *y) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->forward_f32(layer, x, w, bias, y);
}

static inline fastconv_status fastconv_forward_f64(const fastconv_conv2d *layer, const double *x, const double *w,
                                                   const double *bias, double *y) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->forward_f64(layer, x, w, bias, y);
}

/* dx = dL/dx, given dy = dL/dy */
static inline fastconv_status fastconv_input_grad_f32(const fastconv_conv2d *layer, const float *dy, const float *w,
                                                      float *dx) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->input_grad_f32(layer, dy, w, dx);
}

static inline fastconv_status fastconv_input_grad_f64(const fastconv_conv2d *layer, const double *dy, const double *w,
                                                      double *dx) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->input_grad_f64(layer, dy, w, dx);
}

/* dw = dL/dw, given dy = dL/dy, summed over the batch */
static inline fastconv_status fastconv_weight_grad_f32(const fastconv_conv2d *layer, const float *x, const float *dy,
                                                       float *dw) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->weight_grad_f32(layer, x, dy, dw);
}

static inline fastconv_status fastconv_weight_grad_f64(const fastconv_conv2d *layer, const double *x, const double *dy,
                                                       double *dw) {
    return fastconv_api_ == NULL ? FASTCONV_NOT_IMPORTED
                                 : (fastconv_status)fastconv_api_->weight_grad_f64(layer, x, dy, dw);
}

#ifdef __cplusplus
}
#endif

#endif
