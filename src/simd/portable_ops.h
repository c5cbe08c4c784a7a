/* The operations of one dtype in plain C; portable.h includes this once for each. */

typedef struct {
    SIMD_REAL lane[SIMD_LANES];
} SIMD(vec);
enum { SIMD(lanes) = SIMD_LANES };

static FASTCONV_INLINE SIMD(vec) SIMD(set1)(SIMD_REAL a) {
    SIMD(vec) v;
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) v.lane[i] = a;
    return v;
}

static FASTCONV_INLINE SIMD(vec) SIMD(zero)(void) { return SIMD(set1)(0); }

static FASTCONV_INLINE SIMD(vec) SIMD(set2)(SIMD_REAL a, SIMD_REAL b) {
    SIMD(vec) v;
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) v.lane[i] = i < SIMD_LANES / 2 ? a : b;
    return v;
}

static FASTCONV_INLINE SIMD(vec) SIMD(load)(const SIMD_REAL *p) {
    SIMD(vec) v;
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) v.lane[i] = p[i];
    return v;
}

static FASTCONV_INLINE void SIMD(store)(SIMD_REAL *p, SIMD(vec) a) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) p[i] = a.lane[i];
}

static FASTCONV_INLINE void SIMD(stream)(SIMD_REAL *p, SIMD(vec) a) { SIMD(store)(p, a); }

static FASTCONV_INLINE SIMD(vec) SIMD(keep)(SIMD(vec) a) { return a; }

static FASTCONV_INLINE SIMD(vec) SIMD(add)(SIMD(vec) a, SIMD(vec) b) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) a.lane[i] += b.lane[i];
    return a;
}

static FASTCONV_INLINE SIMD(vec) SIMD(sub)(SIMD(vec) a, SIMD(vec) b) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) a.lane[i] -= b.lane[i];
    return a;
}

static FASTCONV_INLINE SIMD(vec) SIMD(mul)(SIMD(vec) a, SIMD(vec) b) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) a.lane[i] *= b.lane[i];
    return a;
}

static FASTCONV_INLINE SIMD(vec) SIMD(fma)(SIMD(vec) a, SIMD(vec) b, SIMD(vec) c) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++) c.lane[i] += a.lane[i] * b.lane[i];
    return c;
}

static FASTCONV_INLINE SIMD(vec) SIMD(load_part)(const SIMD_REAL *p, int n) {
    SIMD(vec) v = SIMD(zero)();
    for (int i = 0; i < n; i++) v.lane[i] = p[i];
    return v;
}

static FASTCONV_INLINE SIMD(vec) SIMD(load_end)(const SIMD_REAL *p, int n) {
    SIMD(vec) v = SIMD(zero)();
    for (int i = SIMD_LANES - n; i < SIMD_LANES; i++) v.lane[i] = p[i];
    return v;
}

static FASTCONV_INLINE void SIMD(store_part)(SIMD_REAL *p, SIMD(vec) a, int n) {
    for (int i = 0; i < n; i++) p[i] = a.lane[i];
}

typedef struct {
    int lane[SIMD_LANES];
} SIMD(index);

static FASTCONV_INLINE SIMD(index) SIMD(load_index)(const int *lanes) {
    SIMD(index) index;
    for (int n = 0; n < SIMD_LANES; n++) index.lane[n] = lanes[n];
    return index;
}

static FASTCONV_INLINE SIMD(index) SIMD(add_index)(SIMD(index) index, int i) {
    for (int n = 0; n < SIMD_LANES; n++) index.lane[n] += i;
    return index;
}

static FASTCONV_INLINE SIMD(vec) SIMD(permute)(SIMD(vec) a, SIMD(index) index) {
    SIMD(vec) v;
    for (int n = 0; n < SIMD_LANES; n++) v.lane[n] = a.lane[index.lane[n]];
    return v;
}

static FASTCONV_INLINE void SIMD(transpose)(SIMD(vec) r[SIMD_LANES]) {
    FASTCONV_UNROLL
    for (int i = 0; i < SIMD_LANES; i++)
        for (int j = i + 1; j < SIMD_LANES; j++) {
            const SIMD_REAL kept = r[i].lane[j];
            r[i].lane[j] = r[j].lane[i];
            r[j].lane[i] = kept;
        }
}

static FASTCONV_INLINE SIMD(vec) SIMD(sum_lanes)(const SIMD(vec) r[SIMD_LANES]) {
    SIMD(vec) sum;
    for (int i = 0; i < SIMD_LANES; i++) {
        SIMD(vec) a = r[i];
        for (int half = SIMD_LANES / 2; half > 0; half /= 2)
            for (int n = 0; n < half; n++) a.lane[n] += a.lane[n + half];
        sum.lane[i] = a.lane[0];
    }
    return sum;
}

#undef SIMD_REAL
#undef SIMD_LANES
#undef SIMD
