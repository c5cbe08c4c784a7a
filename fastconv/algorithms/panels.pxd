# Packing the weights of one panel, for the direct sum.
from fastconv._kernels cimport fastconv_check_args, fastconv_gather_args, fastconv_pack_args
from fastconv.blocks cimport Phase
from fastconv.plan cimport INPUT_GRAD, Plan, Tensor, panel_start


cdef inline void pack_slice(
    const Plan *plan, const Tensor *w, const Phase *phase, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t first,
    Py_ssize_t end, char *to, int *finite,
) noexcept nogil:
    """Rows [first, end) of K of one panel: (row tap, column tap, channel), channels fastest."""
    cdef fastconv_pack_args args
    cdef Py_ssize_t channels = plan.in_channels, size = plan.itemsize
    cdef Py_ssize_t start = panel_start(plan, panel)
    cdef Py_ssize_t tap, channel, k = first, k_stride, n_stride, group_stride
    if plan.op == INPUT_GRAD:   # the kernel's output channels are summed over
        k_stride, n_stride = w.channel_stride, w.column_stride
        group_stride = channels * w.channel_stride
    else:
        k_stride, n_stride = w.column_stride, w.channel_stride
        group_stride = plan.out_channels * w.channel_stride
    args.panel_stride = panel_start(plan, panel + 1) - start
    args.columns = min(plan.out_channels - start, args.panel_stride)
    args.row_stride, args.column_stride = k_stride, n_stride
    args.finite = finite
    args.panel = to
    while k < end:
        tap = k // channels
        channel = k - tap * channels
        args.rows = min(channels - channel, end - k)
        args.source = w.data + size * (
            plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
            + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
            + group * group_stride + start * n_stride + channel * k_stride)
        plan.kernels.pack(&args)
        args.panel = <char *> args.panel + args.rows * args.panel_stride * size
        k += args.rows


cdef inline void pack_narrow(
    const Plan *plan, const Tensor *w, const Phase *phase, Py_ssize_t group, Py_ssize_t panel, char *to,
    int *finite,
) noexcept nogil:
    """All of K of one panel, a row of weights for each output channel."""
    cdef fastconv_gather_args args
    cdef fastconv_check_args whole
    cdef Py_ssize_t channels = plan.in_channels, across = phase.columns, first = panel_start(plan, panel)
    cdef Py_ssize_t k_stride, n_stride, group_stride, row, column, pieces, step = 0
    cdef const Py_ssize_t *down = plan.rows.tap_index + phase.first_row
    cdef const Py_ssize_t *right = plan.columns.tap_index + phase.first_column
    if plan.op == INPUT_GRAD:
        k_stride, n_stride = w.channel_stride, w.column_stride
        group_stride = channels * w.channel_stride
    else:
        k_stride, n_stride = w.column_stride, w.channel_stride
        group_stride = plan.out_channels * w.channel_stride
    if across > 1:
        step = (right[1] - right[0]) * w.row_stride
    args.lead = args.tail = 0
    args.outer, args.outer_stride = panel_start(plan, panel + 1) - first, n_stride
    args.outer_step = phase.rows * across * channels
    # A kernel row at once: its taps are like pixels, unless each channel of them is.
    args.pixels, args.column_stride, args.pixel_step = across, step, channels
    args.inner, args.inner_stride, pieces = channels, k_stride, 1
    if k_stride != 1:
        args.pixels, args.column_stride, args.pixel_step = channels, k_stride, 1
        args.inner, args.inner_stride, pieces = 1, 1, across
        if step == channels * k_stride:
            args.pixels, pieces = across * channels, 1
    for row in range(phase.rows):
        for column in range(pieces):
            args.x = w.data + plan.itemsize * (down[row] * w.batch_stride + right[column] * w.row_stride
                                               + group * group_stride + first * n_stride)
            args.scratch = to + (row * across + column) * channels * plan.itemsize
            plan.kernels.gather(&args)
    whole.values, whole.count, whole.finite = to, args.outer * args.outer_step, finite
    plan.kernels.check(&whole)
