# Which kernel computes a pass: see kernel_choice.pyx.
from fastconv.plan cimport Plan, Tensor

cdef enum:
    TARGET_PIXELS = 512         # that a block aims at: enough to use a packed slice of weights many times over
    MOST_PACKED = 4 << 20       # bytes of weights at a time
    # Times L2 from which on arrays come from memory.  What a system tells of its L3 is often that of all cores.
    BEYOND_CACHES = 16
    # Taps across, for each column of a stride, from which on an input of a depthwise pass has so many products that how
    # it lies does not matter.
    MANY_PRODUCTS = 5

cdef void choose_pass(Plan *plan, const Tensor *weights, bint tiled) noexcept nogil
cdef void choose_source(Plan *plan, const Tensor *source, const Tensor *weights, bint may_clip) noexcept nogil
cdef bint choose_dot(const Plan *plan) noexcept nogil
cdef void choose_vectors(Plan *plan) noexcept nogil
cdef Py_ssize_t many_vectors(const Plan *plan) noexcept nogil
