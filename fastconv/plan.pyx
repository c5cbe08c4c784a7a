"""How one call will be computed: blocks, panels, tasks and workspace.

axes.pxd finds the taps and phases, kernel_choice.pyx the kernel, `make_plan` the sizes.  What can change the bits
of a result (the order of K, the pieces of dL/dW) follows from the geometry alone; caches and threads decide only
what cannot.
"""
from fastconv._kernels cimport FASTCONV_FEW_PIXELS, caches, fastconv_kernels, halved
from fastconv.axes cimport ceil_div, make_axis, set_block, whole_lines
from fastconv.blocks cimport PixelClass, choose_strips, inputs_of
from fastconv.few_channels cimport halves_pay
from fastconv.geometry cimport columns_make_channels, take_columns_as_channels
from fastconv.kernel_choice cimport (
    MOST_PACKED, TARGET_PIXELS, choose_dot, choose_pass, choose_source, choose_vectors)
from fastconv.padding cimport choose_trimmed
from fastconv.shares cimport choose_shares, count_parts
from fastconv.strips cimport goes_down, has_windows, room_bytes
from fastconv.threads cimport serial_flops

cdef Py_ssize_t FEW_PIXELS = 128
cdef Py_ssize_t MANY_PIXELS = 4096
# For each thread, from which on they end together.
cdef Py_ssize_t MANY_GROUPS = 8
cdef Py_ssize_t DEPTHWISE_PIXELS = 4096
# Tiles of conv_narrow in a panel: so many rows of weights are read one after the other.
cdef Py_ssize_t NARROW_TILES = 8
cdef Py_ssize_t DEPTHWISE_SCRATCH = 768 << 10
# dL/dW sums each block from zero, so its blocks are part of the result: fixed, whatever the caches.
cdef Py_ssize_t GRAD_PIXELS = 512
# Of scratch where blocks had better be large: where each packs its weights, and where dL/dW adds all of its sums.
cdef Py_ssize_t MOST_SCRATCH = 7 << 19
# Bytes of all its pieces that cost next to nothing, of those that many threads may need, and units that keep them busy.
cdef Py_ssize_t GRAD_PARTIALS = 1 << 20
cdef Py_ssize_t MOST_PARTIALS = 4 << 20
cdef Py_ssize_t GRAD_UNITS = 96
cdef Py_ssize_t GRAD_PIECE = 384
cdef Py_ssize_t MOST_PIECES = 16


cdef void even_out(Plan *plan, Py_ssize_t threads) noexcept nogil:
    """Cut blocks into up to twice as many, of images, else of rows (or columns), so that threads end together."""
    cdef Axis *axis = &plan.rows if plan.images * plan.rows.extent >= threads else &plan.columns
    cdef Py_ssize_t blocks = ceil_div(plan.images, plan.block_images), times = plan.images * plan.rows.blocks
    if plan.block_images * plan.rows.block * plan.columns.block <= FEW_PIXELS:
        return
    if plan.block_images > 1:
        plan.block_images = ceil_div(plan.images, count_parts(plan.images, blocks, 2 * blocks, 1, threads))
    else:
        times = times * plan.columns.blocks // axis.blocks
        set_block(axis, ceil_div(axis.extent, count_parts(axis.extent, axis.blocks, 2 * axis.blocks, times, threads)))


cdef void choose_blocks(Plan *plan, Py_ssize_t pixels, Py_ssize_t scratch, Py_ssize_t threads) noexcept nogil:
    """Grow a block column by column, row by row, image by image up to `pixels` and `scratch` bytes.

    `threads` share blocks out, if more than one.
    """
    cdef Py_ssize_t pixel = plan.pixel_pitch * plan.itemsize * plan.planes
    cdef Axis *rows = &plan.rows
    cdef Axis *columns = &plan.columns
    cdef Py_ssize_t steps, one_row
    # Read in place, pixels cost no scratch; but the blocks of dL/dW are a part of its result, and must not depend on
    # where its input lies.
    if not plan.gathered and plan.op != WEIGHT_GRAD:
        pixel = 0
    set_block(rows, 1)
    steps = min(columns.extent, 2 * pixels)
    while set_block(columns, steps) * rows.slots * <double> pixel > scratch and steps > 1:
        steps = (steps + 1) // 2
    plan.block_images = 1
    if columns.blocks == 1:
        steps = min(rows.extent, max(pixels // columns.block, 1))
        while set_block(rows, steps) * columns.slots * <double> pixel > scratch and steps > 1:
            steps -= 1
        if rows.blocks == 1:
            one_row = rows.slots * columns.slots * pixel
            steps = min(pixels // (rows.block * columns.block), scratch // one_row if one_row else plan.images)
            steps = ceil_div(plan.images, max(min(steps, plan.images), 1))
            plan.block_images = ceil_div(plan.images, steps)
    if threads > 1:
        even_out(plan, threads)
    plan.image_blocks = ceil_div(plan.images, plan.block_images)
    plan.blocks = plan.image_blocks * rows.blocks * columns.blocks
    plan.block_pixels = plan.block_images * rows.block * columns.block
    plan.row_pitch = columns.slots * plan.pixel_pitch
    plan.group_pitch = rows.slots * plan.row_pitch
    plan.image_pitch = plan.group_pitch * plan.planes


cdef Py_ssize_t panel_start(const Plan *plan, Py_ssize_t panel) noexcept nogil:
    """First output channel of a panel: whole vectors, shared out evenly; single channels where they are narrow."""
    if plan.narrow:
        return plan.out_channels * panel // plan.panels
    if plan.whole > 0 and panel < plan.panels:
        return plan.whole * panel // (plan.panels - 1) * plan.kernels.lanes
    return plan.vectors * panel // plan.panels * plan.kernels.lanes


cdef inline Py_ssize_t depth(const Plan *plan) noexcept nogil:
    """Length of K, over all phases."""
    return plan.rows.taps * plan.columns.taps * plan.in_channels


cdef Py_ssize_t panels_bytes(const Plan *plan) noexcept nogil:
    """Of all panels, packed."""
    return plan.units * whole_lines(depth(plan) * plan.panel * plan.itemsize)


cdef const Prepared *prepared_for(const Plan *plan, const Tensor *weights) noexcept nogil:
    """What was prepared of the weights, if that was for this pass, these groups and kernels; else NULL."""
    cdef const Prepared *given = weights.prepared
    if given != NULL and plan.op == FORWARD and given.kernels == plan.kernels and given.groups == plan.groups:
        return given
    return NULL


cdef void use_prepared(Plan *plan, const Tensor *weights) noexcept nogil:
    """Take weights that were packed beforehand, if that was for a plan like this one."""
    cdef const Prepared *given = prepared_for(plan, weights)
    plan.prepared = NULL
    if given != NULL and given.packed != NULL and given.panels == plan.panels and given.narrow == plan.narrow:
        plan.prepared = given
        plan.packed = True
        plan.weights_in_place = False
        plan.parts = 1
        plan.packed_bytes = 0


cdef void choose_panels(Plan *plan, Py_ssize_t widest) noexcept nogil:
    cdef Py_ssize_t lanes = plan.kernels.lanes, most = MOST_PACKED // plan.itemsize, K = depth(plan)
    plan.vectors = ceil_div(plan.out_channels, lanes)
    plan.panels = ceil_div(plan.vectors, widest // lanes)
    plan.panel = ceil_div(plan.vectors, plan.panels) * lanes
    plan.depth_block = min(max(caches().l2 // 2 // (plan.panel * plan.itemsize), 128), 4096)
    if plan.few_pixels:
        plan.depth_block = max(K, 1)
    if plan.narrow:
        # All of K at once, of as many columns as there may be room for.
        most = min(max(most // max(K, 1), 1), NARROW_TILES * plan.kernels.narrow_panel)
        plan.panels = ceil_div(plan.out_channels, most)
        plan.panel = ceil_div(ceil_div(plan.out_channels, plan.panels), lanes) * lanes
        plan.depth_block = max(K, 1)


cdef Py_ssize_t most_pixels(const Plan *plan, Py_ssize_t *scratch) noexcept nogil:
    """Pixels that a block of the forward pass or dL/dx aims at, for one thread; and `scratch`, if not the usual."""
    if plan.few_to_few or depth(plan) * plan.panel * plan.itemsize > MOST_PACKED:
        scratch[0] = MOST_SCRATCH
        return MANY_PIXELS
    if plan.groups == plan.panels == 1 and depth(plan) <= plan.depth_block:
        scratch[0] = MOST_SCRATCH
        # Goes through its input once, by the rows of taps: what is gathered again for the next block should be little.
        return max(<Py_ssize_t> TARGET_PIXELS, 2 * plan.rows.taps * plan.columns.extent)
    return TARGET_PIXELS


cdef void leave_padding_out(Plan *plan, const Tensor *source, bint may_clip) noexcept nogil:
    """Forward and dL/dx: whether padding is left out to the left and right, too, and so need not be there.

    In the forward pass leaving it out is right only where weights are finite, which shows when they are packed; dL/dx
    has no padding to multiply.
    """
    cdef bint padded = plan.rows.padded or plan.columns.padded
    if plan.op == FORWARD and not may_clip:
        return
    plan.finite_only = padded and plan.op == FORWARD
    plan.trimmed = choose_trimmed(plan) or choose_dot(plan)
    if plan.trimmed and plan.groups == source.channel_stride == 1 and source.column_stride == plan.in_channels:
        plan.gathered = False


cdef bint are_dense(const Plan *plan, const Tensor *weights) noexcept nogil:
    """Whether the weights of a forward pass of one group are rows of K as they lie, one after the other."""
    return (weights.channel_stride == 1 and weights.column_stride == plan.out_channels
            and weights.row_stride == plan.in_channels * weights.column_stride
            and weights.batch_stride == plan.geometry.kernel_width * weights.row_stride)


cdef bint are_few(const Plan *plan, const Tensor *weights) noexcept nogil:
    """Whether a forward pass or dL/dW has so few pixels that it takes as long as its weights do to pass once.

    Or a few times, where a panel is less than the four lines that memory likes to give at once.
    """
    cdef Py_ssize_t pixels = plan.images * plan.rows.extent * plan.columns.extent
    cdef bint far = plan.out_channels * plan.itemsize * depth(plan) > caches().l2
    if plan.op == INPUT_GRAD or plan.groups > 1 or plan.tiled or plan.depthwise or plan.narrow or plan.few_to_few:
        return False
    if plan.op == WEIGHT_GRAD:
        return pixels <= FASTCONV_FEW_PIXELS // 2 and plan.out_channels >= plan.kernels.lanes
    return weights.prepared == NULL and are_dense(plan, weights) and (
        pixels <= FASTCONV_FEW_PIXELS or (
            far and pixels <= 3 * FASTCONV_FEW_PIXELS and plan.kernels.conv_panel * plan.itemsize < 256))


cdef Py_ssize_t long_panel(const Plan *plan, int threads) noexcept nogil:
    """Columns whose sums stay in L1; fewer, if threads are to share them, but long stretches of memory."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, vectors = ceil_div(plan.out_channels, lanes)
    return lanes * min(max(ceil_div(vectors, max(threads, 1)), 4), 64)


cdef void choose_packing(Plan *plan, const Tensor *weights) noexcept nogil:
    """Forward and dL/dx: whether weights are packed, and when."""
    cdef Py_ssize_t lanes = plan.kernels.lanes
    cdef Py_ssize_t unit_bytes = whole_lines(depth(plan) * plan.panel * plan.itemsize)
    # Packing tells whether the weights are finite, and so whether padding may be left out.
    plan.weights_in_place = plan.few_pixels or (
        plan.op == FORWARD and not plan.narrow and not plan.rows.padded and not plan.trimmed
        and (plan.panels == 1 or plan.images * plan.rows.extent * plan.columns.extent <= 2 * plan.kernels.conv_rows)
        and plan.groups == 1 and plan.out_channels % lanes == 0 and are_dense(plan, weights))
    if choose_dot(plan):
        plan.weights_in_place = weights.channel_stride == 1
    # Where several blocks use the weights, packing them pays: as many panels at a time as there may be room for,
    # since reading the input once more for each part costs next to nothing.
    plan.units = plan.groups * plan.panels
    # dL/dx that may only multiply padding if weights are finite has to know that beforehand; else packed weights of a
    # single block should stay in L1 beside what they meet.
    plan.packed = not plan.weights_in_place and not choose_dot(plan) and (
        unit_bytes <= MOST_PACKED if plan.blocks > 1 or (
            plan.op == INPUT_GRAD and plan.columns.padded and not plan.trimmed)
        else plan.units * unit_bytes <= caches().l1 // 2)
    plan.parts = 1
    plan.packed_bytes = 0
    if plan.packed:
        plan.parts = ceil_div(plan.units, max(MOST_PACKED // max(unit_bytes, 1), 1))
        plan.packed_bytes = ceil_div(plan.units, plan.parts) * unit_bytes
    use_prepared(plan, weights)


cdef bint shares_panels(const Plan *plan, Py_ssize_t threads, Py_ssize_t pixels) noexcept nogil:
    """Whether threads had better share out groups or panels than pixels, of which one block takes so many.

    Unless all weights are packed first, each packs its own then, where it uses them, and reads nothing that another one
    wrote.
    """
    if not (plan.rows.covered and plan.columns.covered):
        return False
    return plan.groups >= MANY_GROUPS * threads or (
        plan.groups * plan.panels % threads == 0
        and plan.images * plan.rows.extent * plan.columns.extent <= pixels)


cdef int useful_threads(const Plan *plan, int threads) noexcept nogil:
    return 1 if plan.flops < serial_flops else threads


cdef Py_ssize_t choose_pieces(const Plan *plan, Py_ssize_t grad_bytes) noexcept nogil:
    """Parts of the pixels whose sums are kept apart: they share out the work, where kernel rows and panels are few.

    Each is written, and read once more to be added up: two hundredths of the time of GRAD_PIECE pixels.
    """
    cdef Py_ssize_t pixels = plan.images * plan.rows.extent * plan.columns.extent
    # Not plan.units, which may follow from where x lies, through the choice of a kernel.
    cdef Py_ssize_t units = plan.rows.taps * (1 if plan.depthwise else plan.groups * ceil_div(
        plan.vectors, plan.kernels.grad_panel // plan.kernels.lanes))
    cdef Py_ssize_t needed = min(ceil_div(GRAD_UNITS, units), pixels // GRAD_PIECE)
    needed = min(needed, MOST_PARTIALS // grad_bytes + 1)
    needed = min(max(GRAD_PARTIALS // grad_bytes, needed, 1), MOST_PIECES, max(plan.blocks, 1))
    return needed if plan.depthwise else ceil_div(plan.blocks, ceil_div(plan.blocks, needed))


cdef void choose_tasks(Plan *plan, int threads) noexcept nogil:
    cdef Py_ssize_t grad_bytes
    cdef bint uneven, many
    plan.threads = threads
    plan.pieces = 1
    plan.shares = 1
    plan.partial_bytes = 0
    if plan.op == WEIGHT_GRAD:
        plan.units = 1 if plan.joined else plan.rows.taps
        if not plan.depthwise:
            plan.units *= plan.groups * plan.panels * (1 if plan.merged else plan.columns.taps)
        grad_bytes = whole_lines(plan.geometry.kernel_height * plan.geometry.kernel_width * plan.geometry.out_channels
                                 * (plan.geometry.in_channels // plan.geometry.groups) * plan.itemsize)
        plan.pieces = choose_pieces(plan, max(grad_bytes, 1))
        plan.partial_bytes = (plan.pieces - 1) * grad_bytes
        plan.tasks = plan.pieces
    else:
        plan.units = 1 if plan.depthwise else plan.groups * plan.panels
        plan.tasks = plan.blocks
    # Blocks with pixels of no phase are zeroed first, by the one task they belong to.  Kernel rows of a depthwise dL/dW
    # read the same lines: three, whose sums fit the registers, only go apart where threads would have nothing to do.
    many = plan.tasks >= plan.threads if plan.rows.taps <= 3 else plan.tasks > 4 * plan.threads
    if plan.threads > 1 and plan.rows.covered and plan.columns.covered and not (plan.depthwise and many):
        # Pieces that differ much are shared out one by one.
        uneven = 20 * plan.pieces * ceil_div(plan.blocks, plan.pieces) > 21 * plan.blocks and not plan.depthwise
        plan.shares = choose_shares(1 if uneven else plan.tasks, plan.units // plan.parts, plan.threads)
    plan.tasks *= plan.shares
    plan.threads = <int> min(plan.threads, max(plan.tasks, 1))


cdef void measure_workspace(Plan *plan) noexcept nogil:
    cdef Py_ssize_t pointer = sizeof(void *), columns
    cdef Py_ssize_t slice_rows = min(plan.depth_block, depth(plan))
    plan.scratch_bytes = 0
    if plan.gathered:
        plan.scratch_bytes = whole_lines(plan.block_images * plan.image_pitch * plan.itemsize)
        if plan.depthwise:
            plan.scratch_bytes += 64
    plan.pointer_bytes = 0 if plan.depthwise else whole_lines(plan.block_pixels * pointer)
    plan.offset_bytes = whole_lines(plan.rows.taps * plan.columns.taps * pointer)
    plan.class_bytes = whole_lines(sizeof(PixelClass) * min(plan.rows.block, plan.rows.breaks + 1) * (
        min(plan.columns.block, plan.columns.breaks + 1)))
    if plan.op == WEIGHT_GRAD:
        slice_rows = plan.strip_chain if plan.depthwise else plan.block_pixels
        if plan.depthwise and plan.repeat > 1:      # dy as it would be dense, and the sums of every repetition
            slice_rows = ceil_div(slice_rows * plan.out_total, plan.panel) + plan.rows.taps * plan.columns.taps
    elif plan.packed or plan.weights_in_place or plan.depthwise:
        slice_rows = 0
    plan.slice_bytes = whole_lines(slice_rows * plan.panel * plan.itemsize)
    if plan.depthwise and plan.room_columns > 0:
        plan.slice_bytes = room_bytes(plan)
    if plan.narrow:             # rows of K
        columns = ceil_div(plan.out_channels, plan.panels)
        plan.slice_bytes = whole_lines(slice_rows * columns * plan.itemsize)
    plan.thread_bytes = (plan.scratch_bytes + 4 * plan.pointer_bytes + 4 * plan.offset_bytes
                         + plan.class_bytes + plan.slice_bytes)
    # One line more, so that the whole can be aligned.
    plan.workspace_bytes = plan.packed_bytes + plan.partial_bytes + plan.threads * plan.thread_bytes + 64


cdef void make_plan(
    Plan *plan, Op op, const Geometry *g, const fastconv_kernels *kernels, const Tensor *source,
    const Tensor *weights, int threads, bint may_clip, bint tiled, Py_ssize_t *axis_memory,
) noexcept nogil:
    """Fill `plan`; `axis_memory` has room for axis_entries(g) integers and must outlive it.

    `tiled` keeps to the register tile where other kernels would be faster: for Winograd's products, where it is forced.

    The output has at least one element, and so have the kernel and the batch.
    """
    cdef Py_ssize_t pixels = TARGET_PIXELS
    cdef Py_ssize_t scratch = caches().l2 // 2, rows
    cdef int sharing = 1
    cdef bint down
    cdef const fastconv_kernels *narrower
    plan.geometry = g[0]
    plan.kernels_apart = op == INPUT_GRAD and not tiled and columns_make_channels(g)
    if plan.kernels_apart:
        # Without other kernels or algorithms, since bits must not depend on how the weights lie.
        tiled = True
        if weights.row_stride == g.in_channels * weights.column_stride:
            take_columns_as_channels(&plan.geometry)
            g = &plan.geometry
    plan.op = op
    plan.kernels = kernels
    plan.itemsize = kernels.itemsize
    make_axis(&plan.rows, op == INPUT_GRAD, g.in_height, g.out_height, g.kernel_height, g.stride_height, g.pad_top,
              g.dilation_height, axis_memory)
    make_axis(&plan.columns, op == INPUT_GRAD, g.in_width, g.out_width, g.kernel_width, g.stride_width, g.pad_left,
              g.dilation_width, axis_memory + 4 * g.kernel_height + 1)
    plan.finite_only = False
    choose_pass(plan, weights, tiled)
    narrower = halved(kernels)
    if narrower != NULL and halves_pay(plan):
        plan.kernels = kernels = narrower
        choose_pass(plan, weights, tiled)
    threads = useful_threads(plan, threads)
    choose_source(plan, source, weights, may_clip)
    plan.few_pixels = are_few(plan, weights)
    if not plan.depthwise:
        choose_panels(plan, long_panel(plan, threads) if plan.few_pixels else
                      kernels.grad_panel if op == WEIGHT_GRAD else kernels.conv_panel)
        if op != WEIGHT_GRAD and not plan.few_pixels:
            leave_padding_out(plan, source, may_clip)
    plan.rows.bare = op != WEIGHT_GRAD and (plan.clipped if plan.depthwise else op == INPUT_GRAD or plan.finite_only)
    if op == WEIGHT_GRAD:
        pixels, scratch = GRAD_PIXELS, DEPTHWISE_SCRATCH if plan.depthwise else MOST_SCRATCH
    elif not plan.depthwise:
        pixels = most_pixels(plan, &scratch)
    if threads > 1 and op != WEIGHT_GRAD and not plan.depthwise and not shares_panels(plan, threads, pixels):
        # A block for every thread, of whole rows if there are as many, as long as it fills some tiles.
        sharing, rows = threads, plan.images * plan.rows.extent
        rows = ceil_div(rows, threads) * plan.columns.extent if rows >= threads else (
            ceil_div(rows * plan.columns.extent, threads))
        pixels = min(pixels, max(rows, FEW_PIXELS))
    if plan.depthwise:          # goes by rows, as many as fit
        pixels = DEPTHWISE_PIXELS
        down = goes_down(plan) or (plan.group > 1 and has_windows(plan))
        if plan.planes > 1 or (plan.group > 1 and down):                # rows that blocks share should be few
            scratch = max(scratch, <Py_ssize_t> min(
                <double> MOST_SCRATCH, 8.0 * plan.rows.taps * plan.columns.in_size * plan.in_total * plan.itemsize))
        if down and not plan.gathered:
            # Of 3x3 taps, each strip begins with rows that end no sum.
            pixels = plan.rows.extent * plan.columns.extent
        elif down:
            pixels = max(pixels, 16 * plan.rows.taps * plan.columns.extent)
        if op != WEIGHT_GRAD and threads > 1:
            pixels = max(plan.images * plan.rows.extent * plan.columns.extent // (4 * threads), 64)
        if plan.rows.phases * plan.columns.phases > 1:
            # Phases write between one another's pixels: what one leaves out should still be near for the next.
            pixels = max(min(pixels, caches().l2 // 4 // (
                plan.rows.phases * plan.columns.phases * plan.out_total * plan.itemsize)), 32)
    choose_blocks(plan, pixels, scratch, sharing)
    plan.prepared = NULL
    plan.packed = plan.weights_in_place = False
    plan.parts = 1
    plan.packed_bytes = 0
    if plan.depthwise:
        plan.panels = 1
        plan.vectors = ceil_div(plan.out_channels * plan.repeat, kernels.lanes)
        plan.panel = plan.vectors * kernels.lanes
        plan.depth_block = 0
        choose_strips(plan)
        if op != WEIGHT_GRAD:   # twice, once with its channels rotated, the bias, and a vector that a pack may overrun
            rows = plan.rows.taps * plan.columns.taps * inputs_of(plan) * (plan.multiplier if op == INPUT_GRAD else 1)
            plan.packed_bytes = whole_lines(((2 * rows + 1) * plan.panel + kernels.lanes) * plan.itemsize)
    elif op == WEIGHT_GRAD:
        choose_vectors(plan)
    else:
        choose_packing(plan, weights)
    choose_tasks(plan, threads)
    measure_workspace(plan)
