"""Bad calls: the type of the exception, the argument it names, and what it says it got."""

import math
import re
import sys

import numpy as np
import pytest
from helpers import Conv, operands, run_python

X, W, B = (1, 6, 6, 4), (3, 3, 4, 8), (8,)
Y = (1, 4, 4, 8)
HUGE = 2**62


def zeros(shape):
    """An array of any shape that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def good(which):
    """The arguments of a call that works, for a test to spoil one of them."""
    return {
        "conv2d": {"x": zeros(X), "w": zeros(W), "bias": zeros(B)},
        "conv2d_input_grad": {"dy": zeros(Y), "w": zeros(W), "input_shape": X},
        "conv2d_weight_grad": {"x": zeros(X), "dy": zeros(Y), "kernel_size": 3},
        "conv2d_output_shape": {"input_shape": X, "weight_shape": W},
    }[which]


ALL = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_output_shape"]
COMPUTING = ALL[:3]


def refused(api, which, error, names, **arguments):
    """Call `which` with `arguments` instead of the good ones; check how it is refused."""
    arguments = {**good(which), **arguments}
    with pytest.raises(error) as caught:
        getattr(api, which)(**arguments)
    assert type(caught.value) is error  # not a subclass that happens to be raised deeper down
    message = str(caught.value)
    assert re.search(rf"\b({names})\b", message), message
    assert re.search(r", got \S", message), message
    return message


@pytest.mark.parametrize("which", ALL)
def test_the_good_calls_are_good(api, which):
    getattr(api, which)(**good(which))


# ---- numbers ----


def table(types, values):
    """Parametrize by bad values of an argument: those of a wrong type, and those of a right one."""
    rows = [(value, TypeError) for value in types] + [(value, ValueError) for value in values]
    return pytest.mark.parametrize(("value", "error"), rows, ids=[repr(row[0]) for row in rows])


NO_INT = [1.0, 1.5, math.nan, math.inf, "1", b"1", None, True, np.True_, np.float32(1), 1j]
NO_INTS = [(1, 1.0), (1, None), (True, 1), ("a", "b"), "ab", [1, "1"], (1, math.nan)]
NO_PAIR = [(1,), (1, 1, 1), ()]


@table(types=[*NO_INT, *NO_INTS], values=[0, -1, (0, 1), (1, -1), *NO_PAIR, -(2**70)])
@pytest.mark.parametrize("name", ["stride", "dilation"])
@pytest.mark.parametrize("which", ALL)
def test_stride_and_dilation(api, which, name, value, error):
    message = refused(api, which, error, name, **{name: value})
    if isinstance(value, (int, float, str)):
        assert message.endswith(f", got {value!r}")


@table(types=[*NO_INT, (1, 1)], values=[0, -1, 3, 5, 8, 2**70])
@pytest.mark.parametrize("which", ALL)
def test_groups(api, which, value, error):
    message = refused(api, which, error, "groups", groups=value)
    if isinstance(value, (int, float, str)) and value in (0, -1, 1.0, 1.5, "1"):
        assert message.endswith(f", got {value!r}")


def test_groups_divide_both_channels(api):
    x, w = zeros((1, 6, 6, 6)), zeros((3, 3, 2, 8))
    refused(api, "conv2d", ValueError, "groups", x=x, w=w, groups=3)
    refused(api, "conv2d", ValueError, "groups|w", w=zeros((3, 3, 4, 8)), groups=2)
    refused(api, "conv2d", ValueError, "groups|w", w=zeros((3, 3, 1, 8)))  # depthwise needs groups


NEGATIVE_PADDING = [-1, (-1, 0), (0, -1), ((0, 0), (0, -1)), ((-1, 0), (0, 0))]
NO_PADDING = [((1, 1), (1,)), ((1, 1), (1, 1), (1, 1)), ((1, 1, 1), (1, 1, 1)), (1, 1, 1, 1)]


@table(
    types=[1.0, math.nan, None, True, b"same", (1, 1.5), (True, 0), ((1, 1), (1, 1.0))],
    values=[*NEGATIVE_PADDING, *NO_PAIR, *NO_PADDING, "full", ""],
)
@pytest.mark.parametrize("which", ALL)
def test_padding(api, which, value, error):
    message = refused(api, which, error, "padding", padding=value)
    if isinstance(value, (int, float, str)):
        assert message.endswith(f", got {value!r}")


@table(types=[None, 3.0, True, "33", (3, 3.0)], values=[0, -3, (3, 0), (3, 3, 3), 7, (3, 7)])
def test_kernel_size(api, value, error):
    refused(api, "conv2d_weight_grad", error, "kernel_size", kernel_size=value)


@table(
    types=[None, 6, "6664", (1, 6, 6, 4.0), (1, 6, 6, True)],
    values=[(6, 6), (1, 1, 6, 6, 4), (-1, 6, 6, 4), (1, 6, -6, 4), (1, 2, 6, 4), (1, 6, 6, 3)],
)
@pytest.mark.parametrize("which", ["conv2d_input_grad", "conv2d_output_shape"])
def test_input_shape(api, which, value, error):
    refused(api, which, error, "input_shape|w|weight_shape", input_shape=value)


@pytest.mark.parametrize("value", [(2, 6, 6, 4), (1, 7, 6, 4), (1, 6, 5, 4), (6, 6, 4)], ids=repr)
def test_input_shape_that_makes_another_dy(api, value):
    refused(api, "conv2d_input_grad", ValueError, "dy|input_shape", input_shape=value)


@table(
    types=[None, 3, (3, 3, 4, 8.0)],
    values=[(3, 3, 4), (3, 3, 4, 8, 1), (0, 3, 4, 8), (3, -3, 4, 8), (3, 3, 3, 8), (7, 3, 4, 8)],
)
def test_weight_shape(api, value, error):
    refused(api, "conv2d_output_shape", error, "weight_shape", weight_shape=value)


@table(types=[None, 1, b"direct", ["direct"]], values=["", "Direct", "fft"])
@pytest.mark.parametrize("which", COMPUTING)
def test_algorithm(api, which, value, error):
    message = refused(api, which, error, "algorithm", algorithm=value)
    assert message.endswith(f"got {value!r}")


def test_numpy_integers_are_ints(api):
    class Index:
        def __index__(self):
            return 2

    a = operands(Conv((1, 7, 7, 4), (3, 3, 2, 6), 2, 2, 2, 2))
    want = api.conv2d(a["x"], a["w"], stride=2, padding=2, dilation=2, groups=2)
    for two in (np.int8(2), np.uint64(2), np.intp(2), np.array(2), Index()):
        for pair in (two, (two, two), [two, 2]):
            y = api.conv2d(a["x"], a["w"], stride=pair, padding=pair, dilation=pair, groups=two)
            np.testing.assert_array_equal(y, want)


# ---- arrays ----

BAD_ARRAYS = [
    ("conv2d", "x", zeros((6, 4)), ValueError, "x"),
    ("conv2d", "x", zeros((1, 1, 6, 6, 4)), ValueError, "x"),
    ("conv2d", "x", np.float32(1), ValueError, "x"),
    ("conv2d", "x", zeros((1, 6, 6, 3)), ValueError, "w|x"),
    ("conv2d", "x", zeros((1, 2, 6, 4)), ValueError, "w|x"),
    ("conv2d", "x", None, TypeError, "x"),
    ("conv2d", "x", "image", TypeError, "x"),
    ("conv2d", "x", [[[["a"]]]], TypeError, "x"),
    ("conv2d", "x", [[[[1.0]], [[1.0, 2.0]]]], ValueError, "x"),  # ragged
    ("conv2d", "x", object(), TypeError, "x"),
    ("conv2d", "w", zeros((3, 3, 4)), ValueError, "w"),
    ("conv2d", "w", zeros((1, 3, 3, 4, 8)), ValueError, "w"),
    ("conv2d", "w", zeros((0, 3, 4, 8)), ValueError, "w"),
    ("conv2d", "w", zeros((3, 0, 4, 8)), ValueError, "w"),
    ("conv2d", "w", zeros((7, 3, 4, 8)), ValueError, "w"),
    ("conv2d", "w", zeros((3, 7, 4, 8)), ValueError, "w"),
    ("conv2d", "w", zeros((3, 3, 8, 4)), ValueError, "w"),
    ("conv2d", "w", None, TypeError, "w"),
    ("conv2d", "bias", zeros((7,)), ValueError, "bias"),
    ("conv2d", "bias", zeros((1,)), ValueError, "bias"),
    ("conv2d", "bias", zeros((1, 8)), ValueError, "bias"),
    ("conv2d", "bias", 0.0, ValueError, "bias"),
    ("conv2d", "bias", True, ValueError, "bias"),
    ("conv2d", "bias", "zeros", TypeError, "bias"),
    ("conv2d", "out", zeros(Y), ValueError, "out"),  # read-only, as is all that is broadcast
    ("conv2d", "out", "y", TypeError, "out"),
    ("conv2d_input_grad", "dy", zeros((1, 4, 5, 8)), ValueError, "dy"),
    ("conv2d_input_grad", "dy", zeros((1, 4, 4, 7)), ValueError, "dy"),
    ("conv2d_input_grad", "dy", zeros((2, 4, 4, 8)), ValueError, "dy"),
    ("conv2d_input_grad", "dy", zeros((4, 4, 8)), ValueError, "dy"),
    ("conv2d_input_grad", "dy", zeros((8,)), ValueError, "dy"),
    ("conv2d_input_grad", "dy", None, TypeError, "dy"),
    ("conv2d_input_grad", "w", zeros((3, 3, 5, 8)), ValueError, "w"),
    ("conv2d_input_grad", "w", zeros((7, 3, 4, 8)), ValueError, "w"),
    ("conv2d_weight_grad", "x", zeros((2, 6, 6, 4)), ValueError, "dy|x"),
    ("conv2d_weight_grad", "x", zeros((6, 6, 4)), ValueError, "dy|x"),
    ("conv2d_weight_grad", "x", zeros((4,)), ValueError, "x"),
    ("conv2d_weight_grad", "dy", zeros((1, 5, 4, 8)), ValueError, "dy"),
    ("conv2d_weight_grad", "dy", zeros((4, 4, 8)), ValueError, "dy"),
    ("conv2d_weight_grad", "dy", np.zeros(()), ValueError, "dy"),
]


@pytest.mark.parametrize(
    ("which", "name", "value", "error", "names"),
    BAD_ARRAYS,
    ids=[f"{which}-{name}-{k}" for k, (which, name, *_) in enumerate(BAD_ARRAYS)],
)
def test_arrays(api, which, name, value, error, names):
    refused(api, which, error, names, **{name: value})


# ---- sizes that no machine can hold ----

HUGE_CALLS = [
    ("conv2d", {"padding": HUGE}),
    ("conv2d", {"padding": 2**63 - 1}),
    ("conv2d", {"padding": 2**63}),
    ("conv2d", {"padding": 2**64}),  # would wrap around to 0
    ("conv2d", {"padding": 10**30}),
    ("conv2d", {"padding": ((HUGE, HUGE), (0, 0))}),
    ("conv2d", {"padding": ((0, 0), (2**63 - 1, 2**63 - 1))}),
    ("conv2d", {"padding": 2**31}),  # 2**32 by 2**32 outputs would wrap around to 0
    ("conv2d", {"dilation": HUGE}),
    ("conv2d", {"dilation": 2**63}),  # times KH - 1 would wrap around to 0
    ("conv2d", {"dilation": 2**64}),
    ("conv2d", {"dilation": HUGE, "padding": HUGE}),
    ("conv2d", {"stride": 10**30, "padding": HUGE}),
    ("conv2d", {"w": zeros((5, 5, 4, 8)), "dilation": HUGE}),  # 4 * 2**62 would wrap around to 0
    ("conv2d", {"x": zeros((2**30, 2**30, 1)), "w": zeros((1, 1, 1, 2**31)), "bias": None}),
    ("conv2d", {"x": zeros((2**29, 2**15, 2**15, 1)), "w": zeros((1, 1, 1, 32)), "bias": None}),
    ("conv2d", {"x": zeros((2**60 + 8, 1, 1)), "w": zeros((1, 1, 1, 1)), "bias": None}),
    ("conv2d", {"x": zeros((0, 6, 6, 4)), "padding": HUGE}),  # no image, but sizes past any int
    ("conv2d_input_grad", {"padding": HUGE}),
    ("conv2d_input_grad", {"dilation": HUGE}),
    ("conv2d_input_grad", {"input_shape": (HUGE, HUGE, HUGE, 4)}),
    ("conv2d_input_grad", {"input_shape": (10**30, 6, 6, 4)}),
    (
        "conv2d_input_grad",
        {
            "dy": zeros((2**20, 2**20, 1)),
            "w": zeros((1, 1, 2**30, 1)),
            "input_shape": (2**20, 2**20, 2**30),
        },
    ),
    ("conv2d_weight_grad", {"kernel_size": HUGE}),
    ("conv2d_weight_grad", {"kernel_size": 2**64}),
    ("conv2d_weight_grad", {"kernel_size": (2**31, 2**33), "padding": 2**33}),
    (
        "conv2d_weight_grad",
        {"x": zeros((1, 1, 2**32)), "dy": zeros((1, 1, 2**32)), "kernel_size": 1},
    ),
    ("conv2d_output_shape", {"padding": HUGE}),
    ("conv2d_output_shape", {"input_shape": (1, 10**30, 6, 4)}),
    ("conv2d_output_shape", {"dilation": 2**64}),
]


@pytest.mark.parametrize(
    ("which", "arguments"),
    HUGE_CALLS,
    ids=[f"{which}-{k}" for k, (which, _) in enumerate(HUGE_CALLS)],
)
def test_sizes_that_overflow_are_refused(api, which, arguments):
    names = "x|w|dy|padding|dilation|stride|kernel_size|input_shape|weight_shape"
    refused(api, which, ValueError, names, **arguments)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set from Linux's /proc")
def test_nothing_is_allocated_before_sizes_are_checked():
    """A refused call needs no memory, even under a limit far below its operands."""
    run_python(
        """
        import resource
        import fastconv, numpy as np
        fastconv.conv2d(np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1)))  # all that loads is loaded
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, used + 2**24))
        zeros = lambda *shape: np.broadcast_to(np.float32(0), shape)
        for x, w, padding in [
            (zeros(1, 2**20, 2**20, 1), zeros(3, 3, 1, 2**30), 1),
            (zeros(1, 2**14, 2**14, 1), zeros(3, 3, 2, 1), 0),
            (zeros(1, 2**14, 2**14, 1), zeros(3, 3, 1, 1), 2**62),
        ]:
            try:
                fastconv.conv2d(x, w, padding=padding)
            except ValueError as error:
                assert ", got " in str(error)
            else:
                raise AssertionError("not refused")
        """
    )
