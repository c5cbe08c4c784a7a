/* gather, pack and add: everything that moves data so that the products above see it dense. */

/* A product with zero is zero, unless a NaN or an infinity is among the factors. */
static FASTCONV_INLINE int K(all_zero)(VEC a) {
    REAL lane[LANES];
    V(store)(lane, a);
    int zero = 1;
    for (int i = 0; i < LANES; i++) zero &= lane[i] == 0;
    return zero;
}

/* Rows of the panel are columns of the source: whole squares are transposed in registers. */
static VEC K(pack_transposed)(const fastconv_pack_args *args) {
    const REAL *source = (const REAL *)args->source;
    REAL *panel = (REAL *)args->panel;
    const ptrdiff_t step = args->column_stride, panel_stride = args->panel_stride;
    VEC check = V(zero)();

    for (ptrdiff_t n = 0; n < args->columns; n += LANES) {
        const int columns = (int)(args->columns - n < LANES ? args->columns - n : LANES);
        for (ptrdiff_t k = 0; k < args->rows; k += LANES) {
            const int rows = (int)(args->rows - k < LANES ? args->rows - k : LANES);
            VEC square[LANES];
            FASTCONV_UNROLL
            for (int i = 0; i < LANES; i++) {
                square[i] = i < columns ? K(load_up_to)(source + (n + i) * step + k, rows) : V(zero)();
                check = V(fma)(square[i], V(zero)(), check);
            }
            V(transpose)(square);
            FASTCONV_UNROLL
            for (int i = 0; i < LANES; i++)
                if (i < rows) V(store)(panel + (k + i) * panel_stride + n, square[i]);
        }
    }
    return check;
}

/* Rows of the panel are rows of the source, or scattered. */
static VEC K(pack_rows)(const fastconv_pack_args *args) {
    VEC check = V(zero)();
    for (ptrdiff_t k = 0; k < args->rows; k++) {
        const REAL *from = (const REAL *)args->source + k * args->row_stride;
        REAL *to = (REAL *)args->panel + k * args->panel_stride;
        for (ptrdiff_t n = 0; n < args->columns; n += LANES) {
            const int columns = (int)(args->columns - n < LANES ? args->columns - n : LANES);
            VEC row;
            if (args->column_stride == 1) {
                row = K(load_up_to)(from + n, columns);
            } else {
                REAL lane[LANES] = {0};
                for (int i = 0; i < columns; i++) lane[i] = from[(n + i) * args->column_stride];
                row = V(load)(lane);
            }
            check = V(fma)(row, V(zero)(), check);
            V(store)(to + n, row);
        }
    }
    return check;
}

static void K(pack)(const fastconv_pack_args *args) {
    assert(args->panel_stride % LANES == 0 && args->panel_stride >= args->columns);
    assert(args->panel_stride - args->columns < LANES);
    const int transposed = args->row_stride == 1 && args->column_stride != 1;
    const VEC check = transposed ? K(pack_transposed)(args) : K(pack_rows)(args);
    if (!K(all_zero)(check)) *args->finite = 0;
}

static FASTCONV_INLINE void K(copy)(REAL *to, const REAL *from, ptrdiff_t count) {
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) V(store)(to + i, V(load)(from + i));
    if (i < count) V(store_part)(to + i, V(load_part)(from + i, (int)(count - i)), (int)(count - i));
}

static FASTCONV_INLINE void K(clear)(REAL *to, ptrdiff_t count) {
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) V(store)(to + i, V(zero)());
    if (i < count) V(store_part)(to + i, V(zero)(), (int)(count - i));
}

/* Channels far apart in memory, as in a view of an NCHW array: its pixels are close together, so a
 * few of them are taken at a time, channel by channel. */
static void K(gather_strided)(const fastconv_gather_args *args, const REAL *x, REAL *scratch) {
    enum { together = 16 };
    for (ptrdiff_t p = 0; p < args->pixels; p += together) {
        const ptrdiff_t end = args->pixels - p < together ? args->pixels : p + together;
        for (ptrdiff_t b = 0; b < args->inner; b++)
            for (ptrdiff_t q = p; q < end; q++)
                scratch[q * args->pixel_step + b] = x[q * args->column_stride + b * args->inner_stride];
    }
}

static void K(gather)(const fastconv_gather_args *args) {
    const ptrdiff_t step = args->pixel_step, inner = args->inner;
    const REAL *x = (const REAL *)args->x;
    for (ptrdiff_t a = 0; a < args->outer; a++) {
        REAL *scratch = (REAL *)args->scratch + a * args->outer_step;
        for (ptrdiff_t p = 0; p < args->lead; p++) K(clear)(scratch + p * step, inner);
        scratch += args->lead * step;
        if (args->inner_stride != 1 && inner != 1)
            K(gather_strided)(args, x, scratch);
        else if (inner == step && args->column_stride == step)
            K(copy)(scratch, x, args->pixels * step);
        else
            for (ptrdiff_t p = 0; p < args->pixels; p++)
                K(copy)(scratch + p * step, x + p * args->column_stride, inner);
        scratch += args->pixels * step;
        for (ptrdiff_t p = 0; p < args->tail; p++) K(clear)(scratch + p * step, inner);
        if (args->pixels) x += args->outer_stride;
    }
}

static void K(add)(const fastconv_add_args *args) {
    REAL *sum = (REAL *)args->sum;
    const REAL *term = (const REAL *)args->term;
    ptrdiff_t i = 0;
    for (; i + LANES <= args->count; i += LANES) V(store)(sum + i, V(add)(V(load)(sum + i), V(load)(term + i)));
    for (; i < args->count; i++) sum[i] += term[i];
}
