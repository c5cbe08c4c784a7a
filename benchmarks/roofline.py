"""``--roofline``: speed over arithmetic intensity, under what the machine can do at the very best.

The roof is measured in the same run: the FMA peak, and copies of as many bytes as the calls move,
whose speed differs with their size; the slanted line is the median. A call whose arrays stay in a
cache may pass it.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from .compare import Result
from .problem import PASSES
from .report import PASS_NAMES

STYLES = {
    "forward": ("o", "#00798c"),
    "input_grad": ("s", "#d1495b"),
    "weight_grad": ("^", "#8f6bb3"),
}


def draw(results: Sequence[Result], facts: Mapping[str, str], file: Path) -> None:
    """Draw every timed pass of every layer, and write ``file``."""
    timed = [result for result in results if result.complete]
    if not timed:
        return
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    # Before the limits of the axes are asked for.
    axes.set(xscale="log", yscale="log", xlabel="FLOPs a byte of the arrays", ylabel="GFLOP/s")
    for op in PASSES:
        chosen = [result for result in timed if result.problem.op == op]
        marker, colour = STYLES[op]
        axes.plot(
            [result.problem.flops / result.problem.bytes_moved for result in chosen],
            [result.gflops() for result in chosen],
            marker,
            color=colour,
            alpha=0.8,
            label=PASS_NAMES[op],
        )
    _draw_roof(axes, timed)
    axes.set_title(
        f"fastconv {facts['fastconv']} on {facts['cpu']}, threads: {facts['threads']}, "
        f"{facts['dtype']}",
        fontsize=9,
    )
    axes.grid(which="both", color="#e4e4e4", linewidth=0.5)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _draw_roof(axes: plt.Axes, results: Sequence[Result]) -> None:
    """The FMA peak, and the line of the memory up to it."""
    peaks = [peak for result in results for peak in result.fma_peak]
    speeds = [result.problem.bytes_moved / seconds for result in results for seconds in result.copy]
    low, high = axes.get_xlim()
    if peaks:
        peak = statistics.median(peaks) / 1e9
        axes.axhline(peak, color="black", linewidth=1, label=f"FMA peak, {peak:.0f} GFLOP/s")
    if peaks and speeds:
        speed = statistics.median(speeds) / 1e9
        ridge = peak / speed
        axes.plot(
            [min(low, ridge), ridge],
            [min(low, ridge) * speed, peak],
            "--",
            color="black",
            linewidth=1,
            label=f"copies, {speed:.0f} GB/s",
        )
    axes.set_xlim(low, high)
