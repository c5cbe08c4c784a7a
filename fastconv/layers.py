"""A convolution layer with its gradients: the functions of `fastconv.functional`, plus state.

`Conv2D` owns a weight and a bias, remembers the last input, and hands both gradients to
whatever optimiser you wrote.  All arithmetic is done by `fastconv.functional`; this module
checks arguments, draws the first weights and sums the bias gradient.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy

from fastconv import geometry
from fastconv.functional import conv2d, conv2d_input_grad, conv2d_weight_grad
from fastconv.packing import PackedWeights, pack

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastconv._typing import Padding, Pair

__all__ = ["Conv2D"]

# Rows of pixels narrower than this many elements are summed side by side; see `_sum_pixels`.
_FOLDED_WIDTH = 512

# A weight of more elements has more bytes than a signed 64-bit size can count.
_MOST_WEIGHTS = 2**57


class Conv2D:
    r"""A 2-D convolution layer for NHWC arrays, with its gradients.

    Forward, for a pixel (i, j) and an output channel o of the group that reads channels c::

        y[n, i, j, o] = bias[o] + sum over p, q, c of
            x[n, i*stride - top + p*dilation, j*stride - left + q*dilation, c] * weight[p, q, c, o]

    Backward, for a loss L and `dy` = dL/dy::

        weight_grad = dL/dweight        bias_grad = dL/dbias        the result = dL/dx

    Parameters
    ----------
    in_channels, out_channels : int
        C and O, the channels of the input and of the output.
    kernel_size : int or pair of int
        KH and KW.
    stride : int or pair of int
        Step from one output to the next.
    padding : int, pair, ``((top, bottom), (left, right))``, "valid" or "same"
        Zeros around the input.  "same" makes OH = ceil(H / stride), as TensorFlow does.
    dilation : int or pair of int
        Step from one tap of the kernel to the next.
    groups : int
        Channels are cut into this many groups that do not see each other.  It must divide
        both `in_channels` and `out_channels`.
    bias : bool
        Whether the layer has a bias.
    dtype : numpy.float32 or numpy.float64
        Type of the parameters and of their gradients.
    rng : None, int or numpy.random.Generator
        Where the first weights are drawn from: None is different every time, an int is a
        seed, a Generator is drawn from (and so moves on).

    Attributes
    ----------
    weight : ndarray of shape (KH, KW, C // groups, O)
    bias : ndarray of shape (O,), or None
    weight_grad : ndarray of the shape and dtype of `weight`, or None before `backward`
    bias_grad : ndarray of shape (O,), or None before `backward` and for a layer without bias
    in_channels, out_channels, groups : int
    kernel_size, stride, dilation : pair of int
    padding : ``((top, bottom), (left, right))`` or "same"
    training : bool
        Whether the weight is expected to change between calls; see `eval` and `train`.

    Raises
    ------
    TypeError, ValueError
        For a bad argument, when the layer is made.  The message names it and says what it got.

    See Also
    --------
    fastconv.conv2d, fastconv.conv2d_input_grad, fastconv.conv2d_weight_grad

    Notes
    -----
    *First weights.*  He (Kaiming) normal: independent draws from a normal distribution of mean
    0 and variance 2 / (KH * KW * C / groups), which keeps the size of the signal the same from
    layer to layer under ReLU [1]_.  Biases start at zero.  Draws are made in float64 and then
    rounded, so one seed starts a float32 and a float64 layer at the same place.

    *Gradients are fresh.*  Each `backward` sets `weight_grad` and `bias_grad` to new arrays;
    nothing is accumulated, nothing has to be zeroed, and an array kept from an earlier step
    does not change.

    *The input is kept.*  `forward` keeps a reference to its input (not a copy) for `backward`,
    so the input must not be modified in between.  It stays alive until the next `forward`, and
    is left out when the layer is pickled or copied.  To predict without keeping anything, call
    `fastconv.conv2d` with `layer.weight` and `layer.bias`.  Because of this state, a layer
    serves one thread at a time; the functions have no such limit.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers: Surpassing
       Human-Level Performance on ImageNet Classification", ICCV 2015, section 2.2.

    Examples
    --------
    Sixteen filters of 3x3 over a 5x5 image of three channels:

    >>> import numpy
    >>> import fastconv
    >>> layer = fastconv.Conv2D(3, 16, 3, rng=0)
    >>> x = numpy.ones((5, 5, 3), dtype=numpy.float32)
    >>> y = layer(x)
    >>> y.shape
    (3, 3, 16)
    >>> dx = layer.backward(numpy.ones_like(y))
    >>> dx.shape, layer.weight_grad.shape, layer.bias_grad.shape
    ((5, 5, 3), (3, 3, 3, 16), (16,))

    One step of gradient descent:

    >>> layer.weight -= 0.01 * layer.weight_grad
    >>> layer.bias -= 0.01 * layer.bias_grad
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DTypeLike = numpy.float32,
        rng: int | numpy.random.Generator | None = None,
    ) -> None:
        self.in_channels = _integer(in_channels, "in_channels", 0)
        self.out_channels = _integer(out_channels, "out_channels", 0)
        self.kernel_size = _kernel_pair(kernel_size)
        self.groups = _integer(groups, "groups", 1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"groups must divide {name}={getattr(self, name)}, got {self.groups}"
                )
        if not isinstance(bias, bool | numpy.bool_):
            raise TypeError(f"bias must be True or False, got {bias!r}")
        # A 1x1 kernel on a 1x1 image fits whatever the stride, padding and dilation are, so
        # only those three can be refused here.
        g = geometry.resolve(
            (1, 1, self.in_channels),
            (1, 1, self.in_channels // self.groups, self.out_channels),
            stride, padding, dilation, self.groups,
        )  # fmt: skip
        self.stride = (g.stride_height, g.stride_width)
        self.dilation = (g.dilation_height, g.dilation_width)
        self.padding: Literal["same"] | tuple[tuple[int, int], tuple[int, int]] = (
            (g.pad_top, g.pad_bottom),
            (g.pad_left, g.pad_right),
        )
        if isinstance(padding, str) and padding == "same":
            self.padding = "same"  # how much it is depends on the size of the image

        self._rng_text = str(rng)
        real = _float_dtype(dtype)
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        self.weight: NDArray[Any] = _he_normal(shape, rng).astype(real)
        self.bias: NDArray[Any] | None = numpy.zeros(self.out_channels, real) if bias else None
        self.weight_grad: NDArray[Any] | None = None
        self.bias_grad: NDArray[Any] | None = None
        self.training = True
        self._input: NDArray[Any] | None = None
        self._packed: PackedWeights | None = None

    def train(self, mode: bool = True) -> Conv2D:
        """Expect the weight to change between calls, as at first; ``train(False)`` is `eval`.

        Parameters
        ----------
        mode : bool

        Returns
        -------
        Conv2D
            The layer itself.

        Examples
        --------
        >>> import fastconv
        >>> fastconv.Conv2D(3, 16, 3).eval().train().training
        True
        """
        self.training = bool(mode)
        self._packed = None
        return self

    def eval(self) -> Conv2D:
        """Expect the weight to stay: prepare it once, as `fastconv.pack` does, and use that.

        A `weight` that is replaced or written all the same is noticed: each `forward` compares it
        with what was prepared, byte for byte (a fraction of what preparing takes), and prepares it
        again if it differs.  Results have the same bits in both modes; `backward` works in both.

        Returns
        -------
        Conv2D
            The layer itself.

        See Also
        --------
        fastconv.pack : for weights that nobody can change, without the comparison.

        Examples
        --------
        >>> import numpy, fastconv
        >>> layer = fastconv.Conv2D(64, 64, 3, padding="same").eval()
        >>> y = layer(numpy.ones((1, 28, 28, 64), numpy.float32))
        >>> layer.weight *= 2
        >>> numpy.allclose(layer(numpy.ones((1, 28, 28, 64), numpy.float32)), 2 * y)
        True
        """
        return self.train(False)

    def forward(self, x: ArrayLike) -> NDArray[Any]:
        """Convolve `x`, and keep a reference to it for `backward`.

        Parameters
        ----------
        x : array_like of shape (N, H, W, C) or (H, W, C)
            Must not be modified before `backward`.

        Returns
        -------
        ndarray of shape (N, OH, OW, O) or (OH, OW, O)
            ``conv2d(x, layer.weight, layer.bias, ...)``; its dtype is that of `x` and the
            weight promoted as NumPy promotes them.

        Raises
        ------
        TypeError, ValueError
            For an `x` that `fastconv.conv2d` refuses.

        Examples
        --------
        >>> import numpy, fastconv
        >>> fastconv.Conv2D(3, 16, 3, stride=2, padding="same")(numpy.ones((8, 28, 28, 3))).shape
        (8, 14, 14, 16)
        """
        kept = _as_array(x)
        y = conv2d(kept, self._weight_to_use(), self.bias, **self._geometry())
        self._input = kept
        return y

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``self.forward(x)``."""
        return self.forward(x)

    def backward(self, dy: ArrayLike, *, input_grad: bool = True) -> NDArray[Any] | None:
        """Set `weight_grad` and `bias_grad`, and return the gradient for the layer before.

        With h = `dy`, the gradient of the loss at this layer's last output::

            weight_grad[p, q, c, o] = sum over n, i, j of h[n, i, j, o] * (the x that tap read)
            bias_grad[o]            = sum over n, i, j of h[n, i, j, o]
            dx                      = each h[n, i, j, o] * weight[p, q, c, o], added up where
                                      tap (p, q) of pixel (i, j) read x

        Parameters
        ----------
        dy : array_like of the shape of the last output, (N, OH, OW, O) or (OH, OW, O)
        input_grad : bool
            False skips `dx`, which the first layer of a network has no use for.

        Returns
        -------
        ndarray of the shape of the last input, or None for ``input_grad=False``

        Raises
        ------
        RuntimeError
            When there was no `forward` to go back through.
        TypeError, ValueError
            For a `dy` that does not fit the last output; the gradients stay as they were.

        Notes
        -----
        The bias gradient is summed in float64, in an order that depends on the shape alone: it
        is bitwise reproducible, and for float32 correct to the last bit but for rare ties.

        Examples
        --------
        >>> import numpy, fastconv
        >>> layer = fastconv.Conv2D(1, 2, 3)
        >>> y = layer(numpy.ones((4, 6, 6, 1), dtype=numpy.float32))
        >>> layer.backward(numpy.ones_like(y), input_grad=False)
        >>> layer.weight_grad[..., 0, 0]
        array([[64., 64., 64.],
               [64., 64., 64.],
               [64., 64., 64.]], dtype=float32)
        """
        if self._input is None:
            raise RuntimeError("backward needs a forward before it: call layer(x) first")
        x, h, how = self._input, _as_array(dy), self._geometry()
        # Everything is computed before anything is set, so a refused dy changes nothing.
        weight_grad = conv2d_weight_grad(x, h, self.kernel_size, **how)
        dx = conv2d_input_grad(h, self.weight, x.shape, **how) if input_grad else None
        self.weight_grad = weight_grad.astype(self.weight.dtype, copy=False)
        if self.bias is not None:
            self.bias_grad = _sum_pixels(h).astype(self.bias.dtype, copy=False)
        return dx

    def _weight_to_use(self) -> NDArray[Any] | PackedWeights:
        """Return the weight, prepared where it is expected to stay."""
        if self.training:
            return self.weight
        if self._packed is None or not self._packed.holds(self.weight):
            self._packed = pack(self.weight, **self._geometry())
        return self._packed

    def _geometry(self) -> dict[str, Any]:
        """Return the keyword arguments that every function of `fastconv.functional` takes."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but the input of `backward` and what can be made again."""
        return {**self.__dict__, "_input": None, "_packed": None}

    def __repr__(self) -> str:
        """Return the call that makes such a layer, with every argument that is no default."""
        optional = {
            "stride": (_brief(self.stride), "1"),
            "padding": (_brief_padding(self.padding), "0"),
            "dilation": (_brief(self.dilation), "1"),
            "groups": (str(self.groups), "1"),
            "bias": (str(self.bias is not None), "True"),
            "dtype": (repr(self.weight.dtype.name), "'float32'"),
            "rng": (self._rng_text, "None"),
        }
        arguments = [str(self.in_channels), str(self.out_channels), _brief(self.kernel_size)]
        arguments += [f"{name}={text}" for name, (text, usual) in optional.items() if text != usual]
        return f"Conv2D({', '.join(arguments)})"


def _integer(value: Any, name: str, least: int) -> int:
    """Return `value` as an int of at least `least`, or raise an error about argument `name`."""
    wanted = "a positive int" if least == 1 else "a non-negative int"
    if isinstance(value, bool | numpy.bool_) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be {wanted}, got {value!r}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be {wanted}, got {number}")
    return number


def _kernel_pair(value: Any) -> tuple[int, int]:
    """Return `kernel_size` as (KH, KW)."""
    if not isinstance(value, tuple | list):
        side = _integer(value, "kernel_size", 1)
        return side, side
    if len(value) != 2:
        raise ValueError(f"kernel_size must be an int or a pair of ints, got {value!r}")
    return _integer(value[0], "kernel_size", 1), _integer(value[1], "kernel_size", 1)


def _float_dtype(dtype: DTypeLike) -> numpy.dtype[Any]:
    """Return float32 or float64 as a numpy.dtype in the machine's byte order."""
    try:
        # numpy.dtype(None) is float64, which nobody who writes None has in mind.
        found = None if dtype is None else numpy.dtype(dtype).newbyteorder("=")
    except TypeError:
        found = None
    if found not in (numpy.float32, numpy.float64):
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
    return found


def _he_normal(shape: tuple[int, ...], rng: Any) -> NDArray[numpy.float64]:
    """Return first weights of `shape` (KH, KW, C // groups, O), drawn as He et al. do."""
    try:
        generator = numpy.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, an int of at least 0 or a numpy Generator, got {rng!r}"
        ) from error
    if math.prod(shape) > _MOST_WEIGHTS:
        raise ValueError(
            "in_channels, out_channels and kernel_size must make a weight of at most 2**57 "
            f"elements, got {shape}"
        )
    fan_in = math.prod(shape[:3])
    return generator.normal(0.0, math.sqrt(2.0 / max(fan_in, 1)), shape)


def _as_array(values: Any) -> NDArray[Any]:
    """Return `values` as an ndarray, without a copy where there is something to share."""
    if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
        return numpy.from_dlpack(values)
    return numpy.asarray(values)


def _sum_pixels(h: NDArray[Any]) -> NDArray[Any]:
    """Return h, of shape (..., O), summed in float64 over all axes but the last.

    NumPy adds (pixels, O) row by row, so a narrow row costs a loop start for a few additions.
    Folding k pixels into one row of k * O elements, and adding the k columns of an output at
    the end, makes rows wide again: for O = 3 it is ten times faster.  Shapes decide the order
    of the additions, so the result does not change from run to run.
    """
    out_channels = h.shape[-1]
    pixels = math.prod(h.shape[:-1])
    rows = numpy.ascontiguousarray(h).reshape(pixels, out_channels)
    fold = _FOLDED_WIDTH // max(out_channels, 1)
    if fold < 2 or pixels < 4 * fold:
        return rows.sum(axis=0, dtype=numpy.float64)
    whole = pixels - pixels % fold
    folded = rows[:whole].reshape(whole // fold, fold * out_channels)
    columns = folded.sum(axis=0, dtype=numpy.float64).reshape(fold, out_channels)
    return columns.sum(axis=0) + rows[whole:].sum(axis=0, dtype=numpy.float64)


def _brief(pair: tuple[Any, Any]) -> str:
    """Return a pair of equal numbers as one number, as one would write it."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _brief_padding(padding: str | tuple[tuple[int, int], tuple[int, int]]) -> str:
    """Return `padding` the shortest way one could write it."""
    if isinstance(padding, str):
        return repr(padding)
    (top, bottom), (left, right) = padding
    return _brief((top, left)) if (top, left) == (bottom, right) else str(padding)
