from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy
from numpy.typing import DTypeLike

from fastconv._typing import Algorithm, Op, Padding, Pair, Shape

OPS: dict[str, int]

@dataclass(frozen=True)
class Explanation:
    op: str
    dtype: str
    isa: str
    algorithm: str
    refused: dict[str, str]
    blocking: dict[str, Any]
    flops: int
    bytes: dict[str, int]
    intensity: float
    bound: str

def explain(
    input_shape: Shape,
    weight_shape: Shape,
    *,
    op: Op = "forward",
    dtype: DTypeLike = numpy.float32,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
) -> Explanation: ...
