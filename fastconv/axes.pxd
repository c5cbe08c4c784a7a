# One spatial axis of a pass: which input each output position reads, through which taps.  Inline, without a module of
# its own.
#
# All three passes are one sum: an output position reads, for each tap of its phase, an input position that
# steps evenly.  `make_axis` finds the taps and phases of an axis, `set_block` cuts it into blocks.
from cpython.pyport cimport PY_SSIZE_T_MAX

from fastconv.geometry cimport Geometry

# One spatial axis of a pass.  Output position first[f] + out_step * t of phase f reads, for each of
# its taps, input position in_step * t + tap_offset.  The forward pass has one phase and steps through
# its input; dL/dx has a phase for each residue of the stride and steps through its output.
cdef struct Axis:
    Py_ssize_t in_size, out_size, in_step, out_step
    Py_ssize_t taps, phases
    bint covered                # every output position belongs to a phase
    bint padded                 # some tap of some position falls outside the input
    bint consecutive            # within a phase the offsets rise by one
    double missing              # share of the taps of all steps that read from padding
    Py_ssize_t breaks           # places where steps begin or cease to read through a tap, at most, in a phase
    Py_ssize_t edges            # steps that read through some taps of their phase only, at most, in a phase
    Py_ssize_t min_offset, max_offset
    Py_ssize_t *tap_index       # [taps] of the kernel, by phase, offsets rising
    Py_ssize_t *tap_offset      # [taps]
    Py_ssize_t *phase_start     # [taps + 1] first tap of each phase
    Py_ssize_t *phase_first     # [taps] first output position of each phase
    Py_ssize_t extent           # steps t, of the longest phase
    Py_ssize_t block, blocks    # steps a block, blocks to cover the extent
    bint bare                   # padding is never read, and has no slots in scratch
    bint sparse                 # scratch holds one slot a step and tap, not the range between
    Py_ssize_t slots            # scratch positions of a block


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline Py_ssize_t whole_lines(Py_ssize_t size) noexcept nogil:
    """Bytes, rounded up to whole cache lines."""
    return (size + 63) & ~(<Py_ssize_t> 63)


cdef inline char *aligned(char *memory) noexcept nogil:
    """The first whole cache line from `memory` on."""
    return <char *> (<size_t> memory + 63 & ~(<size_t> 63))


cdef inline Py_ssize_t even_part(Py_ssize_t length, Py_ssize_t most) noexcept nogil:
    """Length of the parts when something is cut into as few even ones of at most `most` as will do."""
    return ceil_div(length, max(ceil_div(length, most), 1))


cdef inline Py_ssize_t axis_entries(const Geometry *g) noexcept nogil:
    """Integers that the two axes of a plan need room for."""
    return 4 * (g.kernel_height + g.kernel_width) + 2


cdef inline void sort_tap(
    Axis *axis, Py_ssize_t count, Py_ssize_t first, Py_ssize_t offset, Py_ssize_t index,
) noexcept nogil:
    """Insert a tap among the `count` already there: by phase, then by offset."""
    cdef Py_ssize_t i = count
    while i > 0 and (axis.phase_first[i - 1] > first or (
            axis.phase_first[i - 1] == first and axis.tap_offset[i - 1] > offset)):
        axis.phase_first[i] = axis.phase_first[i - 1]
        axis.tap_offset[i] = axis.tap_offset[i - 1]
        axis.tap_index[i] = axis.tap_index[i - 1]
        i -= 1
    axis.phase_first[i] = first
    axis.tap_offset[i] = offset
    axis.tap_index[i] = index


cdef inline void find_phases(Axis *axis) noexcept nogil:
    """Where each phase starts among the sorted taps, and what all taps have in common."""
    cdef Py_ssize_t i, first, steps, low, high, breaks = 0, inner = 0, end = 0
    cdef bint opens
    cdef double products = 0, real = 0
    axis.phases = axis.breaks = axis.edges = 0
    axis.consecutive = True
    axis.padded = False
    for i in range(axis.taps):
        first = axis.phase_first[i]
        opens = i == 0 or first != axis.phase_first[axis.phases - 1]
        if opens:
            axis.phase_start[axis.phases] = i
            axis.phase_first[axis.phases] = first
            axis.phases += 1
        elif axis.tap_offset[i] != axis.tap_offset[i - 1] + 1:
            axis.consecutive = False
        axis.min_offset = min(axis.min_offset, axis.tap_offset[i]) if i else axis.tap_offset[0]
        axis.max_offset = max(axis.max_offset, axis.tap_offset[i]) if i else axis.tap_offset[0]
        # Of the steps of its phase, the tap reads [low, high) inside the input.
        steps = ceil_div(axis.out_size - first, axis.out_step)
        low = min(ceil_div(max(-axis.tap_offset[i], 0), axis.in_step), steps)
        high = min(max(ceil_div(axis.in_size - axis.tap_offset[i], axis.in_step), low), steps)
        products += steps
        real += high - low
        breaks = (0 if opens else breaks) + (0 < low < steps) + (0 < high < steps)
        axis.breaks = max(axis.breaks, breaks)
        inner, end = low if opens else max(inner, low), high if opens else min(end, high)
        axis.edges = max(axis.edges, steps - max(end - inner, 0))
        if high - low < steps:
            axis.padded = True
    axis.missing = (products - real) / products if products else 0
    axis.phase_start[axis.phases] = axis.taps
    axis.covered = axis.phases == min(axis.out_step, axis.out_size)


cdef inline void make_axis(
    Axis *axis, bint transposed, Py_ssize_t size, Py_ssize_t out, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t pad,
    Py_ssize_t dilation, Py_ssize_t *memory,
) noexcept nogil:
    cdef Py_ssize_t k, reach, first
    axis.tap_index = memory
    axis.tap_offset = memory + kernel
    axis.phase_first = memory + 2 * kernel
    axis.phase_start = memory + 3 * kernel
    axis.taps = 0
    axis.min_offset = axis.max_offset = 0
    if transposed:
        axis.in_size, axis.out_size, axis.in_step, axis.out_step = out, size, 1, stride
        # x at i is read by output o through tap k where i + pad = o * stride + k * dilation.
        for k in range(kernel - 1, -1, -1):
            reach = k * dilation - pad
            first = reach % stride
            if first < 0:
                first += stride
            if first < size:
                sort_tap(axis, axis.taps, first, (first - reach) // stride, k)
                axis.taps += 1
    else:
        axis.in_size, axis.out_size, axis.in_step, axis.out_step = size, out, stride, 1
        for k in range(kernel):
            sort_tap(axis, k, 0, k * dilation - pad, k)
        axis.taps = kernel
    find_phases(axis)
    axis.extent = ceil_div(axis.out_size, axis.out_step)
    axis.bare = False


cdef inline Py_ssize_t set_block(Axis *axis, Py_ssize_t steps) noexcept nogil:
    """Cut the axis into even blocks of at most `steps`; returns the scratch positions of one."""
    cdef Py_ssize_t dense, sparse
    axis.blocks = ceil_div(axis.extent, steps)
    axis.block = ceil_div(axis.extent, axis.blocks)
    axis.blocks = ceil_div(axis.extent, axis.block)
    dense = (axis.block - 1) * axis.in_step + axis.max_offset - axis.min_offset + 1
    if axis.bare:
        dense = min(dense, axis.in_size)
    sparse = axis.block * axis.taps
    # Far apart, taps get a slot each; close together, they share the range they span.
    axis.sparse = dense > 2 * sparse
    axis.slots = sparse if axis.sparse else dense
    return axis.slots


cdef inline void real_taps(
    const Axis *axis, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t step, Py_ssize_t *first, Py_ssize_t *end,
) noexcept nogil:
    """Of a phase's taps, from `start` on, those [first, end) that read inside the input at a step."""
    cdef const Py_ssize_t *offset = axis.tap_offset + start
    cdef Py_ssize_t at = step * axis.in_step
    first[0], end[0] = 0, taps
    while first[0] < taps and at + offset[first[0]] < 0:
        first[0] += 1
    while end[0] > first[0] and at + offset[end[0] - 1] >= axis.in_size:
        end[0] -= 1


cdef inline Py_ssize_t same_taps(
    const Axis *axis, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t origin, Py_ssize_t step, Py_ssize_t steps,
    Py_ssize_t *first, Py_ssize_t *end,
) noexcept nogil:
    """First step of a block after `step` that reads through other taps than `step`, whose taps are [first, end)."""
    cdef const Py_ssize_t *offset = axis.tap_offset + start
    cdef Py_ssize_t change = origin + steps
    real_taps(axis, start, taps, origin + step, first, end)
    if first[0] > 0:            # until the tap before them reads inside
        change = min(change, ceil_div(-offset[first[0] - 1], axis.in_step))
    if end[0] > first[0]:       # until their last one no longer does
        change = min(change, ceil_div(axis.in_size - offset[end[0] - 1], axis.in_step))
    return change - origin


cdef inline void find_taps(
    const Axis *axis, bint sparse, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t step, Py_ssize_t *out_step,
    Py_ssize_t *dilation, Py_ssize_t *first, Py_ssize_t *end,
) noexcept nogil:
    """Of the inputs, counted from the one that the first tap of a phase reads at `step`: how far apart steps and taps
    are, and which lie inside the input.

    Where scratch has a slot for each step and tap, the latter holds for that step alone, or for many without padding.
    """
    cdef Py_ssize_t position = step * axis.in_step + axis.tap_offset[start]
    if sparse:
        out_step[0], dilation[0] = axis.taps, 1
        real_taps(axis, start, taps, step, first, end)
        if first[0] == 0 and end[0] == taps:
            end[0] = PY_SSIZE_T_MAX
        return
    out_step[0] = axis.in_step
    dilation[0] = axis.tap_offset[start + 1] - axis.tap_offset[start] if taps > 1 else 1
    first[0], end[0] = max(-position, 0), max(axis.in_size - position, 0)


cdef inline bint reads_everywhere(const Axis *axis) noexcept nogil:
    """Whether every step reads some element of the input, in an axis of one phase."""
    cdef Py_ssize_t step, first, end
    for step in range(axis.extent):
        real_taps(axis, 0, axis.taps, step, &first, &end)
        if first >= end:
            return False
    return True


cdef inline Py_ssize_t alternating(const Axis *axis, Py_ssize_t *single) noexcept nogil:
    """Taps of the phase that has fewer, which is `single`, if two phases alternate that differ by one; else 0."""
    cdef Py_ssize_t first, second
    if axis.out_step != 2 or axis.phases != 2 or not axis.consecutive:
        return 0
    first, second = axis.phase_start[1], axis.taps - axis.phase_start[1]
    single[0] = 0 if first < second else 1
    # Both read from the same element on: the other phase a step later if it is the first one.
    if max(first, second) != min(first, second) + 1 or (
            axis.tap_offset[axis.phase_start[single[0]]]
            != axis.tap_offset[axis.phase_start[1 - single[0]]] + single[0]):
        return 0
    return min(first, second)
