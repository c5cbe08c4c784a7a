"""One thing to time: a layer, a pass, a dtype, an algorithm; and what it costs at the least."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .catalogue import Layer

PASSES = ("forward", "input_grad", "weight_grad")

# Below this many FLOPs a byte, a copy of the same bytes is the yardstick as well as the FMA peak.
LOW_INTENSITY = 32.0

SEED = 20240229


class Unsupported(Exception):
    """A peer has no such operation; the text says why."""


class Inputs(NamedTuple):
    """Operands of a pass in fastconv's layouts; the one that the pass computes is left out."""

    x: npt.NDArray[Any] | None  # (N, H, W, C)
    w: npt.NDArray[Any] | None  # (KH, KW, C // groups, O)
    dy: npt.NDArray[Any] | None  # (N, OH, OW, O)


class Call(NamedTuple):
    """Something to time, and how to read what it returns as an array in fastconv's layout."""

    run: Callable[[], Any]
    to_array: Callable[[Any], npt.NDArray[Any]]


@dataclass(frozen=True)
class Problem:
    """One thing to time."""

    layer: Layer
    op: str  # one of PASSES
    dtype: str = "float32"
    algorithm: str = "auto"  # fastconv's; the peers choose for themselves

    @property
    def flops(self) -> int:
        """Multiplications and additions, the same in every pass; padding counts as data."""
        return 2 * prod(self.layer.output_shape) * prod(self.layer.weight_shape[:3])

    @property
    def bytes_moved(self) -> int:
        """Bytes of the two operands and of the result, each counted once."""
        layer = self.layer
        shapes = (layer.input_shape, layer.weight_shape, layer.output_shape)
        return sum(map(prod, shapes)) * np.dtype(self.dtype).itemsize

    @property
    def low_intensity(self) -> bool:
        """Whether memory, rather than arithmetic, is likely to bound the call."""
        return self.flops < LOW_INTENSITY * self.bytes_moved

    def inputs(self) -> Inputs:
        """Standard-normal operands, the same in every process."""
        rng = np.random.default_rng(SEED)
        shapes = {
            "x": self.layer.input_shape,
            "w": self.layer.weight_shape,
            "dy": self.layer.output_shape,
        }
        del shapes[{"forward": "dy", "input_grad": "x", "weight_grad": "w"}[self.op]]
        made = {
            name: rng.standard_normal(shape).astype(self.dtype) for name, shape in shapes.items()
        }
        return Inputs(made.get("x"), made.get("w"), made.get("dy"))

    def to_json(self) -> dict[str, Any]:
        """The problem as plain lists, numbers and strings."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Problem":
        """The inverse of `to_json`."""
        table = dict(data["layer"])
        layer = Layer.from_table(table.pop("network"), table)
        return cls(**{**data, "layer": layer})
