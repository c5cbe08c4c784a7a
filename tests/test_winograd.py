"""Winograd's algorithm: tiles of every kind, invariance, error, falling back on the direct sum."""

import itertools

import numpy as np
import pytest
from helpers import (
    DTYPES,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same,
    assert_same_bits,
    floats,
    inputs_of,
    operands,
    run,
    run_python,
    served_by,
    sum_length,
    sum_scale,
)
from tolerances import assert_close

import fastconv
from fastconv import reference

LARGER = [  # several blocks, pieces of dL/dW, parts of the weights, slices of them and of K
    Conv((3, 41, 43, 24), (3, 3, 24, 40), padding=1),
    Conv((1, 7, 9, 130), (3, 3, 130, 150), padding=1),
    Conv((1, 8, 7, 36), (3, 3, 12, 60), padding=1, groups=3),
    Conv((2, 26, 30, 300), (3, 3, 300, 280), padding=1),
    Conv((2, 35, 33, 36), (3, 3, 12, 60), padding=2, dilation=2, groups=3),
    Conv((5, 13, 15, 1100), (3, 3, 1100, 70), padding=1),
    # Pairs of pixels and single ones.
    Conv((3, 33, 31, 230), (3, 3, 230, 170), padding=18, dilation=18),
    # Kernels of several squares.
    Conv((3, 31, 29, 24), (5, 5, 24, 40), padding=2),
    Conv((1, 14, 15, 200), (7, 7, 200, 50), padding=3),
    Conv((2, 9, 17, 36), (4, 8, 12, 60), padding=(2, 4), dilation=(2, 1), groups=3),
    Conv((2, 24, 25, 300), (5, 2, 300, 280), padding=1),
    # Kernels of a single row or column of taps.
    Conv((3, 29, 31, 40), (1, 3, 40, 150), padding=(0, 1)),
    Conv((2, 26, 30, 300), (3, 1, 300, 280), padding=(1, 0)),
    Conv((1, 17, 15, 230), (1, 7, 230, 170), padding=(0, 3)),
    Conv((2, 33, 35, 36), (5, 1, 12, 60), padding=(4, 1), dilation=(2, 3), groups=3),
]


@pytest.fixture(autouse=True)
def _restore_the_settings():
    threads = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(threads)
    fastconv.set_default_algorithm("auto")


def winograd(which, conv, a, **more):
    return run(fastconv, which, conv, a, algorithm="winograd", **more)


def check(conv, dtype=np.float32):
    a = operands(conv, floats, dtype)
    for which in PASSES:
        want = run(reference, which, conv, a)
        scale, length = sum_scale(which, conv, a), sum_length(which, conv)
        assert_close(winograd(which, conv, a), want, "winograd", which, length, scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", [*served_by("winograd", GEOMETRIES), *LARGER], ids=str)
def test_within_the_tolerance(conv, dtype):
    check(conv, dtype)


def test_every_way_an_image_ends():
    """Tiles of 4, 3 and 2 outputs along both axes, whole and cut."""
    for height, width in itertools.product(range(1, 11), repeat=2):
        check(Conv((2, height + 2, width + 2, 5), (3, 3, 5, 6)))


@pytest.mark.parametrize("taps", list(itertools.product((1, 2, 3, 4, 5, 7), repeat=2))[1:])
def test_every_way_a_kernel_ends(taps):
    """Squares of three, two and one taps along both axes; more taps than pixels."""
    for height, width in ((9, 11), (6, 5)):
        check(Conv((2, height, width, 5), (*taps, 5, 6), padding=3))


@pytest.mark.parametrize("dilation", [1, 2, 3, (4, 1)])
def test_every_padding_and_dilation(dilation):
    for pad in ((0, 0), (1, 0), (2, 3), (0, 5)):
        check(Conv((1, 9, 10, 6), (3, 3, 6, 4), padding=(pad, pad[::-1]), dilation=dilation))


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("size", [(10, 10), (8, 9), (10, 7), (6, 5)])
def test_pairs_of_small_integers_are_exact(size, which):
    """Their matrices have ones alone; those of longer tiles have factors that round."""
    conv = Conv((2, *size, 20), (3, 3, 20, 18), padding=5, dilation=5)
    said = fastconv.explain(conv.x, conv.w, op=which, algorithm="winograd", **conv.kwargs)
    assert "9 points" in said.blocking["tiles"]
    a = operands(conv)
    assert_same(winograd(which, conv, a), run(reference, which, conv, a))
    longer = Conv((2, 11, 10, 20), (3, 3, 20, 18), padding=5, dilation=5)
    a = operands(longer)
    assert (winograd(which, longer, a) != run(reference, which, longer, a)).any()


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", LARGER, ids=str)
def test_any_number_of_threads_gives_the_same_bits(conv, which):
    for dtype in DTYPES:
        a = operands(conv, floats, dtype)
        fastconv.set_num_threads(1)
        want = winograd(which, conv, a)
        for n in (2, 3, 16):
            fastconv.set_num_threads(n)
            assert_same_bits(winograd(which, conv, a), want)


@pytest.mark.parametrize("which", ["forward", "input_grad"])
@pytest.mark.parametrize("taps", [3, 5])
def test_an_image_of_few_tiles_has_the_same_bits_alone(which, taps):
    """Alone its weights are multiplied as they are transformed, among others written down first."""
    more = {"padding": taps // 2}
    for height, width in ((4, 4), (6, 4), (2, 7), (5, 3), (7, 7), (6, 5), (3, 12)):
        conv = Conv((40, height, width, 38), (taps, taps, 38, 50), **more)
        a = operands(conv, floats)
        name = "x" if which == "forward" else "dy"
        want = winograd(which, conv, a)
        for images in (1, 2, 9):
            some = Conv((images, height, width, 38), (taps, taps, 38, 50), **more)
            assert_same_bits(winograd(which, some, {**a, name: a[name][:images]}), want[:images])


@pytest.mark.parametrize("which", PASSES)
def test_any_layout_gives_the_same_bits(which):
    for conv in (*served_by("winograd", GEOMETRIES), LARGER[0]):
        a = operands(conv, floats)
        want = winograd(which, conv, a)
        for name in inputs_of(which):
            planar = np.ascontiguousarray(a[name].swapaxes(0, -1)).swapaxes(0, -1)
            backwards = np.ascontiguousarray(a[name][..., ::-1])[..., ::-1]
            for moved in (planar, backwards, np.repeat(a[name], 2, axis=-1)[..., ::2]):
                assert_same_bits(winograd(which, conv, {**a, name: moved}), want)


# ---- NaN, infinity, overflow ----


@pytest.mark.parametrize("which", ["forward", "input_grad"])
def test_an_image_that_is_not_finite_is_computed_directly_and_no_other(which):
    conv = Conv((4, 13, 14, 20), (3, 3, 20, 24), padding=1)
    a = operands(conv, floats)
    want = winograd(which, conv, a)
    name = {"forward": "x", "input_grad": "dy"}[which]
    for value in (np.nan, np.inf, np.finfo(np.float32).max):
        touched = {**a, name: a[name].copy()}
        touched[name][2, 5, 6, 7] = value
        got = winograd(which, conv, touched)
        direct = run(fastconv, which, conv, touched, algorithm="direct")
        assert_same_bits(got[[0, 1, 3]], want[[0, 1, 3]])
        assert_same_bits(got[2], direct[2])


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", [LARGER[0], LARGER[1]], ids=str)
def test_what_all_images_share_is_computed_directly_if_not_finite(conv, which):
    a = operands(conv, floats)
    name = "dy" if which == "weight_grad" else "w"
    for value in (np.nan, -np.inf):
        touched = {**a, name: a[name].copy()}
        touched[name][..., 1, 3] = value
        want = run(fastconv, which, conv, touched, algorithm="direct")
        for n in (1, 2):
            fastconv.set_num_threads(n)
            assert_same_bits(winograd(which, conv, touched), want)


def test_weights_that_overflow_when_transformed():
    conv = Conv((1, 8, 8, 4), (3, 3, 4, 4), padding=1)
    a = operands(conv, floats)
    a["w"][...] = np.finfo(np.float32).max
    a["x"][...] = np.float32(1e-3)
    got = winograd("forward", conv, a)
    assert_same_bits(got, run(fastconv, "forward", conv, a, algorithm="direct"))
    assert np.isfinite(got).any()


# ---- the error ----


def largest_error(which, channels, scale=1.0, pixels=24, taps=3):
    """Largest difference from float64, as a share of the largest result; normal data."""
    rng = np.random.default_rng(channels)
    taps = taps if isinstance(taps, tuple) else (taps, taps)
    padding = tuple(n // 2 for n in taps)
    conv = Conv((1, pixels, pixels, channels), (*taps, channels, 16), padding=padding)
    if which == "input_grad":  # sums over what the forward pass gives
        conv = Conv((1, pixels, pixels, 16), (*taps, 16, channels), padding=padding)
    shapes = {"x": conv.x, "w": conv.w, "dy": conv.y}
    a = {k: (scale * rng.standard_normal(v)).astype(np.float32) for k, v in shapes.items()}
    a["bias"] = None
    wide = {k: None if v is None else v.astype(np.float64) for k, v in a.items()}
    want = run(fastconv, which, conv, wide, algorithm="direct")
    return float(abs(winograd(which, conv, a) - want).max() / abs(want).max())


@pytest.mark.parametrize("which", PASSES)
def test_the_error_is_bounded_and_grows_no_faster_than_the_root(which):
    errors = {channels: largest_error(which, channels) for channels in (16, 64, 256, 1024)}
    for channels, error in errors.items():
        assert error <= 1e-5 * max(channels / 64, 1) ** 0.5, errors


@pytest.mark.parametrize("taps", [2, 4, 5, 7, 9, (1, 3), (7, 1)])
@pytest.mark.parametrize("which", PASSES)
def test_the_error_of_other_kernels(which, taps):
    assert largest_error(which, 64, taps=taps) <= 1e-5


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e3, 1e10])
@pytest.mark.parametrize("which", PASSES)
def test_the_error_does_not_depend_on_the_scale(which, scale):
    assert largest_error(which, 64, scale) <= 1e-5


# ---- the choice ----


def test_auto_takes_it_for_float32_alone():
    conv = LARGER[0]
    for which, dtype in itertools.product(PASSES, DTYPES):
        a = operands(conv, floats, dtype)
        chosen = "winograd" if dtype == np.float32 else "direct"
        got = run(fastconv, which, conv, a)
        assert_same_bits(got, run(fastconv, which, conv, a, algorithm=chosen))
        other = {"winograd": "direct", "direct": "winograd"}[chosen]
        assert (got != run(fastconv, which, conv, a, algorithm=other)).any()
        assert fastconv.explain(conv.x, conv.w, op=which, dtype=dtype, **conv.kwargs).algorithm == (
            chosen
        )


@pytest.mark.parametrize("default", ["auto", "direct", "winograd"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_default_is_what_auto_means(default, dtype):
    conv = LARGER[0]
    a = operands(conv, floats, dtype)
    fastconv.set_default_algorithm(default)
    assert fastconv.get_default_algorithm() == default
    chosen = "winograd" if dtype == np.float32 else "direct"
    want = run(fastconv, "forward", conv, a, algorithm=chosen if default == "auto" else default)
    assert_same_bits(run(fastconv, "forward", conv, a), want)
    # A default cannot make a call fail that it does not suit.
    conv = Conv((1, 9, 9, 4), (1, 1, 4, 4))
    a = operands(conv, floats, dtype)
    assert_same_bits(
        run(fastconv, "forward", conv, a), run(fastconv, "forward", conv, a, algorithm="direct")
    )


def test_a_bad_default_is_refused():
    for bad, error in (("best", ValueError), (None, TypeError), (1, TypeError)):
        with pytest.raises(error, match=r"^algorithm must be one of auto, direct, winograd, got "):
            fastconv.set_default_algorithm(bad)
    assert fastconv.get_default_algorithm() == "auto"


@pytest.mark.parametrize("value", ["direct", "winograd", None, ""])
def test_the_environment_sets_the_default(value):
    code = "import fastconv; print(fastconv.get_default_algorithm())"
    assert run_python(code, FASTCONV_ALGORITHM=value) == f"{value or 'auto'}\n"


def test_a_bad_variable_is_refused_at_import():
    code = """
        try:
            import fastconv
        except ValueError as error:
            print(error)
    """
    want = "FASTCONV_ALGORITHM must be one of auto, direct, winograd, got 'best'\n"
    assert run_python(code, FASTCONV_ALGORITHM="best") == want
