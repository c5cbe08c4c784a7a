# cython: language_level=3
"""Is dL/dw what a small step in each weight says?  All of it without Python, and without the GIL.

The loss is L = sum(dy * y), so that dL/dy is dy itself.  L is linear in each weight: the difference of
L at w + 1 and w - 1, halved, is the derivative, but for rounding.
"""
cimport fastconv
from libc.math cimport NAN, fabs

# One image of 7 x 6 pixels and 4 channels, 6 filters of 3 x 2 in two groups, every other row.
cdef enum:
    X = 7 * 6 * 4
    W = 3 * 2 * 2 * 6
    Y = 4 * 5 * 6


cdef double loss(
    const fastconv.fastconv_conv2d *layer, const double *x, const double *w, const double *dy,
) noexcept nogil:
    cdef double[Y] y
    cdef double total = 0
    cdef int i
    if fastconv.fastconv_forward_f64(layer, x, w, NULL, y) != fastconv.FASTCONV_OK:
        return NAN
    for i in range(Y):
        total += dy[i] * y[i]
    return total


cdef int compare(double *largest) noexcept nogil:
    """The largest difference between a derivative and its estimate; returns a status."""
    cdef double[X] x
    cdef double[W] w
    cdef double[W] dw
    cdef double[Y] dy
    cdef double kept, above, below, difference
    cdef int i, status
    # Stride, dilation and groups are 1 and there is no padding, unless we say otherwise.
    cdef fastconv.fastconv_conv2d layer = fastconv.fastconv_conv2d_default()
    layer.batch, layer.in_height, layer.in_width, layer.in_channels = 1, 7, 6, 4
    layer.kernel_height, layer.kernel_width, layer.out_channels = 3, 2, 6
    layer.groups = 2
    layer.stride_height = 2
    layer.pad_top = layer.pad_bottom = 1
    for i in range(X):
        x[i] = i % 13 - 6
    for i in range(W):
        w[i] = i % 7 - 3
    for i in range(Y):
        dy[i] = i % 5 - 2
    status = fastconv.fastconv_weight_grad_f64(&layer, x, dy, dw)
    if status != fastconv.FASTCONV_OK:
        return status
    largest[0] = 0
    for i in range(W):
        kept = w[i]
        w[i] = kept + 1
        above = loss(&layer, x, w, dy)
        w[i] = kept - 1
        below = loss(&layer, x, w, dy)
        w[i] = kept
        difference = fabs((above - below) / 2 - dw[i])
        if not difference <= largest[0]:    # also a NaN, from a call that failed
            largest[0] = difference
    return status


def largest_difference():
    """The largest difference over all weights: 0.0, since small whole numbers leave nothing to round."""
    cdef double largest
    cdef int status
    with nogil:
        status = compare(&largest)
    if status != fastconv.FASTCONV_OK:
        raise ValueError(fastconv.fastconv_status_string(status).decode())
    return largest
