"""What compiled this package, in the compiler's own words."""

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
CYTHON = ".".join(str(CYTHON_HEX_VERSION >> bits & 255) for bits in (24, 16, 8))
