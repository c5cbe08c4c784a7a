"""PyTorch in both of its layouts; the better one counts.

The gradients go through ``aten.convolution_backward`` with an output mask, which computes the one
that is asked for and nothing else.
"""

import torch

from .problem import Call, Problem

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def start(threads: int) -> dict[str, str]:
    """Set the number of threads; return the versions."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    return {"torch": torch.__version__}


def calls(problem: Problem) -> dict[str, Call]:
    """One call a layout, its operands already in that layout."""
    return {name: _call(problem, layout) for name, layout in LAYOUTS.items()}


def _call(problem: Problem, layout: torch.memory_format) -> Call:
    layer = problem.layer
    x, w, dy = problem.inputs()

    def activation(array):
        if array is None:  # only its shape and layout are read
            return torch.empty(_nchw(layer.input_shape), dtype=dtype, memory_format=layout)
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=layout)

    dtype = getattr(torch, problem.dtype)
    if w is None:
        kh, kw, channels, filters = layer.weight_shape
        weight = torch.empty((filters, channels, kh, kw), dtype=dtype, memory_format=layout)
    else:
        weight = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=layout)
    data = activation(x)

    if problem.op == "forward":
        rest = (None, layer.stride, layer.padding, layer.dilation, layer.groups)
        conv2d = torch.nn.functional.conv2d
        return Call(lambda: conv2d(data, weight, *rest), lambda y: y.permute(0, 2, 3, 1).numpy())

    backward = torch.ops.aten.convolution_backward.default
    options = (None, layer.stride, layer.padding, layer.dilation, False, (0, 0), layer.groups)
    grad = activation(dy)
    if problem.op == "input_grad":
        return Call(
            lambda: backward(grad, data, weight, *options, (True, False, False))[0],
            lambda dx: dx.permute(0, 2, 3, 1).numpy(),
        )
    return Call(
        lambda: backward(grad, data, weight, *options, (False, True, False))[1],
        lambda dw: dw.permute(2, 3, 1, 0).numpy(),
    )


def _nchw(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    batch, height, width, channels = shape
    return (batch, channels, height, width)
