/* Part of depthwise: kernels of many taps.  What a strip of pixels reads of one vector of channels is copied to `room`,
 * where nothing lies between: pixels of many channels are so far apart that they share a few sets of L1, and NumPy's
 * arrays seldom start where vectors are aligned.  Columns of padding are zeros there, so weights have to be finite. */

/* What the rows of a strip share.  Where its vectors are not of one pixel each, they hold so many `lanes` of as many
 * stretches of pixels as side by side fill one. */
typedef struct {
    const REAL *weights;                /* [rows][columns] */
    const REAL *start;
    ptrdiff_t columns, in_row, out_column;
    int accumulate, lanes, stretches;
    ptrdiff_t pixels, apart;            /* of the strip, and from the first of a stretch to that of the next */
} K(dense_strip);

/* Pixels beside each other, of which the first `count` are wanted, and the rows of taps that are inside. */
static FASTCONV_INLINE void K(dense_tile)(const K(dense_strip) *strip, const REAL *in, ptrdiff_t first_row,
                                          ptrdiff_t end_row, REAL *out, ptrdiff_t count, const int pixels,
                                          const int stride) {
    const ptrdiff_t columns = strip->columns, in_row = strip->in_row;
    const ptrdiff_t out_column = strip->lanes < LANES ? LANES : strip->out_column;
    const REAL *w = strip->weights + first_row * columns * LANES;
    VEC sum[DEPTHWISE_PIXELS];
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++)
        sum[m] = V(load)(strip->accumulate && m < count ? out + m * out_column : strip->start);
    for (ptrdiff_t r = first_row; r < end_row; r++) {
        const REAL *x = in + r * in_row;
        for (ptrdiff_t t = 0; t < columns; t++, x += LANES, w += LANES) {
            const VEC b = V(load)(w);
            FASTCONV_UNROLL
            for (int m = 0; m < pixels; m++) sum[m] = V(fma)(V(load)(x + m * stride * LANES), b, sum[m]);
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++)
        if (m < count) V(store)(out + m * out_column, sum[m]);
}

/* A few pixels, from `done` on of each stretch, to where they belong. */
static FASTCONV_NOINLINE void K(dense_spread)(const K(dense_strip) *strip, const REAL *sums, ptrdiff_t done, REAL *out) {
    const ptrdiff_t left = strip->apart - done, most = left < DEPTHWISE_PIXELS ? left : DEPTHWISE_PIXELS;
    const ptrdiff_t step = strip->out_column;
    const int lanes = strip->lanes;
    for (int s = 0; s < strip->stretches; s++, sums += lanes) {
        const ptrdiff_t first = s * strip->apart + done, there = strip->pixels - first;
        for (ptrdiff_t m = 0; m < most && m < there; m++)
            V(store_part)(out + (first + m) * step, V(load_part)(sums + m * LANES, lanes), lanes);
    }
}

/* A row of the strip. */
static FASTCONV_INLINE void K(dense_row)(const K(dense_strip) *strip, const REAL *in, ptrdiff_t first_row,
                                         ptrdiff_t end_row, REAL *out, const int stride) {
    enum { half = (DEPTHWISE_PIXELS + 1) / 2 };
    FASTCONV_ALIGN(64) REAL sums[DEPTHWISE_PIXELS * LANES];
    for (ptrdiff_t done = 0; done < strip->apart; done += strip->apart - done > half ? DEPTHWISE_PIXELS : half) {
        const ptrdiff_t left = strip->apart - done;
        const REAL *x = in + done * stride * LANES;
        REAL *to = strip->lanes < LANES ? sums : out + done * strip->out_column;
        if (left > half)
            K(dense_tile)(strip, x, first_row, end_row, to, left, DEPTHWISE_PIXELS, stride);
        else
            K(dense_tile)(strip, x, first_row, end_row, to, left, half, stride);
        if (strip->lanes < LANES) K(dense_spread)(strip, sums, done, out);
    }
}

/* Functions of their own, each with registers for its tiles. */
#define ROW(stride) static FASTCONV_NOINLINE void K(dense_row##stride)(const K(dense_strip) *given, const REAL *in, ptrdiff_t first_row, ptrdiff_t end_row, REAL *out) { const K(dense_strip) strip = *given; K(dense_row)(&strip, in, first_row, end_row, out, stride); }
ROW(1)
ROW(2)
#undef ROW

/* Which multiple of `step` is the first from `at` on; 0 if that is negative. */
static FASTCONV_INLINE ptrdiff_t K(dense_steps)(ptrdiff_t at, ptrdiff_t step) {
    return at < 0 ? 0 : at / step + (at % step > 0);
}

/* Rows [first, end) of the input and `width` columns from `column` on, as they are counted by taps, to so many lanes of
 * each vector; zeros for columns that are not inside, or that no tap reads. */
static FASTCONV_INLINE void K(dense_rows)(const fastconv_depthwise_args *args, ptrdiff_t first, ptrdiff_t end,
                                          ptrdiff_t column, ptrdiff_t width, const REAL *in, REAL *to, const int lanes) {
    const ptrdiff_t across = args->column_dilation, step = across * args->in_column;
    const ptrdiff_t read = (args->pixels - 1) * (args->column_step / across) + args->tap_columns;
    const ptrdiff_t inside = K(dense_steps)(args->end_column, across);
    ptrdiff_t left = K(dense_steps)(args->first_column, across) - column, right = (read < inside ? read : inside) - column;
    right = right < 0 ? 0 : right < width ? right : width;
    left = left < 0 ? 0 : left < right ? left : right;
    for (ptrdiff_t i = first; i < end; i++, to += width * LANES) {
        const REAL *from = in + i * args->row_dilation * args->in_row + column * step;
        for (ptrdiff_t q = 0; q < left; q++) K(store_up_to)(to + q * LANES, V(zero)(), lanes);
        for (ptrdiff_t q = left; q < right; q++)
            K(store_up_to)(to + q * LANES, K(load_up_to)(from + q * step, lanes), lanes);
        for (ptrdiff_t q = right; q < width; q++) K(store_up_to)(to + q * LANES, V(zero)(), lanes);
    }
}

static FASTCONV_NOINLINE void K(dense_copy)(const fastconv_depthwise_args *args, ptrdiff_t first, ptrdiff_t end,
                                            ptrdiff_t column, ptrdiff_t width, const REAL *in, REAL *to, int lanes) {
    if (lanes == LANES)
        K(dense_rows)(args, first, end, column, width, in, to, LANES);
    else
        K(dense_rows)(args, first, end, column, width, in, to, lanes);
}

/* Some pixels of every row, in some channels: a vector of them, or less of several stretches of these pixels. */
static FASTCONV_NOINLINE void K(dense_vector)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t pixels,
                                              ptrdiff_t c, int lanes, int stretches) {
    enum { half = (DEPTHWISE_PIXELS + 1) / 2 };
    const ptrdiff_t taps = args->tap_rows, columns = args->tap_columns, down = args->row_step / args->row_dilation;
    const ptrdiff_t read = (args->rows - 1) * down + taps, inside = K(dense_steps)(args->end_row, args->row_dilation);
    const ptrdiff_t first = K(dense_steps)(args->first_row, args->row_dilation), end = inside < read ? inside : read;
    const ptrdiff_t stride = args->column_step / args->column_dilation, apart = (pixels + stretches - 1) / stretches;
    const ptrdiff_t width = ((apart + half - 1) / half * half - 1) * stride + columns;
    REAL *const weights = (REAL *)args->room, *const image = weights + taps * columns * LANES;
    FASTCONV_ALIGN(64) REAL start[LANES];
    const K(dense_strip) strip = {weights, start, columns, width * LANES, args->out_column, args->accumulate,
                                  lanes, stretches, pixels, apart};
    V(store)(start, V(zero)());
    for (int s = 0; s < stretches; s++) {
        for (ptrdiff_t t = 0; t < taps * columns; t++)
            K(store_up_to)(weights + t * LANES + s * lanes,
                           K(load_up_to)((const REAL *)args->weights + t * args->weights_stride + c, lanes), lanes);
        if (args->bias)
            K(store_up_to)(start + s * lanes, K(load_up_to)((const REAL *)args->bias + c, lanes), lanes);
        K(dense_copy)(args, first, end, (p + s * apart) * stride, width, (const REAL *)args->in + c, image + s * lanes,
                      lanes);
    }
    for (ptrdiff_t y = 0; y < args->rows; y++) {
        const ptrdiff_t top = y * down, before = top < first ? first - top : 0;
        const ptrdiff_t after = end - top < taps ? end - top : taps;
        const REAL *in = image + (top - first) * strip.in_row;
        REAL *out = (REAL *)args->out + y * args->out_row + p * args->out_column + c;
        (stride == 1 ? K(dense_row1) : K(dense_row2))(&strip, in, before, after, out);
    }
}

/* Whether it applies. */
static int K(dense_apply)(const fastconv_depthwise_args *args) {
    const ptrdiff_t step = args->column_step, across = args->column_dilation;
    return args->room && args->group == 1 && args->channels > 0 && !(args->accumulate && args->channels % LANES)
        && (step == across || step == 2 * across) && args->row_step % args->row_dilation == 0;
}

static void K(depthwise_dense)(const fastconv_depthwise_args *args) {
    const ptrdiff_t most = args->strip < DEPTHWISE_PIXELS ? DEPTHWISE_PIXELS
                                                          : args->strip / DEPTHWISE_PIXELS * DEPTHWISE_PIXELS;
    const ptrdiff_t channels = args->channels, last = channels % LANES;
    assert((size_t)args->room % (LANES * sizeof(REAL)) == 0);
    for (ptrdiff_t p = 0; p < args->pixels; p += most) {
        const ptrdiff_t pixels = args->pixels - p < most ? args->pixels - p : most;
        /* Unless these are few, what is left of the channels takes as many vectors as it fills. */
        const int fit = last ? (int)(LANES / last) : 1, whole = fit == 1 || pixels < DEPTHWISE_PIXELS;
        for (ptrdiff_t c = 0; c >= 0;) {
            const int lanes = (int)(channels - c < LANES ? channels - c : LANES);
            K(dense_vector)(args, p, pixels, c, lanes, lanes < LANES && !whole ? fit : 1);
            c = whole && channels >= LANES ? K(next_vector)(c, args->first_vector, channels)
                : c + lanes < channels ? c + lanes : -1;
        }
    }
}
