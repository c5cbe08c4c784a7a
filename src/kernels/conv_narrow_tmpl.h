/* conv_narrow: the same sums as conv for few output channels, vectors along the runs.
 *
 * A vector of inputs meets a vector of each channel's weights; the lanes are added up at the end.  The
 * order of a sum follows from the runs and the vector length alone. */

/* Sums whose lanes are still to be added up, and where their totals belong. */
typedef struct {
    VEC sum[LANES + CONV_NARROW_PIXELS * CONV_NARROW_COLUMNS];
    REAL *out[LANES + CONV_NARROW_PIXELS * CONV_NARROW_COLUMNS];
    REAL start[LANES + CONV_NARROW_PIXELS * CONV_NARROW_COLUMNS];
    int count;
} K(narrow_sums);

/* The totals of the first LANES sums, by halves: lanes i and i + LANES / 2 first.  Transposed, the lanes of
 * all of them are added at once.  This order is the same when the lanes are rotated, as they are where a run
 * begins later because padding is left out: another one would change bits. */
static FASTCONV_NOINLINE void K(add_lanes)(K(narrow_sums) *sums) {
    const int count = sums->count < LANES ? sums->count : LANES;
    VEC square[LANES];
    REAL total[LANES];
    FASTCONV_UNROLL
    for (int i = 0; i < LANES; i++) square[i] = i < count ? sums->sum[i] : V(zero)();
    V(transpose)(square);
    FASTCONV_UNROLL
    for (int half = LANES / 2; half > 0; half /= 2) {
        FASTCONV_UNROLL
        for (int i = 0; i < half; i++) square[i] = V(add)(square[i], square[i + half]);
    }
    V(store)(total, square[0]);
    for (int i = 0; i < count; i++) *sums->out[i] = sums->start[i] + total[i];
    sums->count -= count;
    for (int i = 0; i < sums->count; i++) {
        sums->sum[i] = sums->sum[i + LANES];
        sums->out[i] = sums->out[i + LANES];
        sums->start[i] = sums->start[i + LANES];
    }
}

static FASTCONV_INLINE void K(conv_narrow_step)(const REAL *const *a, const REAL *w, ptrdiff_t w_stride,
                                                VEC sum[][CONV_NARROW_COLUMNS], const int pixels, const int columns,
                                                const int lanes) {
    VEC x[CONV_NARROW_PIXELS];
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) x[m] = K(load_up_to)(a[m], lanes);
    FASTCONV_UNROLL
    for (int n = 0; n < columns; n++) {
        const VEC b = K(load_up_to)(w + n * w_stride, lanes);
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m][n] = V(fma)(x[m], b, sum[m][n]);
    }
}

static FASTCONV_INLINE void K(conv_narrow_tile)(const fastconv_conv_args *args, ptrdiff_t pixel,
                                                K(narrow_sums) *sums, const int pixels, const int columns) {
    const REAL *const *in = (const REAL *const *)args->in + pixel;
    REAL *const *out = (REAL *const *)args->out + pixel;
    const REAL *bias = (const REAL *)args->bias;
    const ptrdiff_t w_stride = args->weights_stride, length = args->run_length;
    VEC sum[CONV_NARROW_PIXELS][CONV_NARROW_COLUMNS];

    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) sum[m][n] = V(zero)();
    }
    for (ptrdiff_t r = 0; r < args->runs; r++) {
        const REAL *a[CONV_NARROW_PIXELS], *w = (const REAL *)args->weights + args->run_k[r] + args->k_offset;
        ptrdiff_t l = 0;
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) a[m] = in[m] + args->run_offset[r] + args->in_offset;
        for (; l + LANES <= length; l += LANES) {
            K(conv_narrow_step)(a, w + l, w_stride, sum, pixels, columns, LANES);
            FASTCONV_UNROLL
            for (int m = 0; m < pixels; m++) a[m] += LANES;
        }
        if (l < length) K(conv_narrow_step)(a, w + l, w_stride, sum, pixels, columns, (int)(length - l));
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        REAL *to = out[m] + args->out_offset;
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) {
            const int i = sums->count + m * columns + n;
            sums->sum[i] = sum[m][n];
            sums->out[i] = to + n;
            sums->start[i] = args->accumulate ? to[n] : bias ? bias[n] : 0;
        }
    }
    sums->count += pixels * columns;
    while (sums->count >= LANES) K(add_lanes)(sums);
}

/* One function a width, so that the sums of each live in registers. */
typedef void K(conv_narrow_fn)(const fastconv_conv_args *);
static FASTCONV_INLINE void K(conv_narrow_columns)(const fastconv_conv_args *args, const int columns) {
    K(narrow_sums) sums;
    ptrdiff_t p = 0;
    sums.count = 0;
    for (; p + CONV_NARROW_PIXELS <= args->pixels; p += CONV_NARROW_PIXELS)
        K(conv_narrow_tile)(args, p, &sums, CONV_NARROW_PIXELS, columns);
    for (; p < args->pixels; p++) K(conv_narrow_tile)(args, p, &sums, 1, columns);
    if (sums.count) K(add_lanes)(&sums);
}
#define MAX_ROWS CONV_NARROW_COLUMNS
#define ROWS(n) static FASTCONV_NOINLINE void K(conv_narrow##n)(const fastconv_conv_args *args) { K(conv_narrow_columns)(args, n); }
#include "rows.def"
#undef ROWS
static K(conv_narrow_fn) *const K(conv_narrow_by_columns)[] = {
#define ROWS(n) K(conv_narrow##n),
#include "rows.def"
#undef ROWS
};
#undef MAX_ROWS

static void K(conv_narrow)(const fastconv_conv_args *given) {
    fastconv_conv_args own = *given;
    assert(given->columns >= 1);

    for (ptrdiff_t n = 0; n < given->columns; n += CONV_NARROW_COLUMNS) {
        own.columns = given->columns - n < CONV_NARROW_COLUMNS ? given->columns - n : CONV_NARROW_COLUMNS;
        own.out_offset = given->out_offset + n;
        own.weights = (const REAL *)given->weights + n * given->weights_stride;
        own.bias = given->bias ? (const REAL *)given->bias + n : NULL;
        K(conv_narrow_by_columns)[own.columns - 1](&own);
    }
}
