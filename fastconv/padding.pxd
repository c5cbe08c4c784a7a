# What padding to the left and right costs, multiplied or left out (docs/decisions/0003-padding-left-out.md).  Inline,
# without a module of its own.
from fastconv._kernels cimport FASTCONV_LATENT_SUMS
from fastconv.kernel_choice cimport TARGET_PIXELS
from fastconv.plan cimport Plan

cdef enum:
    COPYING = 8                 # halves of a cycle that a line of gathered input takes
    WORTH_TRIMMING = 100        # of so many parts of a pass, edges must save one to go by themselves
    # From so many pixels on, of how many parts edges cost one less than this model has it, as measured.
    FEW_TOGETHER = 16
    OVERRATED = 20


cdef inline bint choose_trimmed(const Plan *plan) noexcept nogil:
    """Whether leaving out the padding to the left and right saves more than it costs.

    Looks at one image: bits must not depend on the batch, and -0 plus zero times a weight is +0.
    """
    cdef Py_ssize_t pixels = plan.rows.extent * plan.columns.extent
    cdef Py_ssize_t K = max(plan.rows.taps * plan.columns.taps * plan.in_channels, 1)
    cdef Py_ssize_t above = min(plan.rows.breaks, plan.rows.extent - 1)
    cdef Py_ssize_t beside = min(plan.columns.breaks, plan.columns.extent - 1)
    cdef double vectors = min(plan.vectors, plan.panel // plan.kernels.lanes)
    cdef Py_ssize_t phases = max(plan.rows.phases * plan.columns.phases, 1)
    cdef Py_ssize_t taps = plan.rows.taps * plan.columns.taps // phases
    # A class more means a call of 60 cycles, a choice of taps, and a tile that may have too few sums to be quick; or,
    # of those in the corners, which are pooled, a call and a look at each for every tap, and sums that are read and
    # written.
    cdef double cycle = (1.0 + phases) / (K * vectors)      # not every phase has as many classes
    cdef double apart = (60 + 6 * taps) * cycle + (1.0 - plan.columns.missing) * FASTCONV_LATENT_SUMS / (8 * vectors)
    cdef double passing = vectors + (3 if plan.out_channels % plan.kernels.lanes else 1)    # masked, it takes longer
    cdef double pooled = taps * (60 + 4 * above * beside) * cycle + 6 * (
        (1 - plan.rows.missing) * (1 - plan.columns.missing) * plan.rows.edges * plan.columns.edges
        * passing / (max(plan.in_channels, 1) * vectors))
    cdef double cost = beside * (1 + pixels // TARGET_PIXELS) * apart + min(above * beside * apart, pooled)
    cdef double saved = plan.columns.missing
    # Without padding to multiply, there is no need for a copy of the input either.
    if plan.rows.padded | plan.columns.padded and plan.groups == 1 and not plan.narrow:
        saved += COPYING * plan.rows.in_step * plan.columns.in_step * plan.in_channels * plan.itemsize / (
            64 * K * vectors)
    # Batches share calls, which this does not see; masked, sums that pass through memory wait for one another.
    cdef bint overrated = pixels >= FEW_TOGETHER and plan.out_channels % plan.kernels.lanes == 0
    return saved > 0 and cost < (saved + (1.0 / OVERRATED if overrated else -1.0 / WORTH_TRIMMING)) * pixels
