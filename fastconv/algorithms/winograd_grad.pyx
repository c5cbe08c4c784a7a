"""dL/dW by the transpose of Winograd's algorithm: products of transformed tiles, summed over tiles.

    for each piece of the blocks of tiles and range of channels of x and dy (in parallel)
        for each block of the piece
            transform what its tiles read of x, and their own part of dy, unless that is done
            for each of the 36 points: grad kernel, channels of x times tiles by tiles times channels of dy
        transform the sums: 3x3 weights
    add the pieces in order

Where tiles are few, a kernel of its own goes from their products to 3x3 weights, with the sums in registers.

x is transformed as in the forward pass, dy by the transpose of the output's transform, and the sums by the
transpose of the weights'.  Blocks and pieces follow from the geometry, ranges change no sum: so the result is
the same for any number of threads.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    FASTCONV_GRAD_VECTORS, caches, fastconv_grad_args, fastconv_winograd_args, fastconv_winograd_few_grad_args,
    fastconv_winograd_output1, fastconv_winograd_weights3_grad, fastconv_winograd_weights_grad, flush_denormals,
    restore_mode, spare_shuffles)
from fastconv.algorithms.transforms cimport (
    Job, Workspace, open_block, open_job, open_workspace, tiles_of_point, transform_inputs, transform_outputs,
    transform_shared)
from fastconv.algorithms.weight_grad cimport add_pieces, is_finite, piece_at
from fastconv.axes cimport aligned
from fastconv.kernel_choice cimport BEYOND_CACHES
from fastconv.plan cimport Plan, Tensor
from fastconv.spans cimport PAIR_POINTS, taps_of
from fastconv.tiles cimport Winograd


cdef extern from "compat.h":
    void fastconv_set_setting(int *setting, int value) noexcept nogil


cdef void add_products(
    const Job *job, const Workspace *work, Py_ssize_t groups, Py_ssize_t from_in, Py_ssize_t rows, Py_ssize_t from_out,
    Py_ssize_t columns, bint accumulate,
) noexcept nogil:
    """Add a block's products of some channels of x with some of dy to the sums of every point.

    Of several groups, the next ones' channels follow.
    """
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t point, group, column
    cdef fastconv_grad_args args
    args.rows = args.run_length = rows
    args.grad_stride = w.out_range
    args.ahead = plan.kernels.grad_panel     # what the next columns take
    args.permute, args.accumulate = spare_shuffles(), accumulate
    for point in range(w.points):
        args.pixels = tiles_of_point(
            w, work, point, <const void ***> &args.in_, <const void ***> &args.dy)
        for group in range(groups):
            args.in_offset = point * w.input_step + from_in + group * rows
            column = 0
            while column < columns:
                args.columns = min(plan.kernels.grad_panel, columns - column)
                args.dy_offset = point * w.output_step + from_out + group * columns + column
                args.grad = work.sums + plan.itemsize * (
                    point * w.weights_step + group * rows * w.out_range + column)
                plan.kernels.grad(&args)
                column += args.columns


cdef void write_few(
    Job *job, const Workspace *work, Py_ssize_t groups, Py_ssize_t from_in, Py_ssize_t rows, Py_ssize_t from_out,
    Py_ssize_t columns, char *grad,
) noexcept nogil:
    """dL/dW of so few tiles that their sums are better not written down; `grad` is the first element of its own."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t point, group, points = 0
    cdef int finite = True
    cdef fastconv_winograd_few_grad_args args
    args.rows, args.columns = rows, columns
    args.in_point, args.dy_point = w.input_step, w.output_step
    for point in range(36):
        args.tiles[point] = tiles_of_point(
            w, work, point, <const void ***> &args.in_[point // 6], <const void ***> &args.dy[point // 6])
        points += args.tiles[point]
    # Of more tiles, dy would exceed L1; and where results come from memory or other cores' caches, it is slower.
    args.wide = w.threads == 1 and (
        points * FASTCONV_GRAD_VECTORS * plan.kernels.lanes * plan.itemsize <= 2 * caches().l1 // 3) and (
        9 * plan.in_channels * plan.geometry.out_channels * plan.itemsize <= BEYOND_CACHES // 2 * caches().l2)
    args.grad_stride = plan.geometry.out_channels
    args.tap_column = plan.in_channels * args.grad_stride
    args.tap_row = 3 * args.tap_column
    args.finite = &finite
    for group in range(groups):
        args.in_offset, args.dy_offset = from_in + group * rows, from_out + group * columns
        args.grad = grad + plan.itemsize * group * columns
        plan.kernels.winograd_few_grad(&args)
    if not finite:
        fastconv_set_setting(&job.finite, False)


cdef inline int matrix_of(Py_ssize_t points) noexcept nogil:
    """The transpose of the weights' matrix for tiles of so many points."""
    if points == 1:
        return fastconv_winograd_output1
    return fastconv_winograd_weights3_grad if points == PAIR_POINTS else fastconv_winograd_weights_grad


cdef void transform_sums(
    const Job *job, const char *sums, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t columns, char *grad,
) noexcept nogil:
    """dL/dW from the sums, of rows of K from `first` on; `grad` is its first element of these filters."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t C = plan.in_channels, size = plan.itemsize, total = plan.geometry.out_channels, k, down, across
    cdef Py_ssize_t tap_rows = taps_of(w.row_points), tap_columns = taps_of(w.column_points)
    cdef int unused
    cdef fastconv_winograd_args args
    args.rows, args.columns = matrix_of(w.row_points), matrix_of(w.column_points)
    args.channels = columns
    args.in_row, args.in_column = w.column_points * w.weights_step, w.weights_step
    args.first_row = args.first_column = 0
    args.end_row, args.end_column = w.row_points, w.column_points
    args.out_row, args.out_column = plan.columns.taps * C * total, C * total
    args.bias, args.stream, args.finite = NULL, False, &unused
    for k in range(first, first + rows):
        down, across = tap_rows * (k // C // w.column_squares), tap_columns * (k // C % w.column_squares)
        args.out_rows = min(plan.rows.taps - down, tap_rows)
        args.out_columns = min(plan.columns.taps - across, tap_columns)
        args.in_ = sums + (k - first) * w.out_range * size
        args.out = grad + size * (down * args.out_row + across * args.out_column + k % C * total)
        plan.kernels.winograd(&args)


cdef void run_unit(
    Job *job, Workspace *work, Py_ssize_t piece, Py_ssize_t unit, Py_ssize_t *opened,
) noexcept nogil:
    """One range of channels, or a bundle of groups, over every block of a piece.

    `opened`: the block, and the range of x transformed.
    """
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t start = w.blocks * piece // w.pieces, stop = w.blocks * (piece + 1) // w.pieces, block
    cdef Py_ssize_t first_group = unit // (w.in_ranges * w.out_ranges) * w.bundle, range_in = unit // w.out_ranges
    cdef Py_ssize_t groups = min(w.bundle, plan.groups - first_group), group
    cdef Py_ssize_t from_in = range_in % w.in_ranges * w.in_range, from_out = unit % w.out_ranges * w.out_range
    cdef Py_ssize_t rows = min(w.in_range, w.depth - from_in)
    cdef Py_ssize_t columns = min(w.out_range, plan.out_channels - from_out)
    cdef Py_ssize_t in_dy = first_group * plan.out_channels + from_out
    cdef Py_ssize_t at_in = first_group * w.depth + from_in if w.shared else 0, at_out = in_dy if w.shared else 0
    cdef Py_ssize_t size = plan.itemsize, sums = rows * w.out_range * size
    for block in range(start, stop):
        if opened[0] != block:
            opened[0], opened[1] = block, -1
            open_block(job, block, work)
        if opened[1] != range_in and not w.shared:      # a single block serves all ranges of dy
            opened[1] = range_in
            transform_inputs(job, work, 0, work.block.count, first_group // w.bundle, from_in, groups * rows, 0)
        if not w.shared:
            transform_outputs(job, work, 0, work.block.count, in_dy, groups * columns)
        if w.few:
            write_few(job, work, groups, at_in, rows, at_out, columns,
                      job.out + size * (from_in * plan.geometry.out_channels + in_dy))
        else:
            add_products(job, work, groups, at_in, rows, at_out, columns, block > start)
    for group in range(0 if w.few else groups):
        transform_sums(
            job, work.sums + group * sums, from_in, rows, columns,
            piece_at(job.out, job.partials, piece, w.pieces, w.partial_bytes) + size * (in_dy + group * columns))


cdef void run_grad_task(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One share of the ranges of channels, for one piece."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t share = task % w.shares, unit
    cdef Py_ssize_t[2] opened
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    opened[0] = opened[1] = -1
    open_workspace(job, thread, &work)
    for unit in range(w.units * share // w.shares, w.units * (share + 1) // w.shares):
        run_unit(job, &work, task // w.shares, unit, opened)
    restore_mode(mode)


cdef bint run_winograd_grad(
    const Winograd *w, const Tensor *x, const Tensor *dy, char *grad, char *workspace,
) noexcept nogil:
    """Run a WEIGHT_GRAD plan; `workspace` has w.workspace_bytes.  Returns whether the result is finite."""
    cdef Job job
    cdef Py_ssize_t task
    job.x, job.second, job.out = x, dy, grad
    job.partials, job.finite = aligned(workspace), True
    job.threads = open_job(&job, w, job.partials + w.partial_bytes)
    if w.shared:
        transform_shared(&job)
    if w.threads == 1:          # without the cost of opening a parallel region
        for task in range(w.tasks):
            run_grad_task(&job, task, 0)
    else:
        for task in prange(w.tasks, num_threads=w.threads, schedule="dynamic"):
            run_grad_task(&job, task, threadid())
    add_pieces(w.plan, grad, job.partials, w.pieces, w.partial_bytes, w.threads)
    return job.finite if w.few else is_finite(w.plan, grad)
