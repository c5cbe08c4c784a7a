# What an output position reads along one axis: see axes.pyx.
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

cdef Py_ssize_t axis_entries(const Geometry *g) noexcept nogil
cdef void make_axis(
    Axis *axis, bint transposed, Py_ssize_t size, Py_ssize_t out, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t pad,
    Py_ssize_t dilation, Py_ssize_t *memory) noexcept nogil
cdef Py_ssize_t set_block(Axis *axis, Py_ssize_t steps) noexcept nogil
cdef void real_taps(
    const Axis *axis, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t step, Py_ssize_t *first,
    Py_ssize_t *end) noexcept nogil
cdef Py_ssize_t same_taps(
    const Axis *axis, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t origin, Py_ssize_t step, Py_ssize_t steps,
    Py_ssize_t *first, Py_ssize_t *end) noexcept nogil
cdef void find_taps(
    const Axis *axis, bint sparse, Py_ssize_t start, Py_ssize_t taps, Py_ssize_t step, Py_ssize_t *out_step,
    Py_ssize_t *dilation, Py_ssize_t *first, Py_ssize_t *end) noexcept nogil
cdef bint reads_everywhere(const Axis *axis) noexcept nogil
cdef Py_ssize_t alternating(const Axis *axis, Py_ssize_t *single) noexcept nogil
