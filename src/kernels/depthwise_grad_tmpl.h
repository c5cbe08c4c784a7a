/* depthwise_grad: dL/dW of one filter a channel, vectors along channels, over some rows of pixels.
 *
 * The sums of a few kernel rows stay in registers while all pixels pass.  Where taps are neighbours and
 * the stride is 1 or 2, each input vector is loaded once for all taps of its row that read it. */

enum { K(depthwise_grad_pixels) = 4 };

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

/* `pixels` pixels, for `rows` x `taps` sums; in and dy point at the first of them, offset at the first tap row. */
static FASTCONV_INLINE void K(depthwise_grad_window)(const REAL *in, ptrdiff_t step, const ptrdiff_t *offset,
                                                     const REAL *dy, ptrdiff_t dy_stride, VEC *sum, const int rows,
                                                     const int pixels, const int taps, const int stride,
                                                     const int lanes) {
    VEC b[K(depthwise_grad_pixels)];

    FASTCONV_UNROLL
    for (int p = 0; p < pixels; p++) b[p] = V(keep)(K(load_up_to)(dy + p * dy_stride, lanes));
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        const REAL *a = in + offset[r];
        FASTCONV_UNROLL
        for (int i = 0; i < (pixels - 1) * stride + taps; i++, a += step) {
            const VEC x = V(keep)(K(load_up_to)(a, lanes));
            FASTCONV_UNROLL
            for (int p = 0; p < pixels; p++) {
                const int t = i - p * stride;
                if (t >= 0 && t < taps) sum[r * taps + t] = V(fma)(x, b[p], sum[r * taps + t]);
            }
        }
    }
}

/* `rows` kernel rows from `row` on; rows, taps, stride and lanes are constants. */
static FASTCONV_INLINE void K(depthwise_grad_rows)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t channel, const int rows, const int taps,
                                                   const int stride, const int lanes) {
    const ptrdiff_t pixels = args->pixels, in_step = args->in_stride, dy_step = args->dy_stride, step = args->tap_step;
    const ptrdiff_t *offset = args->row_offset + row;
    VEC sum[DEPTHWISE_SUMS];

    FASTCONV_UNROLL
    for (int t = 0; t < rows * taps; t++) sum[t] = V(zero)();
    for (ptrdiff_t q = 0; q < args->rows; q++) {
        const REAL *in = (const REAL *)args->in + q * args->in_row + channel;
        const REAL *dy = (const REAL *)args->dy + q * args->dy_row + channel;
        ptrdiff_t p = 0;
        for (; p + K(depthwise_grad_pixels) <= pixels; p += K(depthwise_grad_pixels)) {
            K(depthwise_grad_window)(in, step, offset, dy, dy_step, sum, rows, K(depthwise_grad_pixels), taps, stride, lanes);
            in += K(depthwise_grad_pixels) * in_step;
            dy += K(depthwise_grad_pixels) * dy_step;
        }
        for (; p < pixels; p++, in += in_step, dy += dy_step)
            K(depthwise_grad_window)(in, step, offset, dy, dy_step, sum, rows, 1, taps, stride, lanes);
    }
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++)
        K(depthwise_grad_end)(args, (row + r) * args->grad_columns, channel, sum + r * taps, taps, lanes);
}

/* Any stride and any number of taps: `rows` x `taps` of them, from `tap` of kernel row `row` on. */
static FASTCONV_INLINE void K(depthwise_grad_any)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                  ptrdiff_t tap, ptrdiff_t channel, const int rows, const int taps,
                                                  const int lanes) {
    const ptrdiff_t *offset = args->row_offset + row;
    VEC sum[DEPTHWISE_SUMS];

    FASTCONV_UNROLL
    for (int t = 0; t < rows * taps; t++) sum[t] = V(zero)();
    for (ptrdiff_t q = 0; q < args->rows; q++) {
        const REAL *in = (const REAL *)args->in + q * args->in_row + tap * args->tap_step + channel;
        const REAL *dy = (const REAL *)args->dy + q * args->dy_row + channel;
        for (ptrdiff_t p = 0; p < args->pixels; p++, in += args->in_stride, dy += args->dy_stride) {
            const VEC b = K(load_up_to)(dy, lanes);
            FASTCONV_UNROLL
            for (int i = 0; i < rows * taps; i++) {
                const REAL *a = in + offset[i / taps] + (i % taps) * args->tap_step;
                sum[i] = V(fma)(K(load_up_to)(a, lanes), b, sum[i]);
            }
        }
    }
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++)
        K(depthwise_grad_end)(args, (row + r) * args->grad_columns + tap, channel, sum + r * taps, taps, lanes);
}

/* Some kernel rows, a few taps of each at a time, so that there are sums enough to hide a multiplication. */
static FASTCONV_INLINE void K(depthwise_grad_band)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t channel, const int rows, const int lanes) {
    ptrdiff_t t = 0;
    if (rows == 1)
        for (; t + 7 <= args->tap_columns; t += 7) K(depthwise_grad_any)(args, row, t, channel, 1, 7, lanes);
    for (; t + 2 <= args->tap_columns; t += 2) K(depthwise_grad_any)(args, row, t, channel, rows, 2, lanes);
    if (t < args->tap_columns) K(depthwise_grad_any)(args, row, t, channel, rows, 1, lanes);
}

static FASTCONV_INLINE void K(depthwise_grad_channel)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel,
                                                      const int taps, const int stride, const int lanes) {
    ptrdiff_t r = 0;
    if (stride) {
        const int rows = DEPTHWISE_SUMS / taps < taps ? DEPTHWISE_SUMS / taps : taps;
        for (; r + rows <= args->tap_rows; r += rows)
            K(depthwise_grad_rows)(args, r, channel, rows, taps, stride, lanes);
        for (; r < args->tap_rows; r++) K(depthwise_grad_rows)(args, r, channel, 1, taps, stride, lanes);
        return;
    }
    if (args->tap_columns < 7)
        for (; r + 3 <= args->tap_rows; r += 3) K(depthwise_grad_band)(args, r, channel, 3, lanes);
    for (; r < args->tap_rows; r++) K(depthwise_grad_band)(args, r, channel, 1, lanes);
}

/* Channels that do not fill a vector. */
static FASTCONV_NOINLINE void K(depthwise_grad_last)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel) {
    K(depthwise_grad_channel)(args, channel, 0, 0, (int)(args->channels - channel));
}

static FASTCONV_INLINE void K(depthwise_grad_channels)(const fastconv_depthwise_grad_args *given, const int taps,
                                                       const int stride) {
    const fastconv_depthwise_grad_args own = *given, *args = &own;  /* stores cannot change what is local */
    ptrdiff_t c = 0;
    for (; c + LANES <= args->channels; c += LANES) K(depthwise_grad_channel)(args, c, taps, stride, LANES);
    /* Many channels have such before and after those that are aligned. */
    if (c < args->channels && (taps == 3 || stride == 1))
        K(depthwise_grad_channel)(args, c, taps, stride, (int)(args->channels - c));
    else if (c < args->channels)
        K(depthwise_grad_last)(args, c);
}

/* One function a window, so that each gets its own registers. */
static FASTCONV_NOINLINE void K(depthwise_grad_3s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 1); }
static FASTCONV_NOINLINE void K(depthwise_grad_3s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 2); }
static FASTCONV_NOINLINE void K(depthwise_grad_5s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 1); }
static FASTCONV_NOINLINE void K(depthwise_grad_5s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 2); }

static void K(depthwise_grad)(const fastconv_depthwise_grad_args *args) {
    const ptrdiff_t taps = args->tap_columns;
    const int stride = args->in_stride == args->tap_step ? 1 : args->in_stride == 2 * args->tap_step ? 2 : 0;
    assert(args->rows >= 0 && args->pixels >= 0 && args->channels >= 0 && args->grad_columns >= taps);

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
