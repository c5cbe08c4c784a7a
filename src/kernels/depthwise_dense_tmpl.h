/* Part of depthwise: kernels of many taps.  What a strip of pixels reads of one vector of channels is copied to `room`,
 * where nothing lies between: pixels of many channels are so far apart that they share a few sets of L1, and NumPy's
 * arrays seldom start where vectors are aligned.  Columns of padding are zeros there, so weights have to be finite. */

/* What the tiles of a strip share. */
typedef struct {
    const REAL *weights;                /* [rows][columns] */
    const REAL *start;
    ptrdiff_t columns, in_row, out_column;
    int accumulate;
} K(dense_strip);

/* Pixels beside each other, of which the first `count` are wanted, and the rows of taps that are inside. */
static FASTCONV_INLINE void K(dense_tile)(const K(dense_strip) *strip, const REAL *in, ptrdiff_t first_row,
                                          ptrdiff_t end_row, REAL *out, ptrdiff_t count, const int pixels,
                                          const int stride) {
    const ptrdiff_t columns = strip->columns, in_row = strip->in_row, out_column = strip->out_column;
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

/* Which multiple of `step` is the first from `at` on; 0 if that is negative. */
static FASTCONV_INLINE ptrdiff_t K(dense_steps)(ptrdiff_t at, ptrdiff_t step) {
    return at < 0 ? 0 : at / step + (at % step > 0);
}

/* Rows [first, end) of the input and `width` columns from `column` on, as they are counted by taps; zeros for columns
 * that are not inside, or that no tap reads. */
static FASTCONV_NOINLINE void K(dense_copy)(const fastconv_depthwise_args *args, ptrdiff_t first, ptrdiff_t end,
                                            ptrdiff_t column, ptrdiff_t width, const REAL *in, REAL *to) {
    const ptrdiff_t across = args->column_dilation, step = across * args->in_column;
    const ptrdiff_t read = (args->pixels - 1) * (args->column_step / across) + args->tap_columns;
    const ptrdiff_t inside = K(dense_steps)(args->end_column, across);
    ptrdiff_t left = K(dense_steps)(args->first_column, across) - column, right = (read < inside ? read : inside) - column;
    right = right < 0 ? 0 : right < width ? right : width;
    left = left < 0 ? 0 : left < right ? left : right;
    for (ptrdiff_t i = first; i < end; i++, to += width * LANES) {
        const REAL *from = in + i * args->row_dilation * args->in_row + column * step;
        for (ptrdiff_t q = 0; q < left; q++) V(store)(to + q * LANES, V(zero)());
        for (ptrdiff_t q = left; q < right; q++) V(store)(to + q * LANES, V(load)(from + q * step));
        for (ptrdiff_t q = right; q < width; q++) V(store)(to + q * LANES, V(zero)());
    }
}

static FASTCONV_INLINE void K(dense_strips)(const fastconv_depthwise_args *args, const int stride) {
    enum { half = (DEPTHWISE_PIXELS + 1) / 2 };
    const ptrdiff_t taps = args->tap_rows, columns = args->tap_columns, down = args->row_step / args->row_dilation;
    const ptrdiff_t read = (args->rows - 1) * down + taps, inside = K(dense_steps)(args->end_row, args->row_dilation);
    const ptrdiff_t first = K(dense_steps)(args->first_row, args->row_dilation), end = inside < read ? inside : read;
    const ptrdiff_t most = args->strip < DEPTHWISE_PIXELS ? DEPTHWISE_PIXELS : args->strip / DEPTHWISE_PIXELS * DEPTHWISE_PIXELS;
    REAL *const weights = (REAL *)args->room, *const image = weights + taps * columns * LANES;
    FASTCONV_ALIGN(64) REAL start[LANES];
    K(dense_strip) strip = {weights, start, columns, 0, args->out_column, args->accumulate};
    for (ptrdiff_t p = 0; p < args->pixels; p += most) {
        const ptrdiff_t pixels = args->pixels - p < most ? args->pixels - p : most;
        const ptrdiff_t width = ((pixels + half - 1) / half * half - 1) * stride + columns;
        strip.in_row = width * LANES;
        for (ptrdiff_t c = 0; c >= 0; c = K(next_vector)(c, args->first_vector, args->channels)) {
            for (ptrdiff_t t = 0; t < taps * columns; t++)
                V(store)(weights + t * LANES, V(load)((const REAL *)args->weights + t * args->weights_stride + c));
            V(store)(start, args->bias ? V(load)((const REAL *)args->bias + c) : V(zero)());
            K(dense_copy)(args, first, end, p * stride, width, (const REAL *)args->in + c, image);
            for (ptrdiff_t y = 0; y < args->rows; y++) {
                const ptrdiff_t top = y * down, before = top < first ? first - top : 0;
                const ptrdiff_t after = end - top < taps ? end - top : taps;
                const REAL *in = image + (top - first) * strip.in_row;
                REAL *out = (REAL *)args->out + y * args->out_row + p * args->out_column + c;
                for (ptrdiff_t left = pixels; left > 0; left -= left > half ? DEPTHWISE_PIXELS : half) {
                    const REAL *x = in + (pixels - left) * stride * LANES;
                    REAL *to = out + (pixels - left) * args->out_column;
                    if (left > half)
                        K(dense_tile)(&strip, x, before, after, to, left, DEPTHWISE_PIXELS, stride);
                    else
                        K(dense_tile)(&strip, x, before, after, to, left, half, stride);
                }
            }
        }
    }
}

static FASTCONV_NOINLINE void K(dense_neighbours)(const fastconv_depthwise_args *args) { K(dense_strips)(args, 1); }
static FASTCONV_NOINLINE void K(dense_every_other)(const fastconv_depthwise_args *args) { K(dense_strips)(args, 2); }

/* Whether this is for dense_strips. */
static int K(dense_apply)(const fastconv_depthwise_args *args) {
    const ptrdiff_t step = args->column_step, across = args->column_dilation;
    return args->room && args->group == 1 && args->channels >= LANES && !(args->accumulate && args->channels % LANES)
        && (step == across || step == 2 * across) && args->row_step % args->row_dilation == 0;
}

static void K(depthwise_dense)(const fastconv_depthwise_args *args) {
    assert((size_t)args->room % (LANES * sizeof(REAL)) == 0);
    (args->column_step == args->column_dilation ? K(dense_neighbours) : K(dense_every_other))(args);
}
