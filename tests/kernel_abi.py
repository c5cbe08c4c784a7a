"""The micro-kernels as ctypes sees them: names, argument structs and addresses.

Everything is read from the C sources, so there is no second list to keep: a kernel or a field that
is added there shows up here, and a call that does not name it is refused.
"""

import ctypes
import functools
import re
from pathlib import Path

from fastconv import _kernels

SRC = Path(__file__).parents[1] / "src"
TYPES = {"ptrdiff_t": ctypes.c_ssize_t, "int": ctypes.c_int}


def _read(name):
    """The text of a C source, without its comments."""
    return re.sub(r"/\*.*?\*/", "", (SRC / name).read_text("utf-8"), flags=re.DOTALL)


def _fields(body):
    """[(name, ctypes type)] of the declarations in a struct."""
    fields = []
    for declaration in filter(None, map(str.strip, body.split(";"))):
        base, *declarators = re.match(r"((?:const\s+)?\w+)\s+(.*)", declaration, re.DOTALL).groups()
        for declarator in declarators[0].split(","):
            name, length = re.search(r"(\w+)(?:\[(\d+)\])?$", declarator.strip()).groups()
            field = ctypes.c_void_p if "*" in declarator else TYPES[base]
            fields.append((name, field * int(length) if length else field))
    return fields


def _structs():
    """{kernel name: ctypes.Structure} of every fastconv_<name>_args."""
    text = _read("kernel_table.h")
    found = {
        name: type(name, (ctypes.Structure,), {"_fields_": _fields(body)})
        for body, name in re.findall(r"typedef struct \{([^{}]*)\} fastconv_(\w+)_args;", text)
    }
    for old, new in re.findall(r"typedef fastconv_(\w+)_args fastconv_(\w+)_args;", text):
        found[new] = found[old]
    return found


def _instruction_sets():
    """Names in the order of the tables, whether this machine has them or not."""
    names = re.findall(r"FASTCONV_([A-Z]\w*) = (\d+)", _read("cpu.h"))
    return tuple(
        name.lower() for name, _ in sorted(names, key=lambda n: int(n[1])) if name != "ISAS"
    )


KERNELS = tuple(re.findall(r"^KERNEL\((\w+)", _read("kernels.def"), re.MULTILINE))
STRUCTS = _structs()
INSTRUCTION_SETS = _instruction_sets()
DTYPES = ("float32", "float64")


@functools.cache
def table(isa, dtype):
    """The table of one instruction set and dtype, or None if this machine cannot run it."""
    for found in _kernels.tables():
        if (found["isa"], found["dtype"]) == (isa, dtype):
            return found
    return None


def call(found, name, **fields):
    """Call kernel `name` of a table; addresses are ints, and None is NULL."""
    struct = STRUCTS[name]
    known = {field for field, _ in struct._fields_}
    if known != set(fields):
        raise TypeError(f"{name} takes {sorted(known)}, got {sorted(fields)}")
    function = ctypes.CFUNCTYPE(None, ctypes.POINTER(struct))(found[name])
    function(ctypes.byref(struct(**fields)))
