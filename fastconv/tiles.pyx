"""Winograd's algorithm: whether it serves a call, the sizes it works with, and the tiles of the output.

A tile is 4x4 outputs, by F(4x4, 3x3), or fewer at the ends of an image; of kernels with a single row or column of taps,
four outputs along the other axis: see spans.pxd.  A kernel of more taps is cut into squares of 3x3, or lines of 3: K
goes through the channels of the first square, then of the next.
"""
from fastconv._kernels cimport caches
from fastconv.axes cimport ceil_div, whole_lines
from fastconv.geometry cimport Geometry
from fastconv.plan cimport WEIGHT_GRAD, Plan, Tensor, prepared_for, useful_threads
from fastconv.shares cimport choose_shares
from fastconv.spans cimport (
    MOST_POINTS, PAIR_POINTS, find_span, leaves_pairs, points_along, squares_along, tiles_along)

# Multiply-adds of vectors that take as long as transforming a vector: of one point of a tile, of nine weights, or of
# their gradient.  What a tile itself costs counts as vectors, too: more where its channels are but a part of a pixel's.
cdef double POINT_COST = 12
cdef double TILE_VECTORS = 0.5
cdef double GROUP_VECTORS = 0.25
cdef double WEIGHT_COST = 175
cdef double GRAD_COST = 300
# ... where tiles are so few that neither is written down; and reading a vector of weights, for the direct sum.
cdef double FEW_WEIGHT_COST = 120
cdef double FEW_GRAD_COST = 150
cdef double PACK_COST = 7
cdef Py_ssize_t USUAL_BATCH = 8
# dL/dW along one axis alone: fewer points share what is loaded for them.
cdef double LINE_GRAD = 1.2
# Share of the direct sum's cost below which Winograd's algorithm is worth its larger rounding error; that is less along
# one axis.
cdef double WORTH_TRANSFORMING = 0.8
cdef double LINES_WORTH = 0.88
# ... and how much it may lose where an image is alone.
cdef double BEARABLE = 2.2
# Bytes of transformed tiles: of a thread's own, and of what threads share, for each of them and in all.
cdef Py_ssize_t MOST_BYTES = 6 << 20
cdef Py_ssize_t SHARED_BYTES = 4 << 20
cdef Py_ssize_t MOST_SHARED = 30 << 20
cdef Py_ssize_t MOST_TILES = 96
# dL/dW sums each block from zero: its tiles, about so many, are a part of the result, whatever the caches.
cdef Py_ssize_t GRAD_TILES = 64
cdef Py_ssize_t GRAD_RANGE = 128
cdef Py_ssize_t MANY_RANGES = 8
cdef Py_ssize_t MOST_PIECES = 16
cdef Py_ssize_t PARTIAL_BYTES = 2 << 20
# Transformed weights at a time: the input is transformed once more for each such part.
cdef Py_ssize_t PART_BYTES = 10 << 20
# Rows of K whose weights one task transforms.
cdef Py_ssize_t SLICE = 32
# Where K is so long that fewer register tiles than these fit a block: rows of K at a time, and panels whose products
# grow together.
cdef Py_ssize_t GRADUAL_ROWS = 3
cdef Py_ssize_t GRADUAL_SLICE = 128
cdef Py_ssize_t GRADUAL_PANELS = 8
# Vectors of channels of the groups whose tiles are transformed together: as many as a kernel takes at a time.
cdef Py_ssize_t BUNDLE_VECTORS = 4


cdef Py_ssize_t odd_lines(const Plan *plan, Py_ssize_t elements) noexcept nogil:
    """Whole cache lines, an odd number: what lies so far apart does not fall on the same few places of a cache."""
    cdef Py_ssize_t line = 64 // plan.itemsize
    return (ceil_div(elements, line) | 1) * line


cdef inline bint takes_pairs(const Plan *plan) noexcept nogil:
    return leaves_pairs(&plan.rows) and leaves_pairs(&plan.columns)


cdef Refusal cannot_serve(const Geometry *g) noexcept nogil:
    """Why Winograd's algorithm cannot compute a call, whoever asks."""
    if g.kernel_height < 2 and g.kernel_width < 2:
        return KERNEL_SIZE
    if g.stride_height != 1 or g.stride_width != 1:
        return STRIDED
    return SERVES


cdef Py_ssize_t choose_bundle(const Plan *plan, Py_ssize_t squares) noexcept nogil:
    """Groups whose channels lie beside each other in tiles and products, as they do in x and y."""
    if squares > 1 or plan.out_channels % plan.kernels.lanes:
        return 1
    return min(max(BUNDLE_VECTORS * plan.kernels.lanes // max(plan.in_channels, plan.out_channels), 1), plan.groups)


cdef inline Py_ssize_t squares_of(const Plan *plan, Py_ssize_t row_points, Py_ssize_t column_points) noexcept nogil:
    return squares_along(&plan.rows, row_points) * squares_along(&plan.columns, column_points)


cdef bint has_few_tiles(const Plan *plan, Py_ssize_t tiles, Py_ssize_t points) noexcept nogil:
    """Whether what so many tiles have for each weight is better not written down."""
    if points < MOST_POINTS * MOST_POINTS:
        return False
    if plan.op == WEIGHT_GRAD:      # as many as rows that share dy's loads are worth
        return (tiles <= plan.kernels.few_tiles * (plan.kernels.few_tiles - 1)
                and plan.rows.taps == plan.columns.taps == 3 and plan.in_channels >= plan.kernels.few_tiles)
    return tiles <= plan.kernels.few_tiles


cdef double transform_cost(
    const Plan *plan, Py_ssize_t row_points, Py_ssize_t column_points, Py_ssize_t images,
) noexcept nogil:
    """Multiply-adds of vectors that a vector of weights takes, or of their gradient, transformed for so many images."""
    cdef Py_ssize_t tiles = images * tiles_along(&plan.rows, row_points) * tiles_along(&plan.columns, column_points)
    cdef double many = GRAD_COST if plan.op == WEIGHT_GRAD else WEIGHT_COST
    if has_few_tiles(plan, tiles, row_points * column_points):
        return FEW_GRAD_COST if plan.op == WEIGHT_GRAD else FEW_WEIGHT_COST
    return many * (row_points * column_points) / (MOST_POINTS * MOST_POINTS)


cdef double cost_of(
    const Plan *plan, Py_ssize_t row_points, Py_ssize_t column_points, double *alone,
) noexcept nogil:
    """Multiply-adds of vectors that an image takes among others, with tiles of so many points; `alone`, too."""
    cdef Py_ssize_t lanes = plan.kernels.lanes, C = plan.in_channels, O = plan.out_channels
    cdef Py_ssize_t squares = squares_of(plan, row_points, column_points)
    cdef double weights = squares * C * ceil_div(O, lanes), vectors, tiles, bundle
    bundle = choose_bundle(plan, squares)
    vectors = (squares * (ceil_div(C, lanes) + TILE_VECTORS / bundle) + ceil_div(O, lanes)
               + (GROUP_VECTORS / bundle if plan.groups > 1 else 0))
    tiles = ((weights + POINT_COST * vectors)
             * points_along(&plan.rows, row_points) * points_along(&plan.columns, column_points))
    if plan.op == WEIGHT_GRAD and min(row_points, column_points) == 1:
        tiles *= LINE_GRAD
    alone[0] = tiles + weights * transform_cost(plan, row_points, column_points, 1)
    return tiles + weights * transform_cost(plan, row_points, column_points, USUAL_BATCH) / USUAL_BATCH


cdef void choose_points(const Plan *plan, Py_ssize_t *row_points, Py_ssize_t *column_points) noexcept nogil:
    """Points of a whole tile along each axis: an axis of a single tap is not transformed."""
    cdef Py_ssize_t most = PAIR_POINTS if takes_pairs(plan) else MOST_POINTS
    row_points[0] = most if plan.rows.taps > 1 else 1
    column_points[0] = most if plan.columns.taps > 1 else 1


cdef Refusal does_not_pay(const Plan *plan) noexcept nogil:
    """Why a plan that Winograd's algorithm could serve had better stay direct.

    Counts multiply-adds of vectors.  Looks at one image, and takes the batch for one of a few: bits must depend on
    the batch as little as on the threads or on where x lies.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, C = plan.in_channels, O = plan.out_channels
    cdef Py_ssize_t row_points, column_points
    cdef double products = C * ceil_div(O, lanes), direct, usual, alone, worth, bearable
    cdef bint few
    if cannot_serve(&plan.geometry) != SERVES:
        return cannot_serve(&plan.geometry)
    if plan.itemsize == 8:
        return DOUBLE
    if plan.depthwise or plan.narrow or min(C, O) < lanes // 2:
        return FEW_CHANNELS
    if plan.kernels_apart:          # bits must not depend on how weights lie
        return COSTLY
    if plan.op == WEIGHT_GRAD:      # whichever side fills its vectors better; plan.swapped may follow x's layout
        products = min(products, O * ceil_div(C * plan.columns.taps, lanes) / <double> plan.columns.taps)
    direct = plan.rows.taps * plan.columns.taps * products * plan.rows.extent * plan.columns.extent
    if plan.trimmed:
        direct *= (1 - plan.rows.missing) * (1 - plan.columns.missing)
    choose_points(plan, &row_points, &column_points)
    few = has_few_tiles(plan, tiles_along(&plan.rows, row_points) * tiles_along(&plan.columns, column_points),
                        row_points * column_points)
    usual = cost_of(plan, row_points, column_points, &alone)
    worth = LINES_WORTH if min(row_points, column_points) == 1 else WORTH_TRANSFORMING
    # Of several squares, transforming weights costs too much for an image alone to lose by it.
    bearable = (BEARABLE * direct if squares_of(plan, row_points, column_points) == 1 else
                direct + PACK_COST * plan.rows.taps * plan.columns.taps * products if few else worth * direct)
    if usual < worth * direct and alone < bearable:
        return SERVES
    return COSTLY


cdef Py_ssize_t most_shared(const Winograd *w) noexcept nogil:
    """Bytes that tiles transformed for all threads may take."""
    return MOST_BYTES if w.threads == 1 else min(SHARED_BYTES * w.threads, MOST_SHARED)


cdef Py_ssize_t unit_start(const Winograd *w, Py_ssize_t panel) noexcept nogil:
    """First output channel of a panel: whole vectors, shared out evenly."""
    return w.plan.vectors * panel // w.panels * w.plan.kernels.lanes


cdef void share_tiles(Winograd *w) noexcept nogil:
    """Forward and dL/dx: every thread takes panels, transforms their weights, and uses them for all tiles."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize, shares
    w.input_pitch = odd_lines(plan, w.depth * plan.groups)
    w.shared = (w.tiles < plan.out_channels
                and <double> w.points * w.tiles * w.input_pitch * size <= most_shared(w))
    if not w.shared:
        return
    if w.prepared == NULL:
        shares = choose_shares(plan.groups, plan.vectors, w.threads)
        w.panels = min(ceil_div(w.panels, shares) * shares, plan.vectors)
        w.panel = ceil_div(plan.vectors, w.panels) * plan.kernels.lanes
    # More blocks of tiles, each of which transforms the weights again, only where panels are too few.
    w.blocks = max(ceil_div(w.tiles, MOST_BYTES // (4 * w.points * w.panel * size)),
                   min(w.threads // (plan.groups * w.panels), w.tiles // plan.kernels.conv_rows), 1)
    w.few = has_few_tiles(plan, ceil_div(w.tiles, w.blocks), w.points)
    w.sliced = w.prepared == NULL and not w.few
    # Whole squares, for weights that have to be transposed.
    w.slice = max(caches().l2 * 5 // 8 // (w.points * w.panel * size) // plan.kernels.lanes, 1) * plan.kernels.lanes
    if w.panels == 1 and not w.few:
        w.bundle = min(choose_bundle(plan, w.squares), max(plan.groups // w.threads, 1))
    w.output_pitch = w.bundle * w.panel
    w.shares = ceil_div(plan.groups, w.bundle) * w.panels


cdef Py_ssize_t tile_bytes(const Winograd *w) noexcept nogil:
    """Of a tile, transformed, for all of K, and of its products for a panel."""
    return w.points * (odd_lines(w.plan, w.bundle * w.depth) + w.bundle * w.panel) * w.plan.itemsize


cdef Py_ssize_t resident_tiles(const Winograd *w) noexcept nogil:
    """Tiles of a block that stay near: written and read once for each panel, they may well exceed L2."""
    cdef double points = (points_along(&w.plan.rows, w.row_points)
                          * <double> points_along(&w.plan.columns, w.column_points))
    cdef Py_ssize_t tile = <Py_ssize_t> (tile_bytes(w) * points / (w.points * w.row_tiles * w.column_tiles))
    return caches().l2 * 3 // 2 // max(tile, 1)


cdef void divide_tiles(Winograd *w, bint prepared) noexcept nogil:
    """Forward and dL/dx: every thread takes blocks of tiles; transformed weights are shared, a part at a time."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize, rows = plan.kernels.conv_rows, most
    w.bundle = choose_bundle(plan, w.squares) if w.panels == 1 else 1
    w.input_pitch, w.output_pitch = odd_lines(plan, w.bundle * w.depth), w.bundle * w.panel
    most = min(max(resident_tiles(w) // rows * rows, 2 * rows), MOST_TILES, max(MOST_BYTES // tile_bytes(w), 1))
    if w.threads > 1:
        most = max(min(most, ceil_div(w.tiles, w.threads)), rows)
    w.blocks = ceil_div(w.tiles, most)
    if w.threads > 1 and w.tiles > rows * w.threads:        # no thread with one block more, where they are few
        w.blocks = ceil_div(w.blocks, w.threads) * w.threads
    w.slice = SLICE
    if not prepared:
        w.parts = ceil_div(w.units, max(PART_BYTES // (w.unit_elements * size), 1))
        w.weights_bytes = ceil_div(w.units, w.parts) * w.unit_elements * size
    w.shares = choose_shares(w.blocks, w.units // w.parts, w.threads)


cdef void grow_tiles(Winograd *w) noexcept nogil:
    """Forward and dL/dx with a long K: a thread's block grows by slices of K, each transformed once for all panels.

    Whole tiles would be so large that few fit a block, and weights would be read too often.
    """
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize, rows = plan.kernels.conv_rows, share
    w.gradual, w.sliced = True, w.prepared == NULL
    w.slice = GRADUAL_SLICE
    w.input_pitch = odd_lines(plan, w.slice)
    share = ceil_div(w.panels, ceil_div(w.panels, GRADUAL_PANELS))
    w.output_pitch = odd_lines(plan, share * w.panel)
    w.blocks = ceil_div(w.tiles, max(min(
        MOST_BYTES // (w.points * (w.input_pitch + w.output_pitch) * size), MOST_TILES) // rows, 1) * rows)
    w.shares = plan.groups * max(
        ceil_div(w.panels, share), choose_shares(w.blocks * plan.groups, w.panels, w.threads))


cdef void size_products(Winograd *w, bint packing) noexcept nogil:
    """Forward and dL/dx: what is cut into panels and blocks, and what of it is shared."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize
    w.panels, w.panel = plan.panels, plan.panel
    w.output_pitch = w.panel
    if not packing:
        share_tiles(w)
    w.units = plan.groups * w.panels
    w.weights_step = odd_lines(plan, w.depth * w.panel)
    w.unit_elements = w.points * w.weights_step
    if not w.shared and not packing and (
            resident_tiles(w) < GRADUAL_ROWS * plan.kernels.conv_rows or w.unit_elements * size > PART_BYTES):
        grow_tiles(w)
    elif not w.shared:
        divide_tiles(w, packing or w.prepared != NULL)
    w.block_tiles = ceil_div(w.tiles, w.blocks)
    w.slices = ceil_div(w.depth, w.slice)
    w.tasks = w.blocks * w.shares
    w.flag_bytes = whole_lines(plan.images * sizeof(int))
    if w.sliced:
        w.slice_bytes = w.points * odd_lines(plan, w.slice * w.panel) * size


cdef void size_sums(Winograd *w) noexcept nogil:
    """dL/dW: blocks of tiles, pieces of them, and ranges of channels."""
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize, lanes = plan.kernels.lanes, most = GRAD_RANGE * 4 // size
    cdef Py_ssize_t piece = whole_lines(
        plan.rows.taps * plan.columns.taps * plan.in_channels * plan.geometry.out_channels * size)
    cdef double shared
    w.blocks = ceil_div(w.tiles, GRAD_TILES)
    # Pieces are a part of the result, as blocks are; ranges are not.  All have as many blocks: threads end together.
    w.pieces = max(min(MOST_PIECES, 1 + PARTIAL_BYTES // piece, ceil_div(w.blocks, 2)), 1)
    w.blocks = (w.blocks + w.pieces // 2) // w.pieces * w.pieces
    w.block_tiles = ceil_div(w.tiles, w.blocks)
    w.partial_bytes = (w.pieces - 1) * piece
    w.input_pitch = odd_lines(plan, w.depth * plan.groups)
    w.output_pitch = odd_lines(plan, plan.out_total)
    # Transformed first, tiles are transformed once for all ranges; but what another core has written is slow to read,
    # so threads rather repeat it, unless ranges are many and so are blocks.
    shared = <double> w.points * w.blocks * w.block_tiles * (w.input_pitch + w.output_pitch) * size
    w.shared = shared <= most_shared(w) and (
        w.threads == 1 or (w.blocks > w.pieces and ceil_div(w.depth, most) * ceil_div(
            plan.out_channels, most) > MANY_RANGES))
    w.few = has_few_tiles(plan, w.tiles, w.points) and shared <= MOST_BYTES
    # Transformed once, by a thread for itself too if it has a single block: then sums may be few enough for L2.
    if w.few:
        most = max(w.depth, plan.out_channels)
    elif w.shared or w.blocks == w.pieces:
        most //= 2
    w.in_ranges = ceil_div(w.depth, most)
    w.out_ranges = ceil_div(plan.out_channels, most)
    while w.threads > w.pieces * plan.groups * w.in_ranges * w.out_ranges and most > plan.kernels.grad_panel:
        most //= 2
        w.out_ranges = ceil_div(plan.out_channels, most)
        if w.threads > w.pieces * plan.groups * w.in_ranges * w.out_ranges and not w.few:
            w.in_ranges = ceil_div(w.depth, most)
    w.in_range = ceil_div(w.depth, w.in_ranges)
    w.out_range = ceil_div(ceil_div(plan.out_channels, w.out_ranges), lanes) * lanes
    w.in_ranges = ceil_div(w.depth, w.in_range)
    w.out_ranges = ceil_div(plan.out_channels, w.out_range)
    if not w.shared and w.in_ranges == w.out_ranges == 1:
        w.bundle = choose_bundle(plan, w.squares)
        while w.bundle > 1 and w.pieces * ceil_div(plan.groups, w.bundle) < w.threads:
            w.bundle //= 2
    w.units = ceil_div(plan.groups, w.bundle) * w.in_ranges * w.out_ranges
    w.shares = choose_shares(w.pieces, w.units, w.threads)
    w.tasks = w.pieces * w.shares
    if not w.shared:
        w.input_pitch = odd_lines(plan, w.bundle * w.in_range)
        w.output_pitch = odd_lines(plan, w.bundle * w.out_range)
    w.weights_step = odd_lines(plan, w.bundle * w.in_range * w.out_range)
    w.sums_bytes = 0 if w.few else whole_lines(w.points * w.weights_step * size)


cdef void measure_workspace(Winograd *w) noexcept nogil:
    cdef const Plan *plan = w.plan
    cdef Py_ssize_t size = plan.itemsize
    w.input_step = odd_lines(plan, w.block_tiles * w.input_pitch)
    w.output_step = odd_lines(plan, w.block_tiles * w.output_pitch)
    w.input_bytes = w.points * w.input_step * size
    w.output_bytes = w.points * w.output_step * size
    w.tile_bytes = whole_lines(w.block_tiles * sizeof(Tile))
    w.scratch_bytes = w.points * max(w.input_pitch, w.output_pitch) * size
    w.thread_bytes = (w.sums_bytes + w.slice_bytes + w.scratch_bytes
                      + whole_lines(2 * KINDS * w.block_tiles * sizeof(void *)))
    if not w.shared:
        w.thread_bytes += w.input_bytes + w.output_bytes + w.tile_bytes
    elif plan.op == WEIGHT_GRAD:
        w.shared_bytes = w.blocks * (w.input_bytes + w.output_bytes + w.tile_bytes + whole_lines(sizeof(Tiles)))
    else:
        w.thread_bytes += w.output_bytes
        w.shared_bytes = w.blocks * (w.input_bytes + w.tile_bytes + whole_lines(sizeof(Tiles)))
    w.workspace_bytes = (w.weights_bytes + w.partial_bytes + w.flag_bytes + w.shared_bytes
                         + w.threads * w.thread_bytes + 64)


cdef void make_winograd(
    Winograd *w, const Plan *plan, const Tensor *weights, int threads, bint packing,
) noexcept nogil:
    """Fill `w`; its plan must outlive it.  `packing`: to transform the weights alone, for calls to come."""
    w.plan = plan
    w.prepared = prepared_for(plan, weights)
    choose_points(plan, &w.row_points, &w.column_points)
    w.points = w.row_points * w.column_points
    if w.prepared != NULL and (w.prepared.transformed == NULL or takes_pairs(plan)):
        w.prepared = NULL
    w.threads = useful_threads(plan, threads)
    w.row_tiles, w.column_tiles = tiles_along(&plan.rows, w.row_points), tiles_along(&plan.columns, w.column_points)
    w.tiles = plan.images * w.row_tiles * w.column_tiles
    w.column_squares = squares_along(&plan.columns, w.column_points)
    w.squares = squares_along(&plan.rows, w.row_points) * w.column_squares
    w.depth = w.squares * plan.in_channels
    w.pieces = w.parts = w.bundle = 1
    w.shared = w.sliced = w.few = w.gradual = False
    w.partial_bytes = w.weights_bytes = w.slice_bytes = w.sums_bytes = w.flag_bytes = w.shared_bytes = 0
    if plan.op == WEIGHT_GRAD:
        size_sums(w)
    else:
        size_products(w, packing)
    w.threads = <int> min(w.threads, w.tasks)
    measure_workspace(w)


cdef bint find_tile(const Winograd *w, Py_ssize_t index, Tile *tile) noexcept nogil:
    """The tile of this index, columns fastest, then rows, then images; returns whether it has any output."""
    cdef Py_ssize_t line = index // w.column_tiles
    tile.image = line // w.row_tiles
    return (find_span(&w.plan.rows, line - tile.image * w.row_tiles, w.row_points, &tile.rows)
            and find_span(&w.plan.columns, index - line * w.column_tiles, w.column_points, &tile.columns))


cdef void find_tiles(const Winograd *w, Py_ssize_t block, Tiles *found) noexcept nogil:
    """The tiles of a block into `found.tiles`."""
    cdef Py_ssize_t index
    found.count = 0
    for index in range(w.tiles * block // w.blocks, w.tiles * (block + 1) // w.blocks):
        found.count += find_tile(w, index, found.tiles + found.count)
