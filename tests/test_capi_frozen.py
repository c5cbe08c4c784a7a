"""What programs compiled earlier count on: addresses, the capsule, signatures, numbers."""

import ctypes
import re
from pathlib import Path

import c_interface as c
import pytest
from helpers import run_python

import fastconv
from fastconv import capi

PACKAGE = Path(fastconv.__file__).parent
FROZEN = Path(__file__).parent / "data" / "c_interface.txt"

# ---- addresses ----


def test_addresses():
    for name in capi.__pyx_capi__:
        assert capi.get_function_address(name) > 0
    for name in ("", "fastconv_import", "forward_f32", None):
        with pytest.raises(ValueError, match=r"name must be one of .*, got "):
            capi.get_function_address(name)


def test_the_capsule():
    imported = ctypes.pythonapi.PyCapsule_Import
    imported.restype, imported.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    table = imported(b"fastconv._C_API", 0)
    pointer = ctypes.sizeof(ctypes.c_void_p)
    size, version = ctypes.c_size_t.from_address(table), ctypes.c_int.from_address(table + pointer)
    assert size.value == pointer * len(c.struct("fastconv_api"))  # the int takes as much, padded
    assert f"#define FASTCONV_ABI_VERSION {version.value}\n" in c.HEADER
    name = ctypes.c_char_p.from_address(table + 2 * pointer)
    assert name.value.decode() == fastconv.__version__


def test_the_capsule_is_found_before_anything_else_was_used():
    code = """
        import ctypes
        imported = ctypes.pythonapi.PyCapsule_Import
        imported.restype, imported.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        print(imported(b"fastconv._C_API", 0) > 0)
        """
    assert run_python(code).strip() == "True"


# ---- what is frozen ----


def test_what_is_frozen_is_as_it_was():
    """Lists may grow at their ends, and the file with them; nothing that is there may change."""
    capsule_name = ctypes.pythonapi.PyCapsule_GetName
    capsule_name.restype, capsule_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    signatures = [
        f"{name}: {capsule_name(capsule).decode()}"
        for name, capsule in sorted(capi.__pyx_capi__.items())
    ]
    sections = {
        "exported to Cython": signatures,
        "fastconv_api": c.struct("fastconv_api"),
        "fastconv_conv2d": c.struct("fastconv_conv2d"),
        **{
            name: [f"{constant} = {value}" for constant, value in c.enum(name).items()]
            for name in ("fastconv_status", "fastconv_algorithm", "fastconv_pass")
        },
    }
    lines = [line for name, rows in sections.items() for line in (f"[{name}]", *rows, "")]
    assert "\n".join(lines) == FROZEN.read_text(encoding="utf-8")


def test_exported_signatures_have_plain_types():
    plain = r"(const )?(void|char|int|float|double|int64_t)( const)? \*|int|void"
    section, _, _ = FROZEN.read_text(encoding="utf-8").partition("\n\n")
    for line in section.splitlines()[1:]:
        result, arguments = re.fullmatch(r"\w+: (.*?) ?\((.*)\)", line).groups()
        for found in (result, *arguments.split(", ")):
            assert re.fullmatch(plain, found), line


def test_cython_sees_what_c_sees():
    """The same constants, the same struct, and every function, in fastconv/__init__.pxd."""
    declared = (PACKAGE / "__init__.pxd").read_text(encoding="utf-8")
    constants = {
        name: int(value)
        for name, value in re.findall(r"^    (FASTCONV_\w+) = (\d+)$", declared, re.M)
    }
    assert constants == {
        **c.STATUS, **c.enum("fastconv_algorithm"), **c.enum("fastconv_pass")
    }  # fmt: skip
    (body,) = re.findall(r"cdef struct fastconv_conv2d:\n((?:    .*\n)+)", declared)
    assert [line.strip() for line in body.splitlines()] == c.struct("fastconv_conv2d")
    inline = set(re.findall(r"^static inline [\w ]+\*?(fastconv_\w+)\(", c.HEADER, re.M))
    assert inline >= set(capi.__pyx_capi__)
    assert inline == set(re.findall(r"^cdef inline .*?(fastconv_\w+)\(", declared, re.M))


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("cmake/fastconv-config-version.cmake", r'^set\(PACKAGE_VERSION "(.*)"\)$'),
        ("pkgconfig/fastconv.pc", r"^Version: (.*)$"),
    ],
)
def test_one_version_everywhere(path, pattern):
    text = (PACKAGE / path).read_text(encoding="utf-8")
    assert re.findall(pattern, text, re.M) == [fastconv.__version__]
