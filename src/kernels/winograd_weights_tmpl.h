/* winograd_weights, winograd_few: 3x3 weights for F(4x4, 3x3), transformed where they are read.
 *
 * winograd_weights writes them down, for tiles that are many.  For a few tiles that would be most of the traffic, 36
 * values for 9 that are read, each used once a tile: there winograd_few multiplies them at once, a line of points of
 * a few rows of K at a time, with the sums of products in registers.  The sums have the bits of conv over transformed
 * weights: one chain in the order of K. */

static FASTCONV_INLINE void K(winograd_weights_line)(const VEC *g, VEC *u) {
    const VEC even_a = K(plus)(K(scaled)(SCALE_A, g[0]), SCALE_A * SQUARE_A, g[2]);
    const VEC even_b = K(plus)(K(scaled)(SCALE_B, g[0]), SCALE_B * SQUARE_B, g[2]);
    u[0] = K(scaled)(SCALE_0, g[0]);
    u[1] = K(plus)(even_a, SCALE_A * POINT_A, g[1]);
    u[2] = K(plus)(even_a, -SCALE_A * POINT_A, g[1]);
    u[3] = g[2];
    u[4] = K(plus)(even_b, SCALE_B * POINT_B, g[1]);
    u[5] = K(plus)(even_b, -SCALE_B * POINT_B, g[1]);
}

/* Along the rows of taps: a column of three vectors, as they lie in the source, to six. */
static FASTCONV_INLINE void K(winograd_weights_down)(const REAL *in, ptrdiff_t tap_row, VEC between[6][3], int j) {
    VEC from[3], to[6];
    FASTCONV_UNROLL
    for (int i = 0; i < 3; i++) from[i] = V(load)(in + i * tap_row);
    K(winograd_weights_line)(from, to);
    FASTCONV_UNROLL
    for (int i = 0; i < 6; i++) between[i][j] = to[i];
}

/* Weights of a few rows of K and a vector of columns: where the first is, and how far the others are. */
typedef struct {
    const REAL *at;
    ptrdiff_t row, tap_row, tap_column;
} K(winograd_square);

/* Squares packed at once, of one or more vectors of columns: what follows in a line of the cache, or in memory, is read
 * before the line is lost. */
enum { K(winograd_squares) = 4 * LANES, K(winograd_width) = 4 };

/* How many vectors of columns are packed at once: as many as may be where these follow one another. */
static FASTCONV_INLINE ptrdiff_t K(winograd_vectors)(const fastconv_winograd_weights_args *args) {
    return args->column_stride == 1 ? K(winograd_width) : 1;
}

/* So many rows of K, from `row` on, of the vectors from `column` on: packed into `room`, [3][3][rows][vectors], or as they
 * stand, if that may be and will do.  Of what is packed, returns zeros if it is finite. */
static FASTCONV_NOINLINE VEC K(winograd_open)(const fastconv_winograd_weights_args *args, ptrdiff_t row, ptrdiff_t rows,
                                               ptrdiff_t column, ptrdiff_t vectors, int pack_all, REAL *room,
                                               K(winograd_square) *found) {
    const REAL *source = (const REAL *)args->source + row * args->row_stride + column * args->column_stride;
    const ptrdiff_t left = args->columns - column, columns = left < vectors * LANES ? left : vectors * LANES;
    const ptrdiff_t width = (columns + LANES - 1) / LANES * LANES, size = rows * width;
    VEC check = V(zero)();
    if (!pack_all && args->column_stride == 1 && columns == width && args->tap_rows == 3 && args->tap_columns == 3) {
        found->at = source, found->row = args->row_stride;
        found->tap_row = args->tap_row, found->tap_column = args->tap_column;
        return check;
    }
    found->at = room, found->row = width;
    found->tap_row = 3 * size, found->tap_column = size;
    for (int tap = 0; tap < 9; tap++) {
        if ((tap / 3 > 0 && args->row_points == 1) || (tap % 3 > 0 && args->column_points == 1)) continue;
        if (tap / 3 >= args->tap_rows || tap % 3 >= args->tap_columns) {
            for (ptrdiff_t i = 0; i < size; i += LANES) V(store)(room + tap * size + i, V(zero)());
            continue;
        }
        const fastconv_pack_args pack = {
            rows, columns, source + tap / 3 * args->tap_row + tap % 3 * args->tap_column,
            args->row_stride, args->column_stride, room + tap * size, width, args->finite};
        check = V(add)(check, K(pack_any)(&pack));
    }
    return check;
}

/* A square of weights at `from`, transformed, to row k and column n of the panel. */
static FASTCONV_NOINLINE void K(winograd_write)(const fastconv_winograd_weights_args *args, const K(winograd_square) *square,
                                             const REAL *from, ptrdiff_t k, ptrdiff_t n) {
    const ptrdiff_t step = args->panel_point;
    REAL *to = (REAL *)args->panel + k * args->panel_stride + n;
    VEC between[6][3];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++)
        K(winograd_weights_down)(from + j * square->tap_column, square->tap_row, between, j);
    FASTCONV_UNROLL
    for (int i = 0; i < 6; i++) {
        VEC u[6];
        K(winograd_weights_line)(between[i], u);
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) V(store)(to + (6 * i + j) * step, u[j]);
    }
}

/* The same for pairs: one value of a line as it is, and what the others differ by. */
static FASTCONV_NOINLINE void K(winograd_write3)(const fastconv_winograd_weights_args *args, const K(winograd_square) *square,
                                              const REAL *from, ptrdiff_t k, ptrdiff_t n) {
    REAL *to = (REAL *)args->panel + k * args->panel_stride + n;
    VEC between[3][3];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++) {
        const REAL *g = from + j * square->tap_column;
        between[0][j] = V(load)(g + square->tap_row);
        between[1][j] = K(plus)(V(load)(g), -1, between[0][j]);
        between[2][j] = K(plus)(V(load)(g + 2 * square->tap_row), -1, between[0][j]);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 3; i++) {
        const VEC *g = between[i];
        const VEC u[3] = {g[1], K(plus)(g[0], -1, g[1]), K(plus)(g[2], -1, g[1])};
        FASTCONV_UNROLL
        for (int j = 0; j < 3; j++) V(store)(to + (3 * i + j) * args->panel_point, u[j]);
    }
}

/* The same along one axis alone, by the matrix of six points. */
static FASTCONV_NOINLINE void K(winograd_write_line)(const fastconv_winograd_weights_args *args,
                                                  const K(winograd_square) *square, const REAL *from, ptrdiff_t k,
                                                  ptrdiff_t n) {
    const ptrdiff_t tap = args->row_points == 1 ? square->tap_column : square->tap_row;
    REAL *to = (REAL *)args->panel + k * args->panel_stride + n;
    VEC g[3], u[6];
    FASTCONV_UNROLL
    for (int j = 0; j < 3; j++) g[j] = V(load)(from + j * tap);
    K(winograd_weights_line)(g, u);
    FASTCONV_UNROLL
    for (int j = 0; j < 6; j++) V(store)(to + j * args->panel_point, u[j]);
}

typedef void K(winograd_write_fn)(const fastconv_winograd_weights_args *, const K(winograd_square) *, const REAL *,
                                  ptrdiff_t, ptrdiff_t);

/* Packs first, even what lies as it should: while 36 stores a vector wait for the caches, no load may go ahead. */
static void K(winograd_weights)(const fastconv_winograd_weights_args *args) {
    const int along_one = args->row_points == 1 || args->column_points == 1;
    K(winograd_write_fn) *const write = along_one ? K(winograd_write_line)
        : args->row_points == 3 ? K(winograd_write3) : K(winograd_write);
    FASTCONV_ALIGN(64) REAL room[9 * K(winograd_squares) * LANES];
    const ptrdiff_t vectors = K(winograd_vectors)(args), most = K(winograd_squares) / vectors;
    K(winograd_square) square;
    VEC check = V(zero)();
    for (ptrdiff_t column = 0; column < args->columns; column += vectors * LANES)
        for (ptrdiff_t k = 0; k < args->rows; k += most) {
            const ptrdiff_t rows = args->rows - k < most ? args->rows - k : most;
            check = V(add)(check, K(winograd_open)(args, k, rows, column, vectors, 1, room, &square));
            for (ptrdiff_t r = 0; r < rows; r++)
                for (ptrdiff_t n = 0; n < square.row; n += LANES)
                    write(args, &square, square.at + r * square.row + n, k + r, column + n);
        }
    if (!K(all_zero)(check)) *args->finite = 0;
}

/* Of all nine weights, each with a factor: not finite if one of them is not. */
enum { K(winograd_telling) = 1 };

/* Rows of K, halfway transformed: so many products are added to a sum between its load and its store. */
enum { K(winograd_rows) = 8 };

/* Adds the products of some rows of K to the sums of a line of points, of so many tiles. */
static FASTCONV_INLINE VEC K(winograd_multiply_line)(const fastconv_winograd_weights_args *args, VEC (*between)[6][3],
                                                     const int i, ptrdiff_t row, int rows, ptrdiff_t column,
                                                     ptrdiff_t tile, const int tiles) {
    const ptrdiff_t in_point = args->in_point, out_point = args->out_point;
    const REAL *in[2];
    REAL *out[2];
    VEC sum[2][6], check = V(zero)();
    FASTCONV_UNROLL
    for (int t = 0; t < tiles; t++) {
        in[t] = (const REAL *)args->in[tile + t] + args->in_offset + 6 * i * in_point + row;
        out[t] = (REAL *)args->out[tile + t] + 6 * i * out_point + column;
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) sum[t][j] = V(load)(out[t] + j * out_point);
    }
    FASTCONV_ROLLED
    for (int q = 0; q < rows; q++) {
        VEC u[6];
        K(winograd_weights_line)(between[q][i], u);
        if (i == K(winograd_telling)) check = V(fma)(u[K(winograd_telling)], V(zero)(), check);
        FASTCONV_UNROLL
        for (int t = 0; t < tiles; t++) {
            FASTCONV_UNROLL
            for (int j = 0; j < 6; j++) sum[t][j] = V(fma)(V(set1)(in[t][j * in_point + q]), u[j], sum[t][j]);
        }
    }
    FASTCONV_UNROLL
    for (int t = 0; t < tiles; t++) {
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) V(store)(out[t] + j * out_point, sum[t][j]);
    }
    return check;
}

/* Adds the products of some rows of K, from `row` on, of a vector of columns to the sums of every tile. */
static FASTCONV_NOINLINE VEC K(winograd_multiply)(const fastconv_winograd_weights_args *args, const REAL *weights,
                                                  const K(winograd_square) *square, ptrdiff_t row, int rows,
                                                  ptrdiff_t column) {
    VEC between[K(winograd_rows)][6][3], check = V(zero)();
    FASTCONV_ROLLED
    for (int q = 0; q < rows; q++) {
        FASTCONV_ROLLED
        for (int j = 0; j < 3; j++)
            K(winograd_weights_down)(weights + q * square->row + j * square->tap_column, square->tap_row, between[q], j);
    }
    FASTCONV_ROLLED
    for (int i = 0; i < 6; i++) {
        ptrdiff_t tile = 0;
        for (; tile + 2 <= args->tiles; tile += 2)
            check = V(add)(check, K(winograd_multiply_line)(args, between, i, row, rows, column, tile, 2));
        if (tile < args->tiles)
            check = V(add)(check, K(winograd_multiply_line)(args, between, i, row, rows, column, tile, 1));
    }
    return check;
}

static void K(winograd_few)(const fastconv_winograd_weights_args *given) {
    const fastconv_winograd_weights_args own = *given, *args = &own;     /* stores cannot change what is local */
    FASTCONV_ALIGN(64) REAL room[9 * K(winograd_squares) * LANES];
    const ptrdiff_t vectors = K(winograd_vectors)(args), most = K(winograd_squares) / vectors;
    K(winograd_square) square;
    VEC check = V(zero)();
    for (ptrdiff_t column = 0; column < args->columns; column += vectors * LANES) {
        const ptrdiff_t end = args->columns - column < vectors * LANES ? args->columns : column + vectors * LANES;
        for (ptrdiff_t t = 0; t < args->tiles; t++)
            for (int point = 0; point < 36; point++)
                for (ptrdiff_t n = column; n < end; n += LANES)
                    V(store)((REAL *)args->out[t] + point * args->out_point + n, V(zero)());
        for (ptrdiff_t k = 0; k < args->rows; k += most) {
            const ptrdiff_t rows = args->rows - k < most ? args->rows - k : most;
            K(winograd_open)(args, k, rows, column, vectors, args->from_memory, room, &square);
            for (ptrdiff_t n = 0; n < end - column; n += LANES)
                for (ptrdiff_t r = 0; r < rows; r += K(winograd_rows)) {
                    const int some = (int)(rows - r < K(winograd_rows) ? rows - r : K(winograd_rows));
                    const REAL *from = square.at + r * square.row + n;
                    check = V(add)(check, K(winograd_multiply)(args, from, &square, k + r, some, column + n));
                }
        }
    }
    if (!K(all_zero)(check)) *args->finite = 0;
}
#undef POINT_A
#undef POINT_B
#undef SQUARE_A
#undef SQUARE_B
#undef SCALE_0
#undef SCALE_A
#undef SCALE_B
