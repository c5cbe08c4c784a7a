"""Every micro-kernel in every instruction set of this machine, exactly, between protected pages.

The instruction sets that this machine lacks are skipped tests, whose reasons say so.
"""

import ctypes
import faulthandler
import itertools
import random

import guarded
import kernel_abi as abi
import numpy as np
import pytest
from guarded import LAYOUTS, Call
from helpers import assert_same_bits, floats, run_python
from kernel_cases import CASES

FMA = ("avx2", "avx512", "neon")  # one rounding for each product and its sum
# What depends on the length of a vector: the width of a panel, the order of a sum.
BY_LANES = ("pack", "conv_narrow")
# What takes at least one vector of channels.
WHOLE_VECTORS = ("depthwise_phases",)


def table_of(isa, dtype):
    table = abi.table(isa, dtype)
    if table is None:
        pytest.skip(f"not run: this machine or this build has no {isa}")
    return table


def calls(name, table, layout):
    """(description, function) of every case; gaps between rows differ from case to case.

    All of them in the first layout, in each of the others a half, drawn anew: layouts differ in
    what a stray access meets, and case after case strays alike.
    """
    function, cases = CASES[name]
    chosen = random.Random(f"{name} {layout}")
    for case in cases(table):
        if layout != LAYOUTS[0] and chosen.random() < 0.5:
            continue
        call = Call(table, layout, chosen.choice((0, 0, 1, 5)))
        yield f"{name} {case} gap={call.gap}", lambda call=call, case=case: function(call, **case)


@pytest.mark.parametrize("name", abi.KERNELS)
def test_every_kernel_is_tested(name):
    assert name in CASES, f"write a formula and cases for {name} in kernel_cases.py"
    assert all(found[name] for isa in abi.INSTRUCTION_SETS for dtype in abi.DTYPES
               if (found := abi.table(isa, dtype)))  # fmt: skip


def test_the_tables_agree_with_the_header():
    assert set(CASES) == set(abi.KERNELS) == set(abi.STRUCTS)
    assert abi.table("portable", "float32")


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", abi.DTYPES)
@pytest.mark.parametrize("isa", abi.INSTRUCTION_SETS)
@pytest.mark.parametrize("name", abi.KERNELS)
def test_kernel(name, isa, dtype, layout):
    guarded.run_all(calls(name, table_of(isa, dtype), layout))


@pytest.mark.parametrize("dtype", abi.DTYPES)
@pytest.mark.parametrize("name", [name for name in abi.KERNELS if name not in BY_LANES])
def test_sets_with_fused_products_agree_bit_for_bit(name, dtype):
    """And portable code is within rounding of the formula, as they are: `Call` sees to that."""
    function, cases = CASES[name]
    tables = [abi.table(isa, dtype) for isa in abi.INSTRUCTION_SETS]
    tables = [table for table in tables if table]
    assert tables
    # Sizes of the narrowest tile, which every set can take; other sizes are tails in all of them.
    sizes = cases(tables[-1 if name in WHOLE_VECTORS else 0])
    # Pairs, groups of more inputs than outputs, and whole vectors that share inputs are laid out by
    # the lanes that a set has.
    sizes = (case for case in sizes if not (case.get("pairs") or case.get("outputs")))
    sizes = (case for case in sizes if case.get("shared") in (None, case.get("channels")))
    for case in itertools.islice(sizes, 0, None, 7):
        results = {
            table["isa"]: function(Call(table, LAYOUTS[0], make=floats), **case) for table in tables
        }
        fused = [result for isa, result in results.items() if isa in FMA]
        for result in fused[1:]:
            assert_same_bits(result, fused[0])


# ---- what the tests rest on ----


@pytest.mark.skipif(
    not guarded.CAN_PROTECT, reason="not run: pages are protected on Linux and macOS only"
)
@pytest.mark.parametrize("access", ["operand.view[0, 0]", "at[0]", "at[0] = 0"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_stray_access_faults(layout, access):
    """One element beyond either end, by a read or a write; inside, nothing happens."""
    code = f"""
        import ctypes, sys
        sys.path.insert(0, {str(abi.SRC.parent / "tests")!r})
        import guarded
        layout = guarded.Layout({layout.side!r}, {layout.apart})
        operand = guarded.Pool().operand((3, 5), "f4", layout, 0)
        step = 15 if not layout.apart else 5
        first = operand.address + (-4 if layout.side == "begin" else 4 * step)
        at = (ctypes.c_float * 1).from_address(first)
        {access}
        print("survived")
    """
    if access.startswith("operand"):
        assert run_python(code) == "survived\n"
    else:
        with pytest.raises(AssertionError, match="exit status") as failure:
            run_python(code)
        assert "survived" not in str(failure.value)


@pytest.mark.skipif(not guarded.CAN_FORK, reason="not run: this system has no fork")
def test_a_fault_is_a_failed_test_that_names_the_case():
    def fault():
        faulthandler.disable()  # in this child; the fault is meant, a dump of it would mislead
        operand = guarded.Pool().operand((1, 1), "f4", LAYOUTS[0], 0)
        np.frombuffer((ctypes.c_float * 2).from_address(operand.address), "f4").copy()

    with pytest.raises(pytest.fail.Exception, match="this case"):
        guarded.run_all([("another", lambda: None), ("this case", fault)])


def test_a_wrong_result_fails():
    table = abi.table("portable", "float32")

    def wrong():
        call = Call(table, LAYOUTS[0])
        out = call.output(call.values(1, 3), np.zeros((1, 3)) + 99)
        call("add", out, count=0, term=None, sum=out.address)

    def stray():
        call = Call(table, LAYOUTS[0])
        out = call.output(call.values(1, 3), np.zeros((1, 3)))
        out.everything[0, 0] = 0
        out.view[...] = 0
        call("add", out, count=0, term=None, sum=out.address)

    with pytest.raises(pytest.fail.Exception, match="Mismatched elements"):
        guarded.run_all([("wrong", wrong)])
    with pytest.raises(pytest.fail.Exception, match="outside its output"):
        guarded.run_all([("stray", stray)])
    with pytest.raises(pytest.fail.Exception, match="there are no cases"):
        guarded.run_all([])


def test_a_call_names_every_field():
    with pytest.raises(TypeError, match="add takes"):
        abi.call(abi.table("portable", "float32"), "add", count=0, sum=None)
