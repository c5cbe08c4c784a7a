# Into how many parts work is cut, so that threads end together.  Inline, without a module of its own.
from fastconv.axes cimport ceil_div


cdef inline Py_ssize_t count_parts(
    Py_ssize_t extent, Py_ssize_t least, Py_ssize_t most, Py_ssize_t times, Py_ssize_t threads,
) noexcept nogil:
    """Parts, `least` to `most`, to cut each of `times` extents into.

    Parts have a cost: take the first number that is within a twentieth of the ideal, else the best.
    """
    cdef Py_ssize_t parts, rounds, best = least, fewest = -1
    for parts in range(least, min(extent, most) + 1):
        rounds = ceil_div(times * parts, threads) * ceil_div(extent, parts)
        if fewest < 0 or rounds < fewest:
            best, fewest = parts, rounds
        if 20.0 * rounds * threads <= 21.0 * times * extent:
            break
    return best


cdef inline Py_ssize_t choose_shares(Py_ssize_t tasks, Py_ssize_t units, Py_ssize_t threads) noexcept nogil:
    """Shares to cut the units of each task into; each gathers its input again."""
    return count_parts(units, 1, 4 * threads, tasks, threads)
