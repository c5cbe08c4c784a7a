"""``--calls``: what a call from C costs beside its arithmetic, on the smallest useful layer."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastconv import call_cost

from .problem import PASSES
from .report import MISSING, PASS_NAMES
from .table import Table

LAYER = "tiny/5x5_3-16_3x3"
CALLS = 4000  # a repeat: about a millisecond
REPEATS = 20


@dataclass
class Cost:
    """Nanoseconds a call of a pass, and of its kernel alone where that is measured; one a round."""

    op: str
    call: list[float]
    arithmetic: list[float]

    def overhead(self) -> float:
        """What is not arithmetic: the median over rounds."""
        return statistics.median(
            call - kernel for call, kernel in zip(self.call, self.arithmetic, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """The measured times."""
        return {"op": self.op, "call_ns": self.call, "arithmetic_ns": self.arithmetic}


def measure(passes: Sequence[str], rounds: int) -> list[Cost]:
    """Time calls and kernel in turns, on the calling thread."""
    costs = [Cost(op, [], []) for op in passes]
    for _ in range(rounds):
        for cost in costs:
            number = PASSES.index(cost.op)
            cost.call.append(_best(lambda calls, number=number: call_cost.time_call(number, calls)))
            if cost.op == "forward":
                cost.arithmetic.append(_best(call_cost.time_arithmetic))
    return costs


def report(costs: Sequence[Cost]) -> Table:
    """A row for every pass."""
    table = Table(["layer", "pass", "ns a call", "arithmetic", "more"], left=2)
    for cost in costs:
        cells = [LAYER, PASS_NAMES[cost.op], f"{statistics.median(cost.call):.0f}"]
        if cost.arithmetic:
            cells += [f"{statistics.median(cost.arithmetic):.0f}", f"{cost.overhead():.0f}"]
        else:
            cells += [MISSING, MISSING]
        table.add(*cells)
    return table


def as_json(costs: Sequence[Cost]) -> Mapping[str, Any]:
    """The results for a program to read."""
    return {"calls": [cost.to_json() for cost in costs]}


def _best(timed: Callable[[int], float]) -> float:
    return min(timed(CALLS) for _ in range(REPEATS)) * 1e9
