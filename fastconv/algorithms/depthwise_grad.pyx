"""dL/dW of depthwise layers, or of small groups: a block's share of the sums, every channel or group for itself.

Rows and columns that read through the same taps are an area, so that what falls on padding is left out; a sum takes as
many of its rows as Plan.strip_chain says, from zero.  Where a pixel is less than a vector, a vector takes several, and
the sums of each are added up at the end.
"""
from fastconv._kernels cimport fastconv_add_args, fastconv_depthwise_grad_args, fastconv_gather_args
from fastconv.axes cimport Axis, same_taps
from fastconv.blocks cimport Area, Block, Phase, Source, Workspace, tap_offset
from fastconv.kernel_choice cimport many_vectors
from fastconv.plan cimport Plan, Tensor


cdef void open_area(
    const Plan *plan, const Tensor *dy, const Block *block, const Area *area, Py_ssize_t image, bint in_place,
    char *room, fastconv_depthwise_grad_args *args,
) noexcept nogil:
    """Let `args` read dy of an area where it lies, or from a copy in `room` in which pixels follow one another."""
    cdef fastconv_gather_args gather
    cdef Py_ssize_t _
    args.rows, args.pixels = area.end_row - area.row, area.end_column - area.column
    args.dy = dy.data + plan.itemsize * (
        (block.image + image) * dy.batch_stride + (block.row + area.row) * dy.row_stride
        + (block.column + area.column) * dy.column_stride)
    args.dy_row, args.dy_stride = dy.row_stride, dy.column_stride
    if in_place:
        return
    gather.lead = gather.tail = gather.outer_stride = gather.outer_step = 0
    gather.outer, gather.inner, gather.pixels = 1, plan.out_total, args.pixels
    gather.column_stride, gather.inner_stride, gather.pixel_step = dy.column_stride, dy.channel_stride, plan.out_total
    gather.x, gather.scratch = args.dy, room
    for _ in range(args.rows):
        plan.kernels.gather(&gather)
        gather.x = <const char *> gather.x + dy.row_stride * plan.itemsize
        gather.scratch = <char *> gather.scratch + args.pixels * plan.out_total * plan.itemsize
    args.dy, args.dy_row, args.dy_stride = room, args.pixels * plan.out_total, plan.out_total


cdef void run_repeated_area(
    const Plan *plan, const Tensor *dy, const Block *block, const Area *area, const Workspace *work, Py_ssize_t image,
    const fastconv_depthwise_grad_args *whole,
) noexcept nogil:
    """The same where a vector takes several pixels; the sums of each repetition stay apart."""
    cdef Py_ssize_t width = plan.repeat * plan.out_total, pixels = area.end_column - area.column
    cdef fastconv_depthwise_grad_args args = whole[0]
    open_area(plan, dy, block, area, image, dy.channel_stride == 1 and dy.column_stride == plan.out_total,
              work.slice + sums_bytes(plan), &args)
    args.pixels, args.channels = pixels // plan.repeat, width
    args.in_stride = args.dy_stride = width
    plan.kernels.depthwise_grad(&args)
    args.in_ = <const char *> args.in_ + args.pixels * width * plan.itemsize
    args.dy = <const char *> args.dy + args.pixels * width * plan.itemsize
    args.pixels, args.channels = 1, pixels % plan.repeat * plan.out_total
    plan.kernels.depthwise_grad(&args)


cdef void add_repetitions(
    const Plan *plan, const char *sums, Py_ssize_t first, Py_ssize_t end, char *grad,
) noexcept nogil:
    """Add up the sums of every repetition for the kernel rows [first, end)."""
    cdef fastconv_add_args args
    cdef Py_ssize_t tap, copy
    args.count = plan.out_total
    for tap in range(first * plan.columns.taps, end * plan.columns.taps):
        args.sum = grad + tap * plan.out_total * plan.itemsize
        for copy in range(plan.repeat):
            args.term = sums + (tap * plan.panel + copy * plan.out_total) * plan.itemsize
            plan.kernels.add(&args)


cdef void run_depthwise_area(
    const Plan *plan, const Tensor *dy, const Block *block, const Area *area, const Workspace *work, Py_ssize_t image,
    const fastconv_depthwise_grad_args *whole,
) noexcept nogil:
    """Add an area of a block, whose pixels read through the same taps: `whole` says which, from the area's corner on.

    Vectors start where those of x are aligned; channels keep to themselves, so that changes no sum.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, size = plan.itemsize, channel = 0
    cdef fastconv_depthwise_grad_args args = whole[0]
    cdef Py_ssize_t shift = -(<Py_ssize_t> args.in_ // size) & (lanes - 1)
    open_area(plan, dy, block, area, image, dy.channel_stride == 1, work.slice, &args)
    args.channels = plan.out_total
    if plan.group > 1:
        shift = 0
    elif lanes * size == 64 and plan.out_total % lanes == 0 and args.tap_columns == 3 and (
            args.in_stride == args.tap_step == args.dy_stride == plan.out_total):
        args.shift = shift
    # One vector more a pixel is worth it where there are many, all of them as far from the line.
    elif shift > 0 and plan.out_total % lanes == 0 and plan.out_total >= many_vectors(plan):
        args.channels = shift
    while channel < plan.out_total:
        plan.kernels.depthwise_grad(&args)
        channel += args.channels
        args.in_ = <const char *> args.in_ + args.channels * size
        args.dy = <const char *> args.dy + args.channels * size
        args.grad = <char *> args.grad + args.channels * size
        args.channels = plan.out_total - channel


cdef void run_depthwise_block(
    const Plan *plan, const Tensor *dy, const Block *block, const Phase *phase, const Source *source,
    const Workspace *work, Py_ssize_t first, Py_ssize_t end, char *grad, Py_ssize_t grad_stride,
) noexcept nogil:
    """Add the kernel rows [first, end) of a block, every channel for itself, some rows of pixels at a time."""
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t image, row, next_row, first_row, end_row, first_column, end_column, size = plan.itemsize
    cdef Area area
    cdef fastconv_depthwise_grad_args args
    args.in_row, args.in_stride = source.row_stride, source.column_stride
    args.tap_step = 0
    if columns.taps > 1:        # they are evenly spaced
        args.tap_step = tap_offset(plan, source, 0, 1) - tap_offset(plan, source, 0, 0)
    for row in range(rows.taps):
        work.offsets[row] = tap_offset(plan, source, row, 0)
    args.grad_stride, args.grad_columns, args.accumulate, args.shift = grad_stride, columns.taps, True, 0
    args.group, args.two_vectors = plan.group, not plan.streamed
    for image in range(block.images):
        row = 0
        while row < block.rows:
            next_row, first_row, end_row = block.rows, 0, rows.taps
            if plan.clipped:
                next_row = same_taps(rows, 0, rows.taps, block.row, row, block.rows, &first_row, &end_row)
            first_row, end_row = max(first_row, first), min(end_row, end)
            area.column = 0
            while area.column < block.columns and first_row < end_row:
                area.end_column, first_column, end_column = block.columns, 0, columns.taps
                if plan.clipped:
                    area.end_column = same_taps(columns, 0, columns.taps, block.column, area.column, block.columns,
                                                &first_column, &end_column)
                area.end_column = min(area.end_column, area.column + plan.strip_pixels)
                args.tap_rows, args.tap_columns = end_row - first_row, end_column - first_column
                args.row_offset = work.offsets + first_row
                args.grad = grad + size * grad_stride * plan.group * (first_row * columns.taps + first_column)
                area.row = row
                while area.row < next_row:      # as many rows as one sum may take
                    area.end_row = min(next_row, area.row + max(
                        plan.strip_chain // (area.end_column - area.column), 1))
                    args.in_ = source.data + size * (
                        image * source.image_stride + area.row * source.row_stride
                        + area.column * source.column_stride + first_column * args.tap_step)
                    if plan.repeat > 1:
                        run_repeated_area(plan, dy, block, &area, work, image, &args)
                    else:
                        run_depthwise_area(plan, dy, block, &area, work, image, &args)
                    area.row = area.end_row
                area.column = area.end_column
            row = next_row
