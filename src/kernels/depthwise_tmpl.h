/* depthwise: one filter a channel or a small group of them, vectors along channels, a few pixels of a row
 * at a time.  Most calls go to kernels for some of them: 3x3 taps (depthwise_rows_tmpl.h), others of one filter a
 * channel, and rows of several taps in groups (depthwise_windows_tmpl.h, or from a copy: depthwise_dense_tmpl.h), few
 * channels that all see (depthwise_shared_tmpl.h).  Here are other taps of groups, parts of vectors, and steps that are
 * more than twice the distance between taps, or no multiple of it.
 *
 * In a group every output channel reads every input channel: for each i in turn, a permutation puts the i-th
 * input channel of its group beside each output channel. */

/* A vector of inputs, beside each output channel the one that `index` picks from its group. */
static FASTCONV_INLINE VEC K(load_inputs)(const fastconv_depthwise_args *args, const REAL *p, int lanes,
                                          V(index) index) {
    return V(permute)(K(load_up_to)(p, args->group != args->group_outputs ? LANES : lanes), index);
}

/* One kernel row (and channel of the group).  [first, end) are the columns from `in` on that are inside, which matters at
 * `edges` only. */
static FASTCONV_INLINE void K(depthwise_row)(const fastconv_depthwise_args *args, const REAL *in, const REAL *w,
                                             ptrdiff_t first, ptrdiff_t end, VEC *sum, const int pixels,
                                             const int lanes, const int edges, V(index) index) {
    const ptrdiff_t dilation = args->column_dilation;
    for (ptrdiff_t t = 0; t < args->tap_columns; t++, first -= dilation, end -= dilation) {
        const VEC b = K(load_up_to)(w, lanes);
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) {
            const ptrdiff_t at = m * args->column_step;
            if (edges && (at < first || at >= end)) continue;
            sum[m] = V(fma)(K(load_inputs)(args, in + at * args->in_column, lanes, index), b, sum[m]);
        }
        in += dilation * args->in_column;
        w += args->group * args->weights_stride;
    }
}

/* Pixels [p, p + pixels) of output row y, one vector of channels from c on.  pixels is a constant, so that the compiler
 * keeps sums in registers. */
static FASTCONV_INLINE void K(depthwise_tile)(const fastconv_depthwise_args *args, ptrdiff_t y, ptrdiff_t p,
                                              ptrdiff_t c, const int pixels, const int lanes, const int edges,
                                              V(index) first) {
    const ptrdiff_t row = y * args->row_step, column = p * args->column_step, down = args->row_dilation;
    const int group = (int)args->group;
    const REAL *in = (const REAL *)args->in + row * args->in_row + column * args->in_column
                     + K(inputs_at)(args->group, args->group_outputs, c);
    REAL *out = (REAL *)args->out + y * args->out_row + p * args->out_column + c;
    VEC sum[DEPTHWISE_PIXELS];

    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) sum[m] = V(zero)();
    if (args->accumulate) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m] = K(load_up_to)(out + m * args->out_column, lanes);
    } else if (args->bias) {
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m] = K(load_up_to)((const REAL *)args->bias + c, lanes);
    }
    for (ptrdiff_t r = 0; r < args->tap_rows; r++, in += down * args->in_row) {
        const REAL *w = (const REAL *)args->weights + r * args->tap_columns * group * args->weights_stride + c;
        if (row + r * down < args->first_row || row + r * down >= args->end_row) continue;
        const REAL *x = in;
        for (int i = 0, held = 0; i < group; i++, held++, w += args->weights_stride) {
            if (held == args->group_outputs) held = 0, x += LANES;
            K(depthwise_row)(args, x, w, args->first_column - column, args->end_column - column, sum, pixels, lanes,
                             edges, V(add_index)(first, held));
        }
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) K(store_up_to)(out + m * args->out_column, sum[m], lanes);
}

/* Pixels from p on of output row y, up to `end` or a little further; returns where it stopped.  Tiles at the end compute
 * some pixels of the one before again, unless sums are added to what is there. */
static FASTCONV_INLINE ptrdiff_t K(depthwise_pixels)(const fastconv_depthwise_args *args, ptrdiff_t y, ptrdiff_t p,
                                                     ptrdiff_t end, ptrdiff_t c, const int lanes,
                                                     const int edges, V(index) first) {
    enum { half = DEPTHWISE_PIXELS / 2, few = (half + 1) / 2 };
    const int most = edges ? half : DEPTHWISE_PIXELS;  /* parts of vectors are rare, and their code is long */
    const ptrdiff_t pixels = args->pixels;
    while (p < end) {
        const ptrdiff_t rest = pixels - p;
        const int again = !args->accumulate;
        if (most > half && (rest >= most || (again && rest > half && pixels >= most))) {
            p = rest < most ? pixels - most : p;
            K(depthwise_tile)(args, y, p, c, most, lanes, edges, first);
            p += most;
        } else if (rest >= half || (again && rest > few && pixels >= half)) {
            p = rest < half ? pixels - half : p;
            K(depthwise_tile)(args, y, p, c, half, lanes, edges, first);
            p += half;
        } else if (rest >= few || (again && pixels >= few)) {
            p = rest < few ? pixels - few : p;
            K(depthwise_tile)(args, y, p, c, few, lanes, edges, first);
            p += few;
        } else {
            K(depthwise_tile)(args, y, p++, c, 1, lanes, edges, first);
        }
    }
    return p;
}

/* A strip of pixels at a time: all rows of one vector of channels, then of the next, so that its weights and the input
 * rows it reads again stay near.  At `edges`, channels may be less than a vector, or end with a part of one. */
static FASTCONV_INLINE void K(depthwise_channels)(const fastconv_depthwise_args *given, const int edges) {
    const fastconv_depthwise_args own = *given, *const args = &own;   /* stores cannot change what is local */
    const ptrdiff_t pixels = args->pixels, channels = args->channels;
    const V(index) first = K(first_inputs)(args->group, args->group_outputs);
    ptrdiff_t next;
    for (ptrdiff_t p = 0; p < pixels; p = next) {
        const ptrdiff_t end = pixels - p < args->strip ? pixels : p + args->strip;
        next = end;
        for (ptrdiff_t c = 0; c >= 0 && channels > 0;) {
            const int lanes = !edges || channels - c >= LANES ? LANES : (int)(channels - c);
            for (ptrdiff_t y = 0; y < args->rows; y++)
                next = K(depthwise_pixels)(args, y, p, end, c, lanes, edges, first);
            c = !edges ? K(next_vector)(c, args->first_vector, channels) : c + LANES < channels ? c + LANES : -1;
        }
    }
}

/* Functions of their own, lest the compiler keep the addresses of all of them at once. */
typedef void K(depthwise_fn)(const fastconv_depthwise_args *);
#define PIXELS(name, edges)                                                                  \
    static FASTCONV_NOINLINE void K(depthwise_##name)(const fastconv_depthwise_args *args) { \
        K(depthwise_channels)(args, edges);                                                  \
    }
PIXELS(whole, 0)
PIXELS(part, 1)
#undef PIXELS

/* Pixels [p, end) of every row. */
static void K(depthwise_between)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t end, K(depthwise_fn) *kernel) {
    const ptrdiff_t column = p * args->column_step;
    fastconv_depthwise_args part = *args;
    part.pixels = end - p;
    part.in = (const REAL *)args->in + column * args->in_column;
    part.out = (REAL *)args->out + p * args->out_column;
    part.first_column -= column;
    part.end_column -= column;
    kernel(&part);
}

/* Positions along an axis in steps of the distance between taps, if outputs are a multiple of it apart: as if what
 * lies between was not there. */
static void K(close_gaps)(ptrdiff_t *step, ptrdiff_t *dilation, ptrdiff_t *pitch, ptrdiff_t *first, ptrdiff_t *end) {
    const ptrdiff_t apart = *dilation;
    if (apart == 1 || *step % apart) return;
    *step /= apart;
    *pitch *= apart;
    *first = *first > 0 ? (*first - 1) / apart + 1 : 0;
    *end = *end > 0 ? (*end - 1) / apart + 1 : 0;
    *dilation = 1;
}

static void K(depthwise_neighbours)(fastconv_depthwise_args *args) {
    K(close_gaps)(&args->row_step, &args->row_dilation, &args->in_row, &args->first_row, &args->end_row);
    K(close_gaps)(&args->column_step, &args->column_dilation, &args->in_column, &args->first_column, &args->end_column);
    const ptrdiff_t taps = args->tap_columns, step = args->column_step, across = args->column_dilation;

    if (args->shared)
        K(depthwise_shared)(args);
    else if (K(rows_apply)(args))
        K(depthwise_rows)(args);
    else if (K(dense_apply)(args))
        K(depthwise_dense)(args);
    else if (args->channels < LANES || (args->accumulate && args->channels % LANES))
        K(depthwise_part)(args);
    else if (K(windows_apply)(args))
        K(depthwise_windows)(args);
    else {      /* groups of one, too: to permute nothing takes less than to look for padding, but for the edges */
        const ptrdiff_t last = args->end_column - 1 - (taps - 1) * across, pixels = args->pixels;
        const ptrdiff_t right = last < 0 ? 0 : last / step >= pixels ? pixels : last / step + 1;
        const ptrdiff_t first = args->first_column <= 0 ? 0 : (args->first_column - 1) / step + 1;
        const ptrdiff_t left = first < right ? first : right;
        K(depthwise_between)(args, 0, left, K(depthwise_part));
        K(depthwise_between)(args, left, right, K(depthwise_whole));
        K(depthwise_between)(args, right, pixels, K(depthwise_part));
    }
}

/* Outputs between whose inputs taps leave gaps: those that share inputs by themselves, as if there were none between. */
static void K(depthwise)(const fastconv_depthwise_args *args) {
    const ptrdiff_t rows = args->row_dilation % args->row_step ? 1 : args->row_dilation / args->row_step;
    const ptrdiff_t columns = args->column_dilation % args->column_step ? 1 : args->column_dilation / args->column_step;
    assert(args->rows >= 0 && args->pixels >= 0 && args->strip > 0 && args->channels >= 0);
    assert(args->row_dilation > 0 && args->column_dilation > 0 && args->row_step > 0 && args->column_step > 0);
    assert(args->shared || (LANES % args->group_outputs == 0 && args->channels % args->group_outputs == 0));
    assert(args->shared || args->group <= args->group_outputs || (args->group % args->group_outputs == 0 && args->channels % LANES == 0));
    assert(args->group >= 1 && (!args->stream || args->channels % LANES == 0));
    assert(args->first_vector >= 0 && args->first_vector < LANES && (args->shared ? !args->first_vector : args->first_vector % args->group_outputs == 0));

    for (ptrdiff_t y = 0; y < rows; y++) {
        for (ptrdiff_t p = 0; p < columns; p++) {
            const ptrdiff_t row = y * args->row_step, column = p * args->column_step;
            fastconv_depthwise_args part = *args;
            part.rows = (args->rows - y + rows - 1) / rows;
            part.pixels = (args->pixels - p + columns - 1) / columns;
            part.in = (const REAL *)args->in + row * args->in_row + column * args->in_column;
            part.out = (REAL *)args->out + y * args->out_row + p * args->out_column;
            part.row_step *= rows;
            part.column_step *= columns;
            part.out_row *= rows;
            part.out_column *= columns;
            part.first_row -= row;
            part.end_row -= row;
            part.first_column -= column;
            part.end_column -= column;
            K(depthwise_neighbours)(&part);
        }
    }
}
