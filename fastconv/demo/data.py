"""The digits: load, split, shuffle into batches, shift by a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

__all__ = ["Digits", "batches", "load"]


class Digits(NamedTuple):
    """Images of shape (N, 8, 8, 1), float32 in [0, 1], and labels of shape (N,)."""

    images: NDArray[numpy.float32]
    labels: NDArray[Any]


def load() -> tuple[Digits, Digits]:
    """Return the digits to train on (three quarters) and those to test on.

    Every digit has the same share of both halves.  The split never changes, so that accuracies
    of different seeds are about the same 450 images.
    """
    found = load_digits()
    images = (found.images / found.images.max()).astype(numpy.float32)[..., None]
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, found.target, test_size=450, random_state=0, stratify=found.target
    )
    return Digits(train_images, train_labels), Digits(test_images, test_labels)


def batches(digits: Digits, size: int, rng: numpy.random.Generator) -> Iterator[Digits]:
    """Yield all digits once, in random order, each shifted by up to a pixel."""
    order = rng.permutation(len(digits.labels))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield Digits(_shifted(digits.images[chosen], rng), digits.labels[chosen])


def _shifted(images: NDArray[numpy.float32], rng: numpy.random.Generator) -> NDArray[numpy.float32]:
    """Move each image by -1, 0 or 1 pixel along each axis; what comes in is background.

    Writers do not centre their digits; 1,347 examples are too few to learn that from.
    """
    count, height, width, _ = images.shape
    padded = numpy.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, right = rng.integers(0, 3, (2, count, 1, 1))
    rows = down + numpy.arange(height)[:, None]
    columns = right + numpy.arange(width)
    return padded[numpy.arange(count)[:, None, None], rows, columns]
