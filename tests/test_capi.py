"""Calls through the C interface: the bits of the Python functions, threads, forks, workspace."""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor

import c_interface as c
import numpy as np
import pytest
from c_interface import LARGE, SMALL, filled, refused
from helpers import (
    DTYPES,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same_bits,
    floats,
    operands,
    run,
    run_python,
)

import fastconv

# ---- results ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", [*GEOMETRIES, LARGE], ids=str)
def test_the_same_bits_as_from_python(conv, which, dtype):
    a = operands(conv, floats, dtype)
    out = filled(which, conv, dtype)
    assert c.call(which, conv, a, out) == c.OK
    assert_same_bits(out, run(fastconv, which, conv, a))


def test_without_a_bias():
    a = {**operands(SMALL, floats), "bias": None}
    out = filled("forward", SMALL)
    assert c.call("forward", SMALL, a, out) == c.OK
    assert_same_bits(out, run(fastconv, "forward", SMALL, a))


EMPTY = [
    Conv((0, 5, 5, 3), (3, 3, 3, 4)),  # no image
    Conv((2, 5, 5, 0), (3, 3, 0, 4)),  # no input channels
    Conv((2, 5, 5, 3), (3, 3, 3, 0)),  # no output channels
    Conv((2, 0, 5, 3), (3, 3, 3, 4), padding=2),  # no rows, but outputs, of padding alone
    Conv((2, 5, 0, 3), (3, 3, 3, 4), padding=2),
]


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", EMPTY, ids=str)
def test_empty_sums_are_zero_or_the_bias(conv, which):
    a = operands(conv, floats)
    for bias in (a["bias"], None):
        out = filled(which, conv)
        assert c.call(which, conv, {**a, "bias": bias}, out) == c.OK
        assert_same_bits(out, run(fastconv, which, conv, {**a, "bias": bias}))


def test_arrays_without_elements_may_be_null():
    """As the data of an empty std::vector is, or what malloc(0) may return."""
    conv = Conv((0, 5, 5, 3), (3, 3, 3, 4))
    described = ctypes.addressof(layer := c.layer(conv))
    assert layer.batch == 0
    w, dw = np.ones(conv.w, np.float32), filled("weight_grad", conv)
    assert c.function("forward_f32")(described, None, w.ctypes.data, None, None) == c.OK
    assert c.function("input_grad_f32")(described, None, w.ctypes.data, None) == c.OK
    assert c.function("weight_grad_f32")(described, None, None, dw.ctypes.data) == c.OK
    assert not dw.any()


@pytest.mark.parametrize("conv", GEOMETRIES, ids=str)
def test_output_shape(conv):
    assert c.output_shape(c.layer(conv)) == (c.OK, (1, *conv.y)[-4:])


# ---- algorithms ----


def test_algorithms():
    numbers_of = c.enum("fastconv_algorithm")
    assert list(numbers_of.values()) == [0, 1, 2]
    a = operands(SMALL, floats)
    for which in PASSES:
        want = run(fastconv, which, SMALL, a)
        for name in ("FASTCONV_AUTO", "FASTCONV_DIRECT"):
            out = filled(which, SMALL)
            assert c.call(which, SMALL, a, out, algorithm=numbers_of[name]) == c.OK
            assert_same_bits(out, want)
        for unknown in (-1, 3, 2**31 - 1, -(2**31)):
            assert refused(which, algorithm=unknown) == "FASTCONV_UNKNOWN_ALGORITHM"


@pytest.mark.parametrize("which", PASSES)
def test_every_algorithm_gives_the_bits_that_it_gives_python(which):
    conv = Conv((2, 13, 14, 24), (3, 3, 12, 40), padding=1, groups=2)
    a = operands(conv, floats)
    for name, number in c.enum("fastconv_algorithm").items():
        out = filled(which, conv)
        assert c.call(which, conv, a, out, algorithm=number) == c.OK
        algorithm = name.removeprefix("FASTCONV_").lower()
        assert_same_bits(out, run(fastconv, which, conv, a, algorithm=algorithm))


def test_the_default_algorithm_is_that_of_the_process():
    conv = Conv((1, 13, 14, 24), (3, 3, 24, 40), padding=1)
    a = operands(conv, floats)
    results = {}
    try:
        for name in ("winograd", "direct"):
            fastconv.set_default_algorithm(name)
            results[name] = filled("forward", conv)
            assert c.call("forward", conv, a, results[name]) == c.OK
            assert_same_bits(results[name], run(fastconv, "forward", conv, a, algorithm=name))
    finally:
        fastconv.set_default_algorithm("auto")
    assert (results["winograd"] != results["direct"]).any()


def test_an_algorithm_serves_c_where_it_serves_python():
    winograd = c.enum("fastconv_algorithm")["FASTCONV_WINOGRAD"]
    a = operands(SMALL)  # a stride, which Winograd's algorithm does not serve
    for which in PASSES:
        with pytest.raises(ValueError, match="algorithm"):
            run(fastconv, which, SMALL, a, algorithm="winograd")
        assert refused(which, algorithm=winograd) == "FASTCONV_ALGORITHM_REFUSED"
    assert c.output_shape(c.layer(SMALL, algorithm=winograd))[0] == c.OK


# ---- workspace ----


@pytest.mark.parametrize("conv", [LARGE, GEOMETRIES[0], GEOMETRIES[19]], ids=str)
@pytest.mark.parametrize("which", PASSES)
def test_workspace_is_what_explain_says(conv, which):
    """And the lists of taps, which explain leaves out: 4 numbers a row and column, 2 more."""
    taps = 4 * sum(conv.w[:2]) + 2
    for bits, dtype in zip((32, 64), DTYPES, strict=True):
        found = fastconv.explain(conv.x, conv.w, op=which, dtype=dtype, **conv.kwargs)
        size = c.workspace(which, c.layer(conv), bits)
        assert size == found.bytes["workspace"] + taps * ctypes.sizeof(ctypes.c_ssize_t)


def test_workspace_of_what_is_no_pass_or_empty():
    described = c.layer(SMALL)
    size = ctypes.c_int64(-1)
    for number in (-1, 3, 2**31 - 1):
        status = c.function("workspace_f32")(
            ctypes.addressof(described), number, ctypes.addressof(size)
        )
        assert status == c.STATUS["FASTCONV_BAD_PASS"]
    assert size.value == -1
    assert c.workspace("forward", c.layer(EMPTY[0])) == 0


# ---- threads and forks ----


def test_zero_threads_are_the_default_of_the_process():
    """Seen in the workspace, of which each thread has its own."""
    with fastconv.num_threads(1):
        one = c.workspace("forward", c.layer(LARGE))
        assert one == c.workspace("forward", c.layer(LARGE, num_threads=1))
        more = c.workspace("forward", c.layer(LARGE, num_threads=3))
        assert one < more if fastconv.threads.has_openmp() else one == more
    with fastconv.num_threads(3):
        three = c.workspace("forward", c.layer(LARGE))
        assert three == c.workspace("forward", c.layer(LARGE, num_threads=3))
        assert one == c.workspace("forward", c.layer(LARGE, num_threads=1))


@pytest.mark.parametrize("which", PASSES)
def test_any_number_of_threads_gives_the_same_bits(which):
    a = operands(LARGE, floats)
    want = run(fastconv, which, LARGE, a)
    for threads in (1, 2, 3, 7):
        out = filled(which, LARGE)
        assert c.call(which, LARGE, a, out, num_threads=threads) == c.OK
        assert_same_bits(out, want)


def test_several_threads_at_once():
    """ctypes lets go of the GIL; bad calls go on beside good ones."""
    work = [
        (which, conv, operands(conv, floats)) for conv in (*GEOMETRIES, LARGE) for which in PASSES
    ]
    want = [run(fastconv, *job) for job in work]

    def one(k):
        which, conv, a = work[k % len(work)]
        out = filled(which, conv)
        assert refused(which, stride_height=0) == "FASTCONV_BAD_STRIDE"
        assert c.call(which, conv, a, out, num_threads=k % 3) == c.OK
        assert_same_bits(out, want[k % len(work)])

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(one, k) for k in range(3 * len(work))]:
            future.result(timeout=300)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_forked_by_c_code_finishes():
    """Python's hooks hear nothing of such a fork, and the child inherits no thread of OpenMP's."""
    run_python(
        """
        import ctypes, os
        import c_interface as c, fastconv, numpy as np
        from helpers import PASSES, operands, floats, result_shape
        from test_capi import LARGE
        a = operands(LARGE, floats)
        def compute(threads):
            results = []
            for which in PASSES:
                out = np.empty(result_shape(which, LARGE), np.float32)
                assert c.call(which, LARGE, a, out, num_threads=threads) == c.OK
                results.append(out.tobytes())
            return results
        fastconv.set_num_threads(3)
        want = compute(0)
        fork = ctypes.PyDLL(None).fork
        child = fork()
        if child == 0:
            same = compute(0) == want and compute(4) == want and fastconv.get_num_threads() == 1
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert fastconv.get_num_threads() == (3 if fastconv.threads.has_openmp() else 1)
        assert compute(0) == want
        """
    )
