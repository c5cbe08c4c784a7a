"""The statistics: ratios within a round, their median, geometric means over layers."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """Peer time over fastconv time, over the rounds. Above 1 fastconv is the faster."""

    median: float
    least: float
    most: float


def ratio(peer: Sequence[float], ours: Sequence[float]) -> Ratio:
    """The ratio of two series of times; they are paired by round, since machines are noisy."""
    each = [theirs / own for theirs, own in zip(peer, ours, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def fastest(variants: Mapping[str, Sequence[float]]) -> str:
    """The name of the variant whose median time is least."""
    return min(variants, key=lambda name: statistics.median(variants[name]))


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; not a number when there are no values."""
    logs = [math.log(value) for value in values]
    return math.exp(statistics.fmean(logs)) if logs else math.nan
