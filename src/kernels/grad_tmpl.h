/* grad: dL/dW of one kernel row, a sum over pixels of dense input runs times a panel of dy.
 *
 * Each call sums its pixels from zero and adds that to what is there: short chains keep the error
 * of a sum over millions of pixels small. */

/* Whether tiles ask for what the next ones read: those of narrower vectors leave the load units no time for it. */
enum { K(grad_asks) = LANES * sizeof(REAL) == 64 };

static FASTCONV_INLINE void K(grad_tile)(const fastconv_grad_args *args, ptrdiff_t row, const int rows,
                                         const int columns, const int joined, const int permuted) {
    const REAL *const *in = (const REAL *const *)args->in, *const *dy = (const REAL *const *)args->dy;
    const ptrdiff_t at = args->in_offset + (joined ? 0 : row), dy_at = args->dy_offset;
    const int last = (int)args->columns - (columns - 1) * LANES;
    static const int zeros[LANES] = {0};
    const V(index) first = V(load_index)(zeros);
    VEC sum[GRAD_ROWS][GRAD_COLUMNS];
    ptrdiff_t from[GRAD_ROWS];

    FASTCONV_UNROLL
    for (int m = 0; m < rows; m++) {
        from[m] = joined ? args->run_offset[(row + m) / args->run_length] + (row + m) % args->run_length : m;
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) sum[m][n] = V(zero)();
    }
    for (ptrdiff_t p = 0; p < args->pixels; p++) {
        const REAL *a = in[p] + at, *d = dy[p] + dy_at;
        VEC b[GRAD_COLUMNS];
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) b[n] = V(load)(d + n * LANES);
        if (K(grad_asks)) {
            FASTCONV_UNROLL
            for (int n = 0; n < columns; n++) FASTCONV_PREFETCH(d + args->ahead + n * LANES);
            if (columns > 1 && !joined) FASTCONV_PREFETCH(a + 2 * rows - 1);    /* where the next tile ends */
        }
        const VEC held = permuted ? V(keep)(K(load_up_to)(a, rows < LANES ? rows : LANES)) : V(zero)();
        FASTCONV_UNROLL
        for (int m = 0; m < rows; m++) {
            const VEC x = m < permuted ? V(permute)(held, V(add_index)(first, m)) : V(set1)(a[from[m]]);
            FASTCONV_UNROLL
            for (int n = 0; n < columns; n++) sum[m][n] = V(fma)(x, b[n], sum[m][n]);
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < rows; m++) {
        REAL *grad = (REAL *)args->grad + (row + m) * args->grad_stride;
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) {
            const int lanes = n + 1 < columns ? LANES : last;
            VEC total = sum[m][n];
            if (args->accumulate) total = V(add)(K(load_up_to)(grad + n * LANES, lanes), total);
            K(store_up_to)(grad + n * LANES, total, lanes);
        }
    }
}

static FASTCONV_INLINE void K(grad_columns)(const fastconv_grad_args *args, ptrdiff_t row, const int rows,
                                            int columns, const int joined) {
    switch (columns) {
    case 1:
#ifdef GRAD_PERMUTED    /* a vector of columns has more loads than multiply-adds, unless rows come from registers */
        if (!joined && 2 * rows > GRAD_ROWS && args->permute) {
            K(grad_tile)(args, row, rows, 1, 0, GRAD_PERMUTED);
            break;
        }
#endif
        K(grad_tile)(args, row, rows, 1, joined, 0);
        break;
    case 2: K(grad_tile)(args, row, rows, 2, joined, 0); break;
#if GRAD_COLUMNS >= 3
    case 3: K(grad_tile)(args, row, rows, 3, joined, 0); break;
#endif
    default: break;
    }
}

/* One function a height, so that the sums of each live in registers. */
typedef void K(grad_fn)(const fastconv_grad_args *, ptrdiff_t, int);
#define MAX_ROWS GRAD_ROWS
#define ROWS(m) static void K(grad_rows##m)(const fastconv_grad_args *args, ptrdiff_t row, int columns) { K(grad_columns)(args, row, m, columns, 0); }
#include "rows.def"
#undef ROWS
static K(grad_fn) *const K(grad_by_rows)[] = {
#define ROWS(m) K(grad_rows##m),
#include "rows.def"
#undef ROWS
};
#undef MAX_ROWS

/* Runs joined: the offset of each row takes a register, so these tiles are lower.  Even ones are never less than half
 * as high. */
#define GRAD_JOINED_ROWS (GRAD_ROWS < 9 ? GRAD_ROWS : 9)
#define MAX_ROWS GRAD_ROWS
#define ROWS(m) static void K(grad_joined##m)(const fastconv_grad_args *args, ptrdiff_t row, int columns) { if (m <= GRAD_JOINED_ROWS && 2 * m >= GRAD_JOINED_ROWS) K(grad_columns)(args, row, m, columns, 1); }
#include "rows.def"
#undef ROWS
static K(grad_fn) *const K(grad_joined_by_rows)[] = {
#define ROWS(m) K(grad_joined##m),
#include "rows.def"
#undef ROWS
};
#undef MAX_ROWS

/* Joined runs that no tile takes together. */
static void K(grad_each_run)(const fastconv_grad_args *args, void (*kernel)(const fastconv_grad_args *)) {
    fastconv_grad_args one = *args;
    one.rows = one.run_length;
    for (ptrdiff_t r = 0; r * one.rows < args->rows; r++) {
        one.in_offset = args->in_offset + args->run_offset[r];
        one.grad = (REAL *)args->grad + r * one.rows * args->grad_stride;
        kernel(&one);
    }
}

static void K(grad)(const fastconv_grad_args *args) {
    const int columns = (int)((args->columns + LANES - 1) / LANES), joined = args->run_length < args->rows;
    const int height = joined ? GRAD_JOINED_ROWS : GRAD_ROWS;
    K(grad_fn) *const *const tile = joined ? K(grad_joined_by_rows) : K(grad_by_rows);
    assert(args->columns >= 1 && columns <= GRAD_COLUMNS && (!joined || args->run_length > 0));

    if (joined && 2 * args->rows < height) {        /* too few to be worth a tile of their own */
        K(grad_each_run)(args, K(grad));
        return;
    }
    /* As few tiles as the height allows, and those as even as can be: 9 rows of at most 8 are 5 + 4. */
    const ptrdiff_t tiles = (args->rows + height - 1) / height;
    ptrdiff_t row = 0;
    for (ptrdiff_t t = 0; t < tiles; t++) {
        const ptrdiff_t end = args->rows * (t + 1) / tiles;
        tile[end - row - 1](args, row, columns);
        row = end;
    }
}
#undef GRAD_JOINED_ROWS

/* grad_swapped: the same sums with the vectors along the runs, for few output channels and long runs;
 * each dy is broadcast.  The products and their order are grad's, and so are the bits. */
static FASTCONV_NOINLINE void K(grad_swapped_end)(const fastconv_grad_args *args, ptrdiff_t row, ptrdiff_t column,
                                                  const VEC *sum, int columns, int lanes) {
    REAL *grad = (REAL *)args->grad + row * args->grad_stride + column;
    VEC square[LANES];
    FASTCONV_ROLLED
    for (int i = 0; i < LANES; i++) square[i] = i < columns ? sum[i] : V(zero)();
    V(transpose)(square);
    /* All loads before all stores: one that follows the store of the row before would wait for it.  Rolled, since it
     * is the products that take the time. */
    const int added = args->accumulate ? lanes : 0;
    FASTCONV_ROLLED
    for (int i = 0; i < added; i++)
        square[i] = V(add)(K(load_up_to)(grad + i * args->grad_stride, columns), square[i]);
    FASTCONV_ROLLED
    for (int i = 0; i < lanes; i++) K(store_up_to)(grad + i * args->grad_stride, square[i], columns);
}

#if GRAD_ROWS < 8
#define GRAD_SWAPPED_COLUMNS GRAD_ROWS
#else
#define GRAD_SWAPPED_COLUMNS 8
#endif
/* Vectors of rows that make enough sums to hide a multiplication, with so many columns. */
#define GRAD_SWAPPED_VECTORS(columns) ((columns) == 1 ? (GRAD_ROWS < 6 ? 2 : 8) : (columns) <= 3 ? GRAD_ROWS / 3 : 2)
/* Whether three of them are better than two and one, and fit the registers. */
#define GRAD_SWAPPED_THREE(columns) ((columns) > 5 && 3 * (columns) <= GRAD_ROWS * GRAD_COLUMNS)

/* Half a vector from each of two places. */
static FASTCONV_INLINE VEC K(load_halves)(const REAL *first, const REAL *second) {
    return V(add)(V(load_part)(first, LANES / 2), V(load_end)(second - LANES / 2, LANES / 2));
}

/* Rows are vectors here: `vectors` of them, the last with `last` lanes; columns are broadcast.  Joined, a vector is two
 * halves, each of a run. */
static FASTCONV_INLINE void K(grad_swapped_tile)(const fastconv_grad_args *args, ptrdiff_t row, ptrdiff_t column,
                                                 const int columns, const int vectors, int last, const int joined) {
    const REAL *const *in = (const REAL *const *)args->in, *const *dy = (const REAL *const *)args->dy;
    const ptrdiff_t at = args->in_offset + (joined ? 0 : row), dy_at = args->dy_offset + column, pixels = args->pixels;
    ptrdiff_t from[2 * (GRAD_ROWS + 2)];
    VEC sum[GRAD_ROWS + 2][GRAD_SWAPPED_COLUMNS];

    for (int h = 0; h < (joined ? 2 * vectors : 0); h++) {
        const ptrdiff_t k = row + h * (LANES / 2);
        from[h] = k < args->rows ? args->run_offset[k / args->run_length] + k % args->run_length : from[h - 1];
    }

    FASTCONV_UNROLL
    for (int n = 0; n < vectors; n++) {
        FASTCONV_UNROLL
        for (int m = 0; m < columns; m++) sum[n][m] = V(zero)();
    }
    for (ptrdiff_t p = 0; p < pixels; p++) {
        const REAL *a = in[p] + at, *d = dy[p] + dy_at;
        VEC b[GRAD_SWAPPED_COLUMNS], x[GRAD_ROWS + 2];
        if (columns > 1 && K(grad_asks)) FASTCONV_PREFETCH(d + args->ahead);
        /* The columns stay in registers where there is room, else the vectors, which are fewer. */
        const int held = (vectors + 1) * columns < GRAD_ROWS * GRAD_COLUMNS + 4;
        FASTCONV_UNROLL
        for (int m = 0; m < columns && held; m++) b[m] = V(set1)(d[m]);
        FASTCONV_UNROLL
        for (int n = 0; n < vectors; n++) {
            x[n] = joined ? K(load_halves)(a + from[2 * n], a + from[2 * n + 1])
                : K(load_up_to)(a + n * LANES, n + 1 < vectors ? LANES : last);
            if (columns == 1 && n * LANES * sizeof(REAL) % 64 == 0) FASTCONV_PREFETCH(a + n * LANES + 8192 / sizeof(REAL));
            FASTCONV_UNROLL
            for (int m = 0; m < columns && held; m++) sum[n][m] = V(fma)(x[n], b[m], sum[n][m]);
            if (!held) x[n] = V(keep)(x[n]);
        }
        FASTCONV_UNROLL
        for (int m = 0; m < columns && !held; m++) {
            b[m] = V(set1)(d[m]);
            FASTCONV_UNROLL
            for (int n = 0; n < vectors; n++) sum[n][m] = V(fma)(x[n], b[m], sum[n][m]);
        }
    }
    if (columns == 1 && args->grad_stride == 1) {       /* one output channel: rows follow one another */
        FASTCONV_UNROLL
        for (int n = 0; n < vectors; n++) {
            REAL *grad = (REAL *)args->grad + row + n * LANES;
            const int lanes = n + 1 < vectors ? LANES : last;
            K(store_up_to)(grad, args->accumulate ? V(add)(K(load_up_to)(grad, lanes), sum[n][0]) : sum[n][0], lanes);
        }
        return;
    }
    /* A copy of all before the first call: what has an address, or outlives a call, does not stay in registers. */
    VEC total[GRAD_ROWS + 2][GRAD_SWAPPED_COLUMNS];
    FASTCONV_UNROLL
    for (int n = 0; n < vectors; n++) {
        FASTCONV_UNROLL
        for (int m = 0; m < columns; m++) total[n][m] = sum[n][m];
    }
    for (int n = 0; n < vectors; n++) {
        for (int m = 0; m < columns; m += LANES)
            K(grad_swapped_end)(args, row + n * LANES, column + m, total[n] + m,
                                columns - m < LANES ? columns - m : LANES, n + 1 < vectors ? LANES : last);
    }
}

static FASTCONV_INLINE void K(grad_swapped_rows)(const fastconv_grad_args *args, ptrdiff_t column, const int columns) {
    const ptrdiff_t rows = args->rows, many = GRAD_SWAPPED_VECTORS(columns), pair = 2 * LANES;
    ptrdiff_t row = 0;
    if (many > 4)
        for (; row + many * LANES <= rows; row += many * LANES)
            K(grad_swapped_tile)(args, row, column, columns, GRAD_SWAPPED_VECTORS(columns), LANES, 0);
    if (many >= 4)
        for (; row + 2 * pair <= rows; row += 2 * pair) K(grad_swapped_tile)(args, row, column, columns, 4, LANES, 0);
    while (GRAD_SWAPPED_THREE(columns) && rows - row > pair && (rows - row + LANES - 1) / LANES != 4) {
        const ptrdiff_t last = rows - row - pair;
        K(grad_swapped_tile)(args, row, column, columns, 3, last < LANES ? (int)last : LANES, 0);
        row += 3 * LANES;
    }
    for (; row + pair <= rows; row += pair) K(grad_swapped_tile)(args, row, column, columns, 2, LANES, 0);
    if (rows - row > LANES)
        K(grad_swapped_tile)(args, row, column, columns, 2, (int)(rows - row - LANES), 0);
    else if (rows > row)
        K(grad_swapped_tile)(args, row, column, columns, 1, (int)(rows - row), 0);
}

typedef void K(grad_swapped_fn)(const fastconv_grad_args *, ptrdiff_t);
#define MAX_ROWS GRAD_SWAPPED_COLUMNS
#define ROWS(m) static FASTCONV_NOINLINE void K(grad_swapped##m)(const fastconv_grad_args *args, ptrdiff_t column) { K(grad_swapped_rows)(args, column, m); }
#include "rows.def"
#undef ROWS
static K(grad_swapped_fn) *const K(grad_swapped_by_columns)[] = {
#define ROWS(m) K(grad_swapped##m),
#include "rows.def"
#undef ROWS
};
#undef MAX_ROWS

/* All runs together, where half a vector is left over of each: those halves make vectors, too. */
static FASTCONV_NOINLINE void K(grad_swapped_joined)(const fastconv_grad_args *args, ptrdiff_t column) {
    for (ptrdiff_t row = 0, vectors; row < args->rows; row += vectors * LANES) {
        const ptrdiff_t left = (args->rows - row + LANES - 1) / LANES, rest = args->rows - row;
        vectors = left == 1 ? 1 : left == 2 || left == 4 || !GRAD_SWAPPED_THREE(GRAD_SWAPPED_COLUMNS) ? 2 : 3;
        const int last = rest < vectors * LANES ? (int)(rest - (vectors - 1) * LANES) : LANES;
        if (vectors == 3)
            K(grad_swapped_tile)(args, row, column, GRAD_SWAPPED_COLUMNS, 3, last, 1);
        else if (vectors == 2)
            K(grad_swapped_tile)(args, row, column, GRAD_SWAPPED_COLUMNS, 2, last, 1);
        else
            K(grad_swapped_tile)(args, row, column, GRAD_SWAPPED_COLUMNS, 1, last, 1);
    }
}

static void K(grad_swapped)(const fastconv_grad_args *args) {
    const ptrdiff_t most = GRAD_SWAPPED_COLUMNS, tiles = (args->columns + most - 1) / most;
    const int joined = args->run_length < args->rows;
    assert(args->columns >= 1 && (!joined || args->run_length > 0));

    if (joined && (2 * args->run_length % LANES || args->columns % most)) {
        K(grad_each_run)(args, K(grad_swapped));
        return;
    }
    ptrdiff_t column = 0;
    for (ptrdiff_t t = 0; t < tiles; t++) {
        const ptrdiff_t end = args->columns * (t + 1) / tiles;
        if (joined)
            K(grad_swapped_joined)(args, column);
        else
            K(grad_swapped_by_columns)[end - column - 1](args, column);
        column = end;
    }
}
#undef GRAD_SWAPPED_COLUMNS
#undef GRAD_SWAPPED_VECTORS
#undef GRAD_SWAPPED_THREE
