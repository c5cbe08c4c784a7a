/* The one place for what compilers spell differently. */
#ifndef FASTCONV_COMPAT_H
#define FASTCONV_COMPAT_H

#include <stdint.h>
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_INLINE __forceinline
#define FASTCONV_NOINLINE __declspec(noinline)
#define FASTCONV_RESTRICT __restrict
#define FASTCONV_UNROLL
#define FASTCONV_VECTORIZE
#define FASTCONV_ROLLED
#define FASTCONV_ALIGN(bytes) __declspec(align(bytes))
#elif defined(__clang__)
#define FASTCONV_INLINE inline __attribute__((always_inline))
#define FASTCONV_NOINLINE __attribute__((noinline))
#define FASTCONV_RESTRICT __restrict__
#define FASTCONV_UNROLL _Pragma("unroll")
#define FASTCONV_VECTORIZE _Pragma("omp simd")
#define FASTCONV_ROLLED _Pragma("nounroll")
#define FASTCONV_ALIGN(bytes) __attribute__((aligned(bytes)))
#else
#define FASTCONV_INLINE inline __attribute__((always_inline))
#define FASTCONV_NOINLINE __attribute__((noinline))
#define FASTCONV_RESTRICT __restrict__
#define FASTCONV_UNROLL _Pragma("GCC unroll 64")    /* the most; a window has 33 columns */
#define FASTCONV_VECTORIZE _Pragma("omp simd")
#define FASTCONV_ROLLED _Pragma("GCC unroll 1")
#define FASTCONV_ALIGN(bytes) __attribute__((aligned(bytes)))
#endif

/* Holds a vector in a register: compilers would rather load it again for each of its uses, and a load that
 * crosses a cache line costs twice. */
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_KEEP(vector) ((void)(vector))
#elif defined(__x86_64__)
#define FASTCONV_KEEP(vector) __asm__("" : "+v"(vector))
#elif defined(__aarch64__)
#define FASTCONV_KEEP(vector) __asm__("" : "+w"(vector))
#else
#define FASTCONV_KEEP(vector) ((void)(vector))
#endif

/* Whether a value is a constant, after inlining. */
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_KNOWN(value) 0
#else
#define FASTCONV_KNOWN(value) __builtin_constant_p(value)
#endif

/* A hint alone: what is read there need not exist.  The second asks for no more than L2 to hold it. */
#if defined(_MSC_VER) && !defined(__clang__)
#define FASTCONV_PREFETCH(p) ((void)(p))
#define FASTCONV_PREFETCH_L2(p) ((void)(p))
#else
#define FASTCONV_PREFETCH(p) __builtin_prefetch(p)
#define FASTCONV_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#endif

/* What was written past the caches is seen before anything that is written from here on. */
static FASTCONV_INLINE void fastconv_fence(void) {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_sfence();
#endif
}

/* A setting that one thread writes while others read it: no order is implied, only a whole value. */
#if defined(_MSC_VER) && !defined(__clang__)
static FASTCONV_INLINE int fastconv_get_setting(const int *setting) { return *(const volatile int *)setting; }
static FASTCONV_INLINE void fastconv_set_setting(int *setting, int value) { *(volatile int *)setting = value; }
#else
static FASTCONV_INLINE int fastconv_get_setting(const int *setting) {
    return __atomic_load_n(setting, __ATOMIC_RELAXED);
}
static FASTCONV_INLINE void fastconv_set_setting(int *setting, int value) {
    __atomic_store_n(setting, value, __ATOMIC_RELAXED);
}
#endif

/* Puts `value` in the place and returns what was there; what the one who put it there wrote to it, can be seen. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
static FASTCONV_INLINE void *fastconv_exchange(void **place, void *value) {
    return _InterlockedExchangePointer((void *volatile *)place, value);
}
#else
static FASTCONV_INLINE void *fastconv_exchange(void **place, void *value) {
    return __atomic_exchange_n(place, value, __ATOMIC_ACQ_REL);
}
#endif

/* Bytes of workspace that a call may leave for the next one: none where overruns are looked for. */
#if defined(__SANITIZE_ADDRESS__)
#define FASTCONV_MOST_KEPT 0
#else
#define FASTCONV_MOST_KEPT (64 << 20)
#endif

#endif
