"""What the tests share: convolutions to try, operands for them, one call for all three passes."""

import dataclasses
import os
import subprocess
import sys
import textwrap

import numpy as np

from fastconv import reference

PASSES = ("forward", "input_grad", "weight_grad")
ALGORITHMS = ("auto", "direct", "winograd")
DTYPES = (np.float32, np.float64)


@dataclasses.dataclass(frozen=True)
class Conv:
    """One convolution: the shapes of x and w, and its keyword arguments."""

    x: tuple  # (N, H, W, C) or (H, W, C)
    w: tuple  # (KH, KW, C // groups, O)
    stride: int | tuple = 1
    padding: int | tuple | str = 0
    dilation: int | tuple = 1
    groups: int = 1

    @property
    def kwargs(self):
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    @property
    def y(self):
        return reference.conv2d_output_shape(self.x, self.w, **self.kwargs)

    def __str__(self):  # the id of a parametrized test
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        more = [f"{k}={v}" for k, v in self.kwargs.items() if v != defaults[k]]
        return " ".join(["x".join(map(str, self.x)), "x".join(map(str, self.w)), *more])


def served_by(algorithm, convs):
    """Those convolutions that an algorithm can compute."""
    return [c for c in convs if algorithm != "winograd" or (max(c.w[:2]) > 1 and c.stride == 1)]


def ints(rng, shape, dtype=np.float32, bound=4):
    """Small integers as floats: sums of their products are exact in any order of summation."""
    return rng.integers(-bound, bound + 1, shape).astype(dtype)


def floats(rng, shape, dtype=np.float32):
    """Values in [-1, 1) that fill the significand."""
    return rng.uniform(-1, 1, shape).astype(dtype)


def scattered(array, rng):
    """The same values as a view of a larger array of NaN: axes in any order, apart, backwards."""
    order = rng.permutation(array.ndim)
    steps = [*rng.choice([1, 1, 2], array.ndim - 1), rng.choice([1, 2, 3, 20, 30, 40])]
    shape = [array.shape[axis] * step + 2 for axis, step in zip(order, steps, strict=True)]
    large = np.full(shape, np.nan, array.dtype)
    view = large[tuple(slice(1, -1, step) for step in steps)].transpose(np.argsort(order))
    view = np.flip(view, np.flatnonzero(rng.random(array.ndim) < 0.2))
    view[...] = array
    return view


def operands(conv, make=ints, dtype=np.float32, seed=0):
    """{"x", "w", "dy", "bias"} for `conv`, from `make`; the same for the same seed."""
    rng = np.random.default_rng(seed)
    shapes = {"x": conv.x, "w": conv.w, "dy": conv.y, "bias": conv.w[3:]}
    return {name: make(rng, shape, dtype) for name, shape in shapes.items()}


def run(api, which, conv, a, **more):
    """Call one pass of `api`, fastconv or its reference, on the operands `a` of `conv`."""
    kwargs = {**conv.kwargs, **more}
    if which == "forward":
        return api.conv2d(a["x"], a["w"], a["bias"], **kwargs)
    if which == "input_grad":
        return api.conv2d_input_grad(a["dy"], a["w"], conv.x, **kwargs)
    return api.conv2d_weight_grad(a["x"], a["dy"], conv.w[:2], **kwargs)


def inputs_of(which):
    """The operands that a pass reads."""
    return {"forward": ("x", "w", "bias"), "input_grad": ("dy", "w"), "weight_grad": ("x", "dy")}[
        which
    ]


def result_shape(which, conv):
    return {"forward": conv.y, "input_grad": conv.x, "weight_grad": conv.w}[which]


def sum_length(which, conv):
    """The largest number of products that go into one element of a pass's result."""
    kh, kw, depth, filters = conv.w
    *n, oh, ow, _ = conv.y
    return {
        "forward": kh * kw * depth + 1,  # and the bias
        "input_grad": kh * kw * (filters // conv.groups),
        "weight_grad": int(np.prod(n, dtype=int)) * oh * ow,
    }[which]


def sum_scale(which, conv, a):
    """The sum of the absolute values of the products of every element, in float64."""
    return run(reference, which, conv, {k: abs(v.astype(np.float64)) for k, v in a.items()})


def assert_same(got, want):
    """Equal values, NaNs in the same places, and equal shape and dtype."""
    assert isinstance(got, np.ndarray)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got, want)


def assert_same_bits(got, want):
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert got.tobytes() == want.tobytes()


def run_python(code, timeout=120, **environment):
    """Run `code` in a new interpreter with these variables set, None for unset; return its output.

    For what may only be asked once a process, and for what might hang or crash. The new
    interpreter finds the same fastconv as this one.
    """
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for name, value in environment.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    # -P: not the one in the current directory, where that is a source tree.
    command = [sys.executable, "-P", "-c", textwrap.dedent(code)]
    done = subprocess.run(
        command, env=env, timeout=timeout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


# The geometries that every exact test, every layout and every thread count meets. Each line is
# here for what the comment says; together they cover each kernel's whole tiles and its tails.
GEOMETRIES = [
    Conv((5, 5, 3), (3, 3, 3, 16)),  # the example that started the project
    Conv((1, 1, 1, 1), (1, 1, 1, 1)),  # the smallest
    Conv((1, 1, 1, 5), (3, 3, 5, 6), padding=1),  # one pixel, only the middle tap reads it
    Conv((2, 7, 6, 3), (1, 1, 3, 1)),  # 1x1, one filter
    Conv((2, 9, 13, 3), (1, 1, 3, 4)),  # several pixels a vector
    Conv((2, 1, 1, 70), (1, 1, 70, 45)),  # a matrix times a few vectors
    Conv((1, 8, 8, 40), (1, 1, 40, 50), stride=2),  # 1x1 with a stride: most of x unread
    Conv((1, 5, 9, 4), (1, 7, 4, 6), padding=(0, 3)),  # wide kernel
    Conv((1, 9, 5, 4), (7, 1, 4, 6), padding=(3, 0)),  # tall kernel
    Conv((1, 35, 39, 3), (11, 11, 3, 17), stride=4, padding=2),  # AlexNet's first layer, small
    Conv((1, 20, 23, 3), (7, 7, 3, 18), stride=2, padding=3),  # ResNet's first layer, small
    Conv((2, 9, 8, 3), (3, 2, 3, 2), padding=((0, 2), (3, 1))),  # four different paddings
    Conv((1, 11, 10, 4), (2, 3, 4, 6), stride=(5, 4)),  # stride above the kernel: gaps unread
    Conv((2, 12, 11, 3), (3, 3, 3, 5), stride=(2, 3), dilation=(3, 2), padding=(2, 1)),
    Conv((1, 9, 14, 5), (3, 2, 5, 7), dilation=(1, 5), padding="same"),
    Conv((1, 9, 9, 5), (4, 4, 5, 7), stride=2, padding="same"),  # even kernel, odd padding
    Conv((3, 7, 7, 33), (3, 3, 33, 65), padding=1),  # tiles cross rows and images
    Conv((1, 14, 15, 16), (3, 3, 16, 32), padding=1),  # whole tiles
    Conv((1, 4, 5, 257), (3, 3, 257, 19)),  # many input channels: long sums
    Conv((1, 4, 5, 7), (2, 2, 7, 300)),  # many filters
    Conv((1, 4, 3, 1024), (2, 1, 1024, 130)),  # pixels that share a set of L1
    Conv((2, 1, 30, 8), (1, 5, 8, 24), padding=((0, 0), (4, 0))),  # one row: causal 1-D
    Conv((2, 6, 6, 4), (3, 3, 1, 4), groups=4),  # depthwise
    Conv((2, 9, 10, 37), (3, 3, 1, 37), groups=37, padding=1),  # depthwise, odd channels
    Conv((1, 9, 10, 24), (5, 4, 1, 24), groups=24, stride=(2, 1), padding="same"),
    Conv((1, 12, 9, 16), (3, 3, 1, 16), groups=16, stride=2, dilation=2, padding=((3, 0), (1, 2))),
    Conv((2, 6, 7, 5), (3, 3, 1, 15), groups=5, padding=1),  # channel multiplier 3
    Conv((1, 2, 9, 2), (1, 1, 1, 4), groups=2, stride=4, padding=((0, 3), (0, 0))),  # gaps, too
    Conv((1, 8, 7, 12), (3, 3, 3, 8), groups=4, stride=2, padding=1),
    Conv((1, 6, 7, 34), (3, 2, 17, 38), groups=2, padding=(1, 0), dilation=2),
    Conv((2, 7, 8, 6), (3, 3, 2, 3), groups=3),  # one filter a group, but not depthwise
    Conv((1, 3, 3, 2), (3, 3, 2, 6), padding=4),  # more padding than image
    Conv((4, 2, 2, 3), (2, 2, 3, 1), stride=7),  # one output, stride far above everything
    Conv((2, 9, 12, 2), (3, 12, 2, 7), padding=((2, 1), (0, 0))),  # as wide as the image: text
    Conv((2, 12, 20, 3), (4, 4, 3, 9), stride=4),  # patches side by side
    Conv((2, 23, 1, 5), (4, 1, 5, 18), padding=((2, 1), (0, 0))),  # a single column: 1-D
    Conv((2, 29, 1, 20), (5, 1, 1, 20), stride=(2, 1), groups=20, padding=((4, 0), (0, 0))),
    Conv((2, 11, 19, 3), (11, 2, 3, 5), padding=((0, 0), (1, 0))),  # as high as the image
    Conv((1, 10, 21, 4), (10, 1, 1, 8), groups=4),  # the same, depthwise
    Conv((2, 5, 7, 20), (5, 7, 1, 20), groups=20),  # as large as the image, depthwise
    Conv((2, 7, 7, 40), (3, 3, 40, 33), padding=1),  # so much padding that it is left out
    Conv((1, 9, 8, 24), (6, 5, 24, 20)),  # nearly as large as the image: each pixel's taps differ
    Conv((1, 7, 6, 90), (5, 5, 90, 70), padding=2),  # the same forward
    Conv((1, 5, 6, 1000), (5, 5, 1000, 18), padding=2),  # ... and K in several slices
    Conv((1, 13, 14, 33), (3, 3, 33, 20), padding=6, dilation=6),  # most taps fall on padding
    Conv((2, 7, 8, 36), (3, 3, 12, 60), padding=(4, 5), dilation=(4, 5), groups=3),  # pairs
    Conv((1, 7, 20, 16), (3, 3, 4, 16), groups=4, padding=1),  # groups that share a vector
    Conv((1, 9, 11, 32), (5, 3, 2, 32), groups=16, stride=2, padding="same"),
    Conv((2, 9, 11, 32), (3, 3, 8, 32), groups=4, padding=1),  # halves of vectors pair up
    Conv((2, 11, 37, 1), (3, 3, 1, 1), padding=1),  # an image filter: vectors along the pixels
    Conv((1, 8, 41, 1), (3, 5, 1, 3), padding=(1, 2)),  # three of them
    Conv((2, 6, 19, 3), (3, 3, 3, 16), padding=1),  # so few channels that each serves all lanes
    Conv((1, 7, 33, 2), (3, 3, 2, 21), padding=((2, 0), (0, 3)), stride=2),
    *(
        Conv((2, 5, 24, c), (3, 3, c, o), padding=1) for c, o in ((1, 8), (9, 8), (4, 4), (3, 2))
    ),  # pairs of pixels
    Conv((2, 9, 24, 2), (5, 5, 2, 8), padding=2),
    Conv((1, 8, 33, 3), (7, 7, 3, 13), padding=((3, 0), (1, 3))),
    Conv((1, 7, 40, 5), (4, 4, 5, 8), padding=(2, 1)),
    Conv((2, 6, 20, 11), (2, 3, 11, 16)),
    Conv((2, 7, 20, 6), (3, 3, 2, 48), groups=3, padding=1),  # whole vectors serve a group each
    Conv((1, 8, 37, 8), (3, 3, 1, 128), groups=8, padding=1, stride=2),
    Conv((1, 6, 17, 3), (3, 3, 1, 30), groups=3, padding=1),  # ten filters a channel
    Conv((1, 6, 21, 3), (3, 3, 1, 3), groups=3, padding=1),  # one for each colour
    Conv((1, 8, 19, 96), (3, 3, 1, 96), groups=96, padding=1),  # depthwise, whole vectors
    Conv((1, 9, 9, 96), (3, 3, 1, 96), groups=96, padding=1, stride=2),
    Conv((2, 7, 19, 512), (3, 3, 1, 512), groups=512, padding=1),  # dL/dW in strips of few pixels
    Conv((2, 8, 38, 33), (3, 3, 1, 33), groups=33, stride=2),  # dL/dx by pairs, the second first
    Conv((1, 11, 27, 18), (5, 5, 1, 18), groups=18, stride=2, padding="same"),
    Conv((2, 9, 23, 35), (5, 5, 1, 35), groups=35, padding=2),  # windows of five taps
    Conv(
        (2, 9, 23, 3), (7, 7, 1, 3), groups=3, padding=3
    ),  # strips are copied, to parts of vectors
    Conv((1, 6, 9, 512), (5, 5, 1, 512), groups=512, padding=2),  # ... and to whole ones
    Conv((1, 15, 20, 18), (7, 7, 1, 36), groups=18, stride=2, padding=((1, 4), (0, 3))),
    Conv((1, 13, 16, 16), (9, 3, 1, 16), groups=16, padding=(8, 2), dilation=(2, 3)),
    Conv((2, 14, 17, 256), (3, 3, 16, 256), groups=16, padding=1),  # bundles of groups
    Conv((2, 9, 17, 48), (7, 7, 8, 48), groups=6, padding=3),  # windows of taps in groups
    Conv((1, 11, 16, 32), (5, 5, 4, 32), groups=8, stride=2, padding="same"),  # and in phases
    Conv((2, 8, 9, 32), (5, 7, 16, 32), groups=2, padding=(2, 3)),  # a group of a whole vector
    Conv((1, 8, 9, 24), (5, 5, 12, 32), groups=2, padding=2),  # ... of fewer inputs
    Conv((1, 8, 9, 24), (7, 7, 6, 24), groups=4, padding=((2, 1), (0, 3))),  # narrow panels
    Conv((1, 12, 11, 33), (7, 7, 33, 7), stride=2, padding=3),  # less than half a vector
    Conv((2, 7, 7, 96), (7, 7, 24, 96), groups=4, padding=3),  # dL/dx packs all weights first
    Conv((1, 9, 6, 144), (3, 3, 16, 144), groups=9, padding=1),
    Conv((3, 1, 1, 20), (3, 3, 20, 270), padding=1),  # dL/dx of one pixel, many filters
    Conv((2, 2, 3, 9), (2, 3, 9, 260)),
    Conv((3, 5, 5, 6), (5, 5, 6, 40)),  # dL/dx in place: each pixel has a tap of its own
    Conv((3, 10, 13, 20), (3, 3, 20, 24), padding=1),  # Winograd tiles of all four kinds
    Conv((2, 14, 15, 32), (3, 3, 16, 40), padding=(2, 0), dilation=(1, 2), groups=2),
    Conv((1, 30, 31, 18), (3, 3, 18, 20), padding=((2, 1), (0, 3))),  # several blocks of them
    Conv((2, 9, 11, 1), (3, 3, 1, 35), padding=1),  # dL/dW of one channel: kernel rows joined
    Conv((1, 12, 13, 1), (5, 5, 1, 6), stride=2),
]
