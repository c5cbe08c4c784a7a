"""One picture of what was learned.  Figures are made without pyplot: no display is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fastconv.demo.data import Digits
    from fastconv.demo.network import Network
    from fastconv.demo.train import History

__all__ = ["draw"]

_INK, _FAINT, _LINE = "#1f2937", "#6b7280", "#e5e7eb"
_BLUE, _ORANGE = "#2563eb", "#ea580c"
_LEFT, _RIGHT = 0.055, 0.97
_HARD_SHOWN = 12


def draw(
    output: str | Path,
    *,
    history: History,
    network: Network,
    test: Digits,
    scores: NDArray[Any],
) -> None:
    """Write the PNG: curves, filters, feature maps of a digit, and the hard digits.

    `scores`, (N, 10), are what the network makes of the test digits.
    """
    figure = Figure(figsize=(11, 10), dpi=130, facecolor="white")
    FigureCanvasAgg(figure)
    right = int((scores.argmax(axis=1) == test.labels).sum())
    accuracy = right / len(test.labels)
    figure.text(
        _LEFT, 0.967, f"{accuracy:.2%} of the test digits read right",
        fontsize=18, fontweight="bold", color=_INK, va="center",
    )  # fmt: skip
    figure.text(
        _LEFT, 0.939, f"{right} of {len(test.labels)} images of 8x8 pixels, "
        "by three convolutions of fastconv and a dense layer",
        fontsize=11, color=_FAINT, va="center",
    )  # fmt: skip
    parts: Any = figure.subfigures(5, 1, height_ratios=(0.75, 3.0, 1.3, 2.5, 1.75), hspace=0.0)
    _, curves, filters, maps, hard = parts
    _draw_curves(curves, history)
    _draw_filters(filters, network.first.weight[:, :, 0, :])
    _draw_maps(maps, network, test)
    _draw_hard(hard, test, scores)
    figure.savefig(output, format="png")


def _draw_curves(part: SubFigure, history: History) -> None:
    """Loss on the left, accuracy on the right."""
    left, right = part.subplots(1, 2)
    part.subplots_adjust(left=_LEFT, right=_RIGHT, bottom=0.2, top=0.86, wspace=0.15)
    epochs = numpy.arange(1, len(history.loss) + 1)
    marker = "o" if len(epochs) == 1 else None  # one epoch draws no line
    left.semilogy(epochs, history.loss, color=_BLUE, linewidth=2, marker=marker)
    for values, colour, name in (
        (history.train_accuracy, _BLUE, "training digits, shifted at random"),
        (history.test_accuracy, _ORANGE, "test digits"),
    ):
        right.plot(epochs, values, color=colour, linewidth=2, marker=marker, label=name)
    right.set_ylim(min(0.85, *history.test_accuracy), 1.005)
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.legend(frameon=False, loc="lower right", labelcolor=_INK, fontsize=10)
    for axes, title in ((left, "Loss on training digits"), (right, "Accuracy")):
        axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", color=_INK)
        axes.set_xlabel("epoch", color=_FAINT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=_LINE, linewidth=0.8)
        axes.tick_params(colors=_FAINT, which="both", length=0)
        axes.spines[:].set_visible(False)


def _draw_filters(part: SubFigure, filters: NDArray[Any]) -> None:
    """The first layer's filters, (3, 3, 16): red adds, blue takes away."""
    _heading(part, 0.88, "The 16 filters of the first convolution", "red adds, blue takes away")
    limit = float(numpy.abs(filters).max())
    grid: Any = part.subplots(1, filters.shape[-1])
    part.subplots_adjust(left=_LEFT, right=_RIGHT, bottom=0.12, top=0.72, wspace=0.12)
    for index, axes in enumerate(grid):
        _show(axes, filters[:, :, index], cmap="RdBu_r", vmin=-limit, vmax=limit)


def _draw_maps(part: SubFigure, network: Network, test: Digits) -> None:
    """A digit, and what each filter and the ReLU make of it."""
    _heading(part, 0.93, "One digit as each filter sees it", "in the order of the filters above")
    image = test.images[int(numpy.flatnonzero(test.labels == 3)[0])]
    maps = network.feature_maps(image)
    limit = float(maps.max())
    names = [["digit", "digit", *range(8)], ["digit", "digit", *range(8, 16)]]
    grid = part.subplot_mosaic(names)
    part.subplots_adjust(left=_LEFT, right=_RIGHT, bottom=0.08, top=0.86, wspace=0.1, hspace=0.1)
    _show(grid.pop("digit"), image[:, :, 0], cmap="gray_r")
    for index, axes in grid.items():
        _show(axes, maps[:, :, index], cmap="BuPu", vmin=0.0, vmax=limit)


def _draw_hard(part: SubFigure, test: Digits, scores: NDArray[Any]) -> None:
    """The digits it got wrong, then those whose true label won by the least."""
    rows = numpy.arange(len(scores))
    rivals = scores.copy()
    rivals[rows, test.labels] = -numpy.inf
    lead = scores[rows, test.labels] - rivals.max(axis=1)
    hardest = numpy.argsort(lead)[:_HARD_SHOWN]

    _heading(part, 0.92, "The hardest test digits", "orange: read wrong; gray: the closest calls")
    grid: Any = part.subplots(1, _HARD_SHOWN)
    part.subplots_adjust(left=_LEFT, right=_RIGHT, bottom=0.26, top=0.8, wspace=0.2)
    for axes, index in zip(grid, hardest, strict=True):
        wrong, rival = lead[index] <= 0, rivals[index].argmax()
        _show(axes, test.images[index, :, :, 0], cmap="Oranges" if wrong else "gray_r")
        axes.set_xlabel(
            f"a {test.labels[index]},\n{'read as' if wrong else 'nearly'} {rival}",
            color=_ORANGE if wrong else _FAINT,
            fontsize=9.5,
            fontweight="bold" if wrong else "normal",
        )


def _heading(part: SubFigure, height: float, title: str, note: str) -> None:
    """Write the title of a part, and a fainter note at its right."""
    part.text(_LEFT, height, title, fontsize=12.5, fontweight="bold", color=_INK, va="center")
    part.text(_RIGHT, height, note, fontsize=10, color=_FAINT, va="center", ha="right")


def _show(axes: Axes, image: NDArray[Any], **how: Any) -> None:
    """Draw one small image in a thin frame."""
    axes.imshow(image, interpolation="nearest", **how)
    axes.set_anchor("N")
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_color(_LINE)
