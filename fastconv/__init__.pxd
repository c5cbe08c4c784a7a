"""The C interface for Cython: `cimport fastconv`, with nothing to include, link or import first.

The functions, their arguments and the statuses are those of include/fastconv.h, whose comments are the
contract.  Arrays are plain pointers, C-contiguous; nothing needs the GIL::

    cdef fastconv.fastconv_conv2d layer = fastconv.fastconv_conv2d_default()
    layer.batch, layer.in_height, layer.in_width, layer.in_channels = 1, 5, 5, 3
    ...
    with nogil:
        status = fastconv.fastconv_forward_f32(&layer, &x[0, 0, 0], &w[0, 0, 0, 0], NULL, &y[0, 0, 0])

The inline functions below give the exported ones (capi.pxd) the type of the descriptor, so that nothing
but plain types is compared when your module is imported.
"""
from libc.stdint cimport int32_t, int64_t

from fastconv cimport capi

cdef enum:
    FASTCONV_OK = 0
    FASTCONV_NOT_IMPORTED = 1
    FASTCONV_NULL_DESCRIPTOR = 2
    FASTCONV_BAD_STRUCT_SIZE = 3
    FASTCONV_NULL_ARRAY = 4
    FASTCONV_MISALIGNED = 5
    FASTCONV_OVERLAP = 6
    FASTCONV_BAD_SIZE = 7
    FASTCONV_BAD_KERNEL = 8
    FASTCONV_BAD_STRIDE = 9
    FASTCONV_BAD_PADDING = 10
    FASTCONV_BAD_DILATION = 11
    FASTCONV_BAD_GROUPS = 12
    FASTCONV_KERNEL_TOO_LARGE = 13
    FASTCONV_OVERFLOW = 14
    FASTCONV_UNKNOWN_ALGORITHM = 15
    FASTCONV_ALGORITHM_REFUSED = 16
    FASTCONV_BAD_NUM_THREADS = 17
    FASTCONV_NO_MEMORY = 18
    FASTCONV_BAD_PASS = 19

cdef enum:
    FASTCONV_AUTO = 0
    FASTCONV_DIRECT = 1
    FASTCONV_WINOGRAD = 2

cdef enum:
    FASTCONV_FORWARD = 0
    FASTCONV_INPUT_GRAD = 1
    FASTCONV_WEIGHT_GRAD = 2

# Statuses, algorithms and passes are ints.
ctypedef int fastconv_status
ctypedef int fastconv_algorithm
ctypedef int fastconv_pass

cdef struct fastconv_conv2d:
    size_t struct_size
    int64_t batch, in_height, in_width, in_channels
    int64_t kernel_height, kernel_width, out_channels
    int64_t stride_height, stride_width
    int64_t pad_top, pad_bottom, pad_left, pad_right
    int64_t dilation_height, dilation_width, groups
    int32_t algorithm, num_threads


cdef inline int fastconv_import() except -1:
    """As in C; Cython needs no such call, for cimport has done it."""
    return 0


cdef inline fastconv_conv2d fastconv_conv2d_default() noexcept nogil:
    cdef fastconv_conv2d layer
    layer.struct_size = sizeof(fastconv_conv2d)
    layer.batch = layer.in_height = layer.in_width = layer.in_channels = 0
    layer.kernel_height = layer.kernel_width = layer.out_channels = 0
    layer.stride_height = layer.stride_width = 1
    layer.pad_top = layer.pad_bottom = layer.pad_left = layer.pad_right = 0
    layer.dilation_height = layer.dilation_width = layer.groups = 1
    layer.algorithm = FASTCONV_AUTO
    layer.num_threads = 0
    return layer


cdef inline int fastconv_output_shape(const fastconv_conv2d *layer, int64_t *shape) noexcept nogil:
    return capi.fastconv_output_shape(layer, shape)


cdef inline int fastconv_workspace_f32(const fastconv_conv2d *layer, int which, int64_t *bytes) noexcept nogil:
    return capi.fastconv_workspace_f32(layer, which, bytes)


cdef inline int fastconv_workspace_f64(const fastconv_conv2d *layer, int which, int64_t *bytes) noexcept nogil:
    return capi.fastconv_workspace_f64(layer, which, bytes)


cdef inline int fastconv_forward_f32(
    const fastconv_conv2d *layer, const float *x, const float *w, const float *bias, float *y,
) noexcept nogil:
    return capi.fastconv_forward_f32(layer, x, w, bias, y)


cdef inline int fastconv_forward_f64(
    const fastconv_conv2d *layer, const double *x, const double *w, const double *bias, double *y,
) noexcept nogil:
    return capi.fastconv_forward_f64(layer, x, w, bias, y)


cdef inline int fastconv_input_grad_f32(
    const fastconv_conv2d *layer, const float *dy, const float *w, float *dx,
) noexcept nogil:
    return capi.fastconv_input_grad_f32(layer, dy, w, dx)


cdef inline int fastconv_input_grad_f64(
    const fastconv_conv2d *layer, const double *dy, const double *w, double *dx,
) noexcept nogil:
    return capi.fastconv_input_grad_f64(layer, dy, w, dx)


cdef inline int fastconv_weight_grad_f32(
    const fastconv_conv2d *layer, const float *x, const float *dy, float *dw,
) noexcept nogil:
    return capi.fastconv_weight_grad_f32(layer, x, dy, dw)


cdef inline int fastconv_weight_grad_f64(
    const fastconv_conv2d *layer, const double *x, const double *dy, double *dw,
) noexcept nogil:
    return capi.fastconv_weight_grad_f64(layer, x, dy, dw)


cdef inline const char *fastconv_status_string(int status) noexcept nogil:
    return capi.fastconv_status_string(status)


cdef inline const char *fastconv_version() noexcept nogil:
    return capi.fastconv_version()
