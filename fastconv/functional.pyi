from typing import SupportsIndex, TypeVar, overload

import numpy
from numpy.typing import ArrayLike, NDArray

from fastconv._typing import Algorithm, Padding, Pair, Shape
from fastconv.packing import PackedWeights

# What `out` is, the result is.
_Out = TypeVar("_Out", bound=NDArray[numpy.float32 | numpy.float64])

@overload
def conv2d(
    x: NDArray[numpy.float32],
    w: NDArray[numpy.float32],
    bias: NDArray[numpy.float32] | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32]: ...
@overload
def conv2d(
    x: NDArray[numpy.float64],
    w: ArrayLike | PackedWeights,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d(
    x: ArrayLike,
    w: NDArray[numpy.float64],
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d(
    x: ArrayLike,
    w: ArrayLike | PackedWeights,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32 | numpy.float64]: ...
@overload
def conv2d(
    x: ArrayLike,
    w: ArrayLike | PackedWeights,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: _Out,
) -> _Out: ...
@overload
def conv2d_input_grad(
    dy: NDArray[numpy.float32],
    w: NDArray[numpy.float32],
    input_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32]: ...
@overload
def conv2d_input_grad(
    dy: NDArray[numpy.float64],
    w: ArrayLike,
    input_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d_input_grad(
    dy: ArrayLike,
    w: NDArray[numpy.float64],
    input_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d_input_grad(
    dy: ArrayLike,
    w: ArrayLike,
    input_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32 | numpy.float64]: ...
@overload
def conv2d_input_grad(
    dy: ArrayLike,
    w: ArrayLike,
    input_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: _Out,
) -> _Out: ...
@overload
def conv2d_weight_grad(
    x: NDArray[numpy.float32],
    dy: NDArray[numpy.float32],
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32]: ...
@overload
def conv2d_weight_grad(
    x: NDArray[numpy.float64],
    dy: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d_weight_grad(
    x: ArrayLike,
    dy: NDArray[numpy.float64],
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float64]: ...
@overload
def conv2d_weight_grad(
    x: ArrayLike,
    dy: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: None = None,
) -> NDArray[numpy.float32 | numpy.float64]: ...
@overload
def conv2d_weight_grad(
    x: ArrayLike,
    dy: ArrayLike,
    kernel_size: Pair,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
    out: _Out,
) -> _Out: ...
