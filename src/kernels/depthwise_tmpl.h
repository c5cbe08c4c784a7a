/* depthwise: one filter a channel, vectors along channels, a few pixels of a row at a time.
 *
 * Where taps are neighbours and the stride is 1 or 2, each input vector is loaded once a kernel row
 * and used by every tap that reads it; otherwise each tap loads its own. */

enum { K(depthwise_most_taps) = 5 };

/* Sums of `pixels` pixels and one vector of channels; in, w and out point at its first channel.  taps
 * and stride are constants, so that the compiler keeps the window in registers; stride 0 stands for
 * any number of taps and any stride. */
static FASTCONV_INLINE void K(depthwise_tile)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                              const REAL *bias, REAL *out, const int pixels, const int taps,
                                              const int stride, const int lanes) {
    const ptrdiff_t rows = args->tap_rows, columns = args->tap_columns, step = args->tap_step;
    const ptrdiff_t in_stride = args->in_stride, out_stride = args->out_stride;
    const ptrdiff_t w_stride = args->weights_stride, skipped = (args->weights_columns - columns) * w_stride;
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
    for (ptrdiff_t r = 0; r < rows; r++, w += skipped) {
        const REAL *a = in + args->row_offset[r];
        if (stride) {
            FASTCONV_UNROLL
            for (int t = 0; t < taps; t++, w += w_stride) b[t] = K(load_up_to)(w, lanes);
            FASTCONV_UNROLL
            for (int i = 0; i < (pixels - 1) * stride + taps; i++, a += step) {
                const VEC x = V(keep)(K(load_up_to)(a, lanes));
                FASTCONV_UNROLL
                for (int t = 0; t < taps; t++) {
                    const int m = (i - t) / stride;
                    if (i >= t && (i - t) % stride == 0 && m < pixels) sum[m] = V(fma)(x, b[t], sum[m]);
                }
            }
        } else {
            for (ptrdiff_t t = 0; t < columns; t++, a += step, w += w_stride) {
                b[0] = K(load_up_to)(w, lanes);
                FASTCONV_UNROLL
                for (int m = 0; m < pixels; m++)
                    sum[m] = V(fma)(K(load_up_to)(a + m * in_stride, lanes), b[0], sum[m]);
            }
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) K(store_up_to)(out + m * out_stride, sum[m], lanes);
}

/* Every pixel of up to a vector of channels, a tile at a time.  What is left at the end is a tile that
 * computes some pixels of the last one again, unless sums are added to what is there. */
static FASTCONV_INLINE void K(depthwise_pixels)(const fastconv_depthwise_args *args, ptrdiff_t channel, const int taps,
                                                const int stride, const int lanes) {
    const REAL *in = (const REAL *)args->in + channel, *w = (const REAL *)args->weights + channel;
    const REAL *bias = args->bias ? (const REAL *)args->bias + channel : NULL;
    REAL *out = (REAL *)args->out + channel;
    const ptrdiff_t pixels = args->pixels, in_step = args->in_stride, out_step = args->out_stride;
    ptrdiff_t p = 0;
#define TILES(size)                                                                                                  \
    for (; pixels - p > size / 2 && pixels >= size && !args->accumulate; p += size) {                                  \
        const ptrdiff_t q = pixels - p < size ? pixels - size : p;                                                     \
        K(depthwise_tile)(args, in + q * in_step, w, bias, out + q * out_step, size, taps, stride, lanes);            \
    }
    TILES(DEPTHWISE_PIXELS)
#if DEPTHWISE_PIXELS > 8
    TILES(8)
#endif
    TILES(4)
#undef TILES
    for (; p < pixels; p++)
        K(depthwise_tile)(args, in + p * in_step, w, bias, out + p * out_step, 1, taps, stride, lanes);
}

/* The channels past the last whole vector. */
static FASTCONV_NOINLINE void K(depthwise_last)(const fastconv_depthwise_args *args, ptrdiff_t channel, int lanes) {
    K(depthwise_pixels)(args, channel, 0, 0, lanes);
}

/* One vector of channels after the other, so that its weights stay near while all pixels pass. */
static FASTCONV_INLINE void K(depthwise_channels)(const fastconv_depthwise_args *given, const int taps,
                                                  const int stride) {
    const fastconv_depthwise_args own = *given, *args = &own;   /* stores cannot change what is local */
    ptrdiff_t c = 0;
    for (; c + LANES <= args->channels; c += LANES) K(depthwise_pixels)(args, c, taps, stride, LANES);
    if (c < args->channels) K(depthwise_last)(args, c, (int)(args->channels - c));
}

/* Functions of their own, lest the compiler keep the addresses of all of them at once. */
static FASTCONV_NOINLINE void K(depthwise_3s1)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, 3, 1); }
static FASTCONV_NOINLINE void K(depthwise_3s2)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, 3, 2); }
static FASTCONV_NOINLINE void K(depthwise_5s1)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, 5, 1); }
static FASTCONV_NOINLINE void K(depthwise_5s2)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, 5, 2); }
static FASTCONV_NOINLINE void K(depthwise_any)(const fastconv_depthwise_args *args) { K(depthwise_channels)(args, 0, 0); }

static void K(depthwise)(const fastconv_depthwise_args *args) {
    const ptrdiff_t taps = args->tap_columns;
    const int stride = args->in_stride == args->tap_step ? 1 : args->in_stride == 2 * args->tap_step ? 2 : 0;
    assert(args->pixels >= 0 && args->channels >= 0 && args->weights_columns >= args->tap_columns);

    if (taps == 3 && stride == 1)
        K(depthwise_3s1)(args);
    else if (taps == 3 && stride == 2)
        K(depthwise_3s2)(args);
    else if (taps == 5 && stride == 1)
        K(depthwise_5s1)(args);
    else if (taps == 5 && stride == 2)
        K(depthwise_5s2)(args);
    else
        K(depthwise_any)(args);
}
