# dL/dW, depthwise included: see weight_grad.pyx.
from fastconv.plan cimport Plan, Tensor

cdef void run_weight_grad(
    const Plan *plan, const Tensor *x, const Tensor *dy, char *grad, char *workspace) noexcept nogil
cdef inline char *piece_at(
    char *grad, char *partials, Py_ssize_t piece, Py_ssize_t pieces, Py_ssize_t partial_bytes,
) noexcept nogil:
    """Where a partial sum is: the first in the result, the others one after the other."""
    return grad if piece == 0 else partials + (piece - 1) * (partial_bytes // (pieces - 1))

cdef void add_pieces(
    const Plan *plan, char *grad, const char *partials, Py_ssize_t pieces, Py_ssize_t partial_bytes,
    int threads) noexcept nogil
cdef bint is_finite(const Plan *plan, const char *out) noexcept nogil
