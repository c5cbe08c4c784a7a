"""How many threads: the default, what is set, and for a while; which calls are too small for two.

The default is the smallest of what FASTCONV_NUM_THREADS or OMP_NUM_THREADS say, the CPUs that the
process may run on and the CPU quota of its control group.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index
from pathlib import Path
from typing import SupportsIndex

from fastconv.threads import MOST_THREADS, get_count, set_count, set_serial_flops


def _quota(root: str | Path = "/sys/fs/cgroup") -> int | None:
    """Read the CPUs that the control group grants, rounded up; None where nothing limits them."""
    root = Path(root)
    try:  # version 2: "quota period", the quota may be "max"
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1: two files, a quota of -1 is none
            quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return max(math.ceil(int(quota) / int(period)), 1)


def _from_environment() -> int | None:
    """Read the number that the environment asks for, or None."""
    own = os.environ.get("FASTCONV_NUM_THREADS", "").strip()
    if own:
        if not own.isdigit() or not 1 <= int(own) <= MOST_THREADS:
            raise ValueError(
                f"FASTCONV_NUM_THREADS must be an int from 1 to {MOST_THREADS}, got {own!r}"
            )
        return int(own)
    # OpenMP allows a list, one number for each level of nesting.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(int(first), MOST_THREADS) if first.isdigit() and int(first) else None


def _default() -> int:
    asked = _from_environment()
    if asked is not None:
        return asked
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cpus = os.cpu_count() or 1
    return min(cpus, _quota() or cpus, MOST_THREADS)


def _serial_flops() -> float:
    """Below this a second thread costs more than it saves, as docs/performance.md found."""
    given = os.environ.get("FASTCONV_SERIAL_FLOPS", "").strip()
    try:
        flops = float(given or 1e6)
    except ValueError:
        flops = -1.0
    if not flops >= 0:
        raise ValueError(f"FASTCONV_SERIAL_FLOPS must be a number of at least 0, got {given!r}")
    return flops


def get_num_threads() -> int:
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
    return get_count()


def set_num_threads(n: SupportsIndex) -> None:
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
        raise TypeError(f"n must be an int from 1 to {MOST_THREADS}, got {n!r}")
    count = index(n)
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"n must be an int from 1 to {MOST_THREADS}, got {count}")
    set_count(count)


@contextmanager
def num_threads(n: SupportsIndex) -> Iterator[None]:
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
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


set_count(_default())
set_serial_flops(_serial_flops())
