from fastconv.functional import conv2d, conv2d_input_grad, conv2d_weight_grad
from fastconv.geometry import conv2d_output_shape
from fastconv.threads import get_num_threads, num_threads, set_num_threads
