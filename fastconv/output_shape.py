"""The shape of a result, without computing it."""

from typing import SupportsIndex

from fastconv._typing import Padding, Pair, Shape
from fastconv.geometry import resolve


def conv2d_output_shape(
    input_shape: Shape,
    weight_shape: Shape,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
) -> tuple[int, ...]:
    """Shape of ``conv2d(x, w)`` without computing it.

    Along each axis, with `top` and `bottom` the padding at its two ends::

        OH = floor((H + top + bottom - dilation * (KH - 1) - 1) / stride) + 1

    and ``OH = ceil(H / stride)`` for ``padding="same"`` [1]_.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of x: (N, H, W, C), or (H, W, C) for one image.
    weight_shape : tuple of int
        Shape of w: (KH, KW, C // groups, O).
    stride, dilation : int or pair of int, default 1
        Vertical and horizontal, in pixels.
    padding : int, pair, ((top, bottom), (left, right)), "valid" or "same", default 0
        Zeros around the image, in pixels.
    groups : int, default 1
        Groups of channels that do not see each other.

    Returns
    -------
    tuple of int
        (N, OH, OW, O), or (OH, OW, O) for one image.

    Raises
    ------
    ValueError
        If a size is negative, the channels do not match or divide by `groups`, the kernel is larger
        than the padded input, or a product of sizes overflows.
    TypeError
        If something is not an int or a tuple of them.

    References
    ----------
    .. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning",
       arXiv:1603.07285, 2016.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.conv2d_output_shape((5, 5, 3), (3, 3, 3, 16))
    (3, 3, 16)
    >>> fastconv.conv2d_output_shape((8, 224, 224, 3), (7, 7, 3, 64), stride=2, padding=3)
    (8, 112, 112, 64)
    """
    g = resolve(input_shape, weight_shape, stride, padding, dilation, groups)
    image = (g.out_height, g.out_width, g.out_channels)
    return image if len(input_shape) == 3 else (g.batch, *image)
