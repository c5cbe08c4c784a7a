/* depthwise_pairs: dL/dx of stride 2, both phases of a row at once.
 *
 * Neighbouring pixels belong to different phases but read the same inputs: each vector of those is loaded once
 * a kernel row for all taps of both, and the output is written without gaps. */

/* Pairs of a tile: sums enough to hide the latency of an FMA. */
#define PAIRS 4

/* Sums of `pairs` pairs and one vector of channels; in, first, second and out point at its first channel. */
static FASTCONV_INLINE void K(pairs_tile)(const fastconv_depthwise_pairs_args *args, const REAL *in, const REAL *first,
                                          const REAL *second, REAL *out, const int pairs, const int taps,
                                          const int lanes) {
    const ptrdiff_t rows = args->tap_rows, w_stride = args->weights_stride, out_stride = args->out_stride;
    VEC sum[2][PAIRS], a[2], b[3];

    FASTCONV_UNROLL
    for (int m = 0; m < pairs; m++) sum[0][m] = sum[1][m] = V(zero)();
    for (ptrdiff_t r = 0; r < rows; r++, first += taps * w_stride, second += (taps + 1) * w_stride) {
        const REAL *at = in + args->row_offset[r];
        FASTCONV_UNROLL
        for (int t = 0; t < taps; t++) a[t] = K(load_up_to)(first + t * w_stride, lanes);
        FASTCONV_UNROLL
        for (int t = 0; t <= taps; t++) b[t] = K(load_up_to)(second + t * w_stride, lanes);
        FASTCONV_UNROLL
        for (int j = 0; j < pairs + taps; j++, at += args->in_stride) {
            const VEC x = V(keep)(K(load_up_to)(at, lanes));
            FASTCONV_UNROLL
            for (int t = 0; t <= taps; t++) {
                const int m = j - t;
                if (m < 0 || m >= pairs) continue;
                if (t < taps) sum[0][m] = V(fma)(x, a[t], sum[0][m]);
                sum[1][m] = V(fma)(x, b[t], sum[1][m]);
            }
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pairs; m++) {
        K(store_up_to)(out + 2 * m * out_stride, sum[0][m], lanes);
        K(store_up_to)(out + (2 * m + 1) * out_stride, sum[1][m], lanes);
    }
}

/* Pairs [p, end) of up to a vector of channels, a tile at a time.  What is left at the end is a tile that computes
 * some pairs of the last one again. */
static FASTCONV_INLINE void K(pairs_channel)(const fastconv_depthwise_pairs_args *args, ptrdiff_t p, ptrdiff_t end,
                                             ptrdiff_t channel, const int taps, const int lanes) {
    const REAL *in = (const REAL *)args->in + channel;
    const REAL *first = (const REAL *)args->first + channel, *second = (const REAL *)args->second + channel;
    REAL *out = (REAL *)args->out + channel;
    const ptrdiff_t begin = p, in_step = args->in_stride, out_step = 2 * args->out_stride;
    for (; end - p > 1 && end - begin >= PAIRS; p += PAIRS) {
        const ptrdiff_t q = end - p < PAIRS ? end - PAIRS : p;
        K(pairs_tile)(args, in + q * in_step, first, second, out + q * out_step, PAIRS, taps, lanes);
    }
    for (; p < end; p++)
        K(pairs_tile)(args, in + p * in_step, first, second, out + p * out_step, 1, taps, lanes);
}

static FASTCONV_INLINE void K(pairs_channels)(const fastconv_depthwise_pairs_args *given, const int taps) {
    const fastconv_depthwise_pairs_args own = *given, *const args = &own;   /* stores cannot change what is local */
    const int rest = (int)(args->channels % LANES);     /* which the compiler sees to be no whole vector */
    for (ptrdiff_t p = 0; p < args->pairs; p += args->strip) {
        const ptrdiff_t end = args->pairs - p < args->strip ? args->pairs : p + args->strip;
        ptrdiff_t c = 0;
        for (; c + LANES <= args->channels; c += LANES) K(pairs_channel)(args, p, end, c, taps, LANES);
        if (rest > 0) K(pairs_channel)(args, p, end, c, taps, rest);
    }
}

static FASTCONV_NOINLINE void K(pairs_of3)(const fastconv_depthwise_pairs_args *args) { K(pairs_channels)(args, 1); }
static FASTCONV_NOINLINE void K(pairs_of5)(const fastconv_depthwise_pairs_args *args) { K(pairs_channels)(args, 2); }

static void K(depthwise_pairs)(const fastconv_depthwise_pairs_args *args) {
    assert(args->pairs >= 0 && args->strip > 0 && args->channels >= 0);
    assert(args->tap_columns == 1 || args->tap_columns == 2);
    (args->tap_columns == 1 ? K(pairs_of3) : K(pairs_of5))(args);
}
#undef PAIRS
