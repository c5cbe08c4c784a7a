"""fastconv itself: NHWC in, NHWC out, each call allocates its result as users' calls do."""

import contextlib
import io
from typing import Any

import numpy as np

import fastconv

from .problem import Call, Problem


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; return the versions."""
    fastconv.set_num_threads(threads)
    return {"fastconv": fastconv.__version__, "numpy": np.__version__}


def configuration() -> str:
    """What ``fastconv.show_config()`` prints."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        fastconv.show_config()
    return text.getvalue().strip()


def fma_peak(dtype: str) -> float | None:
    """Measured FLOP/s of one thread that does nothing but FMAs; None in a build without it."""
    from fastconv import _kernels

    measure = getattr(_kernels, "measure_fma_peak", None)
    return None if measure is None else float(measure(dtype))


def calls(problem: Problem) -> dict[str, Call]:
    """The call, under the only variant's name."""
    layer = problem.layer
    x, w, dy = problem.inputs()
    options: dict[str, Any] = {
        "stride": layer.stride,
        "padding": layer.padding,
        "dilation": layer.dilation,
        "groups": layer.groups,
        "algorithm": problem.algorithm,
    }
    run = {
        "forward": lambda: fastconv.conv2d(x, w, **options),
        "input_grad": lambda: fastconv.conv2d_input_grad(dy, w, layer.input_shape, **options),
        "weight_grad": lambda: fastconv.conv2d_weight_grad(x, dy, layer.kernel, **options),
    }[problem.op]
    return {"": Call(run, lambda result: result)}
