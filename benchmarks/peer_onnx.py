"""ONNX Runtime: forward only, NCHW, the weights an initializer (so it may pack them once)."""

from typing import Any

import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from .problem import Call, Problem, Unsupported

OPTIONS = onnxruntime.SessionOptions()


def start(threads: int) -> dict[str, str]:
    """Set the number of threads of the sessions to come; return the versions."""
    OPTIONS.intra_op_num_threads = threads
    OPTIONS.inter_op_num_threads = 1
    return {"onnxruntime": onnxruntime.__version__}


def calls(problem: Problem) -> dict[str, Call]:
    """The forward pass as a graph of one node."""
    if problem.op != "forward":
        raise Unsupported("forward only")
    if problem.dtype != "float32":
        raise Unsupported("float32 only")
    x, w, _ = problem.inputs()
    assert x is not None
    assert w is not None
    session = onnxruntime.InferenceSession(
        _model(problem, w.transpose(3, 2, 0, 1)).SerializeToString(),
        OPTIONS,
        providers=["CPUExecutionProvider"],
    )
    binding = session.io_binding()  # no copy to or from NumPy is timed
    binding.bind_ortvalue_input(
        "x", onnxruntime.OrtValue.ortvalue_from_numpy(x.transpose(0, 3, 1, 2).copy())
    )
    binding.bind_output("y", "cpu")

    def run():
        session.run_with_iobinding(binding)
        return binding

    return {
        "": Call(run, lambda bound: bound.copy_outputs_to_cpu()[0].transpose(0, 2, 3, 1)),
    }


def _model(problem: Problem, weight: npt.NDArray[Any]) -> onnx.ModelProto:
    layer = problem.layer
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=layer.padding * 2,  # top, left, bottom, right
        dilations=layer.dilation,
        group=layer.groups,
    )
    batch, height, width, channels = layer.input_shape
    shape = [batch, channels, height, width]
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight.copy(), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8  # old enough for every ONNX Runtime in use
    return model
