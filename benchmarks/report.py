"""What is printed after a comparison."""

import statistics
from collections.abc import Mapping, Sequence

from .compare import OURS, Result
from .problem import PASSES
from .ratios import geometric_mean
from .table import Table

NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "jax": "JAX", "scipy": "SciPy"}
PASS_NAMES = {"forward": "forward", "input_grad": "dL/dx", "weight_grad": "dL/dW"}
LAYOUT_NAMES = {"channels_last": "cl"}
MISSING = "-"


def header(facts: Mapping[str, str], absent: Mapping[str, str], configuration: str) -> str:
    """The machine, the versions, fastconv's own words about itself, and who is absent."""
    lines = [f"{key:<12}{value}" for key, value in facts.items()]
    lines += [f"{'absent':<12}{NAMES[peer]}: {reason}" for peer, reason in absent.items()]
    lines += [f"  {line}" for line in configuration.splitlines()]
    return "\n".join(lines)


def comparison(results: Sequence[Result], peers: Sequence[str]) -> Table:
    """A row for every layer and pass."""
    headings = ["layer", "pass", "µs", "GFLOP/s", "of FMA", "of copy"]
    for peer in peers:
        headings += [NAMES[peer], "ratio", "(least)"]
    table = Table(headings, left=2)
    for result in results:
        cells = [result.problem.layer.id, PASS_NAMES[result.problem.op]]
        if result.complete:
            cells += [
                _digits(1e6 * statistics.median(result.ours)),
                _digits(result.gflops()),
                _percent(result.share_of_peak()),
                _percent(result.share_of_copy()),
            ]
        else:
            cells += [MISSING] * 4
        for peer in peers:
            cells += _peer_cells(result, peer)
        table.add(*cells)
    return table


def _peer_cells(result: Result, peer: str) -> list[str]:
    """A peer's speed with its layout, the median ratio and the least."""
    if peer in result.failed:
        return ["failed", MISSING, MISSING]
    if peer not in result.times or not result.complete:
        return [MISSING] * 3
    variant = result.best_variant(peer)
    speed = _digits(result.gflops(peer))
    if variant:
        speed += f" {LAYOUT_NAMES.get(variant, variant)}"
    ratio = result.ratio(peer)
    return [speed, _ratio(ratio.median), f"({_ratio(ratio.least)})"]


def _digits(number: float) -> str:
    if number < 1:
        return f"{number:.2g}"
    return f"{number:.1f}" if number < 100 else f"{number:.0f}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.0f}%"


def means(results: Sequence[Result], peers: Sequence[str]) -> Table:
    """Geometric means of the median ratios, a pass and over all; and the layer least in favour."""
    passes = [PASS_NAMES[op] for op in PASSES]
    table = Table(["geometric mean of ratios", *passes, "all", "faster in", "least", "at"])
    for peer in peers:
        timed = [result for result in results if result.complete and peer in result.times]
        if not timed:
            continue
        ratios = {id(result): result.ratio(peer).median for result in timed}
        cells = [
            _mean([ratios[id(result)] for result in timed if result.problem.op == op])
            for op in PASSES
        ]
        least = min(timed, key=lambda result: ratios[id(result)])
        faster = sum(ratio > 1 for ratio in ratios.values())
        table.add(
            NAMES[peer],
            *cells,
            _mean(list(ratios.values())),
            f"{faster} of {len(timed)}",
            _ratio(ratios[id(least)]),
            f"{least.problem.layer.id} {PASS_NAMES[least.problem.op]}",
        )
    return table


def _mean(ratios: Sequence[float]) -> str:
    return _ratio(geometric_mean(ratios)) if ratios else MISSING


def notes(results: Sequence[Result]) -> list[str]:
    """What failed, a line each."""
    return [
        f"{result.problem.layer.id} {PASS_NAMES[result.problem.op]}: "
        f"{NAMES.get(peer, OURS)} failed: {reason}"
        for result in results
        for peer, reason in result.failed.items()
    ]


def as_json(results: Sequence[Result], peers: Sequence[str]) -> dict[str, object]:
    """The results and the geometric means for a program to read."""
    summary: dict[str, dict[str, float]] = {}
    for peer in peers:
        timed = [result for result in results if result.complete and peer in result.times]
        groups = {op: [r for r in timed if r.problem.op == op] for op in PASSES} | {"all": timed}
        summary[peer] = {
            name: geometric_mean(result.ratio(peer).median for result in group)
            for name, group in groups.items()
            if group
        }
    return {"geometric_means": summary, "results": [result.to_json() for result in results]}
