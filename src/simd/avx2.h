/* AVX2 and FMA: vectors of 8 float32 or 4 float64.  See src/README.md for what each operation means. */
#ifndef FASTCONV_SIMD_AVX2_H
#define FASTCONV_SIMD_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "compat.h"

/* Register tiles, rows by vector columns.  12 sums of the 16 registers leave room for the two
 * weights of one step and a broadcast input; with one column the row pointers are the limit. */
#define CONV_MAX_COLUMNS 2
#define CONV_MAX_ROWS 8
#define CONV_ROWS(columns) ((columns) == 1 ? 8 : 6)
#define TILES_SHARE 1
#define CONV_NARROW_PIXELS 3
#define CONV_NARROW_COLUMNS 4
#define DEPTHWISE_WINDOWS 1
#define DEPTHWISE_PIXELS 8
#define DEPTHWISE_SUMS 10
#define DEPTHWISE_COLUMN 4
#define SHARED_SUMS 12
#define DEPTHWISE_SQUARES 2
#define WINOGRAD_TILES 2
#define GRAD_COLUMNS 2
#define GRAD_ROWS 6

/* Reading n entries before the middle gives a mask whose first n lanes are set. */
static const int32_t simd_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

typedef __m256 f32_vec;
enum { f32_lanes = 8 };

static FASTCONV_INLINE __m256i f32_mask(int n) { return _mm256_loadu_si256((const __m256i *)(simd_mask + 8 - n)); }
static FASTCONV_INLINE f32_vec f32_zero(void) { return _mm256_setzero_ps(); }
static FASTCONV_INLINE f32_vec f32_set1(float a) { return _mm256_set1_ps(a); }
static FASTCONV_INLINE f32_vec f32_set2(float a, float b) {
    return _mm256_blend_ps(_mm256_set1_ps(a), _mm256_set1_ps(b), 0xf0);
}
static FASTCONV_INLINE f32_vec f32_join(f32_vec a, f32_vec b) { return _mm256_blend_ps(a, b, 0xf0); }
static FASTCONV_INLINE f32_vec f32_swap(f32_vec a) { return _mm256_permute2f128_ps(a, a, 1); }
static FASTCONV_INLINE f32_vec f32_load_twice(const float *p) { return _mm256_broadcast_ps((const __m128 *)(const void *)p); }
static FASTCONV_INLINE f32_vec f32_load(const float *p) { return _mm256_loadu_ps(p); }
static FASTCONV_INLINE void f32_store(float *p, f32_vec a) { _mm256_storeu_ps(p, a); }
static FASTCONV_INLINE void f32_stream(float *p, f32_vec a) { _mm256_stream_ps(p, a); }
static FASTCONV_INLINE f32_vec f32_keep(f32_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f32_vec f32_add(f32_vec a, f32_vec b) { return _mm256_add_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_sub(f32_vec a, f32_vec b) { return _mm256_sub_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_mul(f32_vec a, f32_vec b) { return _mm256_mul_ps(a, b); }
static FASTCONV_INLINE f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec c) { return _mm256_fmadd_ps(a, b, c); }
static FASTCONV_INLINE f32_vec f32_load_part(const float *p, int n) { return _mm256_maskload_ps(p, f32_mask(n)); }
static FASTCONV_INLINE f32_vec f32_load_end(const float *p, int n) {
    return _mm256_maskload_ps(p, _mm256_xor_si256(f32_mask(8 - n), _mm256_set1_epi32(-1)));
}
static FASTCONV_INLINE void f32_store_part(float *p, f32_vec a, int n) { _mm256_maskstore_ps(p, f32_mask(n), a); }

typedef __m256i f32_index;
static FASTCONV_INLINE f32_index f32_load_index(const int *lanes) {
    return _mm256_loadu_si256((const __m256i *)(const void *)lanes);
}
static FASTCONV_INLINE f32_index f32_add_index(f32_index index, int i) {
    return _mm256_add_epi32(index, _mm256_set1_epi32(i));
}
static FASTCONV_INLINE f32_vec f32_permute(f32_vec a, f32_index index) { return _mm256_permutevar8x32_ps(a, index); }

/* Pairs, then quads within a 128-bit lane, then the lanes themselves change places. */
static FASTCONV_INLINE void f32_transpose(f32_vec r[8]) {
    f32_vec t[8];
    FASTCONV_UNROLL
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    FASTCONV_UNROLL
    for (int i = 0; i < 8; i++) r[i] = t[i];
}

static FASTCONV_INLINE f32_vec f32_sum_lanes(const f32_vec r[8]) {
    f32_vec t[4];
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i++)
        t[i] = _mm256_add_ps(_mm256_permute2f128_ps(r[i], r[i + 4], 0x20), _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    FASTCONV_UNROLL
    for (int i = 0; i < 4; i += 2)
        t[i] = _mm256_add_ps(_mm256_shuffle_ps(t[i], t[i + 1], 0x44), _mm256_shuffle_ps(t[i], t[i + 1], 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(t[0], t[2], 0x88), _mm256_shuffle_ps(t[0], t[2], 0xdd));
}

typedef __m256d f64_vec;
enum { f64_lanes = 4 };

static FASTCONV_INLINE __m256i f64_mask(int n) { return _mm256_loadu_si256((const __m256i *)(simd_mask + 8 - 2 * n)); }
static FASTCONV_INLINE f64_vec f64_zero(void) { return _mm256_setzero_pd(); }
static FASTCONV_INLINE f64_vec f64_set1(double a) { return _mm256_set1_pd(a); }
static FASTCONV_INLINE f64_vec f64_set2(double a, double b) {
    return _mm256_blend_pd(_mm256_set1_pd(a), _mm256_set1_pd(b), 0xc);
}
static FASTCONV_INLINE f64_vec f64_join(f64_vec a, f64_vec b) { return _mm256_blend_pd(a, b, 0xc); }
static FASTCONV_INLINE f64_vec f64_swap(f64_vec a) { return _mm256_permute2f128_pd(a, a, 1); }
static FASTCONV_INLINE f64_vec f64_load_twice(const double *p) { return _mm256_broadcast_pd((const __m128d *)(const void *)p); }
static FASTCONV_INLINE f64_vec f64_load(const double *p) { return _mm256_loadu_pd(p); }
static FASTCONV_INLINE void f64_store(double *p, f64_vec a) { _mm256_storeu_pd(p, a); }
static FASTCONV_INLINE void f64_stream(double *p, f64_vec a) { _mm256_stream_pd(p, a); }
static FASTCONV_INLINE f64_vec f64_keep(f64_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f64_vec f64_add(f64_vec a, f64_vec b) { return _mm256_add_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_sub(f64_vec a, f64_vec b) { return _mm256_sub_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_mul(f64_vec a, f64_vec b) { return _mm256_mul_pd(a, b); }
static FASTCONV_INLINE f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec c) { return _mm256_fmadd_pd(a, b, c); }
static FASTCONV_INLINE f64_vec f64_load_part(const double *p, int n) { return _mm256_maskload_pd(p, f64_mask(n)); }
static FASTCONV_INLINE f64_vec f64_load_end(const double *p, int n) {
    return _mm256_maskload_pd(p, _mm256_xor_si256(f64_mask(4 - n), _mm256_set1_epi32(-1)));
}
static FASTCONV_INLINE void f64_store_part(double *p, f64_vec a, int n) { _mm256_maskstore_pd(p, f64_mask(n), a); }


/* A double moves as the two halves of 32 bits that it is made of. */
typedef __m256i f64_index;
static FASTCONV_INLINE f64_index f64_load_index(const int *lanes) {
    const __m256i lane = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)(const void *)lanes));
    const __m256i half = _mm256_add_epi64(lane, lane);
    return _mm256_or_si256(half, _mm256_slli_epi64(_mm256_add_epi64(half, _mm256_set1_epi64x(1)), 32));
}
static FASTCONV_INLINE f64_index f64_add_index(f64_index index, int i) {
    return _mm256_add_epi32(index, _mm256_set1_epi32(2 * i));
}
static FASTCONV_INLINE f64_vec f64_permute(f64_vec a, f64_index index) {
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(a), index));
}

static FASTCONV_INLINE void f64_transpose(f64_vec r[4]) {
    const f64_vec a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const f64_vec c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
static FASTCONV_INLINE f64_vec f64_sum_lanes(const f64_vec r[4]) {
    f64_vec t[2];
    FASTCONV_UNROLL
    for (int i = 0; i < 2; i++)
        t[i] = _mm256_add_pd(_mm256_permute2f128_pd(r[i], r[i + 2], 0x20), _mm256_permute2f128_pd(r[i], r[i + 2], 0x31));
    return _mm256_add_pd(_mm256_unpacklo_pd(t[0], t[1]), _mm256_unpackhi_pd(t[0], t[1]));
}

#endif
