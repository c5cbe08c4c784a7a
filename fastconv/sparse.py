"""Convolution as a product with a sparse matrix: one row an output, its weights shared.

It is the other way to see a convolution, for reading, for checking, and for solvers that want
a matrix; `fastconv.conv2d` is the fast way.  SciPy is imported only when a matrix is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from fastconv import geometry

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import csr_array

    from fastconv._typing import Padding, Pair

__all__ = ["conv2d_matrix"]


def conv2d_matrix(
    w: ArrayLike,
    input_shape: tuple[int, int, int],
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> csr_array:
    r"""Return the sparse matrix M of a convolution: ``y.ravel() == M @ x.ravel()``.

    For one image x of shape (H, W, C), and y = `conv2d` (x, w, ...) of shape (OH, OW, O)::

        M[(i, j, o), (a, b, c)] = w[p, q, c, o]   where   a = i*stride - top  + p*dilation
                                                  and     b = j*stride - left + q*dilation

    and nothing elsewhere, so that all rows of one filter hold the same weights, shifted.
    The transpose is the input gradient: ``dx.ravel() == M.T @ dy.ravel()``.

    Parameters
    ----------
    w : array_like of shape (KH, KW, C // groups, O)
        The filters.
    input_shape : tuple of int
        (H, W, C), of one image.
    stride, dilation : int or pair of int
        Step from one output to the next, and from one tap of the kernel to the next.
    padding : int, pair, ``((top, bottom), (left, right))``, "valid" or "same"
        Zeros around the image.
    groups : int
        Groups of channels that do not see each other.

    Returns
    -------
    scipy.sparse.csr_array of shape (OH * OW * O, H * W * C)
        float32 or float64 as `w` is; integers and bools become float64.  Column indices are
        sorted and unique.

    Raises
    ------
    ImportError
        Without SciPy, the package's extra "sparse".
    TypeError, ValueError
        For arguments that `fastconv.conv2d` refuses, and for an `input_shape` that is not that
        of one image.

    See Also
    --------
    fastconv.conv2d, fastconv.conv2d_input_grad

    Notes
    -----
    Weights that are zero are stored like any other, so the structure depends on the geometry
    alone: matrices of two filter banks add entry by entry, and ``M.data`` always lines up.
    ``M.eliminate_zeros()`` drops them.  Taps that fall on padding have no column, hence no
    entry.

    M has OH * OW * KH * KW * C * O / groups entries less those on padding.  That is a lot: the
    matrix is for small images.

    References
    ----------
    .. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016,
       section 4.1, https://arxiv.org/abs/1603.07285

    Examples
    --------
    A 4x4 image and a 3x3 kernel: 4 rows for the outputs, 16 columns for the pixels.

    >>> import numpy, fastconv
    >>> w = numpy.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    >>> m = fastconv.conv2d_matrix(w, (4, 4, 1))
    >>> m.toarray().astype(int)
    array([[1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0],
           [0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0],
           [0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0],
           [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9]])
    >>> x = numpy.arange(16.0).reshape(4, 4, 1)
    >>> numpy.array_equal(m @ x.ravel(), fastconv.conv2d(x, w).ravel())
    True
    """
    try:
        from scipy import sparse
    except ImportError as error:
        raise ImportError('conv2d_matrix needs SciPy: pip install "fastconv[sparse]"') from error

    weights = _as_float(w)
    g = geometry.resolve(input_shape, weights.shape, stride, padding, dilation, groups)
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be (H, W, C) of one image, got {input_shape!r}")

    # Axes of everything below: (OH, OW, O, KH, KW, C // groups), the order in which CSR wants
    # its entries.  Only `inside` is that big, a byte an entry; the rest are broadcast views
    # until the mask picks the taps that fall on the image.
    rows, row_inside = _positions(
        g.out_height, g.kernel_height, g.stride_height, g.dilation_height, g.pad_top, g.in_height
    )
    columns, column_inside = _positions(
        g.out_width, g.kernel_width, g.stride_width, g.dilation_width, g.pad_left, g.in_width
    )
    kernel, channels = weights.shape[:2], weights.shape[2]
    full = (g.out_height, g.out_width, g.out_channels, *kernel, channels)
    on_image = row_inside[:, None, :, None] & column_inside[None, :, None, :]
    pixel = rows[:, None, :, None] * g.in_width + columns[None, :, None, :]
    first_channel = numpy.arange(g.out_channels) // max(g.out_channels // g.groups, 1) * channels
    channel = first_channel[:, None] + numpy.arange(channels)

    inside = numpy.ascontiguousarray(numpy.broadcast_to(on_image[:, :, None, :, :, None], full))
    data = numpy.broadcast_to(weights.transpose(3, 0, 1, 2), full)[inside]
    indices = numpy.broadcast_to((pixel * g.in_channels)[:, :, None, :, :, None], full)[inside]
    indices += numpy.broadcast_to(channel[:, None, None, :], full)[inside]

    entries = numpy.repeat(on_image.sum(axis=(2, 3)).ravel() * channels, g.out_channels)
    starts = numpy.concatenate(([0], numpy.cumsum(entries)))
    size = (len(entries), g.in_height * g.in_width * g.in_channels)
    index_dtype = sparse.get_index_dtype(maxval=max(*size, len(data)))
    return sparse.csr_array(
        (data, indices.astype(index_dtype), starts.astype(index_dtype)), shape=size
    )


def _positions(
    outputs: int, taps: int, stride: int, dilation: int, before: int, size: int
) -> tuple[NDArray[numpy.int64], NDArray[numpy.bool_]]:
    """Return, for one axis, what each tap of each output reads, and whether it exists.

    Both are of shape (outputs, taps); a position off the image is one of the padding.
    """
    start = numpy.arange(outputs, dtype=numpy.int64) * stride - before
    read = start[:, None] + numpy.arange(taps, dtype=numpy.int64) * dilation
    return read, (read >= 0) & (read < size)


def _as_float(w: ArrayLike) -> NDArray[Any]:
    """Return the weights as float32 or float64, promoted as `fastconv.conv2d` promotes them."""
    weights = numpy.asarray(w)
    if weights.ndim != 4:
        raise ValueError(f"w must have shape (KH, KW, C // groups, O), got {weights.shape}")
    if weights.dtype.kind in "biu":
        return weights.astype(numpy.float64)
    native = weights.dtype.newbyteorder("=")
    if native not in (numpy.float32, numpy.float64):
        raise TypeError(f"w must be of real numbers up to float64, got {weights.dtype}")
    return weights.astype(native, copy=False)
