/* Part of depthwise: rows of any number of taps, down a column of tiles; each channel has its own weights, or those of
 * each input of its group.
 *
 * Five or seven taps are a window, others windows of three: each input vector is loaded, and permuted where there are
 * groups, once for every tap of one that reads it, whose weights stay in registers.  A few pixels of one vector of
 * channels go down the rows of output, which find most of the rows that they read in L1.  Padding is left out, column by
 * column. */

enum { K(window_taps) = 7 };

/* One row of the kernel; [begin, end) are the columns from `in` on that are inside.  `index` is for groups. */
static FASTCONV_INLINE void K(window_row)(const REAL *in, ptrdiff_t step, ptrdiff_t begin, ptrdiff_t end,
                                          const REAL *weights, ptrdiff_t weights_stride, VEC *sum, const int pixels,
                                          const int taps, const int stride, const int groups, V(index) index) {
    VEC w[K(window_taps)];
    FASTCONV_UNROLL
    for (int t = 0; t < taps; t++) w[t] = V(load)(weights + t * weights_stride);
    FASTCONV_UNROLL
    for (int j = 0; j < (pixels - 1) * stride + taps; j++, in += step) {
        if (j < begin || j >= end) continue;
        const VEC x = V(keep)(groups ? V(permute)(V(load)(in), index) : V(load)(in));
        FASTCONV_UNROLL
        for (int t = 0; t < taps; t++) {
            const int m = (j - t) / stride;
            if (j >= t && (j - t) % stride == 0 && m < pixels) sum[m] = V(fma)(x, w[t], sum[m]);
        }
    }
}

/* A row of any number of taps: windows of three of them, then the others. */
static FASTCONV_INLINE void K(window_row_of_any)(const REAL *in, ptrdiff_t step, ptrdiff_t begin, ptrdiff_t end,
                                                 const REAL *weights, ptrdiff_t weights_stride, ptrdiff_t taps,
                                                 VEC *sum, const int pixels, const int stride, const int groups,
                                                 V(index) index) {
    enum { window = 3 };
    for (; taps >= window; taps -= window, begin -= window, end -= window) {
        K(window_row)(in, step, begin, end, weights, weights_stride, sum, pixels, window, stride, groups, index);
        in += window * step;
        weights += window * weights_stride;
    }
    if (taps == 2)
        K(window_row)(in, step, begin, end, weights, weights_stride, sum, pixels, 2, stride, groups, index);
    else if (taps == 1)
        K(window_row)(in, step, begin, end, weights, weights_stride, sum, pixels, 1, stride, groups, index);
}

/* A row of the kernel in every input of the groups. */
static FASTCONV_INLINE void K(window_groups)(const fastconv_depthwise_args *args, const REAL *in, ptrdiff_t begin,
                                             ptrdiff_t end, const REAL *weights, VEC *sum, const int pixels,
                                             const int taps, const int stride, V(index) first) {
    const ptrdiff_t weights_stride = args->weights_stride, tap = args->group * weights_stride;
    for (ptrdiff_t i = 0, held = 0; i < args->group; i++, held++, weights += weights_stride) {
        if (held == args->group_outputs) held = 0, in += LANES;
        const V(index) index = V(add_index)(first, (int)held);
        if (taps)
            K(window_row)(in, args->in_column, begin, end, weights, tap, sum, pixels, taps, stride, 1, index);
        else
            K(window_row_of_any)(in, args->in_column, begin, end, weights, tap, args->tap_columns, sum, pixels, stride, 1,
                                 index);
    }
}

/* Pixels [p, p + count) of every row of output, of the channels from c on, as the first of so many `pixels`; any number
 * of taps where that is 0. */
static FASTCONV_INLINE void K(window_column)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t count,
                                             ptrdiff_t c, const int pixels, const int taps, const int stride,
                                             const int groups, V(index) index) {
    const ptrdiff_t column = p * stride, in_row = args->in_row, step = args->in_column, out_step = args->out_column;
    const ptrdiff_t read = (count - 1) * stride + args->tap_columns, inside = args->end_column - column;
    const ptrdiff_t begin = args->first_column - column, end = inside < read ? inside : read;
    const ptrdiff_t weights_stride = args->weights_stride, weights_row = args->tap_columns * args->group * weights_stride;
    const VEC start = args->bias ? V(load)((const REAL *)args->bias + c) : V(zero)();
    const REAL *in = (const REAL *)args->in + column * step
                     + (groups ? K(inputs_at)(args->group, args->group_outputs, c) : c);
    REAL *out = (REAL *)args->out + p * out_step + c;
    for (ptrdiff_t y = 0; y < args->rows; y++, in += args->row_step * in_row, out += args->out_row) {
        const ptrdiff_t before = args->first_row - y * args->row_step, after = args->end_row - y * args->row_step;
        const ptrdiff_t last = after < args->tap_rows ? after : args->tap_rows;
        VEC sum[DEPTHWISE_PIXELS];
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++)
            sum[m] = args->accumulate && m < count ? V(load)(out + m * out_step) : start;
        for (ptrdiff_t r = before > 0 ? before : 0; r < last; r++) {
            const REAL *x = in + r * in_row, *w = (const REAL *)args->weights + c + r * weights_row;
            if (groups)
                K(window_groups)(args, x, begin, end, w, sum, pixels, taps, stride, index);
            else if (taps)
                K(window_row)(x, step, begin, end, w, weights_stride, sum, pixels, taps, stride, 0, index);
            else
                K(window_row_of_any)(x, step, begin, end, w, weights_stride, args->tap_columns, sum, pixels, stride, 0,
                                     index);
        }
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++)
            if (m < count) V(store)(out + m * out_step, sum[m]);
    }
}

/* The tiles of all rows, of each all channels. */
static FASTCONV_INLINE void K(window_columns)(const fastconv_depthwise_args *given, const int taps, const int stride,
                                              const int groups) {
    /* Groups and other numbers of taps are rare, and their code is long: they have one tile, of 7 pixels or 8. */
    enum { most = DEPTHWISE_PIXELS, middle = (most + 1) / 2, any = most > 8 ? middle : most };
    const int wide = taps && !groups ? most : any, half = taps && !groups ? middle : any;
    const fastconv_depthwise_args own = *given, *const args = &own;     /* stores cannot change what is local */
    const V(index) index = K(first_inputs)(groups ? args->group : LANES, groups ? args->group_outputs : LANES);
    for (ptrdiff_t p = 0, tile; p < args->pixels; p += tile) {
        const ptrdiff_t rest = args->pixels - p, count = rest < wide ? rest : wide;
        tile = rest > half ? wide : half;
        for (ptrdiff_t c = 0; c >= 0; c = K(next_vector)(c, args->first_vector, args->channels)) {
            if (wide > half && tile == wide)
                K(window_column)(args, p, count, c, wide, taps, stride, groups, index);
            else
                K(window_column)(args, p, count < half ? count : half, c, half, taps, stride, groups, index);
        }
    }
}

/* Functions of their own, each with registers for its tiles. */
#define WINDOW(name, taps, stride, groups)                                                \
    static FASTCONV_NOINLINE void K(window_##name)(const fastconv_depthwise_args *args) { \
        K(window_columns)(args, taps, stride, groups);                                    \
    }
#if DEPTHWISE_WINDOWS
WINDOW(5s1, 5, 1, 0)
WINDOW(5s2, 5, 2, 0)
WINDOW(7s1, 7, 1, 0)
WINDOW(7s2, 7, 2, 0)
WINDOW(5s1_groups, 5, 1, 1)
WINDOW(5s2_groups, 5, 2, 1)
WINDOW(7s1_groups, 7, 1, 1)
WINDOW(7s2_groups, 7, 2, 1)
WINDOW(any_s1_groups, 0, 1, 1)
#endif
WINDOW(any_s1, 0, 1, 0)
WINDOW(any_s2, 0, 2, 0)
#undef WINDOW

/* Whether windows go down columns of tiles: of groups, more than one tap, and with a stride of 2, five or seven. */
static FASTCONV_INLINE int K(windows_apply)(const fastconv_depthwise_args *args) {
    const ptrdiff_t taps = args->tap_columns;
    return args->row_dilation == 1 && args->column_dilation == 1 && args->column_step <= 2
           && (args->group == 1 || (DEPTHWISE_WINDOWS && (taps == 5 || taps == 7 || (taps > 1 && args->column_step == 1))));
}

static void K(depthwise_windows)(const fastconv_depthwise_args *args) {
    const int stride = (int)args->column_step;
    assert(K(windows_apply)(args) && args->channels >= LANES);
    assert(!args->accumulate || (args->first_vector == 0 && args->channels % LANES == 0));
#if DEPTHWISE_WINDOWS
    static void (*const by_taps[2][2][2])(const fastconv_depthwise_args *) = {
        {{K(window_5s1), K(window_5s2)}, {K(window_7s1), K(window_7s2)}},
        {{K(window_5s1_groups), K(window_5s2_groups)}, {K(window_7s1_groups), K(window_7s2_groups)}},
    };
    if (args->tap_columns == 5 || args->tap_columns == 7) {
        by_taps[args->group > 1][args->tap_columns == 7][stride - 1](args);
        return;
    }
    if (args->group > 1) {
        K(window_any_s1_groups)(args);
        return;
    }
#endif
    (stride == 1 ? K(window_any_s1) : K(window_any_s2))(args);
}
