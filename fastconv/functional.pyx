"""The three passes as functions of arrays: arguments are checked here, once, and then trusted."""
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

import numpy

from fastconv.arrays cimport View, check_output, dtype_of, is_dense, make_output, open_arrays
from fastconv.engine cimport Algorithm, execute, is_empty, need_algorithm, read_algorithm
from fastconv.geometry cimport (
    Geometry, Options, read_input_shape, read_options, read_pair, resolve_geometry)
from fastconv.kernel_choice cimport MANY_PRODUCTS
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Op
from fastconv.packing cimport PackedWeights
from fastconv.threads cimport thread_count

cdef int need_image(View view, str name, str axes) except -1:
    if view.axes != 3 and view.axes != 4:
        raise ValueError(f"{name} must have axes (N, {axes}) or ({axes}), got {view.axes} axes")
    return 0


cdef int need_weights(View w, Geometry *g, Py_ssize_t groups) except -1:
    """Kernel size and output channels from w, whose input channels must match."""
    if w.axes != 4:
        raise ValueError(f"w must have axes (KH, KW, C // groups, O), got {w.axes} axes")
    g.kernel_height, g.kernel_width, g.out_channels = w.shape[0], w.shape[1], w.shape[3]
    if g.in_channels % groups == 0 and w.shape[2] != g.in_channels // groups:
        raise ValueError(f"w must have {g.in_channels // groups} input channels a group "
                         f"({g.in_channels} in all, groups={groups}), got {w.shape[2]}")
    return 0


cdef int need_output_grad(View dy, const Geometry *g, int axes) except -1:
    """dy must have the shape of the output, and an axis for the batch where x has one."""
    expected = (g.out_height, g.out_width, g.out_channels)
    got = (dy.shape[1], dy.shape[2], dy.shape[3])
    if axes == 4:
        expected, got = (g.batch, *expected), (dy.shape[0], *got) if dy.axes == 4 else got
    elif dy.axes == 4:
        got = (dy.shape[0], *got)
    if expected != got:
        raise ValueError(f"dy must have the shape of the output, {expected}, got {got}")
    return 0


cdef object compute(
    Op op, const Geometry *g, int dtype, View first, View second, View bias, tuple shape, object out, tuple inputs,
    Algorithm algorithm,
):
    """Run a pass into `out`, or into a new array of this shape."""
    cdef object result = out
    cdef Py_buffer buffer
    cdef const char *added = bias.tensor.data if bias is not None else NULL
    cdef int failed
    cdef bint alike
    need_algorithm(algorithm, g)
    if out is not None:
        check_output(out, shape, dtype, inputs)
    if out is None or not is_dense(out):
        # The vectors of a depthwise pass start where those of its input do: see algorithms/depthwise.pyx.
        alike = g.groups == g.in_channels > 1 and g.stride_width == 1 and g.kernel_width < MANY_PRODUCTS
        result = make_output(shape, dtype, first.tensor.data, alike)
    if is_empty(op, g):
        result[...] = 0 if bias is None else numpy.asarray(inputs[2])
    else:
        PyObject_GetBuffer(result, &buffer, PyBUF_WRITABLE)
        with nogil:
            failed = execute(op, g, dtype, &first.tensor, &second.tensor, added, <char *> buffer.buf, thread_count(),
                             algorithm)
        PyBuffer_Release(&buffer)
        if failed:
            raise MemoryError("no memory for the workspace of a convolution")
    if out is not None and result is not out:
        out[...] = result
        return out
    return result


def conv2d(x, w, bias=None, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None):
    """Two-dimensional convolution, as deep learning means it: cross-correlation, plus a bias.

    For every image n, output position (i, j) and output channel o, with `xp` the input padded with
    zeros and c running over the channels of o's group::

        y[n, i, j, o] = bias[o] + sum over kh, kw, c of
            xp[n, i * stride + kh * dilation, j * stride + kw * dilation, c] * w[kh, kw, c, o]

    Parameters
    ----------
    x : array_like, shape (N, H, W, C) or (H, W, C)
        Images, any memory layout.
    w : array_like, shape (KH, KW, C // groups, O), or PackedWeights
        Filters, as they are or as `pack` prepared them.
    bias : array_like, shape (O,), optional
        Added to every pixel.
    stride, dilation : int or pair of int, default 1
        Vertical and horizontal steps, in pixels, of the filter over the image and of its taps.
    padding : int, pair, ((top, bottom), (left, right)), "valid" or "same", default 0
        Zeros around each image, in pixels.  "same" makes OH = ceil(H / stride), the odd pixel at the
        bottom and right, as TensorFlow does.
    groups : int, default 1
        Groups of channels that do not see each other; C groups of one channel are a depthwise
        convolution, whose output channel c * multiplier + m belongs to input channel c.
    algorithm : {"auto", "direct", "winograd"}, default "auto"
        How to compute.  "direct" serves every call; "winograd" those with kernels of more than one tap and a stride of
        1, with about a third of the products (half of them, or three quarters, if the taps are one row or column) and
        about twice the rounding error (docs/accuracy.md); "auto" chooses Winograd's for float32 where it is faster,
        whatever the batch and the number of threads (`set_default_algorithm` changes that, `explain` tells the choice).
    out : numpy.ndarray, optional
        Where to put the result: its shape and dtype, writable, apart from every input.

    Returns
    -------
    numpy.ndarray, shape (N, OH, OW, O) or (OH, OW, O)
        float32 or float64, as NumPy promotes the dtypes of x, w and bias; integers and bools that
        meet no float become float64.  From 64 KiB on it is a view of memory with a page to spare, aligned in it.

    Raises
    ------
    ValueError
        If shapes do not match, a value is out of range, the kernel is larger than the padded input,
        sizes overflow, the algorithm cannot serve the call, or `out` does not fit.
    TypeError
        If an argument has the wrong type, or an array is complex, longdouble or no numbers.

    Notes
    -----
    Denormal numbers are read and written as zero.  NaN and infinity follow the formula: padding is
    a zero like any other, so an infinite weight times padding is NaN.

    References
    ----------
    .. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning",
       arXiv:1603.07285, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> x = np.arange(16.0).reshape(4, 4, 1)
    >>> w = np.ones((3, 3, 1, 1))
    >>> fastconv.conv2d(x, w)[..., 0]
    array([[45., 54.],
           [81., 90.]])
    """
    cdef Options options
    cdef Geometry g
    cdef View xv, wv, bv
    cdef PackedWeights packed = None
    cdef list views = []
    cdef tuple shape
    cdef int dtype
    cdef Algorithm chosen
    read_options(&options, stride, padding, dilation, groups)
    chosen = read_algorithm(algorithm)
    if type(w) is PackedWeights:
        packed, w = w, (<PackedWeights> w).array
    dtype = open_arrays(("x", "w", "bias"), (x, w, bias), views)
    xv, wv, bv = views
    if packed is not None and packed.prepared.dtype == dtype:
        wv.tensor.prepared = &packed.prepared
    need_image(xv, "x", "H, W, C")
    g.batch, g.in_height, g.in_width, g.in_channels = xv.shape[0], xv.shape[1], xv.shape[2], xv.shape[3]
    need_weights(wv, &g, options.groups)
    resolve_geometry(&g, &options, "w")
    if bv is not None:
        if bv.axes != 1 or bv.shape[3] != g.out_channels:
            raise ValueError(f"bias must have shape ({g.out_channels},), got {numpy.shape(bias)}")
        if bv.tensor.channel_stride != 1:
            views = []
            open_arrays(("bias",), (numpy.ascontiguousarray(bias, dtype_of(dtype)),), views)
            bv = views[0]
    if xv.axes == 3:
        shape = (g.out_height, g.out_width, g.out_channels)
    else:
        shape = (g.batch, g.out_height, g.out_width, g.out_channels)
    return compute(FORWARD, &g, dtype, xv, wv, bv, shape, out, (x, w, bias), chosen)


def conv2d_input_grad(
    dy, w, input_shape, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None,
):
    """dL/dx of ``y = conv2d(x, w)``, given dy = dL/dy: the transposed convolution of dy with w.

    Every output sends its gradient back through the taps it read::

        dx[n, h, v, c] = sum over i, j, kh, kw, o of dy[n, i, j, o] * w[kh, kw, c, o]
            where i * stride + kh * dilation - top == h and j * stride + kw * dilation - left == v

    and o runs over the output channels of c's group.

    Parameters
    ----------
    dy : array_like, shape (N, OH, OW, O) or (OH, OW, O)
        Gradient of the loss with respect to the output.
    w : array_like, shape (KH, KW, C // groups, O)
        Filters.
    input_shape : tuple of int
        Shape of x, which a stride above 1 leaves open: (N, H, W, C), or (H, W, C) for one image.
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : numpy.ndarray, optional
        Where to put the result: its shape and dtype, writable, apart from every input.

    Returns
    -------
    numpy.ndarray, of shape `input_shape`
        float32 or float64, as NumPy promotes the dtypes of dy and w.  Zero where no output reads x.

    Raises
    ------
    ValueError, TypeError
        As `conv2d` does; also if dy does not have the shape that `input_shape` and w give.

    References
    ----------
    .. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning",
       arXiv:1603.07285, 2016, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> dy = np.ones((2, 2, 1))
    >>> w = np.ones((3, 3, 1, 1))
    >>> fastconv.conv2d_input_grad(dy, w, (4, 4, 1))[..., 0]
    array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]])
    """
    cdef Options options
    cdef Geometry g
    cdef Py_ssize_t size[4]
    cdef View dyv, wv
    cdef list views = []
    cdef int dtype, axes
    cdef Algorithm chosen
    read_options(&options, stride, padding, dilation, groups)
    chosen = read_algorithm(algorithm)
    axes = read_input_shape(size, input_shape)
    dtype = open_arrays(("dy", "w"), (dy, w), views)
    dyv, wv = views
    need_image(dyv, "dy", "OH, OW, O")
    g.batch, g.in_height, g.in_width, g.in_channels = size[0], size[1], size[2], size[3]
    need_weights(wv, &g, options.groups)
    resolve_geometry(&g, &options, "w")
    need_output_grad(dyv, &g, axes)
    if axes == 3:
        shape = (g.in_height, g.in_width, g.in_channels)
    else:
        shape = (g.batch, g.in_height, g.in_width, g.in_channels)
    return compute(INPUT_GRAD, &g, dtype, dyv, wv, None, shape, out, (dy, w), chosen)


def conv2d_weight_grad(
    x, dy, kernel_size, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto", out=None,
):
    """dL/dW of ``y = conv2d(x, w)``, given dy = dL/dy: every weight times what it met.

    With `xp` the input padded with zeros, and summed over the batch::

        dw[kh, kw, c, o] = sum over n, i, j of
            xp[n, i * stride + kh * dilation, j * stride + kw * dilation, c] * dy[n, i, j, o]

    where c counts the channels of o's group.

    Parameters
    ----------
    x : array_like, shape (N, H, W, C) or (H, W, C)
        Images.
    dy : array_like, shape (N, OH, OW, O) or (OH, OW, O)
        Gradient of the loss with respect to the output.
    kernel_size : int or pair of int
        KH and KW, which a stride above 1 leaves open.
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : numpy.ndarray, optional
        Where to put the result: its shape and dtype, writable, apart from every input.

    Returns
    -------
    numpy.ndarray, shape (KH, KW, C // groups, O)
        float32 or float64, as NumPy promotes the dtypes of x and dy.

    Raises
    ------
    ValueError, TypeError
        As `conv2d` does; also if dy does not have the shape that x and `kernel_size` give.

    References
    ----------
    .. [1] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning",
       arXiv:1603.07285, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv
    >>> x = np.arange(16.0).reshape(4, 4, 1)
    >>> dy = np.ones((2, 2, 1))
    >>> fastconv.conv2d_weight_grad(x, dy, 3)[:, :, 0, 0]
    array([[10., 14., 18.],
           [26., 30., 34.],
           [42., 46., 50.]])
    """
    cdef Options options
    cdef Geometry g
    cdef Py_ssize_t kernel[2]
    cdef View xv, dyv
    cdef list views = []
    cdef int dtype
    cdef Algorithm chosen
    read_options(&options, stride, padding, dilation, groups)
    chosen = read_algorithm(algorithm)
    read_pair(kernel, kernel_size, "kernel_size", 1)
    dtype = open_arrays(("x", "dy"), (x, dy), views)
    xv, dyv = views
    need_image(xv, "x", "H, W, C")
    need_image(dyv, "dy", "OH, OW, O")
    g.batch, g.in_height, g.in_width, g.in_channels = xv.shape[0], xv.shape[1], xv.shape[2], xv.shape[3]
    g.kernel_height, g.kernel_width, g.out_channels = kernel[0], kernel[1], dyv.shape[3]
    resolve_geometry(&g, &options, "kernel_size")
    need_output_grad(dyv, &g, xv.axes)
    shape = (g.kernel_height, g.kernel_width, g.in_channels // g.groups, g.out_channels)
    return compute(WEIGHT_GRAD, &g, dtype, xv, dyv, None, shape, out, (x, dy), chosen)
