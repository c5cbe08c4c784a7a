/* conv: products of dense input runs with a packed panel of weights; the body of the forward pass
 * and of dL/dx, for any dtype and instruction set.
 *
 * Every output element is one chain, bias first, then the products in the order of k, whatever the
 * tile, the block or the thread; that is what makes results independent of all of them. */

#ifdef CONV_PERMUTED
/* The whole vectors of a run, for one vector of columns: that has a load more than multiply-adds, unless some of the
 * inputs come from registers.  Returns how much of the run that was. */
static FASTCONV_INLINE ptrdiff_t K(conv_permuted)(const REAL *const *a, const REAL *w, ptrdiff_t stride,
                                                  ptrdiff_t run_length, VEC (*sum)[CONV_MAX_COLUMNS], const int rows) {
    static const int zeros[LANES] = {0};
    const V(index) first = V(load_index)(zeros);
    ptrdiff_t l = 0;
    while (l + LANES <= run_length) {
        VEC held[CONV_PERMUTED];
        FASTCONV_UNROLL
        for (int m = 0; m < CONV_PERMUTED; m++) held[m] = V(keep)(V(load)(a[m] + l));
        FASTCONV_ROLLED
        for (int i = 0; i < LANES; i++, l++, w += stride) {
            const V(index) index = V(add_index)(first, i);
            const VEC b = V(load)(w);
            FASTCONV_UNROLL
            for (int m = 0; m < rows; m++)
                sum[m][0] = V(fma)(m < CONV_PERMUTED ? V(permute)(held[m], index) : V(set1)(a[m][l]), b, sum[m][0]);
        }
    }
    return l;
}
#endif

static FASTCONV_INLINE void K(conv_tile)(const fastconv_conv_args *args, ptrdiff_t pixel, const int rows,
                                         const int columns) {
    const REAL *const *in = (const REAL *const *)args->in + pixel;
    REAL *const *out = (REAL *const *)args->out + pixel;
    const ptrdiff_t run_length = args->run_length, stride = args->weights_stride, at = args->out_offset;
    const REAL *bias = (const REAL *)args->bias;
    const int last = (int)args->columns - (columns - 1) * LANES;
    VEC sum[CONV_MAX_ROWS][CONV_MAX_COLUMNS];

    FASTCONV_UNROLL
    for (int n = 0; n < columns; n++) {
        const int lanes = n + 1 < columns ? LANES : last;
        if (args->accumulate) {
            FASTCONV_UNROLL
            for (int m = 0; m < rows; m++) sum[m][n] = K(load_up_to)(out[m] + at + n * LANES, lanes);
        } else {
            const VEC start = bias ? K(load_up_to)(bias + n * LANES, lanes) : V(zero)();
            FASTCONV_UNROLL
            for (int m = 0; m < rows; m++) sum[m][n] = start;
        }
    }
    for (ptrdiff_t r = 0; r < args->runs; r++) {
        const REAL *a[CONV_MAX_ROWS];
        const REAL *FASTCONV_RESTRICT w = (const REAL *)args->weights + (args->run_k[r] + args->k_offset) * stride;
        FASTCONV_UNROLL
        for (int m = 0; m < rows; m++) a[m] = in[m] + args->run_offset[r] + args->in_offset;
        ptrdiff_t l = 0;
#ifdef CONV_PERMUTED
        if (columns == 1 && 2 * rows > CONV_MAX_ROWS && args->permute) {
            l = K(conv_permuted)(a, w, stride, run_length, sum, rows);
            w += l * stride;
        }
#endif
        for (; l < run_length; l++, w += stride) {
            VEC b[CONV_MAX_COLUMNS];
            FASTCONV_UNROLL
            for (int n = 0; n < columns; n++) b[n] = V(load)(w + n * LANES);
            FASTCONV_UNROLL
            for (int m = 0; m < rows; m++) {
                const VEC x = V(set1)(a[m][l]);
                FASTCONV_UNROLL
                for (int n = 0; n < columns; n++) sum[m][n] = V(fma)(x, b[n], sum[m][n]);
            }
        }
    }
    if (rows == CONV_ROWS(columns) && args->stream) {   /* other tiles are few */
        FASTCONV_UNROLL
        for (int m = 0; m < rows; m++) {
            FASTCONV_UNROLL
            for (int n = 0; n < columns; n++) V(stream)(out[m] + at + n * LANES, sum[m][n]);
        }
        return;
    }
    FASTCONV_UNROLL
    for (int m = 0; m < rows; m++) {
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++)
            K(store_up_to)(out[m] + at + n * LANES, sum[m][n], n + 1 < columns ? LANES : last);
    }
}

#ifdef TILES_SHARE
/* A tile with half a vector or less of columns beyond `whole` ones: two pixels share a vector of them, and so save the
 * products that would be half idle. */
static FASTCONV_INLINE void K(conv_shared)(const fastconv_conv_args *args, ptrdiff_t pixel, const int rows,
                                           const int whole) {
    const REAL *const *in = (const REAL *const *)args->in + pixel;
    REAL *const *out = (REAL *const *)args->out + pixel;
    const ptrdiff_t stride = args->weights_stride, at = args->out_offset, rest = at + whole * LANES;
    static const REAL zeros[CONV_MAX_COLUMNS * LANES] = {0};
    const REAL *start = args->bias ? (const REAL *)args->bias : zeros;
    const int lanes = (int)args->columns - whole * LANES;
    VEC sum[CONV_MAX_ROWS][CONV_MAX_COLUMNS], shared[CONV_MAX_ROWS / 2];

    FASTCONV_UNROLL
    for (int m = 0; m < rows; m++) {
        const REAL *from = args->accumulate ? out[m] + at : start;
        FASTCONV_UNROLL
        for (int n = 0; n < whole; n++) sum[m][n] = V(load)(from + n * LANES);
        const VEC part = V(load_part)(from + whole * LANES, lanes);
        shared[m / 2] = m % 2 ? V(join)(shared[m / 2], V(swap)(part)) : part;
    }
    for (ptrdiff_t r = 0; r < args->runs; r++) {
        const REAL *a[CONV_MAX_ROWS];
        const REAL *FASTCONV_RESTRICT w = (const REAL *)args->weights + (args->run_k[r] + args->k_offset) * stride;
        FASTCONV_UNROLL
        for (int m = 0; m < rows; m++) a[m] = in[m] + args->run_offset[r] + args->in_offset;
        for (ptrdiff_t l = 0; l < args->run_length; l++, w += stride) {
            VEC b[CONV_MAX_COLUMNS];
            FASTCONV_UNROLL
            for (int n = 0; n < whole; n++) b[n] = V(load)(w + n * LANES);
            const VEC twice = V(load_twice)(w + whole * LANES);
            FASTCONV_UNROLL
            for (int m = 0; m < rows; m += 2) {
                const VEC x = V(set1)(a[m][l]), y = V(set1)(a[m + 1][l]);
                FASTCONV_UNROLL
                for (int n = 0; n < whole; n++) {
                    sum[m][n] = V(fma)(x, b[n], sum[m][n]);
                    sum[m + 1][n] = V(fma)(y, b[n], sum[m + 1][n]);
                }
                shared[m / 2] = V(fma)(V(join)(x, y), twice, shared[m / 2]);
            }
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < rows; m++) {
        FASTCONV_UNROLL
        for (int n = 0; n < whole; n++) V(store)(out[m] + at + n * LANES, sum[m][n]);
        V(store_part)(out[m] + rest, m % 2 ? V(swap)(shared[m / 2]) : shared[m / 2], lanes);
    }
}
#endif

static FASTCONV_INLINE void K(conv_columns)(const fastconv_conv_args *args, ptrdiff_t pixel, const int rows,
                                            int columns) {
    switch (columns) {
    case 1: K(conv_tile)(args, pixel, rows, 1); break;
    case 2: if (rows <= CONV_ROWS(2)) K(conv_tile)(args, pixel, rows, 2); break;
#if CONV_MAX_COLUMNS == 4
    case 3: if (rows <= CONV_ROWS(3)) K(conv_tile)(args, pixel, rows, 3); break;
    case 4: if (rows <= CONV_ROWS(4)) K(conv_tile)(args, pixel, rows, 4); break;
#endif
    default: break;
    }
}

#ifdef TILES_SHARE
static void K(conv_shared1)(const fastconv_conv_args *args, ptrdiff_t pixel) { K(conv_shared)(args, pixel, CONV_ROWS(2), 1); }
#if CONV_MAX_COLUMNS == 4
static void K(conv_shared2)(const fastconv_conv_args *args, ptrdiff_t pixel) { K(conv_shared)(args, pixel, CONV_ROWS(3), 2); }
static void K(conv_shared3)(const fastconv_conv_args *args, ptrdiff_t pixel) { K(conv_shared)(args, pixel, CONV_ROWS(4), 3); }
#endif
static void (*const K(conv_by_whole)[])(const fastconv_conv_args *, ptrdiff_t) = {
    K(conv_shared1),
#if CONV_MAX_COLUMNS == 4
    K(conv_shared2), K(conv_shared3),
#endif
};
#endif

/* One function a height, so that the sums of each live in registers. */
typedef void K(conv_fn)(const fastconv_conv_args *, ptrdiff_t, int);
#define MAX_ROWS CONV_MAX_ROWS
#define ROWS(m) static void K(conv_rows##m)(const fastconv_conv_args *args, ptrdiff_t pixel, int columns) { K(conv_columns)(args, pixel, m, columns); }
#include "rows.def"
#undef ROWS
static K(conv_fn) *const K(conv_by_rows)[] = {
#define ROWS(m) K(conv_rows##m),
#include "rows.def"
#undef ROWS
};
#undef MAX_ROWS

static void K(conv)(const fastconv_conv_args *args) {
    const int columns = (int)((args->columns + LANES - 1) / LANES), full = CONV_ROWS(columns);
#ifdef TILES_SHARE
    const int shares = columns > 1 && 2 * (args->columns - (columns - 1) * LANES) <= LANES;
#endif
    assert(args->columns >= 1 && columns <= CONV_MAX_COLUMNS && args->weights_stride >= columns * LANES);
    assert(!args->stream || (!args->accumulate && args->columns % LANES == 0));
    if (args->in_step) {
        K(conv_few)(args);
        return;
    }

    for (ptrdiff_t pixel = 0, rows; pixel < args->pixels; pixel += rows) {
        const ptrdiff_t left = args->pixels - pixel, rest = left - full;
        rows = left < full ? left : full;
        /* Few sums would wait for one another: the last two tiles share their pixels evenly. */
        if (rest > 0 && rest < full && rest * columns < FASTCONV_LATENT_SUMS) rows = (left + 1) / 2;
#ifdef TILES_SHARE
        if (shares && rows == full) {
            K(conv_by_whole)[columns - 2](args, pixel);
            continue;
        }
#endif
        K(conv_by_rows)[rows - 1](args, pixel, columns);
    }
}
