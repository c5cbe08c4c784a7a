/* The kernels compiled for avx512; setup.py adds the flags this file alone may have. */
#include <assert.h>
#include <string.h>

#include "kernel_table.h"
#include "simd/avx512.h"

#define ISA "avx512"

#define REAL float
#define VEC f32_vec
#define LANES f32_lanes
#define V(operation) f32_##operation
#define K(name) name##_f32
#define DTYPE "float32"
#define BIND fastconv_avx512_f32
#include "kernels/all_tmpl.h"

#define REAL double
#define VEC f64_vec
#define LANES f64_lanes
#define V(operation) f64_##operation
#define K(name) name##_f64
#define DTYPE "float64"
#define BIND fastconv_avx512_f64
#include "kernels/all_tmpl.h"
