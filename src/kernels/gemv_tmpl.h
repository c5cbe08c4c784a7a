/* gemv and ger: conv and grad for a few pixels, which use each weight hardly more than once.
 *
 * Nothing is packed: rows of weights stream from memory one after the other, a few at a time, through sums that stay in
 * the first level of the cache; or rows of dL/dW stream to it.  The chains of the sums are conv's and grad's, and so are
 * the bits. */

enum { K(gemv_together) = CONV_MAX_ROWS < 8 ? CONV_MAX_ROWS : 8 };

/* Adds `rows` rows of weights from w on to the sums of `pixels` pixels. */
static FASTCONV_INLINE void K(gemv_rows)(const REAL *const *x, REAL *const *sum, const REAL *w, ptrdiff_t stride,
                                         ptrdiff_t columns, const int pixels, const int rows) {
    VEC b[FASTCONV_FEW_PIXELS][K(gemv_together)];
    FASTCONV_UNROLL
    for (int p = 0; p < pixels; p++) {
        FASTCONV_UNROLL
        for (int r = 0; r < rows; r++) b[p][r] = V(set1)(x[p][r]);
    }
    ptrdiff_t n = 0;
    for (; n + LANES <= columns; n += LANES, w += LANES) {
        VEC a[FASTCONV_FEW_PIXELS];
        FASTCONV_UNROLL
        for (int p = 0; p < pixels; p++) a[p] = V(load)(sum[p] + n);
        FASTCONV_UNROLL
        for (int r = 0; r < rows; r++) {
            const VEC v = V(load)(w + r * stride);
            FASTCONV_UNROLL
            for (int p = 0; p < pixels; p++) a[p] = V(fma)(b[p][r], v, a[p]);
        }
        FASTCONV_UNROLL
        for (int p = 0; p < pixels; p++) V(store)(sum[p] + n, a[p]);
    }
    if (n == columns) return;
    const int lanes = (int)(columns - n);
    FASTCONV_ROLLED
    for (int p = 0; p < pixels; p++) {
        if (p > 0 && sum[p] == sum[p - 1]) break;       /* stands for one that is missing */
        VEC a = V(load_part)(sum[p] + n, lanes);
        FASTCONV_ROLLED
        for (int r = 0; r < rows; r++) a = V(fma)(V(set1)(x[p][r]), V(load_part)(w + r * stride, lanes), a);
        V(store_part)(sum[p] + n, a, lanes);
    }
}

/* Pixels [first, first + pixels), of which the last may stand for those that are missing: it is then computed twice. */
static FASTCONV_INLINE void K(gemv_pixels)(const fastconv_conv_args *args, ptrdiff_t first, const int pixels) {
    const REAL *bias = (const REAL *)args->bias;
    const REAL *x[FASTCONV_FEW_PIXELS];
    REAL *sum[FASTCONV_FEW_PIXELS];
    ptrdiff_t at[FASTCONV_FEW_PIXELS];
    for (int p = 0; p < pixels; p++) {
        at[p] = first + p < args->pixels ? first + p : args->pixels - 1;
        sum[p] = (REAL *)args->out[at[p]] + args->out_offset;
        for (ptrdiff_t n = 0; n < args->columns && !args->accumulate; n++) sum[p][n] = bias ? bias[n] : 0;
    }
    for (ptrdiff_t r = 0; r < args->runs; r++) {
        const REAL *w = (const REAL *)args->weights + (args->run_k[r] + args->k_offset) * args->weights_stride;
        ptrdiff_t left = args->run_length;
        for (int p = 0; p < pixels; p++) x[p] = (const REAL *)args->in[at[p]] + args->in_offset + args->run_offset[r];
        while (left > 0) {
            const int rows = left >= K(gemv_together) ? K(gemv_together) : 1;
            if (rows > 1)
                K(gemv_rows)(x, sum, w, args->weights_stride, args->columns, pixels, K(gemv_together));
            else
                K(gemv_rows)(x, sum, w, args->weights_stride, args->columns, pixels, 1);
            for (int p = 0; p < pixels; p++) x[p] += rows;
            w += rows * args->weights_stride;
            left -= rows;
        }
    }
}

static void K(gemv)(const fastconv_conv_args *args) {
    for (ptrdiff_t p = 0; p < args->pixels; p += FASTCONV_FEW_PIXELS) {
        if (args->pixels - p <= FASTCONV_FEW_PIXELS / 2)
            K(gemv_pixels)(args, p, FASTCONV_FEW_PIXELS / 2);
        else
            K(gemv_pixels)(args, p, FASTCONV_FEW_PIXELS);
    }
}

static FASTCONV_INLINE void K(ger_pixels)(const fastconv_grad_args *args, const int pixels) {
    const REAL *x[FASTCONV_FEW_PIXELS], *dy[FASTCONV_FEW_PIXELS];
    const ptrdiff_t columns = args->columns;
    const int accumulate = args->accumulate;
    for (int p = 0; p < pixels; p++) {
        x[p] = (const REAL *)args->in[p] + args->in_offset;
        dy[p] = (const REAL *)args->dy[p] + args->dy_offset;
    }
    for (ptrdiff_t m = 0; m < args->rows; m++) {
        REAL *grad = (REAL *)args->grad + m * args->grad_stride;
        VEC b[FASTCONV_FEW_PIXELS];
        for (int p = 0; p < pixels; p++) b[p] = V(set1)(x[p][m]);
        for (ptrdiff_t n = 0; n < columns; n += LANES) {
            const int lanes = columns - n < LANES ? (int)(columns - n) : LANES;
            VEC sum = V(zero)();
            for (int p = 0; p < pixels; p++) sum = V(fma)(b[p], K(load_up_to)(dy[p] + n, lanes), sum);
            if (accumulate) sum = V(add)(K(load_up_to)(grad + n, lanes), sum);
            K(store_up_to)(grad + n, sum, lanes);
        }
    }
}

static void K(ger)(const fastconv_grad_args *args) {
    assert(args->pixels >= 0 && args->pixels <= FASTCONV_FEW_PIXELS);
    if (args->pixels == 1)      /* nothing but two lines of memory and a product */
        K(ger_pixels)(args, 1);
    else
        K(ger_pixels)(args, (int)args->pixels);
}
