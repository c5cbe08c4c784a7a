"""One filter a channel, a small group of channels, or few that all filters see: the forward pass and dL/dx.

Vectors lie along channels.

The same blocks and phases as the direct sum; the kernel takes whole rows of pixels and multiplies each channel by its
own weight.  Where it may, it reads the input in place and leaves out the taps that fall on padding: see Plan.clipped.
With several filters a channel, scratch holds each channel that often (forward), or dy of the j-th filters of all
channels in a plane, whose shares dL/dx adds one after the other.  Channels fewer than lanes are repeated: a vector,
and a row of packed weights, covers several pixels then.

NumPy aligns arrays to 16 bytes, and a vector that crosses a cache line costs twice and more.  Where pixels
follow one another, a row is one line of elements in which a vector may start anywhere: it starts where it is
aligned, `shift` channels into the pixel, and meets weights whose channels are rotated by as many.  Elsewhere, and
where pixels are many vectors but few, a vector more takes the first `shift` channels of each.

    elements     p0: 0 1 2 3 4 5 6 7  p1: 0 1 2 3 4 5 6 7  p2: 0 1 2 3 4 5 6 7
    shift 3      head ^^^^^  | 3 4 5 6 7 0 1 2 | 3 4 5 6 7 0 1 2 |  ^^^^^^^^^ tail

A few input channels that all filters see go the same way: each is broadcast to a vector of filters.
Where filters are half a vector, a vector holds those of two pixels.

In a dL/dx of stride 2 the outputs of four phases alternate.  Where those differ by a tap, a kernel of their own
computes all of them at once, and reads dy once.
"""
from cpython.pyport cimport PY_SSIZE_T_MAX
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    fastconv_depthwise_args, fastconv_depthwise_phases_args, flush_denormals, restore_mode)
from fastconv.algorithms.channel_panels cimport pack_channels, pack_weights, phase_weights, shares_of
from fastconv.axes cimport Axis, aligned, find_taps
from fastconv.blocks cimport (
    Block, Phase, Source, Workspace, find_interior, gather_block, locate_block, open_phase, open_workspace,
    inputs_of, is_large, phase_block_columns, phase_block_rows, tap_offset, zero_block)
from fastconv.kernel_choice cimport MANY_PRODUCTS, many_vectors
from fastconv.plan cimport Plan, Tensor
from fastconv.strips cimport alternating_taps, goes_down

cdef extern from "compat.h":
    void fastconv_fence() noexcept nogil


# Vectors that are not aligned share lines with the next ones, which should still be near after so many rows.
cdef Py_ssize_t UNALIGNED_ROWS = 8


# One call of run_depthwise, as its tasks see it.
cdef struct Job:
    const Plan *plan
    const Tensor *x
    const char *bias
    char *out
    char *packed                # [phase][share][row tap][column tap][channel of the group][panel]
    char *rotated               # the same with channels rotated by `shift`, then the bias
    const char *rotated_bias
    Py_ssize_t shift            # channels to the first aligned vector, or 0
    bint rotates                # rows are lines of elements, which vectors cut where they are aligned
    Py_ssize_t rows             # that a strip has at the most
    char *threads
    int finite
    bint streams                # results go to memory past the caches, where they are aligned


# Some rows of a phase in one image of a block.
cdef struct Part:
    const Block *block
    const Phase *phase
    const Source *source
    char *room
    Py_ssize_t image, row, rows


# Pixels [pixel, pixel + pixels) of every row of a part, in some channels.
cdef struct Strip:
    Py_ssize_t pixel, pixels
    Py_ssize_t channel, channels
    bint rotated                # pixels and channels count from `shift` on
    bint split                  # vectors start at `shift`, but for the first one
    bint repeated               # pixels count by Plan.repeat, each with so many times the channels


cdef bint may_stream_rows(
    const Job *job, const char *out, Py_ssize_t row, Py_ssize_t column, Py_ssize_t channels,
) noexcept nogil:
    """Whether a result that goes past the caches is made of whole vectors, all of them aligned."""
    cdef Py_ssize_t lanes = job.plan.kernels.lanes, size = job.plan.itemsize
    return job.streams and channels % lanes == 0 and (<size_t> out | (row | column) * size) % (lanes * size) == 0


cdef void run_strip(const Job *job, const Part *part, const Strip *strip) noexcept nogil:
    """The strip in each row of the part, which is one row where scratch has a slot for each tap."""
    cdef const Plan *plan = job.plan
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef const Block *block = part.block
    cdef const Phase *phase = part.phase
    cdef Py_ssize_t size = plan.itemsize, shift = job.shift if strip.rotated else 0
    cdef Py_ssize_t row = rows.phase_first[phase.row] + (block.row + part.row) * rows.out_step
    cdef Py_ssize_t column = columns.phase_first[phase.column] + (block.column + strip.pixel) * columns.out_step
    cdef Py_ssize_t share
    cdef fastconv_depthwise_args args
    args.rows, args.pixels, args.channels, args.group = part.rows, strip.pixels, strip.channels, inputs_of(plan)
    args.group_outputs = plan.group_outputs
    args.shared = args.second = 0
    if plan.shared > 0:
        args.shared = strip.channels if strip.repeated else plan.out_total // plan.groups
        args.second = part.source.column_pitch if strip.repeated else 0
    args.first_vector = job.shift if strip.split else 0
    args.strip = plan.strip_pixels
    args.in_row, args.in_column = part.source.row_pitch, part.source.column_pitch
    args.tap_rows, args.tap_columns = phase.rows, phase.columns
    find_taps(rows, plan.gathered and rows.sparse, phase.first_row, phase.rows, block.row + part.row,
              &args.row_step, &args.row_dilation, &args.first_row, &args.end_row)
    find_taps(columns, plan.gathered and columns.sparse, phase.first_column, phase.columns, block.column + strip.pixel,
              &args.column_step, &args.column_dilation, &args.first_column, &args.end_column)
    if not plan.clipped:        # zeros lie there
        args.first_row = args.first_column = 0
        args.end_row = args.end_column = PY_SSIZE_T_MAX
    args.in_ = part.source.data + size * (
        (0 if plan.shared > 0 else strip.channel + shift)
        + part.image * part.source.image_stride + part.row * part.source.row_stride
        + strip.pixel * part.source.column_stride + tap_offset(plan, part.source, phase.first_row, phase.first_column))
    args.out_row, args.out_column = rows.out_step * columns.out_size * plan.out_total, columns.out_step * plan.out_total
    args.out = job.out + size * (plan.out_total * (
        ((block.image + part.image) * rows.out_size + row) * columns.out_size + column) + strip.channel + shift)
    args.weights = (job.rotated if strip.rotated else job.packed) + phase_weights(plan, phase) + strip.channel * size
    args.weights_stride = plan.panel
    # What it copies has zeros for padding, which weights that are not finite would not leave out.
    args.room = part.room if plan.room_columns > 0 and job.finite else NULL
    args.bias = NULL
    if job.bias != NULL:
        args.bias = (job.rotated_bias if strip.rotated else job.bias) + strip.channel * size
    if strip.repeated:
        args.column_step *= plan.repeat
        args.out_column *= plan.repeat
    args.stream = args.first_vector == 0 and may_stream_rows(
        job, <const char *> args.out, args.out_row, args.out_column, args.channels)
    for share in range(shares_of(plan)):
        args.accumulate = share > 0
        plan.kernels.depthwise(&args)
        args.in_ = <const char *> args.in_ + plan.group_pitch * size
        args.weights = <const char *> args.weights + phase.rows * phase.columns * plan.panel * size


cdef void run_pixels(
    const Job *job, const Part *part, Py_ssize_t pixel, Py_ssize_t pixels, Py_ssize_t channel, Py_ssize_t channels,
) noexcept nogil:
    """Pixels as they are, neither rotated nor repeated."""
    cdef Strip strip
    strip.pixel, strip.pixels, strip.channel, strip.channels = pixel, pixels, channel, channels
    strip.rotated = strip.repeated = False
    strip.split = job.shift > 0 and not job.rotates
    run_strip(job, part, &strip)


cdef void run_repeated(const Job *job, const Part *part, Py_ssize_t left, Py_ssize_t right) noexcept nogil:
    """Pixels [left, right) of each row, as many at a time as make whole vectors; they read no padding."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t rest = (right - left) % plan.repeat
    cdef Strip strip
    strip.rotated, strip.repeated, strip.split = False, True, False
    strip.pixel, strip.pixels = left, (right - left) // plan.repeat
    strip.channel, strip.channels = 0, plan.repeat * plan.out_total
    if strip.pixels > 0:
        run_strip(job, part, &strip)
    strip.pixel, strip.pixels, strip.channels = right - rest, 1, rest * plan.out_total
    if rest > 0:
        run_strip(job, part, &strip)


cdef void run_rotated(const Job *job, const Part *part, Py_ssize_t left, Py_ssize_t right) noexcept nogil:
    """Pixels [left, right) of each row as one line of elements; they read no padding."""
    cdef const Plan *plan = job.plan
    cdef Strip strip
    strip.rotated, strip.repeated, strip.split = True, False, False
    strip.pixel, strip.pixels, strip.channel, strip.channels = left, right - left - 1, 0, plan.out_total
    run_strip(job, part, &strip)
    # The last pixel is made of the first one's head and its own tail.
    run_pixels(job, part, left, 1, 0, job.shift)
    run_pixels(job, part, right - 1, 1, job.shift, plan.out_total - job.shift)


cdef void run_part(const Job *job, const Part *part) noexcept nogil:
    """Every pixel of its rows: those that need no care all at once, others one by one."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t pixels = phase_block_columns(plan, part.block, part.phase), channels = plan.out_total
    cdef Py_ssize_t left, right, pixel
    cdef bint rotated = job.shift > 0 and job.rotates
    if not rotated and plan.repeat == 1 and not (plan.clipped and plan.gathered and plan.columns.sparse):
        run_pixels(job, part, 0, pixels, 0, channels)
        return
    find_interior(plan, part.block, part.phase, &left, &right)
    for pixel in range(left):
        run_pixels(job, part, pixel, 1, 0, channels)
    if plan.repeat > 1:
        run_repeated(job, part, left, right)
    elif rotated and right - left > 1:
        run_rotated(job, part, left, right)
    elif right > left:
        run_pixels(job, part, left, right - left, 0, channels)
    for pixel in range(right, pixels):
        run_pixels(job, part, pixel, 1, 0, channels)


cdef void run_phase(
    const Job *job, const Block *block, const Phase *phase, const Source *source, char *room,
) noexcept nogil:
    """Every pixel that a phase has in the block."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t rows = phase_block_rows(plan, block, phase)
    cdef Py_ssize_t most = 1 if plan.clipped and plan.gathered and plan.rows.sparse else job.rows
    cdef Part part
    part.block, part.phase, part.source, part.room = block, phase, source, room
    for part.image in range(block.images):
        part.row = 0
        while part.row < rows:
            part.rows = min(most, rows - part.row)
            run_part(job, &part)
            part.row += part.rows


cdef bint run_phases(const Job *job, const Block *block, const Source *source) noexcept nogil:
    """All phases of the block at once; returns whether the kernel for that serves them.

    A square of outputs, two rows by two columns, starts with the phase of fewer taps: with output -1 if that is odd.
    """
    cdef const Plan *plan = job.plan
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t size = plan.itemsize, above = 0, left = 0, row, column, image
    cdef Py_ssize_t taps = alternating_taps(plan, &above, &left)
    cdef Phase phase
    cdef fastconv_depthwise_phases_args args
    if taps == 0:
        return False
    args.taps, args.channels, args.strip = <int> taps, plan.out_total, plan.strip_pixels
    args.group, args.group_outputs = plan.group, plan.group_outputs
    args.rows, args.pixels = block.rows + above, block.columns + left
    args.in_row, args.in_column = source.row_pitch, source.column_pitch
    args.out_row, args.out_column = columns.out_size * plan.out_total, plan.out_total
    args.weights_stride = plan.panel
    for row in range(2):
        for column in range(2):
            open_phase(plan, row, column, &phase)
            args.weights[2 * (row ^ above) + (column ^ left)] = job.packed + phase_weights(plan, &phase)
    row = block.row + rows.tap_offset[rows.phase_start[1 - above]]
    args.first_row, args.end_row = max(-row, 0), max(rows.in_size - row, 0)
    column = block.column + columns.tap_offset[columns.phase_start[1 - left]]
    args.first_column, args.end_column = max(-column, 0), max(columns.in_size - column, 0)
    args.first_out_row, args.first_out_column = above, left
    args.end_out_row = above + min(2 * block.rows, rows.out_size - 2 * block.row)
    args.end_out_column = left + min(2 * block.columns, columns.out_size - 2 * block.column)
    for image in range(block.images):
        args.in_ = source.data + size * (
            image * source.image_stride
            + tap_offset(plan, source, rows.phase_start[1 - above], columns.phase_start[1 - left]))
        args.out = job.out + size * plan.out_total * (
            ((block.image + image) * rows.out_size + 2 * block.row - above) * columns.out_size
            + 2 * block.column - left)
        args.stream = may_stream_rows(
            job, <const char *> args.out, args.out_row, args.out_column, args.channels)
        plan.kernels.depthwise_phases(&args)
    return True


cdef Py_ssize_t choose_shift(const Job *job) noexcept nogil:
    """Channels to the first vector that is aligned; 0 where it does not pay to start there."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t lanes = plan.kernels.lanes
    if plan.out_total % lanes or plan.group > 1 or plan.shared or shares_of(plan) > 1 or (
            plan.columns.taps >= MANY_PRODUCTS * plan.columns.in_step):
        return 0
    # With a stride, a vector more of each pixel costs more than it saves: of what comes from memory, and of dL/dx.
    if not job.rotates and (plan.out_total < many_vectors(plan) or plan.columns.out_step > 1 or (
            plan.streamed and plan.columns.in_step > 1)):
        return 0
    return -(<Py_ssize_t> (job.out if plan.gathered else job.x.data) // plan.itemsize) & (lanes - 1)


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
    # Scratch is as much out of line as the output, if that is how both can be aligned at once.
    gather_block(plan, job.x, &block, 0,
                 work.scratch + (<size_t> job.out & (64 - plan.itemsize) if job.shift > 0 else 0), &source)
    if not (plan.rows.covered and plan.columns.covered):
        zero_block(plan, &block, job.out)
    if not run_phases(job, &block, &source):
        for row in range(plan.rows.phases):
            for column in range(plan.columns.phases):
                open_phase(plan, row, column, &phase)
                run_phase(job, &block, &phase, &source, work.slice)
    if job.streams:
        fastconv_fence()
    restore_mode(mode)


cdef void run_depthwise(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace,
) noexcept nogil:
    """Run a depthwise FORWARD or INPUT_GRAD plan; `workspace` has plan.workspace_bytes."""
    cdef Job job
    cdef Py_ssize_t task
    cdef char *end
    job.plan, job.x, job.bias, job.out = plan, x, bias, out
    job.packed = aligned(workspace)
    job.threads = job.packed + plan.packed_bytes
    job.finite = True
    job.streams = is_large(plan)
    job.rotates = plan.shared == 0 and plan.columns.in_step == plan.columns.out_step == 1 and (
        plan.gathered or x.column_stride == plan.out_total) and (
        plan.out_total < many_vectors(plan) or 2 * plan.vectors < plan.columns.extent)
    job.shift = choose_shift(&job)
    job.rows = plan.strip_rows
    if goes_down(plan) and inputs_of(plan) == 1 and not (plan.gathered or plan.streamed or plan.shared) and (
            job.shift == 0 and (plan.out_total % plan.kernels.lanes or <size_t> x.data % 64)):
        job.rows = min(job.rows, UNALIGNED_ROWS // plan.rows.in_step)
    job.rotated = pack_weights(plan, w, 0, job.packed, &job.finite)
    job.rotated_bias = NULL
    if job.shift > 0 and job.rotates:
        end = pack_weights(plan, w, job.shift, job.rotated, &job.finite)
        job.rotated_bias = end
        if bias != NULL:
            pack_channels(plan, bias, 1, job.shift, end, &job.finite)
    elif plan.repeat > 1 and bias != NULL:
        pack_channels(plan, bias, 1, 0, job.rotated, &job.finite)
        job.bias = job.rotated
    if plan.threads == 1:       # without the cost of opening a parallel region
        for task in range(plan.tasks):
            run_task(&job, task, 0)
    else:
        for task in prange(plan.tasks, num_threads=plan.threads, schedule="dynamic"):
            run_task(&job, task, threadid())
