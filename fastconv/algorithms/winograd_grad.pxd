# dL/dW by the transpose of Winograd's algorithm: see winograd_grad.pyx.
from fastconv.plan cimport Tensor
from fastconv.tiles cimport Winograd

cdef bint run_winograd_grad(
    const Winograd *w, const Tensor *x, const Tensor *dy, char *grad, char *workspace) noexcept nogil
