"""The comparison: for every problem, rounds in which the workers take turns."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .problem import Problem
from .ratios import Ratio, fastest, ratio
from .workers import Failed, Refused, Worker

OURS = "fastconv"
SECONDS_A_TURN = 0.05

# Largest difference between a peer's result and fastconv's, as a share of the largest element.
AGREEMENT = {"float32": 1e-3, "float64": 1e-9}


@dataclass
class Result:
    """What was measured for one problem; each list has one number a round."""

    problem: Problem
    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # peer, variant: s
    fma_peak: list[float] = field(default_factory=list)  # FLOP/s of all threads
    copy: list[float] = field(default_factory=list)  # s, for as many bytes as the call touches
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> list[float]:
        """fastconv's times."""
        return self.times[OURS][""]

    @property
    def peers(self) -> list[str]:
        """Peers that were timed."""
        return [peer for peer in self.times if peer != OURS]

    @property
    def complete(self) -> bool:
        """Whether fastconv itself was timed."""
        return OURS in self.times

    def best_variant(self, peer: str) -> str:
        """The peer's faster layout."""
        return fastest(self.times[peer])

    def gflops(self, peer: str = OURS) -> float:
        """GFLOP/s at the median time of the better variant."""
        times = self.times[peer][self.best_variant(peer)]
        return self.problem.flops / statistics.median(times) / 1e9

    def ratio(self, peer: str) -> Ratio:
        """Time of the peer's better variant over fastconv's."""
        return ratio(self.times[peer][self.best_variant(peer)], self.ours)

    def share_of_peak(self) -> float | None:
        """fastconv's part of the FMA peak; above 1 is possible where Winograd multiplies less."""
        if not self.fma_peak:
            return None
        pairs = zip(self.fma_peak, self.ours, strict=True)
        return statistics.median(self.problem.flops / own / peak for peak, own in pairs)

    def share_of_copy(self) -> float | None:
        """How near a call comes to a copy of the same bytes; None where arithmetic bounds it."""
        return ratio(self.copy, self.ours).median if self.copy else None

    def to_json(self) -> dict[str, Any]:
        """All of it, the derived numbers too."""
        problem = self.problem
        derived: dict[str, Any] = {}
        if self.complete:
            derived = {
                "gflops": {peer: self.gflops(peer) for peer in self.times},
                "best_variant": {peer: self.best_variant(peer) for peer in self.peers},
                "ratio": {peer: vars(self.ratio(peer)) for peer in self.peers},
                "share_of_peak": self.share_of_peak(),
                "share_of_copy": self.share_of_copy(),
            }
        return {
            **problem.to_json(),
            "id": problem.layer.id,
            "flops": problem.flops,
            "bytes": problem.bytes_moved,
            "seconds": self.times,
            "fma_peak": self.fma_peak,
            "copy_seconds": self.copy,
            "refused": self.refused,
            "failed": self.failed,
            **derived,
        }


def compare(workers: Mapping[str, Worker], problem: Problem, rounds: int) -> Result:
    """Time one problem. A peer that refuses it or fails is noted and left out."""
    result = Result(problem)
    samples: dict[str, dict[str, list[float]]] = {}
    for peer, worker in workers.items():
        try:
            worker.restart_if_ended()
            samples[peer] = worker.ask("prepare", problem=problem.to_json())["samples"]
        except Refused as reason:
            result.refused[peer] = str(reason)
        except Failed as reason:
            result.failed[peer] = str(reason)
    if OURS not in samples:
        return result
    _check_agreement(result, samples)

    order = list(samples)
    for _ in range(rounds):
        for peer in order:
            _take_turn(result, peer, workers[peer])
        order.reverse()  # so that nobody always follows the same neighbour
    return result


def _check_agreement(result: Result, samples: dict[str, dict[str, list[float]]]) -> None:
    """Leave out peers whose results differ from fastconv's: they timed something else."""
    ours = samples[OURS][""]
    largest = max(map(abs, ours), default=0.0)
    for peer in [name for name in samples if name != OURS]:
        for theirs in samples[peer].values():
            difference = max((abs(a - b) for a, b in zip(theirs, ours, strict=True)), default=0.0)
            if not difference <= AGREEMENT[result.problem.dtype] * largest:
                result.failed[peer] = f"another result: off by {difference:.2g} of {largest:.2g}"
                samples.pop(peer, None)


def _take_turn(result: Result, peer: str, worker: Worker) -> None:
    """One peer's part of a round."""
    if peer in result.failed:
        return
    try:
        for variant, seconds in worker.ask("measure", budget=SECONDS_A_TURN)["times"].items():
            result.times.setdefault(peer, {}).setdefault(variant, []).append(seconds)
        if peer == OURS:
            yardsticks = worker.ask("yardsticks", budget=SECONDS_A_TURN)
            if yardsticks["copy"] is not None:
                result.copy.append(yardsticks["copy"])
            if yardsticks["fma_peak"] is not None:
                result.fma_peak.append(yardsticks["fma_peak"])
    except Failed as reason:
        result.failed[peer] = str(reason)
        result.times.pop(peer, None)
