"""NaN and infinity stay inside the receptive field they belong to, in all passes and algorithms."""

import numpy as np
import pytest
from helpers import (
    ALGORITHMS,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same,
    inputs_of,
    operands,
    run,
    sum_length,
    sum_scale,
)
from tolerances import assert_close

import fastconv
from fastconv import reference

SPECIALS = np.array([np.nan, np.inf, -np.inf], np.float32)
# Served by every algorithm: whole tiles of 4x4 outputs and cut ones, one image and more.
FOR_EVERY_ALGORITHM = [
    Conv((1, 13, 14, 9), (3, 3, 9, 10), padding=1),
    Conv((2, 8, 8, 16), (3, 3, 16, 16)),
    Conv((1, 4, 4, 3), (3, 3, 3, 5), padding="same"),
]


def sprinkle(array, rng, count):
    """`array` with specials at `count` places."""
    array = array.copy()
    array.ravel()[rng.integers(array.size, size=count)] = rng.choice(SPECIALS, count)
    return array


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("conv", GEOMETRIES, ids=str)
def test_exactly_where_the_reference_has_them(conv, count):
    """Sums of integers with NaN and infinity are the same in any order, too."""
    rng = np.random.default_rng(0)
    for which in PASSES:
        for name in inputs_of(which):
            a = operands(conv)
            a[name] = sprinkle(a[name], rng, count)
            got = run(fastconv, which, conv, a, algorithm="direct")
            assert_same(got, run(reference, which, conv, a))


# Read in place, without padding, where weights are finite: packed at once, in parts, and in slices.
READ_IN_PLACE = [
    Conv((2, 28, 30, 16), (3, 3, 16, 32), padding=1),
    Conv((3, 15, 14, 280), (3, 3, 280, 560), padding=1, stride=(1, 2)),
    Conv((1, 9, 9, 2048), (3, 3, 2048, 65), padding=4, dilation=4),
]


@pytest.mark.parametrize("conv", READ_IN_PLACE, ids=str)
@pytest.mark.parametrize("filters", [slice(0, 1), slice(-1, None)], ids=["first", "last"])
def test_padding_meets_weights_that_are_not_finite(conv, filters):
    layer = fastconv.explain(conv.x, conv.w, **conv.kwargs, algorithm="direct").blocking
    assert (layer["input"], layer["padding"]) == ("read in place", "left out of the sums")
    a = operands(conv)
    a["w"][0, 0, 0, filters] = np.inf
    got = run(fastconv, "forward", conv, a, algorithm="direct")
    assert_same(got, run(reference, "forward", conv, a))


@pytest.mark.parametrize("groups", [1, 7])
@pytest.mark.parametrize("channel", [0, -1])
def test_input_grad_leaves_padding_out_if_the_last_panel_is_not_finite(groups, channel):
    """All weights are packed first, to know that; the last ones are in another panel or group."""
    conv = Conv((1, 14, 13, 140), (7, 7, 140 // groups, 70), padding=3, groups=groups)
    layer = fastconv.explain(conv.x, conv.w, op="input_grad", **conv.kwargs, algorithm="direct")
    assert "padding" in layer.blocking or layer.blocking["weights"].startswith("packed once")
    a = operands(conv)
    a["w"][0, 0, channel, channel] = np.inf
    got = run(fastconv, "input_grad", conv, a, algorithm="direct")
    assert_same(got, run(reference, "input_grad", conv, a))


def test_weights_that_are_not_finite_change_no_sign_with_the_layout():
    """Other filters, whose sums start from a negative zero, meet padding: all of them, or none."""
    x = np.full((3, 7, 7, 64), -0.0, np.float32)
    w = np.ones((3, 3, 64, 256), np.float32)
    w[1, 1, 5, -1] = np.nan
    bias = np.full(256, -0.0, np.float32)
    options = {"padding": 1, "algorithm": "direct"}
    want = fastconv.conv2d(x, w, bias, **options)
    apart = np.repeat(x, 2, axis=3)[..., ::2]
    for got in (
        fastconv.conv2d(apart, w, bias, **options),
        fastconv.conv2d(x[:1], w, bias, **options),
    ):
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want[: len(got)]))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("conv", FOR_EVERY_ALGORITHM, ids=str)
def test_whatever_the_algorithm(conv, algorithm):
    rng = np.random.default_rng(1)
    for which in PASSES:
        for name in inputs_of(which):
            a = operands(conv)
            a[name] = sprinkle(a[name], rng, 2)
            got = run(fastconv, which, conv, a, algorithm=algorithm)
            want = run(reference, which, conv, a)
            special = ~np.isfinite(want)
            np.testing.assert_array_equal(got[special], want[special])
            finite = {k: np.nan_to_num(v, posinf=0, neginf=0) for k, v in a.items()}
            scale = sum_scale(which, conv, finite)[~special]
            length = sum_length(which, conv)
            assert_close(got[~special], want[~special], algorithm, which, length, scale)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_largest_floats_overflow_only_where_they_must(algorithm):
    """A transform of finite inputs may overflow where the direct sum does not."""
    conv = Conv((1, 12, 12, 8), (3, 3, 8, 8), padding=1)
    a = operands(conv)
    a["x"] = np.zeros_like(a["x"])
    a["x"][0, 5, 6, 2] = np.finfo(np.float32).max
    a["w"] = np.where(abs(a["w"]) > 2, np.float32(0.5), np.float32(-0.25))
    got = run(fastconv, "forward", conv, a, algorithm=algorithm)
    want = run(reference, "forward", conv, a)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=np.finfo(np.float32).max * 1e-5)


@pytest.mark.parametrize("which", PASSES)
def test_one_nan_by_hand(api, which):
    """A 3x3 kernel with padding 1: a NaN reaches its 3x3 neighbours, in its own image alone."""
    conv = Conv((2, 8, 9, 2), (3, 3, 2, 4), padding=1)
    a = operands(conv)
    if which == "weight_grad":
        a["x"][1, 0, 0, 1] = np.nan  # the corner: the taps of the last row and column miss it
        got = np.isnan(run(api, which, conv, a))
        want = np.zeros(conv.w, bool)
        want[:2, :2, 1] = True
    else:
        name = {"forward": "x", "input_grad": "dy"}[which]
        a[name][1, 0, 4, 1] = np.nan
        got = np.isnan(run(api, which, conv, a))
        want = np.zeros_like(got)
        want[1, :2, 3:6] = True
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("which", PASSES)
def test_a_nan_stays_in_its_group(api, which):
    for conv in (
        Conv((1, 6, 6, 6), (3, 3, 2, 9), groups=3),
        Conv((1, 6, 6, 40), (3, 3, 1, 40), groups=40),
    ):
        a = operands(conv)
        name = {"forward": "x", "input_grad": "dy", "weight_grad": "x"}[which]
        a[name][0, 2, 2, 3] = np.nan
        depth, width = conv.w[2], conv.w[3] // conv.groups
        group = 3 // (width if which == "input_grad" else depth)
        got = np.isnan(run(api, which, conv, a))
        size = depth if which == "input_grad" else width
        others = np.delete(got, slice(group * size, (group + 1) * size), axis=-1)
        assert got.any()
        assert not others.any()
