/* depthwise: one filter a channel or a small group of them, vectors along channels, a few pixels of a row
 * at a time.
 *
 * In a group every output channel reads every input channel: for each i in turn, a permutation puts the i-th
 * input channel of its group beside each output channel.  Where taps are neighbours and the stride is 1 or 2, each input vector is loaded once a kernel row
 * and used by every tap that reads it; otherwise each tap loads its own. */

enum { K(depthwise_most_taps) = 5 };

/* A vector of inputs, beside each output channel the one that `index` picks from its group. */
static FASTCONV_INLINE VEC K(load_group)(const REAL *p, int lanes, V(index) index, const int grouped) {
    const VEC x = K(load_up_to)(p, lanes);
    return grouped ? V(permute)(x, index) : x;
}

/* Sums of `pixels` pixels and one vector of channels; in, w and out point at its first channel.  taps
 * and stride are constants, so that the compiler keeps the window in registers; stride 0 stands for
 * any number of taps and any stride. */
static FASTCONV_INLINE void K(depthwise_tile)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                              const REAL *bias, REAL *out, const int pixels, const int taps,
                                              const int stride, const int lanes, const int grouped) {
    const int group = grouped ? (int)args->group : 1;
    const ptrdiff_t rows = args->tap_rows, columns = args->tap_columns, step = args->tap_step;
    const ptrdiff_t in_stride = args->in_stride, out_stride = args->out_stride;
    const ptrdiff_t w_stride = args->weights_stride, w_tap = group * w_stride, w_row = args->weights_columns * w_tap;
    VEC sum[DEPTHWISE_PIXELS], b[K(depthwise_most_taps)];

    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) sum[m] = V(zero)();
    if (args->accumulate) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m] = K(load_up_to)(out + m * out_stride, lanes);
    } else if (bias) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m] = K(load_up_to)(bias, lanes);
    }
    for (ptrdiff_t r = 0; r < rows; r++, w += w_row) {
        for (int i = 0; i < group; i++) {
            const V(index) index = V(group_index)(group, i);
            const REAL *a = in + args->row_offset[r], *u = w + i * w_stride;
            if (stride) {
                FASTCONV_UNROLL
                for (int t = 0; t < taps; t++) b[t] = K(load_up_to)(u + t * w_tap, lanes);
                FASTCONV_UNROLL
                for (int j = 0; j < (pixels - 1) * stride + taps; j++, a += step) {
                    const VEC x = V(keep)(K(load_group)(a, lanes, index, grouped));
                    FASTCONV_UNROLL
                    for (int t = 0; t < taps; t++) {
                        const int m = (j - t) / stride;
                        if (j >= t && (j - t) % stride == 0 && m < pixels) sum[m] = V(fma)(x, b[t], sum[m]);
                    }
                }
            } else {
                for (ptrdiff_t t = 0; t < columns; t++, a += step, u += w_tap) {
                    b[0] = K(load_up_to)(u, lanes);
                    FASTCONV_UNROLL
                    for (int m = 0; m < pixels; m++)
                        sum[m] = V(fma)(K(load_group)(a + m * in_stride, lanes, index, grouped), b[0], sum[m]);
                }
            }
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) K(store_up_to)(out + m * out_stride, sum[m], lanes);
}

/* Every pixel of up to a vector of channels, a tile at a time.  What is left at the end is a tile that
 * computes some pixels of the last one again, unless sums are added to what is there. */
static FASTCONV_INLINE void K(depthwise_pixels)(const fastconv_depthwise_args *args, ptrdiff_t channel, const int taps,
                                                const int stride, const int lanes, const int grouped) {
    const REAL *in = (const REAL *)args->in + channel, *w = (const REAL *)args->weights + channel;
    const REAL *bias = args->bias ? (const REAL *)args->bias + channel : NULL;
    REAL *out = (REAL *)args->out + channel;
    const ptrdiff_t pixels = args->pixels, in_step = args->in_stride, out_step = args->out_stride;
    ptrdiff_t p = 0;
#define TILES(size)                                                                                                  \
    for (; pixels - p > size / 2 && pixels >= size && !args->accumulate; p += size) {                                  \
        const ptrdiff_t q = pixels - p < size ? pixels - size : p;                                                     \
        K(depthwise_tile)(args, in + q * in_step, w, bias, out + q * out_step, size, taps, stride, lanes, grouped);   \
    }
    TILES(DEPTHWISE_PIXELS)
    TILES(4)
#undef TILES
    for (; p < pixels; p++)
        K(depthwise_tile)(args, in + p * in_step, w, bias, out + p * out_step, 1, taps, stride, lanes, grouped);
}

/* The channels past the last whole vector. */
static FASTCONV_NOINLINE void K(depthwise_last)(const fastconv_depthwise_args *args, ptrdiff_t channel, int lanes) {
    K(depthwise_pixels)(args, channel, 0, 0, lanes, 1);
}

/* A strip at a time, one vector of channels after the other, so that its weights stay near while all pixels pass. */
static FASTCONV_INLINE void K(depthwise_channels)(const fastconv_depthwise_args *given, const int taps,
                                                  const int stride, const int grouped) {
    fastconv_depthwise_args own = *given, *const args = &own;   /* stores cannot change what is local */
    for (ptrdiff_t p = 0; p < given->pixels; p += given->strip) {
        ptrdiff_t c = 0;
        args->pixels = given->pixels - p < given->strip ? given->pixels - p : given->strip;
        args->in = (const REAL *)given->in + p * given->in_stride;
        args->out = (REAL *)given->out + p * given->out_stride;
        for (; c + LANES <= args->channels; c += LANES) K(depthwise_pixels)(args, c, taps, stride, LANES, grouped);
        if (c < args->channels) K(depthwise_last)(args, c, (int)(args->channels - c));
    }
}

/* Functions of their own, lest the compiler keep the addresses of all of them at once. */
typedef void K(depthwise_fn)(const fastconv_depthwise_args *);
#define WINDOW(name, taps, stride, grouped) \
    static FASTCONV_NOINLINE void K(depthwise_##name)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, taps, stride, grouped); }
WINDOW(any, 0, 0, 0)
WINDOW(3s1, 3, 1, 0)
WINDOW(3s2, 3, 2, 0)
WINDOW(5s1, 5, 1, 0)
WINDOW(5s2, 5, 2, 0)
WINDOW(any_grouped, 0, 0, 1)
WINDOW(3s1_grouped, 3, 1, 1)
WINDOW(3s2_grouped, 3, 2, 1)
#undef WINDOW

static void K(depthwise)(const fastconv_depthwise_args *args) {
    static K(depthwise_fn) *const windows[] = {K(depthwise_any), K(depthwise_3s1), K(depthwise_3s2),
                                               K(depthwise_5s1), K(depthwise_5s2)};
    static K(depthwise_fn) *const grouped[] = {K(depthwise_any_grouped), K(depthwise_3s1_grouped),
                                               K(depthwise_3s2_grouped), K(depthwise_any_grouped),
                                               K(depthwise_any_grouped)};
    const ptrdiff_t taps = args->tap_columns;
    const int stride = args->in_stride == args->tap_step ? 1 : args->in_stride == 2 * args->tap_step ? 2 : 0;
    const int window = !DEPTHWISE_WINDOWS || stride == 0 ? 0 : taps == 3 ? stride : taps == 5 ? 2 + stride : 0;
    assert(args->pixels >= 0 && args->strip > 0 && args->channels >= 0 && args->weights_columns >= args->tap_columns);
    assert(args->group >= 1 && args->group <= LANES && LANES % args->group == 0 && args->channels % args->group == 0);

    (args->group > 1 ? grouped : windows)[window](args);
}
