"""Layers of named networks, read from the files in ``layers/``.

A file holds ``title``, ``source`` (where the shapes come from), an optional table ``[defaults]``
and one table ``[[layer]]`` a layer::

    name = "conv1"            # unique within the file
    batch = 4                 # default 1
    input = [224, 224, 3]     # height, width, channels
    filters = 64              # output channels
    kernel = 7                # this and the next three: a number or [vertical, horizontal]
    stride = 2                # default 1
    padding = 3               # default 0
    dilation = 1              # default 1
    groups = 1                # default 1
"""

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

LAYER_FILES = Path(__file__).parent / "layers"

Pair = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """The geometry of one convolution."""

    network: str
    name: str
    batch: int
    input: tuple[int, int, int]
    filters: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def id(self) -> str:
        """What ``--layers`` selects by: ``network/name``."""
        return f"{self.network}/{self.name}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of x: (N, H, W, C)."""
        return (self.batch, *self.input)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of w: (KH, KW, C // groups, O)."""
        return (*self.kernel, self.input[2] // self.groups, self.filters)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Shape of y: (N, OH, OW, O)."""
        height, width = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                self.input, self.kernel, self.stride, self.padding, self.dilation, strict=False
            )
        )
        return (self.batch, height, width, self.filters)

    @classmethod
    def from_table(cls, network: str, table: Mapping[str, Any]) -> "Layer":
        """Make a layer from the table of a file, or from ``dataclasses.asdict`` of a layer."""
        known = {field.name for field in fields(cls)} - {"network"}
        unknown = sorted(set(table) - known)
        if unknown:
            raise ValueError(f"unknown keys in a layer of {network}: {', '.join(unknown)}")
        values = dict(table)
        values["input"] = tuple(values["input"])
        values.setdefault("batch", 1)
        for key in {"kernel", "stride", "padding", "dilation"} & set(values):
            values[key] = _pair(values[key])
        layer = cls(network=network, **values)
        layer.check()
        return layer

    def with_batch(self, batch: int) -> "Layer":
        """The same layer for another number of images."""
        return replace(self, batch=batch)

    def check(self) -> None:
        """Refuse a layer that makes no sense, naming it."""
        if len(self.input) != 3:
            raise ValueError(f"{self.id}: input must be [height, width, channels]")
        if self.input[2] % self.groups or self.filters % self.groups:
            raise ValueError(f"{self.id}: groups must divide the input channels and the filters")
        if min(self.output_shape) < 1:
            raise ValueError(f"{self.id}: the output is empty, got shape {self.output_shape}")


def _pair(value: int | Iterable[int]) -> Pair:
    """A number as (number, number), a pair as it is."""
    vertical, horizontal = (value, value) if isinstance(value, int) else value
    return (vertical, horizontal)


def networks() -> list[str]:
    """Names of the networks that have a file."""
    return sorted(path.stem for path in LAYER_FILES.glob("*.toml"))


def load(network: str) -> list[Layer]:
    """The layers of one network, in the order of its file."""
    content = tomllib.loads((LAYER_FILES / f"{network}.toml").read_text(encoding="utf-8"))
    defaults = content.get("defaults", {})
    return [Layer.from_table(network, {**defaults, **table}) for table in content["layer"]]


def select(patterns: Iterable[str]) -> list[Layer]:
    """Layers whose id matches one of the shell-style patterns; a network's name takes all of it."""
    everything = [layer for network in networks() for layer in load(network)]
    chosen: dict[str, Layer] = {}
    for pattern in patterns:
        whole = pattern if "/" in pattern else f"{pattern}/*"
        found = [layer for layer in everything if fnmatch.fnmatchcase(layer.id, whole)]
        if not found:
            raise ValueError(
                f"no layer matches {pattern!r}; networks: {', '.join(networks())}, "
                "patterns such as resnet50/*3x3 or 'mobilenetv2/*dw*'"
            )
        chosen.update((layer.id, layer) for layer in found)
    return list(chosen.values())
