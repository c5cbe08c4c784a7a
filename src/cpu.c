/* Reads what the CPU and the system tell; the only file besides simd/ that knows an architecture. */
#include "cpu.h"

#if defined(__x86_64__) || defined(_M_X64)
#define FASTCONV_X86 1
#include <immintrin.h>
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
#define FASTCONV_ARM64 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#endif
#endif
#if defined(__linux__)
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#ifdef FASTCONV_X86

static void cpuid(unsigned leaf, unsigned sub, unsigned reg[4]) {
#if defined(_MSC_VER) && !defined(__clang__)
    __cpuidex((int *)reg, (int)leaf, (int)sub);
#else
    if (!__get_cpuid_count(leaf, sub, &reg[0], &reg[1], &reg[2], &reg[3])) reg[0] = reg[1] = reg[2] = reg[3] = 0;
#endif
}

/* Which register files the operating system saves; without that the instructions must not be used. */
static unsigned saved_state(void) {
#if defined(_MSC_VER) && !defined(__clang__)
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

unsigned fastconv_cpu_features(void) {
    unsigned reg[4], features = 1u << FASTCONV_PORTABLE;
    cpuid(1, 0, reg);
    const unsigned osxsave = reg[2] >> 27 & 1, fma = reg[2] >> 12 & 1;
    if (!osxsave || !fma) return features;
    const unsigned state = saved_state();
    cpuid(7, 0, reg);
    const unsigned avx2 = reg[1] >> 5 & 1;
    /* F, DQ, BW and VL: what every server part since Skylake has. */
    const unsigned avx512 = (reg[1] >> 16 & 1) & (reg[1] >> 17 & 1) & (reg[1] >> 30 & 1) & (reg[1] >> 31 & 1);
    if (avx2 && (state & 0x06u) == 0x06u) features |= 1u << FASTCONV_AVX2;
    if (avx512 && (state & 0xe6u) == 0xe6u) features |= 1u << FASTCONV_AVX512;
    return features;
}

/* The family of a CPU by AMD, else 0. */
static unsigned amd_family(void) {
    unsigned reg[4];
    cpuid(0, 0, reg);
    if (reg[1] != 0x68747541u) return 0;            /* the first four letters of AuthenticAMD */
    cpuid(1, 0, reg);
    return (reg[0] >> 8 & 15) + (reg[0] >> 20 & 255);
}

int fastconv_cpu_spare_shuffles(void) { return amd_family() >= 0x1a; }
int fastconv_cpu_splits_vectors(void) { return amd_family() == 0x19; }

/* MXCSR: bit 15 flushes results to zero, bit 6 reads denormals as zero. */
unsigned long long fastconv_flush_denormals(void) {
    const unsigned mode = _mm_getcsr();
    if ((mode & 0x8040u) != 0x8040u) _mm_setcsr(mode | 0x8040u);
    return mode;
}

void fastconv_restore_mode(unsigned long long mode) {
    if (((unsigned)mode & 0x8040u) != 0x8040u) _mm_setcsr((unsigned)mode);
}

#elif defined(FASTCONV_ARM64)

unsigned fastconv_cpu_features(void) { return 1u << FASTCONV_PORTABLE | 1u << FASTCONV_NEON; }

/* FPCR bit 24 flushes both operands and results. */
#if defined(_MSC_VER) && !defined(__clang__)
#define FPCR ARM64_SYSREG(3, 3, 4, 4, 0)
static unsigned long long read_mode(void) { return (unsigned long long)_ReadStatusReg(FPCR); }
static void write_mode(unsigned long long mode) { _WriteStatusReg(FPCR, (__int64)mode); }
#else
static unsigned long long read_mode(void) {
    unsigned long long mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static void write_mode(unsigned long long mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#endif

unsigned long long fastconv_flush_denormals(void) {
    const unsigned long long mode = read_mode();
    write_mode(mode | 1ull << 24);
    return mode;
}

void fastconv_restore_mode(unsigned long long mode) { write_mode(mode); }

#else

unsigned fastconv_cpu_features(void) { return 1u << FASTCONV_PORTABLE; }
unsigned long long fastconv_flush_denormals(void) { return 0; }
void fastconv_restore_mode(unsigned long long mode) { (void)mode; }

#endif

#ifndef FASTCONV_X86
int fastconv_cpu_spare_shuffles(void) { return 0; }
int fastconv_cpu_splits_vectors(void) { return 0; }
#endif

fastconv_caches fastconv_cpu_caches(void) {
    fastconv_caches found = {0, 0};
#if defined(__linux__) && defined(_SC_LEVEL1_DCACHE_SIZE)
    found.l1 = (ptrdiff_t)sysconf(_SC_LEVEL1_DCACHE_SIZE);
    found.l2 = (ptrdiff_t)sysconf(_SC_LEVEL2_CACHE_SIZE);
#elif defined(__APPLE__)
    long long bytes = 0;
    size_t size = sizeof bytes;
    if (sysctlbyname("hw.l1dcachesize", &bytes, &size, NULL, 0) == 0) found.l1 = (ptrdiff_t)bytes;
    if (sysctlbyname("hw.l2cachesize", &bytes, &size, NULL, 0) == 0) found.l2 = (ptrdiff_t)bytes;
#endif
    if (found.l1 <= 0) found.l1 = 32 << 10;
    if (found.l2 <= 0) found.l2 = 512 << 10;
    return found;
}
