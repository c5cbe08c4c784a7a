/* AVX-512F: vectors of 16 float32 or 8 float64.  See src/README.md for what each operation means. */
#ifndef FASTCONV_SIMD_AVX512_H
#define FASTCONV_SIMD_AVX512_H

#include <immintrin.h>

#include "compat.h"

/* Register tiles, rows by vector columns.  24 sums of the 32 registers leave room for the
 * weights of one step and a broadcast input; with one column the 12 row pointers are the limit. */
#define CONV_MAX_COLUMNS 4
#define CONV_MAX_ROWS 12
#define CONV_ROWS(columns) ((columns) <= 2 ? 12 : (columns) == 3 ? 8 : 6)
#define CONV_PERMUTED 2
#define TILES_SHARE 1
#define PARTS_ARE_FREE 1
#define CONV_NARROW_PIXELS 4
#define CONV_NARROW_COLUMNS 6
#define DEPTHWISE_WINDOWS 1
#define DEPTHWISE_PIXELS 14
#define DEPTHWISE_SUMS 25
#define DEPTHWISE_COLUMN 7
#define SHARED_SUMS 25
#define DEPTHWISE_SQUARES 4
#define WINOGRAD_TILES 4
#define GRAD_COLUMNS 2
#define GRAD_ROWS 12
#define GRAD_PERMUTED 5

typedef __m512 f32_vec;
enum { f32_lanes = 16 };

static FASTCONV_INLINE f32_vec f32_zero(void) { return _mm512_setzero_ps(); }
static FASTCONV_INLINE f32_vec f32_set1(float a) { return _mm512_set1_ps(a); }
static FASTCONV_INLINE f32_vec f32_set2(float a, float b) {
    return _mm512_mask_broadcastss_ps(_mm512_set1_ps(a), 0xff00, _mm_set_ss(b));
}
static FASTCONV_INLINE f32_vec f32_join(f32_vec a, f32_vec b) { return _mm512_mask_blend_ps(0xff00, a, b); }
static FASTCONV_INLINE f32_vec f32_swap(f32_vec a) { return _mm512_shuffle_f32x4(a, a, 0x4e); }
static FASTCONV_INLINE f32_vec f32_load_twice(const float *p) {
    return _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(_mm256_loadu_ps(p))));
}
static FASTCONV_INLINE f32_vec f32_load(const float *p) { return _mm512_loadu_ps(p); }
static FASTCONV_INLINE void f32_store(float *p, f32_vec a) { _mm512_storeu_ps(p, a); }
static FASTCONV_INLINE void f32_stream(float *p, f32_vec a) { _mm512_stream_ps(p, a); }
static FASTCONV_INLINE f32_vec f32_keep(f32_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f32_vec f32_add(f32_vec a, f32_vec b) { return _mm512_add_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_sub(f32_vec a, f32_vec b) { return _mm512_sub_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_mul(f32_vec a, f32_vec b) { return _mm512_mul_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec c) { return _mm512_fmadd_ps(a, b, c); }
static FASTCONV_INLINE f32_vec f32_load_part(const float *p, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
static FASTCONV_INLINE f32_vec f32_load_end(const float *p, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)(0xffffu << (16 - n)), p);
}
static FASTCONV_INLINE void f32_store_part(float *p, f32_vec a, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), a);
}

typedef __m512i f32_index;
static FASTCONV_INLINE f32_index f32_load_index(const int *lanes) { return _mm512_loadu_si512(lanes); }
static FASTCONV_INLINE f32_index f32_add_index(f32_index index, int i) {
    return _mm512_add_epi32(index, _mm512_set1_epi32(i));
}
static FASTCONV_INLINE f32_vec f32_permute(f32_vec a, f32_index index) { return _mm512_permutexvar_ps(index, a); }

/* Pairs, then quads within a 128-bit lane, then the lanes themselves change places. */
static FASTCONV_INLINE void f32_transpose(f32_vec r[16]) {
    f32_vec t[16];
    FASTCONV_UNROLL
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static FASTCONV_INLINE f32_vec f32_sum_lanes(const f32_vec r[16]) {
    f32_vec t[4];
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++) {
        const f32_vec a = _mm512_add_ps(_mm512_shuffle_f32x4(r[i], r[i + 4], 0x44),
                                        _mm512_shuffle_f32x4(r[i], r[i + 4], 0xee));
        const f32_vec b = _mm512_add_ps(_mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x44),
                                        _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xee));
        t[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i += 2)
        t[i] = _mm512_add_ps(_mm512_shuffle_ps(t[i], t[i + 1], 0x44), _mm512_shuffle_ps(t[i], t[i + 1], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(t[0], t[2], 0x88), _mm512_shuffle_ps(t[0], t[2], 0xdd));
}

typedef __m512d f64_vec;
enum { f64_lanes = 8 };

static FASTCONV_INLINE f64_vec f64_zero(void) { return _mm512_setzero_pd(); }
static FASTCONV_INLINE f64_vec f64_set1(double a) { return _mm512_set1_pd(a); }
static FASTCONV_INLINE f64_vec f64_set2(double a, double b) {
    return _mm512_mask_broadcastsd_pd(_mm512_set1_pd(a), 0xf0, _mm_set_sd(b));
}
static FASTCONV_INLINE f64_vec f64_join(f64_vec a, f64_vec b) { return _mm512_mask_blend_pd(0xf0, a, b); }
static FASTCONV_INLINE f64_vec f64_swap(f64_vec a) { return _mm512_shuffle_f64x2(a, a, 0x4e); }
static FASTCONV_INLINE f64_vec f64_load_twice(const double *p) { return _mm512_broadcast_f64x4(_mm256_loadu_pd(p)); }
static FASTCONV_INLINE f64_vec f64_load(const double *p) { return _mm512_loadu_pd(p); }
static FASTCONV_INLINE void f64_store(double *p, f64_vec a) { _mm512_storeu_pd(p, a); }
static FASTCONV_INLINE void f64_stream(double *p, f64_vec a) { _mm512_stream_pd(p, a); }
static FASTCONV_INLINE f64_vec f64_keep(f64_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f64_vec f64_add(f64_vec a, f64_vec b) { return _mm512_add_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_sub(f64_vec a, f64_vec b) { return _mm512_sub_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_mul(f64_vec a, f64_vec b) { return _mm512_mul_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec c) { return _mm512_fmadd_pd(a, b, c); }
static FASTCONV_INLINE f64_vec f64_load_part(const double *p, int n) {
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1u), p);
}
static FASTCONV_INLINE f64_vec f64_load_end(const double *p, int n) {
    return _mm512_maskz_loadu_pd((__mmask8)(0xffu << (8 - n)), p);
}
static FASTCONV_INLINE void f64_store_part(double *p, f64_vec a, int n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1u), a);
}
typedef __m512i f64_index;
static FASTCONV_INLINE f64_index f64_load_index(const int *lanes) {
    return _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)(const void *)lanes));
}
static FASTCONV_INLINE f64_index f64_add_index(f64_index index, int i) {
    return _mm512_add_epi64(index, _mm512_set1_epi64(i));
}
static FASTCONV_INLINE f64_vec f64_permute(f64_vec a, f64_index index) { return _mm512_permutexvar_pd(index, a); }
static FASTCONV_INLINE void f64_transpose(f64_vec r[8]) {
    f64_vec t[8];
    FASTCONV_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 2; i++) {
        r[i] = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88);
        r[i + 2] = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd);
        r[i + 4] = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
        r[i + 6] = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 2; i++) {
        t[i] = _mm512_shuffle_f64x2(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f64x2(r[i], r[i + 4], 0xdd);
        t[i + 2] = _mm512_shuffle_f64x2(r[i + 2], r[i + 6], 0x88);
        t[i + 6] = _mm512_shuffle_f64x2(r[i + 2], r[i + 6], 0xdd);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 8; i++) r[i] = t[i];
}
static FASTCONV_INLINE f64_vec f64_sum_lanes(const f64_vec r[8]) {
    f64_vec t[2];
    FASTCONV_UNROLL
    for (int i = 0; i < 2; i++) {
        const f64_vec a = _mm512_add_pd(_mm512_shuffle_f64x2(r[i], r[i + 2], 0x44),
                                        _mm512_shuffle_f64x2(r[i], r[i + 2], 0xee));
        const f64_vec b = _mm512_add_pd(_mm512_shuffle_f64x2(r[i + 4], r[i + 6], 0x44),
                                        _mm512_shuffle_f64x2(r[i + 4], r[i + 6], 0xee));
        t[i] = _mm512_add_pd(_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd));
    }
    return _mm512_add_pd(_mm512_unpacklo_pd(t[0], t[1]), _mm512_unpackhi_pd(t[0], t[1]));
}

#endif
