from typing import NamedTuple, SupportsIndex

from fastconv._typing import Padding, Pair, Shape

class GeometryTuple(NamedTuple):
    batch: int
    in_height: int
    in_width: int
    in_channels: int
    kernel_height: int
    kernel_width: int
    out_channels: int
    stride_height: int
    stride_width: int
    pad_top: int
    pad_bottom: int
    pad_left: int
    pad_right: int
    dilation_height: int
    dilation_width: int
    groups: int
    out_height: int
    out_width: int

def resolve(
    input_shape: Shape,
    weight_shape: Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
) -> GeometryTuple: ...
