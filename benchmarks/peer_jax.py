"""JAX on the CPU: NHWC and HWIO as here, compiled before it is timed.

A convolution is linear in either operand, so the transpose of a ``vjp`` is all that XLA compiles
for a gradient. The number of threads is set from outside, by the environment and the affinity.
"""

import jax
import jax.numpy as jnp
import numpy as np

from .problem import Call, Problem


def start(threads: int) -> dict[str, str]:
    """Return the versions; the threads were set before the import (see `workers`)."""
    jax.config.update("jax_enable_x64", True)
    return {"jax": jax.__version__}


def calls(problem: Problem) -> dict[str, Call]:
    """The compiled pass."""
    layer = problem.layer
    x, w, dy = (None if array is None else jnp.asarray(array) for array in problem.inputs())

    def conv(data, weight):
        return jax.lax.conv_general_dilated(
            data,
            weight,
            window_strides=layer.stride,
            padding=[(amount, amount) for amount in layer.padding],
            rhs_dilation=layer.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=layer.groups,
        )

    def transposed(function, shape, grad):
        return jax.vjp(function, jnp.zeros(shape, problem.dtype))[1](grad)[0]

    def input_grad(grad, weight):
        return transposed(lambda data: conv(data, weight), layer.input_shape, grad)

    def weight_grad(data, grad):
        return transposed(lambda weight: conv(data, weight), layer.weight_shape, grad)

    function, operands = {
        "forward": (conv, (x, w)),
        "input_grad": (input_grad, (dy, w)),
        "weight_grad": (weight_grad, (x, dy)),
    }[problem.op]
    compiled = jax.jit(function).lower(*operands).compile()
    return {"": Call(lambda: compiled(*operands).block_until_ready(), np.asarray)}
