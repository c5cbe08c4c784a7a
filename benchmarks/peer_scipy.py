"""SciPy, as people do it by hand: one filter at a time, `scipy.signal.correlate` or `convolve`.

It serves small layers without stride, dilation or groups, and always runs on one thread.
"""

import numpy as np
import scipy
from scipy import signal

from .problem import Call, Problem, Unsupported

MOST_FLOPS = 20e6  # beyond this a call takes a large part of a second


def start(threads: int) -> dict[str, str]:
    """Return the versions."""
    return {"scipy": scipy.__version__}


def calls(problem: Problem) -> dict[str, Call]:
    """The pass as a loop over images and filters."""
    layer = problem.layer
    if (layer.stride, layer.dilation, layer.groups) != ((1, 1), (1, 1), 1):
        raise Unsupported("no stride, dilation or groups")
    if problem.flops > MOST_FLOPS:
        raise Unsupported("only small layers")
    x, w, dy = problem.inputs()
    (top, left), (_, height, width, _) = layer.padding, layer.input_shape
    border = ((0, 0), (top, top), (left, left), (0, 0))
    filters = range(layer.filters)

    def forward():
        return np.stack(
            [
                np.concatenate([signal.correlate(one, w[..., o], "valid") for o in filters], -1)
                for one in np.pad(x, border)
            ]
        )

    def input_grad():
        whole = [sum(signal.convolve(one[..., o, None], w[..., o]) for o in filters) for one in dy]
        return np.stack(whole)[:, top : top + height, left : left + width]

    def weight_grad():
        images = list(zip(np.pad(x, border), dy, strict=True))
        return np.stack(
            [
                sum(signal.correlate(one, grad[..., o, None], "valid") for one, grad in images)
                for o in filters
            ],
            -1,
        )

    run = {"forward": forward, "input_grad": input_grad, "weight_grad": weight_grad}[problem.op]
    return {"": Call(run, lambda result: result)}
