"""What a tile reads, transformed: in a thread's own memory, block by block, or all first, for every thread to read."""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    fastconv_gather_args, fastconv_winograd_args, fastconv_winograd_input6, fastconv_winograd_output6_grad,
    flush_denormals, restore_mode)
from fastconv.axes cimport ceil_div
from fastconv.plan cimport WEIGHT_GRAD, Plan, Tensor
from fastconv.spans cimport MOST_POINTS, Span
from fastconv.tiles cimport KINDS, Tile, Winograd, find_tiles

# Tiles that one task transforms for everyone.
cdef Py_ssize_t CHUNK = 4


cdef char *open_job(Job *job, const Winograd *w, char *at) noexcept nogil:
    """Lay out what is shared from `at` on; returns where it ends."""
    cdef Py_ssize_t block
    job.w = w
    if not w.shared:
        return at
    job.inputs = at
    at += w.blocks * w.input_bytes
    if w.plan.op == WEIGHT_GRAD:
        job.outputs = at
        at += w.blocks * w.output_bytes
    job.blocks = <Tiles *> (at + w.blocks * w.tile_bytes)
    for block in range(w.blocks):
        job.blocks[block].tiles = <Tile *> (at + block * w.tile_bytes)
        find_tiles(w, block, job.blocks + block)
    return job.inputs + w.shared_bytes


cdef void open_workspace(const Job *job, Py_ssize_t thread, Workspace *work) noexcept nogil:
    cdef const Winograd *w = job.w
    work.sums = job.threads + thread * w.thread_bytes
    work.weights = work.sums + w.sums_bytes
    work.scratch = work.weights + w.slice_bytes
    work.output = work.scratch + w.scratch_bytes
    work.input = work.output + (0 if w.shared and w.plan.op == WEIGHT_GRAD else w.output_bytes)
    work.inputs = <const void **> (work.input + (0 if w.shared else w.input_bytes))
    work.outputs = work.inputs + KINDS * w.block_tiles
    work.block.tiles = <Tile *> (work.outputs + KINDS * w.block_tiles)


cdef void open_block(const Job *job, Py_ssize_t block, Workspace *work) noexcept nogil:
    """Its tiles, and where each of them is, or is to be, transformed."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t tile, row, column, end, size = w.plan.itemsize, fewest_rows, fewest_columns
    fewest_rows, fewest_columns = w.row_points - KINDS + 1, w.column_points - KINDS + 1
    cdef const Tile *at
    if w.shared:
        work.block = job.blocks[block]
        work.input = job.inputs + block * w.input_bytes
        if w.plan.op == WEIGHT_GRAD:
            work.output = job.outputs + block * w.output_bytes
    else:
        find_tiles(w, block, &work.block)
    for row in range(KINDS):
        end = row * w.block_tiles
        for column in range(KINDS - 1, -1, -1):
            for tile in range(work.block.count):
                at = work.block.tiles + tile
                if at.rows.points >= fewest_rows + row and at.columns.points == fewest_columns + column:
                    work.inputs[end] = work.input + tile * w.input_pitch * size
                    work.outputs[end] = work.output + tile * w.output_pitch * size
                    end += 1
            work.counts[row][column] = end - row * w.block_tiles


cdef Py_ssize_t tiles_of_point(
    const Winograd *w, const Workspace *work, Py_ssize_t point, const void ***inputs, const void ***outputs,
) noexcept nogil:
    """Those tiles of a block that have a point; returns how many.

    A list for each kind of rows, those with the most columns first: so the tiles of any point follow one another.
    """
    cdef Py_ssize_t row = max(point // w.column_points - w.row_points + KINDS, 0)
    cdef Py_ssize_t column = max(point % w.column_points - w.column_points + KINDS, 0)
    inputs[0] = work.inputs + row * w.block_tiles
    outputs[0] = work.outputs + row * w.block_tiles
    return work.counts[row][column]


cdef void gather_tile(
    const Winograd *w, const Tensor *x, Py_ssize_t channels, char *scratch, fastconv_winograd_args *args,
) noexcept nogil:
    """Copy what a tile reads to where its channels are dense: [6][6][channels]."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize, row
    cdef fastconv_gather_args gather
    gather.lead = gather.tail = gather.outer_stride = gather.outer_step = 0
    gather.outer, gather.inner = 1, channels
    gather.pixels = args.end_column - args.first_column
    gather.column_stride, gather.inner_stride, gather.pixel_step = args.in_column, x.channel_stride, channels
    for row in range(args.first_row, args.end_row):
        gather.x = <const char *> args.in_ + size * (row * args.in_row + args.first_column * args.in_column)
        gather.scratch = scratch + size * channels * (row * w.column_points + args.first_column)
        plan.kernels.gather(&gather)
    args.in_ = scratch
    args.in_row, args.in_column = w.column_points * channels, channels


cdef inline void clip(
    const Span *span, bint of_output, Py_ssize_t square, Py_ssize_t size, Py_ssize_t *start, Py_ssize_t *first,
    Py_ssize_t *end,
) noexcept nogil:
    """Where a tile's operand starts along an axis, for a square of taps, and which of its values exist."""
    start[0], first[0], end[0] = span.first, 0, span.count
    if not of_output:
        start[0] = span.position + square * span.advance
        first[0] = min(ceil_div(max(-start[0], 0), span.step), span.reads)
        end[0] = max(min(ceil_div(size - start[0], span.step), span.reads), first[0])


cdef inline int matrix_after(int six, Py_ssize_t points) noexcept nogil:
    """Number of the matrix for so many points: those for 5, 4, 3 and 1 follow that for `six`."""
    return six + <int> min(MOST_POINTS - points, 4)


cdef void choose_matrices(const Tile *tile, int six, fastconv_winograd_args *args) noexcept nogil:
    """The matrices that a tile's points need, where number `six` is for an axis of six points."""
    args.rows = matrix_after(six, tile.rows.points)
    args.columns = matrix_after(six, tile.columns.points)


cdef void read_tile(
    const Winograd *w, const Tile *tile, const Tensor *x, Py_ssize_t square, Py_ssize_t channel, Py_ssize_t channels,
    bint of_output, char *scratch, fastconv_winograd_args *args,
) noexcept nogil:
    """Let `args` transform what a tile reads of x through a square or, `of_output`, its own part of dy."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t down = square // w.column_squares, across = square % w.column_squares, row, column
    clip(&tile.rows, of_output, down, plan.rows.in_size, &row, &args.first_row, &args.end_row)
    clip(&tile.columns, of_output, across, plan.columns.in_size, &column, &args.first_column, &args.end_column)
    choose_matrices(tile, fastconv_winograd_output6_grad if of_output else fastconv_winograd_input6, args)
    args.channels = channels
    args.in_row, args.in_column = tile.rows.step * x.row_stride, tile.columns.step * x.column_stride
    args.in_ = x.data + plan.itemsize * (
        tile.image * x.batch_stride + row * x.row_stride + column * x.column_stride + channel * x.channel_stride)
    if x.channel_stride != 1:
        gather_tile(w, x, channels, scratch, args)
    args.out_rows, args.out_columns = tile.rows.points, tile.columns.points


cdef void transform_tiles(
    const Job *job, const Workspace *work, Py_ssize_t first, Py_ssize_t end, const Tensor *x, Py_ssize_t square,
    Py_ssize_t channel, Py_ssize_t channels, bint of_output, char *to,
) noexcept nogil:
    """Transform what the tiles [first, end) read of some channels of an operand; tile 0 goes to `to`."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t tile, step = w.output_step if of_output else w.input_step
    cdef Py_ssize_t pitch = w.plan.itemsize * (w.output_pitch if of_output else w.input_pitch)
    cdef int unused
    cdef fastconv_winograd_args args
    args.out_row, args.out_column = w.column_points * step, step
    args.bias, args.stream, args.finite = NULL, False, &unused
    for tile in range(first, end):
        read_tile(w, work.block.tiles + tile, x, square, channel, channels, of_output, work.scratch, &args)
        args.out = to + tile * pitch
        w.plan.kernels.winograd(&args)


cdef void transform_inputs(
    const Job *job, const Workspace *work, Py_ssize_t first, Py_ssize_t end, Py_ssize_t group, Py_ssize_t k,
    Py_ssize_t rows, Py_ssize_t to,
) noexcept nogil:
    """Rows of K, from `k` on, of what the tiles [first, end) read of a group of x; in a tile, they go to `to`.

    Of a bundle of groups, it is all of theirs.
    """
    cdef Py_ssize_t C = job.w.plan.in_channels * job.w.bundle, last = k + rows, count
    while k < last:
        count = min(C - k % C, last - k)
        transform_tiles(job, work, first, end, job.x, k // C, group * C + k % C, count, False,
                        work.input + to * job.w.plan.itemsize)
        k += count
        to += count


cdef void transform_outputs(
    const Job *job, const Workspace *work, Py_ssize_t first, Py_ssize_t end, Py_ssize_t channel, Py_ssize_t channels,
) noexcept nogil:
    """The tiles' own part of some channels of dy."""
    transform_tiles(job, work, first, end, job.second, 0, channel, channels, True, work.output)


cdef void transform_chunk(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """All channels of a few tiles of a block, and of dy in dL/dW."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t chunks = (w.block_tiles + CHUNK - 1) // CHUNK, first = task % chunks * CHUNK, end
    cdef Py_ssize_t group
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    open_workspace(job, thread, &work)
    open_block(job, task // chunks, &work)
    end = min(first + CHUNK, work.block.count)
    if w.squares == 1:
        transform_tiles(job, &work, first, end, job.x, 0, 0, w.plan.in_total, False, work.input)
    else:
        for group in range(w.plan.groups):
            transform_inputs(job, &work, first, end, group, 0, w.depth, group * w.depth)
    if w.plan.op == WEIGHT_GRAD:
        transform_outputs(job, &work, first, end, 0, w.plan.out_total)
    restore_mode(mode)


cdef void transform_shared(const Job *job) noexcept nogil:
    """Transform every tile for every thread."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t task, tasks = w.blocks * ((w.block_tiles + CHUNK - 1) // CHUNK)
    if w.threads == 1:          # without the cost of opening a parallel region
        for task in range(tasks):
            transform_chunk(job, task, 0)
    else:
        for task in prange(tasks, num_threads=w.threads, schedule="dynamic"):
            transform_chunk(job, task, threadid())
