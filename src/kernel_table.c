/* The tables of every instruction set this build holds; which of them a CPU may use is for cpu.c to say. */
#include "kernel_table.h"
#include "cpu.h"

extern const fastconv_kernels fastconv_portable_f32, fastconv_portable_f64;
#if defined(__x86_64__) || defined(_M_X64)
extern const fastconv_kernels fastconv_avx2_f32, fastconv_avx2_f64;
extern const fastconv_kernels fastconv_avx512_f32, fastconv_avx512_f64;
#elif defined(__aarch64__) || defined(_M_ARM64)
extern const fastconv_kernels fastconv_neon_f32, fastconv_neon_f64;
#endif

static const fastconv_kernels *const tables[FASTCONV_ISAS][2] = {
    [FASTCONV_PORTABLE] = {&fastconv_portable_f32, &fastconv_portable_f64},
#if defined(__x86_64__) || defined(_M_X64)
    [FASTCONV_AVX2] = {&fastconv_avx2_f32, &fastconv_avx2_f64},
    [FASTCONV_AVX512] = {&fastconv_avx512_f32, &fastconv_avx512_f64},
#elif defined(__aarch64__) || defined(_M_ARM64)
    [FASTCONV_NEON] = {&fastconv_neon_f32, &fastconv_neon_f64},
#endif
};

const fastconv_kernels *fastconv_kernels_at(int isa, int dtype) { return tables[isa][dtype]; }

int fastconv_kernels_best(unsigned allowed) {
    const unsigned usable = allowed & fastconv_cpu_features();
    int best = FASTCONV_PORTABLE;
    for (int isa = 0; isa < FASTCONV_ISAS; isa++)
        if (tables[isa][FASTCONV_F32] && usable >> isa & 1u) best = isa;
    return best;
}
