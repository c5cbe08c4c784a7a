/* Part of depthwise: 3x3 taps of stride 1 or 2, down a column of tiles; each channel has its own weights.
 *
 * A few pixels of one vector of channels go down the rows of the input.  The sums of every row of output that the
 * current row of input belongs to stay in registers, three with stride 1 and two with stride 2: each input vector is
 * loaded once.  The nine weights stay in registers, too.  Rows of padding are left out, and so is a column of padding on
 * either side; where there are more, tiles are single pixels, which leave out each by itself. */

/* One row of input.  To the sums of three rows of output it is the first, second or third row of taps; NULL for those
 * that it does not belong to.  [begin, end) are the columns inside, which wide tiles miss by one at the most. */
static FASTCONV_INLINE void K(rows_add)(const fastconv_depthwise_args *args, const REAL *in, ptrdiff_t begin,
                                        ptrdiff_t end, const VEC *w, VEC *first, VEC *second, VEC *third,
                                        const int pixels, const int stride) {
    const ptrdiff_t step = args->in_column;
    const int columns = (pixels - 1) * stride + 3;
    FASTCONV_UNROLL
    for (int j = 0; j < columns; j++, in += step) {
        if ((pixels == 1 || j == 0) && begin > j) continue;
        if ((pixels == 1 || j == columns - 1) && end <= j) continue;
        const VEC x = V(keep)(V(load)(in));
        FASTCONV_UNROLL
        for (int t = 0; t < 3; t++) {
            const int m = (j - t) / stride;
            if (j < t || (j - t) % stride || m >= pixels) continue;
            if (third) third[m] = V(fma)(x, w[6 + t], third[m]);
            if (second) second[m] = V(fma)(x, w[3 + t], second[m]);
            if (first) first[m] = V(fma)(x, w[t], first[m]);
        }
    }
}

/* Ends the sums of a row of output, which start anew for another. */
static FASTCONV_INLINE void K(rows_end)(REAL *out, ptrdiff_t step, int inside, VEC start, VEC *sum,
                                        const int pixels, const int stream) {
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        if (inside && stream)
            V(stream)(out + m * step, sum[m]);
        else if (inside)
            V(store)(out + m * step, sum[m]);
        sum[m] = start;
    }
}

/* Pixels [p, p + pixels) of every row of output, of the channels from c on.  Sums of rows before the first and after
 * the last are formed with the others, and go nowhere. */
static FASTCONV_INLINE void K(rows_column)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t c,
                                           const int pixels, const int stride) {
    const int stream = stride == 1 && args->stream;
    const ptrdiff_t column = p * stride, out_step = args->out_column;
    const ptrdiff_t first = args->first_row, last = args->end_row, rows = args->rows;
    const ptrdiff_t begin = args->first_column - column, end = args->end_column - column;
    const REAL *in = (const REAL *)args->in + column * args->in_column + c;
    const REAL *weights = (const REAL *)args->weights + c;
    REAL *out = (REAL *)args->out + p * out_step + c;
    const VEC start = args->bias ? V(load)((const REAL *)args->bias + c) : V(zero)();
    VEC a[DEPTHWISE_COLUMN], b[DEPTHWISE_COLUMN], d[DEPTHWISE_COLUMN], w[9];
    ptrdiff_t i = 0, y = stride == 1 ? -2 : -1;   /* the row of input, and of output that it ends */

    out += y * args->out_row;
    FASTCONV_UNROLL
    for (int t = 0; t < 9; t++) w[t] = V(load)(weights + t * args->weights_stride);
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) a[m] = b[m] = d[m] = start;
/* The next row of input, and the row of output that ends with it. */
#define ADD(first_sum, second_sum, third_sum)                                                                          \
    if (i >= first && i < last)                                                                                        \
        K(rows_add)(args, in, begin, end, w, first_sum, second_sum, third_sum, pixels, stride);                        \
    i++;                                                                                                               \
    in += args->in_row;
#define END(sum)                                                                                                       \
    K(rows_end)(out, out_step, y >= 0, start, sum, pixels, stream);                                                    \
    out += args->out_row;                                                                                              \
    if (++y == rows) return;
    for (;;) {
        if (stride == 1) {
            ADD(d, b, a) END(a)
            ADD(a, d, b) END(b)
            ADD(b, a, d) END(d)
        } else {
            ADD(b, NULL, a) END(a)
            ADD(NULL, b, NULL)
            ADD(a, NULL, b) END(b)
            ADD(NULL, a, NULL)
        }
    }
#undef ADD
#undef END
}

/* The tiles of all rows, of each all channels.  A tile between others may compute some pixels of the one before again. */
static FASTCONV_INLINE void K(rows_columns)(const fastconv_depthwise_args *args, const int stride) {
    enum { wide = DEPTHWISE_COLUMN, half = DEPTHWISE_COLUMN / 2 + 1 };
    const ptrdiff_t pixels = args->pixels, channels = args->channels;
    ptrdiff_t left = 0, right = pixels;
    while (left < pixels && left * stride + 1 < args->first_column) left++;
    while (right > left && (right - 1) * stride + 2 > args->end_column) right--;
    for (ptrdiff_t p = 0, tile; p < pixels; p += tile) {
        tile = K(tile_pixels)(p < left ? 0 : right - p, right - left, wide, half);
        if (tile > 1 && p > right - tile) p = right - tile;
        for (ptrdiff_t c = 0; c >= 0; c = K(next_vector)(c, args->first_vector, channels)) {
            if (wide > 1 && tile == wide)
                K(rows_column)(args, p, c, wide, stride);
            else if (half < wide && tile == half)
                K(rows_column)(args, p, c, half, stride);
            else
                K(rows_column)(args, p, c, 1, stride);
        }
    }
}

/* Functions of their own, each with registers for its tiles. */
#define ROWS(name, stride)                                                                                             \
    static FASTCONV_NOINLINE void K(rows_##name)(const fastconv_depthwise_args *args) {                                \
        const fastconv_depthwise_args own = *args;  /* stores cannot change what is local */                           \
        K(rows_columns)(&own, stride);                                                                                 \
    }
ROWS(s1, 1)
ROWS(s2, 2)
#undef ROWS

/* Whether 3x3 taps go down columns of tiles, each channel's own or those of groups (depthwise_shared_tmpl.h). */
static FASTCONV_INLINE int K(rows_apply)(const fastconv_depthwise_args *args) {
    if (args->tap_rows != 3 || args->tap_columns != 3) return 0;
    if (args->rows < 1 || args->channels < LANES || args->accumulate) return 0;
    return args->row_dilation == 1 && args->column_dilation == 1
           && args->row_step == args->column_step && args->row_step <= 2;
}

static void K(depthwise_rows)(const fastconv_depthwise_args *args) {
    if (args->group > 1)
        (args->row_step > 1 ? K(shared_3s2_groups) : K(shared_3s1_groups))(args);
    else
        (args->row_step > 1 ? K(rows_s2) : K(rows_s1))(args);
}
