"""The table of micro-kernels in use, a view of all of them for tests and benchmarks, and what compiled them."""
import os
import time

_NAMES = ("portable", "avx2", "avx512", "neon")

# Without the GIL, or in a Python that has none, others read it while one writes.
cdef extern from "compat.h":
    int fastconv_get_setting(const int *setting) noexcept nogil
    void fastconv_set_setting(int *setting, int value) noexcept nogil

cdef extern from *:
    """
    #define FASTCONV_TEXT(number) #number
    #define FASTCONV_DIGITS(number) FASTCONV_TEXT(number)
    #if defined(__clang__)
    #define FASTCONV_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTCONV_COMPILER "GCC " __VERSION__
    #elif defined(_MSC_FULL_VER)
    #define FASTCONV_COMPILER "MSVC " FASTCONV_DIGITS(_MSC_FULL_VER)
    #else
    #define FASTCONV_COMPILER "unknown"
    #endif
    """
    const char *FASTCONV_COMPILER
    const unsigned long CYTHON_HEX_VERSION

COMPILER = FASTCONV_COMPILER.decode().strip()
# One byte each for major, minor and micro; the last is the stage of the release.
CYTHON = f"{CYTHON_HEX_VERSION >> 24 & 255}.{CYTHON_HEX_VERSION >> 16 & 255}.{CYTHON_HEX_VERSION >> 8 & 255}"

cdef int _isa = 0
cdef fastconv_caches _caches = fastconv_cpu_caches()
cdef bint _spare_shuffles = fastconv_cpu_spare_shuffles()
cdef bint _splits_vectors = fastconv_cpu_splits_vectors()


cdef const fastconv_kernels *kernels_for(int dtype) noexcept nogil:
    return fastconv_kernels_at(fastconv_get_setting(&_isa), dtype)


cdef fastconv_caches caches() noexcept nogil:
    return _caches


cdef bint spare_shuffles() noexcept nogil:
    return _spare_shuffles


cdef const fastconv_kernels *halved(const fastconv_kernels *kernels) noexcept nogil:
    """The same kernels with vectors half as long, where the CPU does as much with these; else NULL."""
    cdef int dtype = FASTCONV_F32 if kernels.itemsize == 4 else FASTCONV_F64
    if _splits_vectors and kernels == fastconv_kernels_at(FASTCONV_AVX512, dtype):
        return fastconv_kernels_at(FASTCONV_AVX2, dtype)
    return NULL


cdef unsigned long long flush_denormals() noexcept nogil:
    return fastconv_flush_denormals()


cdef void restore_mode(unsigned long long mode) noexcept nogil:
    fastconv_restore_mode(mode)


def available():
    """Names of the instruction sets that this build and this CPU both have, narrowest first."""
    features = fastconv_cpu_features()
    return [name for isa, name in enumerate(_NAMES)
            if features >> isa & 1 and fastconv_kernels_at(isa, FASTCONV_F32) != NULL]


def cache_sizes():
    """Bytes of the L1 and L2 data cache of one core, as the block sizes take them."""
    return {"l1": _caches.l1, "l2": _caches.l2}


def splits_vectors():
    """Whether the longest vectors take as long as two of half their length."""
    return bool(_splits_vectors)


def current():
    """Name of the instruction set in use."""
    return _NAMES[fastconv_get_setting(&_isa)]


def use(name=None):
    """Use instruction set `name`, or the best there is, for every call that starts from now on.

    Raises
    ------
    ValueError
        If this build or this CPU has no such instruction set.
    """
    if name is None:
        fastconv_set_setting(&_isa, fastconv_kernels_best(~0u))
    elif name in available():
        fastconv_set_setting(&_isa, _NAMES.index(name))
    else:
        raise ValueError(f"FASTCONV_ISA must be one of {', '.join(available())}, got {name!r}")


def tables():
    """Every usable kernel: a dict for each instruction set and dtype, with addresses as ints."""
    found = []
    cdef const fastconv_kernels *t
    for name in available():
        for dtype in (FASTCONV_F32, FASTCONV_F64):
            t = fastconv_kernels_at(_NAMES.index(name), dtype)
            found.append({
                "isa": t.isa.decode(), "dtype": t.dtype.decode(), "lanes": t.lanes,
                "conv_panel": t.conv_panel, "grad_panel": t.grad_panel,
                "narrow_panel": t.narrow_panel,
                "conv_rows": t.conv_rows, "grad_rows": t.grad_rows,
                "conv": <size_t> t.conv, "conv_narrow": <size_t> t.conv_narrow,
                "gemv": <size_t> t.gemv, "ger": <size_t> t.ger,
                "grad": <size_t> t.grad, "grad_swapped": <size_t> t.grad_swapped,
                "depthwise": <size_t> t.depthwise, "depthwise_phases": <size_t> t.depthwise_phases,
                "depthwise_grad": <size_t> t.depthwise_grad,
                "pack": <size_t> t.pack, "gather": <size_t> t.gather, "add": <size_t> t.add,
                "check": <size_t> t.check, "winograd": <size_t> t.winograd,
                "winograd_weights": <size_t> t.winograd_weights, "winograd_few": <size_t> t.winograd_few,
                "winograd_few_grad": <size_t> t.winograd_few_grad,
            })
    return found


def measure_fma_peak(dtype="float32", seconds=0.05):
    """FLOP/s that one thread reaches on nothing but fused multiply-adds in registers."""
    cdef const fastconv_kernels *t = kernels_for(FASTCONV_F32 if dtype == "float32" else FASTCONV_F64)
    cdef Py_ssize_t steps = 20000
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        with nogil:
            t.fma_chain(steps)
        best = max(best, 2.0 * steps * t.fma_width / (time.perf_counter() - start))
    return best


use(os.environ.get("FASTCONV_ISA") or None)
