"""What a call from C costs beside its arithmetic: the smallest useful layer, in loops without Python."""
import time

from libc.math cimport fabs
from libc.stdint cimport int64_t

from fastconv cimport (
    FASTCONV_OK, fastconv_conv2d, fastconv_conv2d_default, fastconv_forward_f32, fastconv_input_grad_f32,
    fastconv_weight_grad_f32)
from fastconv._kernels cimport FASTCONV_F32, fastconv_conv_args, fastconv_kernels, kernels_for

# x (5, 5, 3), w (3, 3, 3, 16), y (3, 3, 16), and their gradients, as one caller has them.
cdef enum: SIZE = 5, CHANNELS = 3, TAPS = 3, FILTERS = 16, OUT = SIZE - TAPS + 1

cdef struct Arrays:
    float[SIZE * SIZE * CHANNELS] x
    float[TAPS * TAPS * CHANNELS * FILTERS] w
    float[FILTERS] bias
    float[OUT * OUT * FILTERS] y


cdef void fill(Arrays *arrays) noexcept:
    """Values that are no special case of anything."""
    cdef Py_ssize_t i
    for i in range(<Py_ssize_t> (sizeof(Arrays) // sizeof(float))):
        (<float *> arrays)[i] = 1 + <float> 0.01 * i


cdef void describe(fastconv_conv2d *layer) noexcept:
    layer[0] = fastconv_conv2d_default()
    layer.batch, layer.in_height, layer.in_width, layer.in_channels = 1, SIZE, SIZE, CHANNELS
    layer.kernel_height, layer.kernel_width, layer.out_channels = TAPS, TAPS, FILTERS


cdef int loop(int which, const fastconv_conv2d *layer, Arrays *a, int64_t calls) noexcept nogil:
    """One pass, `calls` times; returns the first status that is not FASTCONV_OK."""
    cdef int64_t _
    cdef int status = FASTCONV_OK
    for _ in range(calls):
        if which == 0:
            status = fastconv_forward_f32(layer, a.x, a.w, a.bias, a.y)
        elif which == 1:
            status = fastconv_input_grad_f32(layer, a.y, a.w, a.x)
        else:
            status = fastconv_weight_grad_f32(layer, a.x, a.y, a.w)
        if status != FASTCONV_OK:
            return status
    return FASTCONV_OK


def time_call(which, calls):
    """Seconds for each of `calls` calls of a pass: 0 forward, 1 input gradient, 2 weight gradient."""
    cdef Arrays arrays
    cdef fastconv_conv2d layer
    cdef int number = which, status
    cdef int64_t count = calls
    fill(&arrays)
    describe(&layer)
    start = time.perf_counter()
    with nogil:
        status = loop(number, &layer, &arrays, count)
    elapsed = time.perf_counter() - start
    if status != FASTCONV_OK:
        raise RuntimeError(f"a call must return FASTCONV_OK, got {status}")
    return elapsed / calls


def time_arithmetic(calls):
    """Seconds for each of `calls` forward passes that are nothing but the micro-kernel.

    Raises
    ------
    RuntimeError
        If a call does not give the same result, but for rounding.
    """
    cdef Arrays arrays
    cdef Arrays called
    cdef fastconv_conv2d layer
    cdef const fastconv_kernels *kernels = kernels_for(FASTCONV_F32)
    cdef fastconv_conv_args args
    cdef const void *reads[OUT * OUT]
    cdef void *writes[OUT * OUT]
    cdef Py_ssize_t[TAPS] offsets
    cdef Py_ssize_t[TAPS] run_k
    cdef Py_ssize_t i, panel
    cdef int64_t count = calls, _
    fill(&arrays)
    for i in range(OUT * OUT):
        reads[i] = arrays.x + (i // OUT * SIZE + i % OUT) * CHANNELS
        writes[i] = arrays.y + i * FILTERS
    for i in range(TAPS):
        offsets[i], run_k[i] = i * SIZE * CHANNELS, i * TAPS * CHANNELS
    panel = min(kernels.conv_panel, <int> FILTERS)
    args.pixels, args.columns = OUT * OUT, panel
    args.in_, args.out = reads, writes
    args.in_step = args.out_step = 0
    args.in_offset = args.k_offset = 0
    args.runs, args.run_length, args.run_offset, args.run_k = TAPS, TAPS * CHANNELS, offsets, run_k
    args.weights_stride = FILTERS
    args.permute = args.stream = args.accumulate = False
    start = time.perf_counter()
    with nogil:
        for _ in range(count):
            args.out_offset = 0
            while args.out_offset < FILTERS:
                args.weights = arrays.w + args.out_offset
                args.bias = arrays.bias + args.out_offset
                kernels.conv(&args)
                args.out_offset += panel
    elapsed = time.perf_counter() - start
    fill(&called)
    describe(&layer)
    if loop(0, &layer, &called, 1) != FASTCONV_OK:
        raise RuntimeError("a call must return FASTCONV_OK, got another status")
    for i in range(OUT * OUT * FILTERS):
        if not fabs(arrays.y[i] - called.y[i]) <= 1e-5 * called.y[i]:   # sums of positive products
            raise RuntimeError(f"the kernel must give what a call gives, got {arrays.y[i]} for {called.y[i]}")
    return elapsed / calls
