"""Operands of a kernel call in memory where every stray access shows.

An operand ends (or begins) exactly at a page that may not be touched, so that a read or write
beyond it faults.  On its other side, and in the gaps between its rows, lies poison: NaN, or an
integer that is no address and no offset.  Poison that is read spoils the result, poison that is
overwritten is noticed by `check`.
"""

import contextlib
import ctypes
import dataclasses
import mmap
import os
import signal
import sys
import traceback
import warnings

import kernel_abi as abi
import numpy as np
import pytest
from helpers import ints

CAN_PROTECT = sys.platform in ("linux", "darwin")
CAN_FORK = hasattr(os, "fork")
MARGIN = 64  # elements of poison; no panel is wider


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which end of an operand meets a protected page, and whether that of each row does."""

    side: str  # "begin" or "end"
    apart: bool  # every row on pages of its own, else one after the other

    def __str__(self):
        return f"rows {self.side}" if self.apart else self.side


LAYOUTS = [Layout(side, apart) for side in ("end", "begin") for apart in (False, True)]


class Arena:
    """`rows` stretches of `pages` pages, with a protected page before, between and after them."""

    def __init__(self, rows, pages):
        self.step = (pages + 1) * mmap.PAGESIZE
        self.memory = mmap.mmap(-1, rows * self.step + mmap.PAGESIZE)
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        if CAN_PROTECT:
            mprotect = ctypes.CDLL(None, use_errno=True).mprotect
            mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
            for row in range(rows + 1):
                if mprotect(self.base + row * self.step, mmap.PAGESIZE, 0):  # 0 is PROT_NONE
                    raise OSError(ctypes.get_errno(), "mprotect")


class Operand:
    """`rows` x `width` elements; `address` is that of the first, `stride` that from row to row.

    Lines are what touches protected pages: the rows, or all of them as one.
    """

    def __init__(self, arena, shape, dtype, layout, gap):
        rows, width = shape
        size = np.dtype(dtype).itemsize
        self.poison = np.nan
        if np.dtype(dtype).kind == "i":
            self.poison = np.iinfo(dtype).min + 0x5EED
        self.stride = arena.step // size if layout.apart else width + gap
        lines = rows if layout.apart else min(rows, 1)
        length = width if layout.apart else max((rows - 1) * self.stride + width, 0)
        start = mmap.PAGESIZE
        if layout.side == "end":
            start = arena.step - length * size
        first_margin = start - (MARGIN * size if layout.side == "end" else 0)
        self.address = arena.base + start
        # NumPy may refuse an empty view that starts where its buffer ends.
        self.view = np.empty(shape, dtype)
        if self.view.size:
            strides = (self.stride * size, size)
            self.view = np.ndarray(shape, dtype, arena.memory, start, strides)
        self.everything = np.ndarray(
            (lines, length + MARGIN), dtype, arena.memory, first_margin, (arena.step, size)
        )
        self.everything[...] = self.poison

    def addresses(self, order=None):
        """Of the rows, in this order."""
        rows = np.arange(len(self.view)) if order is None else order
        return self.address + rows * (self.stride * self.view.itemsize)

    def check(self, want, error=0.0):
        """Holds `want`, to `error`, and poison around it; what it held is gone afterwards."""
        if error:
            np.testing.assert_allclose(self.view, want, rtol=0, atol=error)
        elif self.view.tobytes() != want.tobytes():  # quicker, and mostly enough
            np.testing.assert_array_equal(self.view, want)
        self.view[...] = self.poison
        rest = self.everything
        untouched = np.isnan(rest) if np.isnan(self.poison) else rest == self.poison
        assert untouched.all(), "the kernel wrote outside its output"


class Pool:
    """Arenas to use again: to map and protect pages takes longer than a kernel."""

    def __init__(self):
        self.free = {}
        self.used = []

    def operand(self, shape, dtype, layout, gap):
        rows, width = shape
        length = width if layout.apart else rows * (width + gap)
        pages = -(-(length + MARGIN) * np.dtype(dtype).itemsize // mmap.PAGESIZE)
        key = 1 << max(rows - 1, 0).bit_length() if layout.apart else 1, pages
        arenas = self.free.setdefault(key, [])
        arena = arenas.pop() if arenas else Arena(*key)
        self.used.append((key, arena))
        return Operand(arena, shape, dtype, layout, gap)

    def release(self):
        """Nothing that `operand` gave is in use any more."""
        while self.used:
            key, arena = self.used.pop()
            self.free[key].append(arena)


class Call:
    """One call of a kernel: makes its operands, calls, compares each with what it should hold."""

    pool = Pool()

    def __init__(self, table, layout, gap=0, make=ints):
        self.table, self.layout, self.gap = table, layout, gap
        self.dtype = np.dtype(table["dtype"])
        self.make = make
        self.rng = np.random.default_rng(0)
        self.operands = []

    def values(self, *shape):
        return self.make(self.rng, shape, self.dtype)

    def rows(self, values, gap=None):
        """An operand that holds `values`, [rows][width]."""
        gap = self.gap if gap is None else gap
        operand = self.pool.operand(values.shape, values.dtype, self.layout, gap)
        operand.view[...] = values
        self.operands.append([operand, values, 0.0])
        return operand

    def line(self, values):
        """The address of an operand of one row."""
        return self.rows(np.asarray(values)[None]).address

    def output(self, start, want, terms=0, exact=True):
        """An operand that the kernel writes: `start` before, then `want`, sums of `terms` products.

        Floats in [-1, 1) may miss by the rounding of every product and sum, and so may integers
        where the kernel's own constants make products that are not `exact`.
        """
        operand = self.rows(start)
        error = 0.0 if self.make is ints and exact else terms**2 * np.finfo(self.dtype).eps
        self.operands[-1][1:] = want, error
        return operand

    def room(self, vectors):
        """The address of memory that the kernel may use, aligned to vectors."""
        operand = self.rows(self.unread(1, vectors * self.table["lanes"]), 0)
        self.operands[-1][1] = None
        return operand.address

    def unread(self, *shape):
        return np.full(shape, np.nan, self.dtype)

    def bytes(self, elements):
        return elements * self.dtype.itemsize

    def __call__(self, name, output=None, **fields):
        """What `output` holds after the call."""
        abi.call(self.table, name, **fields)
        got = output.view.copy() if output else None
        for operand, want, error in self.operands:
            operand.check(operand.view.copy() if want is None else want, error)
        self.pool.release()
        return got


def _run_all(cases, say):
    """Run every case, saying which; the last word is how it went."""
    case, count = None, 0
    try:
        for case, function in cases:
            say(f"{case}\n")
            function()
            count += 1
    except BaseException:
        return f"{case}\n{traceback.format_exc()}"
    return "" if count else "there are no cases"


def run_all(cases):
    """Call each function of the pairs (description, function), in a child where there is fork.

    So a fault is one failed test that names the case, and not the end of the test run.
    """
    if not CAN_FORK:
        failure = _run_all(cases, lambda text: None)
        if failure:
            pytest.fail(failure, pytrace=False)
        return
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Other threads, if any, wait for work in an OpenMP pool; the child never calls into it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            os.close(reader)
            failure = _run_all(cases, lambda text: os.write(writer, text.encode()))
            os.write(writer, failure.encode())
            status = 1 if failure else 0
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        lines = pipe.readlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        case = lines[-1].strip() if lines else "no case"
        pytest.fail(f"{signal.Signals(-status).name} in {case}", pytrace=False)
    elif status:
        # The failure repeats the case; what came before it is of no interest.
        pytest.fail("".join(lines[-40:]), pytrace=False)
