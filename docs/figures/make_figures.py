"""Draw the figures of docs/gradients.md: ``python docs/figures/make_figures.py``.

Blue is what a layer reads (x), orange its weights, green what it makes (h); a gradient has the
colour of what it is the gradient of.  Needs matplotlib.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

import fastconv

FOLDER = Path(__file__).parent
INK, FAINT, LINE = "#1f2937", "#6b7280", "#9ca3af"
BLUE, ORANGE, GREEN = "#3b82f6", "#f97316", "#16a34a"
PALE = {BLUE: "#dbeafe", ORANGE: "#ffedd5", GREEN: "#dcfce7"}
# One colour a tap of a 3x3 kernel: a hue a row, a strength a column.
TAPS = (
    ("#fde68a", "#fbbf24", "#d97706"),
    ("#fecaca", "#f87171", "#dc2626"),
    ("#ddd6fe", "#a78bfa", "#7c3aed"),
)
# One colour a phase of the stride-2 grid, [row % 2][column % 2].
PHASES = (("#93c5fd", "#86efac"), ("#fcd34d", "#fda4af"))


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty drawing board, one unit a tenth of an inch, y pointing down."""
    figure = pyplot.figure(figsize=(width / 10, height / 10))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def save(figure: Figure, name: str) -> None:
    """Write docs/figures/name.png, small: these pictures do with 256 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, facecolor="white")
    pyplot.close(figure)
    colours = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(FOLDER / f"{name}.png", optimize=True)


def write(axes: Axes, x: float, y: float, text: str, size: float = 11, **how: Any) -> None:
    """Write centred text."""
    axes.text(x, y, text, **{"ha": "center", "va": "center", "color": INK, "size": size, **how})


def cell(
    axes: Axes, x: float, y: float, side: float, face: str, text: str = "", **how: Any
) -> None:
    """Draw one square, its upper left corner at (x, y)."""
    size, colour = how.pop("size", 9), how.pop("color", INK)
    style = {"edgecolor": "white", "linewidth": 1.2, **how}
    axes.add_patch(Rectangle((x, y), side, side, facecolor=face, **style))
    if text:
        write(axes, x + side / 2, y + side / 2, text, size, color=colour)


def frame(axes: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    """Draw a bold outline around a region."""
    axes.add_patch(
        Rectangle((x, y), width, height, fill=False, edgecolor=colour, linewidth=2.4, zorder=5)
    )


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0
) -> None:
    """Draw an arrow."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=13, color=FAINT, linewidth=1.3,
            connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0, zorder=6,
        )
    )  # fmt: skip


def sheets(
    axes: Axes, x: float, y: float, side: float, rows: int, channels: int, step: float, colour: str
) -> None:
    """Draw an array (rows, rows, channels) as square sheets, the first in front at (x, y)."""
    for channel in reversed(range(channels)):
        left, top = x + channel * step, y - channel * step
        for row in range(rows):
            for column in range(rows):
                cell(
                    axes, left + column * side, top + row * side, side, PALE[colour],
                    edgecolor=colour, linewidth=0.7,
                )  # fmt: skip


def draw_channels() -> None:
    """The forward pass: 16 filters, each as deep as x, make a sheet of h each."""
    figure, axes = canvas(100, 40)
    sheets(axes, 5, 13, 3, 5, 3, 1.6, BLUE)
    frame(axes, 8, 13, 9, 9, ORANGE)
    write(axes, 14.1, 34, "x  (5, 5, 3)", 13, weight="bold")
    write(axes, 14.1, 37, "one window of 27 numbers", 10, color=FAINT)

    for index, left in enumerate((37, 47.5, 63)):
        sheets(axes, left, 16, 2.2, 3, 3, 1.1, ORANGE)
        write(axes, left + 3.3, 25.5, f"filter {(0, 1, 15)[index]}", 10, color=FAINT)
    write(axes, 60, 18.5, "…", 18)
    write(axes, 54.4, 34, "w  (3, 3, 3, 16)", 13, weight="bold")
    write(axes, 54.4, 37, "16 filters, each 27 numbers", 10, color=FAINT)

    sheets(axes, 80, 18, 3, 3, 16, 0.55, GREEN)
    cell(axes, 83, 18, 3, GREEN, edgecolor=GREEN)
    write(axes, 88.6, 34, "h  (3, 3, 16)", 13, weight="bold")
    write(axes, 88.6, 37, "one sheet a filter", 10, color=FAINT)

    arrow(axes, (27.5, 17.5), (35, 17.5))
    arrow(axes, (73.5, 19.5), (79, 19.5))
    write(axes, 47, 6, "window · filter 0  =  one pixel of sheet 0", 12)
    arrow(axes, (64, 6), (84.5, 17.7), -0.25)
    save(figure, "channels")


def image(axes: Axes, x: float, y: float, side: float, values: Any, limit: float) -> None:
    """Draw a matrix of numbers as colours: red above zero, blue below."""
    colours = pyplot.get_cmap("RdBu_r")(0.5 + values / (2 * limit))
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            cell(
                axes, x + column * side, y + row * side, side, colours[row, column],
                edgecolor="#d1d5db", linewidth=0.5,
            )  # fmt: skip


def draw_shares() -> None:
    """dL/dx as the sum of the shares of 16 filters, real numbers."""
    rng = numpy.random.default_rng(7)
    w, dh = rng.normal(size=(3, 3, 3, 16)), rng.normal(size=(3, 3, 16))
    shares = numpy.stack(
        [fastconv.conv2d_input_grad(dh[..., [o]], w[..., [o]], (5, 5, 3)) for o in range(16)]
    )
    dx = shares.sum(axis=0)
    figure, axes = canvas(100, 60)
    lefts = {0: 17, 1: 32, 2: 47, 15: 66}
    for o, left in lefts.items():
        write(axes, left + 5, 3, f"filter {o}", 11, weight="bold")
        image(axes, left + 2, 6, 2, dh[..., o], 2.4)
        arrow(axes, (left + 5, 13), (left + 5, 18))
        for channel in range(3):
            image(axes, left, 19.5 + 12.5 * channel, 2, shares[o, ..., channel], 6)
    write(axes, 89, 3, "sum over all 16", 11, weight="bold")
    for channel in range(3):
        middle = 24.5 + 12.5 * channel
        image(axes, 84, middle - 5, 2, dx[..., channel], 13)
        write(axes, 7.5, middle, f"channel {channel}", 10.5)
        for left, sign in ((29.5, "+"), (44.5, "+"), (61.5, "+ … +"), (80, "=")):
            write(axes, left, middle, sign, 13)
    write(axes, 7.5, 9, "dL/dh\none sheet a filter", 10.5)
    write(axes, 7.5, 15.7, "turned filter", 10.5, color=FAINT)
    write(axes, 47, 57.6, "the share of each filter in dL/dx, (5, 5, 3)", 10.5, color=FAINT)
    write(axes, 89, 57.6, "dL/dx, (5, 5, 3)", 10.5, color=FAINT)
    save(figure, "shares")


def tap(axes: Axes, x: float, y: float, side: float, row: int, column: int, size: float) -> None:
    """Draw one weight of a 3x3 kernel in its own colour."""
    cell(
        axes, x, y, side, TAPS[row][column], f"$w_{{{row}{column}}}$",
        size=size, color="white" if column == 2 else INK,
    )  # fmt: skip


def matrix_cells(axes: Axes, x: float, y: float, side: float, matrix: Any, size: float) -> None:
    """Draw a matrix whose entries are 0, or 1 + the number of the tap that stands there."""
    for (row, column), value in numpy.ndenumerate(matrix):
        left, top = x + side * column, y + side * row
        if value == 0:
            cell(axes, left, top, side, "#f3f4f6")
        else:
            tap(axes, left, top, side, *divmod(int(value) - 1, 3), size)


def draw_matrix() -> None:
    """The 4x16 matrix of a 3x3 kernel on a 4x4 image, and its transpose at work."""
    taps = numpy.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    matrix = fastconv.conv2d_matrix(taps, (4, 4, 1)).toarray()
    figure, axes = canvas(100, 81)
    side = 3.8
    write(axes, 4, 4, "h = M x", 14, weight="bold", ha="left")
    write(axes, 18, 4.1, "a row an output, a column a pixel", 10.5, color=FAINT, ha="left")
    matrix_cells(axes, 10, 10, side, matrix, 11)
    frame(axes, 10 + side * 5, 10, side, 4 * side, BLUE)
    for column in range(16):
        write(axes, 10 + side * (column + 0.5), 8.5, str(column), 9, color=FAINT)
    for row in range(4):
        write(axes, 6.5, 10 + side * (row + 0.5), f"$h_{{{row // 2}{row % 2}}}$", 13, color=GREEN)
    write(axes, 86.7, 4, "the kernel", 10.5, color=FAINT)
    matrix_cells(axes, 81, 10, side, taps[:, :, 0, 0], 11)

    write(axes, 4, 34, "dL/dx = Mᵀ dL/dh", 14, weight="bold", ha="left")
    write(axes, 31, 34.1, "a row a pixel", 10.5, color=FAINT, ha="left")
    _draw_pixels(axes, 10, 40)
    _draw_transpose(axes, 58, 36, matrix.T)
    save(figure, "matrix")


def _draw_pixels(axes: Axes, x: float, y: float) -> None:
    """The numbered pixels; why pixel 5 gets four terms."""
    side = 4.6
    for pixel in range(16):
        row, column = divmod(pixel, 4)
        face = BLUE if pixel == 5 else PALE[BLUE]
        cell(
            axes, x + side * column, y + side * row, side, face, str(pixel),
            size=10.5, color="white" if pixel == 5 else INK,
        )  # fmt: skip
    frame(axes, x, y, 3 * side, 3 * side, GREEN)
    write(axes, x + 4 * side + 1.5, y + 3, "the window of $h_{00}$", 10.5, color=GREEN, ha="left")
    lines = (
        "Pixel 5 lies in all four windows,",
        "under another weight in each:",
        r"$\dfrac{dL}{dx_5} = w_{11}\dfrac{dL}{dh_{00}} + w_{10}\dfrac{dL}{dh_{01}}$",
        r"$\qquad\;\; +\; w_{01}\dfrac{dL}{dh_{10}} + w_{00}\dfrac{dL}{dh_{11}}$",
    )
    for line, height in zip(lines, (22.5, 25.2, 29.8, 35.2), strict=True):
        write(axes, x, y + height, line, 11 if height < 28 else 12.5, ha="left")


def _draw_transpose(axes: Axes, x: float, y: float, transpose: Any) -> None:
    """Mᵀ, times the four numbers of dL/dh, is the sixteen of dL/dx."""
    side = 2.65
    matrix_cells(axes, x, y, side, transpose, 8)
    frame(axes, x, y + 5 * side, 4 * side, side, BLUE)
    middle = y + 8 * side
    write(axes, x + 4 * side + 2, middle, "·", 18)
    for row in range(4):
        cell(
            axes, x + 4 * side + 4, middle + (row - 2) * 3.4, 3.4, PALE[GREEN],
            f"$dh_{{{row // 2}{row % 2}}}$", size=8.5, edgecolor=GREEN,
        )  # fmt: skip
    write(axes, x + 4 * side + 9.5, middle, "=", 14)
    for pixel in range(16):
        write(axes, x - 1.6, y + side * (pixel + 0.5), str(pixel), 8, color=FAINT)
        face, ink = (BLUE, "white") if pixel == 5 else (PALE[BLUE], INK)
        cell(
            axes, x + 4 * side + 12, y + side * pixel, side, face, f"$dx_{{{pixel}}}$",
            size=8, edgecolor=BLUE, linewidth=0.7, color=ink,
        )  # fmt: skip


def draw_stride() -> None:
    """Stride 2: zeros between, or one small kernel a phase."""
    figure, axes = canvas(100, 60)
    write(axes, 4, 4, "Zeros between", 14, weight="bold", ha="left")
    write(axes, 4, 7.2, "one 3x3 window over dL/dh spread out", 10.5, color=FAINT, ha="left")
    _draw_spread(axes, 6, 11)
    write(axes, 54, 4, "Four phases", 14, weight="bold", ha="left")
    write(
        axes, 54, 7.2, "each pixel of dL/dx: only the taps that reach it", 10.5,
        color=FAINT, ha="left",
    )  # fmt: skip
    _draw_phases(axes, 54, 11)
    save(figure, "stride")


def _draw_spread(axes: Axes, x: float, y: float) -> None:
    """dL/dh (3, 3) with zeros between and around: (9, 9), most of it zeros."""
    side = 4
    for row in range(9):
        for column in range(9):
            there = row in (2, 4, 6) and column in (2, 4, 6)
            text = f"$dh_{{{row // 2 - 1}{column // 2 - 1}}}$" if there else "0"
            cell(
                axes, x + side * column, y + side * row, side, "#86efac" if there else "#f3f4f6",
                text, size=9.5, color=INK if there else LINE,
            )  # fmt: skip
    frame(axes, x + side * 2, y + side * 3, 3 * side, 3 * side, ORANGE)
    write(axes, x + 4.5 * side, y + 9 * side + 3.5, "49 windows of 9 products: 441", 11)
    write(
        axes, x + 4.5 * side, y + 9 * side + 6.6, "in this one, 7 of the 9 are with a zero", 10.5,
        color=FAINT,
    )  # fmt: skip


def _draw_phases(axes: Axes, x: float, y: float) -> None:
    """dL/dx (7, 7) coloured by phase, and the part of the kernel each phase meets."""
    side = 4
    for row in range(7):
        for column in range(7):
            cell(
                axes, x + side * column, y + side * row, side, PHASES[row % 2][column % 2],
                str((2 - row % 2) * (2 - column % 2)), size=9.5,
            )  # fmt: skip
    write(axes, x + 3.5 * side, y + 7 * side + 2.4, "dL/dx, and how many taps reach", 10.5,
          color=FAINT)  # fmt: skip
    left = x + 7 * side + 4.5
    small = 3.1
    for row_phase in range(2):
        for column_phase in range(2):
            corner = left + column_phase * 8, y + row_phase * 11
            for row in range(row_phase, 3, 2):
                for column in range(column_phase, 3, 2):
                    cell(
                        axes, corner[0] + (column // 2) * small, corner[1] + (row // 2) * small,
                        small, PHASES[row_phase][column_phase], f"$w_{{{row}{column}}}$", size=9,
                    )  # fmt: skip
    write(axes, left + 5.5, y + 19, "the kernel,\ndealt out", 10.5, color=FAINT)
    write(axes, x + 20, y + 36 + 3.5, "9 of dL/dh times 9 taps: 81 products", 11)
    write(axes, x + 20, y + 36 + 6.6, "four small convolutions of stride 1", 10.5, color=FAINT)


if __name__ == "__main__":
    draw_channels()
    draw_shares()
    draw_matrix()
    draw_stride()
