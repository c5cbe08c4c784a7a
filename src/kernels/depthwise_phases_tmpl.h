/* depthwise_phases: dL/dx of stride 2, all four phases at once.
 *
 * Neighbouring outputs belong to different phases but read the same inputs: each vector of those is loaded once
 * for all taps of a square of four (in groups, of each of their channels in turn), and the output is written without
 * gaps.  What lies outside is left out row by row, columns only in tiles of a single square, which the edges are made of. */

/* One row of inputs, the i-th that the squares read. */
static FASTCONV_INLINE void K(phases_add)(const fastconv_depthwise_phases_args *args, const REAL *in, ptrdiff_t p,
                                          ptrdiff_t c, VEC (*sum)[2][DEPTHWISE_SQUARES], const int i, const int squares,
                                          const int taps, const int grouped, V(index) first) {
    const ptrdiff_t stride = args->weights_stride, group = grouped ? args->group : 1;
    for (ptrdiff_t g = 0, held = 0; g < group; g++, held++) {
        if (grouped && held == args->group_outputs) held = 0, in += LANES;
        FASTCONV_UNROLL
        for (int j = 0; j < squares + taps; j++) {
            if (squares == 1 && (p + j < args->first_column || p + j >= args->end_column)) continue;
            const VEC loaded = V(load)(in + j * args->in_column);
            const VEC x = V(keep)(grouped ? V(permute)(loaded, V(add_index)(first, (int)held)) : loaded);
            FASTCONV_UNROLL
            for (int t = 0; t <= taps; t++) {
                const int m = j - t;
                FASTCONV_UNROLL
                for (int q = 0; q < 4; q++) {
                    const int e = q / 2, f = q % 2;
                    const REAL *w = (const REAL *)args->weights[q] + ((i * (taps + f) + t) * group + g) * stride + c;
                    if (m >= 0 && m < squares && i < taps + e && t < taps + f)
                        sum[e][f][m] = V(fma)(x, V(load)(w), sum[e][f][m]);
                }
            }
        }
    }
}

/* Outputs 2 * y + e, 2 * (p + m) + f for e, f < 2, m < squares, of the channels from c on. */
static FASTCONV_INLINE void K(phases_tile)(const fastconv_depthwise_phases_args *args, ptrdiff_t y, ptrdiff_t p,
                                           ptrdiff_t c, const int squares, const int taps, const int grouped,
                                           V(index) first) {
    const ptrdiff_t inputs = grouped ? K(inputs_at)(args->group, args->group_outputs, c) : c;
    const REAL *in = (const REAL *)args->in + y * args->in_row + p * args->in_column + inputs;
    REAL *out = (REAL *)args->out + 2 * y * args->out_row + 2 * p * args->out_column + c;
    VEC sum[2][2][DEPTHWISE_SQUARES];

    FASTCONV_UNROLL
    for (int q = 0; q < 4 * squares; q++) sum[q % 2][q / 2 % 2][q / 4] = V(zero)();
    FASTCONV_UNROLL
    for (int i = 0; i <= taps; i++, in += args->in_row)
        if (y + i >= args->first_row && y + i < args->end_row)
            K(phases_add)(args, in, p, c, sum, i, squares, taps, grouped, first);
    FASTCONV_UNROLL
    for (int e = 0; e < 2; e++, out += args->out_row) {
        if (2 * y + e < args->first_out_row || 2 * y + e >= args->end_out_row) continue;
        FASTCONV_UNROLL
        for (int n = 0; n < 2 * squares; n++) {
            const ptrdiff_t column = 2 * p + n;
            if (squares > 1 && args->stream)
                V(stream)(out + n * args->out_column, sum[e][n % 2][n / 2]);
            else if (squares > 1 || (column >= args->first_out_column && column < args->end_out_column))
                V(store)(out + n * args->out_column, sum[e][n % 2][n / 2]);
        }
    }
}

/* Two rows of output, a strip of squares at a time, of each all channels.  Between the edges the last tile may compute
 * some squares of the one before again. */
static FASTCONV_INLINE void K(phases_rows)(const fastconv_depthwise_phases_args *args, ptrdiff_t y, const int taps,
                                           const int grouped, V(index) first) {
    const ptrdiff_t pixels = args->pixels;
    ptrdiff_t left = 0, right = pixels, next;
    while (left < pixels && (left < args->first_column || 2 * left < args->first_out_column)) left++;
    while (right > left && (right + taps > args->end_column || 2 * right > args->end_out_column)) right--;
    for (ptrdiff_t p = 0; p < pixels; p = next) {
        const ptrdiff_t end = pixels - p < args->strip ? pixels : p + args->strip;
        for (ptrdiff_t c = 0; c >= 0; c = K(next_vector)(c, 0, args->channels)) {
            for (next = p; next < end;) {
                const ptrdiff_t at = K(tile_at)(next, left, right, DEPTHWISE_SQUARES);
                if (at >= 0)
                    K(phases_tile)(args, y, at, c, DEPTHWISE_SQUARES, taps, grouped, first);
                else
                    K(phases_tile)(args, y, next, c, 1, taps, grouped, first);
                next = at >= 0 ? at + DEPTHWISE_SQUARES : next + 1;
            }
        }
    }
}

/* Functions of their own, each with registers for its tiles. */
#define TAPS(name, taps, grouped)                                                                                      \
    static FASTCONV_NOINLINE void K(phases_##name)(const fastconv_depthwise_phases_args *args) {                       \
        const fastconv_depthwise_phases_args own = *args;   /* stores cannot change what is local */                   \
        const V(index) first = K(first_inputs)(own.group, own.group_outputs);                                          \
        for (ptrdiff_t y = 0; y < own.rows; y++) K(phases_rows)(&own, y, taps, grouped, first);                        \
    }
TAPS(of3, 1, 0)
TAPS(of5, 2, 0)
TAPS(of3_grouped, 1, 1)
#undef TAPS

static void K(depthwise_phases)(const fastconv_depthwise_phases_args *args) {
    assert(args->rows >= 0 && args->pixels >= 0 && args->strip > 0);
    assert(args->channels >= LANES);
    assert(args->taps == 1 || (args->taps == 2 && args->group == 1));
    assert(LANES % args->group_outputs == 0 && args->channels % args->group_outputs == 0);
    assert(args->group <= args->group_outputs || (args->group % args->group_outputs == 0 && args->channels % LANES == 0));
    assert(!args->stream || args->channels % LANES == 0);
    (args->group > 1 ? K(phases_of3_grouped) : args->taps == 1 ? K(phases_of3) : K(phases_of5))(args);
}
