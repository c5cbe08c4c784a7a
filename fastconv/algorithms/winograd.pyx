"""Winograd's minimal filtering: products of transformed tiles instead of sums over taps.

The forward pass and dL/dx, which is the same with the kernel turned:

    for each part of the weights, as many panels as may be transformed at once: transform them (in parallel)
        for each block of tiles (in parallel)
            transform the input they read: 6x6 values a channel
            for each panel of output channels
                for each of the 36 points: conv kernel, tiles times channels by channels times panel
                transform the products: 4x4 outputs

dL/dW is the transpose of that algorithm: the input is transformed as before, dy by the transpose of the output's
transform, and the sums over tiles by the transpose of the weights'.  Each output of a point is one chain in the
order of K, so nothing but the geometry decides on a bit.  A. Lavin, S. Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    fastconv_conv_args, fastconv_grad_args, fastconv_pack_args, fastconv_winograd_args, fastconv_winograd_output4,
    fastconv_winograd_output6, fastconv_winograd_weights, fastconv_winograd_weights_grad, flush_denormals, restore_mode)
from fastconv.algorithms.weight_grad cimport add_pieces
from fastconv.axes cimport even_part
from fastconv.plan cimport INPUT_GRAD, Plan, Tensor, panel_start
from fastconv.tiles cimport (
    FEW_POINTS, MOST_POINTS, POINTS, Tile, Winograd, find_tiles, odd_lines, read_tile, tiles_of_point)

cdef extern from "compat.h":
    void fastconv_set_setting(int *setting, int value) noexcept nogil


# One call, as its tasks see it.
cdef struct Job:
    const Winograd *w
    const Tensor *x
    const Tensor *second        # weights, or dy
    const char *bias
    char *out                   # y, dx, or dL/dW and the pieces after the first
    char *partials
    char *weights               # transformed, of the units [first_unit, end_unit)
    Py_ssize_t first_unit, end_unit
    char *threads
    int finite                  # no weight so far is NaN or infinite
    int *image_finite           # of each image: no result so far is

# Working memory of a thread.
cdef struct Workspace:
    char *input                 # [points][tiles][channels], transformed
    char *output                # [points][tiles][panel]: products, or dy transformed
    char *sums                  # dL/dW: [points][rows][columns]; else weights to be transformed
    char *weights               # of a slice, transformed
    char *scratch               # a tile whose channels were not dense
    Tile *tiles
    const void **inputs
    const void **outputs
    Py_ssize_t[5] bounds


cdef void open_workspace(const Job *job, Py_ssize_t thread, Workspace *work) noexcept nogil:
    cdef const Winograd *w = job.w
    cdef Py_ssize_t tile, size = w.plan.itemsize
    work.sums = job.threads + thread * w.thread_bytes
    work.input = work.sums + w.sums_bytes
    work.output = work.input + w.input_bytes
    work.weights = work.output + w.output_bytes
    work.scratch = work.weights + w.slice_bytes
    work.inputs = <const void **> (work.scratch + w.scratch_bytes)
    work.outputs = work.inputs + w.block_tiles
    work.tiles = <Tile *> (work.outputs + w.block_tiles)
    for tile in range(w.block_tiles):
        work.inputs[tile] = work.input + tile * w.input_pitch * size
        work.outputs[tile] = work.output + tile * w.output_pitch * size


cdef void transform_tiles(
    const Job *job, const Workspace *work, const Tensor *x, Py_ssize_t channel, Py_ssize_t channels, bint of_output,
) noexcept nogil:
    """Transform what every tile reads of some channels of x or, `of_output`, its own part of dy."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t tile, step = w.output_step if of_output else w.input_step
    cdef const void **to = work.outputs if of_output else work.inputs
    cdef int unused
    cdef fastconv_winograd_args args
    args.out_row, args.out_column = MOST_POINTS * step, step
    args.bias, args.finite = NULL, &unused
    for tile in range(work.bounds[4]):
        read_tile(w, work.tiles + tile, x, channel, channels, of_output, work.scratch, &args)
        args.out = <void *> to[tile]
        w.plan.kernels.winograd(&args)


# ---- forward, dL/dx ----


cdef void transform_weights(
    const Job *job, Py_ssize_t unit, Py_ssize_t first, Py_ssize_t rows, char *scratch, char *to, Py_ssize_t step,
    int *finite,
) noexcept nogil:
    """Rows of K, from `first` on, of one panel; `to` is where the first goes, `step` elements from point to point."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef const Tensor *weights = job.second
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels, start = panel_start(plan, panel), tap, row
    cdef Py_ssize_t width = panel_start(plan, panel + 1) - start, size = plan.itemsize, channel
    cdef fastconv_pack_args pack
    cdef fastconv_winograd_args args
    pack.rows, pack.columns, pack.panel_stride = rows, min(plan.out_channels - start, width), width
    if plan.op == INPUT_GRAD:   # the kernel's output channels are summed over
        pack.row_stride, pack.column_stride = weights.channel_stride, weights.column_stride
        channel = group * plan.in_channels * pack.row_stride
    else:
        pack.row_stride, pack.column_stride = weights.column_stride, weights.channel_stride
        channel = group * plan.out_channels * pack.column_stride
    pack.finite = finite
    for tap in range(9):
        pack.source = weights.data + size * (
            plan.rows.tap_index[tap // 3] * weights.batch_stride + plan.columns.tap_index[tap % 3] * weights.row_stride
            + channel + first * pack.row_stride + start * pack.column_stride)
        pack.panel = scratch + tap * rows * width * size
        plan.kernels.pack(&pack)
    args.rows = args.columns = fastconv_winograd_weights
    args.channels = width
    args.in_row, args.in_column = 3 * rows * width, rows * width
    args.first_row = args.first_column = 0
    args.end_row = args.end_column = 3
    args.out_row, args.out_column = MOST_POINTS * step, step
    args.out_rows = args.out_columns = MOST_POINTS
    args.bias, args.finite = NULL, finite
    for row in range(rows):
        args.in_ = scratch + row * width * size
        args.out = to + row * width * size
        plan.kernels.winograd(&args)


cdef void transform_slice(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """The task's rows of K of one panel, for all blocks."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t unit = job.first_unit + task // w.slices, first = task % w.slices * w.slice
    cdef Py_ssize_t panel = unit % w.plan.panels
    cdef int finite = True
    cdef unsigned long long mode = flush_denormals()
    transform_weights(
        job, unit, first, min(w.slice, w.plan.in_channels - first), job.threads + thread * w.thread_bytes,
        job.weights + w.plan.itemsize * ((unit - job.first_unit) * w.unit_elements + first * (
            panel_start(w.plan, panel + 1) - panel_start(w.plan, panel))), w.weights_step, &finite)
    if not finite:
        fastconv_set_setting(&job.finite, False)
    restore_mode(mode)


cdef void multiply(
    const Job *job, const Workspace *work, Py_ssize_t unit, const char *weights, Py_ssize_t step, Py_ssize_t first,
    Py_ssize_t rows,
) noexcept nogil:
    """The products of every point for one panel and some rows of K, from `first` on; `weights` holds those."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t panel = unit % plan.panels, start = panel_start(plan, panel), size = plan.itemsize
    cdef Py_ssize_t width = panel_start(plan, panel + 1) - start, zero = 0
    cdef Py_ssize_t part = even_part(rows, plan.depth_block), point, begin, end, k
    cdef fastconv_conv_args args
    args.columns = min(plan.out_channels - start, width)
    args.runs, args.run_offset, args.run_k = 1, &zero, &zero
    args.weights_stride = width
    args.bias = NULL
    for point in range(POINTS):
        tiles_of_point(work.bounds, point // MOST_POINTS, point % MOST_POINTS, &begin, &end)
        args.pixels = end - begin
        args.in_, args.out = work.inputs + begin, <void **> work.outputs + begin
        args.out_offset = point * w.output_step
        args.weights = weights + size * point * step
        k = 0
        while k < rows:
            args.run_length = min(part, rows - k)
            args.in_offset, args.k_offset = point * w.input_step + first + k, k
            args.accumulate = first + k > 0
            plan.kernels.conv(&args)
            k += args.run_length


cdef void multiply_slices(Job *job, const Workspace *work, Py_ssize_t unit) noexcept nogil:
    """The products for one panel, whose weights are used only here: transformed slice by slice, in L2."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t panel = unit % w.plan.panels, first = 0, rows
    cdef Py_ssize_t width = panel_start(w.plan, panel + 1) - panel_start(w.plan, panel), step
    cdef int finite = True
    while first < w.plan.in_channels:
        rows = min(w.slice, w.plan.in_channels - first)
        step = odd_lines(w.plan, rows * width)
        transform_weights(job, unit, first, rows, work.sums, work.weights, step, &finite)
        multiply(job, work, unit, work.weights, step, first, rows)
        first += rows
    if not finite:
        fastconv_set_setting(&job.finite, False)


cdef void transform_products(const Job *job, const Workspace *work, Py_ssize_t unit) noexcept nogil:
    """The outputs of every tile for one panel."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels, start = panel_start(plan, panel), index
    cdef Py_ssize_t pixel = plan.out_total, channel = group * plan.out_channels + start, size = plan.itemsize
    cdef const Tile *tile
    cdef int finite
    cdef fastconv_winograd_args args
    args.channels = min(plan.out_channels - start, panel_start(plan, panel + 1) - start)
    args.in_row, args.in_column = MOST_POINTS * w.output_step, w.output_step
    args.first_row = args.first_column = 0
    args.bias = job.bias + channel * size if job.bias != NULL else NULL
    args.finite = &finite
    for index in range(work.bounds[4]):
        tile = work.tiles + index
        args.rows, args.columns = fastconv_winograd_output6, fastconv_winograd_output6
        if tile.rows.points == FEW_POINTS:
            args.rows = fastconv_winograd_output4
        if tile.columns.points == FEW_POINTS:
            args.columns = fastconv_winograd_output4
        args.in_ = work.outputs[index]
        args.end_row, args.end_column = tile.rows.points, tile.columns.points
        args.out_rows, args.out_columns = tile.rows.count, tile.columns.count
        args.out_row = tile.rows.step * plan.columns.out_size * pixel
        args.out_column = tile.columns.step * pixel
        args.out = job.out + size * (channel + pixel * (
            (tile.image * plan.rows.out_size + tile.rows.first) * plan.columns.out_size + tile.columns.first))
        finite = True
        plan.kernels.winograd(&args)
        if not finite:
            fastconv_set_setting(job.image_finite + tile.image, False)


cdef void run_task(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block, or the share of its panels that falls to this task."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t share = task % w.shares, units = job.end_unit - job.first_unit, unit, group, opened = -1
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    open_workspace(job, thread, &work)
    find_tiles(w, task // w.shares, work.tiles, work.bounds)
    for unit in range(job.first_unit + units * share // w.shares, job.first_unit + units * (share + 1) // w.shares):
        group = unit // plan.panels
        if opened != group:
            opened = group
            transform_tiles(job, &work, job.x, group * plan.in_channels, plan.in_channels, False)
        if w.sliced:
            multiply_slices(job, &work, unit)
        else:
            multiply(job, &work, unit, job.weights + plan.itemsize * (unit - job.first_unit) * w.unit_elements,
                     w.weights_step, 0, plan.in_channels)
        transform_products(job, &work, unit)
    restore_mode(mode)


cdef void run_part(Job *job) noexcept nogil:
    cdef const Winograd *w = job.w
    cdef Py_ssize_t task, slices = (job.end_unit - job.first_unit) * w.slices
    if w.sliced or w.prepared != NULL:
        slices = 0
    if w.threads == 1:          # without the cost of opening a parallel region
        for task in range(slices):
            transform_slice(job, task, 0)
        for task in range(w.tasks if job.finite else 0):
            run_task(job, task, 0)
    else:
        for task in prange(slices, num_threads=w.threads, schedule="dynamic"):
            transform_slice(job, task, threadid())
        for task in prange(w.tasks if job.finite else 0, num_threads=w.threads, schedule="dynamic"):
            run_task(job, task, threadid())


cdef bint run_winograd(
    const Winograd *w, const Tensor *x, const Tensor *weights, const char *bias, char *out, char *workspace,
    const int **finite,
) noexcept nogil:
    """Run a FORWARD or INPUT_GRAD plan; `workspace` has w.workspace_bytes.

    Returns False if the weights are not finite, and nothing is computed; else `finite` points to a flag for each
    image, which is 0 where some result is not.
    """
    cdef Job job
    cdef Py_ssize_t part, image
    job.w, job.x, job.second, job.bias, job.out = w, x, weights, bias, out
    job.image_finite = <int *> ((<size_t> workspace + 63) & ~(<size_t> 63))
    job.threads = <char *> job.image_finite + w.flag_bytes
    job.weights = job.threads + w.threads * w.thread_bytes
    job.finite = True
    if w.prepared != NULL:
        job.weights, job.finite = w.prepared.transformed, w.prepared.finite
    finite[0] = job.image_finite
    for image in range(w.plan.images):
        job.image_finite[image] = True
    for part in range(w.parts):
        job.first_unit = w.units * part // w.parts
        job.end_unit = w.units * (part + 1) // w.parts
        run_part(&job)
    return job.finite


cdef bint transform_panels(
    const Winograd *w, const Tensor *weights, char *transformed, char *workspace,
) noexcept nogil:
    """Transform all weights of a FORWARD plan, for many calls; returns whether they are finite."""
    cdef Job job
    cdef Py_ssize_t task
    job.w, job.second, job.weights, job.first_unit, job.finite = w, weights, transformed, 0, True
    job.threads = <char *> ((<size_t> workspace + 63) & ~(<size_t> 63))
    for task in range(w.units * w.slices):
        transform_slice(&job, task, 0)
    return job.finite


# ---- dL/dW ----


cdef inline char *piece_of(const Job *job, Py_ssize_t piece) noexcept nogil:
    if piece == 0:
        return job.out
    return job.partials + (piece - 1) * (job.w.partial_bytes // (job.w.pieces - 1))


cdef void add_products(
    const Job *job, const Workspace *work, Py_ssize_t rows, Py_ssize_t columns, bint accumulate,
) noexcept nogil:
    """Add a block's products of `rows` channels of x with `columns` of dy to the sums of every point."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t point, first, end, column
    cdef fastconv_grad_args args
    args.rows = rows
    args.grad_stride = w.out_range
    args.accumulate = accumulate
    for point in range(POINTS):
        tiles_of_point(work.bounds, point // MOST_POINTS, point % MOST_POINTS, &first, &end)
        args.pixels = end - first
        args.in_, args.dy = work.inputs + first, work.outputs + first
        args.in_offset = point * w.input_step
        column = 0
        while column < columns:
            args.columns = min(plan.kernels.grad_panel, columns - column)
            args.dy_offset = point * w.output_step + column
            args.grad = work.sums + plan.itemsize * (point * w.weights_step + column)
            plan.kernels.grad(&args)
            column += args.columns


cdef void transform_sums(
    const Job *job, const Workspace *work, Py_ssize_t rows, Py_ssize_t columns, char *grad,
) noexcept nogil:
    """dL/dW from the sums; `grad` is its first element of these channels."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t row, size = w.plan.itemsize, total = w.plan.geometry.out_channels
    cdef int unused
    cdef fastconv_winograd_args args
    args.rows = args.columns = fastconv_winograd_weights_grad
    args.channels = columns
    args.in_row, args.in_column = MOST_POINTS * w.weights_step, w.weights_step
    args.first_row = args.first_column = 0
    args.end_row = args.end_column = MOST_POINTS
    args.out_row, args.out_column = 3 * w.plan.in_channels * total, w.plan.in_channels * total
    args.out_rows = args.out_columns = 3
    args.bias, args.finite = NULL, &unused
    for row in range(rows):
        args.in_ = work.sums + row * w.out_range * size
        args.out = grad + row * total * size
        w.plan.kernels.winograd(&args)


cdef void run_grad_task(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One share of the ranges of channels, over every block of one piece."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t share = task % w.shares, piece = task // w.shares
    cdef Py_ssize_t start = w.blocks * piece // w.pieces, stop = w.blocks * (piece + 1) // w.pieces
    cdef Py_ssize_t unit, block, group, from_in, from_out, rows, columns, found = -1, transformed = -1
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    open_workspace(job, thread, &work)
    for unit in range(w.units * share // w.shares, w.units * (share + 1) // w.shares):
        group = unit // (w.in_ranges * w.out_ranges)
        from_in, from_out = unit // w.out_ranges % w.in_ranges * w.in_range, unit % w.out_ranges * w.out_range
        rows, columns = min(w.in_range, plan.in_channels - from_in), min(w.out_range, plan.out_channels - from_out)
        for block in range(start, stop):
            if found != block:
                found, transformed = block, -1
                find_tiles(w, block, work.tiles, work.bounds)
            if transformed != unit // w.out_ranges:     # a single block serves all ranges of dy
                transformed = unit // w.out_ranges
                transform_tiles(job, &work, job.x, group * plan.in_channels + from_in, rows, False)
            transform_tiles(job, &work, job.second, group * plan.out_channels + from_out, columns, True)
            add_products(job, &work, rows, columns, block > start)
        transform_sums(job, &work, rows, columns, piece_of(job, piece) + plan.itemsize * (
            from_in * plan.geometry.out_channels + group * plan.out_channels + from_out))
    restore_mode(mode)


cdef void run_winograd_grad(
    const Winograd *w, const Tensor *x, const Tensor *dy, char *grad, char *workspace,
) noexcept nogil:
    """Run a WEIGHT_GRAD plan; `workspace` has w.workspace_bytes."""
    cdef Job job
    cdef Py_ssize_t task
    job.w, job.x, job.second, job.out = w, x, dy, grad
    job.partials = <char *> ((<size_t> workspace + 63) & ~(<size_t> 63))
    job.threads = job.partials + w.partial_bytes
    if w.threads == 1:          # without the cost of opening a parallel region
        for task in range(w.tasks):
            run_grad_task(&job, task, 0)
    else:
        for task in prange(w.tasks, num_threads=w.threads, schedule="dynamic"):
            run_grad_task(&job, task, threadid())
    add_pieces(w.plan, grad, job.partials, w.pieces, w.partial_bytes, w.threads)
