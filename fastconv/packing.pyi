from typing import Any, Literal, SupportsIndex, final

import numpy
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastconv._typing import Algorithm, Padding, Pair

@final
class PackedWeights:
    # Refuses: `pack` makes them.
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def array(self) -> NDArray[numpy.float32 | numpy.float64]: ...
    @property
    def prepared_for(self) -> Literal["direct", "winograd", "nothing"]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def dtype(self) -> numpy.dtype[numpy.float32 | numpy.float64]: ...
    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]: ...
    def holds(self, array: NDArray[Any]) -> bool: ...

def pack(
    w: ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
) -> PackedWeights: ...
