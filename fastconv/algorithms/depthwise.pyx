"""One filter a channel: the forward pass and dL/dx, vectors along channels.

The same blocks and phases as the direct sum; the kernel takes a row of pixels at a time and multiplies
each channel by its own weight.  Where it may, it reads the input in place and leaves out the taps that
fall on padding: see Plan.clipped.  With several filters a channel, scratch holds each channel that often
(forward), or dy of the j-th filters side by side, whose shares dL/dx adds one after the other.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport fastconv_depthwise_args, fastconv_pack_args, flush_denormals, restore_mode
from fastconv.blocks cimport (
    Block, Phase, Source, Workspace, gather_block, locate_block, open_phase, open_workspace,
    phase_block_columns, phase_block_rows, real_taps, tap_offset, zero_block)
from fastconv.plan cimport INPUT_GRAD, Axis, Plan, Tensor


# One call of run_depthwise, as its tasks see it.
cdef struct Job:
    const Plan *plan
    const Tensor *x
    const char *bias
    char *out
    char *packed                # [phase][share][row tap][column tap][panel]
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
    for share in range(shares):
        for tap in range(phase.rows * phase.columns):
            args.source = w.data + plan.itemsize * (
                plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
                + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
                + share * w.channel_stride)
            plan.kernels.pack(&args)
            args.panel = <char *> args.panel + plan.panel * plan.itemsize


cdef void point_row(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, Py_ssize_t image, Py_ssize_t row,
    char *out, fastconv_depthwise_args *args,
) noexcept nogil:
    """Where the pixels of one row of the block read and write."""
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t down = rows.phase_first[phase.row] + (block.row + row) * rows.out_step
    cdef Py_ssize_t right = columns.phase_first[phase.column] + block.column * columns.out_step
    args.in_ = source.data + plan.itemsize * (
        image * source.image_stride + row * source.row_stride
        + tap_offset(plan, source, 0, phase.first_column) - tap_offset(plan, source, 0, 0))
    args.out = out + plan.itemsize * plan.out_total * (
        ((block.image + image) * rows.out_size + down) * columns.out_size + right)


cdef void run_pixels(
    const Plan *plan, const fastconv_depthwise_args *row, Py_ssize_t pixel, Py_ssize_t pixels, Py_ssize_t first_tap,
    Py_ssize_t end_tap,
) noexcept nogil:
    """Some pixels of a row, through some of the taps across."""
    cdef Py_ssize_t size = plan.itemsize
    cdef fastconv_depthwise_args args = row[0]
    args.pixels = pixels
    args.in_ = <const char *> row.in_ + size * (pixel * row.in_stride + first_tap * row.tap_step)
    args.out = <char *> row.out + size * pixel * row.out_stride
    args.weights = <const char *> row.weights + size * first_tap * row.weights_stride
    args.tap_columns = end_tap - first_tap
    plan.kernels.depthwise(&args)


cdef void run_clipped(
    const Plan *plan, const Block *block, const Phase *phase, Py_ssize_t row, const fastconv_depthwise_args *whole,
) noexcept nogil:
    """A row of pixels through the taps that read inside the input: nothing is multiplied by padding."""
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t step = columns.in_step, start = phase.first_column, pixel, first, end, left, right
    cdef fastconv_depthwise_args args = whole[0]
    real_taps(&plan.rows, phase.first_row, phase.rows, block.row + row, &first, &end)
    args.tap_rows = end - first
    args.row_offset += first
    args.weights = <const char *> args.weights + first * phase.columns * args.weights_stride * plan.itemsize
    # Pixels [left, right) read through every tap across.
    left = -columns.tap_offset[start]
    right = columns.in_size - columns.tap_offset[start + phase.columns - 1]
    left = min(max((left + step - 1) // step - block.column, 0), args.pixels) if left > 0 else 0
    right = min(max((right + step - 1) // step - block.column, left), args.pixels) if right > 0 else left
    for pixel in range(left):
        real_taps(columns, start, phase.columns, block.column + pixel, &first, &end)
        run_pixels(plan, &args, pixel, 1, first, end)
    if right > left:
        run_pixels(plan, &args, left, right - left, 0, phase.columns)
    for pixel in range(right, args.pixels):
        real_taps(columns, start, phase.columns, block.column + pixel, &first, &end)
        run_pixels(plan, &args, pixel, 1, first, end)


cdef void run_phase(
    const Job *job, const Block *block, const Phase *phase, const Source *source, Py_ssize_t *offsets,
) noexcept nogil:
    """Every row that a phase has in the block."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t tap, image, row, share, taps = phase.rows * phase.columns
    cdef fastconv_depthwise_args args
    for tap in range(phase.rows):
        offsets[tap] = tap_offset(plan, source, phase.first_row + tap, 0)
    args.pixels = phase_block_columns(plan, block, phase)
    args.channels = plan.out_total
    args.in_stride = source.column_stride
    args.out_stride = plan.columns.out_step * plan.out_total
    args.tap_rows, args.tap_columns = phase.rows, phase.columns
    args.tap_step = 0
    if phase.columns > 1:       # the taps of a phase are evenly spaced
        args.tap_step = (tap_offset(plan, source, 0, phase.first_column + 1)
                         - tap_offset(plan, source, 0, phase.first_column))
    args.row_offset = offsets
    args.weights_stride, args.weights_columns = plan.panel, phase.columns
    args.bias = job.bias
    for image in range(block.images):
        for row in range(phase_block_rows(plan, block, phase)):
            point_row(plan, block, phase, source, image, row, job.out, &args)
            args.weights = phase_weights(job, phase)
            for share in range(shares_of(plan)):
                args.accumulate = share > 0
                if plan.clipped:
                    run_clipped(plan, block, phase, row, &args)
                else:
                    plan.kernels.depthwise(&args)
                args.in_ = <const char *> args.in_ + plan.out_total * plan.itemsize
                args.weights = <const char *> args.weights + taps * plan.panel * plan.itemsize


cdef void run_task(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t row, column
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    cdef Block block
    cdef Source source
    cdef Phase phase
    open_workspace(plan, job.threads, thread, &work)
    locate_block(plan, task, &block)
    gather_block(plan, job.x, &block, work.scratch, &source)
    if not (plan.rows.covered and plan.columns.covered):
        zero_block(plan, &block, job.out)
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            run_phase(job, &block, &phase, &source, work.offsets)
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
