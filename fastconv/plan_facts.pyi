from typing import Any, SupportsIndex

from numpy.typing import DTypeLike

from fastconv._typing import Algorithm, Op, Padding, Pair, Shape

def plan_facts(
    input_shape: Shape,
    weight_shape: Shape,
    op: Op,
    dtype: DTypeLike,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: SupportsIndex,
    algorithm: Algorithm,
    /,
) -> tuple[dict[str, Any], dict[str, int], dict[str, int]]: ...
