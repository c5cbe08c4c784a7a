/* gather, pack, add and check: everything that goes through data without multiplying it. */

/* A product with zero is zero, unless a NaN or an infinity is among the factors. */
static FASTCONV_INLINE int K(all_zero)(VEC a) {
    REAL lane[LANES];
    V(store)(lane, a);
    int zero = 1;
    for (int i = 0; i < LANES; i++) zero &= lane[i] == 0;
    return zero;
}

/* What packs takes two things besides its arguments: how far the next vector of columns goes from the one before, and a
 * factor.
 *
 * Here rows of the panel are columns of the source: whole squares are transposed in registers.  They are short pieces of
 * many lines, which hardware does not foresee; nor is L1 to hold them early, where lines pages apart share a set. */
static VEC K(pack_transposed)(const fastconv_pack_args *args, ptrdiff_t next, VEC factor) {
    const REAL *source = (const REAL *)args->source;
    REAL *panel = (REAL *)args->panel;
    const ptrdiff_t step = args->column_stride, panel_stride = args->panel_stride;
    VEC check[4];
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++) check[i] = V(zero)();

    for (ptrdiff_t n = 0; n < args->columns; n += LANES) {
        const int columns = (int)(args->columns - n < LANES ? args->columns - n : LANES);
        for (ptrdiff_t k = 0; k < args->rows; k += LANES) {
            const int rows = (int)(args->rows - k < LANES ? args->rows - k : LANES);
            VEC square[LANES];
            const REAL *from = source + n * step + k;
            FASTCONV_UNROLL
            for (int i = 0; i < LANES; i++, from += step) {
                square[i] = i < columns ? K(load_up_to)(from, rows) : V(zero)();
                FASTCONV_PREFETCH_L2(from + LANES * step);
            }
            FASTCONV_UNROLL
            for (int i = 0; i < LANES; i++) check[i % 4] = V(fma)(square[i], V(zero)(), check[i % 4]);
            V(transpose)(square);
            FASTCONV_UNROLL
            for (int i = 0; i < LANES; i++)
                if (i < rows) V(store)(panel + (k + i) * panel_stride, V(mul)(square[i], factor));
        }
        panel += next;
    }
    return V(add)(V(add)(check[0], check[1]), V(add)(check[2], check[3]));
}

/* Rows of the panel are rows of the source; the last vector of each may be a part. */
static FASTCONV_INLINE VEC K(pack_vector)(const REAL *from, REAL *to, int lanes, VEC factor, VEC check) {
    const VEC row = K(load_up_to)(from, lanes);
    V(store)(to, V(mul)(row, factor));
    return V(fma)(row, V(zero)(), check);
}

static VEC K(pack_rows)(const fastconv_pack_args *args, ptrdiff_t next, VEC factor) {
    const REAL *source = (const REAL *)args->source;
    const ptrdiff_t rows = args->rows, whole = args->columns / LANES * LANES;
    const int last = (int)(args->columns - whole);
    VEC check = V(zero)();
    for (ptrdiff_t k = 0; k < rows; k++, source += args->row_stride) {
        REAL *to = (REAL *)args->panel + k * args->panel_stride;
        for (ptrdiff_t n = 0; n < whole; n += LANES, to += next)
            check = K(pack_vector)(source + n, to, LANES, factor, check);
        if (last) check = K(pack_vector)(source + whole, to, last, factor, check);
    }
    return check;
}

/* Neither rows nor columns of the source are dense. */
static VEC K(pack_scattered)(const fastconv_pack_args *args, ptrdiff_t next, VEC factor) {
    VEC check = V(zero)();
    for (ptrdiff_t k = 0; k < args->rows; k++) {
        const REAL *from = (const REAL *)args->source + k * args->row_stride;
        REAL *to = (REAL *)args->panel + k * args->panel_stride;
        for (ptrdiff_t n = 0; n < args->columns; n += LANES, to += next) {
            const int columns = (int)(args->columns - n < LANES ? args->columns - n : LANES);
            REAL lane[LANES] = {0};
            for (int i = 0; i < columns; i++) lane[i] = from[(n + i) * args->column_stride];
            check = K(pack_vector)(lane, to, LANES, factor, check);
        }
    }
    return check;
}

/* Returns zeros if all is finite. */
static VEC K(pack_any)(const fastconv_pack_args *args, ptrdiff_t next, VEC factor) {
    return args->column_stride == 1 ? K(pack_rows)(args, next, factor)
           : args->row_stride == 1  ? K(pack_transposed)(args, next, factor)
                                    : K(pack_scattered)(args, next, factor);
}

static void K(pack)(const fastconv_pack_args *args) {
    assert(args->panel_stride % LANES == 0 && args->panel_stride >= args->columns);
    assert(args->panel_stride - args->columns < LANES);
    if (!K(all_zero)(K(pack_any)(args, LANES, V(set1)(1)))) *args->finite = 0;
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

/* to[j][i] = from[i][j] for i < rows, j < columns, rows so many elements apart: squares of them in registers. */
static FASTCONV_NOINLINE void K(gather_transposed)(REAL *to, ptrdiff_t to_step, const REAL *from, ptrdiff_t step,
                                                   ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t i = 0; i < rows; i += LANES) {
        const int high = (int)(rows - i < LANES ? rows - i : LANES);
        for (ptrdiff_t j = 0; j < columns; j += LANES) {
            const int wide = (int)(columns - j < LANES ? columns - j : LANES);
            const REAL *row = from + i * step + j;
            VEC square[LANES];
            FASTCONV_UNROLL
            for (int n = 0; n < LANES; n++) {
                square[n] = V(load_part)(row, wide);
                if (n + 1 < high) row += step;      /* or the last row once more, which goes nowhere */
            }
            V(transpose)(square);
            FASTCONV_UNROLL
            for (int n = 0; n < LANES; n++)
                if (n < wide) V(store_part)(to + (j + n) * to_step + i, square[n], high);
        }
    }
}

/* Neither channels nor pixels are close together. */
static void K(gather_strided)(const fastconv_gather_args *args, const REAL *x, REAL *scratch) {
    enum { together = 16 };
    for (ptrdiff_t p = 0; p < args->pixels; p += together) {
        const ptrdiff_t end = args->pixels - p < together ? args->pixels : p + together;
        for (ptrdiff_t b = 0; b < args->inner; b++) {
            const REAL *from = x + p * args->column_stride + b * args->inner_stride;
            REAL *to = scratch + p * args->pixel_step + b;
            for (ptrdiff_t q = p; q < end; q++, from += args->column_stride, to += args->pixel_step) *to = *from;
        }
    }
}

/* Elements of a line, each `repeat` times, or every `stride`-th: with constants, compilers find the shuffles. */
static FASTCONV_INLINE void K(gather_few)(REAL *FASTCONV_RESTRICT to, const REAL *FASTCONV_RESTRICT from,
                                          ptrdiff_t count, const int repeat, const int stride) {
    FASTCONV_VECTORIZE
    for (ptrdiff_t i = 0; i < count; i++)
        for (int b = 0; b < repeat; b++) to[i * repeat + b] = from[i * stride];
}

static FASTCONV_NOINLINE void K(gather_line)(REAL *FASTCONV_RESTRICT to, const REAL *FASTCONV_RESTRICT from,
                                             ptrdiff_t count, ptrdiff_t repeat, ptrdiff_t stride) {
    assert(repeat == 1 ? stride > 0 : stride == 1);
    switch (repeat == 1 ? stride : -repeat) {
    case 2: K(gather_few)(to, from, count, 1, 2); return;
    case 3: K(gather_few)(to, from, count, 1, 3); return;
    case 4: K(gather_few)(to, from, count, 1, 4); return;
    case -2: K(gather_few)(to, from, count, 2, 1); return;
    case -3: K(gather_few)(to, from, count, 3, 1); return;
    case -4: K(gather_few)(to, from, count, 4, 1); return;
    default: break;
    }
    if (repeat == 1) {
        for (ptrdiff_t i = 0; i < count; i++) to[i] = from[i * stride];
        return;
    }
    /* Vectors of one element each, of which the next one covers what is too much; the last have parts of them. */
    for (ptrdiff_t i = 0; i < count; i++, to += repeat) {
        const VEC x = V(set1)(from[i]);
        const ptrdiff_t room = (count - i) * repeat;
        for (ptrdiff_t b = 0; b < repeat; b += LANES) K(store_up_to)(to + b, x, (int)(room - b < LANES ? room - b : LANES));
    }
}

/* From so many channels on moving squares is faster than moving elements. */
#define SQUARE (LANES / 4 + 1)

/* Pixels of fewer channels than lanes: a constant number of them, or by masked copies, which take longer. */
static FASTCONV_INLINE void K(gather_narrow)(const fastconv_gather_args *args, const REAL *x, REAL *scratch, const int known) {
    const ptrdiff_t step = args->pixel_step, stride = args->column_stride;
    const int inner = (int)args->inner;
    for (ptrdiff_t p = 0; p < args->pixels; p++, x += stride, scratch += step) {
        if (known)
            memcpy(scratch, x, (size_t)known * sizeof(REAL));
        else
            V(store_part)(scratch, V(load_part)(x, inner), inner);
    }
}

/* The pixels of one plane. */
static void K(gather_plane)(const fastconv_gather_args *args, const REAL *x, REAL *scratch) {
    const ptrdiff_t step = args->pixel_step, stride = args->column_stride, inner = args->inner, pixels = args->pixels;
    const ptrdiff_t apart = args->inner_stride;

    if (inner == step && (inner == 1 ? stride > 1 : apart == 0 && stride == 1))
        K(gather_line)(scratch, x, pixels, inner, stride);
    else if (inner >= LANES && apart > 1 && apart <= 4)
        for (ptrdiff_t p = 0; p < pixels; p++) K(gather_line)(scratch + p * step, x + p * stride, inner, 1, apart);
    else if (stride == 1 && inner >= SQUARE && apart > 1)       /* a view of an NCHW array */
        K(gather_transposed)(scratch, step, x, apart, inner, pixels);
    else if (apart != 1 && inner != 1)
        K(gather_strided)(args, x, scratch);
    else if (inner == step && stride == step)
        K(copy)(scratch, x, pixels * step);
    else if (inner < LANES)
        switch (inner) {
        case 2: K(gather_narrow)(args, x, scratch, 2); break;
        case 4: K(gather_narrow)(args, x, scratch, 4); break;
        case 8: K(gather_narrow)(args, x, scratch, 8); break;
        default: K(gather_narrow)(args, x, scratch, 0);
        }
    else
        for (ptrdiff_t p = 0; p < pixels; p++) K(copy)(scratch + p * step, x + p * stride, inner);
}

static void K(gather)(const fastconv_gather_args *given) {
    const fastconv_gather_args own = *given, *args = &own;      /* stores cannot change what is local */
    const ptrdiff_t step = args->pixel_step, inner = args->inner, planes = args->outer, stride = args->column_stride;
    const ptrdiff_t pixels = args->pixels;
    const REAL *x = (const REAL *)args->x;
    REAL *scratch = (REAL *)args->scratch;

    for (ptrdiff_t a = 0; a < planes; a++) {
        for (ptrdiff_t p = 0; p < args->lead; p++) K(clear)(scratch + a * args->outer_step + p * step, inner);
        for (ptrdiff_t p = 0; p < args->tail; p++)
            K(clear)(scratch + a * args->outer_step + (args->lead + pixels + p) * step, inner);
    }
    if (pixels == 0) return;
    scratch += args->lead * step;
    if (args->inner_stride == 0 && args->outer_stride == 1 && args->outer_step == inner && planes > 1 && inner > 1)
        /* All of a channel's copies lie side by side: a pixel is one line of them. */
        for (ptrdiff_t p = 0; p < pixels; p++) K(gather_line)(scratch + p * step, x + p * stride, planes, inner, 1);
    else if (inner >= SQUARE && planes >= SQUARE && args->outer_stride == 1 && args->inner_stride == planes)
        /* Channels and planes make good squares, and lie the other way round. */
        for (ptrdiff_t p = 0; p < pixels; p++)
            K(gather_transposed)(scratch + p * step, args->outer_step, x + p * stride, planes, inner, planes);
    else if (inner == 1 && step == 1 && planes >= SQUARE && args->outer_stride == 1)
        K(gather_transposed)(scratch, args->outer_step, x, stride, pixels, planes);
    else
        for (ptrdiff_t a = 0; a < planes; a++)
            K(gather_plane)(args, x + a * args->outer_stride, scratch + a * args->outer_step);
}
#undef SQUARE

static void K(add)(const fastconv_add_args *args) {
    REAL *sum = (REAL *)args->sum;
    const REAL *term = (const REAL *)args->term;
    ptrdiff_t i = 0;
    for (; i + LANES <= args->count; i += LANES) V(store)(sum + i, V(add)(V(load)(sum + i), V(load)(term + i)));
    for (; i < args->count; i++) sum[i] += term[i];
}

static void K(check)(const fastconv_check_args *args) {
    const REAL *values = (const REAL *)args->values;
    ptrdiff_t i = 0;
    VEC check[4];
    FASTCONV_UNROLL
    for (int n = 0; n < 4; n++) check[n] = V(zero)();
    for (; i + 4 * LANES <= args->count; i += 4 * LANES) {
        FASTCONV_UNROLL
        for (int n = 0; n < 4; n++) check[n] = V(fma)(V(load)(values + i + n * LANES), V(zero)(), check[n]);
    }
    for (; i < args->count; i += LANES) {
        const int lanes = (int)(args->count - i < LANES ? args->count - i : LANES);
        check[0] = V(fma)(K(load_up_to)(values + i, lanes), V(zero)(), check[0]);
    }
    for (int n = 1; n < 4; n++) check[0] = V(add)(check[0], check[n]);
    if (!K(all_zero)(check[0])) *args->finite = 0;
}
