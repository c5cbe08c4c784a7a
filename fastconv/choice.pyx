"""Which algorithm computes a call: what may be asked for, what is the default, why one is refused."""
import os

from fastconv.engine cimport AUTO, DIRECT, WINOGRAD, Algorithm, default_algorithm, set_default
from fastconv.geometry cimport Geometry
from fastconv.tiles cimport COSTLY, DOUBLE, FEW_CHANNELS, KERNEL_SIZE, SERVES, STRIDED, Refusal, cannot_serve

ALGORITHMS = ("auto", "direct", "winograd")


cdef Algorithm read_algorithm(object algorithm, str name="algorithm") except *:
    if algorithm == "auto":
        return AUTO
    if algorithm == "direct":
        return DIRECT
    if algorithm == "winograd":
        return WINOGRAD
    problem = f"{name} must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}"
    raise ValueError(problem) if isinstance(algorithm, str) else TypeError(problem)


cdef str refusal_text(Refusal refusal):
    """Why Winograd's algorithm does not compute a call, as the end of a sentence."""
    if refusal == KERNEL_SIZE:
        return "it is for kernels of more than one tap only"
    if refusal == STRIDED:
        return "it is for a stride of 1 only"
    if refusal == DOUBLE:
        return "float64 is for every digit: only if named"
    if refusal == FEW_CHANNELS:
        return "too few channels a group"
    if refusal == COSTLY:
        return "its transforms would cost more than the products they save"
    return "the direct sum was asked for"


cdef int need_algorithm(Algorithm algorithm, const Geometry *g) except -1:
    """An algorithm that is named must be able to serve the call."""
    if algorithm == WINOGRAD and cannot_serve(g) != SERVES:
        raise ValueError("algorithm must be able to serve the call, and Winograd's is not: "
                         f"{refusal_text(cannot_serve(g))}, got 'winograd'")
    return 0


def get_default_algorithm():
    """How calls that say ``algorithm="auto"`` compute.

    Returns
    -------
    {"auto", "direct", "winograd"}
        What `set_default_algorithm` or the environment variable FASTCONV_ALGORITHM said last; at first "auto".

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_default_algorithm()
    'auto'
    """
    return ALGORITHMS[default_algorithm()]


def set_default_algorithm(algorithm):
    """Let every call that says ``algorithm="auto"``, from now on and in every thread, compute this way.

    The environment variable FASTCONV_ALGORITHM says it for a process before it starts.  Calls from C with
    FASTCONV_AUTO follow, too.

    Parameters
    ----------
    algorithm : {"auto", "direct", "winograd"}
        "auto" chooses by a model of the time that each would take; "direct" keeps to the direct sum, and to its
        rounding error; "winograd" prefers Winograd's algorithm wherever it can serve, float64 included.

    Raises
    ------
    ValueError, TypeError
        If `algorithm` is none of these.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_default_algorithm("direct")
    >>> fastconv.explain((1, 56, 56, 64), (3, 3, 64, 64), padding=1).algorithm
    'direct'
    >>> fastconv.set_default_algorithm("auto")
    """
    set_default(read_algorithm(algorithm))


set_default(read_algorithm(os.environ.get("FASTCONV_ALGORITHM") or "auto", "FASTCONV_ALGORITHM"))
