# Tiles along one axis: see spans.pyx.
from fastconv.axes cimport Axis

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

cdef Py_ssize_t tiles_along(const Axis *axis, Py_ssize_t points) noexcept nogil
cdef bint leaves_pairs(const Axis *axis) noexcept nogil
cdef bint find_span(const Axis *axis, Py_ssize_t index, Py_ssize_t points, Span *span) noexcept nogil
cdef Py_ssize_t squares_along(const Axis *axis, Py_ssize_t points) noexcept nogil
cdef Py_ssize_t points_along(const Axis *axis, Py_ssize_t points) noexcept nogil
