# One call, from shapes and pointers to the result: see engine.pyx.
from fastconv.geometry cimport Geometry
from fastconv.plan cimport Op, Plan, Tensor
from fastconv.tiles cimport Refusal, Winograd

# The numbers of fastconv.h.
cdef enum Algorithm:
    AUTO
    DIRECT
    WINOGRAD

cdef Algorithm read_algorithm(object algorithm, str name=*) except *
cdef str refusal_text(Refusal refusal)
cdef int need_algorithm(Algorithm algorithm, const Geometry *g) except -1
cdef bint is_empty(Op op, const Geometry *g) noexcept nogil
cdef void lay_down(Op op, Geometry *g, Tensor *first, Tensor *second) noexcept nogil
cdef Refusal make_plans(
    Plan *plan, Winograd *w, Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second,
    int threads, Algorithm algorithm, bint may_clip, Py_ssize_t *entries) noexcept nogil
cdef Py_ssize_t workspace_bytes(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, int threads,
    Algorithm algorithm) noexcept nogil
cdef int execute(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, const char *bias, char *out,
    int threads, Algorithm algorithm) noexcept nogil
