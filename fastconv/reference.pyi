from fastconv.functional import conv2d, conv2d_input_grad, conv2d_weight_grad
from fastconv.output_shape import conv2d_output_shape

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_output_shape", "conv2d_weight_grad"]
