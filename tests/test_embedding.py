"""The installed package from C, C++, Cython and CMake: the header, the examples, the manual.

Nothing here looks for fastconv in a source tree: compilers ask the installed package, from another
folder. Needs this folder, and examples/ and docs/ beside it.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import c_interface as c
import numpy as np
import pytest
from helpers import floats

import fastconv
from fastconv import reference

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "embed"
MANUAL = HERE.parent / "docs" / "embedding.md"
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are those of a Unix shell")


def tool(name):
    """The path of a program, which may stand beside the interpreter; skips where there is none."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"needs {name}, which is not installed")
    return found


def shell(commands, folder, env):
    """Run lines of a POSIX shell, up to the first that fails; return what they print."""
    done = subprocess.run(
        ["sh", "-ec", commands], cwd=folder, env=env, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    printed = f"$ {commands}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, printed
    return done.stdout


@pytest.fixture(scope="session")
def env(tmp_path_factory):
    """Variables with which `python` is this interpreter and finds the fastconv installed for it."""
    folder = tmp_path_factory.mktemp("bin")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = [str(folder), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    env = {**os.environ, "PATH": os.pathsep.join(path)}
    code = "import fastconv, pathlib; print(pathlib.Path(fastconv.__file__).parents[1])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip("needs fastconv installed, which it is not: only its sources are here")
    where = found.stdout.strip()
    print(f"embedding the fastconv in {where}")
    if where not in sysconfig.get_paths().values():
        # Installed in place: the import hook of that is nothing Cython asks for declarations.
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [where, env.get("PYTHONPATH")]))
    return env


def include_flags(env, folder):
    own = shell("python -m fastconv --cflags", folder, env).split()
    assert own[0].startswith("-I")
    return [*own, f"-I{sysconfig.get_path('include')}"]


# ---- the header ----


@pytest.mark.parametrize("spelling", ["<fastconv.h>", '"fastconv.h"'])
@pytest.mark.parametrize("optimise", ["-O0", "-O2"])
@pytest.mark.parametrize(
    ("compiler", "standard", "suffix"),
    [("cc", "c11", "c"), ("cc", "c17", "c"), ("c++", "c++17", "cpp"), ("c++", "c++20", "cpp")],
)
def test_header_compiles_without_a_warning(
    tmp_path, env, compiler, standard, suffix, optimise, spelling
):
    """In a file that includes it and uses nothing, or all of it."""
    flags = [f"-std={standard}", optimise, *STRICT, "-Wno-address", *include_flags(env, tmp_path)]
    functions = re.findall(r"^static inline [\w ]+\*?(fastconv_\w+)\(", c.HEADER, re.M)
    assert "fastconv_weight_grad_f64" in functions
    for used in ([], functions):
        lines = [f"    count += (void (*)(void)){name} != 0;" for name in used]
        source = tmp_path / f"probe.{suffix}"
        source.write_text(
            "\n".join([f"#include {spelling}", "int probe(void);", "int probe(void) {",
                       "    int count = 0;", *lines, "    return count;", "}", ""])
        )  # fmt: skip
        command = [tool(compiler), *flags, "-c", source, "-o", tmp_path / "probe.o"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_header_needs_no_numpy():
    assert re.findall(r"#include <(.*)>", c.HEADER) == ["Python.h", "stddef.h", "stdint.h"]


# ---- a module of two source files ----


@pytest.fixture(scope="session")
def two_files(tmp_path_factory, env):
    """A function that runs a line of Python, in a new interpreter, with the module in reach."""
    for name in ("cc", "c++"):
        tool(name)
    folder = tmp_path_factory.mktemp("two_files")
    for path in (HERE / "embedding").iterdir():
        shutil.copy(path, folder)
    (folder / "setup.py").write_text(
        "import fastconv\nfrom setuptools import Extension, setup\n"
        "setup(name='two_files', ext_modules=[Extension('two_files', ['first.c', 'second.cpp'],\n"
        "    include_dirs=[fastconv.get_include()],\n"
        "    extra_compile_args=['-Wall', '-Wextra', '-Werror'],\n"
        "    extra_link_args=['-pthread'])])\n"
    )
    shell("python setup.py -q build_ext --inplace", folder, env)
    return lambda code: shell(f"python -c 'import two_files; {code}'", folder, env).strip()


def test_threads_that_python_never_saw_need_no_gil(two_files):
    assert two_files("print(two_files.with_the_gil_held())") == "0"


def test_every_source_file_imports_for_itself(two_files):
    """A call before is a status with a text, and no crash."""
    too_large = c.STATUS["FASTCONV_KERNEL_TOO_LARGE"]
    fine = str((too_large, c.text(too_large), fastconv.__version__))
    missing = c.STATUS["FASTCONV_NOT_IMPORTED"]
    assert two_files("print(two_files.here())") == fine
    assert two_files("print(two_files.there())") == str((missing, c.text(missing), None))
    code = "assert two_files.import_there() == 0; print(two_files.there())"
    assert two_files(code) == fine


@pytest.mark.parametrize(("field", "number"), [("abi_version", 2), ("struct_size", 8)])
def test_another_interface_is_refused(two_files, field, number):
    """A table of another version, or one that ends too early, in the place of fastconv's own."""
    code = f"""
import ctypes, fastconv
class Table(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("abi_version", ctypes.c_int),
                ("version", ctypes.c_char_p)]
table = Table(1000, 1, b"9.9")
table.{field} = {number}
new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
name = b"fastconv._C_API"
fastconv._C_API = new(ctypes.addressof(table), name, None)
try:
    two_files.import_there()
except (ImportError, SystemError) as error:
    cause = error.__cause__ or error
    print(type(cause).__name__, cause)
"""
    printed = two_files(code)
    assert printed.startswith("ImportError fastconv must have C interface 1 with a table of")
    assert re.search(r", got fastconv 9.9 with \d+ and \d+$", printed)


# ---- the examples ----


def commands_of(title):
    """The shell block below the heading that starts with `title` in the README of the examples."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^## {title}.*?^```sh\n(.*?)^```", text, re.M | re.S)
    return block


@pytest.fixture
def examples(tmp_path, env):
    """A copy of the examples, with the picture drawn."""
    folder = tmp_path / "with a space" / "embed"
    shutil.copytree(EXAMPLES, folder)
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    shell(re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)[1], folder, env)
    return folder


def read_pgm(path):
    kind, size, most, pixels = path.read_bytes().split(b"\n", 3)
    assert (kind, most) == (b"P5", b"255")
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width)


def as_grey(values):
    """Floats as the examples write them."""
    return (np.clip(values, 0, 255) + np.float32(0.5)).astype(np.uint8)


def test_example_c_extension(examples, env):
    tool("cc")
    assert shell(commands_of("A C extension"), examples, env).splitlines()[-1] == "(94, 126)"
    picture = read_pgm(examples / "picture.pgm").astype(np.float32)
    right = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
    slopes = reference.conv2d(picture[..., None], np.stack([right, right.T], -1)[:, :, None])
    edges = read_pgm(examples / "c_extension" / "edges.pgm")
    np.testing.assert_array_equal(edges, as_grey(np.hypot(slopes[..., 0], slopes[..., 1]) / 4))
    assert edges.max() > 100
    assert np.median(edges) < 10  # flat, most of it


def test_example_cython_module(examples, env):
    tool("cc")
    pytest.importorskip("Cython", reason="needs Cython, which is not installed")
    assert shell(commands_of("A Cython module"), examples, env).splitlines()[-1] == "0.0"


def test_example_cmake_module(examples, env):
    tool("c++")
    tool("cmake")
    *_, contrast, same = shell(commands_of(r"A C\+\+ module"), examples, env).splitlines()
    before, after = map(float, re.fullmatch(r"contrast before (.*), after (.*)", contrast).groups())
    assert 0 < after < before / 3
    assert same == "four threads give the same bits: True"


def libpython():
    """The file that a program with an interpreter links with."""
    get = sysconfig.get_config_var
    if get("Py_ENABLE_SHARED"):
        return Path(get("LIBDIR"), f"libpython{get('LDVERSION')}.so")
    return Path(get("LIBPL"), get("LIBRARY"))


def test_example_program_with_an_interpreter(examples, env):
    tool("cc")
    tool("make")
    if sys.platform == "linux" and not libpython().exists():
        pytest.skip(f"needs {libpython()}, which is not installed")
    printed = shell(commands_of("A C program"), examples, env)
    assert printed.endswith(f"96 x 128 pixels, by fastconv {fastconv.__version__}\n")
    picture = read_pgm(examples / "picture.pgm").astype(np.float32)
    cross = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)
    sharp = reference.conv2d(picture[..., None], cross[..., None, None], padding=1)[..., 0]
    found = read_pgm(examples / "embedded" / "sharp.pgm")
    np.testing.assert_array_equal(found, as_grey(sharp))


# ---- finding the package ----


def test_pkg_config(tmp_path, env):
    tool("pkg-config")
    commands = 'PKG_CONFIG_PATH="$(python -m fastconv --pkgconfigdir)" pkg-config %s fastconv'
    (flag,) = shell(commands % "--cflags", tmp_path, env).split()
    (wanted,) = shell("python -m fastconv --include", tmp_path, env).splitlines()
    assert Path(flag.removeprefix("-I")).samefile(wanted)
    version = shell(commands % "--modversion", tmp_path, env)
    assert version.strip() == fastconv.__version__


@pytest.mark.parametrize(
    ("asked", "found"), [("0.0.1", True), (fastconv.__version__, True), ("9", False)]
)
def test_cmake_knows_the_version(tmp_path, env, asked, found):
    tool("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(probe LANGUAGES NONE)\n"
        f"find_package(fastconv {asked} CONFIG QUIET)\n"
        'file(WRITE found "${fastconv_FOUND} ${fastconv_VERSION}")\n'
    )
    command = 'cmake -S . -B build -Dfastconv_DIR="$(python -m fastconv --cmakedir)"'
    shell(command, tmp_path, env)
    words = (tmp_path / "found").read_text().split()
    assert words[0] == str(int(found))
    if found:
        assert words[1] == fastconv.__version__


# ---- the manual ----


def test_the_example_of_the_manual(tmp_path, env):
    """Its first blocks of C, commands and output, as they stand; there must be no warning."""
    tool("cc")
    text = MANUAL.read_text(encoding="utf-8")
    source, commands, printed = (
        re.search(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)[1] for kind in ("c", "sh", "text")
    )
    (tmp_path / "layer.c").write_text(source)
    flags = ["-std=c11", *STRICT]
    if sys.platform == "darwin":
        flags += ["-undefined", "dynamic_lookup"]
    assert shell(commands, tmp_path, {**env, "CFLAGS": " ".join(flags)}) == printed


def test_the_cython_of_the_manual(tmp_path, env):
    tool("cc")
    pytest.importorskip("Cython", reason="needs Cython, which is not installed")
    text = MANUAL.read_text(encoding="utf-8")
    (source,) = re.findall(r"^```cython\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "manual.pyx").write_text(f"# cython: language_level=3\n{source}")
    (tmp_path / "run.py").write_text(
        "import numpy as np, fastconv, manual\n"
        "x = np.arange(75, dtype='f').reshape(5, 5, 3) / 7\n"
        "w = np.arange(432, dtype='f').reshape(3, 3, 3, 16) / 9\n"
        "y = np.empty((3, 3, 16), 'f')\n"
        "manual.forward(x, w, y)\n"
        "assert (y == fastconv.conv2d(x, w)).all()\n"
        "try:\n"
        "    manual.forward(x[:2], w, y)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    shell("python -m Cython.Build.Cythonize -i manual.pyx", tmp_path, env)
    printed = shell("python run.py", tmp_path, env).strip()
    assert printed == c.text(c.STATUS["FASTCONV_KERNEL_TOO_LARGE"])


def test_numba_of_the_manual():
    """Its block for numba, as it stands."""
    pytest.importorskip("numba", reason="needs numba, which is not installed")
    text = MANUAL.read_text(encoding="utf-8")
    (source,) = re.findall(r"^```py\n(.*?)^```", text, re.M | re.S)
    names = {}
    exec(compile(source, str(MANUAL), "exec"), names)
    rng = np.random.default_rng(0)
    x, w = floats(rng, (5, 5, 3)), floats(rng, (3, 3, 3, 16))
    np.testing.assert_array_equal(names["convolve"](x, w), fastconv.conv2d(x, w))
