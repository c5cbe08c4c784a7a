/* Plain C: vectors of 4 float32 or 2 float64, which a compiler turns into what its baseline has
 * (SSE2 on x86-64).  See src/README.md for what each operation means. */
#ifndef FASTCONV_SIMD_PORTABLE_H
#define FASTCONV_SIMD_PORTABLE_H

#include "compat.h"

#define CONV_MAX_COLUMNS 2
#define CONV_MAX_ROWS 4
#define CONV_ROWS(columns) 4
#define CONV_NARROW_PIXELS 3
#define CONV_NARROW_COLUMNS 4
#define DEPTHWISE_WINDOWS 0
#define DEPTHWISE_PIXELS 4
#define DEPTHWISE_SUMS 9
#define DEPTHWISE_COLUMN 1
#define SHARED_SUMS 4
#define DEPTHWISE_SQUARES 1
#define WINOGRAD_TILES 2
#define GRAD_COLUMNS 2
#define GRAD_ROWS 4

#define SIMD_REAL float
#define SIMD_LANES 4
#define SIMD(op) f32_##op
#include "portable_ops.h"

#define SIMD_REAL double
#define SIMD_LANES 2
#define SIMD(op) f64_##op
#include "portable_ops.h"

#endif
