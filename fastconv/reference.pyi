from fastconv.functional import conv2d as conv2d
from fastconv.functional import conv2d_input_grad as conv2d_input_grad
from fastconv.functional import conv2d_weight_grad as conv2d_weight_grad
from fastconv.geometry import conv2d_output_shape as conv2d_output_shape
