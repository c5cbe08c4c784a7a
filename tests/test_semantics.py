"""What the calls mean at the edges, where the libraries differ among themselves."""

import itertools

import numpy as np
import pytest
from helpers import (
    DTYPES,
    PASSES,
    Conv,
    assert_same,
    inputs_of,
    ints,
    operands,
    result_shape,
    run,
    run_python,
)

from fastconv import reference

ONE = np.ones((1, 1, 1, 1), np.float32)


def ones(*shape):
    return np.ones(shape, np.float32)


# ---- empty sums and empty arrays ----


def test_no_image(api):
    x, w, bias = ones(0, 5, 4, 3), ones(3, 2, 3, 6), ones(6)
    y = api.conv2d(x, w, bias)
    assert (y.shape, y.dtype) == ((0, 3, 3, 6), np.float32)
    assert api.conv2d_input_grad(y, w, x.shape).shape == x.shape
    dw = api.conv2d_weight_grad(x, y, (3, 2))
    assert_same(dw, np.zeros_like(w))


@pytest.mark.parametrize("groups", [1, 2])
def test_no_input_channels(api, groups):
    bias = np.arange(4, dtype=np.float32)
    x, w = ones(2, 5, 5, 0), ones(3, 3, 0, 4)
    y = api.conv2d(x, w, bias, groups=groups)
    assert_same(y, np.broadcast_to(bias, (2, 3, 3, 4)))
    assert_same(api.conv2d(x, w, groups=groups), np.zeros((2, 3, 3, 4), np.float32))
    assert api.conv2d_input_grad(y, w, x.shape, groups=groups).shape == x.shape
    assert api.conv2d_weight_grad(x, y, 3, groups=groups).shape == w.shape


@pytest.mark.parametrize("groups", [1, 3])
def test_no_output_channels(api, groups):
    x, w = ones(2, 5, 5, 3), ones(3, 3, 3 // groups, 0)
    y = api.conv2d(x, w, ones(0), groups=groups)
    assert (y.shape, y.dtype) == ((2, 3, 3, 0), np.float32)
    assert_same(api.conv2d_input_grad(y, w, x.shape, groups=groups), np.zeros_like(x))
    assert api.conv2d_weight_grad(x, y, 3, groups=groups).shape == w.shape


@pytest.mark.parametrize("shape", [(1, 0, 4, 2), (1, 4, 0, 2), (1, 0, 0, 2)])
def test_no_pixels_but_padding(api, shape):
    conv = Conv(shape, (2, 2, 2, 3), padding=1)
    a = operands(conv)
    y = api.conv2d(a["x"], a["w"], a["bias"], padding=1)
    assert_same(y, np.broadcast_to(a["bias"], conv.y))
    assert api.conv2d_input_grad(a["dy"], a["w"], shape, padding=1).shape == shape
    assert_same(api.conv2d_weight_grad(a["x"], a["dy"], 2, padding=1), np.zeros_like(a["w"]))


@pytest.mark.parametrize("stride", [1, 3])
def test_same_padding_of_no_pixels_is_no_output(api, stride):
    y = api.conv2d(ones(2, 0, 4, 2), ones(3, 2, 2, 3), padding="same", stride=stride)
    assert y.shape == (2, 0, -(-4 // stride), 3)


@pytest.mark.parametrize("padding", [0, "valid", ((0, 0), (1, 1))])
def test_no_pixels_and_no_output(api, padding):
    with pytest.raises(ValueError, match=r"\b(x|w)\b.* got "):
        api.conv2d(ones(1, 0, 4, 2), ones(1, 1, 2, 3), padding=padding)


# ---- padding ----


def test_padding_is_that_of_numpy_pad(api):
    a = operands(Conv((2, 5, 6, 3), (3, 2, 3, 4), padding=((1, 2), (0, 3))))
    padded = np.pad(a["x"], ((0, 0), (1, 2), (0, 3), (0, 0)))
    kwargs = {"padding": ((1, 2), (0, 3))}
    assert_same(api.conv2d(a["x"], a["w"], **kwargs), api.conv2d(padded, a["w"]))
    dw = api.conv2d_weight_grad(a["x"], a["dy"], (3, 2), **kwargs)
    assert_same(dw, api.conv2d_weight_grad(padded, a["dy"], (3, 2)))
    dx = api.conv2d_input_grad(a["dy"], a["w"], a["x"].shape, **kwargs)
    whole = api.conv2d_input_grad(a["dy"], a["w"], padded.shape)
    assert_same(dx, np.ascontiguousarray(whole[:, 1:-2, :-3]))


def test_padding_forms(api):
    a = operands(Conv((1, 5, 6, 2), (3, 3, 2, 2), padding=1))
    want = api.conv2d(a["x"], a["w"], padding=((1, 1), (1, 1)))
    for padding in (1, (1, 1), [1, 1], [[1, 1], [1, 1]], "same", np.int8(1)):
        assert_same(api.conv2d(a["x"], a["w"], padding=padding), want)
    want = api.conv2d(a["x"], a["w"], padding=((2, 2), (3, 3)))
    assert_same(api.conv2d(a["x"], a["w"], padding=(2, 3)), want)
    want = api.conv2d(a["x"], a["w"], padding=0)
    assert_same(api.conv2d(a["x"], a["w"], padding="valid"), want)
    assert_same(api.conv2d(a["x"], a["w"]), want)


def test_same_is_that_of_tensorflow(api):
    """OH = ceil(H / stride), the total padding is the least for that, its odd element is last."""
    for size, k, s, d in itertools.product(range(1, 12), (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3)):
        window = d * (k - 1) + 1
        outputs = (size + s - 1) // s
        total = max((outputs - 1) * s + window - size, 0)
        pads = ((total // 2, total - total // 2), (0, 0))
        x, w = np.arange(1.0, size + 1).reshape(size, 1, 1), np.arange(1.0, k + 1)
        w = w.reshape(k, 1, 1, 1)
        kwargs = {"stride": (s, 1), "dilation": (d, 1)}
        assert api.conv2d_output_shape(x.shape, w.shape, padding="same", **kwargs)[0] == outputs
        same = api.conv2d(x, w, padding="same", **kwargs)
        assert_same(same, api.conv2d(x, w, padding=pads, **kwargs))


def test_an_infinite_weight_meets_the_padding(api):
    """Zero times infinity is NaN in the border of y; dx multiplies no padding, so it has none."""
    x, w = ones(1, 4, 4, 1), ones(3, 3, 1, 1)
    w[0, 1] = np.inf
    y = api.conv2d(x, w, padding=1)[0, :, :, 0]
    assert np.isnan(y[0]).all()
    assert np.isposinf(y[1:]).all()
    dx = api.conv2d_input_grad(ones(1, 4, 4, 1), w, x.shape, padding=1)[0, :, :, 0]
    assert np.isposinf(dx[:3]).all()
    np.testing.assert_array_equal(dx[3], [4, 6, 6, 4])  # the tap would come from outside of dy


def test_an_infinite_gradient_meets_the_padding(api):
    x, dy = ones(1, 4, 4, 1), ones(1, 4, 4, 1)
    dy[0, 0, 0, 0] = np.inf
    dw = api.conv2d_weight_grad(x, dy, 3, padding=1)[..., 0, 0]
    assert np.isnan(dw[0]).all()
    assert np.isnan(dw[:, 0]).all()
    assert np.isposinf(dw[1:, 1:]).all()


# ---- stride and dilation ----


def test_stride_above_the_kernel(api):
    """What no output reads has no gradient, and a NaN there reaches nothing."""
    conv = Conv((1, 7, 8, 2), (2, 1, 2, 3), stride=(5, 3))
    a = operands(conv)
    read = np.zeros((7, 8), bool)
    read[np.ix_([0, 1, 5, 6], [0, 3, 6])] = True
    dx = api.conv2d_input_grad(a["dy"], abs(a["w"]) + 1, conv.x, stride=(5, 3))
    assert_same(dx[0, ~read], np.zeros_like(dx[0, ~read]))
    clean = {which: run(api, which, conv, a) for which in PASSES}
    a["x"] = np.where(read[None, :, :, None], a["x"], np.float32(np.nan))
    for which in PASSES:
        assert_same(run(api, which, conv, a), clean[which])


def test_a_huge_stride_is_one_output():
    """In a process of its own: a loop over the phases of such a stride would never end."""
    run_python(
        """
        import fastconv, numpy as np
        x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
        one, w = np.ones((1, 1, 1, 1), np.float32), np.ones((2, 2, 1, 1), np.float32)
        for api in (fastconv.reference, fastconv):
            for stride in (10**5, 2**31, 2**40, 2**59):
                y = api.conv2d(x, w, stride=stride)
                assert y.shape == (1, 1, 1, 1) and y == 10
                dx = api.conv2d_input_grad(y, w, x.shape, stride=stride)
                assert dx.sum() == 40 and (dx[0, :2, :2] == 10).all()
                dw = api.conv2d_weight_grad(x, one, 2, stride=stride)
                assert dw.ravel().tolist() == [0, 1, 4, 5]
        """
    )


def test_a_huge_dilation_of_one_tap(api):
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    assert_same(api.conv2d(x, ONE, dilation=2**59), x)
    assert_same(api.conv2d_input_grad(x, ONE, x.shape, dilation=2**59), x)


# ---- one image, bias, out ----


@pytest.mark.parametrize("which", PASSES)
def test_one_image_is_a_batch_of_one(api, which):
    conv = Conv((1, 6, 5, 3), (3, 2, 3, 4), stride=2, padding=1)
    a = operands(conv)
    alone = {k: v[0] if k in ("x", "dy") else v for k, v in a.items()}
    got = run(api, which, Conv(conv.x[1:], conv.w, **conv.kwargs), alone)
    want = run(api, which, conv, a)
    assert_same(got, want if which == "weight_grad" else want[0])


def test_bias_is_added_to_every_pixel(api):
    a = operands(Conv((2, 5, 6, 3), (3, 3, 3, 5)))
    without = api.conv2d(a["x"], a["w"])
    assert_same(api.conv2d(a["x"], a["w"], a["bias"]), without + a["bias"])
    listed = api.conv2d(a["x"], a["w"], bias=a["bias"].tolist())  # a list of floats is float64
    assert_same(listed, without + a["bias"].astype(np.float64))
    nan = np.where(np.arange(5) == 2, np.float32(np.nan), a["bias"])
    y = api.conv2d(a["x"], a["w"], nan)
    assert (np.isnan(y) == (np.arange(5) == 2)).all()


@pytest.mark.parametrize("which", PASSES)
def test_out(api, which):
    conv = Conv((2, 6, 5, 3), (3, 2, 3, 4), padding=1)
    a = operands(conv)
    want = run(api, which, conv, a)
    out = np.full_like(want, np.nan)
    assert run(api, which, conv, a, out=out) is out
    assert_same(out, want)


@pytest.mark.parametrize("which", PASSES)
def test_a_bad_out_is_refused_and_not_written(api, which):
    conv = Conv((2, 6, 5, 3), (3, 3, 3, 3), padding=1)
    a = operands(conv)
    shape = result_shape(which, conv)
    read_only = np.full(shape, 7, np.float32)
    read_only.flags.writeable = False
    swapped = np.dtype(np.float32).newbyteorder()
    bad = [
        (np.full((*shape[:-1], shape[-1] + 1), 7, np.float32), ValueError),
        (np.full(shape[1:], 7, np.float32), ValueError),
        (np.full((1, *shape), 7, np.float32), ValueError),
        (read_only, ValueError),
        (np.full(shape, 7, np.float64), TypeError),
        (np.full(shape, 7, np.int32), TypeError),
        (np.full(shape, 7, swapped), TypeError),
        (np.full(shape, 7, np.float32).tolist(), TypeError),
    ]
    for out, error in bad:
        with pytest.raises(error, match=r"\bout\b.* got "):
            run(api, which, conv, a, out=out)
        assert (np.asarray(out) == 7).all()


@pytest.mark.parametrize("which", PASSES)
def test_an_out_that_overlaps_an_input_is_refused_and_not_written(api, which):
    conv = Conv((2, 6, 6, 3), (3, 3, 3, 3), padding=1)
    for name in inputs_of(which):
        for shift in (0, 1, -1):
            a = operands(conv)
            shape = result_shape(which, conv)
            size, mine = int(np.prod(shape)), a[name].size
            buffer = np.zeros(size + mine + 1, np.float32)
            start = {0: 0, 1: mine - 1, -1: 1}[shift]  # of out; so that one element is shared
            first = 0 if shift >= 0 else size  # of the input
            a[name] = buffer[first : first + mine].reshape(a[name].shape)
            buffer[:] = 3
            before = buffer.copy()
            out = buffer[start : start + size].reshape(shape)
            assert np.shares_memory(out, a[name])
            with pytest.raises(ValueError, match=r"\bout\b.*overlap.* got "):
                run(api, which, conv, a, out=out)
            assert_same(buffer, before)


def test_an_out_beside_an_input_is_welcome(api):
    """As where results are collected in the channels of one buffer: apart, though interleaved."""
    rng = np.random.default_rng(0)
    buffer = ints(rng, (2, 6, 5, 8))
    x, out = buffer[..., :3], buffer[..., 3:]
    w = ints(rng, (3, 3, 3, 5))
    want_x, want = x.copy(), api.conv2d(x.copy(), w, padding=1)
    assert api.conv2d(x, w, padding=1, out=out) is out
    assert_same(np.ascontiguousarray(out), want)
    assert_same(np.ascontiguousarray(x), want_x)


# ---- dtypes ----

PROMOTION = [
    (np.float32, np.float32, np.float32),
    (np.float64, np.float64, np.float64),
    (np.float32, np.float64, np.float64),
    (np.float32, np.float16, np.float32),
    (np.float64, np.float16, np.float64),
    (np.float32, bool, np.float32),
    (np.float32, np.int8, np.float32),
    (np.float32, np.uint16, np.float32),
    (np.float32, np.int32, np.float64),
    (np.float32, np.int64, np.float64),
    (np.float32, np.uint64, np.float64),
    (np.int8, np.int8, np.float64),
    (np.int64, np.uint64, np.float64),
    (bool, bool, np.float64),
    (bool, np.float64, np.float64),
]


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(("first", "second", "want"), PROMOTION)
def test_promotion(api, first, second, want, swap):
    if swap:
        first, second = second, first
    conv = Conv((1, 4, 4, 2), (2, 2, 2, 3))
    rng = np.random.default_rng(0)
    a = {k: rng.integers(0, 2, v.shape).astype(first) for k, v in operands(conv).items()}
    a["w"] = a["w"].astype(second)
    a["bias"] = None
    assert_same(run(api, "forward", conv, a), run(reference, "forward", conv, a).astype(want))
    dx = run(api, "input_grad", conv, a)
    assert_same(dx, run(reference, "input_grad", conv, a).astype(want))
    a["dy"] = a["dy"].astype(second)
    dw = run(api, "weight_grad", conv, a)
    assert_same(dw, run(reference, "weight_grad", conv, a).astype(want))


def test_bias_takes_part_in_promotion(api):
    x, w = ones(1, 3, 3, 1), ones(2, 2, 1, 2)
    for dtype, want in ((np.float64, "f8"), (np.int8, "f4"), (np.int64, "f8"), (np.float16, "f4")):
        y = api.conv2d(x, w, np.array([1, 2], dtype))
        assert y.dtype == want
        np.testing.assert_array_equal(y[0, 0, 0], [5, 6])
    y = api.conv2d(x.astype(int), w.astype(int), np.ones(2, np.float32))
    assert y.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.longdouble, object, "U1", "m8"])
@pytest.mark.parametrize("name", ["x", "w", "bias", "dy"])
def test_other_dtypes_are_refused(api, name, dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("longdouble is float64 on this platform, and computes as such")
    conv = Conv((1, 4, 4, 2), (2, 2, 2, 3))
    a = operands(conv)
    a[name] = np.zeros(a[name].shape, dtype)
    for which in PASSES:
        if name in inputs_of(which):
            with pytest.raises(TypeError, match=rf"\b{name}\b.* got "):
                run(api, which, conv, a)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_arrays_in_c_order(api, dtype):
    conv = Conv((2, 5, 5, 3), (3, 3, 3, 4))
    for which in PASSES:
        result = run(api, which, conv, operands(conv, ints, dtype))
        assert type(result) is np.ndarray
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert result.dtype.isnative
