# The direct sum, for the forward pass and dL/dx: see direct.pyx.
from fastconv.plan cimport Plan, Tensor

cdef bint run_direct(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace) noexcept nogil
cdef bint pack_panels(const Plan *plan, const Tensor *w, char *packed) noexcept nogil
