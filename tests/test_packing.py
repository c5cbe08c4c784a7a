"""Weights prepared once: the same bits, immutable, for any call; and a layer that uses them."""

import copy
import gc
import pickle

import numpy as np
import pytest
from helpers import (
    ALGORITHMS,
    DTYPES,
    GEOMETRIES,
    Conv,
    assert_same_bits,
    floats,
    operands,
    served_by,
)

import fastconv
from fastconv import _kernels

CONVS = [
    *GEOMETRIES,
    Conv((2, 26, 30, 300), (3, 3, 300, 280), padding=1),
    Conv((1, 7, 9, 130), (3, 3, 130, 150), padding=1),
    Conv((1, 30, 33, 40), (5, 5, 40, 200), padding=2),
]


@pytest.mark.parametrize(
    ("algorithm", "conv"),
    [(name, conv) for name in ALGORITHMS for conv in served_by(name, CONVS)],
    ids=str,
)
def test_the_same_bits(algorithm, conv):
    for dtype in DTYPES:
        a = operands(conv, floats, dtype)
        packed = fastconv.pack(a["w"], **conv.kwargs, algorithm=algorithm)
        for threads in (1, 3):
            with fastconv.num_threads(threads):
                want = fastconv.conv2d(
                    a["x"], a["w"], a["bias"], **conv.kwargs, algorithm=algorithm
                )
                for _ in range(2):
                    got = fastconv.conv2d(
                        a["x"], packed, a["bias"], **conv.kwargs, algorithm=algorithm
                    )
                    assert_same_bits(got, want)


def test_what_is_prepared():
    w = np.ones((3, 3, 64, 60), np.float32)
    assert fastconv.pack(w).prepared_for == "winograd"
    assert fastconv.pack(w, stride=2).prepared_for == "direct"
    assert fastconv.pack(w, algorithm="direct").prepared_for == "direct"
    assert fastconv.pack(w.astype(float)).prepared_for == "direct"
    assert fastconv.pack(np.ones((3, 3, 1, 64), np.float32), groups=64).prepared_for == "nothing"
    assert fastconv.pack(np.ones((3, 3, 0, 4), np.float32)).prepared_for == "nothing"
    assert fastconv.pack(w).nbytes > 5 * w.nbytes  # a copy, and 36 values for 9
    line = fastconv.pack(w[:1])
    assert line.prepared_for == "winograd"
    assert line.nbytes >= 3 * w[:1].nbytes  # ... and six for three
    assert repr(fastconv.pack(w)).startswith("<PackedWeights of shape (3, 3, 64, 60), float32")


@pytest.mark.parametrize("prepared", ["direct", "winograd"])
def test_other_calls_than_it_was_prepared_for(prepared):
    rng = np.random.default_rng(0)
    x, w = floats(rng, (2, 13, 14, 24)), floats(rng, (3, 3, 12, 20))
    packed = fastconv.pack(w, groups=2, algorithm=prepared)
    for options in (
        {"stride": 2}, {"padding": 1}, {"dilation": 3, "padding": 2}, {"algorithm": "direct"},
        {"algorithm": "winograd"},
    ):  # fmt: skip
        assert_same_bits(
            fastconv.conv2d(x, packed, groups=2, **options),
            fastconv.conv2d(x, w, groups=2, **options),
        )
    # Other groups, of as many channels; another dtype; other passes; another instruction set.
    assert_same_bits(fastconv.conv2d(x[..., :12], packed), fastconv.conv2d(x[..., :12], w))
    wide = x.astype(np.float64)
    assert_same_bits(fastconv.conv2d(wide, packed, groups=2), fastconv.conv2d(wide, w, groups=2))
    y = fastconv.conv2d(x, w, groups=2)
    assert_same_bits(
        fastconv.conv2d_input_grad(y, packed, x.shape, groups=2),
        fastconv.conv2d_input_grad(y, w, x.shape, groups=2),
    )
    before = _kernels.current()
    try:
        for isa in _kernels.available():
            _kernels.use(isa)
            assert_same_bits(fastconv.conv2d(x, packed, groups=2), fastconv.conv2d(x, w, groups=2))
    finally:
        _kernels.use(before)


def test_weights_that_are_not_finite():
    rng = np.random.default_rng(0)
    x, w = floats(rng, (2, 13, 14, 24)), floats(rng, (3, 3, 24, 20))
    w[1, 1, 3, 4] = np.inf
    for algorithm in ALGORITHMS:
        packed = fastconv.pack(w, padding=1, algorithm=algorithm)
        got = fastconv.conv2d(x, packed, padding=1, algorithm=algorithm)
        assert_same_bits(got, fastconv.conv2d(x, w, padding=1, algorithm="direct"))


def test_it_is_a_copy_and_never_changes():
    w = np.ones((3, 3, 20, 24), np.float32)
    packed = fastconv.pack(w)
    x = np.ones((1, 9, 9, 20), np.float32)
    want = fastconv.conv2d(x, packed)
    w[...] = 7
    assert_same_bits(fastconv.conv2d(x, packed), want)
    with pytest.raises(ValueError, match="read-only"):
        packed.array[...] = 7
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(packed)[...] = 7
    with pytest.raises(ValueError, match="WRITEABLE"):
        packed.array.flags.writeable = True
    for name in ("array", "shape", "dtype", "nbytes", "prepared_for", "other"):
        with pytest.raises(AttributeError):
            setattr(packed, name, None)
    with pytest.raises(TypeError, match=r"must be made by fastconv\.pack"):
        fastconv.PackedWeights()


def test_numpy_reads_it():
    w = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3)
    packed = fastconv.pack(w)
    assert (packed.shape, packed.dtype) == (w.shape, w.dtype)
    assert np.asarray(packed) is packed.array
    np.testing.assert_array_equal(np.asarray(packed, float), w)
    np.array(packed)[...] = 0  # a copy
    np.testing.assert_array_equal(packed, w)
    assert fastconv.pack(np.ones((1, 1, 2, 2), int)).dtype == np.float64


def test_it_outlives_what_it_was_made_of():
    x, w = np.ones((1, 8, 8, 16), np.float32), np.ones((3, 3, 16, 16), np.float32)
    want = fastconv.conv2d(x, w)
    packed = fastconv.pack(w.copy())
    gc.collect()
    assert_same_bits(fastconv.conv2d(x, packed), want)
    for again in (pickle.loads(pickle.dumps(packed)), copy.copy(packed), copy.deepcopy(packed)):
        assert again.prepared_for == packed.prepared_for
        assert_same_bits(fastconv.conv2d(x, again), want)


@pytest.mark.parametrize(
    ("shape", "options", "text"),
    [
        ((3, 3, 4), {}, r"^w must have axes .*got 3 axes$"),
        ((3, 3, 4, 4), {"groups": 3}, r"^groups must .*got 3$"),
        ((3, 3, 4, 4), {"stride": 0}, r"^stride must .*got 0$"),
        ((1, 1, 4, 4), {"algorithm": "winograd"}, "^algorithm must be able.*got 'winograd'$"),
        ((3, 3, 4, 4), {"algorithm": "best"}, "^algorithm must be one of.*got 'best'$"),
    ],
)
def test_bad_arguments(shape, options, text):
    with pytest.raises(ValueError, match=text):
        fastconv.pack(np.ones(shape), **options)
    with pytest.raises(TypeError, match=r"^w must hold real numbers.*complex128$"):
        fastconv.pack(np.ones((3, 3, 4, 4), complex))


# ---- Conv2D ----


def changes(layer):
    """Every way to change a weight, one after the other."""
    layer.weight *= 2
    yield "in place"
    layer.weight[1, 2, 3, 4] = 9
    yield "one element"
    layer.weight = layer.weight + 1
    yield "replaced"
    layer.weight = np.asfortranarray(layer.weight)
    layer.weight[0, 0, 0, 1] = -3
    yield "replaced by another layout, and written"
    layer.weight = layer.weight.astype(np.float64)
    yield "replaced by another dtype"


def test_a_layer_notices_every_change_of_its_weight():
    layer = fastconv.Conv2D(16, 20, 3, padding=1, rng=0).eval()
    assert not layer.training
    x = floats(np.random.default_rng(0), (2, 10, 11, 16))
    before = layer(x)
    for how in changes(layer):
        got = layer(x)
        want = fastconv.conv2d(x, layer.weight, layer.bias, padding=1)
        assert_same_bits(got, want)
        assert got.dtype != before.dtype or (got != before).any(), how
        before = got


def test_a_layer_prepares_once():
    layer = fastconv.Conv2D(16, 20, 3, padding=1, rng=0).eval()
    x = floats(np.random.default_rng(0), (2, 10, 11, 16))
    layer(x)
    kept = layer._packed
    layer(x)
    assert layer._packed is kept
    layer.weight = layer.weight.copy()  # another array of the same values
    layer(x)
    assert layer._packed is kept
    assert layer.train() is layer
    assert layer.training
    assert layer._packed is None
    assert layer.train(False) is layer
    assert not layer.training


def test_both_modes_give_the_same():
    layer = fastconv.Conv2D(16, 20, 3, padding="same", groups=2, rng=0)
    x = floats(np.random.default_rng(0), (2, 10, 11, 16))
    y = layer(x)
    dx, dw, db = layer.backward(y), layer.weight_grad, layer.bias_grad
    layer.eval()
    assert_same_bits(layer(x), y)
    assert_same_bits(layer.backward(y), dx)
    assert_same_bits(layer.weight_grad, dw)
    assert_same_bits(layer.bias_grad, db)
    again = pickle.loads(pickle.dumps(layer))
    assert not again.training
    assert_same_bits(again(x), y)
