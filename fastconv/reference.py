"""The convolution and its two gradients as plain NumPy: slow, obvious, and the oracle of the tests.

Every function has the signature and the meaning of its namesake in `fastconv`, and shares no code
with it. All sums run in float64. The whole method is one idea: fix a kernel tap (i, j). Over all
outputs (p, q) it meets the padded input at rows ``p * stride + i * dilation`` and columns
``q * stride + j * dilation``, which is one strided slice, the *window* of the tap. With x_pad the
input inside its border of zeros:

    y              += x_pad[window] @ w[i, j]              forward
    dx_pad[window] += dy @ w[i, j].T                       gradient of the input; crop the border
    dw[i, j]        = sum of x_pad[window].T @ dy          gradient of the weights

Shapes: x (N, H, W, C), w (KH, KW, C // groups, O), y and dy (N, OH, OW, O); an x without N gives
results without N. `einsum` spells the products rather than `@`, as it never calls BLAS: a NaN or
an infinity stays exactly where these lines put it.

Sources: the formulas are those of I. Goodfellow, Y. Bengio and A. Courville, "Deep Learning",
2016, section 9.5; the arithmetic of shapes is that of V. Dumoulin and F. Visin, "A guide to
convolution arithmetic for deep learning", 2016; "same" is as TensorFlow documents it.
"""

import math
import operator
import sys
from typing import NamedTuple

import numpy

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_output_shape", "conv2d_weight_grad"]

# Numbers of axes an array or a shape may have; weights, not listed, have 4.
_AXES = {"x": (3, 4), "dy": (3, 4), "input_shape": (3, 4), "bias": (1,)}


def conv2d(
    x, w, bias=None, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None
):
    """Convolve `x` with the filters `w` (cross-correlation, as in every deep-learning library).

    With x_pad = x inside a border of zeros (`numpy.pad`), for one group (Goodfellow et al.)::

        y[n, p, q, o] = bias[o] + sum over i, j, c of
                        x_pad[n, p*stride + i*dilation, q*stride + j*dilation, c] * w[i, j, c, o]

    Parameters
    ----------
    x : array_like, shape (N, H, W, C) or (H, W, C)
    w : array_like, shape (KH, KW, C // groups, O)
    bias : array_like, shape (O,), optional
    stride, dilation : int or pair of ints, at least 1
    padding : int, pair of ints, ((top, bottom), (left, right)), "valid" or "same"
        "same" gives OH = ceil(H / stride), the odd element at the bottom and right.
    groups : int
        Output channels [k*O/groups, (k+1)*O/groups) read only the k-th slice of input channels.
    algorithm : {"auto", "direct", "winograd"}
        Checked, and otherwise ignored: there is one way here.
    out : ndarray, optional
        Where to put the result; right shape and dtype, writable, apart from every input.

    Returns
    -------
    y : ndarray, shape (N, OH, OW, O) or (OH, OW, O)
        float32 or float64, as NumPy promotes the inputs; float64 where no input is a float.

    Raises
    ------
    ValueError
        For negative padding, a kernel that does not fit, sizes whose product overflows, ...
    TypeError
        For arguments of a wrong type, complex and longdouble arrays among them.

    Examples
    --------
    >>> x = numpy.arange(16.0).reshape(4, 4, 1)
    >>> w = numpy.ones((3, 3, 1, 1))
    >>> conv2d(x, w)[..., 0]
    array([[45., 54.],
           [81., 90.]])
    """
    x, w = _array("x", x), _array("w", w)
    g = _geometry(x.shape, w.shape, stride, padding, dilation, groups)
    inputs = {"x": x, "w": w}
    if bias is not None:
        inputs["bias"] = bias = _array("bias", bias)
        _check_shape("bias", bias.shape, w.shape[3:])
    x_pad, w64, y = _pad(x, g), numpy.require(w, float, "CA"), numpy.zeros(g.y_shape)
    with numpy.errstate(all="ignore"):
        for i, j, o, seen in g.taps(x_pad):
            y[..., o] += numpy.einsum("nhwc,co->nhwo", seen, w64[i, j, :, o])
        if bias is not None:
            y += bias
    return _deliver(y[0] if g.unbatched else y, inputs, algorithm, out)


def conv2d_input_grad(
    dy, w, input_shape, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None
):
    """Gradient of a loss with respect to the input of `conv2d`, from `dy`, that of its output.

    Each x[n, h, k, c] collects what all outputs that read it send back. For one group (the chain
    rule; Goodfellow et al.)::

        dx[n, h, k, c] = sum over the (p, i), (q, j) with p*stride + i*dilation - top == h,
                         q*stride + j*dilation - left == k, and over o, of
                         dy[n, p, q, o] * w[i, j, c, o]

    The border takes no part: no zero of the padding is multiplied. Where no output reads x the
    sum is empty and dx is 0. This is also the transposed convolution of `dy`.

    Parameters
    ----------
    dy : array_like, shape (N, OH, OW, O) or (OH, OW, O)
    w : array_like, shape (KH, KW, C // groups, O)
    input_shape : tuple, (N, H, W, C) or (H, W, C)
        The shape of x. It must be given: with a stride several inputs share one output shape.
    stride, padding, dilation, groups, algorithm, out : as in `conv2d`

    Returns
    -------
    dx : ndarray, shape `input_shape`

    Raises
    ------
    ValueError, TypeError : as `conv2d`; also where `dy` has not the shape of its output

    Examples
    --------
    >>> dy = numpy.ones((2, 2, 1))
    >>> w = numpy.ones((2, 2, 1, 1))
    >>> conv2d_input_grad(dy, w, (3, 3, 1))[..., 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    dy, w = _array("dy", dy), _array("w", w)
    g = _geometry(input_shape, w.shape, stride, padding, dilation, groups, "input_shape")
    _check_shape("dy", dy.shape, g.y_shape[g.unbatched :])
    dy64, w64 = numpy.require(dy, float, "CA"), numpy.require(w, float, "CA")
    dy64, dx_pad = dy64.reshape(g.y_shape), numpy.zeros(g.padded_shape)
    with numpy.errstate(all="ignore"):
        for i, j, o, seen in g.taps(dx_pad):
            seen += numpy.einsum("nhwo,co->nhwc", dy64[..., o], w64[i, j, :, o])
    dx = dx_pad[:, g.rows.inside, g.columns.inside]
    return _deliver(dx[0] if g.unbatched else dx, {"dy": dy, "w": w}, algorithm, out)


def conv2d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None
):
    """Gradient of a loss with respect to the weights of `conv2d`, from `dy`, that of its output.

    With x_pad as in `conv2d`, for one group (the chain rule; Goodfellow et al.)::

        dw[i, j, c, o] = sum over n, p, q of
                         x_pad[n, p*stride + i*dilation, q*stride + j*dilation, c] * dy[n, p, q, o]

    Parameters
    ----------
    x : array_like, shape (N, H, W, C) or (H, W, C)
    dy : array_like, shape (N, OH, OW, O) or (OH, OW, O)
    kernel_size : int or pair of ints, (KH, KW)
    stride, padding, dilation, groups, algorithm, out : as in `conv2d`

    Returns
    -------
    dw : ndarray, shape (KH, KW, C // groups, O)
        Exactly zero for an empty batch.

    Raises
    ------
    ValueError, TypeError : as `conv2d`; also where `dy` has not the shape of its output

    Examples
    --------
    >>> x = numpy.arange(9.0).reshape(3, 3, 1)
    >>> dy = numpy.ones((2, 2, 1))
    >>> conv2d_weight_grad(x, dy, 2)[..., 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    x, dy = _array("x", x), _array("dy", dy)
    depth = x.shape[-1] // _group_count(groups)
    w_shape = (*_pair("kernel_size", kernel_size), depth, dy.shape[-1])
    g = _geometry(x.shape, w_shape, stride, padding, dilation, groups, "x", "kernel_size")
    _check_shape("dy", dy.shape, g.y_shape[g.unbatched :])
    dy64 = numpy.require(dy, float, "CA").reshape(g.y_shape)
    x_pad, dw = _pad(x, g), numpy.zeros(w_shape)
    with numpy.errstate(all="ignore"):
        for i, j, o, seen in g.taps(x_pad):
            dw[i, j, :, o] = numpy.einsum("nhwc,nhwo->co", seen, dy64[..., o])
    return _deliver(dw, {"x": x, "dy": dy}, algorithm, out)


def conv2d_output_shape(input_shape, weight_shape, *, stride=1, padding=0, dilation=1, groups=1):
    """Shape of `conv2d`'s result: OH = floor((H + top + bottom - window) / stride) + 1.

    Here window = dilation * (KH - 1) + 1, and OW likewise (Dumoulin and Visin, chapter 5).

    Parameters
    ----------
    input_shape : tuple, (N, H, W, C) or (H, W, C)
    weight_shape : tuple, (KH, KW, C // groups, O)
    stride, padding, dilation, groups : as in `conv2d`

    Returns
    -------
    tuple of int, (N, OH, OW, O) or (OH, OW, O)

    Raises
    ------
    ValueError, TypeError : as `conv2d`

    Examples
    --------
    >>> conv2d_output_shape((5, 5, 3), (3, 3, 3, 16))
    (3, 3, 16)
    """
    described = input_shape, weight_shape, stride, padding, dilation, groups
    g = _geometry(*described, "input_shape", "weight_shape")
    return g.y_shape[g.unbatched :]


class _Axis(NamedTuple):
    """Rows, or columns: how many there are, and which of them meet a kernel tap."""

    stride: int
    dilation: int
    inside: slice  # x in the padded array
    padded: int
    outputs: int

    def window(self, tap):
        """Return the padded elements that a tap meets, one for each output."""
        first = tap * self.dilation
        return slice(first, max(first + (self.outputs - 1) * self.stride + 1, 0), self.stride)


def _axis(size, kernel, stride, dilation, pad):
    window = dilation * (kernel - 1) + 1
    if pad == "same":
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        pad = (total // 2, total - total // 2)
    padded, inside = size + sum(pad), slice(pad[0], pad[0] + size)
    return _Axis(stride, dilation, inside, padded, (padded - window) // stride + 1)


class _Geometry(NamedTuple):
    unbatched: bool  # the caller's x has no N axis; every shape here has one
    y_shape: tuple  # (N, OH, OW, O)
    padded_shape: tuple  # (N, top + H + bottom, left + W + right, C)
    kernel: tuple  # (KH, KW)
    rows: _Axis
    columns: _Axis
    groups: int

    def taps(self, padded):
        """Yield (i, j, o, seen) for every kernel tap (i, j) of every group.

        `o` is the slice of the group's output channels, `seen` the view of all that the tap
        meets in `padded`: (N, OH, OW, C // groups).
        """
        depth, width = self.padded_shape[3] // self.groups, self.y_shape[3] // self.groups
        for i, j, k in numpy.ndindex(*self.kernel, self.groups):
            c, o = slice(k * depth, (k + 1) * depth), slice(k * width, (k + 1) * width)
            yield i, j, o, padded[:, self.rows.window(i), self.columns.window(j), c]


def _geometry(x_shape, w_shape, stride, padding, dilation, groups, x_name="x", w_name="w"):
    """Check the description of a convolution and work out all that follows from it."""
    x_shape, w_shape = _shape(x_name, x_shape), _shape(w_name, w_shape)
    stride, dilation = _pair("stride", stride), _pair("dilation", dilation)
    groups, pads = _group_count(groups), _padding(padding)
    unbatched = len(x_shape) == 3
    n, height, width, channels = (1, *x_shape) if unbatched else x_shape
    *kernel, depth, filters = w_shape
    if min(kernel) < 1:
        raise ValueError(f"{w_name} must have a kernel of at least 1x1, got {w_shape}")
    if channels % groups or filters % groups:
        expected = f"divide the {channels} channels of {x_name} and the {filters} of the output"
        raise ValueError(f"groups must {expected}, got {groups}")
    if depth != channels // groups:
        expected = f"C // groups = {channels // groups} channels on its third axis"
        raise ValueError(f"{w_name} must have {expected}, got {w_shape}")
    rows = _axis(height, kernel[0], stride[0], dilation[0], pads[0])
    columns = _axis(width, kernel[1], stride[1], dilation[1], pads[1])
    if any(a.outputs < 1 and pad != "same" for a, pad in zip((rows, columns), pads, strict=True)):
        expected = f"fit the padded {x_name}, {rows.padded}x{columns.padded}, dilated by {dilation}"
        raise ValueError(f"{w_name} must {expected}, got a kernel of {tuple(kernel)}")
    y_shape = (n, rows.outputs, columns.outputs, filters)
    padded_shape = (n, rows.padded, columns.padded, channels)
    for shape in (padded_shape, y_shape, w_shape):
        # A zero elsewhere does not help: NumPy refuses a single size that is too large, too.
        if math.prod(max(size, 1) for size in shape) * 8 > sys.maxsize:
            expected = f"{x_name}, {w_name} and padding must make arrays of at most {sys.maxsize}"
            raise ValueError(f"{expected} bytes, got one of shape {shape}")
    return _Geometry(unbatched, y_shape, padded_shape, kernel, rows, columns, groups)


def _padding(padding):
    """Every form of `padding` as ((top, bottom), (left, right)), but "same" as ("same", "same")."""
    expected = "a non-negative int, a pair, ((top, bottom), (left, right)), 'valid' or 'same'"
    if isinstance(padding, str):
        named = {"valid": ((0, 0), (0, 0)), "same": ("same", "same")}
        if padding in named:
            return named[padding]
    elif numpy.iterable(padding) and any(map(numpy.iterable, padding)):
        sides = tuple(_integers("padding", side, expected, 0, got=padding) for side in padding)
        if [len(side) for side in sides] == [2, 2]:
            return sides
    else:
        return tuple((p, p) for p in _pair("padding", padding, expected, least=0))
    raise ValueError(f"padding must be {expected}, got {padding!r}")


def _shape(name, value):
    """`value` as a tuple of ints that may be the shape of the argument `name`."""
    shape = _integers(name, value, "a shape, a tuple of ints", 0, got=value)
    axes = _AXES.get(name, (4,))
    if len(shape) not in axes:
        raise ValueError(f"{name} must have {' or '.join(map(str, axes))} axes, got {shape}")
    return shape


def _pair(name, value, expected="a positive int or a pair of them", least=1):
    values = value if numpy.iterable(value) else (value, value)
    pair = _integers(name, values, expected, least, got=value)
    if len(pair) != 2:
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return pair


def _group_count(groups):
    return _integers("groups", [groups], "a positive int", 1, got=groups)[0]


def _integers(name, values, expected, least, got):
    """`values` as a tuple of ints no less than `least`: numpy's integers too, but no bools."""
    message = f"{name} must be {expected}, got {got!r}"
    try:
        values = tuple(values)
        if isinstance(got, bytes) or any(isinstance(v, (bool, numpy.bool_)) for v in values):
            raise TypeError
        values = tuple(map(operator.index, values))
    except TypeError:
        raise TypeError(message) from None
    if any(value < least for value in values):
        raise ValueError(message)
    return values


def _array(name, value):
    """Return the argument as an ndarray of numbers with a possible number of axes."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        value = numpy.from_dlpack(value)
    try:
        array = numpy.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        expected = "bools, integers or floats of at most 64 bits"
        raise TypeError(f"{name} must hold {expected}, got {array.dtype}")
    _shape(name, array.shape)
    return array


def _pad(x, g):
    """`x` in float64 inside its border of zeros: (N, top + H + bottom, left + W + right, C)."""
    x_pad = numpy.zeros(g.padded_shape)
    x_pad[:, g.rows.inside, g.columns.inside] = x
    return x_pad


def _check_shape(name, shape, expected):
    if shape != expected:
        raise ValueError(f"{name} must have shape {expected}, got {shape}")


def _deliver(result, inputs, algorithm, out):
    """Cast the float64 `result` as NumPy promotes the inputs; put it into `out` if one is given."""
    if not isinstance(algorithm, str) or algorithm not in ("auto", "direct", "winograd"):
        error = ValueError if isinstance(algorithm, str) else TypeError
        raise error(f"algorithm must be 'auto', 'direct' or 'winograd', got {algorithm!r}")
    dtype = numpy.result_type(*(array.dtype for array in inputs.values()))
    small = dtype.kind == "f" and dtype.itemsize <= 4  # float16 alone computes as float32
    dtype = numpy.dtype(numpy.float32 if small else numpy.float64)
    with numpy.errstate(all="ignore"):
        result = result.astype(dtype)
    if out is None:
        return result
    if not isinstance(out, numpy.ndarray) or out.dtype != dtype:
        got = getattr(out, "dtype", type(out).__name__)
        raise TypeError(f"out must be an ndarray of {dtype}, got {got}")
    _check_shape("out", out.shape, result.shape)
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
    for name, array in inputs.items():
        if numpy.shares_memory(out, array):
            raise ValueError(f"out must not overlap an input, got one that overlaps {name}")
    out[...] = result
    return out
