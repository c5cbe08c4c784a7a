"""Sizes to try a kernel with, which follow from its tile, and what its formula is computed in."""

import numpy as np

STARTS = ("zero", "bias", "out", "out and bias")  # what a sum starts with


def add_start(start, want, before, bias):
    """Add to `want` what its sums start with; what they do not start with must not be read."""
    if "out" in start:
        want += before
        return
    before[...] = np.nan
    if "bias" in start:
        want += bias


def around(*sizes):
    """1, and every size with its neighbours."""
    return sorted({1}.union(*({size - 1, size, size + 1} for size in sizes)) - {0})


def around_vectors(lanes, most):
    """Around every whole number of vectors up to `most` elements."""
    return [n for n in around(*range(lanes, most + 1, lanes)) if n <= most]


def case(**sizes):
    return sizes


def wide(values):
    return values.astype(np.float64)
