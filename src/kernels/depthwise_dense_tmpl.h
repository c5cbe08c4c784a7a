/* Part of depthwise: what a strip of pixels reads of one vector of channels is copied to `room`, where nothing lies
 * between, and goes through the kernels of depthwise_windows_tmpl.h from there.  That is for pixels that are so far
 * apart that they share a few sets of L1, and for channels that leave much of a vector idle, which several pixels may
 * fill.  Columns of padding are zeros there, so weights have to be finite. */

/* Rows [first, end) of the input and `width` columns from `column` on, as they are counted by taps, to so many lanes of
 * each vector; zeros for columns that are not inside, or that no tap reads. */
static FASTCONV_INLINE void K(dense_rows)(const fastconv_depthwise_args *args, ptrdiff_t first, ptrdiff_t end,
                                          ptrdiff_t column, ptrdiff_t width, const REAL *in, REAL *to, const int lanes) {
    const ptrdiff_t step = args->in_column, read = (args->pixels - 1) * args->column_step + args->tap_columns;
    ptrdiff_t left = args->first_column - column;
    ptrdiff_t right = (read < args->end_column ? read : args->end_column) - column;
    right = right < 0 ? 0 : right < width ? right : width;
    left = left < 0 ? 0 : left < right ? left : right;
    for (ptrdiff_t i = first; i < end; i++, to += width * LANES) {
        const REAL *from = in + i * args->in_row + column * step;
        for (ptrdiff_t q = 0; q < left; q++) K(store_up_to)(to + q * LANES, V(zero)(), lanes);
        for (ptrdiff_t q = left; q < right; q++)
            K(store_up_to)(to + q * LANES, K(load_up_to)(from + q * step, lanes), lanes);
        for (ptrdiff_t q = right; q < width; q++) K(store_up_to)(to + q * LANES, V(zero)(), lanes);
    }
}

static FASTCONV_NOINLINE void K(dense_copy)(const fastconv_depthwise_args *args, ptrdiff_t first, ptrdiff_t end,
                                            ptrdiff_t column, ptrdiff_t width, const REAL *in, REAL *to, int lanes) {
    if (lanes == LANES)
        K(dense_rows)(args, first, end, column, width, in, to, LANES);
    else
        K(dense_rows)(args, first, end, column, width, in, to, lanes);
}

/* Results of all lanes of a vector to where they belong: those of so many `lanes` for pixels that are `apart`. */
static FASTCONV_INLINE void K(dense_spread)(const REAL *sums, ptrdiff_t count, ptrdiff_t left, ptrdiff_t apart,
                                            ptrdiff_t step, REAL *out, int lanes, int stretches) {
    for (int s = 0; s < stretches; s++, sums += lanes, out += apart * step, left -= apart) {
        for (ptrdiff_t m = 0; m < count && m < left; m++)
            V(store_part)(out + m * step, V(load_part)(sums + m * LANES, lanes), lanes);
    }
}

/* Stretches of these pixels side by side in a vector: a row at a time, since their results lie elsewhere.  `strip` has
 * the pixels of a stretch, and where its output is. */
static FASTCONV_INLINE void K(dense_stretches)(const fastconv_depthwise_args *strip, const REAL *image,
                                               ptrdiff_t pixels, int lanes, int stretches) {
    const ptrdiff_t apart = strip->pixels, step = strip->out_column, first = strip->first_row;
    fastconv_depthwise_args own = *strip;
    own.rows = 1;
    own.out_column = LANES;
    for (ptrdiff_t y = 0; y < strip->rows; y++, own.first_row -= strip->row_step, own.end_row -= strip->row_step) {
        const REAL *in = image + (y * strip->row_step - first) * strip->in_row;
        REAL *out = (REAL *)strip->out + y * strip->out_row;
        for (ptrdiff_t done = 0; done < apart; done += DEPTHWISE_PIXELS) {
            FASTCONV_ALIGN(64) REAL sums[DEPTHWISE_PIXELS * LANES];
            own.pixels = apart - done < DEPTHWISE_PIXELS ? apart - done : DEPTHWISE_PIXELS;
            own.in = in + done * strip->column_step * LANES;
            own.end_column = strip->end_column - done * strip->column_step;
            own.out = sums;
            K(depthwise_windows)(&own);
            K(dense_spread)(sums, own.pixels, pixels - done, apart, step, out + done * step, lanes, stretches);
        }
    }
}

/* Some pixels of every row, in some channels: a vector of them, or less of several stretches of these pixels, which lie
 * side by side in a vector then. */
static FASTCONV_NOINLINE void K(dense_vector)(const fastconv_depthwise_args *args, ptrdiff_t p, ptrdiff_t pixels,
                                              ptrdiff_t c, int lanes, int stretches) {
    const ptrdiff_t taps = args->tap_rows, columns = args->tap_columns;
    const ptrdiff_t read = (args->rows - 1) * args->row_step + taps, first = args->first_row > 0 ? args->first_row : 0;
    const ptrdiff_t end = args->end_row < read ? args->end_row : read, apart = (pixels + stretches - 1) / stretches;
    const ptrdiff_t width = (apart - 1) * args->column_step + columns;
    REAL *const weights = (REAL *)args->room, *const image = weights + taps * columns * LANES;
    FASTCONV_ALIGN(64) REAL start[LANES];
    fastconv_depthwise_args own = *args;
    V(store)(start, V(zero)());
    for (int s = 0; s < stretches; s++) {
        for (ptrdiff_t t = 0; t < taps * columns; t++)
            K(store_up_to)(weights + t * LANES + s * lanes,
                           K(load_up_to)((const REAL *)args->weights + t * args->weights_stride + c, lanes), lanes);
        if (args->bias)
            K(store_up_to)(start + s * lanes, K(load_up_to)((const REAL *)args->bias + c, lanes), lanes);
        K(dense_copy)(args, first, end, (p + s * apart) * args->column_step, width, (const REAL *)args->in + c,
                      image + s * lanes, lanes);
    }
    own.weights = weights;
    own.weights_stride = own.in_column = own.channels = LANES;
    own.bias = start;
    own.in_row = width * LANES;
    own.in = image - first * own.in_row;
    own.out = (REAL *)args->out + p * args->out_column + c;
    own.first_row = first;
    own.end_row = end;
    own.first_column = own.first_vector = 0;
    own.end_column = width;
    own.pixels = apart;
    if (lanes == LANES)
        K(depthwise_windows)(&own);
    else
        K(dense_stretches)(&own, image, pixels, lanes, stretches);
}

/* Whether it applies. */
static int K(dense_apply)(const fastconv_depthwise_args *args) {
    return args->room && args->group == 1 && args->rows > 0 && args->channels > 0
           && !(args->accumulate && args->channels % LANES)
           && args->row_dilation == 1 && args->column_dilation == 1 && args->column_step <= 2;
}

static void K(depthwise_dense)(const fastconv_depthwise_args *args) {
    const ptrdiff_t most = args->strip < DEPTHWISE_PIXELS ? DEPTHWISE_PIXELS
                                                          : args->strip / DEPTHWISE_PIXELS * DEPTHWISE_PIXELS;
    const ptrdiff_t channels = args->channels, last = channels % LANES;
    assert((size_t)args->room % (LANES * sizeof(REAL)) == 0);
    for (ptrdiff_t p = 0; p < args->pixels; p += most) {
        const ptrdiff_t pixels = args->pixels - p < most ? args->pixels - p : most;
        /* Unless these are few, what is left of the channels takes as many vectors as it fills. */
        const int fit = last ? (int)(LANES / last) : 1, whole = fit == 1 || pixels < DEPTHWISE_PIXELS;
        for (ptrdiff_t c = 0; c >= 0;) {
            const int lanes = (int)(channels - c < LANES ? channels - c : LANES);
            K(dense_vector)(args, p, pixels, c, lanes, lanes < LANES && !whole ? fit : 1);
            c = whole && channels >= LANES ? K(next_vector)(c, args->first_vector, channels)
                : c + lanes < channels ? c + lanes : -1;
        }
    }
}
