"""The results that the tests of TensorFlow, ONNX, PyTorch and StableHLO expect (tests/data)."""

import json
import pathlib

import numpy as np
import pytest

DATA = pathlib.Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())
# Where their padding is one that fastconv knows by name.
SPELLED = {"SAME": "same", "SAME_UPPER": "same", "VALID": "valid"}


def ways_to_pad(case):
    """The paddings to try: the four numbers, and the name where the source gives one."""
    top, bottom, left, right = case["padding"]
    yield ((top, bottom), (left, right))
    if case["padding_spec"] in SPELLED:
        yield SPELLED[case["padding_spec"]]


CALLS = [(case, padding) for case in CASES for padding in ways_to_pad(case)]


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "cases.npz") as stored:
        return dict(stored)


def compute(api, case, a, padding):
    """The result of fastconv for one case."""
    kwargs = {key: case[key] for key in ("stride", "dilation", "groups")}
    kwargs["padding"] = padding
    op = case["op"]
    if op in ("forward", "depthwise"):
        return api.conv2d(a["x"], a["w"], a.get("b"), **kwargs)
    if op == "input_grad":
        return api.conv2d_input_grad(a["dy"], a["w"], case["x_shape"], **kwargs)
    if op == "weight_grad":
        return api.conv2d_weight_grad(a["x"], a["dy"], case["w_shape"][:2], **kwargs)
    if op == "separable":
        return api.conv2d(api.conv2d(a["x"], a["w"], **kwargs), a["pw"])
    assert op == "transpose"
    # The shape the result must have is the input of the convolution that this one transposes.
    y = api.conv2d_input_grad(a["x"], a["w"], case["shapes"]["expected"], **kwargs)
    return y + a["b"] if "b" in a else y


def test_every_case_is_here():
    assert len(CASES) == 100
    assert len(CALLS) == 136  # 36 of them have a name for their padding, too
    with np.load(DATA / "cases.npz") as stored:
        assert set(stored) == {key for case in CASES for key in case["arrays"].values()}


@pytest.mark.parametrize(
    ("case", "padding"), CALLS, ids=[f"{case['id']}-{padding}" for case, padding in CALLS]
)
def test_case(api, case, padding, arrays):
    a = {role: arrays[key] for role, key in case["arrays"].items()}
    if "kernel_larger_than_input" in case.get("tags", []):
        # XLA gives an empty result; fastconv, PyTorch and TensorFlow refuse the call.
        with pytest.raises(ValueError, match=r"\b(x|w)\b.* got "):
            compute(api, case, a, padding)
        return
    got, expected = compute(api, case, a, padding), a["expected"]
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    tolerance = case["tol"]
    np.testing.assert_allclose(got, expected, tolerance["rtol"], tolerance["atol"])
    if case["exact"]:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("which", ["input_grad", "weight_grad"])
def test_every_forward_case_has_gradients_of_the_right_shape(api, which, arrays):
    for case in CASES:
        if case["op"] not in ("forward", "depthwise") or "empty:y" in case.get("tags", []):
            continue
        x, w, dy = (arrays[case["arrays"][role]] for role in ("x", "w", "expected"))
        kwargs = {key: case[key] for key in ("stride", "dilation", "groups")}
        top, bottom, left, right = case["padding"]
        kwargs["padding"] = ((top, bottom), (left, right))
        if which == "input_grad":
            assert api.conv2d_input_grad(dy, w, x.shape, **kwargs).shape == x.shape
        else:
            assert api.conv2d_weight_grad(x, dy, w.shape[:2], **kwargs).shape == w.shape
