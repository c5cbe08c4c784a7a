"""dL/dW: for every kernel row, a product of x's runs with dy, summed over pixels.

    for each piece of the pixels and share of the panels (in parallel)
        for each block of the piece
            gather the input it reads
            for each panel of dy, packed: grad kernel for each run of every kernel row, over the pixels
            that read inside (where taps are left out, as many runs as a kernel row has go over all blocks)
    add the pieces in order

Each block is summed from zero and added to its piece.  Blocks and pieces follow from the geometry,
so the result is the same for any number of threads.
"""
from cython.parallel cimport prange, threadid

from libc.string cimport memcpy, memset

from fastconv._kernels cimport (
    fastconv_add_args, fastconv_check_args, fastconv_grad_args, fastconv_pack_args, caches, flush_denormals,
    restore_mode, spare_shuffles)
from fastconv.algorithms.depthwise_grad cimport add_repetitions, run_depthwise_block, sums_bytes
from fastconv.axes cimport Axis, aligned
from fastconv.blocks cimport (
    Area, Block, Phase, Source, Workspace, find_runs, gather_block, locate_block, open_phase, open_workspace,
    point_pixels, point_row, source_group)
from fastconv.geometry cimport Geometry
from fastconv.plan cimport Plan, Tensor, panel_start

# Tiles of the grad kernel from which on a packed panel of dy is used often enough.
cdef Py_ssize_t PACKING_PAYS = 6
# Elements that one task adds up when the pieces are done.
cdef Py_ssize_t SUM_CHUNK = 4096


# One call of run_weight_grad, as its tasks see it.
cdef struct Job:
    const Plan *plan
    const Tensor *x
    const Tensor *dy
    char *grad                  # the result, and the first piece
    char *partials              # the other pieces
    char *threads


cdef inline Py_ssize_t grad_elements(const Plan *plan) noexcept nogil:
    cdef const Geometry *g = &plan.geometry
    return g.kernel_height * g.kernel_width * (g.in_channels // g.groups) * g.out_channels


cdef inline char *piece_of(const Job *job, Py_ssize_t piece) noexcept nogil:
    return piece_at(job.grad, job.partials, piece, job.plan.pieces, job.plan.partial_bytes)


cdef void pack_dy(
    const Job *job, const Block *block, Py_ssize_t channel, Py_ssize_t channels, Py_ssize_t width, char *to,
) noexcept nogil:
    """`channels` of dy from `channel` on, for every pixel of the block: [pixels][width]."""
    cdef const Plan *plan = job.plan
    cdef const Tensor *dy = job.dy
    cdef fastconv_pack_args args
    cdef Py_ssize_t image, row
    cdef int finite             # no matter here: padding of x times an infinite dy is NaN
    args.rows, args.columns = block.columns, channels
    args.row_stride, args.column_stride = dy.column_stride, dy.channel_stride
    args.panel_stride = width
    args.finite = &finite
    args.panel = to
    for image in range(block.image, block.image + block.images):
        for row in range(block.row, block.row + block.rows):
            args.source = dy.data + plan.itemsize * (
                image * dy.batch_stride + row * dy.row_stride + block.column * dy.column_stride
                + channel * dy.channel_stride)
            plan.kernels.pack(&args)
            args.panel = <char *> args.panel + block.columns * width * plan.itemsize


cdef void point_dy(
    const Plan *plan, const Block *block, const char *first, Py_ssize_t image_stride, Py_ssize_t row_stride,
    Py_ssize_t column_stride, const void **dy,
) noexcept nogil:
    """Pointers to dy of every pixel of a block, in the order of point_pixels; strides in elements."""
    cdef Py_ssize_t image, row, size = plan.itemsize
    for image in range(block.images):
        for row in range(block.rows):
            point_row(first + size * (image * image_stride + row * row_stride), column_stride * size, block.columns, dy)
            dy += block.columns


cdef bint vectors_inside(
    const Job *job, const Block *block, Py_ssize_t start, Py_ssize_t width,
) noexcept nogil:
    """Whether `width` elements from channel `start` on lie between dy's first and last, for every pixel of a block."""
    cdef const Plan *plan = job.plan
    cdef const Tensor *dy = job.dy
    return min(dy.batch_stride, dy.row_stride, dy.column_stride) >= 0 and start + width <= plan.out_total + (
        (plan.images - block.image - block.images) * dy.batch_stride
        + (plan.rows.extent - block.row - block.rows) * dy.row_stride
        + (plan.columns.extent - block.column - block.columns) * dy.column_stride)


cdef bint reads_in_place(
    const Job *job, const Block *block, const Phase *phase, Py_ssize_t start, Py_ssize_t width, bint swapped,
) noexcept nogil:
    """Whether a panel of dy had better be read where it lies, rather than packed.

    Packing pays where tiles use it several times, unless the panel is all of a pixel, or L2 holds all panels of the
    block and each finds what the one before has asked for (vectors of a line do).  The kernel may read no vector past
    the end of dy.
    """
    cdef const Plan *plan = job.plan
    cdef bint foreseen = plan.groups == 1 and plan.kernels.lanes * plan.itemsize == 64 and (
        plan.block_pixels * plan.out_total * plan.itemsize <= caches().l2)
    if job.dy.channel_stride != 1:
        return False
    if swapped or plan.few_pixels or job.dy.column_stride == width:
        return True
    return vectors_inside(job, block, start, width) and (
        foreseen or phase.runs * phase.run_length < PACKING_PAYS * plan.kernels.grad_rows)


cdef void open_dy(
    const Job *job, const Block *block, const Workspace *work, Py_ssize_t start, Py_ssize_t columns,
    Py_ssize_t width, bint in_place, fastconv_grad_args *args,
) noexcept nogil:
    """Where the kernel finds `columns` channels of dy from `start` on: where they are, or packed `width` wide."""
    cdef const Plan *plan = job.plan
    cdef const Tensor *dy = job.dy
    if in_place:
        args.dy_offset = start
        point_dy(plan, block, dy.data + plan.itemsize * (
            block.image * dy.batch_stride + block.row * dy.row_stride + block.column * dy.column_stride),
            dy.batch_stride, dy.row_stride, dy.column_stride, work.dy)
    else:
        args.dy_offset = 0
        pack_dy(job, block, start, columns, width, work.slice)
        point_dy(plan, block, work.slice, block.rows * block.columns * width, block.columns * width, width, work.dy)


cdef void find_inside(
    const Axis *axis, Py_ssize_t start, Py_ssize_t steps, Py_ssize_t tap, Py_ssize_t *first, Py_ssize_t *end,
) noexcept nogil:
    """Of a block's steps along an axis, those [first, end) that read inside the input through a tap."""
    cdef Py_ssize_t at = start * axis.in_step + axis.tap_offset[tap]
    first[0], end[0] = 0, steps
    while first[0] < steps and at + first[0] * axis.in_step < 0:
        first[0] += 1
    while end[0] > first[0] and at + (end[0] - 1) * axis.in_step >= axis.in_size:
        end[0] -= 1


cdef void select_pixels(
    const Plan *plan, const Block *block, Py_ssize_t row_tap, Py_ssize_t column_tap, const Workspace *work,
    fastconv_grad_args *args,
) noexcept nogil:
    """Let `args` take the pixels of a block that read inside the input through a tap; whole rows, unless trimmed."""
    cdef Py_ssize_t first, end, left = 0, right = block.columns, image, row, at, count = 0
    find_inside(&plan.rows, block.row, block.rows, row_tap, &first, &end)
    if plan.trimmed:
        find_inside(&plan.columns, block.column, block.columns, column_tap, &left, &right)
    args.pixels = block.images * (end - first) * (right - left)
    if block.images == 1 and right - left == block.columns:     # they follow one another
        args.in_, args.dy = work.reads + first * block.columns, work.dy + first * block.columns
        return
    args.in_, args.dy = work.some_reads, work.some_dy
    for image in range(block.images):
        for row in range(first, end):
            at = (image * block.rows + row) * block.columns + left
            memcpy(work.some_reads + count, work.reads + at, (right - left) * sizeof(void *))
            memcpy(work.some_dy + count, work.dy + at, (right - left) * sizeof(void *))
            count += right - left


cdef void run_block(
    const Job *job, const Block *block, const Phase *phase, const Workspace *work, Py_ssize_t pixels,
    Py_ssize_t first, Py_ssize_t end, char *grad, bint accumulate,
) noexcept nogil:
    """Add the share [first, end) of a block: units are runs (or all of them at once), fastest, panels and groups."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t size = plan.itemsize, total = plan.out_total
    cdef Py_ssize_t runs = 1 if plan.joined else phase.runs, across = 1 if plan.merged else phase.columns
    cdef Py_ssize_t unit, run, group, panel, start, width, opened = -1
    cdef bint in_place, swapped = plan.swapped
    cdef fastconv_grad_args args
    args.pixels, args.rows, args.run_length = pixels, phase.run_length, phase.run_length
    args.run_offset = work.offsets
    if plan.joined:
        args.rows *= phase.runs
    args.in_, args.dy = work.reads, work.dy
    args.grad_stride = total
    args.permute, args.accumulate = spare_shuffles(), accumulate
    for unit in range(first, end):
        run = unit % runs
        panel = unit // runs % plan.panels
        group = unit // (runs * plan.panels)
        start = panel_start(plan, panel)
        width = panel_start(plan, panel + 1) - start
        args.columns = min(plan.out_channels - start, width)
        start += group * plan.out_channels
        if opened != unit // runs:
            opened = unit // runs
            swapped = plan.swapped or (plan.whole > 0 and panel + 1 == plan.panels)
            in_place = reads_in_place(job, block, phase, start, width, swapped)
            # What the next panel, group or block takes; of a packed panel, pixels that come soon.
            args.ahead = 8 * width
            if in_place and panel + 1 < plan.panels:
                args.ahead = width
            elif in_place:
                args.ahead = (group + 1) * plan.out_channels - start
                if group + 1 == plan.groups:
                    args.ahead += pixels * job.dy.column_stride - plan.out_total
            open_dy(job, block, work, start, args.columns, width, in_place, &args)
        if plan.clipped and (plan.trimmed or run % across == 0 or unit == first):
            select_pixels(plan, block, run // across, run % across, work, &args)
        args.in_offset = (0 if plan.joined else work.offsets[run]) + group * source_group(plan)
        args.grad = grad + size * (run * phase.run_length * total + start)
        if plan.few_pixels:
            plan.kernels.ger(&args)
        elif swapped:
            plan.kernels.grad_swapped(&args)
        else:
            plan.kernels.grad(&args)


cdef Py_ssize_t units_at_once(const Plan *plan, Py_ssize_t units) noexcept nogil:
    """Units that go over all blocks before others do: as many as a kernel row has, whose sums stay in L2, or all."""
    cdef bint many = units * plan.in_channels * plan.panel * plan.itemsize > caches().l2
    return plan.columns.taps if many and plan.trimmed and not plan.gathered else max(units, 1)


cdef void run_task(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One share of the units, over every block of one piece."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t share = task % plan.shares, piece = task // plan.shares
    cdef Py_ssize_t first = plan.units * share // plan.shares, end = plan.units * (share + 1) // plan.shares
    cdef Py_ssize_t start = plan.blocks * piece // plan.pieces, stop = plan.blocks * (piece + 1) // plan.pieces
    cdef Py_ssize_t index, pixels, row, width = plan.out_total, unit = first, step = units_at_once(plan, end - first)
    cdef char *sums = piece_of(job, piece)
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    cdef Block block
    cdef Source source
    cdef Phase phase
    cdef Area area
    open_workspace(plan, job.threads, thread, &work)
    open_phase(plan, 0, 0, &phase)
    area.row = area.column = 0
    if plan.depthwise:
        row = plan.columns.taps * plan.group * plan.out_total * plan.itemsize
        memset(piece_of(job, piece) + first * row, 0, (end - first) * row)
        if plan.repeat > 1:
            sums, width = work.slice, plan.panel
            memset(sums, 0, sums_bytes(plan))
    while unit < end:
        for index in range(start, stop):
            locate_block(plan, index, &block)
            gather_block(plan, job.x, &block, 0, work.scratch, &source)
            if plan.depthwise:
                run_depthwise_block(plan, job.dy, &block, &phase, &source, &work, first, end, sums, width)
            else:
                area.end_row, area.end_column = block.rows, block.columns
                pixels = point_pixels(plan, &block, &phase, &source, &area, NULL, work.reads, NULL)
                find_runs(plan, &phase, &source, &work)
                run_block(job, &block, &phase, &work, pixels, unit, min(unit + step, end), piece_of(job, piece),
                          index > start)
        unit += step
    if plan.depthwise and plan.repeat > 1:
        add_repetitions(plan, sums, first, end, piece_of(job, piece))
    restore_mode(mode)


cdef void add_chunk(
    const Plan *plan, char *grad, const char *partials, Py_ssize_t pieces, Py_ssize_t piece_bytes, Py_ssize_t chunk,
) noexcept nogil:
    cdef unsigned long long mode = flush_denormals()
    cdef fastconv_add_args args
    cdef Py_ssize_t piece, start = chunk * SUM_CHUNK
    args.count = min(SUM_CHUNK, grad_elements(plan) - start)
    args.sum = grad + start * plan.itemsize
    for piece in range(pieces - 1):
        args.term = partials + piece * piece_bytes + start * plan.itemsize
        plan.kernels.add(&args)
    restore_mode(mode)


cdef void add_pieces(
    const Plan *plan, char *grad, const char *partials, Py_ssize_t pieces, Py_ssize_t partial_bytes, int threads,
) noexcept nogil:
    """Add the partial sums, of all pieces after the first, to `grad`, in order."""
    cdef Py_ssize_t chunk, chunks = (grad_elements(plan) + SUM_CHUNK - 1) // SUM_CHUNK
    if pieces == 1:
        return
    if threads == 1:
        for chunk in range(chunks):
            add_chunk(plan, grad, partials, pieces, partial_bytes // (pieces - 1), chunk)
    else:
        for chunk in prange(chunks, num_threads=threads, schedule="static"):
            add_chunk(plan, grad, partials, pieces, partial_bytes // (pieces - 1), chunk)


cdef void run_weight_grad(
    const Plan *plan, const Tensor *x, const Tensor *dy, char *grad, char *workspace,
) noexcept nogil:
    """Run a WEIGHT_GRAD plan; `workspace` has plan.workspace_bytes."""
    cdef Job job
    cdef Py_ssize_t task
    job.plan, job.x, job.dy, job.grad = plan, x, dy, grad
    job.partials = aligned(workspace)
    job.threads = job.partials + plan.partial_bytes
    if plan.threads == 1:       # without the cost of opening a parallel region
        for task in range(plan.tasks):
            run_task(&job, task, 0)
    else:
        for task in prange(plan.tasks, num_threads=plan.threads, schedule="dynamic"):
            run_task(&job, task, threadid())
    add_pieces(plan, grad, job.partials, plan.pieces, plan.partial_bytes, plan.threads)


cdef bint is_finite(const Plan *plan, const char *out) noexcept nogil:
    """Whether no element of dL/dW is NaN or infinite."""
    cdef const Geometry *g = &plan.geometry
    cdef int finite = True
    cdef fastconv_check_args args
    args.count = g.kernel_height * g.kernel_width * (g.in_channels // g.groups) * g.out_channels
    args.values, args.finite = out, &finite
    plan.kernels.check(&args)
    return finite
