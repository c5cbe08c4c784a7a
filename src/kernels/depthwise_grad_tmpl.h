/* depthwise_grad: dL/dW of one filter a channel, vectors along channels, over the pixels of a row.
 *
 * The sums of a few kernel rows stay in registers while pixels pass.  Where taps are neighbours and
 * the stride is 1 or 2, each input vector is loaded once for all taps that read it. */

enum { K(depthwise_grad_pixels) = 4, K(depthwise_grad_most) = 9 };

static FASTCONV_INLINE void K(depthwise_grad_end)(const fastconv_depthwise_grad_args *args, ptrdiff_t tap,
                                                  ptrdiff_t channel, const VEC *sum, const int taps, const int lanes) {
    REAL *grad = (REAL *)args->grad + tap * args->grad_stride + channel;
    FASTCONV_UNROLL
    for (int t = 0; t < taps; t++, grad += args->grad_stride) {
        VEC total = sum[t];
        if (args->accumulate) total = V(add)(K(load_up_to)(grad, lanes), total);
        K(store_up_to)(grad, total, lanes);
    }
}

/* `pixels` pixels from `pixel` on, for `rows` x `taps` sums; all but pixel are constants. */
static FASTCONV_INLINE void K(depthwise_grad_window)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                     ptrdiff_t pixel, ptrdiff_t channel, VEC *sum, const int rows,
                                                     const int pixels, const int taps, const int stride,
                                                     const int lanes) {
    const REAL *in = (const REAL *)args->in + pixel * args->in_stride + channel;
    const REAL *dy = (const REAL *)args->dy + pixel * args->dy_stride + channel;
    VEC b[K(depthwise_grad_pixels)];

    FASTCONV_UNROLL
    for (int p = 0; p < pixels; p++) b[p] = K(load_up_to)(dy + p * args->dy_stride, lanes);
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        const REAL *a = in + args->row_offset[row + r];
        FASTCONV_UNROLL
        for (int i = 0; i < (pixels - 1) * stride + taps; i++) {
            const VEC x = K(load_up_to)(a + i * args->tap_step, lanes);
            FASTCONV_UNROLL
            for (int p = 0; p < pixels; p++) {
                const int t = i - p * stride;
                if (t >= 0 && t < taps) sum[r * taps + t] = V(fma)(x, b[p], sum[r * taps + t]);
            }
        }
    }
}

static FASTCONV_INLINE void K(depthwise_grad_rows)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t channel, const int rows, const int taps,
                                                   const int stride, const int lanes) {
    VEC sum[K(depthwise_grad_most)];
    ptrdiff_t p = 0;
    FASTCONV_UNROLL
    for (int t = 0; t < rows * taps; t++) sum[t] = V(zero)();
    for (; p + K(depthwise_grad_pixels) <= args->pixels; p += K(depthwise_grad_pixels))
        K(depthwise_grad_window)(args, row, p, channel, sum, rows, K(depthwise_grad_pixels), taps, stride, lanes);
    for (; p < args->pixels; p++)
        K(depthwise_grad_window)(args, row, p, channel, sum, rows, 1, taps, stride, lanes);
    K(depthwise_grad_end)(args, row * taps, channel, sum, rows * taps, lanes);
}

/* Any stride and any number of taps: `taps` of them, from `tap` of kernel row `row` on. */
static FASTCONV_INLINE void K(depthwise_grad_any)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                  ptrdiff_t tap, ptrdiff_t channel, const int taps, const int lanes) {
    const REAL *in = (const REAL *)args->in + args->row_offset[row] + tap * args->tap_step + channel;
    const REAL *dy = (const REAL *)args->dy + channel;
    VEC sum[K(depthwise_grad_most)];

    FASTCONV_UNROLL
    for (int t = 0; t < taps; t++) sum[t] = V(zero)();
    for (ptrdiff_t p = 0; p < args->pixels; p++, in += args->in_stride, dy += args->dy_stride) {
        const VEC b = K(load_up_to)(dy, lanes);
        FASTCONV_UNROLL
        for (int t = 0; t < taps; t++) sum[t] = V(fma)(K(load_up_to)(in + t * args->tap_step, lanes), b, sum[t]);
    }
    K(depthwise_grad_end)(args, row * args->tap_columns + tap, channel, sum, taps, lanes);
}

static FASTCONV_INLINE void K(depthwise_grad_channel)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel,
                                                      const int taps, const int stride, const int lanes) {
    ptrdiff_t r = 0;
    if (stride) {
        const int rows = K(depthwise_grad_most) / taps;
        for (; r + rows <= args->tap_rows; r += rows)
            K(depthwise_grad_rows)(args, r, channel, rows, taps, stride, lanes);
        for (; r < args->tap_rows; r++) K(depthwise_grad_rows)(args, r, channel, 1, taps, stride, lanes);
        return;
    }
    for (; r < args->tap_rows; r++) {
        ptrdiff_t t = 0;
        for (; t + 7 <= args->tap_columns; t += 7) K(depthwise_grad_any)(args, r, t, channel, 7, lanes);
        for (; t + 2 <= args->tap_columns; t += 2) K(depthwise_grad_any)(args, r, t, channel, 2, lanes);
        if (t < args->tap_columns) K(depthwise_grad_any)(args, r, t, channel, 1, lanes);
    }
}

static FASTCONV_INLINE void K(depthwise_grad_channels)(const fastconv_depthwise_grad_args *args, const int taps,
                                                       const int stride) {
    ptrdiff_t c = 0;
    for (; c + LANES <= args->channels; c += LANES) K(depthwise_grad_channel)(args, c, taps, stride, LANES);
    if (c < args->channels) K(depthwise_grad_channel)(args, c, taps, stride, (int)(args->channels - c));
}

/* One function a window, so that each gets its own registers. */
static void K(depthwise_grad_3s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 1); }
static void K(depthwise_grad_3s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 2); }
static void K(depthwise_grad_5s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 1); }
static void K(depthwise_grad_5s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 2); }

static void K(depthwise_grad)(const fastconv_depthwise_grad_args *args) {
    const ptrdiff_t taps = args->tap_columns;
    const int stride = args->in_stride == args->tap_step ? 1 : args->in_stride == 2 * args->tap_step ? 2 : 0;
    assert(args->pixels >= 0 && args->channels >= 0);

    if (taps == 3 && stride == 1)
        K(depthwise_grad_3s1)(args);
    else if (taps == 3 && stride == 2)
        K(depthwise_grad_3s2)(args);
    else if (taps == 5 && stride == 1)
        K(depthwise_grad_5s1)(args);
    else if (taps == 5 && stride == 2)
        K(depthwise_grad_5s2)(args);
    else
        K(depthwise_grad_channels)(args, 0, 0);
}
