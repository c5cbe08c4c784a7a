"""Threads change nothing but the time: results, callers, forks, and settings."""

import itertools
import math
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import (
    ALGORITHMS,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same_bits,
    floats,
    operands,
    run,
    run_python,
    served_by,
)

import fastconv
from fastconv import _kernels, threads

# Large enough to be shared among threads, one for every way of sharing, none a multiple of any
# tile or of a thread count, and for every algorithm.
LARGE = [
    Conv((3, 41, 43, 24), (3, 3, 24, 40), padding=1),  # many pixels
    Conv((5, 7, 7, 130), (3, 3, 130, 150), padding=1),  # few pixels, many weights
    Conv((2, 61, 67, 3), (7, 7, 3, 33), stride=2, padding=3),
    Conv((2, 53, 59, 50), (1, 1, 50, 70)),
    Conv((2, 71, 67, 45), (3, 3, 1, 45), padding=1, groups=45),
    Conv((1, 3, 3, 300), (3, 3, 300, 470)),  # one pixel
    Conv((2, 150, 201, 3), (1, 1, 3, 4)),  # several pixels a vector
    Conv((2, 9, 8, 60), (6, 5, 60, 150)),  # pixels with taps of their own
    Conv((1, 57, 59, 48), (3, 3, 12, 64), padding="same", groups=4, stride=2, dilation=2),
    Conv((1, 27, 27, 40), (5, 5, 40, 64), padding=2),  # one panel, which all threads pack
    Conv((2, 17, 17, 96), (1, 7, 96, 150), padding=(0, 3)),  # dL/dW shared out by taps
    Conv((2, 9, 9, 300), (3, 3, 300, 520), padding=1),  # panels packed in parts, in float64
    Conv((17, 23, 23, 8), (1, 1, 8, 16)),  # pieces of dL/dW that differ
    Conv((1, 1, 4001, 24), (1, 3, 24, 40), padding=(0, 1)),  # one row
    Conv((3, 20, 20, 512), (3, 3, 1, 512), padding=1, groups=512),  # strips of dL/dW
]


def in_this_build(n):
    """How many threads a call uses where `n` are asked for."""
    return n if threads.has_openmp() else 1


@pytest.fixture(autouse=True)
def _restore_the_number_of_threads():
    before = fastconv.get_num_threads()
    yield
    fastconv.set_num_threads(before)


# ---- results ----


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", [*LARGE, *GEOMETRIES[:4]], ids=str)
def test_any_number_of_threads_gives_the_same_bits(conv, which):
    for dtype in (np.float32, np.float64):
        a = operands(conv, floats, dtype)
        fastconv.set_num_threads(1)
        want = run(fastconv, which, conv, a)
        for n in (2, 3, 7):
            fastconv.set_num_threads(n)
            assert_same_bits(run(fastconv, which, conv, a), want)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("conv", LARGE, ids=str)
def test_every_run_gives_the_same_bits(conv, which):
    a = operands(conv, floats)
    want = run(fastconv, which, conv, a)
    for _ in range(5):
        assert_same_bits(run(fastconv, which, conv, a), want)


@pytest.mark.parametrize("which", ["forward", "input_grad"])
@pytest.mark.parametrize(
    ("algorithm", "conv"),
    [(name, conv) for name in ALGORITHMS for conv in served_by(name, [*LARGE, *GEOMETRIES])],
    ids=str,
)
def test_an_image_alone_gives_the_same_bits_as_in_a_batch(conv, which, algorithm):
    many = Conv((5, *conv.x[-3:]), conv.w, **conv.kwargs)
    a = operands(many, floats)
    together = run(fastconv, which, many, a, algorithm=algorithm)
    for first, last in ((0, 1), (3, 4), (1, 4)):
        part = {k: v[first:last] if k in ("x", "dy") else v for k, v in a.items()}
        some = Conv((last - first, *conv.x[-3:]), conv.w, **conv.kwargs)
        got = run(fastconv, which, some, part, algorithm=algorithm)
        assert_same_bits(got, np.ascontiguousarray(together[first:last]))


@pytest.mark.parametrize("which", ["forward", "input_grad"])
@pytest.mark.parametrize("conv", [
    Conv((24, 25, 80), (2, 3, 1, 80), groups=80, padding=((1, 0), (1, 1))),
    Conv((24, 25, 80), (5, 5, 1, 80), groups=80, padding=2, stride=2),
    Conv((9, 12, 160), (7, 1, 1, 160), groups=160, padding=((3, 3), (0, 0))),
], ids=str)  # fmt: skip
def test_depthwise_arrays_beyond_the_caches_give_the_same_bits(conv, which):
    """They go by a few rows at a time, others by all rows of a block."""
    images = 17 * _kernels.cache_sizes()["l2"] // (4 * math.prod(conv.x)) + 1
    many = Conv((images, *conv.x), conv.w, **conv.kwargs)
    assert fastconv.explain(many.x, many.w, **conv.kwargs).blocking["strip"] == "8 rows x a tile"
    a = operands(many, floats)
    together = run(fastconv, which, many, a)
    for image in (0, images - 1):
        part = {k: v[image] if k in ("x", "dy") else v for k, v in a.items()}
        assert_same_bits(run(fastconv, which, conv, part), together[image])


def test_calls_from_several_python_threads_at_once():
    """Different calls side by side, among them the same one twice, each with its own result."""
    work = [(conv, which) for conv in [*LARGE[:3], *GEOMETRIES] for which in PASSES]
    ready = [(which, conv, operands(conv, floats)) for conv, which in work]
    want = [run(fastconv, which, conv, a) for which, conv, a in ready]
    with ThreadPoolExecutor(6) as pool:
        futures = [
            pool.submit(run, fastconv, *ready[k % len(ready)]) for k in range(4 * len(ready))
        ]
        for k, future in enumerate(futures):
            assert_same_bits(future.result(timeout=300), want[k % len(ready)])


def test_settings_may_change_while_others_compute():
    """A call reads each setting once; with products of small integers every set gives the same."""
    conv = LARGE[0]
    a = operands(conv)
    want = run(fastconv, "forward", conv, a, algorithm="direct")
    done = threading.Event()

    def change():
        for k in itertools.count(1):
            if done.is_set():
                return
            fastconv.set_num_threads(k % 4 + 1)
            _kernels.use(_kernels.available()[k % len(_kernels.available())])

    before = _kernels.current()
    try:
        with ThreadPoolExecutor(3) as pool:
            changing = pool.submit(change)
            calls = [
                pool.submit(run, fastconv, "forward", conv, a, algorithm="direct")
                for _ in range(40)
            ]
            try:
                for call in calls:
                    assert_same_bits(call.result(timeout=300), want)
            finally:
                done.set()
            changing.result()
    finally:
        _kernels.use(before)


@pytest.mark.parametrize("which", PASSES)
def test_the_gil_is_released_while_computing(which):
    """Another thread, woken before the call, runs before the call has returned.

    With a switch interval of an hour no thread is ever asked to give up the GIL, so the other one
    can only run where this one releases it: inside the call, or when it waits at the end.
    """
    calling, ran_during_the_call = [False], []

    def other(start):
        start.wait()
        ran_during_the_call.append(calling[0])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600)
    try:
        for k in range(50):  # a busy machine may not get to the other thread in a short time
            conv = Conv((4 << k // 10, 56, 56, 48), (3, 3, 48, 48), padding=1)
            a = operands(conv, floats)
            start = threading.Event()
            thread = threading.Thread(target=other, args=(start,))
            thread.start()
            calling[0] = True
            start.set()
            run(fastconv, which, conv, a)
            calling[0] = False
            thread.join()
            if any(ran_during_the_call):
                break
    finally:
        sys.setswitchinterval(interval)
    assert any(ran_during_the_call)


# ---- forks ----


def _child(conv, a, want):
    """Runs in a forked child; an exception ends it with a non-zero exit code."""
    for which in PASSES:
        assert_same_bits(run(fastconv, which, conv, a), want[which])
    with fastconv.num_threads(3):
        assert_same_bits(run(fastconv, "forward", conv, a), want["forward"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_finishes():
    """After parallel calls of the parent, whose OpenMP threads the child does not inherit."""
    fastconv.set_num_threads(4)
    conv = LARGE[0]
    a = operands(conv, floats)
    want = {which: run(fastconv, which, conv, a) for which in PASSES}
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_child, args=(conv, a, want)) for _ in range(2)]
    for child in children:
        child.start()
    try:
        for child in children:
            child.join(timeout=120)
            assert child.exitcode == 0  # None for one that hangs
    finally:
        for child in children:
            child.kill()
    # The parent goes on as before.
    assert_same_bits(run(fastconv, "forward", conv, a), want["forward"])


# ---- settings ----


def test_set_and_get():
    for n in (1, 2, 7, np.int64(3)):
        assert fastconv.set_num_threads(n) is None
        assert fastconv.get_num_threads() == in_this_build(n)
        assert type(fastconv.get_num_threads()) is int


def test_the_context_manager():
    fastconv.set_num_threads(2)
    with fastconv.num_threads(3):
        assert fastconv.get_num_threads() == in_this_build(3)
        with fastconv.num_threads(1):
            assert fastconv.get_num_threads() == 1
        assert fastconv.get_num_threads() == in_this_build(3)
    assert fastconv.get_num_threads() == in_this_build(2)
    with pytest.raises(KeyError), fastconv.num_threads(5):
        raise KeyError
    assert fastconv.get_num_threads() == in_this_build(2)


@pytest.mark.parametrize("value", [0, -1, -(2**70), 2**70, 1.0, "2", None, True], ids=repr)
def test_bad_numbers_of_threads(value):
    error = ValueError if type(value) is int else TypeError
    fastconv.set_num_threads(2)
    with pytest.raises(error, match=rf"\bn\b.*, got {value!r}"):
        fastconv.set_num_threads(value)
    with pytest.raises(error, match=rf"\bn\b.*, got {value!r}"), fastconv.num_threads(value):
        pass
    assert fastconv.get_num_threads() == in_this_build(2)


def test_far_too_many_threads_do_not_crash():
    run_python(
        """
        import fastconv, numpy as np
        try:
            fastconv.set_num_threads(10**9)
        except ValueError as error:
            assert ", got 1000000000" in str(error)
        x, w = np.ones((1, 64, 64, 32), np.float32), np.ones((3, 3, 32, 32), np.float32)
        assert (fastconv.conv2d(x, w, algorithm="direct") == 288).all()
        """
    )


def threads_of_a_new_process(**environment):
    unset = {"FASTCONV_NUM_THREADS": None, "OMP_NUM_THREADS": None}
    code = "import fastconv; print(fastconv.get_num_threads())"
    return int(run_python(code, **{**unset, **environment}))


def test_the_environment():
    assert threads_of_a_new_process(FASTCONV_NUM_THREADS="1") == 1
    assert threads_of_a_new_process(OMP_NUM_THREADS="1") == 1
    assert threads_of_a_new_process(OMP_NUM_THREADS="1,2") == 1  # OpenMP's list, by nesting level
    two = threads_of_a_new_process(FASTCONV_NUM_THREADS="2", OMP_NUM_THREADS="1")
    assert two == in_this_build(2)
    assert threads_of_a_new_process(FASTCONV_NUM_THREADS="1", OMP_NUM_THREADS="2") == 1


@pytest.mark.parametrize("value", ["", " ", "0", "-3", "many", "1.5", ",", "9" * 30])
def test_an_openmp_setting_that_makes_no_sense_is_survived(value):
    """It is not only ours; libgomp, too, goes on after a complaint on stderr."""
    assert threads_of_a_new_process(OMP_NUM_THREADS=value) >= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("FASTCONV_NUM_THREADS", value) for value in ("0", "-3", "many", "1.5", "1,2", "9" * 30)]
    + [("FASTCONV_SERIAL_FLOPS", value) for value in ("-1", "many", "nan", "1e6x")],
)
def test_a_setting_of_ours_that_makes_no_sense_is_refused(name, value):
    run_python(
        f"""
        try:
            import fastconv
        except ValueError as error:
            assert {name!r} in str(error)
            assert str(error).endswith(", got {value!r}"), error
        else:
            raise AssertionError("not refused")
        """,
        **{name: value},
    )


@pytest.mark.parametrize(("value", "of_two"), [("", 1), ("0", 2), ("1e12", 1)])
def test_calls_below_the_threshold_use_one_thread(value, of_two):
    """20x20, 8 to 8 channels, 3x3, is less than a MFLOP."""
    code = """
        import fastconv
        fastconv.set_num_threads(2)
        said = fastconv.explain((1, 20, 20, 8), (3, 3, 8, 8), padding=1, algorithm="direct")
        print(said.blocking["tasks"].split(" on ")[1].split()[0])
    """
    assert int(run_python(code, FASTCONV_SERIAL_FLOPS=value)) == in_this_build(of_two)


def test_an_empty_setting_is_none():
    assert threads_of_a_new_process(FASTCONV_NUM_THREADS="", OMP_NUM_THREADS="1") == 1


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this platform has no CPU affinity to respect"
)
def test_the_affinity_bounds_the_default():
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import fastconv
        print(fastconv.get_num_threads())
        """
    assert int(run_python(code, FASTCONV_NUM_THREADS=None, OMP_NUM_THREADS=None)) == 1


# ---- denormals ----


def denormals_work():
    """Whether this thread computes with denormals, by NumPy and by Python's own float."""
    tiny = np.array([1e-40], np.float32)
    return bool((tiny * np.float32(0.5) > 0)[0]) and 1e-310 * 0.5 > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("conv", [GEOMETRIES[0], GEOMETRIES[19], *LARGE], ids=str)
def test_denormals_are_flushed_and_the_mode_is_restored(conv, dtype):
    """Denormals count as zero inside, on every thread; outside they are as they were."""
    assert denormals_work()
    tiny = {np.float32: 1e-40, np.float64: 1e-310}[dtype]
    a = operands(conv, floats, dtype)
    a["bias"] = None
    denormal = {**a, "x": np.full_like(a["x"], tiny), "dy": np.full_like(a["dy"], tiny)}
    with fastconv.num_threads(3):
        for which in PASSES:
            other = "w" if which != "weight_grad" else "dy"
            result = run(fastconv, which, conv, {**denormal, other: a[other]})
            assert not result.any()
            assert denormals_work()


def test_the_mode_is_restored_after_an_error_and_in_every_thread():
    conv = LARGE[0]
    a = operands(conv, floats)

    def call(_):
        run(fastconv, "forward", conv, a)
        with pytest.raises(ValueError, match="stride"):
            fastconv.conv2d(a["x"], a["w"], stride=0)
        return denormals_work()

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(call, range(12)))
