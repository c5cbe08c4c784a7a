"""Any array works, wherever its elements lie in memory, and no input is ever modified."""

from functools import partial

import numpy as np
import pytest
from helpers import (
    DTYPES,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same_bits,
    floats,
    inputs_of,
    operands,
    run,
)

import fastconv

FEW = Conv((2, 12, 9, 3), (1, 1, 3, 2))  # several pixels a vector, if they follow one another
CONVS = [
    Conv((2, 6, 7, 3), (3, 2, 3, 5), stride=(2, 1), padding=((1, 0), (0, 2))),
    Conv((2, 9, 8, 16), (3, 3, 16, 16), padding=1),  # read in place where the layout allows it
    Conv((1, 8, 8, 20), (1, 1, 20, 18)),
    FEW,
    Conv((3, 20, 22, 64), (3, 3, 64, 40)),  # dL/dW in pieces, and runs that depend on the layout
    Conv((2, 6, 5, 8), (3, 3, 1, 8), padding=1, groups=8),
]


class ArrayLike:
    """Only `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype, copy=copy)


class Exporter:
    """Only DLPack, as an array of another library may have it."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def permuted_memory(order):
    """Elements ordered in memory by `order` of the axes: (0, 3, 1, 2) is NCHW."""

    def make(a):
        if a.ndim != 4:
            return a
        return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))

    return make


def strided(a):
    """Every second element along every axis of a larger array, the others NaN."""
    big = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def negative(a):
    """Every axis backwards in memory."""
    back = tuple(slice(None, None, -1) for _ in a.shape)
    return np.ascontiguousarray(a[back])[back]


def in_the_middle(a):
    """Surrounded by NaNs, the last axis contiguous: what lies beside must not be read."""
    big = np.full([n + 4 for n in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(2, 2 + n) for n in a.shape)]
    view[...] = a
    return view


def unaligned(a):
    """At an address that is no multiple of the itemsize."""
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert a.size == 0 or not view.flags.aligned
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def odd_strides_of_size_one_axes(a):
    """An axis of size 1 may have any stride; it must not be used."""
    strides = [3 if n == 1 else s for n, s in zip(a.shape, a.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(a, a.shape, strides)


def field_of_a_record(a):
    """Strides that are no multiple of the itemsize."""
    records = np.zeros(a.shape, np.dtype([("pad", "i1"), ("value", a.dtype)]))
    records["value"] = a
    return records["value"]


LAYOUTS = {
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "from NCHW": permuted_memory((0, 3, 1, 2)),
    "from CHWN": permuted_memory((3, 1, 2, 0)),
    "rows and columns exchanged": permuted_memory((0, 2, 1, 3)),
    "strided": strided,
    "negative strides": negative,
    "in the middle": in_the_middle,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "byte-swapped, strided": lambda a: strided(a.astype(a.dtype.newbyteorder())),
    "unaligned": unaligned,
    "odd strides of size-1 axes": odd_strides_of_size_one_axes,
    "field of a record": field_of_a_record,
    "subclass": lambda a: a.view(np.matrix if a.ndim == 2 else np.memmap),
    "__array__": ArrayLike,
    "__dlpack__": Exporter,
    "__dlpack__, from NCHW": lambda a: Exporter(permuted_memory((0, 3, 1, 2))(a)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", PASSES)
def test_layout_of_the_inputs(api, which, layout, dtype):
    for conv in CONVS:
        a = operands(conv, floats, dtype)
        want = run(api, which, conv, a)
        for name in inputs_of(which):
            moved = LAYOUTS[layout](a[name])
            assert_same_bits(run(api, which, conv, {**a, name: moved}), want)
        everything = {k: LAYOUTS[layout](v) for k, v in a.items()}
        assert_same_bits(run(api, which, conv, everything), want)


@pytest.mark.parametrize("which", PASSES)
def test_size_one_axes_with_odd_strides(api, which):
    for conv in (
        Conv((1, 1, 5, 1), (1, 3, 1, 1)),
        Conv((1, 5, 1, 3), (3, 1, 3, 1)),
        Conv((1, 1, 1, 7), (1, 1, 7, 9)),
    ):
        a = operands(conv, floats)
        odd = {k: odd_strides_of_size_one_axes(v) for k, v in a.items()}
        assert_same_bits(run(api, which, conv, odd), run(api, which, conv, a))


@pytest.mark.parametrize("which", PASSES)
def test_zero_strides(api, which):
    """Broadcast operands, the cheapest way to a constant one."""
    for conv in (
        CONVS[0],
        Conv((1, 8, 8, 64), (1, 1, 64, 1)),
        Conv((1, 8, 8, 1), (1, 1, 1, 64)),
        FEW,
    ):
        a = {k: np.broadcast_to(np.float32(3), v.shape) for k, v in operands(conv).items()}
        full = {k: v.copy() for k, v in a.items()}
        assert_same_bits(run(api, which, conv, a), run(api, which, conv, full))


@pytest.mark.parametrize("which", PASSES)
def test_rows_far_apart_of_many_taps(api, which):
    """Scratch has only what taps read, a slot for each, which is not copied once more."""
    conv = Conv((1, 310, 70, 4), (4, 31, 1, 4), groups=4, dilation=(100, 1))
    a = operands(conv)
    planes = {k: np.moveaxis(np.moveaxis(v, -1, 0).copy(), 0, -1) for k, v in a.items()}
    assert_same_bits(run(api, which, conv, planes), run(api, which, conv, a))


@pytest.mark.parametrize("which", PASSES)
def test_the_same_pixel_everywhere(api, which):
    """As the gradient of a mean has it: dense channels, but no step from pixel to pixel."""
    for conv in (Conv((2, 6, 7, 64), (1, 1, 64, 1)), Conv((2, 6, 7, 1), (1, 1, 1, 64)), FEW):
        a = operands(conv, floats)
        same = {
            k: np.broadcast_to(v[:1, :1, :1], v.shape) if v.ndim == 4 else v for k, v in a.items()
        }
        full = {k: v.copy() for k, v in same.items()}
        assert_same_bits(run(api, which, conv, same), run(api, which, conv, full))


@pytest.mark.parametrize("which", PASSES)
def test_lists(api, which):
    conv = Conv((1, 4, 5, 2), (3, 2, 2, 3))
    a = operands(conv, floats, np.float64)
    got = run(api, which, conv, {k: v.tolist() for k, v in a.items()})
    assert_same_bits(got, run(api, which, conv, a))


@pytest.mark.parametrize("layout", ["from NCHW", "strided", "negative strides", "read-only"])
def test_layout_of_an_empty_batch(api, layout):
    x = LAYOUTS[layout](np.zeros((0, 5, 5, 3), np.float32))
    w = np.ones((3, 3, 3, 4), np.float32)
    assert api.conv2d(x, w).shape == (0, 3, 3, 4)
    dy = LAYOUTS[layout](np.zeros((0, 3, 3, 4), np.float32))
    assert api.conv2d_input_grad(dy, w, (0, 5, 5, 3)).shape == (0, 5, 5, 3)
    assert not api.conv2d_weight_grad(x, dy, 3).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "layout",
    [
        "Fortran",
        "from NCHW",
        "from CHWN",
        "rows and columns exchanged",
        "strided",
        "negative strides",
        "in the middle",
        "unaligned",
        "field of a record",
    ],
)
@pytest.mark.parametrize("which", PASSES)
def test_layout_of_out(api, which, layout, dtype):
    """The result is the same in any `out`, and nothing beside it is written."""
    for conv in CONVS:
        a = operands(conv, floats, dtype)
        want = run(api, which, conv, a)
        out = LAYOUTS[layout](np.full_like(want, 7))
        owner = out if out.base is None else out.base
        before = np.array(owner)
        assert run(api, which, conv, a, out=out) is out
        assert_same_bits(np.ascontiguousarray(out), want)
        out[...] = 7
        assert np.array(owner).tobytes() == before.tobytes()


@pytest.mark.parametrize("layout", ["Fortran", "strided", "unaligned", "byte-swapped"])
@pytest.mark.parametrize("which", PASSES)
def test_inputs_are_not_modified(api, which, layout):
    for conv in CONVS:
        a = {k: LAYOUTS[layout](v) for k, v in operands(conv, floats).items()}
        before = {k: v.tobytes() for k, v in a.items()}
        kept = {k: v.strides for k, v in a.items()}
        result = run(api, which, conv, a)
        assert {k: v.tobytes() for k, v in a.items()} == before
        assert {k: v.strides for k, v in a.items()} == kept
        for name in inputs_of(which):
            assert not np.shares_memory(result, a[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", PASSES)
def test_alignment_changes_no_bit(which, dtype):
    """Vectors start where they are aligned, in the input as in the output; sums stay the same."""
    for conv in GEOMETRIES:
        a = operands(conv, floats, dtype)
        want = run(fastconv, which, conv, a)
        for into, out in ((0, 16), (16, 0), (16, 16), (32, 48), (8, 40)):
            moved = {name: at_offset(array, into) for name, array in a.items()}
            got = at_offset(np.full_like(want, np.nan), out)
            assert run(fastconv, which, conv, moved, out=got) is got
            assert_same_bits(got, want)


LARGER = [  # several blocks, whose size must not depend on whether the input is copied
    Conv((1, 90, 120, 48), (3, 3, 1, 48), padding=1, groups=48),
    Conv((2, 9, 11, 112), (3, 3, 1, 112), padding=1, groups=112),  # a vector more a pixel
    Conv((2, 13, 14, 112), (3, 3, 1, 112), padding=1, groups=112, stride=2),
    Conv((1, 40, 41, 800), (1, 1, 800, 8)),
    Conv((2, 64, 70, 40), (3, 3, 40, 24), padding=1),
    Conv((1, 300, 401, 1), (3, 3, 1, 1), padding=1),
    Conv((2, 30, 20, 2), (3, 20, 2, 40)),  # dL/dx takes columns as channels, if weights lie so
    Conv((2, 48, 36, 3), (4, 4, 3, 24), stride=4),  # ... and here
    Conv((2, 60, 3, 64), (3, 3, 64, 64)),  # ... where Winograd's algorithm might serve either
    Conv((1, 6, 24, 8), (2, 1, 8, 6)),  # few channels of dy, which all of x see
    Conv((1, 12, 26, 5), (4, 4, 5, 3)),
    Conv((2, 9, 9, 65), (3, 3, 65, 21)),  # Winograd's algorithm hardly pays, or hardly does not
]


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", LARGER, ids=str)
def test_layout_and_alignment_of_several_blocks(conv, which):
    a = operands(conv, floats)
    want = run(fastconv, which, conv, a)
    aligned = [partial(at_offset, offset=offset) for offset in (0, 4, 16)]
    for move in (permuted_memory((0, 3, 1, 2)), strided, beside_a_channel, *aligned):
        moved = {name: move(a[name]) if name != "bias" else a[name] for name in a}
        assert_same_bits(run(fastconv, which, conv, moved), want)


@pytest.mark.parametrize("which", PASSES)
def test_one_channel_of_any_number(which):
    """A copy takes every n-th element of a line."""
    conv = Conv((1, 5, 19, 1), (3, 3, 1, 1), padding=1)
    a = operands(conv, floats)
    want = run(fastconv, which, conv, a)
    for channels in range(1, 66):
        views = {name: np.repeat(a[name], channels, axis=-1) for name in inputs_of(which)}
        for name, view in views.items():
            view[..., 1:] = np.nan
            views[name] = view[..., :1]
        assert_same_bits(run(fastconv, which, conv, {**a, **views}), want)


@pytest.mark.parametrize("offset", [0, 16, 4])
def test_where_a_large_result_starts(offset):
    """Its vectors cross no line of the cache; those of a depthwise pass do where those of x do."""
    depthwise = Conv((40, 40, 32), (3, 3, 1, 32), groups=32, padding=1)
    strided = Conv((60, 60, 32), (3, 3, 1, 32), groups=32, stride=2)
    for conv in (depthwise, strided, Conv((40, 40, 8), (3, 3, 8, 32))):
        x = at_offset(operands(conv, floats)["x"], offset)
        y = fastconv.conv2d(x, np.ones(conv.w, np.float32), **conv.kwargs)
        start, distance = y.ctypes.data % 64, (y.ctypes.data - x.ctypes.data) % 4096
        assert (
            (start, distance) == (offset, 128)
            if conv is depthwise
            else start == 0 and 128 <= distance < 192
        )


BEYOND_THE_CACHES = [
    Conv((1, 500, 503, 3), (3, 3, 3, 32), padding=1),
    Conv((2, 410, 311, 5), (1, 1, 5, 32)),
    Conv((2, 250, 270, 32), (3, 3, 32, 32), padding=1),  # Winograd's
    Conv((2, 250, 270, 32), (3, 3, 1, 32), padding=1, groups=32),
]


@pytest.mark.parametrize("which", ["forward", "input_grad"])
@pytest.mark.parametrize("conv", BEYOND_THE_CACHES, ids=str)
def test_a_result_beyond_the_caches(conv, which):
    """Whole vectors that are aligned are written past them, others are not, with the same bits."""
    a = operands(conv, floats)
    want = at_offset(run(fastconv, which, conv, a), 4)
    out = at_offset(want, 4)
    for threads in (1, 2):
        with fastconv.num_threads(threads):
            assert_same_bits(run(fastconv, which, conv, a), want)
            out[...] = np.nan
            assert_same_bits(run(fastconv, which, conv, a, out=out), want)


def beside_a_channel(array):
    """A copy with dense channels, but pixels that do not follow one another."""
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, 1)])[..., :-1]


def at_offset(array, offset):
    """A copy whose first element is `offset` bytes past a multiple of 64."""
    room = np.empty(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
