# One filter a channel, for the forward pass and dL/dx: see depthwise.pyx.
from fastconv.plan cimport Plan, Tensor

cdef void run_depthwise(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace) noexcept nogil
