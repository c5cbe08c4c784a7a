"""Blocks of output pixels: which they are, the input they read, and pointers to both.

Everything irregular ends here (padding, strides, phases, views, groups): whoever computes sees, for
each pixel, one pointer to read from, one to write to, and the same offset of a tap for all pixels.
A depthwise pass has rows of pixels instead, and strips of them that stay in a cache.
"""
from libc.string cimport memset

from fastconv._kernels cimport caches, fastconv_gather_args
from fastconv.axes cimport Axis, same_taps
from fastconv.kernel_choice cimport BEYOND_CACHES
from fastconv.plan cimport INPUT_GRAD, WEIGHT_GRAD, Plan, Tensor
from fastconv.strips cimport SAME_SETS, copies_strips, copy_strips, goes_down, has_windows

cdef Py_ssize_t DEPTHWISE_CHAIN = 256
# Of a row, for all channels before others, where vectors of one channel share two sets of L1.
cdef Py_ssize_t CLOSE_PIXELS = 8
# Rows of a strip whose results are written past the caches: what is written should not be too far apart.
cdef Py_ssize_t STREAMED_ROWS = 28
# ... and of one whose input comes from memory, with other taps than 3x3.
cdef Py_ssize_t FETCHED_ROWS = 8


cdef void open_workspace(const Plan *plan, char *threads, Py_ssize_t thread, Workspace *work) noexcept nogil:
    """The working memory of a thread, of those that start at `threads`."""
    cdef char *at = threads + thread * plan.thread_bytes
    work.scratch = at
    at += plan.scratch_bytes
    work.reads = <const void **> at
    at += plan.pointer_bytes
    work.writes, work.dy = <void **> at, <const void **> at
    at += plan.pointer_bytes
    work.some_reads = <const void **> at
    at += plan.pointer_bytes
    work.some_writes, work.some_dy = <void **> at, <const void **> at
    at += plan.pointer_bytes
    work.offsets = <Py_ssize_t *> at
    at += plan.offset_bytes
    work.run_k = <Py_ssize_t *> at
    at += plan.offset_bytes
    work.some_offsets = <Py_ssize_t *> at
    at += plan.offset_bytes
    work.some_k = <Py_ssize_t *> at
    at += plan.offset_bytes
    work.classes = <PixelClass *> at
    at += plan.class_bytes
    work.slice = at


cdef void open_phase(const Plan *plan, Py_ssize_t row, Py_ssize_t column, Phase *phase) noexcept nogil:
    phase.row, phase.column = row, column
    phase.first_row = plan.rows.phase_start[row]
    phase.rows = plan.rows.phase_start[row + 1] - phase.first_row
    phase.first_column = plan.columns.phase_start[column]
    phase.columns = plan.columns.phase_start[column + 1] - phase.first_column
    phase.runs = phase.rows * (1 if plan.merged else phase.columns)
    phase.run_length = plan.in_channels * (phase.columns if plan.merged else 1)


cdef void locate_block(const Plan *plan, Py_ssize_t index, Block *block) noexcept nogil:
    """The block of this index: columns fastest, then rows, then images."""
    cdef Py_ssize_t column = index % plan.columns.blocks
    cdef Py_ssize_t row = index // plan.columns.blocks % plan.rows.blocks
    block.column = column * plan.columns.block
    block.columns = min(plan.columns.block, plan.columns.extent - block.column)
    block.row = row * plan.rows.block
    block.rows = min(plan.rows.block, plan.rows.extent - block.row)
    block.image = index // (plan.columns.blocks * plan.rows.blocks) * plan.block_images
    block.images = min(plan.block_images, plan.images - block.image)


cdef inline Py_ssize_t slot_position(const Axis *axis, Py_ssize_t start, Py_ssize_t slot) noexcept nogil:
    """Input position that a scratch slot of a block holds; outside the input it holds zeros."""
    if axis.sparse:
        return (start + slot // axis.taps) * axis.in_step + axis.tap_offset[slot % axis.taps]
    return start * axis.in_step + axis.min_offset + slot


cdef inline Py_ssize_t used_slots(const Axis *axis, Py_ssize_t steps) noexcept nogil:
    """Slots that a block of `steps` fills."""
    if axis.sparse:
        return steps * axis.taps
    return (steps - 1) * axis.in_step + axis.max_offset - axis.min_offset + 1


cdef void gather_row(
    const Plan *plan, fastconv_gather_args *args, const char *row, Py_ssize_t column_stride, const Block *block,
    char *scratch,
) noexcept nogil:
    """One row of scratch, from the input row that starts at `row`; NULL is a row of padding."""
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t slots = used_slots(columns, block.columns)
    cdef Py_ssize_t slot = 0, width, position, first, last
    while slot < slots:
        # Dense slots are one stretch of the input, sparse ones stand alone.
        width = 1 if columns.sparse else slots
        position = slot_position(columns, block.column, slot)
        first = min(max(-position, 0), width)
        last = max(min(columns.in_size - position, width), first) if row != NULL else first
        args.lead, args.pixels, args.tail = first, last - first, width - last
        args.x = row + (position + first) * column_stride * plan.itemsize if last > first else NULL
        args.scratch = scratch + slot * plan.pixel_pitch * plan.itemsize
        plan.kernels.gather(args)
        slot += width


cdef Py_ssize_t first_input(const Plan *plan, Py_ssize_t vector) noexcept nogil:
    """The first input channel in a vector of scratch, where groups have more inputs than outputs."""
    cdef Py_ssize_t outputs = plan.group_outputs, each = plan.group // outputs
    return vector // each * (plan.kernels.lanes // outputs) * plan.group + vector % each * outputs


cdef void gather_block(
    const Plan *plan, const Tensor *x, const Block *block, Py_ssize_t group, char *scratch, Source *source,
) noexcept nogil:
    """Copy what the block reads into `scratch`, padded and dense, unless it can be read in place.

    As many groups, from `group` on, as there are planes for.
    """
    cdef fastconv_gather_args args
    cdef const Axis *rows = &plan.rows
    cdef Py_ssize_t image, slot, position, vectors, vector, first = 0, end = used_slots(rows, block.rows)
    cdef Py_ssize_t size = plan.itemsize
    cdef char *base
    cdef char *to
    cdef char *row
    cdef char *part
    if not plan.gathered:
        source.image_stride = x.batch_stride
        source.row_stride = rows.in_step * x.row_stride
        source.column_stride = plan.columns.in_step * x.column_stride
        source.row_pitch, source.column_pitch = x.row_stride, x.column_stride
        # Before the first element, where taps will be left out at the edges.
        source.data = x.data + size * (
            block.image * x.batch_stride
            + (block.row * rows.in_step + rows.min_offset) * x.row_stride
            + (block.column * plan.columns.in_step + plan.columns.min_offset) * x.column_stride)
        return
    if rows.bare and not rows.sparse:
        position = slot_position(rows, block.row, 0)
        first, end = max(-position, 0), min(end, rows.in_size - position)
        scratch -= first * plan.row_pitch * size        # before the first element, as above
    source.data = scratch
    source.image_stride = plan.image_pitch
    source.row_pitch, source.column_pitch = plan.row_pitch, plan.pixel_pitch
    source.row_stride = plan.row_pitch * (rows.taps if rows.sparse else rows.in_step)
    source.column_stride = plan.pixel_pitch * (plan.columns.taps if plan.columns.sparse else plan.columns.in_step)

    args.column_stride = x.column_stride
    args.pixel_step = plan.pixel_pitch
    vectors = 1
    if plan.group > plan.group_outputs:         # see src/README.md
        vectors = plan.pixel_pitch // plan.kernels.lanes
        args.outer, args.outer_step = plan.kernels.lanes // plan.group_outputs, plan.group_outputs
        args.inner, args.inner_stride = plan.group_outputs, x.channel_stride
        args.outer_stride = plan.group * x.channel_stride
    elif not plan.depthwise:
        args.outer, args.inner = min(plan.planes, plan.groups - group), plan.in_channels
        args.outer_stride, args.inner_stride = args.inner * x.channel_stride, x.channel_stride
        args.outer_step = plan.group_pitch
    elif plan.op == INPUT_GRAD and plan.multiplier > 1:     # dy of the j-th filter of every channel, for each j
        args.outer, args.inner = plan.multiplier, plan.out_total
        args.outer_stride, args.inner_stride = x.channel_stride, plan.multiplier * x.channel_stride
        args.outer_step = plan.group_pitch
    elif plan.multiplier > 1:   # each channel as often as it has filters
        args.outer, args.inner = plan.in_total, plan.multiplier
        args.outer_stride, args.inner_stride = x.channel_stride, 0
        args.outer_step = plan.multiplier
    else:
        args.outer, args.inner = 1, plan.in_total
        args.outer_stride, args.inner_stride = 0, x.channel_stride
        args.outer_step = 0
    for image in range(block.images):
        base = x.data + ((block.image + image) * x.batch_stride + group * plan.in_channels * x.channel_stride) * size
        to = scratch + image * plan.image_pitch * size
        for slot in range(first, end):
            position = slot_position(rows, block.row, slot)
            row = base + position * x.row_stride * size if 0 <= position < rows.in_size else NULL
            for vector in range(vectors):
                part = row
                if row != NULL and vectors > 1:
                    part += size * x.channel_stride * first_input(plan, vector)
                gather_row(plan, &args, part, x.column_stride, block,
                           to + size * (slot * plan.row_pitch + vector * plan.kernels.lanes))


cdef Py_ssize_t phase_steps(const Axis *axis, Py_ssize_t phase, Py_ssize_t start, Py_ssize_t count) noexcept nogil:
    """Of the steps [start, start + count) of a block, those that a phase has: some lack the last one."""
    cdef Py_ssize_t extent = (axis.out_size - axis.phase_first[phase] + axis.out_step - 1) // axis.out_step
    return max(min(extent - start, count), 0)


cdef Py_ssize_t phase_block_rows(const Plan *plan, const Block *block, const Phase *phase) noexcept nogil:
    return phase_steps(&plan.rows, phase.row, block.row, block.rows)


cdef Py_ssize_t phase_block_columns(const Plan *plan, const Block *block, const Phase *phase) noexcept nogil:
    return phase_steps(&plan.columns, phase.column, block.column, block.columns)


cdef void find_interior(
    const Plan *plan, const Block *block, const Phase *phase, Py_ssize_t *left, Py_ssize_t *right,
) noexcept nogil:
    """Of the block's pixels across, those [left, right) that read inside the input through every tap of the phase."""
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t pixels = phase_block_columns(plan, block, phase), step = columns.in_step, first, end
    left[0], right[0] = 0, pixels
    if plan.clipped:
        first = max(-columns.tap_offset[phase.first_column], 0)
        left[0] = min(max((first + step - 1) // step - block.column, 0), pixels)
        end = max(columns.in_size - columns.tap_offset[phase.first_column + phase.columns - 1], 0)
        right[0] = min(max((end + step - 1) // step - block.column, left[0]), pixels)


cdef void zero_block(const Plan *plan, const Block *block, char *out) noexcept nogil:
    """Zero the block's rows of dL/dx before the phases, where some pixels belong to none."""
    cdef Py_ssize_t first = block.row * plan.rows.out_step, column = block.column * plan.columns.out_step
    cdef Py_ssize_t end = min((block.row + block.rows) * plan.rows.out_step, plan.rows.out_size)
    cdef Py_ssize_t last = min((block.column + block.columns) * plan.columns.out_step, plan.columns.out_size)
    cdef Py_ssize_t pixel = plan.out_total * plan.itemsize, image, row
    for image in range(block.image, block.image + block.images):
        for row in range(first, end):
            memset(out + ((image * plan.rows.out_size + row) * plan.columns.out_size + column) * pixel, 0,
                   (last - column) * pixel)


cdef Py_ssize_t point_pixels(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, const Area *area, char *out,
    const void **reads, void **writes,
) noexcept nogil:
    """Pointers of every pixel that one phase has in an area of the block; returns how many.

    dL/dW, which only reads, passes NULL for `writes`.
    """
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t size = plan.itemsize
    cdef Py_ssize_t first_row = rows.phase_first[phase.row], first_column = columns.phase_first[phase.column]
    cdef Py_ssize_t read_step = source.column_stride * size
    cdef Py_ssize_t write_step = columns.out_step * plan.out_total * size
    cdef Py_ssize_t count = 0, image, row, across = area.end_column - area.column
    cdef const char *read
    cdef const char *write
    for image in range(block.images):
        for row in range(area.row, area.end_row):
            read = source.data + size * (
                image * source.image_stride + row * source.row_stride + area.column * source.column_stride)
            write = out + size * plan.out_total * (
                ((block.image + image) * rows.out_size + first_row + (block.row + row) * rows.out_step)
                * columns.out_size + first_column + (block.column + area.column) * columns.out_step)
            point_row(read, read_step, across, reads + count)
            if writes != NULL:
                point_row(write, write_step, across, <const void **> writes + count)
            count += across
    return count


cdef bint evenly_spaced(const Plan *plan, const Block *block, const Source *source, const Area *area) noexcept nogil:
    """Whether the pixels of an area follow one another at the same distance, in the input and in the output.

    Not where that is none in the input, as in a broadcast array: 0 says that every pixel has a pointer.
    """
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t down = area.end_row - area.row, across = area.end_column - area.column
    return source.column_stride != 0 and (
        (down * block.images == 1 or (source.row_stride == across * source.column_stride
                                      and rows.out_step * columns.out_size == across * columns.out_step))
        and (block.images == 1 or (source.image_stride == down * source.row_stride
                                   and rows.out_size == down * rows.out_step)))


cdef void point_class(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, const Area *area, char *out,
    const Workspace *work, PixelClass *found,
) noexcept nogil:
    """Point to every pixel of a class, or to the first alone where that is enough for the kernel."""
    cdef Block first_image = block[0]
    cdef Area first = area[0]
    cdef Py_ssize_t pixels = block.images * (area.end_row - area.row) * (area.end_column - area.column)
    found.in_step = found.out_step = 0
    if pixels > 1 and (plan.narrow or (plan.few_to_few and source.column_stride == plan.in_channels)) and (
            evenly_spaced(plan, block, source, area)):
        found.in_step, found.out_step = source.column_stride, plan.columns.out_step * plan.out_total
        first_image.images, first.end_row, first.end_column = 1, first.row + 1, first.column + 1
    point_pixels(plan, &first_image, phase, source, &first, out, work.reads + found.start, work.writes + found.start)
    found.pixels = pixels


cdef Py_ssize_t classify_pixels(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, bint by_column, char *out,
    const Workspace *work,
) noexcept nogil:
    """Point to every pixel of a phase, class by class; returns how many classes there are.

    Unless `by_column`, pixels of a row are one class, and padding to the left and right counts as input.
    """
    cdef Py_ssize_t rows = phase_block_rows(plan, block, phase), columns = phase_block_columns(plan, block, phase)
    cdef Py_ssize_t count = 0, pixels = 0
    cdef PixelClass *found
    cdef Area area
    area.row = 0
    while area.row < rows:
        area.column = 0
        while area.column < columns:
            found = work.classes + count
            area.end_row = same_taps(&plan.rows, phase.first_row, phase.rows, block.row, area.row, rows,
                                     &found.first_row, &found.end_row)
            found.first_column, found.end_column, area.end_column = 0, phase.columns, columns
            if by_column:
                area.end_column = same_taps(&plan.columns, phase.first_column, phase.columns, block.column,
                                            area.column, columns, &found.first_column, &found.end_column)
            found.start, found.started = pixels, False
            point_class(plan, block, phase, source, &area, out, work, found)
            pixels += found.pixels
            count += 1
            area.column = area.end_column
        area.row = area.end_row if columns else rows
    return count


cdef Py_ssize_t tap_offset(
    const Plan *plan, const Source *source, Py_ssize_t row_tap, Py_ssize_t column_tap,
) noexcept nogil:
    """Elements from a pixel's pointer to what it reads through a tap."""
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t down = rows.tap_offset[row_tap] - rows.min_offset
    cdef Py_ssize_t right = columns.tap_offset[column_tap] - columns.min_offset
    if plan.gathered and rows.sparse:
        down = row_tap
    if plan.gathered and columns.sparse:
        right = column_tap
    return down * source.row_pitch + right * source.column_pitch


cdef void find_runs(
    const Plan *plan, const Phase *phase, const Source *source, const Workspace *work,
) noexcept nogil:
    """Where each run of the phase starts: from a pixel's pointer, and in K."""
    cdef Py_ssize_t run, across = 1 if plan.merged else phase.columns
    for run in range(phase.runs):
        work.offsets[run] = tap_offset(plan, source, phase.first_row + run // across,
                                       phase.first_column + run % across)
        work.run_k[run] = run * phase.run_length


cdef Py_ssize_t source_group(const Plan *plan) noexcept nogil:
    """Elements from a group's input to the next one's."""
    return plan.group_pitch if plan.gathered else plan.in_channels


cdef Py_ssize_t inputs_of(const Plan *plan) noexcept nogil:
    """Input channels that an output channel of a depthwise pass sees."""
    return plan.shared if plan.shared > 0 else plan.group


cdef bint is_large(const Plan *plan) noexcept nogil:
    """Whether the result so far exceeds the caches that it had better be written past them."""
    return (plan.itemsize * <double> plan.images * plan.rows.out_size * plan.columns.out_size * plan.out_total
            > BEYOND_CACHES // 2 * caches().l2)


cdef bint may_stream(const Plan *plan, const char *out) noexcept nogil:
    """... and whether it is made of whole vectors, all of them aligned."""
    cdef Py_ssize_t lanes = plan.kernels.lanes
    return is_large(plan) and plan.out_channels % lanes == 0 and <size_t> out % (lanes * plan.itemsize) == 0


cdef void choose_strips(Plan *plan) noexcept nogil:
    """Strips of rows in which the input of all channels stays in half of L2, since each vector of them passes alone.

    A tile of 3x3 taps goes down its rows by itself, reads nothing twice, and so may go all the way: unless pixels are
    so far apart that they share a few sets of L1, and what was fetched beside a vector is gone when it is needed.
    Tiles of other taps find in L1 what they read again.
    """
    cdef Py_ssize_t pixel = plan.panel * plan.itemsize * plan.columns.in_step
    cdef Py_ssize_t rows = plan.rows.block * plan.rows.in_step + plan.rows.taps, row
    plan.room_columns = 0
    if plan.op == WEIGHT_GRAD:      # whose strips are a part of the result: they follow from the geometry alone
        plan.strip_rows, plan.strip_pixels = plan.rows.block, plan.columns.block
        plan.strip_chain = max(DEPTHWISE_CHAIN, plan.columns.block)
        if plan.group == 1 and plan.rows.taps == plan.columns.taps == 3 and (
                plan.out_total * plan.itemsize % SAME_SETS == 0):
            plan.strip_pixels, plan.strip_chain = CLOSE_PIXELS, 3 * CLOSE_PIXELS    # three rows: measured
        return
    plan.strip_pixels = max(caches().l2 // 2 // (pixel * rows), 16)
    plan.strip_rows = max(caches().l2 // 2 // (pixel * plan.strip_pixels * plan.rows.in_step) // 4 * 4, 4)
    if plan.streamed:
        plan.strip_pixels = plan.strip_rows = 4
    if copies_strips(plan) and not (plan.gathered and (plan.rows.sparse or plan.columns.sparse)):
        copy_strips(plan)       # which sparse scratch is already
    elif goes_down(plan):
        plan.strip_rows = min(plan.rows.block, STREAMED_ROWS) if is_large(plan) else plan.rows.block
        if plan.shared:     # each row of a large image is in another page, and has but one vector of each pixel
            row = plan.columns.extent * plan.out_total * plan.itemsize
            plan.strip_rows = min(max(caches().l2 // 2 // row, 4 * plan.rows.taps), plan.rows.block)
        elif plan.group > 1:    # rows before the first of a strip are multiplied, and go nowhere
            plan.strip_rows = plan.rows.block
        elif plan.out_total * plan.itemsize % SAME_SETS == 0:
            plan.strip_rows = 3
    elif has_windows(plan) and plan.out_total >= plan.kernels.lanes:
        plan.strip_rows = min(plan.rows.block, FETCHED_ROWS) if plan.streamed else plan.rows.block
