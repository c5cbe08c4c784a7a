"""How many threads a call may use: one number for the process, which thread_limits.py reads and sets."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #define FASTCONV_OPENMP _OPENMP
    #else
    #define FASTCONV_OPENMP 0
    #endif
    #if defined(_OPENMP) && !defined(_WIN32)
    #include <pthread.h>
    static volatile int fastconv_forked = 0;
    static void fastconv_after_fork(void) { fastconv_forked = 1; }
    static int fastconv_watch_forks(void) { return pthread_atfork(NULL, NULL, fastconv_after_fork); }
    #else
    enum { fastconv_forked = 0 };
    static int fastconv_watch_forks(void) { return 0; }
    #endif
    """
    enum: FASTCONV_OPENMP
    const int fastconv_forked
    int fastconv_watch_forks()

# Without the GIL, or in a Python that has none, others read these while one writes.
cdef extern from "compat.h":
    int fastconv_get_setting(const int *setting) noexcept nogil
    void fastconv_set_setting(int *setting, int value) noexcept nogil

MOST_THREADS = 1024
cdef int MOST = MOST_THREADS
cdef int _count = 1
cdef double serial_flops = 1e6


cdef int thread_count() noexcept nogil:
    return 1 if fastconv_forked or not FASTCONV_OPENMP else fastconv_get_setting(&_count)


cdef int threads_for(int asked) noexcept nogil:
    """Threads of a call that asks for so many, 0 for the default; a forked child has one in any case."""
    return 1 if fastconv_forked or not FASTCONV_OPENMP else asked if asked > 0 else fastconv_get_setting(&_count)


def has_openmp():
    """Whether this build can use more than one thread."""
    return bool(FASTCONV_OPENMP)


def set_serial_flops(flops):
    """Let calls of fewer FLOPs than these use one thread."""
    global serial_flops
    serial_flops = flops


def get_count():
    return thread_count()


def set_count(int n):
    """Let calls use `n` threads, from 1 to MOST_THREADS, if they ask for no number of their own."""
    fastconv_set_setting(&_count, n)


# Also a fork by C code, which Python hears nothing of.
if fastconv_watch_forks() != 0:
    raise MemoryError("no memory to be told of a fork")
