"""The algorithm of calls that name none: what the environment says, and what is set later."""

import os
from typing import cast

from fastconv._typing import Algorithm
from fastconv.engine import get_default, set_default


def get_default_algorithm() -> Algorithm:
    """How calls that say ``algorithm="auto"`` compute.

    Returns
    -------
    {"auto", "direct", "winograd"}
        What `set_default_algorithm` or the environment variable FASTCONV_ALGORITHM said last; at
        first "auto".

    Examples
    --------
    >>> import fastconv
    >>> fastconv.get_default_algorithm()
    'auto'
    """
    return get_default()


def set_default_algorithm(algorithm: Algorithm) -> None:
    """Let every call that says ``algorithm="auto"``, from now on and in every thread, compute so.

    The environment variable FASTCONV_ALGORITHM says it for a process before it starts.  Calls from
    C with FASTCONV_AUTO follow, too.

    Parameters
    ----------
    algorithm : {"auto", "direct", "winograd"}
        "auto" chooses by a model of the time that each would take; "direct" keeps to the direct
        sum, and to its rounding error; "winograd" prefers Winograd's algorithm wherever it can
        serve, float64 included.

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
    set_default(algorithm, "algorithm")


set_default(cast(Algorithm, os.environ.get("FASTCONV_ALGORITHM") or "auto"), "FASTCONV_ALGORITHM")
