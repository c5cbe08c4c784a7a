/* AArch64 Advanced SIMD: vectors of 4 float32 or 2 float64.  See src/README.md for what each
 * operation means. */
#ifndef FASTCONV_SIMD_NEON_H
#define FASTCONV_SIMD_NEON_H

#include <arm_neon.h>

#include "compat.h"

/* Register tiles, rows by vector columns.  24 sums of the 32 registers leave room for the
 * weights of one step and a broadcast input. */
#define CONV_MAX_COLUMNS 4
#define CONV_MAX_ROWS 8
#define CONV_ROWS(columns) ((columns) <= 3 ? 8 : 6)
#define TILES_SHARE 1
#define CONV_NARROW_PIXELS 4
#define CONV_NARROW_COLUMNS 4
#define DEPTHWISE_WINDOWS 1
#define DEPTHWISE_PIXELS 14
#define DEPTHWISE_SUMS 25
#define DEPTHWISE_COLUMN 7
#define SHARED_SUMS 25
#define DEPTHWISE_SQUARES 4
#define WINOGRAD_TILES 4
#define GRAD_COLUMNS 3
#define GRAD_ROWS 8

typedef float32x4_t f32_vec;
enum { f32_lanes = 4 };

static FASTCONV_INLINE f32_vec f32_zero(void) { return vdupq_n_f32(0.0f); }
static FASTCONV_INLINE f32_vec f32_set1(float a) { return vdupq_n_f32(a); }
static FASTCONV_INLINE f32_vec f32_set2(float a, float b) { return vcombine_f32(vdup_n_f32(a), vdup_n_f32(b)); }
static FASTCONV_INLINE f32_vec f32_join(f32_vec a, f32_vec b) { return vcombine_f32(vget_low_f32(a), vget_high_f32(b)); }
static FASTCONV_INLINE f32_vec f32_swap(f32_vec a) { return vextq_f32(a, a, 2); }
static FASTCONV_INLINE f32_vec f32_load_twice(const float *p) { return vcombine_f32(vld1_f32(p), vld1_f32(p)); }
static FASTCONV_INLINE f32_vec f32_load(const float *p) { return vld1q_f32(p); }
static FASTCONV_INLINE void f32_store(float *p, f32_vec a) { vst1q_f32(p, a); }
static FASTCONV_INLINE void f32_stream(float *p, f32_vec a) { vst1q_f32(p, a); }
static FASTCONV_INLINE f32_vec f32_keep(f32_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f32_vec f32_add(f32_vec a, f32_vec b) { return vaddq_f32(a, b); }
static FASTCONV_INLINE f32_vec f32_sub(f32_vec a, f32_vec b) { return vsubq_f32(a, b); }
static FASTCONV_INLINE f32_vec f32_mul(f32_vec a, f32_vec b) { return vmulq_f32(a, b); }
static FASTCONV_INLINE f32_vec f32_fma(f32_vec a, f32_vec b, f32_vec c) { return vfmaq_f32(c, a, b); }
static FASTCONV_INLINE f32_vec f32_load_part(const float *p, int n) {
    float lane[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < n; i++) lane[i] = p[i];
    return vld1q_f32(lane);
}
static FASTCONV_INLINE f32_vec f32_load_end(const float *p, int n) {
    float lane[4] = {0};
    for (int i = 4 - n; i < 4; i++) lane[i] = p[i];
    return vld1q_f32(lane);
}
static FASTCONV_INLINE void f32_store_part(float *p, f32_vec a, int n) {
    float lane[4];
    vst1q_f32(lane, a);
    for (int i = 0; i < n; i++) p[i] = lane[i];
}
typedef uint8x16_t f32_index;
static FASTCONV_INLINE f32_index f32_load_index(const int *lanes) {
    uint8_t byte[16];
    for (int b = 0; b < 16; b++) byte[b] = (uint8_t)(lanes[b / 4] * 4 + b % 4);
    return vld1q_u8(byte);
}
static FASTCONV_INLINE f32_index f32_add_index(f32_index index, int i) {
    return vaddq_u8(index, vdupq_n_u8((uint8_t)(4 * i)));
}
static FASTCONV_INLINE f32_vec f32_permute(f32_vec a, f32_index index) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(a), index));
}
static FASTCONV_INLINE void f32_transpose(f32_vec r[4]) {
    const float32x4x2_t a = vzipq_f32(r[0], r[2]), b = vzipq_f32(r[1], r[3]);
    const float32x4x2_t low = vzipq_f32(a.val[0], b.val[0]), high = vzipq_f32(a.val[1], b.val[1]);
    r[0] = low.val[0];
    r[1] = low.val[1];
    r[2] = high.val[0];
    r[3] = high.val[1];
}

static FASTCONV_INLINE f32_vec f32_sum_halves(f32_vec a, f32_vec b) {
    return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)), vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
}
static FASTCONV_INLINE f32_vec f32_sum_lanes(const f32_vec r[4]) {
    return vpaddq_f32(f32_sum_halves(r[0], r[1]), f32_sum_halves(r[2], r[3]));
}

typedef float64x2_t f64_vec;
enum { f64_lanes = 2 };

static FASTCONV_INLINE f64_vec f64_zero(void) { return vdupq_n_f64(0.0); }
static FASTCONV_INLINE f64_vec f64_set1(double a) { return vdupq_n_f64(a); }
static FASTCONV_INLINE f64_vec f64_set2(double a, double b) { return vsetq_lane_f64(b, vdupq_n_f64(a), 1); }
static FASTCONV_INLINE f64_vec f64_join(f64_vec a, f64_vec b) { return vcombine_f64(vget_low_f64(a), vget_high_f64(b)); }
static FASTCONV_INLINE f64_vec f64_swap(f64_vec a) { return vextq_f64(a, a, 1); }
static FASTCONV_INLINE f64_vec f64_load_twice(const double *p) { return vld1q_dup_f64(p); }
static FASTCONV_INLINE f64_vec f64_load(const double *p) { return vld1q_f64(p); }
static FASTCONV_INLINE void f64_store(double *p, f64_vec a) { vst1q_f64(p, a); }
static FASTCONV_INLINE void f64_stream(double *p, f64_vec a) { vst1q_f64(p, a); }
static FASTCONV_INLINE f64_vec f64_keep(f64_vec a) {
    FASTCONV_KEEP(a);
    return a;
}
static FASTCONV_INLINE f64_vec f64_add(f64_vec a, f64_vec b) { return vaddq_f64(a, b); }
static FASTCONV_INLINE f64_vec f64_sub(f64_vec a, f64_vec b) { return vsubq_f64(a, b); }
static FASTCONV_INLINE f64_vec f64_mul(f64_vec a, f64_vec b) { return vmulq_f64(a, b); }
static FASTCONV_INLINE f64_vec f64_fma(f64_vec a, f64_vec b, f64_vec c) { return vfmaq_f64(c, a, b); }
static FASTCONV_INLINE f64_vec f64_load_part(const double *p, int n) {
    return n == 2 ? vld1q_f64(p) : vsetq_lane_f64(n ? *p : 0.0, vdupq_n_f64(0.0), 0);
}
static FASTCONV_INLINE f64_vec f64_load_end(const double *p, int n) {
    double lane[2] = {0};
    for (int i = 2 - n; i < 2; i++) lane[i] = p[i];
    return vld1q_f64(lane);
}
static FASTCONV_INLINE void f64_store_part(double *p, f64_vec a, int n) {
    if (n == 2)
        vst1q_f64(p, a);
    else if (n)
        *p = vgetq_lane_f64(a, 0);
}
typedef uint8x16_t f64_index;
static FASTCONV_INLINE f64_index f64_load_index(const int *lanes) {
    uint8_t byte[16];
    for (int b = 0; b < 16; b++) byte[b] = (uint8_t)(lanes[b / 8] * 8 + b % 8);
    return vld1q_u8(byte);
}
static FASTCONV_INLINE f64_index f64_add_index(f64_index index, int i) {
    return vaddq_u8(index, vdupq_n_u8((uint8_t)(8 * i)));
}
static FASTCONV_INLINE f64_vec f64_permute(f64_vec a, f64_index index) {
    return vreinterpretq_f64_u8(vqtbl1q_u8(vreinterpretq_u8_f64(a), index));
}
static FASTCONV_INLINE void f64_transpose(f64_vec r[2]) {
    const f64_vec low = vzip1q_f64(r[0], r[1]);
    r[1] = vzip2q_f64(r[0], r[1]);
    r[0] = low;
}
static FASTCONV_INLINE f64_vec f64_sum_lanes(const f64_vec r[2]) { return vpaddq_f64(r[0], r[1]); }

#endif
