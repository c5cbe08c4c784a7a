/* depthwise_grad: dL/dW of one filter a channel or of small groups, vectors along channels, over some rows of pixels.
 *
 * The sums of a few kernel rows stay in registers while all pixels pass.  Where taps are neighbours and
 * the stride is 1 or 2, each input vector is loaded once for all taps of its row that read it.  In groups all of that
 * happens once for each of their inputs, which a permutation puts beside the channels. */

enum { K(depthwise_grad_pixels) = 4, K(may_shift) = LANES * sizeof(REAL) == 64 };

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

/* Channels of a pixel; in groups, beside each of them the one that `index` picks. */
static FASTCONV_INLINE VEC K(grad_input)(const REAL *p, int lanes, const int grouped, V(index) index) {
    const VEC x = K(load_up_to)(p, lanes);
    return grouped ? V(permute)(x, index) : x;
}

/* `pixels` pixels, for `rows` x `taps` sums; in and dy point at the first of them, offset at the first tap row. */
static FASTCONV_INLINE void K(depthwise_grad_window)(const REAL *in, ptrdiff_t step, const ptrdiff_t *offset,
                                                     const REAL *dy, ptrdiff_t dy_stride, VEC *sum, const int rows,
                                                     const int pixels, const int taps, const int stride,
                                                     const int lanes, const int grouped, V(index) index) {
    VEC b[K(depthwise_grad_pixels)];

    FASTCONV_UNROLL
    for (int p = 0; p < pixels; p++) b[p] = V(keep)(K(load_up_to)(dy + p * dy_stride, lanes));
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        const REAL *a = in + offset[r];
        FASTCONV_UNROLL
        for (int i = 0; i < (pixels - 1) * stride + taps; i++, a += step) {
            const VEC x = V(keep)(K(grad_input)(a, lanes, grouped, index));
            FASTCONV_UNROLL
            for (int p = 0; p < pixels; p++) {
                const int t = i - p * stride;
                if (t >= 0 && t < taps) sum[r * taps + t] = V(fma)(x, b[p], sum[r * taps + t]);
            }
        }
    }
}

/* One pixel, of which a vector holds the first or the last `lanes` channels in its other or its first lanes. */
static FASTCONV_INLINE VEC K(load_side)(const REAL *p, int lanes, const int first) {
    return first ? V(load_end)(p, lanes) : V(load_part)(p, lanes);
}

static FASTCONV_INLINE void K(depthwise_grad_side)(const REAL *in, ptrdiff_t step, const ptrdiff_t *offset,
                                                   const REAL *dy, VEC *sum, const int rows, const int taps, int lanes,
                                                   const int first) {
    const VEC b = K(load_side)(dy, lanes, first);
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        FASTCONV_UNROLL
        for (int t = 0; t < taps; t++)
            sum[r * taps + t] = V(fma)(K(load_side)(in + offset[r] + t * step, lanes, first), b, sum[r * taps + t]);
    }
}

/* The sums of a vector whose last lanes are the first channels. */
static FASTCONV_NOINLINE void K(depthwise_grad_split)(const fastconv_depthwise_grad_args *args, ptrdiff_t tap,
                                                      ptrdiff_t channel, const VEC *sum, int taps) {
    const int shift = (int)args->shift;
    for (int t = 0; t < taps; t++) {
        REAL lane[LANES];
        V(store)(lane, sum[t]);
        const VEC first = V(load_part)(lane + LANES - shift, shift);
        K(depthwise_grad_end)(args, tap + t, channel, sum + t, 1, LANES - shift);
        K(depthwise_grad_end)(args, tap + t, 0, &first, 1, shift);
    }
}

/* `rows` kernel rows from `row` on, for one or two vectors of channels; these, rows, taps, stride and lanes are
 * constants.  A vector that starts less than one before the end of the channels takes the first channels of the pixel
 * that follows: there is one less of those, and parts of one before and after. */
static FASTCONV_INLINE void K(depthwise_grad_rows)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t channel, const int vectors, const int rows,
                                                   const int taps, const int stride, const int lanes,
                                                   const int grouped, V(index) index) {
    const int split = !grouped && K(may_shift) && vectors == 1 && taps == 3 && stride == 1 && lanes == LANES &&
                      channel + LANES > args->channels;
    const int shift = (int)args->shift;
    const ptrdiff_t pixels = args->pixels - split;
    const ptrdiff_t in_step = args->in_stride, dy_step = args->dy_stride, step = args->tap_step;
    const ptrdiff_t *offset = args->row_offset + row;
    VEC sum[DEPTHWISE_SUMS];

    FASTCONV_UNROLL
    for (int t = 0; t < vectors * rows * taps; t++) sum[t] = V(zero)();
    for (ptrdiff_t q = 0; q < args->rows; q++) {
        const REAL *in = (const REAL *)args->in + q * args->in_row + channel;
        const REAL *dy = (const REAL *)args->dy + q * args->dy_row + channel;
        ptrdiff_t p = 0;
        if (split) K(depthwise_grad_side)(in - in_step, step, offset, dy - dy_step, sum, rows, taps, shift, 1);
        for (; p + K(depthwise_grad_pixels) <= pixels; p += K(depthwise_grad_pixels)) {
            FASTCONV_UNROLL
            for (int v = 0; v < vectors; v++)
                K(depthwise_grad_window)(in + v * LANES, step, offset, dy + v * LANES, dy_step, sum + v * rows * taps, rows,
                                         K(depthwise_grad_pixels), taps, stride, lanes, grouped, index);
            in += K(depthwise_grad_pixels) * in_step;
            dy += K(depthwise_grad_pixels) * dy_step;
        }
        for (; p < pixels; p++, in += in_step, dy += dy_step) {
            FASTCONV_UNROLL
            for (int v = 0; v < vectors; v++)
                K(depthwise_grad_window)(in + v * LANES, step, offset, dy + v * LANES, dy_step, sum + v * rows * taps, rows,
                                         1, taps, stride, lanes, grouped, index);
        }
        if (split) K(depthwise_grad_side)(in, step, offset, dy, sum, rows, taps, LANES - shift, 0);
    }
    if (split) {
        VEC total[DEPTHWISE_SUMS];          /* a copy: what has an address does not stay in registers */
        FASTCONV_UNROLL
        for (int t = 0; t < rows * taps; t++) total[t] = sum[t];
        for (int r = 0; r < rows; r++)
            K(depthwise_grad_split)(args, (row + r) * args->grad_columns, channel, total + r * taps, taps);
        return;
    }
    FASTCONV_UNROLL
    for (int r = 0; r < vectors * rows; r++)
        K(depthwise_grad_end)(args, (row + r % rows) * args->grad_columns, channel + r / rows * LANES, sum + r * taps, taps,
                              lanes);
}

/* Any stride and any number of taps: `rows` x `taps` of them, from `tap` of kernel row `row` on. */
static FASTCONV_INLINE void K(depthwise_grad_any)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                  ptrdiff_t tap, ptrdiff_t channel, const int rows, const int taps,
                                                  const int lanes, const int grouped, V(index) index) {
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
                sum[i] = V(fma)(K(grad_input)(a, lanes, grouped, index), b, sum[i]);
            }
        }
    }
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++)
        K(depthwise_grad_end)(args, (row + r) * args->grad_columns + tap, channel, sum + r * taps, taps, lanes);
}

/* Some kernel rows, a few taps of each at a time, so that there are sums enough to hide a multiplication. */
static FASTCONV_INLINE void K(depthwise_grad_band)(const fastconv_depthwise_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t channel, const int rows, const int lanes,
                                                   V(index) none) {
    ptrdiff_t t = 0;
    if (rows == 1)
        for (; t + 7 <= args->tap_columns; t += 7)
            K(depthwise_grad_any)(args, row, t, channel, 1, 7, lanes, 0, none);
    for (; t + 2 <= args->tap_columns; t += 2)
        K(depthwise_grad_any)(args, row, t, channel, rows, 2, lanes, 0, none);
    if (t < args->tap_columns) K(depthwise_grad_any)(args, row, t, channel, rows, 1, lanes, 0, none);
}

static FASTCONV_INLINE void K(depthwise_grad_channel)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel,
                                                      const int taps, const int stride, const int lanes,
                                                      const int grouped, V(index) index) {
    ptrdiff_t r = 0;
    if (stride) {
        const int rows = DEPTHWISE_SUMS / taps < taps ? DEPTHWISE_SUMS / taps : taps;
        for (; r + rows <= args->tap_rows; r += rows)
            K(depthwise_grad_rows)(args, r, channel, 1, rows, taps, stride, lanes, grouped, index);
        for (; r < args->tap_rows; r++)
            K(depthwise_grad_rows)(args, r, channel, 1, 1, taps, stride, lanes, grouped, index);
        return;
    }
    if (args->tap_columns < 7 && (DEPTHWISE_WINDOWS || FASTCONV_KNOWN(lanes)))
        for (; r + 3 <= args->tap_rows; r += 3) K(depthwise_grad_band)(args, r, channel, 3, lanes, index);
    for (; r < args->tap_rows; r++) K(depthwise_grad_band)(args, r, channel, 1, lanes, index);
}

/* Channels that do not fill a vector. */
static FASTCONV_NOINLINE void K(depthwise_grad_last)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel) {
    K(depthwise_grad_channel)(args, channel, 0, 0, (int)(args->channels - channel), 0, K(first_inputs)(1, 1));
}

static FASTCONV_INLINE void K(depthwise_grad_channels)(const fastconv_depthwise_grad_args *given, const int taps,
                                                       const int stride) {
    const fastconv_depthwise_grad_args own = *given, *args = &own;  /* stores cannot change what is local */
    const ptrdiff_t whole = args->channels / LANES * LANES;
    const V(index) none = K(first_inputs)(1, 1);
    ptrdiff_t c = K(may_shift) ? args->shift : 0;
    if (DEPTHWISE_SUMS >= 18 && taps == 3 && args->tap_rows == 3 && args->two_vectors)
        for (; c + 2 * LANES <= whole; c += 2 * LANES)
            K(depthwise_grad_rows)(args, 0, c, 2, 3, taps, stride, LANES, 0, none);
    for (; c < whole; c += LANES) K(depthwise_grad_channel)(args, c, taps, stride, LANES, 0, none);
    /* Many channels have such before and after those that are aligned, where vectors are wider than NumPy aligns. */
    if (c < args->channels && taps == 3 && sizeof(VEC) > 16)
        K(depthwise_grad_channel)(args, c, taps, stride, (int)(args->channels - c), 0, none);
    else if (c < args->channels)
        K(depthwise_grad_last)(args, c);
}

/* Of groups, what is no window of three taps in whole vectors: tap by tap, since that is the edges of images. */
static FASTCONV_NOINLINE void K(depthwise_grad_edge)(const fastconv_depthwise_grad_args *args, ptrdiff_t channel,
                                                     int lanes, V(index) index) {
    for (ptrdiff_t r = 0; r < args->tap_rows; r++)
        for (ptrdiff_t t = 0; t < args->tap_columns; t++)
            K(depthwise_grad_any)(args, r, t, channel, 1, 1, lanes, 1, index);
}

/* One function a window, so that each gets its own registers. */
static FASTCONV_NOINLINE void K(depthwise_grad_3s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 1); }
static FASTCONV_NOINLINE void K(depthwise_grad_3s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 3, 2); }
static FASTCONV_NOINLINE void K(depthwise_grad_5s1)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 1); }
static FASTCONV_NOINLINE void K(depthwise_grad_5s2)(const fastconv_depthwise_grad_args *args) { K(depthwise_grad_channels)(args, 5, 2); }

/* Groups: every input of a vector's groups in turn, whose sums are rows of their own; `stride` of a window, or 0. */
static FASTCONV_NOINLINE void K(depthwise_grad_groups)(const fastconv_depthwise_grad_args *given, int stride) {
    fastconv_depthwise_grad_args own = *given;
    const V(index) first = K(first_inputs)(own.group, own.group);
    own.grad_stride *= own.group;
    for (ptrdiff_t c = 0; c < own.channels; c += LANES) {
        const int lanes = own.channels - c < LANES ? (int)(own.channels - c) : LANES;
        for (ptrdiff_t i = 0; i < own.group; i++) {
            const V(index) index = V(add_index)(first, (int)i);
            own.grad = (REAL *)given->grad + i * given->grad_stride;
            if (stride == 1 && lanes == LANES)
                K(depthwise_grad_channel)(&own, c, 3, 1, LANES, 1, index);
            else if (stride == 2 && lanes == LANES)
                K(depthwise_grad_channel)(&own, c, 3, 2, LANES, 1, index);
            else
                K(depthwise_grad_edge)(&own, c, lanes, index);
        }
    }
}

static void K(depthwise_grad)(const fastconv_depthwise_grad_args *args) {
    const ptrdiff_t taps = args->tap_columns;
    const int stride = args->in_stride == args->tap_step ? 1 : args->in_stride == 2 * args->tap_step ? 2 : 0;
    assert(args->rows >= 0 && args->pixels >= 0 && args->channels >= 0 && args->grad_columns >= taps);
    assert(args->shift == 0 || (K(may_shift) && taps == 3 && stride == 1 && args->pixels > 0));
    assert(args->shift == 0 || (args->in_stride == args->channels && args->dy_stride == args->channels));

    assert(args->group >= 1 && LANES % args->group == 0 && args->channels % args->group == 0);
    assert(args->shift == 0 || args->group == 1);

    if (args->group > 1)
        K(depthwise_grad_groups)(args, DEPTHWISE_WINDOWS && taps == 3 ? stride : 0);
    else if (DEPTHWISE_WINDOWS && taps == 3 && stride == 1)
        K(depthwise_grad_3s1)(args);
    else if (DEPTHWISE_WINDOWS && taps == 3 && stride == 2)
        K(depthwise_grad_3s2)(args);
    else if (DEPTHWISE_WINDOWS && taps == 5 && stride == 1)
        K(depthwise_grad_5s1)(args);
    else if (DEPTHWISE_WINDOWS && taps == 5 && stride == 2)
        K(depthwise_grad_5s2)(args);
    else
        K(depthwise_grad_channels)(args, 0, 0);
}
