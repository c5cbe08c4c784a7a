"""What arguments may be: names for type hints."""

from collections.abc import Sequence
from typing import Literal, SupportsIndex, TypeAlias

# One int for both axes, or (vertical, horizontal).
Pair: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
# The last form is ((top, bottom), (left, right)).
Padding: TypeAlias = Literal["valid", "same"] | Pair | Sequence[Sequence[SupportsIndex]]
# (N, H, W, C), (H, W, C) or (KH, KW, C // groups, O).
Shape: TypeAlias = Sequence[SupportsIndex]
Algorithm: TypeAlias = Literal["auto", "direct", "winograd"]
Op: TypeAlias = Literal["forward", "input_grad", "weight_grad"]
