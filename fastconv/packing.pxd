# Weights prepared once for many forward passes: see packing.pyx.
cimport cython

from fastconv.plan cimport Prepared


@cython.final
cdef class PackedWeights:
    cdef readonly object array
    cdef dict options           # what `pack` was asked for
    cdef Prepared prepared
    cdef void *memory
    cdef size_t bytes           # of `memory`
