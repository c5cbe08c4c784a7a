"""How a worker measures: the minimum over repeats, and the machine's own limits."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

REPEAT_SECONDS = 3e-3  # a repeat holds as many calls as fill this
LEAST_REPEATS = 2
LONG_SECONDS = 0.5  # a call that takes as long is timed just once


def best_time(run: Callable[[], Any], budget: float) -> float:
    """Seconds a call: the minimum over repeats of a few ms each that fill ``budget`` seconds."""
    with _no_garbage_collection():
        warm_up = _elapsed(run, 1)
        if warm_up >= LONG_SECONDS:
            return warm_up
        calls = math.ceil(REPEAT_SECONDS / _elapsed(run, 1))
        best, spent, repeats = math.inf, 0.0, 0
        while spent < budget or repeats < LEAST_REPEATS:
            seconds = _elapsed(run, calls)
            best = min(best, seconds / calls)
            spent += seconds
            repeats += 1
    return best


def _elapsed(run: Callable[[], Any], calls: int) -> float:
    """Seconds that ``calls`` calls take."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return max(time.perf_counter() - start, 1e-9)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def settle(limit: float = 0.5, tick: float = 5e-3) -> None:
    """Sleep until this process's thread pools have stopped spinning, or ``limit`` seconds.

    An OpenMP pool spins for a while after its last task (libgomp some ms, others up to 200), which
    helps its next call; whoever is timed next must not share the cores with it.
    """
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(tick)
        if time.process_time() - used < 0.1 * tick:
            return


def copy_time(total_bytes: int, threads: int, budget: float) -> float:
    """Seconds that ``numpy.copyto`` needs to move ``total_bytes``: half read, half written."""
    size = max(1, total_bytes // 2 // threads)
    arrays = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(threads)]
    if threads == 1:
        source, target = arrays[0]
        return best_time(lambda: np.copyto(target, source), budget)
    with ThreadPoolExecutor(threads) as pool:
        return best_time(
            lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), arrays)), budget
        )
