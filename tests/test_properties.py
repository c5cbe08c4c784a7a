"""Sweeps over geometry with hypothesis: against the reference, and the adjoint identities."""

import numpy as np
import pytest
from helpers import (
    ALGORITHMS,
    DTYPES,
    PASSES,
    Conv,
    assert_same,
    floats,
    inputs_of,
    ints,
    operands,
    result_shape,
    run,
    scattered,
    sum_length,
    sum_scale,
)
from hypothesis import given
from hypothesis import strategies as st
from tolerances import LAMBDA, UNIT, assert_close, cook_toom, tolerance

import fastconv
from fastconv import reference

KERNELS, STRIDES, DILATIONS = st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)


@st.composite
def convs(draw, kernels=KERNELS, strides=STRIDES, dilations=DILATIONS):
    """Any convolution that has an output, small enough for the reference to be quick."""
    kernel = draw(st.tuples(kernels, kernels))
    stride = draw(st.one_of(strides, st.tuples(strides, strides)))
    dilation = draw(st.one_of(dilations, st.tuples(dilations, dilations)))
    side = st.integers(0, 4)
    padding = draw(
        st.one_of(
            st.sampled_from([0, "same", "valid"]),
            st.tuples(side, side),
            st.tuples(st.tuples(side, side), st.tuples(side, side)),
        )
    )
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    depth = draw(st.sampled_from([1, 1, 2, 3, 4, 17]))
    width = draw(st.sampled_from([1, 1, 2, 3, 8, 19]))
    # The smallest image that the window fits for any padding, or a larger one.
    factors = (dilation, dilation) if isinstance(dilation, int) else dilation
    sizes = st.integers(0, 9), st.one_of(st.integers(0, 9), st.just(24))
    height, columns = (
        d * (k - 1) + 1 + draw(more) for d, k, more in zip(factors, kernel, sizes, strict=True)
    )
    batch = draw(st.sampled_from([(), (1,), (2,), (3,), (0,)]))
    x = (*batch, height, columns, groups * depth)
    return Conv(x, (*kernel, depth, groups * width), stride, padding, dilation, groups)


WINOGRAD = convs(kernels=st.integers(1, 7), strides=st.just(1)).filter(
    lambda conv: max(conv.w[:2]) > 1
)


@given(convs(), st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_integers_are_exact(conv, dtype, seed):
    a = operands(conv, ints, dtype, seed)
    for which in PASSES:
        got = run(fastconv, which, conv, a, algorithm="direct")
        assert_same(got, run(reference, which, conv, a))


@given(convs(), st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_any_view_is_exact(conv, dtype, seed):
    a = operands(conv, ints, dtype, seed)
    rng = np.random.default_rng(seed)
    for which in PASSES:
        views = {name: scattered(a[name], rng) for name in inputs_of(which)}
        got = run(fastconv, which, conv, {**a, **views}, algorithm="direct")
        assert_same(got, run(reference, which, conv, a))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32))
def test_floats_are_within_the_tolerance(algorithm, data, dtype, seed):
    conv = data.draw(WINOGRAD if algorithm == "winograd" else convs())
    a = operands(conv, floats, dtype, seed)
    for which in PASSES:
        got = run(fastconv, which, conv, a, algorithm=algorithm)
        want = run(reference, which, conv, a)
        scale, length = sum_scale(which, conv, a), sum_length(which, conv)
        assert_close(got, want, algorithm, which, length, scale)


@given(convs(), st.integers(0, 2**32))
def test_shapes_and_the_output_shape(conv, seed):
    described = {"input_shape": conv.x, "weight_shape": conv.w, **conv.kwargs}
    assert fastconv.conv2d_output_shape(**described) == conv.y
    a = operands(conv, ints, np.float32, seed)
    for which in PASSES:
        assert run(fastconv, which, conv, a).shape == result_shape(which, conv)


@given(convs(), st.sampled_from(DTYPES), st.integers(0, 2**32))
def test_the_passes_are_adjoint(conv, dtype, seed):
    """<conv(x, w), dy> == <x, input_grad(dy, w)> == <w, weight_grad(x, dy)>, for every algorithm.

    Each side is off by the tolerances of its elements, weighted by what they are multiplied with.
    """
    a = operands(conv, floats, dtype, seed)
    a["bias"] = None
    others = {"forward": "dy", "input_grad": "x", "weight_grad": "w"}
    products, allowed = {}, 0.0
    for which, other in others.items():
        result, other = run(fastconv, which, conv, a).astype(float), a[other].astype(float)
        products[which] = float(np.vdot(result, other))
        absolute = {k: None if v is None else abs(v.astype(float)) for k, v in a.items()}
        scale = run(reference, which, conv, absolute)
        bound = tolerance("auto", which, dtype, sum_length(which, conv), scale)
        # The dot product here, in float64, has an error of its own.
        own = LAMBDA * max(result.size, 1) ** 0.5 * UNIT[np.dtype(np.float64)] * scale
        allowed += float(np.vdot(bound + own, abs(other)))
    assert max(products.values()) - min(products.values()) <= allowed


@given(convs(), st.integers(0, 2**32))
def test_linear_in_each_operand(conv, seed):
    """f(a + b) = f(a) + f(b), exactly for integers."""
    a, b = operands(conv, ints, np.float64, seed), operands(conv, ints, np.float64, seed + 1)
    for which, name in (
        ("forward", "x"),
        ("forward", "w"),
        ("input_grad", "dy"),
        ("weight_grad", "x"),
    ):
        a["bias"] = b["bias"] = None
        first = run(fastconv, which, conv, a)
        second = run(fastconv, which, conv, {**a, name: b[name]})
        both = run(fastconv, which, conv, {**a, name: a[name] + b[name]})
        assert_same(both, first + second)


@pytest.mark.parametrize(
    "conv",
    [
        Conv((1, 5, 5, 4), (3, 3, 4, 4), stride=2),
        Conv((1, 6, 6, 4), (3, 3, 4, 4), stride=(1, 2)),
        Conv((1, 9, 9, 4), (1, 1, 4, 4)),
        Conv((1, 9, 9, 4), (1, 5, 4, 4), stride=(2, 1)),
    ],
    ids=str,
)
def test_winograd_says_why_it_cannot_serve(conv):
    a = operands(conv)
    for which in PASSES:
        with pytest.raises(ValueError, match=r"^algorithm must .*: .+, got 'winograd'$"):
            run(fastconv, which, conv, a, algorithm="winograd")


def test_the_tolerance_of_winograd_comes_from_a_winograd_algorithm():
    a, g, b = cook_toom(4, 3)
    rng = np.random.default_rng(0)
    taps, data, outputs = (rng.standard_normal(size) for size in (3, 6, 4))
    want = np.correlate(data, taps, "valid")
    np.testing.assert_allclose(a @ ((g @ taps) * (b @ data)), want, rtol=0, atol=1e-12)
    # And its transpose, for dL/dW.
    want = np.correlate(data, outputs, "valid")
    np.testing.assert_allclose(g.T @ ((a.T @ outputs) * (b @ data)), want, rtol=0, atol=1e-12)
