"""Which kernel computes a pass: on which side its vectors lie, and whether it reads its input in place.

Everything here follows from the geometry, but for what is said of an input's layout, which changes no bit.
"""
from fastconv._kernels cimport FASTCONV_EVEN_COLUMNS, FASTCONV_LATENT_SUMS, caches, fastconv_check_args
from fastconv.axes cimport Axis, ceil_div, reads_everywhere
from fastconv.few_channels cimport (
    all_see_few, few_to_few, fits_vectors, lanes_pay, leaves_edges_out, prefers_runs, stays_single)
from fastconv.geometry cimport Geometry
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Plan, Tensor
from fastconv.strips cimport alternating_taps, copies_strips, goes_down, has_windows, stretches_pay

# Vectors a pixel from which on one more for the first channels costs less than none being aligned.
cdef Py_ssize_t MANY_VECTORS = 6
# Bytes between pixels that share a set of L1, and filters for which a copy with gaps pays.
cdef Py_ssize_t SAME_SET = 4096
cdef Py_ssize_t SPREAD_FILTERS = 128
# Of dL/dW: columns in a tile of `grad_swapped`; halves of a cycle a pixel that a line from L2 takes, and turning a
# vector of sums.
cdef Py_ssize_t SWAPPED_COLUMNS = 8
cdef double LINE_COSTS = 1.5
cdef double TRANSPOSING = 0.5
# Pixels of each tap without which dL/dW gains more than a look at its result costs.
cdef double WORTH_LOOKING = 8
# Bytes of a pixel that are gathered at a time, of several groups.
cdef Py_ssize_t GATHERED = 1024


cdef bint all_finite(const Plan *plan, const Tensor *w) noexcept nogil:
    """Whether no weight is NaN or infinite (taken for granted where there are none to look at)."""
    cdef const Geometry *g = &plan.geometry
    cdef Py_ssize_t i, j, c, o, across = g.out_channels
    cdef int finite = True
    cdef fastconv_check_args args
    if w.data == NULL:
        return True
    args.finite = &finite
    args.count = across if w.channel_stride == 1 else 1
    for i in range(g.kernel_height):
        for j in range(g.kernel_width):
            for c in range(g.in_channels // g.groups):
                o = 0
                while o < across:
                    args.values = w.data + plan.itemsize * (
                        i * w.batch_stride + j * w.row_stride + c * w.column_stride + o * w.channel_stride)
                    plan.kernels.check(&args)
                    o += args.count
    return finite


cdef void choose_pass(Plan *plan, const Tensor *weights, bint tiled) noexcept nogil:
    """Channels and steps of the pass, seen as one sum over taps; `tiled` whatever the channels."""
    cdef Geometry *g = &plan.geometry
    cdef Py_ssize_t multiplier = g.out_channels // g.groups
    cdef Py_ssize_t inner = g.in_channels // g.groups
    cdef bint plain, single
    plan.images = g.batch
    plan.groups = g.groups
    # Channels of a small group lie in one vector, where a permutation can bring them together.  Unless it has windows,
    # padding is multiplied there, which dL/dx may only do if zero times every weight is zero.
    plan.group, plan.group_outputs = (multiplier, inner) if plan.op == INPUT_GRAD else (inner, multiplier)
    plan.tiled = tiled
    if tiled or g.groups == 1 or not fits_vectors(plan) or (
            plan.op == INPUT_GRAD and (plan.rows.padded or plan.columns.padded) and not all_finite(plan, weights)):
        plan.group = plan.group_outputs = 1
    plan.few_to_few = not tiled and (
        few_to_few(plan, multiplier, inner) if plan.op == INPUT_GRAD else few_to_few(plan, inner, multiplier))
    plain = tiled or plan.few_to_few or prefers_runs(plan, multiplier)
    single = inner == 1 and not plain and stays_single(plan, multiplier)
    plan.shared = 0
    if not (plain or plan.group > 1 or (
            single and (plan.op == INPUT_GRAD or multiplier <= 2))):
        if plan.op == FORWARD and all_see_few(plan, inner, multiplier):
            plan.shared = inner
        elif plan.op == INPUT_GRAD and all_see_few(plan, multiplier, inner) and (
                leaves_edges_out(plan) or not (plan.rows.padded or plan.columns.padded)
                or all_finite(plan, weights)):
            plan.shared = multiplier
    plan.depthwise = plan.group > 1 or single or plan.shared > 0
    plan.multiplier = 1 if plan.shared > 0 else multiplier
    plan.swapped = plan.joined = plan.narrow = False
    plan.whole = 0
    plan.in_total, plan.out_total = g.in_channels, g.out_channels
    plan.in_channels, plan.out_channels = inner, multiplier
    if plan.op == INPUT_GRAD:
        plan.in_total, plan.out_total = g.out_channels, g.in_channels
        plan.in_channels, plan.out_channels = multiplier, inner
    # Groups get a plane each, so that a kernel row is one run: as many at a time as make a few lines of a pixel.
    plan.planes = plan.groups
    if plan.op != WEIGHT_GRAD:
        plan.planes = min(max(GATHERED // max(plan.in_channels * plan.itemsize, 1), 1), plan.groups)
    plan.pixel_pitch = plan.in_channels
    if plan.depthwise:
        # Scratch holds, beside each output channel, the input that it reads.
        plan.planes = 1
        if plan.group > 1:
            plan.multiplier = 1
        plan.pixel_pitch = plan.in_total if plan.shared or plan.group > 1 else plan.out_total
        if plan.op == INPUT_GRAD:   # dy of the j-th filters of all channels is a plane, for each j
            plan.planes = plan.multiplier
        plan.in_channels = plan.out_channels = plan.out_total
    plan.streamed = plan.itemsize * plan.images * (
        <double> plan.rows.in_size * plan.columns.in_size * plan.in_total
        + <double> plan.rows.out_size * plan.columns.out_size * plan.out_total) > BEYOND_CACHES * caches().l2
    plan.flops = (2.0 * g.batch * g.out_height * g.out_width * g.kernel_height * g.kernel_width
                  * inner * g.out_channels)


cdef bint choose_narrow(const Plan *plan) noexcept nogil:
    """Whether vectors along the runs waste so much less than vectors along few output channels (see lanes_pay).

    Where pixels are one run each and follow one another, a few filters' sums are added up in registers, and the tile is
    short.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, across, length, down
    cdef const Axis *rows = &plan.rows
    cdef const Axis *columns = &plan.columns
    if plan.tiled or plan.few_to_few or plan.op == WEIGHT_GRAD or plan.out_channels > plan.kernels.narrow_panel:
        return False
    # All of K must be packed at once.
    if plan.rows.taps * plan.columns.taps * plan.in_channels * lanes * plan.itemsize > MOST_PACKED:
        return False
    # Phases differ by a tap; the mean is good enough to choose by.
    down = ceil_div(plan.rows.taps, max(plan.rows.phases, 1))
    across = ceil_div(plan.columns.taps, max(plan.columns.phases, 1))
    length = plan.in_channels
    if plan.columns.consecutive:
        length, across = length * across, 1
    if (plan.out_channels <= FASTCONV_EVEN_COLUMNS and plan.groups == rows.taps == columns.taps == 1
            and rows.in_step == columns.in_step == rows.out_step == columns.out_step == 1):
        return plan.out_channels * (ceil_div(length, lanes) + 4) < 1.35 * length
    return lanes_pay(plan.out_channels, down * across, length, lanes)


cdef bint choose_dot(const Plan *plan) noexcept nogil:
    """Whether dL/dx is as good as a product of matrices with a few rows: dy of one or two pixels an image.

    Weights are then used hardly more than once, and packing them, transposed as dL/dx wants them, would take longer
    than the products: they are read as they stand, as the columns of conv_narrow.
    """
    if plan.tiled or plan.op != INPUT_GRAD or plan.groups > 1:
        return False
    return (plan.rows.in_size * plan.columns.in_size <= 2
            and plan.in_channels >= 10 * plan.kernels.lanes and plan.out_channels > plan.kernels.narrow_panel
            and 2 * plan.rows.taps * plan.columns.taps * plan.in_channels * plan.itemsize <= MOST_PACKED)


cdef void choose_repeat(Plan *plan) noexcept nogil:
    """Where a pixel is less than a vector, a vector takes several of them: as many as make whole vectors."""
    cdef Py_ssize_t lanes = plan.kernels.lanes
    if plan.shared:
        # Halves of a vector take a pixel each.
        plan.repeat = 2 if 2 * plan.out_total == lanes and plan.columns.in_step == 1 else 1
    elif plan.out_total < lanes and plan.group == plan.columns.in_step == plan.columns.out_step == 1 and (
            not (copies_strips(plan) and stretches_pay(plan))):
        plan.repeat = lanes
        while plan.repeat % 2 == 0 and plan.repeat // 2 * plan.out_total % lanes == 0:
            plan.repeat //= 2


cdef Py_ssize_t many_vectors(const Plan *plan) noexcept nogil:
    """Channels from which on a vector more a pixel, for those before the first aligned one, pays."""
    return MANY_VECTORS * plan.kernels.lanes


cdef bint copy_aligns(const Plan *plan, const Tensor *source) noexcept nogil:
    """Whether dL/dW had better copy an input that crosses cache lines: each tap loads it again (less with a stride).

    Vectors of half a line cross few; pixels that follow one another can be taken as a line of elements, and those of
    many vectors can start with a part of one (weight_grad.pyx).  An input of which nothing is known yet is taken for
    one of NumPy's, which are aligned to 16 bytes.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes
    if source.column_stride == plan.out_total and plan.geometry.kernel_width == 3 and (
            plan.geometry.stride_width == plan.geometry.dilation_width == 1):
        return False
    return (lanes * plan.itemsize == 64 and plan.repeat == plan.columns.in_step == 1 and plan.out_total % lanes == 0
            and plan.out_total < many_vectors(plan) and (source.data == NULL or <size_t> source.data & 63 != 0))


cdef bint needs_gaps(const Plan *plan) noexcept nogil:
    """Whether dL/dW had better copy its input so that pixels do not share one set of L1.

    A tile takes a few channels of each pixel, and the next tile should find the rest of the line still there.
    """
    cdef Py_ssize_t apart = plan.columns.in_step * plan.in_channels * plan.itemsize
    return (plan.op == WEIGHT_GRAD and plan.columns.taps == plan.groups == 1 and not plan.tiled
            and apart % SAME_SET == 0 and plan.out_channels >= SPREAD_FILTERS
            and 2 * plan.kernels.grad_rows * plan.itemsize <= 64)


cdef void choose_source(Plan *plan, const Tensor *source, const Tensor *weights, bint may_clip) noexcept nogil:
    """Read the input in place where it is dense and needs no padding, else gather it."""
    cdef bint single = plan.columns.taps == plan.columns.phases
    cdef bint dense = source.column_stride == plan.in_channels or single
    cdef bint padded = plan.rows.padded or plan.columns.padded
    # Lanes of a narrow sum follow the runs, which must not depend on the layout of the input.
    cdef bint runs_matter = plan.columns.consecutive and choose_narrow(plan)
    cdef double missing
    cdef Py_ssize_t above, left
    cdef bint edges
    plan.merged = False
    plan.clipped = plan.trimmed = False
    plan.repeat = 1
    if plan.depthwise:
        choose_repeat(plan)
        # dL/dx has no padding to multiply; in the forward pass zero times a weight matters only if
        # the weight is not finite.  dL/dW looks at its result afterwards: see engine.pyx.
        # In groups, only kernels that go down columns of tiles have code for the edges.
        edges = plan.op == WEIGHT_GRAD or goes_down(plan) or has_windows(plan) or (
            alternating_taps(plan, &above, &left) > 0)
        plan.clipped = padded and (edges if plan.group > 1 else plan.shared == 0 or leaves_edges_out(plan))
        if plan.op == FORWARD:
            plan.clipped = plan.clipped and all_finite(plan, weights)
        elif plan.op == WEIGHT_GRAD:
            plan.clipped = plan.clipped and may_clip and (
                reads_everywhere(&plan.rows) and reads_everywhere(&plan.columns))
        plan.gathered = (source.channel_stride != 1 or plan.multiplier != 1
                         or plan.group != plan.group_outputs
                         or (plan.group > 1 and plan.rows.taps * plan.columns.taps > 1 and not edges)
                         or (plan.repeat > 1 and not plan.shared and source.column_stride != plan.out_total)
                         or (plan.op == WEIGHT_GRAD and copy_aligns(plan, source))
                         or (padded and not plan.clipped))
        return
    plan.gathered = padded or source.channel_stride != 1 or not (
        dense or (plan.in_channels >= 64 and not runs_matter))
    if needs_gaps(plan):
        plan.gathered = True
        plan.pixel_pitch += 64 // plan.itemsize
    if plan.gathered:
        dense = True
    # dL/dW leaves padding out tap by tap; selecting the pixels of each must not cost more than it saves.  As with
    # clipped, engine.pyx looks at the result.
    missing = 1 - (1 - plan.rows.missing) * (1 - plan.columns.missing)
    if plan.op == WEIGHT_GRAD and may_clip and plan.in_channels >= 32 and missing > 0.05 + 4.0 / plan.in_channels:
        plan.trimmed = plan.clipped = reads_everywhere(&plan.rows) and reads_everywhere(&plan.columns)
        if plan.trimmed and not needs_gaps(plan):
            plan.gathered = source.channel_stride != 1
    # Rows of padding are left out anyway, unless looking at the result takes as long.
    elif plan.op == WEIGHT_GRAD and may_clip and (
            plan.rows.missing * plan.images * plan.rows.extent * plan.columns.extent > WORTH_LOOKING):
        plan.clipped = reads_everywhere(&plan.rows)
    plan.narrow = choose_narrow(plan) or choose_dot(plan)
    plan.merged = plan.columns.consecutive and dense and not (plan.op == WEIGHT_GRAD and plan.trimmed) and (
        not choose_dot(plan))


cdef inline double tile_cost(double rows, Py_ssize_t vectors, double loads) noexcept nogil:
    """Halves of a cycle that a pixel takes in a register tile of rows by vectors.

    Two multiply-adds a cycle, if they need not wait for one another, and two loads, beside those of two pointers; and
    every vector of what lies along the channels or the runs is from L2, since blocks exceed L1.
    """
    return max(rows * vectors, loads + 2 + LINE_COSTS * vectors, <double> FASTCONV_LATENT_SUMS)


cdef double along_channels(const Plan *plan, Py_ssize_t run, Py_ssize_t vectors) noexcept nogil:
    """What a run costs a pixel in tiles of `grad`, which load each vector of dy and broadcast each value of x."""
    cdef Py_ssize_t tiles = ceil_div(run, plan.kernels.grad_rows), wide = plan.kernels.grad_panel // plan.kernels.lanes
    cdef Py_ssize_t panels = ceil_div(vectors, wide), wider = vectors % panels
    cdef double rows = <double> run / max(tiles, 1)
    # The x of a tile is not a vector, but crosses lines as often.
    cdef double loads = rows + 2 * LINE_COSTS
    wide = vectors // panels
    return tiles * ((panels - wider) * tile_cost(rows, wide, loads + wide)
                    + wider * tile_cost(rows, wide + 1, loads + wide + 1))


cdef double along_runs(const Plan *plan, Py_ssize_t run, Py_ssize_t channels) noexcept nogil:
    """The same in tiles of `grad_swapped`, whose vectors of x may cross cache lines, and have to be transposed."""
    cdef Py_ssize_t vectors = ceil_div(run, plan.kernels.lanes), high = 4 if channels < 4 else 2, threes = 0, left
    cdef Py_ssize_t tiles = ceil_div(channels, min(plan.kernels.grad_rows, SWAPPED_COLUMNS))
    cdef double columns = <double> channels / max(tiles, 1), loads = columns + LINE_COSTS, cost
    # As GRAD_SWAPPED_THREE has it.
    if columns > 5 and 3 * columns <= plan.kernels.grad_rows * (plan.kernels.grad_panel // plan.kernels.lanes):
        threes = max(vectors - 4 * (vectors % 3 == 1), 0) // 3
    left = vectors - 3 * threes
    cost = threes * tile_cost(columns, 3, loads + 6) + left // high * tile_cost(columns, high, loads + 2 * high)
    if left % high:
        cost += tile_cost(columns, left % high, loads + 2 * (left % high))
    return tiles * (cost + TRANSPOSING * vectors)


cdef void choose_vectors(Plan *plan) noexcept nogil:
    """dL/dW has two sides to lay its vectors along: the one that fills tiles better, for all of the channels or for
    those beyond whole vectors or whole tiles of them."""
    cdef Py_ssize_t run = plan.in_channels * (plan.columns.taps if plan.merged else 1), lanes = plan.kernels.lanes
    cdef Py_ssize_t wide = plan.kernels.grad_panel // lanes, full = plan.out_channels // lanes, whole, step
    cdef double best = along_channels(plan, run, plan.vectors), cost
    if plan.few_pixels:
        return
    plan.joined = plan.merged and 2 * run <= plan.kernels.grad_rows
    for step in range(2):
        whole = full if step == 0 else full // wide * wide
        if not plan.joined and 0 < whole * lanes < plan.out_channels:
            cost = along_channels(plan, run, whole) + along_runs(plan, run, plan.out_channels - whole * lanes)
            if cost < best:
                best = cost
                plan.whole = whole
    if plan.joined:
        best = along_channels(plan, run * plan.rows.taps, plan.vectors) / plan.rows.taps
    plan.swapped = along_runs(plan, run, plan.out_channels) < best
    if plan.swapped:
        # Half a vector is left over of each kernel row, and tiles are full: such halves make vectors together.
        plan.joined = plan.merged and plan.rows.taps > 1 and run % lanes == lanes // 2 and (
            plan.out_channels % min(plan.kernels.grad_rows, SWAPPED_COLUMNS) == 0)
        plan.whole = 0
    if plan.whole > 0:
        plan.panels = ceil_div(plan.whole, wide) + 1
        plan.panel = ceil_div(plan.whole, plan.panels - 1) * lanes
    if plan.joined:             # all kernel rows together: none leaves out what another one reads
        plan.clipped = False
