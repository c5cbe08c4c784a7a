/* What the CPU has: instruction sets by bit, cache sizes, and the mode that flushes denormals. */
#ifndef FASTCONV_CPU_H
#define FASTCONV_CPU_H

#include <stddef.h>

/* One bit an instruction set, in the order of the kernel tables: more to the right is wider. */
enum { FASTCONV_PORTABLE = 0, FASTCONV_AVX2 = 1, FASTCONV_AVX512 = 2, FASTCONV_NEON = 3, FASTCONV_ISAS = 4 };

unsigned fastconv_cpu_features(void);             /* bits 1 << FASTCONV_... */

/* Bytes of data cache of one core; 32 KiB and 512 KiB where the system does not tell. */
typedef struct {
    ptrdiff_t l1, l2;
} fastconv_caches;
fastconv_caches fastconv_cpu_caches(void);

/* Whether permutations of 512 bits leave the units alone that multiply: those of AMD from Zen 5 on do; in Zen 4, where
 * each takes a unit for two cycles, and in Intel's they share one. */
int fastconv_cpu_spare_shuffles(void);

/* Whether vectors of 512 bits, if there are any, take units of 256 twice as long: those of AMD's Zen 4 do. */
int fastconv_cpu_splits_vectors(void);

/* Denormals read as and become zero on this thread until the returned mode is restored. */
unsigned long long fastconv_flush_denormals(void);
void fastconv_restore_mode(unsigned long long mode);

#endif
