"""What the C interface refuses: a status for every cause, and a result that stays as it was."""

import ctypes
import sys

import c_interface as c
import hypothesis
import numpy as np
import pytest
from c_interface import SMALL, filled, refused
from helpers import PASSES, Conv, assert_same_bits, floats, operands, result_shape, run, run_python
from hypothesis import strategies as st

import fastconv
from fastconv.geometry import resolve

HUGE = 2**60

# ---- the descriptor ----


def test_an_older_smaller_struct_keeps_working():
    """What it leaves out has its default, whatever lies behind it in memory."""
    names = [name for name, _ in c.FIELDS]
    plain = Conv((1, 6, 6, 4), (3, 3, 4, 8))
    a = operands(plain, floats)
    want = run(fastconv, "forward", plain, a)
    for shorter in names[names.index("stride_height") :]:
        behind = names[names.index(shorter) :]
        size = getattr(c.Layer, shorter).offset
        out = filled("forward", plain)
        garbage = dict.fromkeys(behind, -77)
        assert c.call("forward", plain, a, out, struct_size=size, **garbage) == c.OK
        assert_same_bits(out, want)


def test_what_a_smaller_struct_does_say_counts():
    described = c.layer(SMALL, struct_size=c.Layer.pad_top.offset, pad_left=-1)
    strided = Conv(SMALL.x, (3, 3, 4, 8), stride=2)
    assert c.output_shape(described) == (c.OK, strided.y)


@pytest.mark.parametrize(
    "size",
    [0, 1, 8, c.Layer.stride_height.offset - 8, c.Layer.stride_height.offset + 4,
     c.Layer.stride_height.offset + 1, c.LAYER_SIZE - 1, c.LAYER_SIZE + 1, c.LAYER_SIZE + 8,
     2**31, 2**63, 2**64 - 1],
)  # fmt: skip
def test_other_sizes_of_the_struct_are_refused(size):
    assert refused("forward", struct_size=size) == "FASTCONV_BAD_STRUCT_SIZE"


def test_no_descriptor():
    nothing = np.zeros(4).ctypes.data
    for name in ("output_shape", "forward_f32", "input_grad_f64", "weight_grad_f32"):
        call = c.function(name)
        pointers = [nothing] * (len(call.argtypes) - 1)
        assert call(None, *pointers) == c.STATUS["FASTCONV_NULL_DESCRIPTOR"]
    assert c.function("workspace_f32")(None, 0, nothing) == c.STATUS["FASTCONV_NULL_DESCRIPTOR"]


BAD_NUMBERS = [
    ("SIZE", "batch in_height in_width in_channels out_channels", [-1, -(2**63)]),
    ("KERNEL", "kernel_height kernel_width", [0, -1, -(2**63)]),
    ("STRIDE", "stride_height stride_width", [0, -1, -(2**63)]),
    ("PADDING", "pad_top pad_bottom pad_left pad_right", [-1, -(2**63)]),
    ("DILATION", "dilation_height dilation_width", [0, -1, -(2**63)]),
    ("GROUPS", "groups", [0, -1, 3, 8, 2**40, -(2**63)]),
    ("NUM_THREADS", "num_threads", [-1, 1025, -(2**31), 2**31 - 1]),
]


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize(
    ("cause", "field", "value"),
    [(c_, f, v) for c_, fields, values in BAD_NUMBERS for f in fields.split() for v in values],
)
def test_bad_numbers(which, cause, field, value):
    assert refused(which, **{field: value}) == f"FASTCONV_BAD_{cause}"


def test_groups_divide_both_channels():
    assert refused("forward", in_channels=5) == "FASTCONV_BAD_GROUPS"
    assert refused("forward", out_channels=9) == "FASTCONV_BAD_GROUPS"


@pytest.mark.parametrize(
    "changes",
    [dict(kernel_height=9), dict(kernel_width=9), dict(dilation_height=4), dict(dilation_width=4),
     dict(in_height=0), dict(in_width=0), dict(pad_left=0, in_width=1)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("which", PASSES)
def test_a_kernel_larger_than_the_padded_input(which, changes):
    assert refused(which, **changes) == "FASTCONV_KERNEL_TOO_LARGE"


OVERFLOWS = [
    *({field: value} for field, _ in c.FIELDS[1:-2] for value in (HUGE + 2, 2**63 - 2)
      if field not in ("groups", "stride_height", "stride_width")),
    dict(stride_height=2**63 - 1),
    dict(stride_width=HUGE + 1),
    dict(groups=HUGE + 1),
    dict(pad_top=HUGE, pad_bottom=HUGE),
    dict(dilation_height=HUGE),
    dict(dilation_width=HUGE, pad_left=HUGE),
    dict(pad_top=2**31, pad_left=2**31),  # 2**32 by 2**32 outputs would wrap around to 0
    dict(batch=2**30, in_height=2**30),  # x
    dict(batch=2**40, out_channels=2**20),  # y
    dict(in_channels=2**30, out_channels=2**30, in_height=3, in_width=3),  # w
    dict(batch=0, pad_top=2**59, pad_left=2**59),  # no image, but sizes past any integer
]  # fmt: skip


@pytest.mark.parametrize("changes", OVERFLOWS, ids=str)
def test_overflow(changes):
    for which in PASSES:
        assert refused(which, **changes) == "FASTCONV_OVERFLOW"


NUMBERS = [name for name, _ in c.FIELDS[1:-2]]
wild = st.one_of(
    st.integers(-2, 9),
    st.integers(-(2**63), 2**63 - 1),
    st.builds(lambda bits, more: 2**bits + more, st.integers(28, 62), st.integers(-2, 2)),
)


@hypothesis.given(
    st.lists(st.integers(1, 9), min_size=len(NUMBERS), max_size=len(NUMBERS)),
    st.sampled_from([1, 2]),
    st.dictionaries(st.sampled_from(NUMBERS), wild, max_size=3),
)
@hypothesis.settings(max_examples=500)
def test_any_numbers_mean_to_c_what_they_mean_to_python(values, groups, wilder):
    """One check for both: what Python refuses is a status, what it accepts is the same shape."""
    v = {**dict(zip(NUMBERS, values, strict=True)), "groups": groups, **wilder}
    status, shape = c.output_shape(c.Layer(struct_size=c.LAYER_SIZE, **v))
    depth = v["in_channels"] // v["groups"] if v["groups"] else 1
    try:
        g = resolve(
            tuple(v[name] for name in ("batch", "in_height", "in_width", "in_channels")),
            (v["kernel_height"], v["kernel_width"], depth, v["out_channels"]),
            (v["stride_height"], v["stride_width"]),
            ((v["pad_top"], v["pad_bottom"]), (v["pad_left"], v["pad_right"])),
            (v["dilation_height"], v["dilation_width"]),
            v["groups"],
        )
    except ValueError:
        assert status != c.OK
        assert shape == (-1, -1, -1, -1)
    else:
        assert status == c.OK
        assert shape == (g.batch, g.out_height, g.out_width, g.out_channels)


# ---- arrays ----


@pytest.mark.parametrize("which", PASSES)
def test_arrays_that_are_null(which):
    names = {"forward": ("x", "w"), "input_grad": ("dy", "w"), "weight_grad": ("x", "dy")}[which]
    for name in names:
        assert refused(which, a={**operands(SMALL), name: None}) == "FASTCONV_NULL_ARRAY"
    a = operands(SMALL)
    pointers = [a[name].ctypes.data for name in names] + [None] * (which == "forward")
    described = c.layer(SMALL)
    status = c.function(f"{which}_f32")(ctypes.addressof(described), *pointers, None)
    assert status == c.STATUS["FASTCONV_NULL_ARRAY"]


def test_results_that_are_null():
    described = c.layer(SMALL)
    null = c.STATUS["FASTCONV_NULL_ARRAY"]
    assert c.function("output_shape")(ctypes.addressof(described), None) == null
    assert c.function("workspace_f64")(ctypes.addressof(described), 0, None) == null


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", ["x", "w", "dy", "bias"])
def test_misaligned_arrays(which, name):
    a = operands(SMALL)
    read = {"forward": "x w bias", "input_grad": "dy w", "weight_grad": "x dy"}[which].split()
    moved = np.zeros(a[name].nbytes + 1, np.uint8)[1:].view(a[name].dtype)
    if name in read:
        spoilt = {**a, name: moved.reshape(a[name].shape)}
        assert refused(which, a=spoilt) == "FASTCONV_MISALIGNED"


@pytest.mark.parametrize("which", PASSES)
def test_a_result_that_overlaps_an_operand(which):
    """By a single element at either end; side by side is fine."""
    read = {"forward": "x w bias", "input_grad": "dy w", "weight_grad": "x dy"}[which].split()
    shape = result_shape(which, SMALL)
    for name in read:
        a = operands(SMALL, floats)
        count, size = int(np.prod(shape)), a[name].size
        memory = np.zeros(2 * count + size, np.float32)
        operand = memory[count : count + size].reshape(a[name].shape)
        operand[...] = a[name]
        a[name] = operand
        for start, status in [(0, "OK"), (1, "OVERLAP"), (count + size - 1, "OVERLAP"),
                              (count + size, "OK")]:  # fmt: skip
            out = memory[start : start + count].reshape(shape)
            assert c.call(which, SMALL, a, out) == c.STATUS[f"FASTCONV_{status}"]


# ---- statuses ----


def test_every_status_has_a_text_of_its_own():
    texts = {c.text(status) for status in c.STATUS.values()}
    assert len(texts) == len(c.STATUS)
    assert all(text.isprintable() and text for text in texts)
    unknown = {c.text(number) for number in (-1, max(c.STATUS.values()) + 1, 2**31 - 1, -(2**31))}
    assert len(unknown) == 1
    assert not unknown & texts


@pytest.mark.skipif(
    sys.platform != "linux" or hasattr(ctypes.CDLL(None), "__asan_init"),
    reason="the limit is set from Linux's /proc, and AddressSanitizer cannot live with it",
)
def test_no_memory():
    run_python(
        """
        import resource
        import c_interface as c, numpy as np
        from helpers import Conv, operands
        conv = Conv((1, 30, 30, 128), (3, 3, 128, 300))
        a, out = operands(conv), np.empty(conv.y, np.float32)
        assert c.workspace("forward", c.layer(conv, num_threads=1)) > 2**20
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used, used))
        status = c.call("forward", conv, a, out, num_threads=1)
        assert status == c.STATUS["FASTCONV_NO_MEMORY"], status
        """
    )
