"""The kernel winograd against its formula: see kernel_cases.py."""

import itertools

import numpy as np
from kernel_sizes import around_vectors, case, wide
from tolerances import POINTS, cook_toom

# Weights are multiplied by F(4, 3)'s matrix without the factors of its points, infinity fourth.
BARE = np.array([[1, x, x * x] for x in POINTS])
BARE = np.insert(BARE, 3, [0, 0, POINTS[1] ** 2], axis=0)


def winograd_matrices():
    """The matrices of src/kernels/winograd.def in its order, from those of F(4, 3)."""
    a, g, b = cook_toom(4, 3)
    order = [0, 1, 2, 5, 3, 4]  # infinity comes fourth: those for fewer outputs go first
    a, g, b = a[:, order], g[order], b[order]
    factors = g.sum(axis=1) / BARE.sum(axis=1)  # which go to the outputs
    matrices = {"input6": b, "output6": a * factors}
    for points in 5, 4:
        fewer_a, fewer_g, fewer_b = cook_toom(points - 2, 3, POINTS[: points - 1])
        order = [0, 1, 2, points - 1, *range(3, points - 1)]
        fewer_a, fewer_g, fewer_b = fewer_a[:, order], fewer_g[order], fewer_b[order]
        # The weights are those transformed for six points: the difference goes to the input.
        scale = fewer_g.sum(axis=1) / g[:points].sum(axis=1)
        fewer_b = np.round(fewer_b * scale[:, None] * 2**12) / 2**12  # exactly what it should be
        matrices[f"input{points}"] = fewer_b
        matrices[f"output{points}"] = fewer_a * factors[:points]
    # A pair between zeros: y0 = w1 x0 + w2 x1, y1 = w0 x0 + w1 x1; or a single value.
    matrices["input3"], matrices["output3"] = [[1, 1], [1, 0], [0, 1]], [[1, 0, 1], [1, 1, 0]]
    matrices["input1"] = matrices["output1"] = np.eye(1)
    pairs = np.array([[0, 1, 0], [1, -1, 0], [0, -1, 1]])
    for points in 6, 5, 4, 3, 1:
        matrices[f"output{points}_grad"] = np.transpose(matrices[f"output{points}"])
    kinds = ("input{}", "output{}", "output{}_grad")
    names = [kind.format(points) for kind in kinds for points in (6, 5, 4, 3, 1)]
    found = {name: matrices[name] for name in names} | {"weights_grad": BARE.T}
    found["weights3_grad"] = pairs.T
    return {f"winograd_{name}": np.array(matrix) for name, matrix in found.items()}


WINOGRAD = winograd_matrices()
# Matrices that make results: the last to be applied, which adds the bias and looks at what it made.
LAST = {name for name in WINOGRAD if "weights" in name or name[:-1] == "winograd_output"}


def winograd(call, rows, columns, channels, cut, bias, special=None, finite=1):
    """`cut`: rows and columns of the input before and after what exists, and results not wanted."""
    down, across = WINOGRAD[rows], WINOGRAD[columns]
    last = columns in LAST
    bias = bias and last
    first, end, unwanted = (0, 0, cut[2]) if last else cut
    x = call.values(down.shape[1], across.shape[1], channels)
    if special is not None:
        x.ravel()[special[0] % x.size] = special[1]
    end_row, end_column = (max(size - end, first) for size in x.shape[:2])
    inside = slice(first, end_row), slice(first, end_column)
    source = x[inside]
    whole = np.zeros(x.shape)
    whole[inside] = source
    added = call.values(channels)
    factor = np.einsum("ia,jb->ijab", down, across)[..., None]
    with np.errstate(invalid="ignore"):  # what has no factor is not multiplied by zero, either
        want = np.where(factor == 0, 0, factor * whole).sum(axis=(2, 3))
    want_finite = finite
    if last and not np.isfinite(want).all():
        want_finite = 0
    want = want[: down.shape[0] - unwanted, : across.shape[0] - unwanted]
    if bias:
        want = want + added
    operand = call.rows(source.reshape(-1, channels))
    in_column, in_row = operand.stride, source.shape[1] * operand.stride
    exact = not any(f"output{points}" in rows + columns for points in (4, 5, 6))
    flat = want.reshape(-1, channels)
    out = call.output(call.unread(*flat.shape), flat, x.shape[0] * x.shape[1] + 1, exact)
    flag = call.output(np.array([[finite]], np.int32), np.array([[want_finite]], np.int32))
    vector = call.table["lanes"] * call.dtype.itemsize
    stream = (
        channels % call.table["lanes"] == 0
        and not (out.addresses(np.arange(len(flat))) % vector).any()
    )
    return call(
        "winograd",
        out,
        rows=list(WINOGRAD).index(rows),
        columns=list(WINOGRAD).index(columns),
        channels=channels,
        **{"in": operand.address - call.bytes(first * (in_row + in_column))},
        in_row=in_row,
        in_column=in_column,
        first_row=first,
        end_row=end_row,
        first_column=first,
        end_column=end_column,
        out=out.address,
        out_row=want.shape[1] * out.stride,
        out_column=out.stride,
        out_rows=want.shape[0],
        out_columns=want.shape[1],
        bias=call.line(added) if bias else None,
        stream=stream,
        finite=flag.address,
    )


def winograd_cases(table):
    cuts = itertools.cycle([(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 0), (0, 0, 1)])
    bias = itertools.cycle((False, True, True))
    pairs = [(name, name) for name in WINOGRAD]
    ends = itertools.product(("input{}", "output{}", "output{}_grad"), ((4, 5, 6), (3, 1)))
    for kind, some in ends:  # at the ends of an image
        names = [f"winograd_{kind.format(points)}" for points in some]
        pairs += zip(names, names[1:] + names[:1], strict=True)
    for kind in ("input{}", "output{}", "output{}_grad"):  # along one axis alone
        pairs += [
            tuple(f"winograd_{kind.format(points)}" for points in both)
            for some in (6, 5, 4)
            for both in ((1, some), (some, 1))
        ]
    one = "winograd_output1"
    pairs += [(one, "winograd_weights_grad"), ("winograd_weights_grad", one)]
    sizes = around_vectors(table["lanes"], 6 * table["lanes"])
    for (rows, columns), channels in itertools.product(pairs, sizes):
        yield case(rows=rows, columns=columns, channels=channels, cut=next(cuts), bias=next(bias))
    last = {"channels": table["lanes"] + 1, "cut": (0, 0, 0), "bias": False}
    for place, name in itertools.product(
        range(0, 36 * (table["lanes"] + 1), 7),
        sorted(LAST - {"winograd_weights_grad", "winograd_weights3_grad"}),
    ):
        special = place, (np.nan, np.inf, -np.inf)[place % 3]
        yield case(rows=name, columns=name, special=special, **last)
        for both in ((one, name), (name, one)) if place % 3 else ():
            yield case(rows=both[0], columns=both[1], special=special, **last)
    yield case(rows=name, columns=name, finite=0, **last)


def _transformed(call, rows, columns, dense, special, taps=(3, 3), points=(6, 6)):
    """The transform of some weights, up to 3x3, and the arguments that tell where they lie."""
    matrices = {6: "winograd_weights_grad", 3: "winograd_weights3_grad", 1: "winograd_output1"}
    down, across = (WINOGRAD[matrices[n]].T for n in points)
    w = call.values(*taps, rows, columns)
    if special is not None:
        w.ravel()[special[0] % w.size] = special[1]
    factor = np.einsum("ia,jb->ijab", down[:, : taps[0]], across[:, : taps[1]])[..., None, None]
    with np.errstate(invalid="ignore"):  # what has no factor is not multiplied by zero, either
        want = np.where(factor == 0, 0, factor * w).sum(axis=(2, 3)).reshape(-1, rows, columns)
    lying = {"rows": w, "columns": w.swapaxes(2, 3), "scattered": np.repeat(w, 2, axis=3)}[dense]
    operand = call.rows(lying.reshape(-1, lying.shape[3]))
    tap = lying.shape[2] * operand.stride
    steps = {
        "rows": (operand.stride, 1),
        "columns": (1, operand.stride),
        "scattered": (operand.stride, 2),
    }[dense]
    finite = int(np.isfinite(w).all())
    flag = call.output(np.array([[1]], np.int32), np.array([[finite]], np.int32))
    args = dict(rows=rows, columns=columns, source=operand.address,
                tap_rows=taps[0], tap_columns=taps[1], tap_row=taps[1] * tap, tap_column=tap,
                row_points=points[0], column_points=points[1],
                row_stride=steps[0], column_stride=steps[1],
                finite=flag.address)  # fmt: skip
    return want, args


def _whole(call, values):
    """Padded with zeros to whole vectors."""
    lanes = call.table["lanes"]
    return np.pad(values, ((0, 0), (0, -values.shape[1] % lanes)))


def winograd_weights(call, rows, columns, dense, special=None, taps=(3, 3), points=(6, 6)):
    want, args = _transformed(call, rows, columns, dense, special, taps, points)
    flat = _whole(call, want.reshape(-1, columns))
    out = call.output(call.unread(*flat.shape), flat, 9, exact=False)
    got = call(
        "winograd_weights",
        out,
        panel=out.address,
        panel_stride=out.stride,
        panel_point=rows * out.stride,
        **dict.fromkeys(("in", "out"), (None,) * 6),
        **dict.fromkeys(("in_offset", "in_point", "out_point", "accumulate"), 0),
        **dict.fromkeys(("tiles", "sixth"), (0,) * 6),
        **args,
    )
    return got[:, :columns]  # whole vectors differ from set to set


def _lines(kinds):
    """Of tiles that have so many points (down, across), which have each line, and each column."""
    down, across = (np.arange(6) < np.array(kinds)[:, axis, None] for axis in (0, 1))
    return down, across, [np.flatnonzero(down[:, line]) for line in range(6)]


def _pointers(call, operand, lines, offset):
    """Each line's tiles, `offset` elements before they start."""
    found = operand.addresses(36 * np.arange(max(map(len, lines)))) - call.bytes(offset)
    return tuple(call.line(found[some]) if len(some) else None for some in lines)


def winograd_few(call, rows, columns, dense, kinds, accumulate=0, special=None, taps=(3, 3)):
    """`kinds`: (points down, points across) of each tile, those with the most across first."""
    want, args = _transformed(call, rows, columns, dense, special, taps)
    tiles = len(kinds)
    down, across, lines = _lines(kinds)
    # Zeros where a tile has no point: whether it is multiplied is the kernel's business.
    v = call.values(tiles, 6, 6, rows) * across[:, None, :, None].astype(call.dtype)
    v = v.reshape(tiles, 36, rows)
    with np.errstate(invalid="ignore"):
        sums = np.einsum("tpk,pkn->tpn", wide(v), want)
    flat = _whole(call, sums.reshape(tiles * 36, columns))
    start = call.unread(*flat.shape)
    if accumulate:
        start = _whole(call, call.values(tiles * 36, columns))
        start[~np.repeat(down, 6)] = np.nan
        flat = flat + start
    flat[~np.repeat(down, 6)] = np.nan  # lines that a tile does not have stay as they are
    source = call.rows(v.reshape(tiles * 36, rows))
    out = call.output(start, flat, 9 * rows, exact=False)
    got = call(
        "winograd_few",
        out,
        panel=None,
        panel_stride=0,
        panel_point=0,
        **{"in": _pointers(call, source, lines, 3)},
        in_offset=3,
        in_point=source.stride,
        out=_pointers(call, out, lines, 0),
        out_point=out.stride,
        tiles=tuple(map(len, lines)),
        sixth=tuple(across[some, 5].sum() for some in lines),
        accumulate=accumulate,
        **args,
    )
    return got[:, :columns]  # whole vectors differ from set to set


def winograd_few_grad(call, rows, columns, kinds, together=False, special=None):
    """`kinds` as in winograd_few."""
    tiles = len(kinds)
    down, across, lines = _lines(kinds)
    has = (down[:, :, None] & across[:, None, :]).reshape(tiles, 36, 1)
    v, dy = (call.values(tiles, 36, size) for size in (rows, columns))
    if special is not None:
        v.ravel()[special[0] % v.size] = special[1]
    with np.errstate(invalid="ignore"):
        sums = np.einsum("tpm,tpn->pmn", np.where(has, wide(v), 0), np.where(has, dy, 0))
        factor = np.einsum("ia,jb->abij", BARE, BARE).reshape(9, 36, 1, 1)
        want = np.where(factor == 0, 0, factor * sums).sum(axis=1)
    finite = int(np.isfinite(want).all())
    flat = want.reshape(9 * rows, columns)
    source = call.rows(np.where(has, v, np.nan).reshape(tiles * 36, rows))
    lanes = call.table["lanes"]
    padding = ((0, 0), (0, 0), (0, -columns % lanes))
    other = call.rows(np.pad(np.where(has, dy, np.nan), padding, constant_values=np.nan)
                      .reshape(tiles * 36, -1))  # fmt: skip
    # Of the products; a factor of 4 or 16 is a sum of as many.
    out = call.output(call.unread(*flat.shape), flat, 36 * tiles, exact=special is None)
    flag = call.output(np.array([[1]], np.int32), np.array([[finite]], np.int32))
    return call(
        "winograd_few_grad",
        out,
        rows=rows,
        columns=columns,
        **{"in": _pointers(call, source, lines, 3)},
        dy=_pointers(call, other, lines, 5),
        in_offset=3,
        in_point=source.stride,
        dy_offset=5,
        dy_point=other.stride,
        tiles=tuple(across[some, column].sum() for some in lines for column in range(6)),
        grad=out.address,
        tap_row=3 * rows * out.stride,
        tap_column=rows * out.stride,
        grad_stride=out.stride,
        wide=together,
        finite=flag.address,
    )


def winograd_weights_cases(table):
    lanes = table["lanes"]
    taps = itertools.cycle(((3, 3), (2, 3), (3, 3), (3, 1), (3, 3), (1, 2), (2, 2)))
    for dense, rows in itertools.product(
        ("rows", "columns", "scattered"), (1, lanes - 1, 2 * lanes + 1)
    ):
        for columns in around_vectors(lanes, 2 * lanes):
            for points in ((6, 6), (3, 3), (1, 6), (6, 1)):
                some = tuple(min(n, t) for n, t in zip(points, next(taps), strict=True))
                yield case(rows=rows, columns=columns, dense=dense, taps=some, points=points)
    for points, place in itertools.product(((6, 6), (3, 3)), range(0, 9 * (lanes + 1), 5)):
        special = place, (np.nan, np.inf, -np.inf)[place % 3]
        dense = ("rows", "columns")[place % 2]
        yield case(rows=1, columns=lanes + 1, dense=dense, special=special, points=points)


# The points of tiles along an axis: of images of 4, 7, 6, 5, 11, 2 and 16 pixels.
AXES = [(6,), (6, 5), (6, 4), (5, 4), (6, 6, 5), (4,), (6, 6, 6, 6)]
GRIDS = [
    tuple((i, j) for j in across for i in down)
    for down, across in [(axis, axis) for axis in AXES] + list(itertools.pairwise(AXES))
]


def winograd_few_cases(table):
    lanes = table["lanes"]
    grids, accumulate = itertools.cycle(GRIDS), itertools.cycle((0, 0, 1))
    for dense, rows in itertools.product(
        ("rows", "columns", "scattered"), (1, lanes, 4 * lanes + 3)
    ):
        for columns in around_vectors(lanes, 2 * lanes):
            yield case(
                rows=rows,
                columns=columns,
                dense=dense,
                kinds=next(grids),
                accumulate=next(accumulate),
            )
    for place in range(18):
        special = place, np.nan
        yield case(rows=2 + place % 2, columns=1, dense="rows", kinds=((6, 6),), special=special)
    for columns in (lanes + 1, 2 * lanes):
        yield case(rows=5, columns=columns, dense="rows", kinds=((6, 6), (6, 6)), taps=(2, 2))


def winograd_few_grad_cases(table):
    lanes = table["lanes"]
    grids = itertools.cycle(GRIDS)
    for rows, columns in itertools.product((4, 5, 7, 16, 19, 33), around_vectors(lanes, 2 * lanes)):
        yield case(rows=rows, columns=columns, kinds=next(grids))
    for columns in around_vectors(lanes, 9 * lanes):
        yield case(rows=7, columns=columns, kinds=next(grids), together=True)
    for place, columns in itertools.product(range(0, 144, 7), (1, lanes)):
        special = place, (np.nan, np.inf, -np.inf)[place % 3]
        yield case(rows=4, columns=columns, kinds=((6, 6),), special=special)
