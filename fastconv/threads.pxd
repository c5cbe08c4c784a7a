# How many threads a call may use: see threads.pyx.
cdef int thread_count() noexcept nogil
