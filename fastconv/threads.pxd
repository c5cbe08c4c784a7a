# How many threads a call may use: see threads.pyx.
cdef int MOST                   # more than this is refused
cdef double serial_flops        # of a call, below which a second thread costs more than it saves
cdef int thread_count() noexcept nogil
cdef int threads_for(int asked) noexcept nogil
