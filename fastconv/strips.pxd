# Which depthwise passes go down columns of tiles, and which copy what a strip of pixels reads, vector by vector.
# Inline, without a module of its own.
from fastconv._kernels cimport caches
from fastconv.axes cimport Axis, alternating
from fastconv.geometry cimport Geometry
from fastconv.plan cimport INPUT_GRAD, WEIGHT_GRAD, Plan

cdef enum:
    # Taps of a phase, or of a stride, from which on a pass copies; vectors of the smallest strip for which it does.
    COPIED_TAPS = 12
    MOST_COPIED = 8192
    LEAST_READS = 2             # of each element of the input
    # Bytes from pixel to pixel of which only two lines are in different sets of L1.
    SAME_SETS = 2048
    FEW_ACROSS = 7              # taps for which a vector that is half idle takes less than a copy
    ROOM_BYTES = 192 << 10      # of a strip's copy
    MOST_TILE = 16              # pixels of a tile


cdef inline bint goes_down(const Plan *plan) noexcept nogil:
    """Whether a depthwise pass has a kernel of 3x3 taps that goes down columns of tiles: dL/dW has none."""
    if plan.shared > 0:
        return True
    return plan.op != WEIGHT_GRAD and plan.rows.taps == plan.columns.taps == 3 and plan.planes == 1 and (
        plan.repeat == plan.rows.out_step == plan.columns.out_step == 1
        and plan.rows.in_step == plan.columns.in_step <= 2)


cdef inline Py_ssize_t alternating_taps(const Plan *plan, Py_ssize_t *above, Py_ssize_t *left) noexcept nogil:
    """Taps along both axes of the phase that has fewer, if a dL/dx has a kernel for all of its phases at once, else 0.

    It is the one `above` rows and `left` columns further on than the first.
    """
    cdef Py_ssize_t taps = alternating(&plan.rows, above)
    if plan.op != INPUT_GRAD or taps > (2 if plan.group == 1 else 1) or alternating(&plan.columns, left) != taps or (
            plan.shared or plan.multiplier > 1 or plan.out_total < plan.kernels.lanes):
        return 0
    return taps


cdef inline double reads(const Axis *axis) noexcept nogil:
    """How often a position of the input is read along an axis."""
    return axis.extent * axis.taps * (1 - axis.missing) / axis.in_size


cdef inline bint closes(Py_ssize_t step, Py_ssize_t dilation, Py_ssize_t most) noexcept nogil:
    """Whether outputs are at most `most` taps apart, once those that share no inputs go by themselves."""
    return dilation % step == 0 or (step % dilation == 0 and step // dilation <= most)


cdef inline bint are_windows(const Plan *plan) noexcept nogil:
    """Whether taps across are five or seven neighbours, and outputs next to one another, at most two inputs apart."""
    cdef const Geometry *g = &plan.geometry
    return (plan.columns.taps == 5 or plan.columns.taps == 7) and plan.columns.in_step <= 2 and (
        plan.columns.out_step == g.dilation_height == g.dilation_width == 1)


cdef inline bint groups_have_windows(const Plan *plan) noexcept nogil:
    """Whether rows of several taps in groups are windows (not in portable code, which is right, but slower there)."""
    cdef const Geometry *g = &plan.geometry
    return are_windows(plan) or (
        plan.columns.taps > plan.columns.phases and plan.columns.in_step == g.dilation_height == g.dilation_width == 1)


cdef inline bint has_windows(const Plan *plan) noexcept nogil:
    """Whether a depthwise pass of any taps has kernels that go down columns of tiles, in place or from a copy."""
    cdef const Geometry *g = &plan.geometry
    cdef Py_ssize_t above, left
    if plan.op == WEIGHT_GRAD or plan.shared:
        return False
    if plan.group > 1:
        return groups_have_windows(plan) and plan.out_total >= plan.kernels.lanes
    if plan.op == INPUT_GRAD:       # whose phases have outputs a tap apart
        return alternating_taps(plan, &above, &left) == 0
    return closes(g.stride_height, g.dilation_height, g.stride_height) and (
        closes(g.stride_width, g.dilation_width, 2))


cdef inline bint copies_strips(const Plan *plan) noexcept nogil:
    """Whether a depthwise pass has so many taps that it had better copy what a strip reads, vector by vector.

    Where channels leave much of a vector idle, which several pixels may fill; and where pixels are so far apart that
    they share a few sets of L1, and would not stay there until the next tap reads them.
    """
    cdef Py_ssize_t steps = plan.rows.in_step * plan.columns.in_step * plan.rows.out_step * plan.columns.out_step
    cdef Py_ssize_t lanes = plan.kernels.lanes
    if not has_windows(plan) or plan.group > 1 or plan.repeat > 1 or (
            plan.op == INPUT_GRAD and plan.multiplier > 1 and plan.out_total < lanes):
        return False            # the last: parts of vectors cannot be added to
    if plan.out_total >= (lanes if plan.columns.taps <= FEW_ACROSS else 2 * lanes) and (
            plan.out_total * plan.itemsize % SAME_SETS):
        return False
    if reads(&plan.rows) * reads(&plan.columns) < LEAST_READS:
        return False
    if plan.rows.taps * (2 * MOST_TILE + plan.columns.taps) > MOST_COPIED:
        return False
    return plan.rows.taps * plan.columns.taps >= COPIED_TAPS * steps or (
        plan.columns.padded and steps == 1 and plan.columns.taps > 3)


cdef inline bint stretches_pay(const Plan *plan) noexcept nogil:
    """Whether copies of several stretches of pixels, side by side in a vector, cost less than lines read in place."""
    cdef Py_ssize_t taps = plan.rows.taps * plan.columns.taps, stretches = plan.kernels.lanes // plan.out_total
    cdef double edges = (plan.columns.taps - 1) * (1 + 150.0 / taps) if plan.columns.padded else 0
    return (taps + stretches * (4 + 1.5 * plan.rows.taps)) * plan.columns.extent / stretches < 2 * taps * (
        plan.columns.extent * <double> plan.out_total / plan.kernels.lanes + edges)


cdef inline Py_ssize_t room_bytes(const Plan *plan) noexcept nogil:
    """Of the copy of what a strip reads of a vector of channels, and of its weights."""
    cdef Py_ssize_t rows = (plan.strip_rows - 1) * plan.rows.in_step + plan.rows.taps
    return (rows * plan.room_columns + plan.rows.taps * plan.columns.taps) * plan.kernels.lanes * plan.itemsize


cdef inline void copy_strips(Plan *plan) noexcept nogil:
    """Strips whose rows that a tile reads stay in L1, and in which rows of taps are copied few times over.

    Where channels are less than a vector, that has as many stretches of a strip side by side.
    """
    cdef Py_ssize_t vector = plan.kernels.lanes * plan.itemsize, taps = plan.columns.taps
    cdef Py_ssize_t stretches = max(plan.kernels.lanes // plan.out_total, 1)
    plan.strip_pixels = stretches * max(
        (caches().l1 * 3 // 4 // (vector * plan.rows.taps) - taps) // plan.columns.in_step, MOST_TILE)
    plan.room_columns = taps + plan.columns.in_step * (
        min(plan.strip_pixels, plan.columns.block) // stretches + MOST_TILE)
    plan.strip_rows = min(max((ROOM_BYTES // (vector * plan.room_columns) - plan.rows.taps) // plan.rows.in_step, 1),
                          plan.rows.block)
