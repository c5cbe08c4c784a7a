/* winograd_few_grad: dL/dW from a few transformed tiles, whose sums stay in registers: written down, they would be 36
 * for 9 results.
 *
 * Some rows at a time, for the same vector of dy: a line of six points is summed over its tiles and transformed to
 * three, and six such lines to 3x3. */

/* Rows that share a vector of dy, where registers are 32, and those that share a line of the cache. */
enum { K(winograd_grad_rows) = K(few_tiles) == 4 ? 4 : 1, K(winograd_grad_line) = 16 };

/* Adds the products of point j of one tile, whose rows are at `x` and whose vector of dy is at `y`. */
static FASTCONV_INLINE void K(winograd_grad_add)(const REAL *x, const REAL *y, const int j, const int first,
                                                 VEC (*sum)[6]) {
    const VEC one = V(load)(y);
    FASTCONV_UNROLL
    for (int q = 0; q < K(winograd_grad_rows); q++)
        sum[q][j] = first ? V(mul)(V(set1)(x[q]), one) : V(fma)(V(set1)(x[q]), one, sum[q][j]);
}

/* Of a few rows from `row` on and one vector of columns, the sums over tiles, transformed along j. */
static FASTCONV_INLINE void K(winograd_grad_lines)(const fastconv_winograd_few_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t column, VEC (*between)[K(winograd_grad_rows)][3]) {
    const ptrdiff_t in_point = args->in_point, dy_point = args->dy_point;
    ptrdiff_t from = args->in_offset + row, from_dy = args->dy_offset + column;
    FASTCONV_ROLLED
    for (int i = 0; i < 6; i++, from += 6 * in_point, from_dy += 6 * dy_point) {
        const REAL *const *in = (const REAL *const *)args->in[i], *const *dy = (const REAL *const *)args->dy[i];
        const ptrdiff_t *tiles = args->tiles + 6 * i;
        VEC sum[K(winograd_grad_rows)][6], *to = between[i][0];
        if (tiles[0] == 0) {
            for (int b = 0; b < 3 * K(winograd_grad_rows); b++) to[b] = V(zero)();
            continue;
        }
        FASTCONV_UNROLL
        for (int q = 0; q < K(winograd_grad_rows); q++) sum[q][4] = sum[q][5] = V(zero)();
        const REAL *x = in[0] + from, *y = dy[0] + from_dy;
        FASTCONV_UNROLL
        for (int j = 0; j < 4; j++, x += in_point, y += dy_point) K(winograd_grad_add)(x, y, j, 1, sum);
        if (tiles[4] > 0) K(winograd_grad_add)(x, y, 4, 1, sum);
        if (tiles[5] > 0) K(winograd_grad_add)(x + in_point, y + dy_point, 5, 1, sum);
        FASTCONV_ROLLED
        for (ptrdiff_t tile = 1; tile < tiles[0]; tile++) {
            x = in[tile] + from, y = dy[tile] + from_dy;
            FASTCONV_UNROLL
            for (int j = 0; j < 4; j++, x += in_point, y += dy_point) K(winograd_grad_add)(x, y, j, 0, sum);
            if (tile >= tiles[4]) continue;
            K(winograd_grad_add)(x, y, 4, 0, sum);
            if (tile < tiles[5]) K(winograd_grad_add)(x + in_point, y + dy_point, 5, 0, sum);
        }
        FASTCONV_UNROLL
        for (int q = 0; q < K(winograd_grad_rows); q++) K(winograd_bare_grad)(sum[q], to + 3 * q);
    }
}

/* One column of taps, of a row and a vector or a part of it.  Returns zeros if what it wrote is finite. */
static FASTCONV_INLINE VEC K(winograd_grad_taps)(const VEC (*between)[K(winograd_grad_rows)][3], int q, int b,
                                                 REAL *to, ptrdiff_t tap_row, int lanes, VEC check) {
    const REAL power[3] = {(REAL)1, (REAL)POINT_A, (REAL)SQUARE_A};
    VEC u[6], g[3];
    FASTCONV_UNROLL
    for (int i = 0; i < 6; i++) u[i] = between[i][q][b];
    K(winograd_bare_grad)(u, g);
    FASTCONV_UNROLL
    for (int a = 0; a < 3; a++) {
        K(store_up_to)(to + a * tap_row, V(mul)(g[a], V(set1)(power[a] * power[b])), lanes);
        check = V(fma)(lanes == LANES ? g[a] : V(load_part)(to + a * tap_row, lanes), V(zero)(), check);
    }
    return check;
}

/* A few rows from `row` on, and a vector of columns or a part of it. */
static FASTCONV_NOINLINE VEC K(winograd_grad_tile)(const fastconv_winograd_few_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t column, int lanes) {
    VEC between[6][K(winograd_grad_rows)][3], check = V(zero)();
    REAL *grad = (REAL *)args->grad + row * args->grad_stride + column;
    K(winograd_grad_lines)(args, row, column, between);
    FASTCONV_ROLLED
    for (int q = 0; q < K(winograd_grad_rows); q++, grad += args->grad_stride) {
        FASTCONV_UNROLL
        for (int b = 0; b < 3; b++)
            check = K(winograd_grad_taps)(between, q, b, grad + b * args->tap_column, args->tap_row, lanes, check);
    }
    return check;
}

/* ... and as many whole vectors as are written one after the other: lines of nine matrices in turn wait for the caches,
 * and there are no products of other tiles to do meanwhile. */
static FASTCONV_NOINLINE VEC K(winograd_grad_wide)(const fastconv_winograd_few_grad_args *args, ptrdiff_t row,
                                                   ptrdiff_t column) {
    VEC between[FASTCONV_GRAD_VECTORS][6][K(winograd_grad_rows)][3], check = V(zero)();
    REAL *grad = (REAL *)args->grad + row * args->grad_stride + column;
    FASTCONV_ROLLED
    for (int n = 0; n < FASTCONV_GRAD_VECTORS; n++) K(winograd_grad_lines)(args, row, column + n * LANES, between[n]);
    FASTCONV_ROLLED
    for (int q = 0; q < K(winograd_grad_rows); q++, grad += args->grad_stride) {
        FASTCONV_ROLLED
        for (int b = 0; b < 3; b++) {
            FASTCONV_ROLLED
            for (int n = 0; n < FASTCONV_GRAD_VECTORS; n++)
                check = K(winograd_grad_taps)(between[n], q, b, grad + b * args->tap_column + n * LANES, args->tap_row,
                                              LANES, check);
        }
    }
    return check;
}

static void K(winograd_few_grad)(const fastconv_winograd_few_grad_args *args) {
    const ptrdiff_t last = args->rows - K(winograd_grad_rows), wide = FASTCONV_GRAD_VECTORS * LANES;
    VEC check = V(zero)();
    assert(last >= 0);
    for (ptrdiff_t first = 0; first < args->rows; first += K(winograd_grad_line))
        for (ptrdiff_t n = 0, columns; n < args->columns; n += columns) {
            const ptrdiff_t next = first + K(winograd_grad_line), end = next < args->rows ? next : args->rows;
            const ptrdiff_t left = args->columns - n;
            columns = K(winograd_grad_rows) > 1 && args->wide && left >= wide ? wide : left < LANES ? left : LANES;
            for (ptrdiff_t row = first; row < end; row += K(winograd_grad_rows)) {
                const ptrdiff_t at = row < last ? row : last;       /* the last rows perhaps once more */
                check = V(add)(check, columns > LANES ? K(winograd_grad_wide)(args, at, n)
                                      : K(winograd_grad_tile)(args, at, n, (int)columns));
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
