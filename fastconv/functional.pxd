# The public functions and their checks: see functional.pyx.
cdef int read_algorithm(object algorithm) except -1
