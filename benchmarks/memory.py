"""``--memory``: what one call on a large image takes beyond its arrays, each in a new process."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .catalogue import Layer
from .compare import OURS
from .problem import Problem
from .report import MISSING, NAMES, PASS_NAMES
from .table import Table
from .workers import Failed, Refused, Worker

LAYER = Layer("memory", "1024x1024_64-64_3x3", 1, (1024, 1024, 64), 64, (3, 3), padding=(1, 1))

VARIANTS = {"torch": ("nchw", "channels_last")}

MIB = 2**20


@dataclass
class Peak:
    """Bytes at the peak of a call beyond operands and result, by peer; or why there are none."""

    problem: Problem
    peer: str
    variant: str
    extra: int | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The measurement with what was measured."""
        return {
            "layer": self.problem.layer.id,
            "op": self.problem.op,
            "dtype": self.problem.dtype,
            "algorithm": self.problem.algorithm,
            "peer": self.peer,
            "variant": self.variant,
            "array_bytes": self.problem.bytes_moved,
            "extra_bytes": self.extra,
            "reason": self.reason,
        }


def measure(
    problem: Problem, peers: Sequence[str], threads: int, pythons: Mapping[str, str]
) -> Iterator[Peak]:
    """One process for every peer and layout."""
    for peer in peers:
        for variant in VARIANTS.get(peer, ("",)):
            extra, reason = None, ""
            try:
                worker = Worker(peer, threads, pythons.get(peer, sys.executable))
                try:
                    reply = worker.ask("memory", problem=problem.to_json(), variant=variant)
                    extra = reply["extra"]
                finally:
                    worker.close()
            except (Refused, Failed, OSError) as error:
                reason = str(error)
            yield Peak(problem, peer, variant, extra, reason)


def report(peaks: Sequence[Peak]) -> Table:
    """A row for every pass, a column for every peer and layout."""
    columns = list(dict.fromkeys((peak.peer, peak.variant) for peak in peaks))
    names = [f"{NAMES.get(peer, peer)} {variant}".strip() for peer, variant in columns]
    table = Table(["peak beyond the arrays, MiB", "arrays", *names])
    for op in dict.fromkeys(peak.problem.op for peak in peaks):
        row = {(peak.peer, peak.variant): peak for peak in peaks if peak.problem.op == op}
        arrays = next(iter(row.values())).problem.bytes_moved
        extras = [row[column].extra for column in columns]
        table.add(
            PASS_NAMES[op],
            f"{arrays / MIB:.0f}",
            *(MISSING if extra is None else f"{extra / MIB:.1f}" for extra in extras),
        )
    return table


def notes(peaks: Sequence[Peak]) -> list[str]:
    """Why there is no number, a line each."""
    return [
        f"{PASS_NAMES[peak.problem.op]}: {NAMES.get(peak.peer, OURS)}: {peak.reason}"
        for peak in peaks
        if peak.reason
    ]
