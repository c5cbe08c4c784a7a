"""The reference against definitions that are plainer still, and against finite differences."""

import doctest
import itertools

import numpy as np
import pytest
from helpers import GEOMETRIES, PASSES, Conv, assert_same, floats, ints, operands, run

from fastconv import reference


def by_the_formula(conv, a):
    """All three results by the sum over single products; what lies in the padding is zero."""
    kh, kw, depth, filters = conv.w
    height, width = conv.x[1:3]
    (sh, sw), (dh, dw) = ((v, v) if isinstance(v, int) else v for v in (conv.stride, conv.dilation))
    (top, _), (left, _) = conv.padding
    y, dx, dw_ = np.zeros(conv.y), np.zeros(conv.x), np.zeros(conv.w)
    y += a["bias"]
    for n, p, q, o in np.ndindex(*conv.y):
        group = o // (filters // conv.groups)
        for i, j, c in np.ndindex(kh, kw, depth):
            row, column = p * sh + i * dh - top, q * sw + j * dw - left
            if 0 <= row < height and 0 <= column < width:
                at = (n, row, column, group * depth + c)
                y[n, p, q, o] += a["x"][at] * a["w"][i, j, c, o]
                dx[at] += a["dy"][n, p, q, o] * a["w"][i, j, c, o]
                dw_[i, j, c, o] += a["dy"][n, p, q, o] * a["x"][at]
    return {"forward": y, "input_grad": dx, "weight_grad": dw_}


FORMULA_CASES = [
    Conv((2, 5, 4, 3), (3, 2, 3, 2), padding=((0, 0), (0, 0))),
    Conv((1, 5, 6, 2), (2, 3, 2, 3), stride=(2, 1), padding=((2, 0), (1, 3))),
    Conv((1, 8, 7, 2), (3, 2, 2, 1), stride=3, dilation=(2, 4), padding=((1, 2), (0, 1))),
    Conv((1, 7, 7, 1), (2, 2, 1, 2), stride=4, padding=((0, 0), (1, 0))),
    Conv((1, 4, 5, 4), (2, 2, 2, 6), groups=2, padding=((1, 1), (0, 0))),
    Conv((2, 4, 4, 3), (3, 3, 1, 6), groups=3, dilation=2, padding=((2, 2), (2, 2))),
]


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", FORMULA_CASES, ids=str)
def test_the_formula(conv, which):
    a = operands(conv, dtype=np.float64)
    assert_same(run(reference, which, conv, a), by_the_formula(conv, a)[which])


@pytest.mark.parametrize("conv", [*FORMULA_CASES, GEOMETRIES[0]], ids=str)
def test_gradients_by_finite_differences(api, conv):
    """Of the loss L = sum of y**2 / 2, for which dL/dy = y.

    L is quadratic in each single element, so central differences have no error but rounding:
    about eps * L / step, L below 1e4 here.
    """
    a = operands(conv, floats, np.float64)
    a["dy"] = run(api, "forward", conv, a)
    for name, which in (("x", "input_grad"), ("w", "weight_grad")):
        gradient = run(api, which, conv, a)
        assert gradient.shape == a[name].shape
        rng = np.random.default_rng(1)
        for _ in range(40):
            at = tuple(rng.integers(size) for size in a[name].shape)
            loss = []
            for step in (-0.5, 0.5):
                moved = {**a, name: a[name].copy()}
                moved[name][at] += step
                loss.append(0.5 * float(np.sum(run(api, "forward", conv, moved) ** 2)))
            assert loss[1] - loss[0] == pytest.approx(gradient[at], rel=0, abs=1e-10)


def test_the_worked_example(api):
    """x is (5, 5, 3), and there are 16 filters of (3, 3, 3)."""
    rng = np.random.default_rng(0)
    x, w, bias = ints(rng, (5, 5, 3)), ints(rng, (3, 3, 3, 16)), ints(rng, 16)
    y = api.conv2d(x, w, bias)
    assert y.shape == (3, 3, 16)
    for p, q, o in np.ndindex(3, 3, 16):
        assert y[p, q, o] == np.sum(x[p : p + 3, q : q + 3] * w[..., o]) + bias[o]

    dy = ints(rng, y.shape)
    dw = api.conv2d_weight_grad(x, dy, 3)
    assert dw.shape == w.shape
    for i, j, o in np.ndindex(3, 3, 16):
        window = x[i : i + 3, j : j + 3]
        np.testing.assert_array_equal(dw[i, j, :, o], np.einsum("pqc,pq->c", window, dy[..., o]))

    # The answer the question got: dL/dx of each filter by itself, then their sum.
    dx = api.conv2d_input_grad(dy, w, x.shape)
    assert dx.shape == x.shape
    single = [api.conv2d_input_grad(dy[..., [o]], w[..., [o]], x.shape) for o in range(16)]
    np.testing.assert_array_equal(dx, sum(single))


def test_numbers_worked_out_by_hand(api):
    x = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=np.float32)[..., None]
    w = np.array([[1, 10], [100, 1000]], dtype=np.float32)[..., None, None]
    y = api.conv2d(x, w)
    # Not turned round: the first weight meets the first pixel.
    np.testing.assert_array_equal(y[..., 0], [[5421, 6532], [8754, 9865]])
    dx = api.conv2d_input_grad(np.ones_like(y), w, x.shape)
    np.testing.assert_array_equal(dx[..., 0], [[1, 11, 10], [101, 1111, 1010], [100, 1100, 1000]])
    dw = api.conv2d_weight_grad(x, np.ones_like(y), 2)
    np.testing.assert_array_equal(dw[..., 0, 0], [[12, 16], [24, 28]])


def test_a_strided_convolution_is_a_convolution_and_a_choice(api):
    a = operands(Conv((1, 9, 11, 3), (3, 2, 3, 4)))
    every = api.conv2d(a["x"], a["w"])
    for sh, sw in itertools.product((1, 2, 3, 4), repeat=2):
        chosen = api.conv2d(a["x"], a["w"], stride=(sh, sw))
        np.testing.assert_array_equal(chosen, every[:, ::sh, ::sw])


def test_a_dilated_convolution_is_one_with_zeros_between_the_taps(api):
    a = operands(Conv((1, 9, 11, 3), (3, 2, 3, 4)))
    spread = np.zeros((5, 4, 3, 4), np.float32)
    spread[::2, ::3] = a["w"]
    want = api.conv2d(a["x"], spread)
    np.testing.assert_array_equal(api.conv2d(a["x"], a["w"], dilation=(2, 3)), want)


def test_groups_are_convolutions_side_by_side(api):
    a = operands(Conv((2, 5, 6, 6), (2, 3, 2, 9), groups=3))
    parts = [
        api.conv2d(a["x"][..., 2 * k : 2 * k + 2], a["w"][..., 3 * k : 3 * k + 3]) for k in range(3)
    ]
    got = api.conv2d(a["x"], a["w"], groups=3)
    np.testing.assert_array_equal(got, np.concatenate(parts, axis=-1))


def test_the_examples_in_the_docstrings():
    results = doctest.testmod(reference)
    assert results.attempted >= 4
    assert results.failed == 0
