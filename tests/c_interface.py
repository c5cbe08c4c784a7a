"""The C interface as ctypes sees it: enums and structs read from fastconv.h, and every function."""

import ctypes
import re
from pathlib import Path

import numpy as np
from helpers import Conv, operands, result_shape

import fastconv
from fastconv import capi
from fastconv.geometry import resolve

HEADER = (Path(fastconv.get_include()) / "fastconv.h").read_text(encoding="utf-8")
_CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)
_TYPES = {"size_t": ctypes.c_size_t, "int64_t": ctypes.c_int64, "int32_t": ctypes.c_int32}


def enum(name):
    """{constant: value} of an enum in fastconv.h."""
    (body,) = re.findall(rf"typedef enum \{{([^{{}}]*)\}} {name};", _CODE)
    values, after = {}, 0
    for constant in filter(None, map(str.strip, body.split(","))):
        constant, _, value = map(str.strip, constant.partition("="))
        values[constant] = int(value, 0) if value else after
        after = values[constant] + 1
    return values


def struct(name):
    """The declarations of a struct in fastconv.h, white space aside."""
    (body,) = re.findall(rf"typedef struct \{{([^{{}}]*)\}} {name};", _CODE)
    return [" ".join(line.split()) for line in body.split(";") if line.strip()]


STATUS = {name: value for name, value in enum("fastconv_status").items() if name[-1] != "_"}
OK = STATUS["FASTCONV_OK"]
FIELDS = [
    (field.strip(), _TYPES[declaration.split()[0]])
    for declaration in struct("fastconv_conv2d")
    for field in declaration.split(maxsplit=1)[1].split(",")
]
Layer = type("Layer", (ctypes.Structure,), {"_fields_": FIELDS})
LAYER_SIZE = ctypes.sizeof(Layer)

SMALL = Conv((1, 6, 6, 4), (3, 3, 2, 8), stride=2, padding=1, groups=2)
LARGE = Conv((2, 33, 31, 24), (3, 3, 24, 40), padding=1)  # worth several threads

# How many pointers each function takes after the descriptor.
_POINTERS = {"output_shape": 1, "forward": 4, "input_grad": 3, "weight_grad": 3}


def function(name):
    """A function of the interface; ctypes releases the GIL around it."""
    stem = re.sub(r"_f(32|64)$", "", name)
    more = [ctypes.c_void_p] * _POINTERS.get(stem, 0)
    if stem == "workspace":
        more = [ctypes.c_int, ctypes.c_void_p]
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, *more)
    return prototype(capi.get_function_address(f"fastconv_{name}"))


def text(status):
    prototype = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)
    return prototype(capi.get_function_address("fastconv_status_string"))(status).decode()


def layer(conv, **changes):
    """The descriptor of a `helpers.Conv`, with other values where given."""
    shapes = resolve(conv.x, conv.w, **conv.kwargs)._asdict()
    names = [name for name, _ in FIELDS]
    values = {name: value for name, value in shapes.items() if name in names}
    return Layer(**{"struct_size": LAYER_SIZE, **values, **changes})


def call(which, conv, a, out, **changes):
    """One pass on the operands `a` of `conv` into `out`; returns the status."""
    arrays = {
        "forward": (a["x"], a["w"], a["bias"], out),
        "input_grad": (a["dy"], a["w"], out),
        "weight_grad": (a["x"], a["dy"], out),
    }[which]
    bits = 8 * out.dtype.itemsize
    described = layer(conv, **changes)
    pointers = [None if array is None else array.ctypes.data for array in arrays]
    return function(f"{which}_f{bits}")(ctypes.addressof(described), *pointers)


def filled(which, conv, dtype=np.float32):
    """An array for a result, with values that no result has."""
    return np.full(result_shape(which, conv), np.nan, dtype)


def refused(which, conv=SMALL, a=None, **changes):
    """The name of the status of a call that must not touch its result."""
    out = filled(which, conv)
    before = out.tobytes()
    status = call(which, conv, a or operands(conv), out, **changes)
    assert out.tobytes() == before
    return {value: name for name, value in STATUS.items()}[status]


def output_shape(described):
    """(status, shape) for a descriptor."""
    shape = np.full(4, -1, np.int64)
    status = function("output_shape")(ctypes.addressof(described), shape.ctypes.data)
    return status, tuple(shape.tolist())


def workspace(which, described, bits=32):
    """Bytes of workspace of a pass."""
    size = ctypes.c_int64(-1)
    number = list(enum("fastconv_pass")).index(f"FASTCONV_{which.upper()}")
    status = function(f"workspace_f{bits}")(
        ctypes.addressof(described), number, ctypes.addressof(size)
    )
    assert status == OK
    return size.value
