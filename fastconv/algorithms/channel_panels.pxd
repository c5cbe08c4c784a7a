# Packing the weights of depthwise passes: a row of all channels for each tap and each channel that it sums over.
# Inline, without a module of its own.
from fastconv._kernels cimport fastconv_gather_args, fastconv_pack_args
from fastconv.blocks cimport Phase, inputs_of, open_phase
from fastconv.plan cimport INPUT_GRAD, Plan, Tensor


cdef inline Py_ssize_t shares_of(const Plan *plan) noexcept nogil:
    """Products a tap adds to one output element."""
    return plan.multiplier if plan.op == INPUT_GRAD else 1


cdef inline Py_ssize_t phase_weights(const Plan *plan, const Phase *phase) noexcept nogil:
    """Where the packed weights of a phase start, in bytes."""
    cdef Py_ssize_t taps = phase.first_row * plan.columns.taps + phase.rows * phase.first_column
    return taps * shares_of(plan) * inputs_of(plan) * plan.panel * plan.itemsize


cdef inline char *pack_channels(
    const Plan *plan, const char *source, Py_ssize_t stride, Py_ssize_t shift, char *to, int *finite,
) noexcept nogil:
    """A row of all channels, rotated by `shift` or repeated; returns where the next row starts."""
    cdef fastconv_pack_args args
    cdef Py_ssize_t _
    args.rows, args.row_stride, args.column_stride = 1, 0, stride
    args.finite = finite
    args.source, args.panel = source + shift * stride * plan.itemsize, to
    args.columns = plan.out_total - shift
    args.panel_stride = (args.columns + plan.kernels.lanes - 1) // plan.kernels.lanes * plan.kernels.lanes
    for _ in range(plan.repeat):        # each over the zeros that fill up the one before
        plan.kernels.pack(&args)
        args.panel = <char *> args.panel + args.columns * plan.itemsize
    if shift > 0:
        args.source, args.columns, args.panel_stride = source, shift, plan.kernels.lanes
        plan.kernels.pack(&args)
    return to + plan.panel * plan.itemsize


cdef inline char *pack_group(const Plan *plan, const Tensor *w, const char *source, char *to) noexcept nogil:
    """One tap: a row of all channels for each channel that a group sums over; returns where the next tap starts."""
    cdef Py_ssize_t down = w.column_stride, across = w.channel_stride, apart = plan.group_outputs * w.channel_stride
    cdef fastconv_gather_args args
    if plan.op == INPUT_GRAD:
        down, across, apart = w.channel_stride, w.column_stride, plan.group * w.channel_stride
    args.lead = args.tail = 0
    args.x, args.scratch = source, to
    args.inner, args.inner_stride = plan.group_outputs, across
    args.outer, args.outer_stride, args.outer_step = plan.group, down, plan.panel
    args.pixels, args.column_stride, args.pixel_step = plan.groups, apart, plan.group_outputs
    if plan.op == INPUT_GRAD and 4 * plan.group_outputs > plan.kernels.lanes:
        # The other way round, each group is a matrix to transpose, and large enough for that to be fast.
        args.outer, args.outer_stride, args.outer_step = plan.groups, apart, plan.group_outputs
        args.pixels, args.column_stride, args.pixel_step = plan.group, down, plan.panel
    plan.kernels.gather(&args)
    return to + plan.group * plan.panel * plan.itemsize


cdef inline char *pack_shared(
    const Plan *plan, const Tensor *w, const char *source, char *to, int *finite,
) noexcept nogil:
    """One tap: a row of all output channels for each input channel; returns where the next tap starts."""
    cdef Py_ssize_t _, across = w.channel_stride, down = w.column_stride
    if plan.op == INPUT_GRAD:
        across, down = down, across
    for _ in range(plan.shared):
        to = pack_channels(plan, source, across, 0, to, finite)
        source += down * plan.itemsize
    return to


cdef inline char *pack_weights(
    const Plan *plan, const Tensor *w, Py_ssize_t shift, char *to, int *finite,
) noexcept nogil:
    """The weights of every phase, rotated by `shift`; returns their end."""
    cdef Py_ssize_t row, column, tap, share, shares = shares_of(plan)
    cdef const char *source
    cdef Phase phase
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            for share in range(shares):
                for tap in range(phase.rows * phase.columns):
                    source = w.data + plan.itemsize * (
                        plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
                        + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
                        + share * w.channel_stride)
                    if plan.group > 1:
                        to = pack_group(plan, w, source, to)
                    elif plan.shared > 0:
                        to = pack_shared(plan, w, source, to, finite)
                    else:
                        to = pack_channels(plan, source, shares * w.channel_stride, shift, to, finite)
    return to
