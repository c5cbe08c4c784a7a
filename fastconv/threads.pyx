"""How many threads a call may use: one number for the process.

The default is the smallest of what FASTCONV_NUM_THREADS or OMP_NUM_THREADS say, the CPUs that the
process may run on and the CPU quota of its control group.
"""
import math
import os
from contextlib import contextmanager
from pathlib import Path

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

cdef int MOST = 1024
cdef int _count = 1


cdef int thread_count() noexcept nogil:
    return 1 if fastconv_forked or not FASTCONV_OPENMP else fastconv_get_setting(&_count)


cdef int threads_for(int asked) noexcept nogil:
    """Threads of a call that asks for so many, 0 for the default; a forked child has one in any case."""
    return 1 if fastconv_forked or not FASTCONV_OPENMP else asked if asked > 0 else fastconv_get_setting(&_count)


def _quota(root="/sys/fs/cgroup"):
    """CPUs that the control group grants, rounded up, or None where nothing limits them."""
    root = Path(root)
    try:        # version 2: "quota period", the quota may be "max"
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:    # version 1: two files, a quota of -1 is none
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return max(math.ceil(int(quota) / int(period)), 1)


def _from_environment():
    """The number that the environment asks for, or None."""
    own = os.environ.get("FASTCONV_NUM_THREADS", "").strip()
    if own:
        if not own.isdigit() or not 1 <= int(own) <= MOST:
            raise ValueError(f"FASTCONV_NUM_THREADS must be an int from 1 to {MOST}, got {own!r}")
        return int(own)
    # OpenMP allows a list, one number for each level of nesting.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST) if first.isdigit() and int(first) else None


def _default():
    asked = _from_environment()
    if asked is not None:
        return asked
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:      # not on macOS and Windows
        cpus = os.cpu_count() or 1
    return min(cpus, _quota() or cpus, MOST)


def has_openmp():
    """Whether this build can use more than one thread."""
    return bool(FASTCONV_OPENMP)


def get_num_threads():
    """Threads that a call may use at most.

    Returns
    -------
    int
        1 in a build without OpenMP, and in a forked child: the OpenMP runtime does not survive a
        fork, so children compute on one thread whatever is asked.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.num_threads(1):
    ...     fastconv.get_num_threads()
    1
    """
    return thread_count()


def set_num_threads(n):
    """Let every call from now on, in every Python thread, use at most `n` threads.

    The bits of a result do not depend on it.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError
        If `n` is not an int.
    ValueError
        If it is out of range.

    Examples
    --------
    >>> import fastconv
    >>> before = fastconv.get_num_threads()
    >>> fastconv.set_num_threads(1)
    >>> fastconv.get_num_threads()
    1
    >>> fastconv.set_num_threads(before)
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n must be an int from 1 to {MOST}, got {n!r}")
    n = n.__index__()
    if not 1 <= n <= MOST:
        raise ValueError(f"n must be an int from 1 to {MOST}, got {n}")
    fastconv_set_setting(&_count, n)


@contextmanager
def num_threads(n):
    """Context in which calls use at most `n` threads; the number before comes back at its end.

    The number belongs to the process: calls in other Python threads see it too.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    TypeError, ValueError
        As for `set_num_threads`.

    Examples
    --------
    >>> import fastconv
    >>> with fastconv.num_threads(2):
    ...     pass
    """
    cdef int before = fastconv_get_setting(&_count)
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


fastconv_set_setting(&_count, _default())
# Also a fork by C code, which Python hears nothing of.
if fastconv_watch_forks() != 0:
    raise MemoryError("no memory to be told of a fork")
