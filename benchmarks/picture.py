"""``--picture``: how many times fastconv is as fast as each peer, a dot for every layer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from .compare import Result
from .problem import PASSES
from .ratios import geometric_mean
from .report import NAMES, PASS_NAMES

STYLES = {
    "torch": ("o", "#d1495b"),
    "onnx": ("s", "#00798c"),
    "jax": ("D", "#8f6bb3"),
    "scipy": ("^", "#7a7a7a"),
}
SLOWER = "#f6e3e3"  # the side where fastconv loses
MARKS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)
LEGEND = (
    "peer's time / fastconv's: right of 1 fastconv is faster; at the edge by 10 or more. "
    "On top: geometric means"
)
EDGE = 10.0  # dots beyond are drawn here


def draw(
    results: Sequence[Result], peers: Sequence[str], facts: Mapping[str, str], file: Path
) -> None:
    """Draw the ratios, a panel for each pass and a line for each layer, and write ``file``."""
    timed = [result for result in results if result.complete]
    layers = list(dict.fromkeys(result.problem.layer.id for result in timed))
    passes = [op for op in PASSES if any(result.problem.op == op for result in timed)]
    peers = [peer for peer in peers if any(peer in result.times for result in timed)]
    if not passes:
        return
    figure, panels = plt.subplots(
        1,
        len(passes),
        figsize=(2.6 + 3.4 * len(passes), 1.9 + 0.27 * len(layers)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for panel, op in zip(panels[0], passes, strict=True):
        chosen = [result for result in timed if result.problem.op == op]
        _draw_panel(panel, chosen, layers, peers)
    _draw_scale(panels[0])
    panels[0][0].set_yticks(range(len(layers)), layers, fontsize=8)
    panels[0][0].set_ylim(len(layers) - 0.4, -0.6)
    figure.suptitle(_title(facts), fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=max(1, len(peers)),
        fontsize=9,
        title=LEGEND,
        title_fontsize=9,
        frameon=False,
    )
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _draw_panel(
    panel: Axes, results: Sequence[Result], layers: Sequence[str], peers: Sequence[str]
) -> None:
    """One pass: a dot at the median over the rounds, a bar from the least to the most."""
    panel.set_xscale("log")
    means = []
    for peer in peers:
        timed = [result for result in results if peer in result.times]
        ratios = [result.ratio(peer) for result in timed]
        middles = [min(ratio.median, EDGE) for ratio in ratios]
        marker, colour = STYLES[peer]
        panel.errorbar(
            middles,
            [layers.index(result.problem.layer.id) for result in timed],
            xerr=(
                [
                    middle - min(ratio.least, EDGE)
                    for middle, ratio in zip(middles, ratios, strict=True)
                ],
                [
                    min(ratio.most, EDGE) - middle
                    for middle, ratio in zip(middles, ratios, strict=True)
                ],
            ),
            fmt=marker,
            color=colour,
            markersize=4.5,
            elinewidth=1,
            alpha=0.85,
            label=NAMES[peer],
            zorder=3,
        )
        if ratios:
            mean = geometric_mean(ratio.median for ratio in ratios)
            means.append(f"{NAMES[peer]} {mean:.3g}")
    panel.set_title(PASS_NAMES[results[0].problem.op], fontsize=10, pad=18)
    panel.text(0.5, 1.01, "   ".join(means), fontsize=7, ha="center", transform=panel.transAxes)


def _draw_scale(panels: Sequence[Axes]) -> None:
    """The axis that all panels share, logarithmic, with the losing side in another colour."""
    low, high = panels[0].get_xlim()
    low, high = min(low, 0.8), min(max(high, 1.25), 1.1 * EDGE)
    for panel in panels:
        panel.axvline(1, color="black", linewidth=1, zorder=1)
        panel.axvspan(low, 1, color=SLOWER, zorder=0)
        panel.set_xticks([mark for mark in MARKS if low <= mark <= high])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.grid(axis="both", color="#dddddd", linewidth=0.6)
        panel.tick_params(axis="x", labelsize=8)
    panels[0].set_xlim(low, high)


def _title(facts: Mapping[str, str]) -> str:
    threads = "1 thread" if facts["threads"] == "1" else f"{facts['threads']} threads"
    return f"fastconv {facts['fastconv']} on {facts['cpu']}, {threads}, {facts['dtype']}"
