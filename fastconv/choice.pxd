# Which algorithm computes a call: see choice.pyx.
from fastconv.engine cimport Algorithm
from fastconv.geometry cimport Geometry
from fastconv.tiles cimport Refusal

cdef Algorithm read_algorithm(object algorithm, str name=*) except *
cdef str refusal_text(Refusal refusal)
cdef int need_algorithm(Algorithm algorithm, const Geometry *g) except -1
