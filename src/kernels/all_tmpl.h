/* Every kernel for one dtype and instruction set, and the table that holds them.
 *
 * Before: include a simd header and define REAL, VEC, LANES, V(operation), K(name), DTYPE, ISA and
 * BIND, the name of the table. */

#ifndef PARTS_ARE_FREE
#define PARTS_ARE_FREE 0
#endif

/* Any number of lanes, all of them included: by a branch, unless a part costs no more than a whole vector.  (In this
 * order: behind the comparison, a compiler may know the number.) */
#define WHOLE(lanes) ((FASTCONV_KNOWN(lanes) || !PARTS_ARE_FREE) && (lanes) == LANES)
static FASTCONV_INLINE VEC K(load_up_to)(const REAL *p, int lanes) {
    return WHOLE(lanes) ? V(load)(p) : V(load_part)(p, lanes);
}

static FASTCONV_INLINE void K(store_up_to)(REAL *p, VEC a, int lanes) {
    if (WHOLE(lanes))
        V(store)(p, a);
    else
        V(store_part)(p, a, lanes);
}
#undef WHOLE

/* Where the vector after the one at c starts, or -1: the last one may compute some channels of the one before again, and
 * so may the one at `first`, where vectors are aligned from there on. */
static FASTCONV_INLINE ptrdiff_t K(next_vector)(ptrdiff_t c, ptrdiff_t first, ptrdiff_t channels) {
    const ptrdiff_t next = c == 0 && first > 0 ? first : c + LANES, last = channels - LANES;
    return c == last ? -1 : next < last ? next : last;
}

/* For each lane the one that has the first input of its group.  A vector of inputs has as many of each group as there are
 * outputs, or fewer, if that is all of them; the next ones are in the vectors behind it. */
static FASTCONV_INLINE V(index) K(first_inputs)(ptrdiff_t inputs, ptrdiff_t outputs) {
    const ptrdiff_t held = inputs < outputs ? inputs : outputs;
    int lane[LANES];
    for (int n = 0; n < LANES; n++) lane[n] = (int)(n / outputs * held);
    return V(load_index)(lane);
}

/* Where the inputs of the vector of outputs at c start. */
static FASTCONV_INLINE ptrdiff_t K(inputs_at)(ptrdiff_t inputs, ptrdiff_t outputs, ptrdiff_t c) {
    return inputs < outputs ? c / outputs * inputs : c * (inputs / outputs);
}

/* Where a tile of `size` that is to hold p starts, within [left, right): the last may compute a part of the one before
 * again.  -1 if none is worth it there. */
static FASTCONV_INLINE ptrdiff_t K(tile_at)(ptrdiff_t p, ptrdiff_t left, ptrdiff_t right, ptrdiff_t size) {
    if (p < left || right - p <= size / 2 || right - left < size) return -1;
    return p < right - size ? p : right - size;
}

#include "conv_few_tmpl.h"
#include "conv_tmpl.h"
#include "conv_narrow_tmpl.h"
#include "gemv_tmpl.h"
#include "grad_tmpl.h"
#include "depthwise_shared_tmpl.h"
#include "depthwise_rows_tmpl.h"
#include "depthwise_windows_tmpl.h"
#include "depthwise_dense_tmpl.h"
#include "depthwise_tmpl.h"
#include "depthwise_phases_tmpl.h"
#include "depthwise_grad_tmpl.h"
#include "copy_tmpl.h"
#include "winograd_tmpl.h"
#include "winograd_weights_tmpl.h"
#include "winograd_grad_tmpl.h"

/* Chains enough to hide the latency of an FMA: what the machine can do at the very best. */
enum { K(chains) = 12 };
static double K(fma_chain)(ptrdiff_t steps) {
    VEC sum[K(chains)];
    REAL out[LANES];
    const VEC a = V(set1)((REAL)0.999), b = V(set1)((REAL)0.001);
    FASTCONV_UNROLL
    for (int i = 0; i < K(chains); i++) sum[i] = V(set1)((REAL)i);
    for (ptrdiff_t s = 0; s < steps; s++) {
        FASTCONV_UNROLL
        for (int i = 0; i < K(chains); i++) sum[i] = V(fma)(sum[i], a, b);
    }
    for (int i = 1; i < K(chains); i++) sum[0] = V(add)(sum[0], sum[i]);
    V(store)(out, sum[0]);
    return (double)out[0];
}

const fastconv_kernels BIND = {
    ISA, DTYPE, (int)sizeof(REAL), LANES, CONV_MAX_COLUMNS * LANES, GRAD_COLUMNS * LANES, CONV_NARROW_COLUMNS,
    CONV_ROWS(CONV_MAX_COLUMNS), GRAD_ROWS, K(few_tiles),
#define KERNEL(name, what) K(name),
#include "kernels.def"
#undef KERNEL
    K(fma_chain), K(chains) * LANES,
};

#undef REAL
#undef VEC
#undef LANES
#undef V
#undef K
#undef DTYPE
#undef BIND
