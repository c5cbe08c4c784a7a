"""fastconv: convolution for NumPy arrays on a CPU, with both gradients, and nothing else.

Arrays are NHWC, filters HWIO.  A call goes one way through the code, and each layer knows only what
is to its right::

    conv2d  ->  geometry  ->  plan  ->  algorithms (Cython, prange)  ->  micro-kernels (C)

`functional` and `arrays` check arguments once and turn them into shapes and pointers; `geometry`
resolves padding and output size; `plan` finds taps, phases, blocks and panels; `engine` runs the
plan without the GIL through one of `algorithms`, whose `blocks` gather what is irregular, or, by
Winograd's, cut the output into `tiles`; the kernels in src/ multiply dense rows, once for every
dtype and instruction set.  `reference` says the same in plain NumPy, `explain` shows the plan of a
call, `layers` holds Conv2D, `packing` prepares weights; `capi` and include/fastconv.h are for C.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastconv.config import __version__, get_include, show_config
from fastconv.default_algorithm import get_default_algorithm, set_default_algorithm
from fastconv.functional import conv2d, conv2d_input_grad, conv2d_weight_grad
from fastconv.layers import Conv2D
from fastconv.output_shape import conv2d_output_shape
from fastconv.packing import PackedWeights, pack
from fastconv.thread_limits import get_num_threads, num_threads, set_num_threads

if TYPE_CHECKING:
    from fastconv import reference
    from fastconv.explanation import explain
    from fastconv.sparse import conv2d_matrix

__all__ = [
    "Conv2D",
    "PackedWeights",
    "__version__",
    "conv2d",
    "conv2d_input_grad",
    "conv2d_matrix",
    "conv2d_output_shape",
    "conv2d_weight_grad",
    "explain",
    "get_default_algorithm",
    "get_include",
    "get_num_threads",
    "num_threads",
    "pack",
    "reference",
    "set_default_algorithm",
    "set_num_threads",
    "show_config",
]


# Imported on first use: most programs never need them.
_LATER = {
    "_C_API": "fastconv.capi",
    "conv2d_matrix": "fastconv.sparse",
    "explain": "fastconv.explanation",
    "reference": "fastconv.reference",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'fastconv' has no attribute {name!r}")
    module = import_module(_LATER[name])
    found = getattr(module, name, module)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
