/* depthwise and depthwise_grad: one filter a channel, vectors along channels.  A few pixels at a
 * time share each weight; channels are the inner loop, so that rows stream through the cache. */

enum { K(depthwise_pixels) = 6, K(depthwise_taps) = 9 };

static FASTCONV_INLINE void K(depthwise_tile)(const fastconv_depthwise_args *args, ptrdiff_t pixel,
                                              ptrdiff_t channel, const int pixels, const int lanes) {
    const REAL *const *in = (const REAL *const *)args->in + pixel;
    REAL *const *out = (REAL *const *)args->out + pixel;
    const REAL *w = (const REAL *)args->weights + channel;
    const VEC start = args->bias ? K(load_up_to)((const REAL *)args->bias + channel, lanes) : V(zero)();
    VEC sum[K(depthwise_pixels)];

    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) sum[m] = args->accumulate ? K(load_up_to)(out[m] + channel, lanes) : start;
    for (ptrdiff_t t = 0; t < args->taps; t++, w += args->weights_stride) {
        const VEC b = K(load_up_to)(w, lanes);
        const ptrdiff_t at = args->tap_offset[t] + channel;
        FASTCONV_UNROLL
        for (int m = 0; m < pixels; m++) sum[m] = V(fma)(K(load_up_to)(in[m] + at, lanes), b, sum[m]);
    }
    FASTCONV_UNROLL
    for (int m = 0; m < pixels; m++) K(store_up_to)(out[m] + channel, sum[m], lanes);
}

static FASTCONV_INLINE void K(depthwise_channels)(const fastconv_depthwise_args *args, ptrdiff_t pixel,
                                                  const int pixels) {
    ptrdiff_t c = 0;
    for (; c + LANES <= args->channels; c += LANES) K(depthwise_tile)(args, pixel, c, pixels, LANES);
    if (c < args->channels) K(depthwise_tile)(args, pixel, c, pixels, (int)(args->channels - c));
}

static void K(depthwise)(const fastconv_depthwise_args *args) {
    ptrdiff_t p = 0;
    for (; p + K(depthwise_pixels) <= args->pixels; p += K(depthwise_pixels))
        K(depthwise_channels)(args, p, K(depthwise_pixels));
    for (; p + 2 <= args->pixels; p += 2) K(depthwise_channels)(args, p, 2);
    if (p < args->pixels) K(depthwise_channels)(args, p, 1);
}

static FASTCONV_INLINE void K(depthwise_grad_tile)(const fastconv_depthwise_grad_args *args, ptrdiff_t tap,
                                                   ptrdiff_t channel, const int taps, const int lanes) {
    const REAL *const *in = (const REAL *const *)args->in;
    const REAL *dy = (const REAL *)args->dy + channel;
    REAL *grad = (REAL *)args->grad + tap * args->grad_stride + channel;
    ptrdiff_t at[K(depthwise_taps)];
    VEC sum[K(depthwise_taps)];

    FASTCONV_UNROLL
    for (int t = 0; t < taps; t++) {
        at[t] = args->tap_offset[tap + t] + channel;
        sum[t] = V(zero)();
    }
    for (ptrdiff_t p = 0; p < args->pixels; p++, dy += args->dy_stride) {
        const VEC b = K(load_up_to)(dy, lanes);
        FASTCONV_UNROLL
        for (int t = 0; t < taps; t++) sum[t] = V(fma)(K(load_up_to)(in[p] + at[t], lanes), b, sum[t]);
    }
    FASTCONV_UNROLL
    for (int t = 0; t < taps; t++, grad += args->grad_stride) {
        VEC total = sum[t];
        if (args->accumulate) total = V(add)(K(load_up_to)(grad, lanes), total);
        K(store_up_to)(grad, total, lanes);
    }
}

static FASTCONV_INLINE void K(depthwise_grad_channels)(const fastconv_depthwise_grad_args *args, ptrdiff_t tap,
                                                       const int taps) {
    ptrdiff_t c = 0;
    for (; c + LANES <= args->channels; c += LANES) K(depthwise_grad_tile)(args, tap, c, taps, LANES);
    if (c < args->channels) K(depthwise_grad_tile)(args, tap, c, taps, (int)(args->channels - c));
}

static void K(depthwise_grad)(const fastconv_depthwise_grad_args *args) {
    ptrdiff_t t = 0;
    for (; t + K(depthwise_taps) <= args->taps; t += K(depthwise_taps))
        K(depthwise_grad_channels)(args, t, K(depthwise_taps));
    for (; t + 3 <= args->taps; t += 3) K(depthwise_grad_channels)(args, t, 3);
    for (; t < args->taps; t++) K(depthwise_grad_channels)(args, t, 1);
}
