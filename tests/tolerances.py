"""How far a float result may lie from the reference, by algorithm, dtype and length of the sum.

Derived, not tuned. With u the unit roundoff and s the sum of |a| |b| over the n products of one
element, a sum in any order, fused or not, is off by at most n * u * s, and by no more than
lambda * sqrt(n) * u * s with a probability above 1 - 2 exp(-lambda**2 / 2) for an element, since
rounding errors are of either sign (N. Higham and T. Mary, "A new approach to probabilistic
rounding error analysis", 2019). The smaller of the two holds for "direct"; with lambda = 6 a
false alarm comes once in thirty million elements even if the bound were attained.

Winograd multiplies not the inputs but transforms of them, so its rounding errors are those of
products that are larger by a factor, `winograd_growth`, and every output of a tile sees those of
the whole tile: the same n and u, times the growth, times the largest s instead of its own.

The reference is off, too: by one rounding of the result in float32, as it sums in float64, and
by a whole such error in float64.
"""

import itertools
import math

import numpy as np

LAMBDA = 6
UNIT = {np.dtype(np.float32): 2.0**-24, np.dtype(np.float64): 2.0**-53}


# Where src/kernels/winograd_tmpl.h interpolates, beside infinity.
POINTS = (0, 0.75, -0.75, 1.5, -1.5)


def cook_toom(m, r, points=POINTS):
    """The matrices A.T, G, B.T of F(m, r): m outputs of r taps, y = A.T @ ((G @ g) * (B.T @ d)).

    `points`, and infinity as the last, are where the polynomials are interpolated. A.T and G hold
    their powers, B.T the coefficients of the polynomials that are zero at all points but one.
    """
    n = m + r - 1
    assert n == len(points) + 1
    a, g, b = np.zeros((m, n)), np.zeros((n, r)), np.zeros((n, n))
    for k, p in enumerate(points):
        others = [q for q in points if q != p]
        a[:, k] = [float(p) ** i for i in range(m)]
        g[k] = [float(p) ** i / math.prod(p - q for q in others) for i in range(r)]
        b[k, : n - 1] = np.poly(others)[::-1]
    a[m - 1, -1] = g[-1, r - 1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


def winograd_growth(which, points=POINTS):
    """Largest growth of the rms of the products of F(4x4, 3x3) over those of the direct sum.

    Let the operands have independent elements of variance 1. Along one axis product k then has
    the variance |G_k|**2 |B_k|**2, and output i adds A_ik**2 of it, where the direct sum adds r
    ones. In two dimensions the ratio of these variances is squared: it is the growth of the rms.
    dL/dW is the transpose: dy goes through A, and G takes the products to the taps.
    """
    a, g, b = cook_toom(4, 3, points)
    if which == "weight_grad":
        a, g = g.T, a.T
    variance = (a**2) @ ((g**2).sum(axis=1) * (b**2).sum(axis=1))
    return float(variance.max()) / g.shape[1]


# (algorithm, pass): the growth of the products.
PASSES = ("forward", "input_grad", "weight_grad")
GROWTH = {
    **{("direct", which): 1.0 for which in PASSES},
    **{("winograd", which): winograd_growth(which) for which in PASSES},
}


# What "auto" may choose, the least exact of it.
AUTO = {np.dtype(np.float32): "winograd", np.dtype(np.float64): "direct"}


def tolerance(algorithm, which, dtype, length, scale):
    """Largest difference allowed to each element.

    `length` is the number of products in a sum, `scale` the array of the sums of their absolute
    values.
    """
    dtype = np.dtype(dtype)
    if algorithm == "auto":
        algorithm = AUTO[dtype]
    if algorithm == "winograd" and scale.size:
        scale = np.full_like(scale, scale.max())
    sum_error = min(length, LAMBDA * math.sqrt(length)) * UNIT[dtype]
    # Casting either result costs one rounding of a value that is below the scale.
    reference_error = sum_error if dtype == np.float64 else UNIT[dtype]
    return (GROWTH[algorithm, which] * sum_error + reference_error) * scale


def assert_close(got, want, algorithm, which, length, scale):
    """Within the tolerance everywhere; `got` and `want` are finite."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    allowed = tolerance(algorithm, which, got.dtype, length, scale)
    error = abs(got.astype(np.float64) - want.astype(np.float64))
    bad = ~(error <= allowed)  # so that a NaN is bad
    if bad.any():
        where = tuple(int(i[0]) for i in np.nonzero(bad))
        raise AssertionError(
            f"{bad.sum()} of {bad.size} elements of {which} ({algorithm}) are off by more than "
            f"allowed, first {where}: got {got[where]}, want {want[where]}, "
            f"allowed {allowed[where]:.3g}"
        )


def table():
    """The table as text: what a result may be off by, as a share of the sum of |a| |b|."""
    lines = [f"{'algorithm':10} {'pass':12} {'dtype':8} {'n':>7} {'share':>9}"]
    for (algorithm, which), dtype, n in itertools.product(GROWTH, UNIT, (9, 576, 4608, 200704)):
        share = float(tolerance(algorithm, which, dtype, n, np.ones(1))[0])
        lines.append(f"{algorithm:10} {which:12} {dtype!s:8} {n:7} {share:9.1e}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
