/* Part of depthwise: few input channels, which all lanes of a vector read, or those of a group in it, down a column of
 * tiles.
 *
 * As in depthwise_rows_tmpl.h, a few pixels of one vector of output channels go down the rows of the input, and the sums
 * of every row of output that the current one belongs to stay in registers: they move up by one when a row of output is
 * complete.  Each input is broadcast, or permuted, once for all of those rows, and each weight loaded once for all pixels of the tile.
 * The halves of a vector may be two pixels, of which the second one reads `second` elements further on.
 *
 * Three taps across are unrolled, and inputs loaded once for all of them; a column of padding on either side is left
 * out.  Other taps go one after the other, and have no padding. */

/* Sums of a tile, of `live` rows by so many pixels. */
#define SHARED_PIXELS(live) \
    (SHARED_SUMS / (live) < 1 ? 1 : SHARED_SUMS / (live) < DEPTHWISE_COLUMN ? SHARED_SUMS / (live) : DEPTHWISE_COLUMN)
enum { K(shared_rows) = 7 };

/* An input channel is for all lanes; or for one half, and of another pixel for the other; or of each group for its own. */
#define ALL 0
#define HALVES 1
#define GROUPS 2

/* One row of input: to the first `live` rows of sums it is the row of taps at `w`, and those `up` before each other. */
static FASTCONV_INLINE void K(shared_add)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                          ptrdiff_t up, VEC (*sum)[DEPTHWISE_COLUMN], const int live, const int pixels) {
    const ptrdiff_t step = args->column_step * args->in_column, tap = args->column_dilation * args->in_column;
    const ptrdiff_t stride = args->weights_stride, second = args->second;
    /* Taps that follow one another are a single run. */
    const ptrdiff_t runs = tap == args->group ? 1 : args->tap_columns;
    const ptrdiff_t length = tap == args->group ? args->tap_columns * args->group : args->group;

    for (ptrdiff_t t = 0; t < runs; t++, in += tap) {
        for (ptrdiff_t k = 0; k < length; k++, w += stride) {
            VEC b[K(shared_rows)];
            FASTCONV_UNROLL
            for (int q = 0; q < live; q++) b[q] = V(load)(w - q * up);
            FASTCONV_UNROLL
            for (int m = 0; m < pixels; m++) {
                const VEC a = V(keep)(V(set2)(in[m * step + k], in[m * step + second + k]));
                FASTCONV_UNROLL
                for (int q = 0; q < live; q++) sum[q][m] = V(fma)(a, b[q], sum[q][m]);
            }
        }
    }
}

/* The same of three taps across, one channel after the other; [begin, end) are the columns inside. */
static FASTCONV_INLINE void K(shared_add_three)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                                ptrdiff_t up, ptrdiff_t begin, ptrdiff_t end,
                                                VEC (*sum)[DEPTHWISE_COLUMN], const int live, const int pixels,
                                                const int across, const int readers, V(index) first) {
    const ptrdiff_t tap = args->group * args->weights_stride, second = args->second;
    const int columns = (pixels - 1) * across + 3;
    for (ptrdiff_t i = 0, held = 0; i < args->group; i++, held++, w += args->weights_stride) {
        if (readers == GROUPS && held == args->group_outputs) held = 0, in += LANES;
        const V(index) index = V(add_index)(first, (int)held);
        const REAL *x = readers == GROUPS ? in : in + i;
        VEC b[K(shared_rows)][3];
        FASTCONV_UNROLL
        for (int q = 0; q < live; q++) {
            FASTCONV_UNROLL
            for (int t = 0; t < 3; t++) b[q][t] = V(load)(w - q * up + t * tap);
        }
        FASTCONV_UNROLL
        for (int j = 0; j < columns; j++, x += args->in_column) {
            if ((pixels == 1 || j == 0) && begin > j) continue;
            if ((pixels == 1 || j == columns - 1) && end <= j) continue;
            const VEC a = V(keep)(readers == GROUPS   ? V(permute)(V(load)(x), index)
                                  : readers == HALVES ? V(set2)(*x, x[second])
                                                      : V(set1)(*x));
            FASTCONV_UNROLL
            for (int t = 0; t < 3; t++) {
                const int m = (j - t) / across;
                if (j < t || (j - t) % across || m >= pixels) continue;
                FASTCONV_UNROLL
                for (int q = live - 1; q >= 0; q--) sum[q][m] = V(fma)(a, b[q][t], sum[q][m]);
            }
        }
    }
}

/* Pixels [p, p + pixels) of every row of output, of the channels from c on.  Sums of rows before the first are formed
 * with the others, and go nowhere.  Three taps across have pixels `across` columns apart, others 0 here. */
static FASTCONV_INLINE void K(shared_column)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t c, int lanes,
                                             const int taps, const int stride, const int across, const int pixels,
                                             const int readers, V(index) first_input) {
    enum { most = K(shared_rows) };
    const int live = (taps + stride - 1) / stride;
    const ptrdiff_t column = p * args->column_step, row_taps = args->tap_columns * args->group * args->weights_stride;
    const ptrdiff_t begin = args->first_column - column, end = args->end_column - column;
    const ptrdiff_t from = readers == GROUPS ? K(inputs_at)(args->group, args->group_outputs, c) : c / args->shared * args->group;
    const REAL *in = (const REAL *)args->in + column * args->in_column + from;
    const REAL *weights = (const REAL *)args->weights + c;
    const VEC start = args->bias ? K(load_up_to)((const REAL *)args->bias + c, lanes) : V(zero)();
    REAL *out = (REAL *)args->out + p * args->out_column + c;
    VEC sum[most][DEPTHWISE_COLUMN];

    FASTCONV_UNROLL
    for (int q = 0; q < live; q++) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[q][m] = start;
    }
    for (ptrdiff_t y = 1 - live; y < args->rows; y++) {
        FASTCONV_UNROLL
        for (int r = taps - stride; r < taps; r++) {    /* the row of taps that ends, or would end with the next one */
            const ptrdiff_t row = y * stride + r;
            const REAL *x = in + row * args->in_row, *w = weights + r * row_taps;
            if (row < 0 || row < args->first_row || row >= args->end_row) continue;
            if (across)
                K(shared_add_three)(args, x, w, stride * row_taps, begin, end, sum, r / stride + 1, pixels, across,
                                    readers, first_input);
            else
                K(shared_add)(args, x, w, stride * row_taps, sum, r / stride + 1, pixels);
        }
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) {
            if (y >= 0) K(store_up_to)(out + y * args->out_row + m * args->out_column, sum[0][m], lanes);
            FASTCONV_UNROLL
            for (int q = 1; q < live; q++) sum[q - 1][m] = sum[q][m];
            sum[live - 1][m] = start;
        }
    }
}

/* Pixels of the next tile: as many as it may have, about half where few of the `rest` are left, or one. */
static FASTCONV_INLINE int K(tile_pixels)(ptrdiff_t rest, ptrdiff_t inside, const int wide, const int half) {
    if (inside >= wide && (half < wide ? rest > half && rest != 2 * half : rest > 0)) return wide;
    return half < wide && inside >= half && rest > 1 ? half : 1;
}

/* The tiles of all rows, of each all vectors of channels.  A tile between others may compute some pixels of the one
 * before again. */
static FASTCONV_INLINE void K(shared_columns)(const fastconv_depthwise_args *given, const int taps, const int stride,
                                              const int across, const int readers) {
    const fastconv_depthwise_args own = *given, *const args = &own;     /* stores cannot change what is local */
    const int wide = SHARED_PIXELS((taps + stride - 1) / stride), half = readers == GROUPS ? wide / 2 + 1 : wide;
    const ptrdiff_t pixels = args->pixels, channels = args->channels;
    const V(index) first_input = K(first_inputs)(args->group, readers == GROUPS ? args->group_outputs : LANES);
    ptrdiff_t left = 0, right = pixels;
    while (across && left < pixels && left * across + 1 < args->first_column) left++;
    while (across && right > left && (right - 1) * across + 2 > args->end_column) right--;
    for (ptrdiff_t p = 0, tile; p < pixels; p += tile) {
        tile = K(tile_pixels)(p < left ? 0 : right - p, right - left, wide, half);
        if (tile > 1 && p > right - tile) p = right - tile;
        for (ptrdiff_t c = 0; c >= 0; c = channels > LANES ? K(next_vector)(c, 0, channels) : -1) {
            const int lanes = channels < LANES ? (int)channels : LANES;
            if (wide > 1 && tile == wide)
                K(shared_column)(args, p, c, lanes, taps, stride, across, wide, readers, first_input);
            else if (half < wide && tile == half)
                K(shared_column)(args, p, c, lanes, taps, stride, across, half, readers, first_input);
            else
                K(shared_column)(args, p, c, lanes, taps, stride, across, 1, readers, first_input);
        }
    }
}

/* A function of its own for so many rows of taps, each with registers for its tiles. */
#define SHARED(name, taps, stride, across, readers)                                        \
    static FASTCONV_NOINLINE void K(shared_##name)(const fastconv_depthwise_args *args) { \
        K(shared_columns)(args, taps, stride, across, readers);                            \
    }
SHARED(3s1, 3, 1, 1, ALL)
SHARED(3s2, 3, 2, 2, ALL)
SHARED(3_halves, 3, 1, 2, HALVES)
SHARED(3s1_groups, 3, 1, 1, GROUPS)
SHARED(3s2_groups, 3, 2, 2, GROUPS)
SHARED(2, 2, 1, 0, HALVES)
SHARED(4, 4, 1, 0, HALVES)
SHARED(5, 5, 1, 0, HALVES)
SHARED(7, 7, 1, 0, HALVES)
#undef SHARED
#undef ALL
#undef HALVES
#undef GROUPS

static void K(depthwise_shared)(const fastconv_depthwise_args *args) {
    assert(args->row_dilation == 1 && (args->row_step == 1 || args->tap_rows == 3) && !args->accumulate);
    assert(args->channels <= args->shared || (args->shared % LANES == 0 && args->channels % args->shared == 0));
    assert(args->tap_rows == 3 ? args->tap_columns == 3 && args->column_dilation == 1 : args->first_column <= 0);
    if (args->channels == 0) return;
    switch (args->tap_rows) {
    case 2: K(shared_2)(args); break;
    case 4: K(shared_4)(args); break;
    case 5: K(shared_5)(args); break;
    case 7: K(shared_7)(args); break;
    default: (args->second ? K(shared_3_halves) : args->row_step == 1 ? K(shared_3s1) : K(shared_3s2))(args);
    }
}
