"""One filter a channel: the forward pass and dL/dx, vectors along channels.

The same blocks, phases and pointers as the direct sum; the kernel multiplies each channel by its own
weight instead of a panel.  With several filters a channel, scratch holds each channel that often
(forward), or dy of the j-th filters side by side, whose shares dL/dx adds as further taps.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport fastconv_depthwise_args, fastconv_pack_args, flush_denormals, restore_mode
from fastconv.blocks cimport (
    Block, Phase, Source, Workspace, find_offsets, gather_block, locate_block, open_phase, open_workspace,
    phase_block_columns, phase_block_rows, point_pixels, zero_block)
from fastconv.plan cimport INPUT_GRAD, Axis, Plan, Tensor


# One call of run_depthwise, as its tasks see it.
cdef struct Job:
    const Plan *plan
    const Tensor *x
    const char *bias
    char *out
    char *packed                # [phase][row tap][column tap][share][panel]
    char *threads
    int finite


cdef inline Py_ssize_t shares_of(const Plan *plan) noexcept nogil:
    """Products a tap adds to one output element."""
    return plan.multiplier if plan.op == INPUT_GRAD else 1


cdef char *phase_weights(const Job *job, const Phase *phase) noexcept nogil:
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t taps = phase.first_row * plan.columns.taps + phase.rows * phase.first_column
    return job.packed + taps * shares_of(plan) * plan.panel * plan.itemsize


cdef void pack_phase(Job *job, const Tensor *w, const Phase *phase) noexcept nogil:
    cdef const Plan *plan = job.plan
    cdef fastconv_pack_args args
    cdef Py_ssize_t tap, share, shares = shares_of(plan)
    args.rows, args.columns, args.panel_stride = 1, plan.out_total, plan.panel
    args.row_stride, args.column_stride = 0, shares * w.channel_stride
    args.finite = &job.finite
    args.panel = phase_weights(job, phase)
    for tap in range(phase.rows * phase.columns):
        for share in range(shares):
            args.source = w.data + plan.itemsize * (
                plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
                + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
                + share * w.channel_stride)
            plan.kernels.pack(&args)
            args.panel = <char *> args.panel + plan.panel * plan.itemsize


cdef void spread_offsets(const Plan *plan, const Phase *phase, Py_ssize_t *offsets) noexcept nogil:
    """From an offset a tap to an offset a tap and share, in place, last first."""
    cdef Py_ssize_t tap, share, shares = shares_of(plan)
    for tap in range(phase.runs - 1, -1, -1):
        for share in range(shares - 1, -1, -1):
            offsets[tap * shares + share] = offsets[tap] + share * plan.out_total


cdef void only_real_taps(
    const Plan *plan, const Block *block, const Phase *phase, fastconv_depthwise_args *args, Py_ssize_t pixels,
) noexcept nogil:
    """dL/dx with weights that are not finite: zero times them is not zero, so padding must not be multiplied."""
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t shares = shares_of(plan), stride = plan.panel * plan.itemsize
    cdef Py_ssize_t down = phase_block_rows(plan, block, phase), across = phase_block_columns(plan, block, phase)
    cdef Py_ssize_t pixel, tap, row, column, at
    cdef const char *weights = <const char *> args.weights
    cdef const Py_ssize_t *offsets = args.tap_offset
    cdef const void **reads = args.in_
    cdef void **writes = args.out
    args.pixels = 1
    for pixel in range(pixels):
        args.in_, args.out = reads + pixel, writes + pixel
        args.taps, args.accumulate = 0, False
        plan.kernels.depthwise(args)
        args.taps, args.accumulate = shares, True
        row = block.row + pixel // across % down
        column = block.column + pixel % across
        for tap in range(phase.runs):
            at = row + rows.tap_offset[phase.first_row + tap // phase.columns]
            if not 0 <= at < rows.in_size:
                continue
            at = column + columns.tap_offset[phase.first_column + tap % phase.columns]
            if 0 <= at < columns.in_size:
                args.tap_offset = offsets + tap * shares
                args.weights = weights + tap * shares * stride
                plan.kernels.depthwise(args)


cdef void run_task(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t row, column
    cdef unsigned long long mode = flush_denormals()
    cdef fastconv_depthwise_args args
    cdef Workspace work
    cdef Block block
    cdef Source source
    cdef Phase phase
    open_workspace(plan, job.threads, thread, &work)
    locate_block(plan, task, &block)
    gather_block(plan, job.x, &block, work.scratch, &source)
    if not (plan.rows.covered and plan.columns.covered):
        zero_block(plan, &block, job.out)
    args.channels = plan.out_total
    args.weights_stride = plan.panel
    args.bias = job.bias
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            args.pixels = point_pixels(plan, &block, &phase, &source, job.out, work.reads, work.writes)
            args.in_, args.out = work.reads, work.writes
            find_offsets(plan, &phase, &source, work.offsets)
            spread_offsets(plan, &phase, work.offsets)
            args.taps = phase.runs * shares_of(plan)
            args.tap_offset = work.offsets
            args.weights = phase_weights(job, &phase)
            args.accumulate = False
            if job.finite or plan.op != INPUT_GRAD or not (plan.rows.padded or plan.columns.padded):
                plan.kernels.depthwise(&args)
            else:
                only_real_taps(plan, &block, &phase, &args, args.pixels)
    restore_mode(mode)


cdef void run_depthwise(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace,
) noexcept nogil:
    """Run a depthwise FORWARD or INPUT_GRAD plan; `workspace` has plan.workspace_bytes."""
    cdef Job job
    cdef Phase phase
    cdef Py_ssize_t task, row, column
    job.plan, job.x, job.bias, job.out = plan, x, bias, out
    job.packed = <char *> ((<size_t> workspace + 63) & ~(<size_t> 63))
    job.threads = job.packed + plan.packed_bytes
    job.finite = True
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            pack_phase(&job, w, &phase)
    if plan.threads == 1:       # without the cost of opening a parallel region
        for task in range(plan.tasks):
            run_task(&job, task, 0)
    else:
        for task in prange(plan.tasks, num_threads=plan.threads, schedule="dynamic"):
            run_task(&job, task, threadid())
