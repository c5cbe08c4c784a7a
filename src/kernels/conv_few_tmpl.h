/* conv_few: conv for pixels that follow one another, so few channels that a vector holds several of them.
 *
 * A vector of inputs is permuted for each input channel, to lie beside the outputs: the same chains as those of the
 * tiles, for all outputs of its pixels at a time. */

enum { K(few_vectors) = 4 };    /* at a time, so that their sums outnumber the latency of a multiply-add */

static FASTCONV_NOINLINE void K(conv_few)(const fastconv_conv_args *args) {
    const ptrdiff_t inputs = args->run_length, columns = args->columns, stride = args->weights_stride;
    const ptrdiff_t pixels = LANES / (inputs < columns ? columns : inputs);     /* of a vector */
    const ptrdiff_t tile = K(few_vectors) * pixels;
    /* Tiles of whole vectors start before this: what those take beyond their pixels belongs to pixels that follow. */
    const ptrdiff_t whole = args->pixels - tile - LANES / (inputs < columns ? inputs : columns);
    const REAL *in = (const REAL *)args->in[0] + args->run_offset[0] + args->in_offset;
    const REAL *w = (const REAL *)args->weights + (args->run_k[0] + args->k_offset) * stride;
    const REAL *bias = (const REAL *)args->bias;
    REAL *out = (REAL *)args->out[0] + args->out_offset;
    int from[LANES], column[LANES];
    VEC weights[LANES];
    ptrdiff_t p = 0;
    assert(args->runs == 1 && args->in_step == inputs && args->out_step == columns && !args->accumulate);
    assert(inputs > 0 && pixels > 0);

    for (int n = 0; n < LANES; n++) {
        from[n] = (int)(n / columns % pixels * inputs);
        column[n] = (int)(n % columns);
    }
    const V(index) first = V(load_index)(from), repeat = V(load_index)(column);
    const VEC start = bias ? V(permute)(K(load_up_to)(bias, (int)columns), repeat) : V(zero)();
    for (ptrdiff_t l = 0; l < inputs; l++) weights[l] = V(permute)(V(load)(w + l * stride), repeat);

    for (; p < whole; p += tile, in += tile * inputs, out += tile * columns) {
        VEC x[K(few_vectors)], sum[K(few_vectors)];
        FASTCONV_UNROLL
        for (int m = 0; m < K(few_vectors); m++) {
            x[m] = V(keep)(V(load)(in + m * pixels * inputs));
            sum[m] = start;
        }
        for (int l = 0; l < inputs; l++) {
            const V(index) index = V(add_index)(first, l);
            FASTCONV_UNROLL
            for (int m = 0; m < K(few_vectors); m++) sum[m] = V(fma)(V(permute)(x[m], index), weights[l], sum[m]);
        }
        FASTCONV_UNROLL
        for (int m = 0; m < K(few_vectors); m++) V(store)(out + m * pixels * columns, sum[m]);
    }
    for (ptrdiff_t left; (left = args->pixels - p) > 0; p += pixels, in += pixels * inputs, out += pixels * columns) {
        const ptrdiff_t some = left < pixels ? left : pixels;
        const VEC x = K(load_up_to)(in, (int)(some * inputs));
        VEC sum = start;
        for (int l = 0; l < inputs; l++) sum = V(fma)(V(permute)(x, V(add_index)(first, l)), weights[l], sum);
        K(store_up_to)(out, sum, (int)(some * columns));
    }
}
