"""``--scaling``: how fastconv's time falls with the number of threads."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .compare import SECONDS_A_TURN
from .problem import Problem
from .ratios import ratio
from .report import MISSING, PASS_NAMES
from .table import Table
from .workers import Failed, Worker


@dataclass
class Scaling:
    """Times of one problem by number of threads, one a round; or why there are none."""

    problem: Problem
    times: dict[int, list[float]]
    failed: str = ""

    def speedup(self, threads: int) -> float:
        """Time with one thread over time with ``threads``: the median over rounds."""
        return ratio(self.times[1], self.times[threads]).median

    def to_json(self) -> dict[str, Any]:
        """The measured times and the speed-ups."""
        return {
            **self.problem.to_json(),
            "id": self.problem.layer.id,
            "seconds": self.times,
            "speedup": {threads: self.speedup(threads) for threads in self.times},
            "failed": self.failed,
        }


def measure(worker: Worker, problem: Problem, threads: int, rounds: int) -> Scaling:
    """Time one problem with 1 to ``threads`` threads in turns, round by round."""
    times: dict[int, list[float]] = {}
    try:
        worker.ask("prepare", problem=problem.to_json())
        for _ in range(rounds):
            for count in range(1, threads + 1):
                worker.ask("threads", threads=count)
                reply = worker.ask("measure", budget=SECONDS_A_TURN)
                times.setdefault(count, []).append(reply["times"][""])
    except Failed as reason:
        return Scaling(problem, {}, str(reason))
    return Scaling(problem, times)


def report(results: Sequence[Scaling], threads: int) -> Table:
    """A row for every layer and pass."""
    counts = range(2, threads + 1)
    headings = ["layer", "pass", "GFLOP/s, 1 thread", *(f"x{count}" for count in counts)]
    table = Table(headings, left=2)
    for result in results:
        problem = result.problem
        cells = [problem.layer.id, PASS_NAMES[problem.op]]
        if result.failed:
            table.add(*cells, "failed", *(MISSING for _ in counts))
            continue
        speed = problem.flops / statistics.median(result.times[1]) / 1e9
        table.add(*cells, f"{speed:.1f}", *(f"{result.speedup(count):.2f}" for count in counts))
    return table


def notes(results: Sequence[Scaling]) -> list[str]:
    """What failed, a line each."""
    return [
        f"{result.problem.layer.id} {PASS_NAMES[result.problem.op]}: {result.failed}"
        for result in results
        if result.failed
    ]


def as_json(results: Sequence[Scaling]) -> Mapping[str, Any]:
    """The results for a program to read."""
    return {"scaling": [result.to_json() for result in results]}
