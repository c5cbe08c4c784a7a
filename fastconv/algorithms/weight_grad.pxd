# dL/dW, depthwise included: see weight_grad.pyx.
from fastconv.plan cimport Plan, Tensor

cdef void run_weight_grad(
    const Plan *plan, const Tensor *x, const Tensor *dy, char *grad, char *workspace) noexcept nogil
cdef void add_pieces(
    const Plan *plan, char *grad, const char *partials, Py_ssize_t pieces, Py_ssize_t partial_bytes,
    int threads) noexcept nogil
