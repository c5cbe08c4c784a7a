# Packing the weights of one panel, for the direct sum.
from fastconv._kernels cimport fastconv_pack_args
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
    """All of K of one panel, a row of weights for each output channel.

    The pack kernel writes whole vectors: each tap's surplus is overwritten by the next tap, and the
    last one's falls into the rest of the panel, which is wider than the rows.
    """
    cdef fastconv_pack_args args
    cdef Py_ssize_t channels = plan.in_channels, column, tap, group_stride, n_stride
    if plan.op == INPUT_GRAD:
        args.column_stride, n_stride = w.channel_stride, w.column_stride
        group_stride = channels * w.channel_stride
    else:
        args.column_stride, n_stride = w.column_stride, w.channel_stride
        group_stride = plan.out_channels * w.channel_stride
    args.rows, args.columns = 1, channels
    args.row_stride = 0
    args.panel_stride = (channels + plan.kernels.lanes - 1) // plan.kernels.lanes * plan.kernels.lanes
    args.finite = finite
    args.panel = to
    for column in range(panel_start(plan, panel), panel_start(plan, panel + 1)):
        for tap in range(phase.rows * phase.columns):
            args.source = w.data + plan.itemsize * (
                plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
                + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
                + group * group_stride + column * n_stride)
            plan.kernels.pack(&args)
            args.panel = <char *> args.panel + channels * plan.itemsize
