"""The public functions with each instruction set of this machine, and the choice of one."""

import functools

import kernel_abi as abi
import numpy as np
import pytest
from helpers import (
    DTYPES,
    GEOMETRIES,
    PASSES,
    Conv,
    assert_same,
    assert_same_bits,
    floats,
    ints,
    operands,
    run,
    run_python,
)

import fastconv
from fastconv import _kernels, reference

SETS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name not in _kernels.available(),
            reason=f"not run: this machine or this build has no {name}",
        ),
    )
    for name in abi.INSTRUCTION_SETS
]
FUSED = [name for name in _kernels.available() if name in ("avx2", "avx512", "neon")]

LANES = max(table["lanes"] for table in _kernels.tables())
NARROW = max(table["narrow_panel"] for table in _kernels.tables())

# More than one block, panel and piece of every pass, and no multiple of any tile.
LARGER = [
    Conv((3, 23, 29, 24), (3, 3, 24, 70), padding=1),
    Conv((2, 7, 7, 130), (3, 3, 130, 150), padding=1),
    Conv((1, 61, 67, 3), (7, 7, 3, 33), stride=2, padding=3),
    Conv((1, 31, 33, 50), (1, 1, 50, 70)),
    Conv((2, 41, 37, 45), (3, 3, 1, 45), padding=1, groups=45),
    Conv((1, 27, 29, 48), (3, 3, 12, 64), padding="same", groups=4, stride=2, dilation=2),
    Conv((2, 33, 41, 40), (3, 3, 4, 40), padding=1, groups=10),  # small groups
    Conv((1, 9, 11, 350), (3, 3, 70, 500), padding=1, groups=5),  # gathered by three
    Conv((1, 12, 13, 350), (3, 3, 70, 500), padding=1, groups=5, stride=2),
    Conv((2, 19, 50, 32), (5, 5, 8, 32), padding=2, groups=4, stride=(1, 2)),
    Conv((1, 60, 133, 1), (3, 3, 1, 1), padding=1),  # filters of single-channel images
    Conv((2, 31, 77, 1), (5, 3, 1, 3), padding=(2, 1), dilation=(1, 2)),
    Conv((1, 30, 67, 3), (3, 3, 1, 3), padding="same", groups=3, stride=(2, 1)),
    Conv((2, 21, 37, 64), (3, 3, 1, 64), padding=1, groups=64, stride=2),
    Conv((2, 25, 33, 96), (5, 5, 1, 96), padding=2, groups=96),  # long enough to be aligned
    Conv((1, 26, 28, 20), (3, 3, 20, 24), padding=9, dilation=9),  # mostly padding
    Conv((3, 1, 1, 70), (3, 3, 70, 90), padding=1),
    Conv((3, 7, 7, 64), (7, 7, 64, 96)),
]


@pytest.fixture
def use():
    """Choose an instruction set for one test."""
    before = _kernels.current()
    yield _kernels.use
    _kernels.use(before)


@functools.cache
def exact_case(conv):
    """Small integers for `conv` and, in float64, what each pass makes of them."""
    a = operands(conv, ints, np.float64)
    return a, {which: run(reference, which, conv, a) for which in PASSES}


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("conv", [*GEOMETRIES, *LARGER], ids=str)
def test_exact_in_every_set(conv, isa, use):
    use(isa)
    a, want = exact_case(conv)
    for dtype in DTYPES:
        converted = {name: values.astype(dtype) for name, values in a.items()}
        for which in PASSES:
            assert abs(want[which]).max(initial=0) < 2**24
            got = run(fastconv, which, conv, converted, algorithm="direct")
            assert_same(got, want[which].astype(dtype))


def order_is_fixed(which, conv):
    """Whether sums are chains in one order, which those that are cut into lanes are not.

    They may be where output channels are few, where a vector of dL/dW takes several pixels, where
    it holds a whole group of channels, in dL/dx of an output of one or two pixels, and in gradients
    of several filters over a channel, which may go as groups.
    And 3x3 taps in wide images go channel by channel where the input (forward: or a group of it)
    has few, or the output half a vector of them.
    """
    depth, filters = conv.w[2], conv.w[3]
    several = conv.groups > 1 and depth == 1 and filters > conv.groups
    if which == "weight_grad" and depth == 1 and (several or filters < LANES):
        return False
    height, width, _ = fastconv.conv2d_output_shape(conv.x, conv.w, **conv.kwargs)[-3:]
    inputs, outputs = (depth, filters) if which == "forward" else (filters, depth)
    wide = conv.w[:2] == (3, 3) and conv.x[-2] >= 16
    if (
        which != "weight_grad"
        and wide
        and conv.groups == 1
        and (inputs <= 4 or 2 * outputs <= LANES)
    ):
        return False
    if which == "forward" and wide and conv.groups > 1 and 1 < depth <= 4:
        return False
    if which == "input_grad" and (several or height * width <= 2):
        return False
    few = LANES + 1 if conv.w[1] in (5, 7) else LANES  # windows of taps serve whole vectors, too
    if 1 < depth <= filters // conv.groups < few and conv.groups > 1:
        return which == "weight_grad" and (depth > 4 or conv.w[:2] != (3, 3))
    width = {"forward": conv.w[3] // conv.groups, "input_grad": depth}.get(which, NARROW + 1)
    return width > NARROW or (conv.groups > 1 and depth == 1)  # depthwise: along channels


@pytest.mark.skipif(len(FUSED) < 2, reason=f"not run: nothing to compare, there is only {FUSED}")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("conv", [*GEOMETRIES, *LARGER], ids=str)
def test_sets_with_fused_products_give_the_same_bits(conv, dtype, use):
    a = operands(conv, floats, dtype)
    for which in filter(lambda which: order_is_fixed(which, conv), PASSES):
        results = []
        for isa in FUSED:
            use(isa)
            results.append(run(fastconv, which, conv, a, algorithm="direct"))
        for result in results[1:]:
            assert_same_bits(result, results[0])


@pytest.mark.skipif(not FUSED, reason="not run: this machine has only the portable kernels")
@pytest.mark.parametrize("which", PASSES)
def test_the_set_in_use_is_the_one_that_computes(which, use):
    """Portable code rounds products, the others do not: results of long sums must differ."""
    conv = LARGER[0]
    a = operands(conv, floats)
    results = {}
    for isa in ("portable", FUSED[-1]):
        use(isa)
        assert _kernels.current() == isa
        results[isa] = run(fastconv, which, conv, a, algorithm="direct")
    portable, fused = results.values()
    assert (portable != fused).any()
    np.testing.assert_allclose(portable, fused, rtol=0, atol=1e-2)


def test_the_widest_set_is_the_default(use):
    use("portable")
    use()
    assert _kernels.current() == _kernels.available()[-1]


def test_a_set_that_is_not_there_is_refused(use):
    before = _kernels.current()
    for name in ("sse9", "AVX2", "", *(set(abi.INSTRUCTION_SETS) - set(_kernels.available()))):
        with pytest.raises(ValueError, match=rf"portable.*got '{name}'$"):
            use(name)
    assert _kernels.current() == before


@pytest.mark.parametrize("isa", SETS)
def test_the_environment_chooses_the_set(isa):
    code = "from fastconv import _kernels; print(_kernels.current())"
    assert run_python(code, FASTCONV_ISA=isa) == f"{isa}\n"


@pytest.mark.parametrize("unset", [None, ""], ids=["unset", "empty"])
def test_without_the_variable_the_widest_set_is_used(unset):
    code = "from fastconv import _kernels; print(_kernels.current())"
    assert run_python(code, FASTCONV_ISA=unset) == f"{_kernels.available()[-1]}\n"


def test_a_bad_variable_is_refused_at_import():
    code = """
        try:
            import fastconv
        except ValueError as error:
            print(error)
    """
    assert run_python(code, FASTCONV_ISA="sse9") == (
        f"FASTCONV_ISA must be one of {', '.join(_kernels.available())}, got 'sse9'\n"
    )
