/* winograd_weights, winograd_few: 3x3 weights for F(4x4, 3x3), transformed where they are read.
 *
 * winograd_weights writes them down, for tiles that are many.  For a few tiles that would be most of the traffic, 36
 * values for 9 that are read, each used once a tile: there winograd_few multiplies them at once, a line of points of
 * some rows of K at a time, with the sums of products in registers.  The sums have the bits of conv over transformed
 * weights: one chain in the order of K. */

/* A line of three to six points.  Weights come with the powers of POINT_A in them, so that the points are 1, -1, 2 and
 * -2 here: POINT_B is twice POINT_A. */
static FASTCONV_INLINE void K(winograd_weights_line)(const VEC *g, VEC *u) {
    const VEC even_a = V(add)(g[0], g[2]), even_b = K(plus)(g[0], 4, g[2]), odd_b = V(add)(g[1], g[1]);
    u[0] = g[0];
    u[1] = V(add)(even_a, g[1]);
    u[2] = V(sub)(even_a, g[1]);
    u[3] = g[2];
    u[4] = V(add)(even_b, odd_b);
    u[5] = V(sub)(even_b, odd_b);
}

/* Squares of nine weights packed at once, [vectors][rows][3][3], of one or more vectors of columns: what follows in a
 * line of the cache, or in memory, is read before the line is lost. */
enum { K(winograd_squares) = 128, K(winograd_width) = 4, K(winograd_square) = 9 * LANES };

/* How many vectors of columns are packed at once: as many as may be where these follow one another. */
static FASTCONV_INLINE ptrdiff_t K(winograd_vectors)(const fastconv_winograd_weights_args *args) {
    return args->column_stride == 1 ? K(winograd_width) : 1;
}

/* Packs so many rows of K, from `row` on, of some columns, into `room`.  Returns zeros if all of it is finite. */
static FASTCONV_NOINLINE VEC K(winograd_pack)(const fastconv_winograd_weights_args *args, ptrdiff_t row, ptrdiff_t rows,
                                              ptrdiff_t column, ptrdiff_t columns, REAL *room) {
    const REAL power[3] = {(REAL)1, (REAL)POINT_A, (REAL)SQUARE_A};
    const REAL *source = (const REAL *)args->source + row * args->row_stride + column * args->column_stride;
    const ptrdiff_t next = rows * K(winograd_square);
    VEC check = V(zero)();
    for (int tap = 0; tap < 9; tap++) {
        const int i = tap / 3, j = tap % 3;
        REAL *to = room + tap * LANES;
        if ((i > 0 && args->row_points == 1) || (j > 0 && args->column_points == 1)) continue;
        if (i >= args->tap_rows || j >= args->tap_columns) {
            for (ptrdiff_t n = 0; n < columns; n += LANES, to += next)
                for (ptrdiff_t k = 0; k < rows; k++) V(store)(to + k * K(winograd_square), V(zero)());
            continue;
        }
        const REAL factor = (args->row_points == 6 ? power[i] : 1) * (args->column_points == 6 ? power[j] : 1);
        const fastconv_pack_args pack = {
            rows, columns, source + i * args->tap_row + j * args->tap_column,
            args->row_stride, args->column_stride, to, K(winograd_square), args->finite};
        check = V(add)(check, K(pack_any)(&pack, next, V(set1)(factor)));
    }
    return check;
}

/* A square of weights, transformed, to `to`. */
static FASTCONV_NOINLINE void K(winograd_write)(const REAL *from, REAL *to, ptrdiff_t step) {
    VEC between[6][3];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++) {
        VEC g[3], u[6];
        FASTCONV_UNROLL
        for (int i = 0; i < 3; i++) g[i] = V(load)(from + (3 * i + j) * LANES);
        K(winograd_weights_line)(g, u);
        FASTCONV_UNROLL
        for (int i = 0; i < 6; i++) between[i][j] = u[i];
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 6; i++) {
        VEC u[6];
        K(winograd_weights_line)(between[i], u);
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) V(store)(to + (6 * i + j) * step, u[j]);
    }
}

/* The same for pairs: one value of a line as it is, and what the others differ by. */
static FASTCONV_NOINLINE void K(winograd_write3)(const REAL *from, REAL *to, ptrdiff_t step) {
    VEC between[3][3];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++) {
        const REAL *g = from + j * LANES;
        between[0][j] = V(load)(g + 3 * LANES);
        between[1][j] = V(sub)(V(load)(g), between[0][j]);
        between[2][j] = V(sub)(V(load)(g + 6 * LANES), between[0][j]);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 3; i++) {
        const VEC *g = between[i];
        const VEC u[3] = {g[1], V(sub)(g[0], g[1]), V(sub)(g[2], g[1])};
        FASTCONV_UNROLL
        for (int j = 0; j < 3; j++) V(store)(to + (3 * i + j) * step, u[j]);
    }
}

/* The same along one axis alone, by the matrix of six points; `tap` elements from weight to weight. */
static FASTCONV_NOINLINE void K(winograd_write_line)(const REAL *from, ptrdiff_t tap, REAL *to, ptrdiff_t step) {
    VEC g[3], u[6];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++) g[j] = V(load)(from + j * tap);
    K(winograd_weights_line)(g, u);
    FASTCONV_UNROLL
    for (int j = 0; j < 6; j++) V(store)(to + j * step, u[j]);
}

static void K(winograd_weights)(const fastconv_winograd_weights_args *args) {
    FASTCONV_ALIGN(64) REAL room[K(winograd_squares) * K(winograd_square)];
    const ptrdiff_t vectors = K(winograd_vectors)(args), most = K(winograd_squares) / vectors, step = args->panel_point;
    VEC check = V(zero)();
    for (ptrdiff_t column = 0, columns; column < args->columns; column += columns) {
        columns = args->columns - column < vectors * LANES ? args->columns - column : vectors * LANES;
        for (ptrdiff_t k = 0, rows; k < args->rows; k += rows) {
            rows = args->rows - k < most ? args->rows - k : most;
            check = V(add)(check, K(winograd_pack)(args, k, rows, column, columns, room));
            for (ptrdiff_t r = 0; r < rows; r++)
                for (ptrdiff_t n = 0; n < columns; n += LANES) {
                    const REAL *from = room + (n / LANES * rows + r) * K(winograd_square);
                    REAL *to = (REAL *)args->panel + (k + r) * args->panel_stride + column + n;
                    if (args->row_points == 1 || args->column_points == 1)
                        K(winograd_write_line)(from, args->row_points == 1 ? LANES : 3 * LANES, to, step);
                    else if (args->row_points == 3)
                        K(winograd_write3)(from, to, step);
                    else
                        K(winograd_write)(from, to, step);
                }
        }
    }
    if (!K(all_zero)(check)) *args->finite = 0;
}

/* Tiles that winograd_few takes at a time.  Of float64, which nobody gets without asking, two: kernels take room. */
enum { K(few_tiles) = sizeof(REAL) == sizeof(float) ? WINOGRAD_TILES : 2 };

/* Some rows of K of a vector of columns, and the inputs and the sums of a line of points, of so many tiles. */
typedef struct {
    const REAL *weights;
    ptrdiff_t row, rows, in_point, out_point;
    REAL odd, square;
    const REAL *in[K(few_tiles)];
    REAL *out[K(few_tiles)];
} K(winograd_line);

/* Adds the products of these.  The line's weights are a row of each square, or those of all three by a polynomial:
 * g0 + odd * g1 + square * g2, where rows are `row` apart.  So many of the tiles have a sixth point. */
#define HAVE(j) ((j) < 5 ? tiles : sixth)
static FASTCONV_INLINE void K(winograd_multiply)(const K(winograd_line) *line, const int polynomial, const int tiles,
                                                 const int sixth) {
    const ptrdiff_t in_point = line->in_point, out_point = line->out_point, row = line->row;
    const REAL *w = line->weights, *in[K(few_tiles)];
    const VEC odd = V(set1)(line->odd), square = V(set1)(line->square);
    VEC sum[K(few_tiles)][6];
    FASTCONV_UNROLL
    for (int t = 0; t < K(few_tiles); t++)
        if (t < tiles) in[t] = line->in[t];
    FASTCONV_UNROLL
    for (int j = 0; j < 6; j++) {
        FASTCONV_UNROLL
        for (int t = 0; t < K(few_tiles); t++)
            if (t < HAVE(j)) sum[t][j] = V(load)(line->out[t] + j * out_point);
    }
    FASTCONV_ROLLED
    for (ptrdiff_t k = 0; k < line->rows; k++, w += K(winograd_square)) {
        VEC g[3], u[6];
        FASTCONV_UNROLL
        for (int j = 0; j < 3; j++) {
            g[j] = V(load)(w + j * LANES);
            if (polynomial) {
                const VEC even = V(fma)(square, V(load)(w + 2 * row + j * LANES), g[j]);
                g[j] = V(fma)(odd, V(load)(w + row + j * LANES), even);
            }
        }
        K(winograd_weights_line)(g, u);
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) {
            FASTCONV_UNROLL
            for (int t = 0; t < K(few_tiles); t++)
                if (t < HAVE(j)) sum[t][j] = V(fma)(V(set1)(in[t][j * in_point]), u[j], sum[t][j]);
        }
        FASTCONV_UNROLL
        for (int t = 0; t < K(few_tiles); t++)
            if (t < tiles) in[t]++;
    }
    FASTCONV_UNROLL
    for (int j = 0; j < 6; j++) {
        FASTCONV_UNROLL
        for (int t = 0; t < K(few_tiles); t++)
            if (t < HAVE(j)) V(store)(line->out[t] + j * out_point, sum[t][j]);
    }
}

#undef HAVE

/* One function each, so that the sums live in registers. */
typedef void K(winograd_multiply_fn)(const K(winograd_line) *);
#define SHAPE(tiles, sixth)                                                                                           \
    static FASTCONV_NOINLINE void K(winograd_row##tiles##_##sixth)(const K(winograd_line) *line) {                    \
        if (K(few_tiles) == 4) K(winograd_multiply)(line, 0, tiles, sixth);                                           \
    }                                                                                                                 \
    static FASTCONV_NOINLINE void K(winograd_polynomial##tiles##_##sixth)(const K(winograd_line) *line) {             \
        if (tiles <= K(few_tiles)) K(winograd_multiply)(line, 1, tiles, sixth);                                       \
    }
SHAPE(1, 1)
SHAPE(2, 2)
#if WINOGRAD_TILES == 4
SHAPE(4, 4)
SHAPE(4, 2)
#endif
#undef SHAPE

/* The products of a single tile for two lines whose points are opposite: they share what is read of the weights. */
static FASTCONV_NOINLINE void K(winograd_multiply_pair)(const K(winograd_line) *line) {
    const ptrdiff_t in_point = line->in_point, out_point = line->out_point, row = line->row;
    const REAL *w = line->weights, *in = line->in[0], *other = in + 6 * in_point;
    const VEC odd = V(set1)(line->odd), square = V(set1)(line->square);
    VEC sum[2][6];
    FASTCONV_UNROLL
    for (int p = 0; p < 12; p++) sum[p / 6][p % 6] = V(load)(line->out[0] + p * out_point);
    FASTCONV_ROLLED
    for (ptrdiff_t k = 0; k < line->rows; k++, in++, other++, w += K(winograd_square)) {
        VEC plus[3], minus[3], u[6];
        FASTCONV_UNROLL
        for (int j = 0; j < 3; j++) {
            const VEC even = V(fma)(square, V(load)(w + 2 * row + j * LANES), V(load)(w + j * LANES));
            const VEC added = V(mul)(odd, V(load)(w + row + j * LANES));        /* exact */
            plus[j] = V(add)(even, added), minus[j] = V(sub)(even, added);
        }
        K(winograd_weights_line)(plus, u);
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) sum[0][j] = V(fma)(V(set1)(in[j * in_point]), u[j], sum[0][j]);
        K(winograd_weights_line)(minus, u);
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) sum[1][j] = V(fma)(V(set1)(other[j * in_point]), u[j], sum[1][j]);
    }
    FASTCONV_UNROLL
    for (int p = 0; p < 12; p++) V(store)(line->out[0] + p * out_point, sum[p / 6][p % 6]);
}

/* The function for the tiles of line i from `tile` on; as many as it takes go to `some`. */
static FASTCONV_INLINE K(winograd_multiply_fn) *K(winograd_multiply_by)(const fastconv_winograd_weights_args *args, int i,
                                                                      ptrdiff_t tile, int polynomial, int *some) {
    const ptrdiff_t left = args->tiles[i] - tile;
#define SHAPE(tiles, sixth) \
    (polynomial ? K(winograd_polynomial##tiles##_##sixth) : K(winograd_row##tiles##_##sixth))
#if WINOGRAD_TILES == 4
    if (K(few_tiles) == 4 && left >= 4) {
        *some = 4;
        return args->sixth[i] - tile > 2 ? SHAPE(4, 4) : SHAPE(4, 2);
    }
#endif
    *some = left >= 2 ? 2 : 1;
    return left >= 2 ? SHAPE(2, 2) : SHAPE(1, 1);
#undef SHAPE
}

/* The products of some packed rows of K, from k on, of a vector of columns. */
static void K(winograd_multiply_all)(const fastconv_winograd_weights_args *args, const REAL *weights, ptrdiff_t k,
                                     ptrdiff_t rows, ptrdiff_t column) {
    static const signed char odd[6] = {0, 1, -1, 0, 2, -2};
    for (int i = 0; i < 6; i++) {
        /* A single row is a polynomial, too, of zeros times the same: that has more loads and less code. */
        const int polynomial = odd[i] != 0 || K(few_tiles) != 4;
        K(winograd_line) line = {
            .weights = weights + (i == 3 ? 6 * LANES : 0), .row = odd[i] != 0 ? 3 * LANES : 0, .rows = rows,
            .in_point = args->in_point, .out_point = args->out_point, .odd = odd[i], .square = (REAL)(odd[i] * odd[i])};
        const int pair = K(few_tiles) == 4 && odd[i] > 0 && args->tiles[i] == 1 && args->tiles[i + 1] == 1;
        int some = 1;
        for (ptrdiff_t tile = 0; tile < args->tiles[i]; tile += some) {
            K(winograd_multiply_fn) *const multiply =
                pair ? K(winograd_multiply_pair) : K(winograd_multiply_by)(args, i, tile, polynomial, &some);
            for (int t = 0; t < some; t++) {
                line.in[t] = (const REAL *)args->in[i][tile + t] + args->in_offset + 6 * i * args->in_point + k;
                line.out[t] = (REAL *)args->out[i][tile + t] + 6 * i * args->out_point + column;
            }
            multiply(&line);
        }
        i += pair;
    }
}

static void K(winograd_few)(const fastconv_winograd_weights_args *args) {
    FASTCONV_ALIGN(64) REAL room[K(winograd_squares) * K(winograd_square)];
    const ptrdiff_t vectors = K(winograd_vectors)(args), most = K(winograd_squares) / vectors;
    VEC check = V(zero)();
    for (ptrdiff_t column = 0, columns; column < args->columns; column += columns) {
        columns = args->columns - column < vectors * LANES ? args->columns - column : vectors * LANES;
        for (int point = 0; point < 36 && !args->accumulate; point++)
            for (ptrdiff_t t = 0; t < args->tiles[point / 6]; t++)
                for (ptrdiff_t n = column; n < column + columns; n += LANES)
                    V(store)((REAL *)args->out[point / 6][t] + point * args->out_point + n, V(zero)());
        for (ptrdiff_t k = 0, rows; k < args->rows; k += rows) {
            rows = args->rows - k < most ? args->rows - k : most;
            check = V(add)(check, K(winograd_pack)(args, k, rows, column, columns, room));
            for (ptrdiff_t n = 0; n < columns; n += LANES)
                K(winograd_multiply_all)(args, room + n * rows * 9, k, rows, column + n);
        }
    }
    if (!K(all_zero)(check)) *args->finite = 0;
}
