# Winograd's algorithm: sizes of a call, and the tiles of its output.  See tiles.pyx.
from fastconv.geometry cimport Geometry
from fastconv.plan cimport Plan, Prepared, Tensor
from fastconv.spans cimport Span

cdef enum:
    KINDS = 3                       # of tiles along an axis, by how many points they lack

cdef struct Winograd:
    const Plan *plan                # its axes and slices of K hold here, too
    int threads
    Py_ssize_t row_tiles, column_tiles, tiles   # of an image along each axis, and of the batch
    Py_ssize_t column_squares, squares, depth   # of 3x3 taps that the kernel is cut into; length of K over them
    Py_ssize_t block_tiles, blocks
    Py_ssize_t row_points, column_points, points    # of a whole tile along each axis, and in two dimensions
    # All tiles are transformed first, for every thread to read; else each block by the task it belongs to.
    bint shared
    # Elements from tile to tile, and from one point to the next, of what the products read and make.
    Py_ssize_t input_pitch, input_step      # transformed input
    Py_ssize_t output_pitch, output_step    # products, or transformed dy
    Py_ssize_t weights_step, unit_elements  # transformed weights of a panel, or their gradient
    # Forward and dL/dx: panels of output channels, as many at a time as may be transformed.
    Py_ssize_t panels, panel        # of one group, and the widest
    Py_ssize_t parts, slice, slices     # of the panels; rows of K transformed at once
    const Prepared *prepared        # the weights as they are needed, or NULL
    bint sliced                     # each slice of the weights is transformed where it is used
    bint few                        # ... or even each weight, since there are few tiles
    bint gradual                    # a block's products grow slice by slice of K, for all panels of a share together
    Py_ssize_t bundle               # groups of few channels, whose tiles are transformed together
    # dL/dW: ranges of channels.
    Py_ssize_t in_range, out_range, in_ranges, out_ranges, pieces
    Py_ssize_t units, shares, tasks     # panels or ranges of all groups
    # Workspace, in bytes.
    Py_ssize_t input_bytes, output_bytes, sums_bytes, slice_bytes, tile_bytes, scratch_bytes, thread_bytes
    Py_ssize_t weights_bytes, partial_bytes, flag_bytes, shared_bytes, workspace_bytes

cdef struct Tile:
    Py_ssize_t image
    Span rows, columns

# The tiles of a block.
cdef struct Tiles:
    Tile *tiles
    Py_ssize_t count

# Why a call is not computed by Winograd's algorithm: what cannot be, then what does not pay.
cdef enum Refusal:
    SERVES
    KERNEL_SIZE, STRIDED
    DOUBLE, FEW_CHANNELS, COSTLY
    NOT_ASKED

cdef Py_ssize_t odd_lines(const Plan *plan, Py_ssize_t elements) noexcept nogil
cdef Refusal cannot_serve(const Geometry *g) noexcept nogil
cdef Refusal does_not_pay(const Plan *plan) noexcept nogil
cdef void make_winograd(
    Winograd *w, const Plan *plan, const Tensor *weights, int threads, bint packing) noexcept nogil
cdef Py_ssize_t unit_start(const Winograd *w, Py_ssize_t panel) noexcept nogil
cdef void find_tiles(const Winograd *w, Py_ssize_t block, Tiles *found) noexcept nogil
