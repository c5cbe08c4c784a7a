/* conv_narrow: the same sums as conv for few output channels, vectors along the runs.
 *
 * A vector of inputs meets a vector of each channel's weights; the lanes are added up at the end.  The
 * order of a sum follows from the runs and the vector length alone. */

/* Pixels of a tile: 8 where their sums are few, so that they outnumber the latency of an FMA. */
#define NARROW_PIXELS(columns) ((columns) <= CONV_NARROW_COLUMNS / 3 ? 8 : CONV_NARROW_PIXELS)
enum { K(narrow_most_pixels) = 8, K(narrow_tile) = CONV_NARROW_PIXELS * CONV_NARROW_COLUMNS };

/* Sums whose lanes are still to be added up: those from element `done` of the output on. */
typedef struct {
    VEC sum[LANES + K(narrow_tile)];
    int count, dense;
    ptrdiff_t done;
} K(narrow_sums);

static FASTCONV_INLINE const REAL *K(narrow_in)(const fastconv_conv_args *args, ptrdiff_t pixel) {
    return args->in_step ? (const REAL *)args->in[0] + pixel * args->in_step : (const REAL *)args->in[pixel];
}

static FASTCONV_INLINE REAL *K(narrow_out)(const fastconv_conv_args *args, ptrdiff_t pixel) {
    return args->in_step ? (REAL *)args->out[0] + pixel * args->out_step : (REAL *)args->out[pixel];
}

/* Whether the elements of the output follow one another in memory, and each starts from the same. */
static int K(narrow_dense)(const fastconv_conv_args *args) {
    const REAL *const *out = (const REAL *const *)args->out;
    const uintptr_t pixel = (uintptr_t)args->columns * sizeof(REAL);
    uintptr_t gaps = args->accumulate || (args->bias && args->columns > 1);
    if (args->in_step) return gaps == 0 && args->out_step == args->columns;
    for (ptrdiff_t p = 1; p < args->pixels && gaps == 0; p++)
        gaps = (uintptr_t)out[p] - (uintptr_t)out[p - 1] - pixel;
    return gaps == 0;
}

/* The totals of the first LANES sums. */
static FASTCONV_NOINLINE void K(add_lanes)(const fastconv_conv_args *args, K(narrow_sums) *sums) {
    const REAL *bias = (const REAL *)args->bias;
    ptrdiff_t pixel = sums->done / args->columns, column = sums->done % args->columns;
    const int count = sums->count < LANES ? sums->count : LANES;
    const VEC total = V(sum_lanes)(sums->sum);
    if (sums->dense) {
        K(store_up_to)(K(narrow_out)(args, pixel) + args->out_offset + column, V(add)(V(set1)(bias ? *bias : 0), total), count);
    } else {
        REAL lane[LANES];
        V(store)(lane, total);
        FASTCONV_ROLLED
        for (int i = 0; i < count; i++) {
            REAL *to = K(narrow_out)(args, pixel) + args->out_offset + column;
            *to = (args->accumulate ? *to : bias ? bias[column] : 0) + lane[i];
            if (++column == args->columns) {
                column = 0;
                pixel++;
            }
        }
    }
    sums->done += count;
    sums->count -= count;
    for (int i = 0; i < sums->count; i++) sums->sum[i] = sums->sum[i + LANES];
}

/* `lanes` of a run from l on.  What few sums wait for is their memory: the input of the pixels that follow, or,
 * where a single pixel meets many weights, the weights of the columns that follow. */
static FASTCONV_INLINE void K(conv_narrow_step)(const REAL *const *a, const REAL *w, ptrdiff_t w_stride, ptrdiff_t l,
                                                VEC sum[][CONV_NARROW_COLUMNS], const int pixels, const int columns,
                                                const int lanes) {
    /* What six rows need is in L1 by then, and not yet lost again: 24 KiB, in the next tiles or further on in the row. */
    const ptrdiff_t line = 64 / sizeof(REAL), tile = columns * w_stride;
    const ptrdiff_t ahead = w_stride < 32 * line ? 2 * tile : w_stride < 64 * line ? tile : 64 * line;
    VEC x[K(narrow_most_pixels)];
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        x[m] = K(load_up_to)(a[m] + l, lanes);
        if (pixels > CONV_NARROW_PIXELS) FASTCONV_PREFETCH(a[m] + l + 64 * line);
    }
    FASTCONV_UNROLL
    for (int n = 0; n < columns; n++) {
        const VEC b = K(load_up_to)(w + n * w_stride + l, lanes);
        if (pixels == 1) FASTCONV_PREFETCH(w + n * w_stride + l + ahead);
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m][n] = V(fma)(x[m], b, sum[m][n]);
    }
}

static FASTCONV_INLINE void K(conv_narrow_tile)(const fastconv_conv_args *args, ptrdiff_t pixel,
                                                K(narrow_sums) *sums, const int pixels, const int columns) {
    const ptrdiff_t w_stride = args->weights_stride, length = args->run_length;
    VEC sum[K(narrow_most_pixels)][CONV_NARROW_COLUMNS], *to = sums->sum + sums->count;

    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) sum[m][n] = V(zero)();
    }
    for (ptrdiff_t r = 0; r < args->runs; r++) {
        const REAL *a[K(narrow_most_pixels)], *w = (const REAL *)args->weights + args->run_k[r] + args->k_offset;
        ptrdiff_t l = 0;
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) a[m] = K(narrow_in)(args, pixel + m) + args->run_offset[r] + args->in_offset;
        for (; l + LANES <= length; l += LANES) K(conv_narrow_step)(a, w, w_stride, l, sum, pixels, columns, LANES);
        if (l < length) K(conv_narrow_step)(a, w, w_stride, l, sum, pixels, columns, (int)(length - l));
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) {
        FASTCONV_UNROLL
        for (int n = 0; n < columns; n++) *to++ = sum[m][n];
    }
    sums->count += pixels * columns;
    while (sums->count >= LANES) K(add_lanes)(args, sums);
}

/* As many pixels at a time as have up to LANES sums, whose lanes are added up in registers: for one run of pixels
 * evenly spaced, which need no pointers, into an output without gaps.  Returns how many pixels those were. */
static FASTCONV_INLINE ptrdiff_t K(conv_narrow_even)(const fastconv_conv_args *args, const int columns) {
    const REAL *in = K(narrow_in)(args, 0) + args->run_offset[0] + args->in_offset, *bias = (const REAL *)args->bias;
    const REAL *w = (const REAL *)args->weights + args->run_k[0] + args->k_offset;
    REAL *out = K(narrow_out)(args, 0) + args->out_offset;
    const int pixels = LANES / columns;
    REAL first[LANES];
    ptrdiff_t p = 0;
    for (int i = 0; i < LANES; i++) first[i] = bias ? bias[i % columns] : 0;
    const VEC start = V(load)(first);
    for (; p + pixels <= args->pixels; p += pixels) {
        VEC sum[LANES];
        FASTCONV_UNROLL
        for (int i = 0; i < LANES; i++) sum[i] = V(zero)();
        for (ptrdiff_t l = 0; l < args->run_length; l += LANES) {
            const int lanes = (int)(args->run_length - l < LANES ? args->run_length - l : LANES);
            const REAL *a = in + p * args->in_step + l;
            VEC b[LANES];
            FASTCONV_UNROLL
            for (int n = 0; n < columns; n++) b[n] = K(load_up_to)(w + n * args->weights_stride + l, lanes);
            FASTCONV_UNROLL
            for (int m = 0; m < pixels; m++, a += args->in_step) {
                const VEC x = K(load_up_to)(a, lanes);
                FASTCONV_PREFETCH(a + 4096 / sizeof(REAL));
                FASTCONV_UNROLL
                for (int n = 0; n < columns; n++) sum[m * columns + n] = V(fma)(x, b[n], sum[m * columns + n]);
            }
        }
        K(store_up_to)(out + p * columns, V(add)(start, V(sum_lanes)(sum)), pixels * columns);
    }
    return p;
}

/* One function a width, so that the sums of each live in registers. */
typedef void K(conv_narrow_fn)(const fastconv_conv_args *);
static FASTCONV_INLINE void K(conv_narrow_columns)(const fastconv_conv_args *given, const int columns) {
    const fastconv_conv_args own = *given, *args = &own;    /* stores cannot change what is local */
    K(narrow_sums) sums;
    ptrdiff_t p = 0;
    sums.count = 0;
    sums.dense = K(narrow_dense)(args);
    if (columns <= LANES && columns <= FASTCONV_EVEN_COLUMNS && args->in_step && args->runs == 1 && args->out_step == columns && !args->accumulate)
        p = K(conv_narrow_even)(args, columns);
    sums.done = p * columns;
    FASTCONV_UNROLL
    for (int i = 0; i < LANES; i++) sums.sum[i] = V(zero)();
    for (; p + NARROW_PIXELS(columns) <= args->pixels; p += NARROW_PIXELS(columns))
        K(conv_narrow_tile)(args, p, &sums, NARROW_PIXELS(columns), columns);
    for (; p < args->pixels; p++) K(conv_narrow_tile)(args, p, &sums, 1, columns);
    if (sums.count) K(add_lanes)(args, &sums);
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
#undef NARROW_PIXELS
