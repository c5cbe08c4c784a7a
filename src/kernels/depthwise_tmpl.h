/* depthwise: one filter a channel, vectors along channels, a few pixels of a row at a time.
 *
 * Where taps are neighbours and the stride is 1 or 2, each input vector is loaded once a kernel row
 * and used by every tap that reads it; otherwise each tap loads its own.  Channels are the inner
 * loop, so that rows stream through the cache. */

enum { K(depthwise_pixels) = 8, K(depthwise_most_taps) = 5 };

/* Sums of `pixels` pixels and one vector of channels; in, w and out point at its first channel.  taps
 * and stride are constants, so that the compiler keeps the window in registers; stride 0 stands for
 * any number of taps and any stride. */
static FASTCONV_INLINE void K(depthwise_tile)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                              const REAL *bias, REAL *out, const int pixels, const int taps,
                                              const int stride, const int lanes) {
    const ptrdiff_t rows = args->tap_rows, columns = args->tap_columns, step = args->tap_step;
    const ptrdiff_t in_stride = args->in_stride, out_stride = args->out_stride;
    const ptrdiff_t w_stride = args->weights_stride, skipped = (args->weights_columns - columns) * w_stride;
    VEC sum[K(depthwise_pixels)], b[K(depthwise_most_taps)];

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
                const VEC x = K(load_up_to)(a, lanes);
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

/* The channels past the last whole vector. */
static FASTCONV_NOINLINE void K(depthwise_last)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                                const REAL *bias, REAL *out, int pixels, int lanes) {
    if (pixels == 8)
        K(depthwise_tile)(args, in, w, bias, out, 8, 0, 0, lanes);
    else if (pixels == 4)
        K(depthwise_tile)(args, in, w, bias, out, 4, 0, 0, lanes);
    else
        K(depthwise_tile)(args, in, w, bias, out, 1, 0, 0, lanes);
}

/* Every channel of a few pixels. */
static FASTCONV_INLINE void K(depthwise_channels)(const fastconv_depthwise_args *args, const REAL *in, REAL *out,
                                                  const int pixels, const int taps, const int stride) {
    const REAL *w = (const REAL *)args->weights, *bias = (const REAL *)args->bias;
    const ptrdiff_t channels = args->channels;
    ptrdiff_t c = 0;
    for (; c + LANES <= channels; c += LANES, in += LANES, w += LANES, out += LANES) {
        K(depthwise_tile)(args, in, w, bias, out, pixels, taps, stride, LANES);
        if (bias) bias += LANES;
    }
    if (c < channels) K(depthwise_last)(args, in, w, bias, out, pixels, (int)(channels - c));
}

/* Functions of their own, lest the compiler keep the addresses of all of them at once. */
typedef void K(depthwise_fn)(const fastconv_depthwise_args *, const REAL *, REAL *);
#define TILE(pixels, taps, stride) static FASTCONV_NOINLINE void K(depthwise_##taps##s##stride##_##pixels)(const fastconv_depthwise_args *args, const REAL *in, REAL *out) { K(depthwise_channels)(args, in, out, pixels, taps, stride); }
#define TILES(taps, stride) TILE(8, taps, stride) TILE(4, taps, stride) TILE(1, taps, stride)
TILES(3, 1) TILES(3, 2) TILES(5, 1) TILES(5, 2) TILES(0, 0)
#undef TILES
#undef TILE

static void K(depthwise)(const fastconv_depthwise_args *args) {
#define TILES(taps, stride) {K(depthwise_##taps##s##stride##_8), K(depthwise_##taps##s##stride##_4), K(depthwise_##taps##s##stride##_1)}
    static K(depthwise_fn) *const windows[2][2][3] = {{TILES(3, 1), TILES(3, 2)}, {TILES(5, 1), TILES(5, 2)}};
    static K(depthwise_fn) *const any[3] = TILES(0, 0);
#undef TILES
    const int close = args->in_stride == args->tap_step || args->in_stride == 2 * args->tap_step;
    const int window = close && (args->tap_columns == 3 || args->tap_columns == 5);
    K(depthwise_fn) *const *tile = window ? windows[args->tap_columns == 5][args->in_stride != args->tap_step] : any;
    const REAL *in = (const REAL *)args->in;
    REAL *out = (REAL *)args->out;
    assert(args->pixels >= 0 && args->channels >= 0 && args->weights_columns >= args->tap_columns);

    ptrdiff_t p = 0;
    for (; p + 8 <= args->pixels; p += 8) tile[0](args, in + p * args->in_stride, out + p * args->out_stride);
    for (; p + 4 <= args->pixels; p += 4) tile[1](args, in + p * args->in_stride, out + p * args->out_stride);
    for (; p < args->pixels; p++) tile[2](args, in + p * args->in_stride, out + p * args->out_stride);
}
