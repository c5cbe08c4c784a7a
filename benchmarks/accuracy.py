"""``--accuracy``: errors of both algorithms against float64, and of other points for Winograd's."""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastconv

from .report import PASS_NAMES
from .table import Table

CHANNELS = (16, 64, 256, 1024)
SCALES = (1e-10, 1e-5, 1e5, 1e10)
SIZE, OTHER = 28, 32  # rows and columns of the image; the channels that are not summed over
# Interpolation points of F(4, 3) beside infinity: those of most libraries, and others.
POINTS: Mapping[str, tuple[float, ...]] = {
    "0, 1, -1, 2, -2": (0, 1, -1, 2, -2),
    "0, 1, -1, 1/2, -1/2": (0, 1, -1, 0.5, -0.5),
    "0, 1, -1, 1/2, -2": (0, 1, -1, 0.5, -2),
    "0, 1/2, -1/2, 3/2, -3/2": (0, 0.5, -0.5, 1.5, -1.5),
    "0, √½, -√½, √2, -√2": (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5)),
    "0, 3/4, -3/4, 3/2, -3/2 (ours)": (0, 0.75, -0.75, 1.5, -1.5),
}


@dataclass
class Error:
    """Largest difference from float64 over the largest result: the median over rounds."""

    what: str  # an algorithm, or a set of points
    op: str
    channels: int
    scale: float
    error: float


def measure(passes: Sequence[str], rounds: int) -> list[Error]:
    """Errors of both algorithms, by channels at scale 1, and by scale at 64 channels."""
    sizes = [(channels, 1.0) for channels in CHANNELS] + [(64, scale) for scale in SCALES]
    return [
        Error(algorithm, op, channels, scale,
              statistics.median(_error(algorithm, op, channels, scale, k) for k in range(rounds)))
        for (channels, scale), algorithm, op in itertools.product(
            sizes, ("direct", "winograd"), passes
        )
    ]  # fmt: skip


def compare_points(rounds: int) -> list[Error]:
    """What other points would give in the forward pass of 64 channels, in NumPy's float32."""
    found = []
    for name, points in POINTS.items():
        error = statistics.median(_simulated(points, k) for k in range(rounds))
        found.append(Error(name, "forward", 64, 1.0, error))
    return found


def report(errors: Sequence[Error]) -> Table:
    """A row for every pass, number of channels and scale; a column for each algorithm."""
    table = Table(["pass", "channels", "scale", "direct", "winograd", "ratio"])
    found = {(e.op, e.channels, e.scale, e.what): e.error for e in errors}
    for op, channels, scale in dict.fromkeys(key[:3] for key in found):
        direct, winograd = (found[op, channels, scale, name] for name in ("direct", "winograd"))
        table.add(PASS_NAMES[op], str(channels), f"{scale:g}", f"{direct:.1e}", f"{winograd:.1e}",
                  f"{winograd / direct:.1f}")  # fmt: skip
    return table


def report_points(errors: Sequence[Error]) -> Table:
    """A row for every set of points."""
    table = Table(["points, and infinity", "error"])
    for error in errors:
        table.add(error.what, f"{error.error:.1e}")
    return table


def as_json(errors: Sequence[Error], points: Sequence[Error]) -> Mapping[str, Any]:
    """The results for a program to read."""
    return {"errors": [asdict(e) for e in errors], "points": [asdict(e) for e in points]}


def _error(algorithm: str, op: str, channels: int, scale: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    # So many channels are summed over in the forward pass and in dL/dx; dL/dW sums over pixels.
    depth, filters = (OTHER, channels) if op == "input_grad" else (channels, OTHER)
    shapes = {"x": (1, SIZE, SIZE, depth), "w": (3, 3, depth, filters),
              "dy": (1, SIZE, SIZE, filters)}  # fmt: skip
    a = {k: (scale * rng.standard_normal(v)).astype(np.float32) for k, v in shapes.items()}
    exact = {k: v.astype(np.float64) for k, v in a.items()}
    got, want = _run(a, op, algorithm), _run(exact, op, "direct")
    return float(abs(got - want).max() / abs(want).max())


def _run(a: Mapping[str, NDArray[Any]], op: str, algorithm: Any) -> NDArray[Any]:
    if op == "forward":
        return fastconv.conv2d(a["x"], a["w"], padding=1, algorithm=algorithm)
    if op == "input_grad":
        return fastconv.conv2d_input_grad(
            a["dy"], a["w"], a["x"].shape, padding=1, algorithm=algorithm
        )
    return fastconv.conv2d_weight_grad(a["x"], a["dy"], 3, padding=1, algorithm=algorithm)


def _matrices(points: Sequence[float]) -> Iterator[NDArray[np.float32]]:
    """B.T, G and A.T of F(4, 3), as Cook and Toom construct them."""
    b, g, a = np.zeros((6, 6)), np.zeros((6, 3)), np.zeros((4, 6))
    for k, point in enumerate(points):
        others = [q for q in points if q != point]
        b[k, :5] = np.poly(others)[::-1]
        g[k] = np.array([1, point, point**2]) / math.prod(point - q for q in others)
        a[:, k] = [point**i for i in range(4)]
    b[5], g[5, 2], a[3, 5] = np.poly(points)[::-1], 1, 1
    return (m.astype(np.float32) for m in (b, g, a))


def _simulated(points: Sequence[float], seed: int, tiles: int = 400, channels: int = 64) -> float:
    """The error of tiles of one filter, every sum in float32 and in the order of the channels."""
    rng = np.random.default_rng(seed)
    d = rng.standard_normal((tiles, 6, 6, channels)).astype(np.float32)
    w = rng.standard_normal((3, 3, channels)).astype(np.float32)
    b, g, a = _matrices(points)
    v = np.einsum("ia,tabc->tibc", b, d)
    v = np.einsum("jb,tibc->tijc", b, v)
    u = np.einsum("jb,ibc->ijc", g, np.einsum("ia,abc->ibc", g, w))
    products = np.zeros((tiles, 6, 6), np.float32)
    for channel in range(channels):
        products += v[..., channel] * u[..., channel]
    y = np.einsum("jb,tib->tij", a, np.einsum("ia,tab->tib", a, products))
    windows = np.lib.stride_tricks.sliding_window_view(d.astype(np.float64), (3, 3), axis=(1, 2))
    want = np.einsum("tijcpq,pqc->tij", windows, w.astype(np.float64))
    return float(abs(y - want).max() / abs(want).max())
