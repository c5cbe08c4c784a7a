# Tiles of Winograd's algorithm along one axis.
#
# By F(4, 3), a tile is four outputs, which read six inputs.  What an axis has left over gets a tile of F(3, 3) or
# F(2, 3), which have the first five or four of the six points, so that no product is wasted on outputs that are not
# there; a single one is taken together with the four before it, as three and two.  With a dilation, neighbours in a
# tile are that far apart.
#
# Where a dilation leaves no more than two neighbours along each axis, a tile is such a pair, which reads but itself,
# since all else is padding: [[w1, w2], [w0, w1]] times a pair needs three products for its four, a single output one.
#
# An axis along which the kernel has a single tap is not transformed: each output is a tile of its own, of one point.
#
# More taps are cut into threes, with zeros where the last ones are fewer.  Each three meets an input of its own, which
# starts three taps further on; all of them are summed before the products are transformed, as if each were so many more
# input channels.
from fastconv.axes cimport Axis, ceil_div

# Points of interpolation along an axis: F(4, 3) has six, F(3, 3) and F(2, 3) the first five and four of them; pairs
# between zeros have three, single outputs the first of these.
cdef enum:
    MOST_POINTS = 6
    FEW_POINTS = 4
    PAIR_POINTS = 3

# Output positions of one tile along one axis, `step` apart, and the input positions that it reads, as far apart; from
# one square of taps to the next, those `advance`.
cdef struct Span:
    Py_ssize_t first, count, points, step, position, reads, advance

cdef inline Py_ssize_t taps_of(Py_ssize_t points) noexcept nogil:
    """Taps along an axis that tiles of so many points serve: a single one, if it is not transformed."""
    return 1 if points == 1 else 3

cdef inline Py_ssize_t outputs_of(Py_ssize_t points) noexcept nogil:
    """Outputs along an axis of a whole tile of so many points."""
    return 1 if points == 1 else 2 if points == PAIR_POINTS else 4


cdef inline Py_ssize_t step_of(const Axis *axis) noexcept nogil:
    return axis.tap_offset[1] - axis.tap_offset[0] if axis.taps > 1 else 1


cdef inline Py_ssize_t tiles_along(const Axis *axis, Py_ssize_t points) noexcept nogil:
    """Tiles of an axis; every phase of a dilation is given as many."""
    cdef Py_ssize_t step = step_of(axis)
    return axis.out_size if points == 1 else step * ceil_div(ceil_div(axis.out_size, step), 4)


cdef inline bint leaves_pairs(const Axis *axis) noexcept nogil:
    """Whether an output along an axis has one neighbour at most, and all it reads besides is padding."""
    cdef Py_ssize_t step = step_of(axis) if axis.taps == 3 else 0
    return step > 1 and axis.out_size <= 2 * step and axis.min_offset == -step and axis.in_size == axis.out_size


cdef inline bint find_span(const Axis *axis, Py_ssize_t index, Py_ssize_t points, Span *span) noexcept nogil:
    """A tile along one axis, of up to so many points; returns whether it has any output."""
    cdef Py_ssize_t step = step_of(axis), tiles = ceil_div(ceil_div(axis.out_size, step), 4)
    cdef Py_ssize_t phase = index // tiles, tile = index % tiles
    cdef Py_ssize_t outputs = ceil_div(axis.out_size - phase, step), first = 4 * tile
    if points == 1:
        span.first, span.position = index, index + axis.min_offset
        span.step = span.count = span.points = span.reads = 1
        span.advance = step
        return True
    span.count = min(outputs - first, 4)
    if outputs - first == 5:
        span.count = 3
    elif tile > 0 and span.count == 1:
        first, span.count = first - 1, 2
    span.step, span.advance = step, 3 * step
    span.first = phase + first * step
    span.points = span.reads = max(span.count + 2, FEW_POINTS)
    span.position = span.first + axis.min_offset
    if points == PAIR_POINTS:
        span.points, span.reads = 2 * span.count - 1, span.count
        span.position = span.first
    return span.count > 0


cdef inline Py_ssize_t squares_along(const Axis *axis, Py_ssize_t points) noexcept nogil:
    """Squares of 3x3 taps that a kernel is cut into along an axis; single taps, if that is not transformed."""
    return ceil_div(axis.taps, taps_of(points))


cdef inline Py_ssize_t points_of(Py_ssize_t outputs, Py_ssize_t points) noexcept nogil:
    """Points of the tiles of so many outputs in a row, where a whole tile has `points`."""
    if points == PAIR_POINTS:
        return max(2 * outputs - 1, 0)
    return max(outputs + 2 * ceil_div(outputs, 4), FEW_POINTS if outputs > 0 else 0)


cdef inline Py_ssize_t points_along(const Axis *axis, Py_ssize_t points) noexcept nogil:
    """Points of all tiles of an axis: of the phases of a dilation, the first `longer` have an output more."""
    cdef Py_ssize_t step = step_of(axis), outputs = ceil_div(axis.out_size, step)
    cdef Py_ssize_t longer = axis.out_size - (outputs - 1) * step
    if points == 1:
        return axis.out_size
    return longer * points_of(outputs, points) + (step - longer) * points_of(outputs - 1, points)
