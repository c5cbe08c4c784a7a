"""Bit for bit: on small integers every order of summation gives the value of the reference."""

import itertools
import mmap

import guarded
import numpy as np
import pytest
from helpers import DTYPES, GEOMETRIES, PASSES, Conv, assert_same, ints, operands, run

import fastconv
from fastconv import reference

# Sizes around one and two register tiles of every instruction set: rows are tiled by 4 to 12
# pixels, output channels by 4 to 32, depthwise channels by 2 to 64.
AROUND_TILES = (1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 65)


def check(conv, dtype, algorithm="direct", seed=0):
    """All three passes of one convolution against the reference."""
    a = operands(conv, ints, dtype, seed)
    for which in PASSES:
        got = run(fastconv, which, conv, a, algorithm=algorithm)
        want = run(reference, which, conv, a)
        # Beyond this a float32 sum would have to round, and the comparison would mean nothing.
        assert abs(want).max(initial=0) < 2**24
        try:
            assert_same(got, want)
        except AssertionError as error:
            raise AssertionError(f"{which} of {conv} differs") from error


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", GEOMETRIES, ids=str)
def test_geometries(conv, dtype):
    check(conv, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", GEOMETRIES, ids=str)
def test_one_image_without_a_batch_axis(conv, dtype):
    check(Conv(conv.x[-3:], conv.w, **conv.kwargs), dtype)


@pytest.mark.parametrize("filters", [1, 2, 6])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "kernel", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3), (4, 5), (5, 5), (11, 11)], ids=str
)
def test_few_channels(kernel, channels, filters):
    for stride, padding in ((1, 0), (2, "same"), (4, ((1, 0), (2, 3)))):
        check(Conv((1, 13, 14, channels), (*kernel, channels, filters), stride, padding), "f4")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", AROUND_TILES)
def test_output_channels_around_the_tiles(filters, dtype):
    check(Conv((1, 4, 5, 5), (3, 2, 5, filters), padding=1), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filters", [17, 18, 24, 31, 34, 40, 48, 50, 72])
@pytest.mark.parametrize("channels", [1, 3, 9, 24, 64])
def test_output_channels_beyond_whole_tiles_of_weight_grad(channels, filters, dtype):
    check(Conv((2, 7, 9, channels), (3, 3, channels, filters), padding=1), dtype)


@pytest.mark.skipif(not guarded.CAN_PROTECT, reason="pages cannot be protected here")
@pytest.mark.parametrize("filters", [1, 6, 12, 24, 40])
@pytest.mark.parametrize("images", [1, 3])
def test_weight_grad_reads_nothing_beyond_dy(images, filters):
    conv = Conv((images, 24, 33, 3), (3, 3, 3, filters))
    a = operands(conv, ints, "f4")
    want = run(reference, "weight_grad", conv, a)
    arena = guarded.Arena(1, a["dy"].nbytes // mmap.PAGESIZE + 1)
    ends_at_a_protected_page = np.frombuffer(
        arena.memory, "f4", a["dy"].size, arena.step - a["dy"].nbytes
    ).reshape(a["dy"].shape)
    ends_at_a_protected_page[...] = a["dy"]
    a["dy"] = ends_at_a_protected_page
    assert_same(run(fastconv, "weight_grad", conv, a, algorithm="direct"), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", AROUND_TILES)
def test_input_channels_around_the_tiles(channels, dtype):
    check(Conv((1, 4, 5, channels), (3, 2, channels, 5), padding=1), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", AROUND_TILES)
def test_pixels_around_the_tiles(width, dtype):
    check(Conv((1, 3, width, 3), (3, 3, 3, 7), padding=1), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [*AROUND_TILES, 64, 127, 128, 130])
def test_depthwise_channels_around_the_tiles(channels, dtype):
    check(Conv((1, 5, 6, channels), (3, 3, 1, channels), 1, 1, 1, channels), dtype)


@pytest.mark.parametrize("multiplier", [1, 2, 3, 5, 8, 16, 20])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_depthwise_multipliers(multiplier, stride):
    for kernel in ((1, 1), (3, 3), (5, 2)):
        conv = Conv((2, 8, 9, 9), (*kernel, 1, 9 * multiplier), stride, "same", 1, 9)
        check(conv, "f4")


@pytest.mark.parametrize("groups", [2, 3, 8, 32])
def test_groups(groups):
    for depth, width in itertools.product((1, 2, 5), repeat=2):
        check(Conv((1, 6, 5, groups * depth), (3, 3, depth, groups * width), 1, 1, 1, groups), "f4")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("depth", "width"), [(2, 4), (4, 2), (3, 4), (8, 2), (4, 8), (16, 8)])
def test_groups_of_another_number_of_outputs(depth, width, stride):
    for kernel in ((1, 1), (3, 3), (2, 5)):
        conv = Conv((2, 6, 19, 16 * depth), (*kernel, depth, 16 * width), stride, "same", 1, 16)
        check(conv, "f4")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [2, 3, 5, 7, 8, 12, 24])
def test_depthwise_with_many_taps_over_few_channels(channels, stride):
    for kernel in ((5, 5), (7, 7), (1, 4)):
        conv = Conv((2, 9, 50, channels), (*kernel, 1, channels), stride, "same", 1, channels)
        check(conv, "f4")


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_stride_and_dilation_with_every_small_size(stride, dilation):
    # Every size from the smallest that fits: where the last window ends differs each time.
    for size in range(dilation * 2 + 1, dilation * 2 + 9):
        check(Conv((1, size, size + 1, 2), (3, 3, 2, 3), stride, 0, dilation), "f4")


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 3), (1, 5), (6, 4)], ids=str)
def test_every_combination_of_four_paddings(kernel):
    for top, bottom, left, right in itertools.product((0, 1, 3), repeat=4):
        padding = ((top, bottom), (left, right))
        check(Conv((1, 6, 5, 2), (*kernel, 2, 3), (2, 1), padding), "f4")


@pytest.mark.parametrize(
    "conv",
    [
        Conv((2, 28, 30, 64), (3, 3, 64, 96), padding=1),  # many pixels: threads share the weights
        Conv((2, 7, 7, 160), (3, 3, 160, 200), padding=1),  # many weights: threads share the pixels
        Conv((1, 40, 44, 32), (1, 1, 32, 80)),
        Conv((2, 60, 61, 40), (3, 3, 1, 40), padding=1, groups=40),
    ],
    ids=str,
)
def test_larger_than_a_block(conv):
    check(conv, "f4")


def test_integers_and_bools_are_computed_in_float64():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-(2**20), 2**20, (1, 5, 5, 3)), rng.integers(-99, 99, (3, 3, 3, 4))
    assert_same(fastconv.conv2d(x, w), reference.conv2d(x.astype(float), w.astype(float)))
    assert_same(fastconv.conv2d(x > 0, w > 0), reference.conv2d(x > 0, w > 0))


@pytest.mark.parametrize("conv", GEOMETRIES, ids=str)
def test_out_gets_the_same(conv):
    a = operands(conv)
    for which in PASSES:
        want = run(reference, which, conv, a)
        out = np.full_like(want, np.nan)  # whatever it held must not enter the result
        assert run(fastconv, which, conv, a, out=out, algorithm="direct") is out
        assert_same(out, want)
