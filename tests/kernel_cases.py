"""For every micro-kernel: a call against its formula in plain NumPy, and the sizes to try.

`CASES` maps the names of src/kernels.def to both.  Sizes derive from the tiles in the kernel
tables; every operand lies next to protected pages and unread elements are NaN (guarded.py).
"""

import functools
import itertools

import numpy as np
from kernel_depthwise import (
    depthwise,
    depthwise_cases,
    depthwise_grad,
    depthwise_grad_cases,
    depthwise_phases,
    depthwise_phases_cases,
)
from kernel_sizes import STARTS, add_start, around, around_vectors, case, wide
from kernel_winograd import (
    winograd,
    winograd_cases,
    winograd_few,
    winograd_few_cases,
    winograd_few_grad,
    winograd_few_grad_cases,
    winograd_weights,
    winograd_weights_cases,
)

# ---- one function a kernel: a call of the sizes given, against its formula ----


def conv(
    call, pixels, columns, runs, start, name="conv", ordered=False, stepped=False, permute=False
):
    count, length = runs
    lanes = call.table["lanes"]
    offset = call.rng.permutation(count) * (length + 1)
    x = call.values(pixels, count, length)
    source = call.unread(pixels, max(count * (length + 1) - 1, 0))
    for run_values, at in zip(x.swapaxes(0, 1), offset, strict=True):
        source[:, at : at + length] = run_values
    w = call.values(count * length, columns)
    run_k = call.rng.permutation(count) * length  # in any order, too
    rows = (run_k[:, None] + np.arange(length)).ravel()
    if name == "conv_narrow":
        weights = w.T
    elif name == "gemv":
        weights = w
    else:  # whole vectors are read, whatever they hold
        weights = call.unread(count * length, -(-columns // lanes) * lanes)
        weights[:, :columns] = w
    bias = call.values(columns)
    before = call.values(pixels, columns)
    want = np.einsum("pk,kn->pn", wide(x).reshape(pixels, count * length), wide(w[rows]))
    add_start(start, want, before, bias)
    line = stepped and name == "conv"  # without gaps, as of a single row
    weights_at = call.rows(weights)
    source = call.rows(x.reshape(1, -1) if line else source)
    if line:
        before, want = before.reshape(1, -1), want.reshape(1, -1)
    out = call.output(before, want, count * length + 1)
    order = np.arange(pixels) if ordered or stepped else call.rng.permutation(pixels)
    known = order[:1] if stepped else order  # the others follow from the first
    vector = call.table["lanes"] * call.dtype.itemsize
    stream = (name == "conv" and pixels % 2 == 0 and columns % call.table["lanes"] == 0
              and "out" not in start and not (out.addresses(order) % vector).any())  # fmt: skip
    return call(
        name,
        out,
        pixels=pixels,
        columns=columns,
        runs=count,
        run_length=length,
        **{"in": call.line(source.addresses(known) - call.bytes(7))},
        in_step=(length if line else source.stride) if stepped else 0,
        in_offset=7,
        out=call.line(out.addresses(known) + call.bytes(5)),
        out_step=(columns if line else out.stride) if stepped else 0,
        out_offset=-5,
        run_offset=call.line(offset),
        run_k=call.line(run_k + 3),
        k_offset=-3,
        weights=weights_at.address,
        weights_stride=weights_at.stride,
        bias=call.line(bias) if "bias" in start else None,
        permute=permute,
        stream=stream,
        accumulate="out" in start,
    )


def conv_cases(table):
    runs = itertools.cycle([(1, 1), (3, 5), (2, 8), (1, 13), (4, 1), (2, 0), (0, 3)])
    # Narrower panels have tiles up to twice as high as the widest one's, which the table tells.
    for pixels in range(4 * table["conv_rows"] + 2):
        lanes, most = table["lanes"], table["conv_panel"]
        halves = [n + lanes // 2 for n in range(lanes, most, lanes)]  # two pixels share a vector
        for columns in (*around_vectors(lanes, most), *halves):
            yield case(pixels=pixels, columns=columns, runs=next(runs), start=STARTS[pixels % 4])
    some = (1, table["lanes"] + 1, table["conv_panel"] - table["lanes"] // 2, table["conv_panel"])
    for columns, start in itertools.product(some, STARTS):
        for pixels in around(table["conv_rows"]):
            yield case(pixels=pixels, columns=columns, runs=(3, 7), start=start)
    lanes, starts = table["lanes"], itertools.cycle(STARTS)
    for pixels, length in itertools.product(
        range(4 * table["conv_rows"] + 2), (lanes, 2 * lanes + 3)
    ):
        sizes = case(pixels=pixels, runs=(2, length), permute=True)
        for columns in (1, lanes):
            yield sizes | case(columns=columns, start=next(starts))
    # Pixels that follow one another, several a vector: whole vectors for some time, then parts.
    few = itertools.cycle(("zero", "bias"))
    for columns, length in itertools.product(range(1, lanes + 1), repeat=2):
        tile = 4 * (lanes // max(columns, length)) + lanes // min(columns, length)
        for pixels in (1, lanes - 1, tile, tile + 1, 6 * lanes):
            yield case(
                pixels=pixels, columns=columns, runs=(1, length), start=next(few), stepped=True
            )


conv_narrow = functools.partial(conv, name="conv_narrow")
gemv = functools.partial(conv, name="gemv")


def gemv_cases(table):
    """Up to four pixels, up to eight rows of weights at a time."""
    starts, runs = itertools.cycle(STARTS), itertools.cycle((1, 3))
    for columns in around(table["lanes"], 3 * table["lanes"]):
        for pixels, length in itertools.product(range(8), (0, 1, 2, 7, 8, 9, 19)):
            yield case(
                pixels=pixels, columns=columns, runs=(next(runs), length), start=next(starts)
            )


def conv_narrow_cases(table):
    """Vectors go along the runs here; the tile is a few pixels high."""
    starts = itertools.cycle(STARTS)
    for columns in (*range(1, table["narrow_panel"] + 1), 2 * table["narrow_panel"] + 1):
        for length in [0, *around_vectors(table["lanes"], 3 * table["lanes"])]:
            for pixels, runs in itertools.product((0, 1, 2, 3, 4, 5, 9), (1, 3)):
                yield case(pixels=pixels, columns=columns, runs=(runs, length), start=next(starts))
        # An output without gaps is written by vectors.
        for pixels, start in itertools.product(around(table["lanes"]), STARTS):
            sizes = case(pixels=pixels, columns=columns, runs=(2, 5), start=start)
            yield from (sizes | case(ordered=True), sizes | case(stepped=True))
            yield sizes | case(runs=(1, table["lanes"] + 3), stepped=True)


def grad(call, pixels, rows, columns, accumulate, name="grad", runs=1, permute=False):
    lanes = call.table["lanes"]
    x = call.values(pixels, rows)
    dy = call.unread(pixels, -(-columns // lanes) * lanes if name == "grad" else columns)
    dy[:, :columns] = call.values(pixels, columns)
    before = call.values(rows, columns)
    want = np.einsum("pm,pn->mn", wide(x), wide(dy[:, :columns]))
    if accumulate:
        want += before
    else:
        before[...] = np.nan
    length = rows // runs
    order = call.rng.permutation(runs)  # of the runs, in the input
    source = call.unread(pixels, max(runs * (length + 1) - 1, 0))
    for run in range(runs):
        at = order[run] * (length + 1)
        source[:, at : at + length] = x[:, run * length : (run + 1) * length]
    source, dy = call.rows(source), call.rows(dy)
    out = call.output(before, want, pixels + 1)
    return call(
        name,
        out,
        pixels=pixels,
        rows=rows,
        columns=columns,
        **{"in": call.line(source.addresses() + call.bytes(3))},
        in_offset=-3,
        run_length=length,
        run_offset=call.line(order * (length + 1)) if runs > 1 else None,
        dy=call.line(dy.addresses() - call.bytes(2)),
        dy_offset=2,
        grad=out.address,
        grad_stride=out.stride,
        ahead=1 << 20,  # wherever that is: to prefetch is not to read
        permute=permute,
        accumulate=accumulate,
    )


def grad_cases(table):
    accumulate = itertools.cycle((False, True, True, False, True))
    for rows in range(2 * table["grad_rows"] + 2):
        for columns in around_vectors(table["lanes"], table["grad_panel"]):
            for pixels in (0, 1, 2, 9):
                sizes = case(pixels=pixels, rows=rows, columns=columns)
                yield sizes | case(accumulate=next(accumulate))
                if columns <= table["lanes"]:
                    yield sizes | case(accumulate=next(accumulate), permute=True)
    # Short runs joined: every height of those tiles, and two of them.
    for runs, length in itertools.product(range(2, 6), range(1, 6)):
        for columns in around_vectors(table["lanes"], table["grad_panel"]):
            tile = case(pixels=9, rows=runs * length, columns=columns, runs=runs)
            yield tile | case(accumulate=next(accumulate))


grad_swapped = functools.partial(grad, name="grad_swapped")


def grad_swapped_cases(table):
    """Vectors go along the rows here, and the tile's height along the columns."""
    accumulate = itertools.cycle((False, True, True, False, True))
    for rows in [0, *around_vectors(table["lanes"], 5 * table["lanes"]), 9 * table["lanes"] + 3]:
        for columns in range(1, 2 * table["grad_rows"] + 2):
            for pixels in (0, 1, 9):
                yield case(pixels=pixels, rows=rows, columns=columns, accumulate=next(accumulate))
    # Runs joined, with and without half a vector left over of each.
    tile = min(table["grad_rows"], 8)
    for runs, halves in itertools.product(range(2, 6), range(1, 6)):
        length = halves * max(table["lanes"] // 2, 1)
        for columns in (1, tile, tile + 1, 2 * tile):
            sizes = case(pixels=9, rows=runs * length, columns=columns, runs=runs)
            yield sizes | case(accumulate=next(accumulate))
            yield sizes | case(rows=runs * (length + 1), accumulate=next(accumulate))


ger = functools.partial(grad, name="ger")


def ger_cases(table):
    """A few pixels only."""
    accumulate = itertools.cycle((False, True, True, False, True))
    for columns in around(table["lanes"], 3 * table["lanes"]):
        for pixels, rows in itertools.product(range(5), (0, 1, 2, 7)):
            yield case(pixels=pixels, rows=rows, columns=columns, accumulate=next(accumulate))


def pack(call, rows, columns, order, flip=False, special=(), finite=1):
    """`order`: which axis of the source is dense; `special`: (row, column, value) of elements."""
    lanes = call.table["lanes"]
    source = call.values(rows, columns)
    want_finite = finite
    for row, column, value in special:
        source[row, column] = value
        want_finite = want_finite and int(np.isfinite(value))
    want = np.zeros((rows, -(-columns // lanes) * lanes), call.dtype)
    want[:, :columns] = source
    step = 3 if order == "scattered" else 1
    if order == "transposed":
        source = source.T
    spread = call.unread(source.shape[0], (source.shape[1] - 1) * step + 1)
    spread[:, ::step] = source[::-1] if flip else source
    operand = call.rows(spread)
    first, stride = operand.address, operand.stride
    if flip:  # rows upwards
        first, stride = first + call.bytes((len(spread) - 1) * stride), -stride
    strides = (step, stride) if order == "transposed" else (stride, step)
    # The rows of a panel follow one another, so only its two ends meet protected pages.
    panel = call.output(call.unread(1, want.size), want.reshape(1, -1))
    flag = call.output(np.array([[finite]], np.int32), np.array([[want_finite]], np.int32))
    return call(
        "pack",
        panel,
        rows=rows,
        columns=columns,
        source=first,
        row_stride=strides[0],
        column_stride=strides[1],
        panel=panel.address,
        panel_stride=want.shape[1],
        finite=flag.address,
    )


def pack_cases(table):
    lanes, panel = table["lanes"], max(table["conv_panel"], table["grad_panel"])
    flip = itertools.cycle((False, True, False))
    for order in ("rows", "transposed", "scattered"):
        for columns in [*around_vectors(lanes, 2 * lanes), panel - 1, panel, panel + 1]:
            for rows in around_vectors(lanes, 3 * lanes):
                yield case(rows=rows, columns=columns, order=order, flip=next(flip))
        most = np.finfo(table["dtype"]).max
        rows, columns = lanes + 2, 2 * lanes + 1
        large = [(0, 0, most), (1, 0, -most), (2, 1, np.finfo(table["dtype"]).smallest_subnormal)]
        yield case(rows=rows, columns=columns, order=order, special=large)
        for row, column in itertools.product(range(rows), range(columns)):
            value = (np.nan, np.inf, -np.inf)[(row + column) % 3]
            yield case(rows=rows, columns=columns, order=order, special=[(row, column, value)])
        yield case(rows=1, columns=1, order=order, finite=0)


def gather(call, pixels, outer, inner, ends, axes, pixel_major, repeat=False, flip=False):
    """`axes`: the order of x's axes p(ixels), a(outer) and b(inner), the last of them dense."""
    lead, tail = ends
    sizes = dict(zip("pab", (pixels, outer, 1 if repeat else inner), strict=True))
    x = call.values(*(sizes[axis] for axis in axes))
    operand = call.rows(x.reshape(x.shape[0] * x.shape[1], x.shape[2]))
    strides = {axes[0]: x.shape[1] * operand.stride, axes[1]: operand.stride, axes[2]: 1}
    if repeat:  # the same element for every b
        strides["b"] = 0
    x = np.broadcast_to(x.transpose([axes.index(axis) for axis in "pab"]), (pixels, outer, inner))
    first = operand.address
    if flip and pixels:  # pixels from right to left
        x = x[::-1]
        first += call.bytes((pixels - 1) * strides["p"])
        strides["p"] *= -1
    want = np.zeros((lead + pixels + tail, outer, inner), call.dtype)
    want[lead : lead + pixels] = x
    if not pixel_major:
        want = want.swapaxes(0, 1)
    scratch = call.output(
        call.unread(want.shape[0] * want.shape[1], inner),
        want.reshape(want.shape[0] * want.shape[1], inner),
    )
    steps = want.shape[1] * scratch.stride, scratch.stride
    return call(
        "gather",
        scratch,
        lead=lead,
        pixels=pixels,
        tail=tail,
        outer=outer,
        inner=inner,
        x=first if pixels else None,
        column_stride=strides["p"],
        outer_stride=strides["a"],
        inner_stride=strides["b"],
        scratch=scratch.address,
        pixel_step=steps[not pixel_major],
        outer_step=steps[pixel_major],
    )


def gather_cases(table):
    ends = itertools.cycle([(0, 0), (1, 0), (0, 2), (3, 1), (0, 0)])
    flip = itertools.cycle([False, False, True])
    for axes, pixel_major in itertools.product(("pab", "apb", "bap", "abp", "pba"), (False, True)):
        for inner in around_vectors(table["lanes"], 2 * table["lanes"]):
            for pixels, outer in itertools.product((0, 1, 5, 17), (1, 3)):
                yield case(pixels=pixels, outer=outer, inner=inner, ends=next(ends), axes=axes,
                           pixel_major=pixel_major, flip=next(flip))  # fmt: skip
    for pixels, inner in itertools.product((1, 17), (2, 3, 4, 5, table["lanes"])):
        for outer in (1, 3, 2 * table["lanes"] + 1):
            yield case(pixels=pixels, outer=outer, inner=inner, ends=(1, 1), axes="pab",
                       pixel_major=True, repeat=True)  # fmt: skip
    lanes = table["lanes"]
    for outer, inner in itertools.product(
        (lanes // 2, lanes, lanes + 3), (1, lanes // 2 + 1, 2 * lanes)
    ):
        # Planes and channels, or planes and pixels, change places.
        yield case(pixels=2 * lanes + 1, outer=outer, inner=inner, ends=next(ends), axes="pba",
                   pixel_major=False)  # fmt: skip
    for outer in (2, 4, 5):  # every second, fourth and fifth element
        yield case(pixels=3, outer=outer, inner=2 * table["lanes"] + 1, ends=(1, 1), axes="pba",
                   pixel_major=False)  # fmt: skip


def add(call, count):
    term, before = call.values(1, count), call.values(1, count)
    out = call.output(before, wide(before) + wide(term), 2)
    return call("add", out, count=count, term=call.line(term[0]), sum=out.address)


def add_cases(table):
    return (case(count=count) for count in range(4 * table["lanes"] + 2))


def check(call, count, special=None, finite=1):
    values = call.values(1, count)
    if special is not None:
        values[0, special[0]] = special[1]
    want = int(finite and np.isfinite(values).all())
    flag = call.output(np.array([[finite]], np.int32), np.array([[want]], np.int32))
    return call("check", flag, count=count, values=call.line(values[0]), finite=flag.address)


def check_cases(table):
    most = np.finfo(table["dtype"]).max
    for count in range(6 * table["lanes"] + 2):
        yield case(count=count, special=(count - 1, most) if count else None)
        yield from (
            case(count=count, special=(i, (np.nan, np.inf, -np.inf)[i % 3]))
            for i in range(0, count, 3)
        )
    yield case(count=3, finite=0)


CASES = {
    "conv": (conv, conv_cases),
    "conv_narrow": (conv_narrow, conv_narrow_cases),
    "gemv": (gemv, gemv_cases),
    "grad": (grad, grad_cases),
    "ger": (ger, ger_cases),
    "grad_swapped": (grad_swapped, grad_swapped_cases),
    "depthwise": (depthwise, depthwise_cases),
    "depthwise_phases": (depthwise_phases, depthwise_phases_cases),
    "depthwise_grad": (depthwise_grad, depthwise_grad_cases),
    "pack": (pack, pack_cases),
    "gather": (gather, gather_cases),
    "add": (add, add_cases),
    "check": (check, check_cases),
    "winograd": (winograd, winograd_cases),
    "winograd_weights": (winograd_weights, winograd_weights_cases),
    "winograd_few": (winograd_few, winograd_few_cases),
    "winograd_few_grad": (winograd_few_grad, winograd_few_grad_cases),
}
