"""``python -m fastconv bench``: from the options to what is printed and written."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import accuracy, calls, catalogue, machine, memory, options, report, scaling
from .catalogue import Layer
from .compare import OURS, compare
from .problem import Problem
from .workers import Failed, Worker, running


@dataclass
class Outcome:
    """What a mode found: the settings, blocks of text, a record for programs, what failed."""

    facts: Mapping[str, str]
    text: list[str]
    record: Mapping[str, Any]
    failures: list[str] = field(default_factory=list)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark; exit status 1 where something failed, 2 for options that make no sense."""
    parser = options.parser()
    chosen = parser.parse_args(argv)
    try:
        layers = catalogue.select(chosen.layers)
    except ValueError as error:
        parser.error(str(error))
    if chosen.batch:
        layers = [layer.with_batch(chosen.batch) for layer in layers]
    if chosen.list:
        print("\n".join(map(_described, layers)))
        return 0
    try:
        outcome = _mode(chosen)(chosen, layers)
    except Failed as reason:
        print(reason, file=sys.stderr)
        return 1
    _publish(outcome, chosen)
    return 1 if outcome.failures else 0


def _mode(chosen: Namespace) -> Callable[[Namespace, Sequence[Layer]], Outcome]:
    """What the options ask for."""
    if chosen.scaling:
        return _scaling
    if chosen.memory:
        return _memory
    if chosen.accuracy:
        return _accuracy
    return _calls if chosen.calls else _comparison


def _comparison(chosen: Namespace, layers: Sequence[Layer]) -> Outcome:
    """fastconv and its peers, turn by turn."""
    threads = chosen.threads or 1
    with running((OURS, *chosen.peers), threads, dict(chosen.peer_python)) as (workers, absent):
        ours = _ours(workers, absent)
        results = [
            compare(workers, problem, chosen.rounds)
            for problem in _progress(_problems(chosen, layers))
        ]
        facts = _facts(chosen, threads, workers.values())
    peers = [peer for peer in chosen.peers if peer in workers]
    text = [
        report.header(facts, absent, ours.configuration),
        report.comparison(results, peers).render(chosen.markdown),
    ]
    if peers:
        text.append(report.means(results, peers).render(chosen.markdown))
    if chosen.picture:
        from . import picture  # Matplotlib is only needed here

        picture.draw(results, peers, facts, chosen.picture)
    if chosen.roofline:
        from . import roofline

        roofline.draw(results, facts, chosen.roofline)
    record = {"absent": absent, "configuration": ours.configuration}
    return Outcome(facts, text, record | report.as_json(results, peers), report.notes(results))


def _scaling(chosen: Namespace, layers: Sequence[Layer]) -> Outcome:
    """fastconv alone, with 1 to all threads."""
    threads = chosen.threads or machine.usable_cpus()
    with running((OURS,), threads, {}) as (workers, absent):
        ours = _ours(workers, absent)
        results = [
            scaling.measure(ours, problem, threads, chosen.rounds)
            for problem in _progress(_problems(chosen, layers))
        ]
        facts = _facts(chosen, threads, [ours])
    text = [
        report.header(facts, {}, ours.configuration),
        scaling.report(results, threads).render(chosen.markdown),
    ]
    return Outcome(facts, text, scaling.as_json(results), scaling.notes(results))


def _memory(chosen: Namespace, _layers: Sequence[Layer]) -> Outcome:
    """Peaks of memory, always of the same layer."""
    threads = chosen.threads or 1
    peaks = [
        peak
        for problem in _progress(_problems(chosen, [memory.LAYER]))
        for peak in memory.measure(
            problem, (OURS, *chosen.peers), threads, dict(chosen.peer_python)
        )
    ]
    facts = _facts(chosen, threads, [])
    text = [
        report.header(facts, {}, ""),
        memory.report(peaks).render(chosen.markdown),
        "\n".join(memory.notes(peaks)),
    ]
    failures = [peak.reason for peak in peaks if peak.peer == OURS and peak.reason]
    return Outcome(facts, text, {"memory": [peak.to_json() for peak in peaks]}, failures)


def _calls(chosen: Namespace, _layers: Sequence[Layer]) -> Outcome:
    """Calls from C, always of the same layer; in this process, which does nothing else."""
    costs = calls.measure(chosen.passes, chosen.rounds)
    # One thread and float32, whatever the options say.
    facts = machine.describe() | {"threads": "1", "dtype": "float32", "rounds": str(chosen.rounds)}
    text = [report.header(facts, {}, ""), calls.report(costs).render(chosen.markdown)]
    return Outcome(facts, text, calls.as_json(costs))


def _accuracy(chosen: Namespace, _layers: Sequence[Layer]) -> Outcome:
    """Rounding errors, always of the same layers, in float32."""
    errors = accuracy.measure(chosen.passes, chosen.rounds)
    points = accuracy.compare_points(chosen.rounds)
    facts = machine.describe() | {"dtype": "float32", "rounds": str(chosen.rounds)}
    text = [
        report.header(facts, {}, ""),
        accuracy.report(errors).render(chosen.markdown),
        accuracy.report_points(points).render(chosen.markdown),
    ]
    return Outcome(facts, text, accuracy.as_json(errors, points))


def _ours(workers: Mapping[str, Worker], absent: Mapping[str, str]) -> Worker:
    """fastconv's worker, without which there is nothing to compare."""
    if OURS not in workers:
        raise Failed(f"fastconv cannot be timed: {absent[OURS]}")
    return workers[OURS]


def _problems(chosen: Namespace, layers: Sequence[Layer]) -> list[Problem]:
    return [
        Problem(layer, op, chosen.dtype, chosen.algorithm)
        for layer in layers
        for op in chosen.passes
    ]


def _facts(chosen: Namespace, threads: int, workers: Iterable[Worker]) -> dict[str, str]:
    """The machine, the versions and the settings."""
    versions = {name: number for worker in workers for name, number in worker.versions.items()}
    facts = {
        **machine.describe(),
        **versions,
        "threads": str(threads),
        "dtype": chosen.dtype,
        "algorithm": chosen.algorithm,
    }
    return facts if chosen.memory else facts | {"rounds": str(chosen.rounds)}


def _progress(problems: Sequence[Problem]) -> Iterator[Problem]:
    """The problems; where someone looks on, the present one's name."""
    watched = sys.stderr.isatty()
    for number, problem in enumerate(problems, 1):
        if watched:
            print(
                f"\r\033[K{number}/{len(problems)} {problem.layer.id} {problem.op}",
                end="",
                file=sys.stderr,
            )
            sys.stderr.flush()
        yield problem
    if watched:
        print("\r\033[K", end="", file=sys.stderr)


def _described(layer: Layer) -> str:
    return f"{layer.id:36}{layer.input_shape} * {layer.weight_shape} -> {layer.output_shape}"


def _publish(outcome: Outcome, chosen: Namespace) -> None:
    """Print the tables and what failed; write the record."""
    print("\n\n".join(block for block in outcome.text if block))
    for failure in outcome.failures:
        print(failure, file=sys.stderr)
    if chosen.json:
        record = {"facts": outcome.facts, **outcome.record, "failures": outcome.failures}
        chosen.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
