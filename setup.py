"""Builds the C kernels, one library an instruction set, and the Cython modules over them.

This is the only place for compiler flags; metadata is in pyproject.toml.  Switches, all environment
variables: FASTCONV_DEBUG=1 (asserts, bounds checks, no optimisation of them away),
FASTCONV_WERROR=1 (warnings of C are errors), FASTCONV_NO_OPENMP=1 (one thread),
FASTCONV_LIMITED_API=1 (one wheel for Python 3.12 and everything later).

A cross build says so as Python's own do: CC, LDSHARED, _PYTHON_HOST_PLATFORM (.ci/arm64 is one).
"""

import os
import platform
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

from distutils.util import get_platform  # isort: skip  # setuptools' own: knows the target

DEBUG = os.environ.get("FASTCONV_DEBUG") == "1"
WERROR = os.environ.get("FASTCONV_WERROR") == "1"
OPENMP = os.environ.get("FASTCONV_NO_OPENMP") != "1"
LIMITED_API = os.environ.get("FASTCONV_LIMITED_API") == "1"

MACHINE = get_platform().rpartition("-")[2].lower()  # what is built for, not what builds
if sys.platform == "darwin":
    # A Python for two machines would build for both, but kernels are for one.
    flags = os.environ.get("ARCHFLAGS", "").split() or ["-arch", platform.machine()]
    os.environ["ARCHFLAGS"] = " ".join(flags)
    MACHINE = flags[-1]
    if flags.count("-arch") > 1:
        sys.exit(f"ARCHFLAGS must name one machine, got {os.environ['ARCHFLAGS']}")

ISA_FLAGS = {
    "unix": {
        "portable": [],
        "avx2": ["-mavx2", "-mfma", "-mtune=haswell"],
        "avx512": [
            "-mavx512f",
            "-mavx512dq",
            "-mavx512bw",
            "-mavx512vl",
            "-mfma",
            "-mprefer-vector-width=512",
            "-mtune=skylake-avx512",
        ],
        "neon": [],
    },
    "msvc": {"portable": [], "avx2": ["/arch:AVX2"], "avx512": ["/arch:AVX512"], "neon": []},
}
# For the size of a wheel: nothing here throws, and tables of how to unwind are a thirtieth of it;
# each object names its compiler, and each module would have a build id (below).
SMALL_FLAGS = ["-fvisibility=hidden", "-fno-ident"]
SMALL_FLAGS += [] if DEBUG else ["-fno-asynchronous-unwind-tables"]
# Modules that no computation goes through.
COLD_MODULES = {
    f"fastconv.{name}"
    for name in (
        "arrays",
        "call_cost",
        "capi",
        "functional",
        "geometry",
        "packing",
        "plan_facts",
        "threads",
        "tiles",
    )
}
# Modules whose functions users see.  Those are objects of Cython's own, with signatures to look at,
# for 5 KB of a wheel each; other modules have plain ones, as Python's own C modules do.
PUBLIC_MODULES = {f"fastconv.{name}" for name in ("functional", "packing")}
# GCC's: neither a pointer for every operand of an unrolled loop, nor copies of one for each way
# into it, nor calls of memset; and what is alike stays in the order in which it was written, so
# that archives compress it.  A fifth of the kernels, compressed, that saves no time.
SMALL_KERNELS = [
    "-fno-ivopts",
    "--param=max-jump-thread-duplication-stmts=3",
    "-fno-schedule-insns2",
    "-fno-caller-saves",
    "-fno-tree-pre",
    "-fno-tree-loop-distribute-patterns",
]
COMMON_FLAGS = {
    # Kernels say themselves what to unroll, where -O3 makes them larger, and portable ones much
    # slower; and which products are fused with a sum: bits must not depend on the compiler.
    "unix": ["-std=c11", "-O2", "-ffp-contract=off", "-fopenmp-simd", "-fPIC", *SMALL_FLAGS]
    + ([] if DEBUG else ["-DNDEBUG"]),
    "msvc": ["/std:c11", "/O2"] + ([] if DEBUG else ["/DNDEBUG"]),
}
WARNINGS = {"unix": ["-Wall", "-Wextra", "-Werror"], "msvc": ["/W4", "/WX"]}
# Flags of compiling and of linking; the first pair that works is taken.  Apple's Clang lacks a
# runtime: it is found where CFLAGS and LDFLAGS say (docs/packaging.md).
OPENMP_FLAGS = {
    "unix": [(["-fopenmp"], ["-fopenmp"]), (["-Xpreprocessor", "-fopenmp"], ["-lomp"])],
    "msvc": [(["/openmp"], [])],
}


def kernel_sets():
    """Instruction sets that this machine's compiler can target."""
    if MACHINE in ("x86_64", "amd64"):
        return ["portable", "avx2", "avx512"]
    if MACHINE in ("aarch64", "arm64"):
        return ["portable", "neon"]
    return ["portable"]


def family(compiler):
    return "msvc" if compiler.compiler_type == "msvc" else "unix"


def refusal(compiler, source, compile_flags, link_flags=None):
    """Return None, or what the compiler, and the linker if it has flags, has against them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.c"
        path.write_text(source)
        try:
            objects = compiler.compile([str(path)], output_dir=folder, extra_postargs=compile_flags)
            if link_flags is not None:
                target = str(Path(folder) / "probe.so")
                compiler.link_shared_object(objects, target, extra_postargs=link_flags)
        except Exception as error:  # whatever the compiler raises, the answer is no
            return error
    return None


class BuildKernels(build_clib):
    """Each library with the flags of its instruction set, and no other's."""

    def build_libraries(self, libraries):
        kind = family(self.compiler)
        flags = COMMON_FLAGS[kind] + (WARNINGS[kind] if WERROR else [])
        if kind == "unix" and not refusal(
            self.compiler, "int probe;\n", ["-Werror", *SMALL_KERNELS]
        ):
            flags = flags + SMALL_KERNELS
        for name, info in libraries:
            isa = name.removeprefix("fastconv_")
            info["cflags"] = flags + ISA_FLAGS[kind].get(isa, [])
        super().build_libraries(libraries)


class BuildModules(build_ext):
    """OpenMP where the compiler has it; as many compilers at once as there are CPUs."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        kind = family(self.compiler)
        compile_flags, link_flags = self.find_openmp(OPENMP_FLAGS[kind]) if OPENMP else ([], [])
        for extension in self.extensions:
            if kind == "unix":
                level = "-Os" if extension.name in COLD_MODULES else "-O2"
                extension.extra_compile_args += [level, *SMALL_FLAGS]
                if sys.platform == "linux" and not DEBUG:
                    extension.extra_link_args += ["-Wl,--strip-all,--build-id=none"]
            if (
                extension.name.startswith("fastconv.algorithms")
                or extension.name == "fastconv.threads"
            ):
                extension.extra_compile_args += compile_flags
                extension.extra_link_args += link_flags
        super().build_extensions()

    def find_openmp(self, candidates):
        """Return the first pair of flags with which a module with OpenMP compiles and links."""
        source = "#include <omp.h>\nint probe(void) { return omp_get_max_threads(); }\n"
        for flags in candidates:
            error = refusal(self.compiler, source, *flags)
            if not error:
                return flags
        print(f"building without OpenMP: {error}", file=sys.stderr)
        return [], []


# Every module is offered all of them and takes what it refers to; the tables refer to the rest.
LIBRARIES = [
    ("fastconv_tables", {"sources": ["src/cpu.c", "src/kernel_table.c"], "include_dirs": ["src"]})
] + [
    (
        f"fastconv_{isa}",
        {
            "sources": [f"src/isa/{isa}.c"],
            "include_dirs": ["src", "src/kernels"],
            "obj_deps": {"": [str(path) for path in Path("src").rglob("*.[hd]*")]},
        },
    )
    for isa in kernel_sets()
]

MODULES = sorted(Path("fastconv").rglob("*.pyx"))
INCLUDES = ["src", "fastconv/include"]
C_SOURCES = [str(path) for folder in INCLUDES for path in Path(folder).rglob("*.[chd]*")]
EXTENSIONS = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=INCLUDES,
        depends=C_SOURCES,
        define_macros=[("Py_LIMITED_API", "0x030C0000")] if LIMITED_API else [],
        py_limited_api=LIMITED_API,
    )
    for path in MODULES
]

DIRECTIVES = {
    "language_level": 3,
    "cdivision": True,
    "wraparound": DEBUG,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "embedsignature": True,
    "freethreading_compatible": True,
    "legacy_implicit_noexcept": False,
}


def cython_modules(public):
    """Return those extensions that are public, or those that are not, in C."""
    extensions = [each for each in EXTENSIONS if (each.name in PUBLIC_MODULES) == public]
    directives = {**DIRECTIVES, "binding": public}
    return cythonize(extensions, build_dir="build/cython", compiler_directives=directives)


setup(
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if LIMITED_API else {},
    libraries=LIBRARIES,
    ext_modules=cython_modules(public=True) + cython_modules(public=False),
    cmdclass={"build_clib": BuildKernels, "build_ext": BuildModules},
)
