"""The C interface: descriptors and pointers in, a status out; nothing here needs the GIL.

`include/fastconv.h` reaches these functions through the capsule `fastconv._C_API`, Cython modules
through `__init__.pxd`, and whatever can call an address through `get_function_address`.
"""
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from fastconv._kernels cimport FASTCONV_F32, FASTCONV_F64
from fastconv.engine cimport Algorithm, execute, is_empty, workspace_bytes
from fastconv.geometry cimport (
    BAD_DILATION, BAD_GROUPS, BAD_KERNEL, BAD_PADDING, BAD_SIZE, BAD_STRIDE, INPUT_GROUPS, LIMIT, OUTPUT_GROUPS,
    SMALL_HEIGHT, SMALL_WIDTH, SOUND, Geometry, check_geometry)
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Op, Tensor
from fastconv.threads cimport MOST, threads_for
from fastconv.tiles cimport SERVES, cannot_serve

from fastconv.config import __version__

__all__ = ["get_function_address"]

cdef extern from "fastconv.h" nogil:
    """
    /* What the shortest struct_size covers, and where fields of 8 bytes end. */
    #define FASTCONV_LEAST_SIZE offsetof(fastconv_conv2d, stride_height)
    #define FASTCONV_LONG_FIELDS offsetof(fastconv_conv2d, algorithm)
    """
    const size_t FASTCONV_LEAST_SIZE
    const size_t FASTCONV_LONG_FIELDS
    enum:
        FASTCONV_ABI_VERSION
        FASTCONV_OK, FASTCONV_NOT_IMPORTED, FASTCONV_NULL_DESCRIPTOR, FASTCONV_BAD_STRUCT_SIZE, FASTCONV_NULL_ARRAY
        FASTCONV_MISALIGNED, FASTCONV_OVERLAP, FASTCONV_BAD_SIZE, FASTCONV_BAD_KERNEL, FASTCONV_BAD_STRIDE
        FASTCONV_BAD_PADDING, FASTCONV_BAD_DILATION, FASTCONV_BAD_GROUPS, FASTCONV_KERNEL_TOO_LARGE, FASTCONV_OVERFLOW
        FASTCONV_UNKNOWN_ALGORITHM, FASTCONV_ALGORITHM_REFUSED, FASTCONV_BAD_NUM_THREADS, FASTCONV_NO_MEMORY
        FASTCONV_BAD_PASS
        FASTCONV_AUTO, FASTCONV_WINOGRAD
        FASTCONV_FORWARD, FASTCONV_INPUT_GRAD, FASTCONV_WEIGHT_GRAD

    ctypedef struct fastconv_conv2d:
        size_t struct_size
        int64_t batch, in_height, in_width, in_channels
        int64_t kernel_height, kernel_width, out_channels
        int64_t stride_height, stride_width
        int64_t pad_top, pad_bottom, pad_left, pad_right
        int64_t dilation_height, dilation_width, groups
        int32_t algorithm, num_threads

    ctypedef struct fastconv_api:
        size_t struct_size
        int abi_version
        const char *version
        const char *(*status_string)(int) noexcept nogil
        int (*output_shape)(const void *, int64_t *) noexcept nogil
        int (*forward_f32)(const void *, const float *, const float *, const float *, float *) noexcept nogil
        int (*forward_f64)(const void *, const double *, const double *, const double *, double *) noexcept nogil
        int (*input_grad_f32)(const void *, const float *, const float *, float *) noexcept nogil
        int (*input_grad_f64)(const void *, const double *, const double *, double *) noexcept nogil
        int (*weight_grad_f32)(const void *, const float *, const float *, float *) noexcept nogil
        int (*weight_grad_f64)(const void *, const double *, const double *, double *) noexcept nogil
        int (*workspace_f32)(const void *, int, int64_t *) noexcept nogil
        int (*workspace_f64)(const void *, int, int64_t *) noexcept nogil

    fastconv_conv2d fastconv_conv2d_default()


cdef int status_of(int problem) noexcept nogil:
    """The status that a Problem of `check_geometry` is."""
    if problem == SOUND:
        return FASTCONV_OK
    if problem == BAD_SIZE:
        return FASTCONV_BAD_SIZE
    if problem == BAD_KERNEL:
        return FASTCONV_BAD_KERNEL
    if problem == BAD_STRIDE:
        return FASTCONV_BAD_STRIDE
    if problem == BAD_PADDING:
        return FASTCONV_BAD_PADDING
    if problem == BAD_DILATION:
        return FASTCONV_BAD_DILATION
    if problem == BAD_GROUPS or problem == INPUT_GROUPS or problem == OUTPUT_GROUPS:
        return FASTCONV_BAD_GROUPS
    if problem == SMALL_HEIGHT or problem == SMALL_WIDTH:
        return FASTCONV_KERNEL_TOO_LARGE
    return FASTCONV_OVERFLOW


cdef inline Py_ssize_t fitted(int64_t number) noexcept nogil:
    """A number as it is, or one that `check_geometry` refuses for the same reason (an int may have 32 bits)."""
    return -1 if number < 0 else LIMIT + 1 if number > LIMIT else <Py_ssize_t> number


cdef int read_layer(const void *source, fastconv_conv2d *layer, Geometry *g) noexcept nogil:
    """Copy what the caller's struct has, the rest from the default; check every number."""
    cdef size_t size
    if source == NULL:
        return FASTCONV_NULL_DESCRIPTOR
    memcpy(&size, source, sizeof(size))     # whatever its alignment
    if (size < FASTCONV_LEAST_SIZE or size > sizeof(fastconv_conv2d) or size % sizeof(int32_t) != 0
            or (size < FASTCONV_LONG_FIELDS and size % sizeof(int64_t) != 0)):
        return FASTCONV_BAD_STRUCT_SIZE
    layer[0] = fastconv_conv2d_default()
    memcpy(layer, source, size)
    g.batch = fitted(layer.batch)
    g.in_height, g.in_width, g.in_channels = fitted(layer.in_height), fitted(layer.in_width), fitted(layer.in_channels)
    g.kernel_height, g.kernel_width = fitted(layer.kernel_height), fitted(layer.kernel_width)
    g.out_channels = fitted(layer.out_channels)
    g.stride_height, g.stride_width = fitted(layer.stride_height), fitted(layer.stride_width)
    g.pad_top, g.pad_bottom = fitted(layer.pad_top), fitted(layer.pad_bottom)
    g.pad_left, g.pad_right = fitted(layer.pad_left), fitted(layer.pad_right)
    g.dilation_height, g.dilation_width = fitted(layer.dilation_height), fitted(layer.dilation_width)
    g.groups = fitted(layer.groups)
    if not FASTCONV_AUTO <= layer.algorithm <= FASTCONV_WINOGRAD:
        return FASTCONV_UNKNOWN_ALGORITHM
    if not 0 <= layer.num_threads <= MOST:
        return FASTCONV_BAD_NUM_THREADS
    return status_of(check_geometry(g, False))


cdef inline int check_algorithm(const Geometry *g, int algorithm) noexcept nogil:
    """Whether an algorithm that was named can serve the call, as a status."""
    if algorithm == FASTCONV_WINOGRAD and cannot_serve(g) != SERVES:
        return FASTCONV_ALGORITHM_REFUSED
    return FASTCONV_OK


cdef void dense(
    Tensor *tensor, const void *data, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels,
) noexcept nogil:
    """A C-contiguous array."""
    tensor.data = <char *> data
    tensor.prepared = NULL
    tensor.channel_stride = 1
    tensor.column_stride = channels
    tensor.row_stride = width * channels
    tensor.batch_stride = height * width * channels


# An array of a call, of which only the elements count.
cdef struct Array:
    const void *data
    size_t bytes


cdef Array image(const void *data, const Geometry *g, Py_ssize_t itemsize) noexcept nogil:
    """x or dx"""
    return Array(data, g.batch * g.in_height * g.in_width * g.in_channels * itemsize)


cdef Array weights(const void *data, const Geometry *g, Py_ssize_t itemsize) noexcept nogil:
    """w or dw"""
    return Array(data, g.kernel_height * g.kernel_width * (g.in_channels // g.groups) * g.out_channels * itemsize)


cdef Array output(const void *data, const Geometry *g, Py_ssize_t itemsize) noexcept nogil:
    """y or dy"""
    return Array(data, g.batch * g.out_height * g.out_width * g.out_channels * itemsize)


cdef inline bint overlap(const Array *a, const Array *b) noexcept nogil:
    return (<size_t> a.data < <size_t> b.data + b.bytes and <size_t> b.data < <size_t> a.data + a.bytes
            and a.bytes > 0 and b.bytes > 0)


cdef int check_arrays(const Array *inputs, int count, const Array *result, size_t itemsize) noexcept nogil:
    """NULL, alignment, and whether the result lies apart from `count` inputs."""
    cdef int i
    if result.data == NULL and result.bytes > 0:
        return FASTCONV_NULL_ARRAY
    if <size_t> result.data % itemsize != 0:
        return FASTCONV_MISALIGNED
    for i in range(count):
        if inputs[i].data == NULL and inputs[i].bytes > 0:
            return FASTCONV_NULL_ARRAY
        if <size_t> inputs[i].data % itemsize != 0:
            return FASTCONV_MISALIGNED
    for i in range(count):
        if overlap(&inputs[i], result):
            return FASTCONV_OVERLAP
    return FASTCONV_OK


cdef void fill(const Array *result, const Array *bias) noexcept nogil:
    """Empty sums: zeros, or the bias in each pixel."""
    cdef size_t at = 0
    if result.bytes > 0 and bias.bytes == 0:
        memset(<void *> result.data, 0, result.bytes)
    while bias.bytes > 0 and at < result.bytes:
        memcpy(<char *> result.data + at, bias.data, bias.bytes)
        at += bias.bytes


cdef int compute(
    Op op, int dtype, const void *source, const void *first, const void *second, const void *bias, void *out,
) noexcept nogil:
    """A pass: its operands are x and w, dy and w, or x and dy, as in `execute`."""
    cdef fastconv_conv2d layer
    cdef Geometry g
    cdef Array[3] inputs
    cdef Array result
    cdef Tensor a, b
    cdef Py_ssize_t itemsize = sizeof(float) if dtype == FASTCONV_F32 else sizeof(double)
    cdef int status = read_layer(source, &layer, &g)
    if status != FASTCONV_OK:
        return status
    status = check_algorithm(&g, layer.algorithm)
    if status != FASTCONV_OK:
        return status
    inputs[0] = output(first, &g, itemsize) if op == INPUT_GRAD else image(first, &g, itemsize)
    inputs[1] = output(second, &g, itemsize) if op == WEIGHT_GRAD else weights(second, &g, itemsize)
    inputs[2] = Array(bias, 0 if bias == NULL else g.out_channels * itemsize)
    if op == FORWARD:
        result = output(out, &g, itemsize)
    elif op == INPUT_GRAD:
        result = image(out, &g, itemsize)
    else:
        result = weights(out, &g, itemsize)
    status = check_arrays(inputs, 3, &result, itemsize)
    if status != FASTCONV_OK:
        return status
    if is_empty(op, &g):
        fill(&result, &inputs[2])
        return FASTCONV_OK
    operands(op, &g, first, second, &a, &b)
    if execute(op, &g, dtype, &a, &b, <const char *> bias, <char *> out, threads_for(layer.num_threads),
               <Algorithm> layer.algorithm) != 0:
        return FASTCONV_NO_MEMORY
    return FASTCONV_OK


cdef void operands(
    Op op, const Geometry *g, const void *first, const void *second, Tensor *a, Tensor *b,
) noexcept nogil:
    """The two operands of a pass as tensors."""
    if op == INPUT_GRAD:
        dense(a, first, g.out_height, g.out_width, g.out_channels)
    else:
        dense(a, first, g.in_height, g.in_width, g.in_channels)
    if op == WEIGHT_GRAD:
        dense(b, second, g.out_height, g.out_width, g.out_channels)
    else:
        dense(b, second, g.kernel_width, g.in_channels // g.groups, g.out_channels)


cdef int measure(const void *source, int which, int dtype, int64_t *size) noexcept nogil:
    """Workspace of a pass, from the plan that it would have."""
    cdef fastconv_conv2d layer
    cdef Geometry g
    cdef Tensor a, b
    cdef Op op
    cdef int status = read_layer(source, &layer, &g)
    if status != FASTCONV_OK:
        return status
    if which == FASTCONV_FORWARD:
        op = FORWARD
    elif which == FASTCONV_INPUT_GRAD:
        op = INPUT_GRAD
    elif which == FASTCONV_WEIGHT_GRAD:
        op = WEIGHT_GRAD
    else:
        return FASTCONV_BAD_PASS
    status = check_algorithm(&g, layer.algorithm)
    if status != FASTCONV_OK:
        return status
    if size == NULL:
        return FASTCONV_NULL_ARRAY
    operands(op, &g, NULL, NULL, &a, &b)
    size[0] = workspace_bytes(op, &g, dtype, &a, &b, threads_for(layer.num_threads),
                              <Algorithm> layer.algorithm)
    return FASTCONV_NO_MEMORY if size[0] < 0 else FASTCONV_OK


# ---- what others call: the same text as in capi.pxd ----

cdef int fastconv_output_shape(const void *layer, int64_t *shape) noexcept nogil:
    cdef fastconv_conv2d copy
    cdef Geometry g
    cdef int status = read_layer(layer, &copy, &g)
    if status != FASTCONV_OK:
        return status
    if shape == NULL:
        return FASTCONV_NULL_ARRAY
    shape[0], shape[1], shape[2], shape[3] = g.batch, g.out_height, g.out_width, g.out_channels
    return FASTCONV_OK


cdef int fastconv_forward_f32(
    const void *layer, const float *x, const float *w, const float *bias, float *y,
) noexcept nogil:
    return compute(FORWARD, FASTCONV_F32, layer, x, w, bias, y)


cdef int fastconv_forward_f64(
    const void *layer, const double *x, const double *w, const double *bias, double *y,
) noexcept nogil:
    return compute(FORWARD, FASTCONV_F64, layer, x, w, bias, y)


cdef int fastconv_input_grad_f32(const void *layer, const float *dy, const float *w, float *dx) noexcept nogil:
    return compute(INPUT_GRAD, FASTCONV_F32, layer, dy, w, NULL, dx)


cdef int fastconv_input_grad_f64(const void *layer, const double *dy, const double *w, double *dx) noexcept nogil:
    return compute(INPUT_GRAD, FASTCONV_F64, layer, dy, w, NULL, dx)


cdef int fastconv_weight_grad_f32(const void *layer, const float *x, const float *dy, float *dw) noexcept nogil:
    return compute(WEIGHT_GRAD, FASTCONV_F32, layer, x, dy, NULL, dw)


cdef int fastconv_weight_grad_f64(const void *layer, const double *x, const double *dy, double *dw) noexcept nogil:
    return compute(WEIGHT_GRAD, FASTCONV_F64, layer, x, dy, NULL, dw)


cdef int fastconv_workspace_f32(const void *layer, int which, int64_t *bytes) noexcept nogil:
    return measure(layer, which, FASTCONV_F32, bytes)


cdef int fastconv_workspace_f64(const void *layer, int which, int64_t *bytes) noexcept nogil:
    return measure(layer, which, FASTCONV_F64, bytes)


cdef const char *fastconv_status_string(int status) noexcept nogil:
    if 0 <= status < TEXT_COUNT:
        return TEXTS[status]
    return "unknown status: of a newer fastconv, or none at all"


cdef const char *fastconv_version() noexcept nogil:
    return _api.version


cdef enum: TEXT_COUNT = 20
cdef const char *TEXTS[TEXT_COUNT]
TEXTS[FASTCONV_OK] = "no error"
TEXTS[FASTCONV_NOT_IMPORTED] = "fastconv_import() was not called in this source file"
TEXTS[FASTCONV_NULL_DESCRIPTOR] = "the fastconv_conv2d must not be NULL"
TEXTS[FASTCONV_BAD_STRUCT_SIZE] = "struct_size must be sizeof(fastconv_conv2d) of this version or an older one"
TEXTS[FASTCONV_NULL_ARRAY] = "an array that has elements must not be NULL"
TEXTS[FASTCONV_MISALIGNED] = "arrays must be aligned to their elements"
TEXTS[FASTCONV_OVERLAP] = "the result must not overlap another array"
TEXTS[FASTCONV_BAD_SIZE] = "batch, height, width and channels must not be negative"
TEXTS[FASTCONV_BAD_KERNEL] = "kernel_height and kernel_width must be at least 1"
TEXTS[FASTCONV_BAD_STRIDE] = "stride_height and stride_width must be at least 1"
TEXTS[FASTCONV_BAD_PADDING] = "pad_top, pad_bottom, pad_left and pad_right must not be negative"
TEXTS[FASTCONV_BAD_DILATION] = "dilation_height and dilation_width must be at least 1"
TEXTS[FASTCONV_BAD_GROUPS] = "groups must be at least 1 and divide in_channels and out_channels"
TEXTS[FASTCONV_KERNEL_TOO_LARGE] = "the dilated kernel must fit the padded input"
TEXTS[FASTCONV_OVERFLOW] = "sizes, and arrays in bytes, must be below 2**60"
TEXTS[FASTCONV_UNKNOWN_ALGORITHM] = "algorithm must be FASTCONV_AUTO, FASTCONV_DIRECT or FASTCONV_WINOGRAD"
TEXTS[FASTCONV_ALGORITHM_REFUSED] = "the algorithm cannot serve this call"
TEXTS[FASTCONV_BAD_NUM_THREADS] = "num_threads must be from 0, the default, to 1024"
TEXTS[FASTCONV_NO_MEMORY] = "no memory for the workspace"
TEXTS[FASTCONV_BAD_PASS] = "the pass must be FASTCONV_FORWARD, FASTCONV_INPUT_GRAD or FASTCONV_WEIGHT_GRAD"

cdef bytes _version = __version__.encode()
cdef fastconv_api _api
_api.struct_size = sizeof(fastconv_api)
_api.abi_version = FASTCONV_ABI_VERSION
_api.version = _version
_api.status_string = fastconv_status_string
_api.output_shape = fastconv_output_shape
_api.forward_f32, _api.forward_f64 = fastconv_forward_f32, fastconv_forward_f64
_api.input_grad_f32, _api.input_grad_f64 = fastconv_input_grad_f32, fastconv_input_grad_f64
_api.weight_grad_f32, _api.weight_grad_f64 = fastconv_weight_grad_f32, fastconv_weight_grad_f64
_api.workspace_f32, _api.workspace_f64 = fastconv_workspace_f32, fastconv_workspace_f64

_C_API = PyCapsule_New(&_api, "fastconv._C_API", NULL)


def get_function_address(name):
    """Address of a function of the C interface, for callers that need no compiler: ctypes, numba, cffi.

    Arguments and results are those of ``fastconv.h``, statuses being ints; the GIL is not needed.

    Parameters
    ----------
    name : str
        As in ``fastconv.h``, ``"fastconv_forward_f32"`` for example.

    Returns
    -------
    int
        Valid as long as the process lives.

    Raises
    ------
    ValueError
        If there is no such function.

    Examples
    --------
    >>> import ctypes
    >>> from fastconv.capi import get_function_address
    >>> prototype = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)
    >>> status_string = prototype(get_function_address("fastconv_status_string"))
    >>> status_string(0)
    b'no error'
    """
    functions = globals()["__pyx_capi__"]
    if name not in functions:
        raise ValueError(f"name must be one of {', '.join(sorted(functions))}, got {name!r}")
    return <size_t> PyCapsule_GetPointer(functions[name], PyCapsule_GetName(functions[name]))
