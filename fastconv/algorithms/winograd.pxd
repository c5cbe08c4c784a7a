# F(4x4, 3x3) and its transpose: see winograd.pyx.
from fastconv.plan cimport Tensor
from fastconv.tiles cimport Winograd

cdef bint run_winograd(
    const Winograd *w, const Tensor *x, const Tensor *weights, const char *bias, char *out, char *workspace,
    const int **finite) noexcept nogil
cdef bint transform_panels(
    const Winograd *w, const Tensor *weights, char *transformed, char *workspace) noexcept nogil
