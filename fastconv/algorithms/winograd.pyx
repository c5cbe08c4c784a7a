"""Winograd's minimal filtering: products of transformed tiles instead of sums over taps.

The forward pass, and dL/dx, which is the same with the kernel turned.  Where tiles are many:

    for each part of the weights, as many panels as may be transformed at once: transform them (in parallel)
        for each block of tiles (in parallel)
            transform the input they read: 6x6 values a channel, and a square of the kernel
            for each panel of output channels
                for each of the points (36): conv kernel, tiles times channels by channels times panel
                transform the products: 4x4 outputs

Where K is so long that a block would have few tiles, the products of a block grow by slices of it:

    for each block of tiles and share of the panels (in parallel)
        for each slice of K
            transform the input
            for each panel: transform its weights, for each of the points: conv kernel
        transform the products

Where tiles are few, the weights are larger than they are, and what is shared changes places:

    transform the input of every tile (in parallel)
    for each panel (in parallel)
        for each slice of K: transform its weights, for each of the points: conv kernel
        transform the products

Of one or two tiles the weights are multiplied as they are transformed.  Each product of a point is one chain in
the order of K, so nothing but the geometry decides on a bit.
A. Lavin, S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    fastconv_conv_args, fastconv_winograd_args, fastconv_winograd_output6, fastconv_winograd_weights_args,
    flush_denormals, restore_mode, spare_shuffles)
from fastconv.algorithms.transforms cimport (
    Job, Workspace, choose_matrices, open_block, open_job, open_workspace, tiles_of_point, transform_inputs,
    transform_shared)
from fastconv.axes cimport aligned, even_part
from fastconv.blocks cimport may_stream
from fastconv.plan cimport INPUT_GRAD, Plan, Tensor
from fastconv.spans cimport taps_of
from fastconv.tiles cimport Tile, Winograd, odd_lines, unit_start

cdef extern from "compat.h":
    void fastconv_set_setting(int *setting, int value) noexcept nogil
    void fastconv_fence() noexcept nogil


cdef inline Py_ssize_t channel_of(const Winograd *w, Py_ssize_t unit) noexcept nogil:
    """First output channel of a panel."""
    return unit // w.panels * w.plan.out_channels + unit_start(w, unit % w.panels)


cdef void find_weights(
    const Job *job, Py_ssize_t unit, Py_ssize_t square, Py_ssize_t first, Py_ssize_t rows,
    fastconv_winograd_weights_args *args,
) noexcept nogil:
    """Let `args` read rows of K, from `first` of a square on, of one panel."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef const Tensor *weights = job.second
    cdef Py_ssize_t group = unit // w.panels, panel = unit % w.panels, start = unit_start(w, panel), channel
    cdef Py_ssize_t tap_rows = taps_of(w.row_points), tap_columns = taps_of(w.column_points)
    cdef Py_ssize_t row = tap_rows * (square // w.column_squares), column = tap_columns * (square % w.column_squares)
    cdef const Py_ssize_t *down = plan.rows.tap_index
    cdef const Py_ssize_t *across = plan.columns.tap_index
    args.rows, args.columns = rows, min(plan.out_channels, unit_start(w, panel + 1)) - start
    if plan.op == INPUT_GRAD:   # the kernel's output channels are summed over
        args.row_stride, args.column_stride = weights.channel_stride, weights.column_stride
        channel = group * plan.in_channels * args.row_stride
    else:
        args.row_stride, args.column_stride = weights.column_stride, weights.channel_stride
        channel = group * plan.out_channels * args.column_stride
    args.row_points, args.column_points = <int> w.row_points, <int> w.column_points
    args.tap_rows, args.tap_columns = min(plan.rows.taps - row, tap_rows), min(plan.columns.taps - column, tap_columns)
    args.tap_row = (down[1] - down[0]) * weights.batch_stride if args.tap_rows > 1 else 0
    args.tap_column = (across[1] - across[0]) * weights.row_stride if args.tap_columns > 1 else 0
    args.source = weights.data + plan.itemsize * (
        down[row] * weights.batch_stride + across[column] * weights.row_stride
        + channel + first * args.row_stride + start * args.column_stride)


cdef void transform_weights(
    const Job *job, Py_ssize_t unit, Py_ssize_t first, Py_ssize_t rows, char *to, Py_ssize_t step, int *finite,
) noexcept nogil:
    """Rows of K, from `first` on, of one panel; `to` is where the first goes, `step` elements from point to point."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t C = w.plan.in_channels, last = first + rows, k = first, count
    cdef fastconv_winograd_weights_args args
    args.panel_stride = unit_start(w, unit % w.panels + 1) - unit_start(w, unit % w.panels)
    args.panel_point = step
    args.finite = finite
    while k < last:
        count = min(C - k % C, last - k)
        find_weights(job, unit, k // C, k % C, count, &args)
        args.panel = to + (k - first) * args.panel_stride * w.plan.itemsize
        w.plan.kernels.winograd_weights(&args)
        k += count


cdef void transform_slice(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """The task's rows of K of one panel, for all blocks."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t unit = job.first_unit + task // w.slices, first = task % w.slices * w.slice
    cdef Py_ssize_t panel = unit % w.panels
    cdef int finite = True
    cdef unsigned long long mode = flush_denormals()
    transform_weights(
        job, unit, first, min(w.slice, w.depth - first),
        job.weights + w.plan.itemsize * ((unit - job.first_unit) * w.unit_elements + first * (
            unit_start(w, panel + 1) - unit_start(w, panel))), w.weights_step, &finite)
    if not finite:
        fastconv_set_setting(&job.finite, False)
    restore_mode(mode)


cdef void multiply(
    const Job *job, const Workspace *work, Py_ssize_t first_unit, Py_ssize_t end_unit, const char *weights,
    Py_ssize_t step, Py_ssize_t first, Py_ssize_t rows,
) noexcept nogil:
    """The products of every point for one panel, or for the groups of a bundle, and some rows of K, from `first` on.

    `weights` holds those; so does the transformed input, if it grows gradually.
    """
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t panel = first_unit % w.panels, start = unit_start(w, panel), size = plan.itemsize
    cdef Py_ssize_t width = unit_start(w, panel + 1) - start, zero = 0
    cdef Py_ssize_t part = even_part(rows, plan.depth_block), point, unit, group, channel, k
    cdef const void **outputs
    cdef fastconv_conv_args args
    args.columns = min(plan.out_channels - start, width)
    args.runs, args.run_offset, args.run_k = 1, &zero, &zero
    args.weights_stride = width
    args.bias = NULL
    args.permute, args.stream = spare_shuffles(), False
    args.in_step = args.out_step = 0
    for point in range(w.points):
        args.pixels = tiles_of_point(w, work, point, <const void ***> &args.in_, &outputs)
        args.out = <void **> outputs
        for unit in range(first_unit, end_unit):
            group = unit // w.panels if w.shared else unit // w.panels % w.bundle
            channel = -first if w.gradual else group * w.depth
            args.out_offset = point * w.output_step + channel_of(w, unit) - work.first_channel
            args.weights = weights + size * ((unit - first_unit) * w.unit_elements + point * step)
            k = 0
            while k < rows:
                args.run_length = min(part, rows - k)
                args.in_offset, args.k_offset = channel + point * w.input_step + first + k, k
                args.accumulate = first + k > 0
                plan.kernels.conv(&args)
                k += args.run_length


cdef void multiply_few(Job *job, const Workspace *work, Py_ssize_t unit) noexcept nogil:
    """The products for one panel of so few tiles that transformed weights are better not written down."""
    cdef const Winograd *w = job.w
    cdef int finite = True, line
    cdef const void **outputs
    cdef fastconv_winograd_weights_args args
    cdef Py_ssize_t square
    for line in range(6):
        args.sixth[line] = tiles_of_point(w, work, 6 * line + 5, <const void ***> &args.in_[line], &outputs)
        args.tiles[line] = tiles_of_point(w, work, 6 * line, <const void ***> &args.in_[line], &outputs)
        args.out[line] = <void **> outputs
    args.in_point, args.out_point = w.input_step, w.output_step
    args.finite = &finite
    for square in range(w.squares):
        find_weights(job, unit, square, 0, w.plan.in_channels, &args)
        args.in_offset = unit // w.panels * w.depth + square * w.plan.in_channels
        args.accumulate = square > 0
        w.plan.kernels.winograd_few(&args)
    if not finite:
        fastconv_set_setting(&job.finite, False)


cdef void multiply_slices(Job *job, const Workspace *work, Py_ssize_t unit) noexcept nogil:
    """The products for one panel, whose weights are used only here: transformed slice by slice, in L2."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t panel = unit % w.panels, first = 0, rows
    cdef Py_ssize_t width = unit_start(w, panel + 1) - unit_start(w, panel), step
    cdef int finite = True
    while first < w.depth:
        rows = min(w.slice, w.depth - first)
        step = odd_lines(w.plan, rows * width)
        transform_weights(job, unit, first, rows, work.weights, step, &finite)
        multiply(job, work, unit, unit + 1, work.weights, step, first, rows)
        first += rows
    if not finite:
        fastconv_set_setting(&job.finite, False)


cdef void transform_products(
    const Job *job, const Workspace *work, Py_ssize_t unit, Py_ssize_t end_unit,
) noexcept nogil:
    """The outputs of every tile for some panels, whose channels follow each other."""
    cdef const Winograd *w = job.w
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t pixel = plan.out_total, channel = channel_of(w, unit), size = plan.itemsize, index
    cdef const Tile *tile
    cdef int finite
    cdef fastconv_winograd_args args
    args.channels = channel_of(w, end_unit) - channel
    args.in_row, args.in_column = w.column_points * w.output_step, w.output_step
    args.first_row = args.first_column = 0
    args.bias = job.bias + channel * size if job.bias != NULL else NULL
    args.stream = job.streams
    args.finite = &finite
    for index in range(work.block.count):
        tile = work.block.tiles + index
        choose_matrices(tile, fastconv_winograd_output6, &args)
        args.in_ = work.output + size * (index * w.output_pitch + channel - work.first_channel)
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


cdef void grow_products(
    Job *job, const Workspace *work, Py_ssize_t first_unit, Py_ssize_t end_unit,
) noexcept nogil:
    """The products of some panels of one group, slice by slice of K."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t first = 0, size = w.plan.itemsize, rows, unit, width, step
    cdef int finite = True
    cdef char *weights
    while first < w.depth:
        rows = min(w.slice, w.depth - first)
        transform_inputs(job, work, 0, work.block.count, first_unit // w.panels, first, rows, 0)
        for unit in range(first_unit, end_unit):
            width = unit_start(w, unit % w.panels + 1) - unit_start(w, unit % w.panels)
            if w.sliced:
                weights, step = work.weights, odd_lines(w.plan, rows * width)
                transform_weights(job, unit, first, rows, weights, step, &finite)
            else:
                weights, step = job.weights + size * (unit * w.unit_elements + first * width), w.weights_step
            multiply(job, work, unit, unit + 1, weights, step, first, rows)
        first += rows
    if not finite:
        fastconv_set_setting(&job.finite, False)


cdef void multiply_bundles(Job *job, Workspace *work, Py_ssize_t first_unit, Py_ssize_t end_unit) noexcept nogil:
    """The outputs of a block for some panels: panel by panel, or those of a bundle of groups together."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t size = w.plan.itemsize
    cdef Py_ssize_t start = first_unit, stop, bundle, opened = -1, unit
    while start < end_unit:
        stop = min((start // w.bundle + 1) * w.bundle, end_unit)
        bundle = start // w.panels // w.bundle
        if opened != bundle and not w.shared:
            opened = bundle
            transform_inputs(job, work, 0, work.block.count, bundle, 0,
                             min(w.bundle, w.plan.groups - bundle * w.bundle) * w.depth, 0)
        work.first_channel = channel_of(w, start)
        if w.few:
            multiply_few(job, work, start)
        elif w.sliced:
            for unit in range(start, stop):
                multiply_slices(job, work, unit)
        else:
            multiply(job, work, start, stop, job.weights + size * (start - job.first_unit) * w.unit_elements,
                     w.weights_step, 0, w.depth)
        transform_products(job, work, start, stop)
        start = stop


cdef void run_task(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block, or the share of its panels that falls to this task."""
    cdef const Winograd *w = job.w
    cdef Py_ssize_t share = task % w.shares, units = job.end_unit - job.first_unit
    cdef Py_ssize_t first = job.first_unit + units * share // w.shares
    cdef Py_ssize_t end = job.first_unit + units * (share + 1) // w.shares
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    open_workspace(job, thread, &work)
    open_block(job, task // w.shares, &work)
    if w.gradual:
        work.first_channel = channel_of(w, first)
        grow_products(job, &work, first, end)
        transform_products(job, &work, first, end)
    else:
        multiply_bundles(job, &work, first, end)
    if job.streams:
        fastconv_fence()
    restore_mode(mode)


cdef void run_part(Job *job) noexcept nogil:
    cdef const Winograd *w = job.w
    cdef Py_ssize_t task, slices = (job.end_unit - job.first_unit) * w.slices
    if w.few or w.sliced or w.prepared != NULL:
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

    Returns False if the weights are not finite, and the result is wrong; else `finite` points to a flag for each
    image, which is 0 where some result is not.
    """
    cdef Job job
    cdef Py_ssize_t part, image
    job.x, job.second, job.bias, job.out = x, weights, bias, out
    job.streams = may_stream(w.plan, out)
    job.image_finite = <int *> aligned(workspace)
    job.threads = open_job(&job, w, <char *> job.image_finite + w.flag_bytes)
    job.weights = job.threads + w.threads * w.thread_bytes
    job.finite = True
    if w.prepared != NULL:
        job.weights, job.finite = w.prepared.transformed, w.prepared.finite
    finite[0] = job.image_finite
    for image in range(w.plan.images):
        job.image_finite[image] = True
    if w.shared:
        transform_shared(&job)
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
    job.threads = aligned(workspace)
    for task in range(w.units * w.slices):
        transform_slice(&job, task, 0)
    return job.finite
