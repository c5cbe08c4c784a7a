"""`Conv2D`: what it computes, keeps, draws, refuses and shows."""

from __future__ import annotations

import copy
import pickle

import numpy
import pytest

import fastconv
from fastconv import reference
from fastconv.layers import _sum_pixels

GEOMETRIES = [
    {},
    {"stride": 2, "padding": "same"},
    {"stride": (1, 2), "padding": ((1, 0), (2, 3)), "dilation": (2, 1)},
    {"groups": 2, "padding": 1},
    {"groups": 4, "stride": 3, "padding": (0, 2)},
]


def make(rng=0, **options):
    """Return a layer with 4 channels in, 8 out, and a bias that is not zero."""
    layer = fastconv.Conv2D(4, 8, (3, 2), dtype=numpy.float64, rng=rng, **options)
    layer.bias[:] = numpy.arange(8)
    return layer


@pytest.mark.parametrize("options", GEOMETRIES, ids=str)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one image", "batch"])
def test_forward_and_backward_agree_with_the_reference(options, batch):
    rng = numpy.random.default_rng(1)
    layer = make(**options)
    x = rng.normal(size=(*batch, 9, 8, 4))
    y = layer(x)
    numpy.testing.assert_allclose(
        y, reference.conv2d(x, layer.weight, layer.bias, **options), rtol=0, atol=1e-12
    )
    dy = rng.normal(size=y.shape)
    dx = layer.backward(dy)
    numpy.testing.assert_allclose(
        dx, reference.conv2d_input_grad(dy, layer.weight, x.shape, **options), rtol=0, atol=1e-12
    )
    numpy.testing.assert_allclose(
        layer.weight_grad,
        reference.conv2d_weight_grad(x, dy, (3, 2), **options),
        rtol=0,
        atol=1e-11,
    )
    numpy.testing.assert_allclose(layer.bias_grad, dy.reshape(-1, 8).sum(axis=0), rtol=1e-12)


def test_call_goes_through_forward():
    class Doubled(fastconv.Conv2D):
        def forward(self, x):
            return 2 * super().forward(x)

    x = numpy.ones((5, 5, 3), numpy.float32)
    plain, doubled = fastconv.Conv2D(3, 2, 3, rng=0), Doubled(3, 2, 3, rng=0)
    numpy.testing.assert_array_equal(doubled(x), 2 * plain(x))


def test_gradients_are_those_of_a_loss():
    """Central differences of sum(y * dy) in one weight, one bias and one pixel."""
    rng = numpy.random.default_rng(2)
    layer = make(stride=2, padding="same", groups=2)
    x, step = rng.normal(size=(2, 5, 6, 4)), 1e-5
    dy = rng.normal(size=layer(x).shape)
    dx = layer.backward(dy)
    for values, gradient, index in (
        (layer.weight, layer.weight_grad, (1, 1, 0, 5)),
        (layer.bias, layer.bias_grad, (3,)),
        (x, dx, (1, 2, 3, 2)),
    ):
        kept = values[index]
        losses = []
        for sign in (1, -1):
            values[index] = kept + sign * step
            losses.append(numpy.sum(layer(x) * dy))
        values[index] = kept
        assert gradient[index] == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-7)


def test_without_a_bias():
    layer = fastconv.Conv2D(3, 2, 3, bias=False, rng=0)
    assert layer.bias is None
    y = layer(numpy.zeros((4, 4, 3), numpy.float32))
    numpy.testing.assert_array_equal(y, 0)
    layer.backward(y)
    assert layer.bias_grad is None
    assert layer.weight_grad is not None


def test_input_grad_can_be_left_out():
    layer = make()
    y = layer(numpy.ones((6, 6, 4)))
    assert layer.backward(y, input_grad=False) is None
    assert layer.weight_grad.shape == layer.weight.shape
    assert layer.bias_grad.shape == layer.bias.shape


def test_gradients_are_fresh_not_accumulated():
    layer = make()
    dy = numpy.ones_like(layer(numpy.ones((6, 6, 4))))
    assert layer.weight_grad is None
    assert layer.bias_grad is None
    layer.backward(dy)
    first_weight, first_bias = layer.weight_grad, layer.bias_grad
    kept = first_weight.copy()
    layer.backward(3 * dy)
    numpy.testing.assert_array_equal(layer.weight_grad, 3 * kept)
    numpy.testing.assert_array_equal(first_weight, kept)
    numpy.testing.assert_array_equal(layer.bias_grad, 3 * first_bias)


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
def test_dtype_of_parameters_and_gradients(dtype):
    layer = fastconv.Conv2D(2, 3, 3, dtype=dtype, rng=0)
    assert layer.weight.dtype == layer.bias.dtype == dtype
    y = layer(numpy.ones((5, 5, 2), dtype))
    assert y.dtype == dtype
    assert layer.backward(y).dtype == dtype
    assert layer.weight_grad.dtype == layer.bias_grad.dtype == dtype


def test_mixed_inputs_promote_but_gradients_keep_the_parameters_dtype():
    layer = fastconv.Conv2D(2, 3, 3, rng=0)
    y = layer(numpy.ones((5, 5, 2)))
    assert y.dtype == numpy.float64
    assert layer.backward(y).dtype == numpy.float64
    assert layer.weight_grad.dtype == layer.bias_grad.dtype == numpy.float32


def test_lists_and_views_are_inputs_too():
    layer = make()
    x = numpy.random.default_rng(0).normal(size=(4, 7, 6))  # channels first
    expected = layer(x.transpose(1, 2, 0).copy())
    numpy.testing.assert_array_equal(layer(x.transpose(1, 2, 0)), expected)
    numpy.testing.assert_array_equal(layer(x.transpose(1, 2, 0).tolist()), expected)
    from_array = layer.backward(expected)
    numpy.testing.assert_array_equal(layer.backward(expected.tolist()), from_array)


def test_the_input_is_kept_by_reference():
    layer = make()
    x = numpy.ones((5, 5, 4))
    dy = numpy.ones_like(layer(x))
    layer.backward(dy)
    before = layer.weight_grad
    x *= 2
    layer.backward(dy)
    numpy.testing.assert_array_equal(layer.weight_grad, 2 * before)


# First weights


def test_first_weights_are_he_normal():
    layer = fastconv.Conv2D(64, 256, 3, groups=2, rng=0, dtype=numpy.float64)
    deviation = numpy.sqrt(2 / (3 * 3 * 32))
    count = layer.weight.size
    assert abs(layer.weight.mean()) < 5 * deviation / numpy.sqrt(count)
    assert layer.weight.std() == pytest.approx(deviation, rel=5 / numpy.sqrt(2 * count))
    assert abs(layer.weight).max() > 3 * deviation  # normal, not uniform
    numpy.testing.assert_array_equal(layer.bias, 0)


def test_rng():
    def weight(rng, dtype=numpy.float64):
        return fastconv.Conv2D(3, 4, 3, rng=rng, dtype=dtype).weight

    numpy.testing.assert_array_equal(weight(5), weight(5))
    numpy.testing.assert_array_equal(weight(numpy.random.default_rng(5)), weight(5))
    numpy.testing.assert_array_equal(weight(5, numpy.float32), weight(5).astype(numpy.float32))
    assert not numpy.array_equal(weight(5), weight(6))
    assert not numpy.array_equal(weight(None), weight(None))
    generator = numpy.random.default_rng(5)
    assert not numpy.array_equal(weight(generator), weight(generator))


# State


def test_backward_needs_a_forward():
    layer = make()
    with pytest.raises(RuntimeError, match="call layer\\(x\\) first"):
        layer.backward(numpy.zeros((3, 3, 8)))


def test_a_refused_dy_leaves_the_gradients_alone():
    layer = make()
    y = layer(numpy.ones((6, 6, 4)))
    layer.backward(y)
    kept = layer.weight_grad, layer.bias_grad
    with pytest.raises(ValueError, match="got"):
        layer.backward(y[1:])
    assert layer.weight_grad is kept[0]
    assert layer.bias_grad is kept[1]


def test_a_refused_x_leaves_the_last_forward_alone():
    layer = make()
    y = layer(numpy.ones((6, 6, 4)))
    with pytest.raises(ValueError, match="got"):
        layer(numpy.ones((6, 6, 3)))
    assert layer.backward(y).shape == (6, 6, 4)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, copy.copy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_copies_and_pickles(twin):
    layer = make(padding="same", stride=2)
    x = numpy.ones((64, 64, 4))
    y = layer(x)
    layer.backward(y)
    other = twin(layer)
    assert repr(other) == repr(layer)
    numpy.testing.assert_array_equal(other.weight_grad, layer.weight_grad)
    with pytest.raises(RuntimeError):
        other.backward(y)
    numpy.testing.assert_array_equal(other(x), y)


def test_a_pickle_has_no_input_in_it():
    layer = make()
    size = len(pickle.dumps(layer))
    layer(numpy.ones((64, 64, 4)))
    assert len(pickle.dumps(layer)) == size


# repr


@pytest.mark.parametrize(
    "text",
    [
        "Conv2D(3, 16, 3)",
        "Conv2D(4, 8, (3, 5), stride=2, padding='same', dilation=(1, 2), groups=2)",
        "Conv2D(4, 8, 1, padding=1, bias=False, dtype='float64', rng=7)",
        "Conv2D(4, 8, 3, padding=(1, 2))",
        "Conv2D(4, 8, 3, padding=((1, 2), (1, 2)))",
        "Conv2D(4, 8, 3, padding=((1, 1), (1, 2)))",
    ],
)
def test_repr_is_the_call(text):
    layer = eval(text, {"Conv2D": fastconv.Conv2D})
    assert repr(layer) == text


def test_repr_is_brief():
    layer = fastconv.Conv2D(
        3, 4, [3, 3], stride=(2, 2), padding="valid", dilation=numpy.int64(1), rng=None
    )
    assert repr(layer) == "Conv2D(3, 4, 3, stride=2)"


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"in_channels": -1}, ValueError, "in_channels"),
        ({"in_channels": 4.0}, TypeError, "in_channels"),
        ({"out_channels": "8"}, TypeError, "out_channels"),
        ({"out_channels": True}, TypeError, "out_channels"),
        ({"kernel_size": 0}, ValueError, "kernel_size"),
        ({"kernel_size": (3, -1)}, ValueError, "kernel_size"),
        ({"kernel_size": (3, 3, 3)}, ValueError, "kernel_size"),
        ({"kernel_size": "33"}, TypeError, "kernel_size"),
        ({"kernel_size": 2.5}, TypeError, "kernel_size"),
        ({"kernel_size": 2**30}, ValueError, "kernel_size"),
        ({"stride": 0}, ValueError, "stride"),
        ({"stride": 1.5}, TypeError, "stride"),
        ({"padding": -1}, ValueError, "padding"),
        ({"padding": "full"}, ValueError, "padding"),
        ({"padding": (1, 2, 3)}, ValueError, "padding"),
        ({"dilation": 0}, ValueError, "dilation"),
        ({"dilation": None}, TypeError, "dilation"),
        ({"groups": 0}, ValueError, "groups"),
        ({"groups": 3}, ValueError, "groups"),
        ({"out_channels": 6, "groups": 4}, ValueError, "groups"),
        ({"bias": numpy.zeros(8)}, TypeError, "bias"),
        ({"dtype": numpy.float16}, TypeError, "dtype"),
        ({"dtype": "complex64"}, TypeError, "dtype"),
        ({"dtype": int}, TypeError, "dtype"),
        ({"dtype": None}, TypeError, "dtype"),
        ({"dtype": "no such type"}, TypeError, "dtype"),
        ({"rng": -1}, ValueError, "rng"),
        ({"rng": "seed"}, TypeError, "rng"),
        ({"rng": 0.5}, TypeError, "rng"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_when_the_layer_is_made(arguments, error, named):
    good = {"in_channels": 4, "out_channels": 8, "kernel_size": 3}
    with pytest.raises(error, match=rf"(?s){named}.*\bgot "):
        fastconv.Conv2D(**(good | arguments))


# Sizes of zero


def test_empty_batch():
    layer = make()
    y = layer(numpy.empty((0, 6, 6, 4)))
    assert y.shape == (0, 4, 5, 8)
    assert layer.backward(y).shape == (0, 6, 6, 4)
    numpy.testing.assert_array_equal(layer.weight_grad, 0)
    numpy.testing.assert_array_equal(layer.bias_grad, 0)


@pytest.mark.parametrize(("channels", "outputs"), [(0, 3), (3, 0)])
def test_no_channels(channels, outputs):
    layer = fastconv.Conv2D(channels, outputs, 3, rng=0)
    y = layer(numpy.ones((5, 5, channels), numpy.float32))
    assert y.shape == (3, 3, outputs)
    assert layer.backward(y).shape == (5, 5, channels)
    assert layer.bias_grad.shape == (outputs,)


# The bias gradient


@pytest.mark.parametrize("channels", [1, 3, 16, 64, 255, 256, 600])
@pytest.mark.parametrize("pixels", [(1, 1), (9, 7), (61, 67)])
def test_bias_gradient_is_the_float32_nearest_to_the_sum(channels, pixels):
    dy = numpy.random.default_rng(0).normal(1, 1, (*pixels, channels)).astype(numpy.float32)
    exact = dy.astype(numpy.float64).reshape(-1, channels).sum(axis=0)
    numpy.testing.assert_array_equal(_sum_pixels(dy).astype(numpy.float32), exact.astype("f4"))


def test_bias_gradient_does_not_depend_on_the_layout_of_dy():
    dy = numpy.random.default_rng(0).normal(size=(2, 33, 31, 5))
    turned = numpy.ascontiguousarray(dy.transpose(3, 0, 2, 1)).transpose(1, 3, 2, 0)
    numpy.testing.assert_array_equal(_sum_pixels(turned), _sum_pixels(dy))
