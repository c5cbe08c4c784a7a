/* Part of depthwise: 3x3 taps of stride 1 or 2, several rows of output at once.
 *
 * A tile is a few rows by a few pixels of one vector of channels.  All nine weights and the sums stay in registers,
 * and each input vector is loaded once for every product of the tile that it belongs to: 36 loads for 144
 * products in the tile of 4x4, and an input row passes through the caches once for four rows of output.  Rows of
 * padding are left out row by row, columns only in tiles of a single pixel, which the edges are made of. */

/* Output rows [y, y + rows) x pixels [p, p + pixels) of the channels from c on. */
static FASTCONV_INLINE void K(rows_tile)(const fastconv_depthwise_args *args, ptrdiff_t y, ptrdiff_t p, ptrdiff_t c,
                                         const int rows, const int pixels, const int stride) {
    const ptrdiff_t row = y * stride, column = p * stride, step = args->in_column;
    const REAL *in = (const REAL *)args->in + row * args->in_row + column * step + c;
    const REAL *w = (const REAL *)args->weights + c;
    REAL *out = (REAL *)args->out + y * args->out_row + p * args->out_column + c;
    VEC sum[DEPTHWISE_ROWS][DEPTHWISE_ROW_PIXELS], b[9];

    FASTCONV_UNROLL
    for (int t = 0; t < 9; t++) b[t] = V(load)(w + t * args->weights_stride);
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++)
            sum[r][m] = args->bias ? V(load)((const REAL *)args->bias + c) : V(zero)();
    }
    FASTCONV_UNROLL
    for (int i = 0; i < (rows - 1) * stride + 3; i++, in += args->in_row) {
        if (row + i < args->first_row || row + i >= args->end_row) continue;
        FASTCONV_UNROLL
        for (int j = 0; j < (pixels - 1) * stride + 3; j++) {
            if (pixels == 1 && (column + j < args->first_column || column + j >= args->end_column)) continue;
            const VEC x = V(keep)(V(load)(in + j * step));
            FASTCONV_UNROLL
            for (int r = 0; r < rows; r++) {
                FASTCONV_UNROLL
                for (int t = 0; t < 3; t++) {
                    const int u = i - r * stride, m = (j - t) / stride;
                    if (u >= 0 && u < 3 && j >= t && (j - t) % stride == 0 && m < pixels)
                        sum[r][m] = V(fma)(x, b[3 * u + t], sum[r][m]);
                }
            }
        }
    }
    FASTCONV_UNROLL
    for (int r = 0; r < rows; r++) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) V(store)(out + r * args->out_row + m * args->out_column, sum[r][m]);
    }
}

/* What the tile after the next one reads, and this one or those above it did not.  May lie past the end. */
static FASTCONV_INLINE void K(rows_prefetch)(const fastconv_depthwise_args *args, ptrdiff_t y, ptrdiff_t p,
                                             ptrdiff_t c, const int rows, const int stride) {
    const REAL *in = (const REAL *)args->in;
    const ptrdiff_t column = (p + 2 * DEPTHWISE_ROW_PIXELS - 1) * stride + 3;
    for (int i = 3 - stride; i < (rows - 1) * stride + 3; i++) {
        for (int j = 0; j < DEPTHWISE_ROW_PIXELS * stride; j++) {
            const ptrdiff_t offset = (y * stride + i) * args->in_row + (column + j) * args->in_column + c;
            FASTCONV_PREFETCH((const void *)((uintptr_t)in + (uintptr_t)offset * sizeof(REAL)));
        }
    }
}

/* A band of rows, a strip of pixels at a time, of each all channels.  Between the edges the last tile may compute some
 * pixels of the one before again. */
static FASTCONV_INLINE void K(rows_band)(const fastconv_depthwise_args *args, ptrdiff_t y, const int rows,
                                         const int stride) {
    const ptrdiff_t pixels = args->pixels;
    ptrdiff_t left = 0, right = pixels, next;
    while (left < pixels && left * stride < args->first_column) left++;
    while (right > left && (right - 1) * stride + 3 > args->end_column) right--;
    for (ptrdiff_t p = 0; p < pixels; p = next) {
        const ptrdiff_t end = pixels - p < args->strip ? pixels : p + args->strip;
        for (ptrdiff_t c = 0; c >= 0; c = K(next_vector)(c, args->first_vector, args->channels)) {
            for (next = p; next < end;) {
                const ptrdiff_t at = K(tile_at)(next, left, right, DEPTHWISE_ROW_PIXELS);
                if (at >= 0)
                    K(rows_tile)(args, y, at, c, rows, DEPTHWISE_ROW_PIXELS, stride);
                else
                    K(rows_tile)(args, y, next, c, rows, 1, stride);
                if (at >= 0 && args->prefetch) K(rows_prefetch)(args, y, at, c, rows, stride);
                next = at >= 0 ? at + DEPTHWISE_ROW_PIXELS : next + 1;
            }
        }
    }
}

/* Functions of their own, each with registers for its tiles. */
#define BAND(rows, stride)                                                                                        \
    static FASTCONV_NOINLINE void K(rows_##rows##_s##stride)(const fastconv_depthwise_args *args, ptrdiff_t y) {  \
        const fastconv_depthwise_args own = *args;  /* stores cannot change what is local */                      \
        K(rows_band)(&own, y, rows, stride);                                                                      \
    }
BAND(2, 1)
BAND(2, 2)
#if DEPTHWISE_ROWS == 4
BAND(4, 1)
#endif
#undef BAND

/* Whether they apply.  A row may be computed again, so nothing is added to what is there. */
static FASTCONV_INLINE int K(rows_stride)(const fastconv_depthwise_args *args) {
    const ptrdiff_t down = args->row_dilation, across = args->column_dilation;
    if (args->tap_rows != 3 || args->tap_columns != 3 || args->group > 1) return 0;
    if (args->rows < 2 || args->channels < LANES || args->accumulate) return 0;
    for (int stride = 1; stride <= 2; stride++)
        if (args->row_step == stride * down && args->column_step == stride * across) return stride;
    return 0;
}

/* Bands from the top to the bottom; the last one may compute a row of the one before again. */
static void K(depthwise_rows)(const fastconv_depthwise_args *given, int stride) {
    fastconv_depthwise_args own = *given, *const args = &own;
    const ptrdiff_t rows = args->rows, down = args->row_dilation, across = args->column_dilation;
    ptrdiff_t y = 0;
    args->in_row *= down;       /* rows and columns in between play no part */
    args->in_column *= across;
    args->first_row = args->first_row > 0 ? (args->first_row - 1) / down + 1 : 0;
    args->end_row = args->end_row > 0 ? (args->end_row - 1) / down + 1 : 0;
    args->first_column = args->first_column > 0 ? (args->first_column - 1) / across + 1 : 0;
    args->end_column = args->end_column > 0 ? (args->end_column - 1) / across + 1 : 0;
#if DEPTHWISE_ROWS == 4
    for (; stride == 1 && rows >= 4 && rows - y > 2; y += 4) K(rows_4_s1)(args, rows - y < 4 ? rows - 4 : y);
#endif
    for (; y < rows; y += 2) (stride == 1 ? K(rows_2_s1) : K(rows_2_s2))(args, rows - y < 2 ? rows - 2 : y);
}
