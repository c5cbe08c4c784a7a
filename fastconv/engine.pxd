# One call, from shapes and pointers to the result: see engine.pyx.
from fastconv.geometry cimport Geometry
from fastconv.plan cimport Op, Tensor

cdef bint is_empty(Op op, const Geometry *g) noexcept nogil
cdef Py_ssize_t workspace_bytes(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, int threads) noexcept nogil
cdef int execute(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, const char *bias, char *out,
    int threads) noexcept nogil
