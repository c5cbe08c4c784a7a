"""The depthwise kernels against their formulas: see kernel_cases.py."""

import itertools

import numpy as np
from kernel_sizes import STARTS, around, case, wide


def place_taps(call, pixels, channels, taps, stride, dilation):
    """Input of a depthwise kernel: x[r][t][p] as it reads them, and the fields that say where."""
    rows, columns = taps
    across = max((pixels - 1) * stride + (columns - 1) * dilation + 1, 0) if pixels else 0
    at = np.arange(columns)[:, None] * dilation + np.arange(pixels) * stride
    source = call.unread(rows, across, channels)
    source[:, at.ravel()] = call.values(rows, at.size, channels)
    x = source[:, at]
    order = call.rng.permutation(rows)  # kernel rows may lie in any order
    operand = call.rows(source[order].reshape(rows * across, channels))
    return x, {
        "pixels": pixels, "channels": channels, "in": operand.address,
        "in_stride": stride * operand.stride, "tap_rows": rows, "tap_columns": columns,
        "tap_step": dilation * operand.stride,
        "row_offset": call.line(np.argsort(order) * across * operand.stride),
    }  # fmt: skip


def by_group(x, group):
    """For i in turn: beside every channel, the i-th one of its group."""
    channels = np.arange(x.shape[-1])
    return np.stack([x[..., channels - channels % group + i] for i in range(group)], axis=-2)


def depthwise(call, pixels, channels, taps, stride, dilation, start, skipped=0, group=1, strip=64):
    rows, columns = taps
    channels = -(-channels // group) * group
    x, fields = place_taps(call, pixels, channels, taps, stride, dilation)
    w = call.values(rows, columns, group, channels)
    weights = call.unread(rows, columns + skipped, group, channels)
    weights[:, :columns] = w
    weights = weights.reshape(rows * (columns + skipped) * group, channels)
    bias = call.values(channels)
    before = call.values(pixels, channels)
    want = np.einsum("rtpic,rtic->pc", wide(by_group(x, group)), wide(w))
    if "out" in start:
        want += before
    else:
        before[...] = np.nan
        if "bias" in start:
            want += bias
    # The weights that are skipped after the last row need not be there.
    weights = call.rows(weights[: max(len(weights) - skipped * group, 0)])
    out = call.output(before, want, rows * columns * group + 1)
    return call(
        "depthwise",
        out,
        **fields,
        group=group,
        strip=strip,
        out=out.address,
        out_stride=out.stride,
        weights=weights.address,
        weights_stride=weights.stride,
        weights_columns=columns + skipped,
        bias=call.line(bias) if "bias" in start else None,
        accumulate="out" in start,
    )


WINDOWS = [  # (kernel rows, columns), stride, dilation: those with code of their own, and others
    *(((3, taps), stride, 1) for taps in (3, 5) for stride in (1, 2)),
    ((2, 3), 2, 2), ((2, 5), 4, 2), ((3, 3), 3, 1), ((2, 3), 1, 2), ((1, 1), 1, 0), ((2, 2), 1, 1),
    ((1, 4), 3, 2), ((2, 7), 2, 1), ((1, 8), 1, 1), ((1, 15), 2, 1), ((7, 3), 1, 1), ((0, 3), 1, 1),
]  # fmt: skip


def depthwise_sizes(table):
    lanes = table["lanes"]
    for (taps, stride, dilation), channels in itertools.product(WINDOWS, around(lanes, 3 * lanes)):
        # Tiles of 16, 8, 4 and 1 pixels, and tiles that overlap the one before.
        for pixels in (0, 1, 3, 4, 5, 7, 8, 9, 13, 15, 17, 23, 35):
            yield case(
                pixels=pixels, channels=channels, taps=taps, stride=stride, dilation=dilation
            )


def depthwise_cases(table):
    start, skipped = itertools.cycle(STARTS), itertools.cycle((0, 0, 1, 0, 2))
    strips = itertools.cycle((64, 8, 16, 64, 5))
    groups = itertools.cycle([1, 2, 1, *(g for g in (4, 8, 16) if g <= table["lanes"])])
    for sizes in depthwise_sizes(table):
        yield case(
            **sizes, start=next(start), skipped=next(skipped), group=next(groups),
            strip=next(strips),
        )  # fmt: skip


def depthwise_pairs(call, pairs, channels, rows, columns, strip):
    x, fields = place_taps(call, pairs, channels, (rows, columns + 1), 1, 1)
    weights = [call.values(rows, columns + e, channels) for e in range(2)]
    want = np.zeros((pairs, 2, channels))
    for e in range(2):
        want[:, e] = np.einsum("rtpc,rtc->pc", wide(x[:, : columns + e]), wide(weights[e]))
    want = want.reshape(2 * pairs, channels)
    out = call.output(call.unread(2 * pairs, channels), want, rows * (columns + 1))
    first, second = (call.rows(w.reshape(-1, channels)) for w in weights)
    for name in ("pixels", "tap_step", "tap_columns"):
        del fields[name]
    return call(
        "depthwise_pairs",
        out,
        **fields,
        pairs=pairs,
        strip=strip,
        tap_columns=columns,
        out=out.address,
        out_stride=out.stride,
        first=first.address,
        second=second.address,
        weights_stride=first.stride,
    )


def depthwise_pairs_cases(table):
    strips = itertools.cycle((64, 8, 5))
    for columns, channels in itertools.product((1, 2), around(table["lanes"], 3 * table["lanes"])):
        # Tiles of 8, 4 and 1 pairs, and tiles that overlap the one before.
        for rows, pairs in itertools.product((0, 1, 2, 3), (0, 1, 3, 4, 5, 7, 8, 11, 13, 19)):
            sizes = case(pairs=pairs, channels=channels, rows=rows, columns=columns)
            yield case(**sizes, strip=next(strips))


def depthwise_grad(
    call, pixels, channels, taps, stride, dilation, accumulate, skipped, height, shift=0
):
    rows, columns = taps
    # The rows of pixels lie one after the other.
    x, fields = place_taps(call, height * pixels, channels, taps, stride, dilation)
    fields |= {"rows": height, "pixels": pixels, "in_row": pixels * fields["in_stride"]}
    dy = call.values(height * pixels, channels)
    filled = columns + skipped
    before = call.values(rows * filled, channels)
    want = wide(before).reshape(rows, filled, channels)
    total = np.einsum("rtpc,pc->rtc", wide(x), wide(dy))
    want[:, :columns] = total + (want[:, :columns] if accumulate else 0)
    if not accumulate:
        before.reshape(want.shape)[:, :columns] = np.nan
    dy = call.rows(dy)
    out = call.output(before, want.reshape(before.shape), height * pixels + 1)
    return call(
        "depthwise_grad",
        out,
        **fields,
        dy=dy.address,
        dy_row=pixels * dy.stride,
        dy_stride=dy.stride,
        grad=out.address,
        grad_stride=out.stride,
        grad_columns=filled,
        shift=shift if fields["in_stride"] == dy.stride == channels else 0,
        accumulate=accumulate,
    )


def depthwise_grad_cases(table):
    accumulate = itertools.cycle((False, True, True, False, True))
    skipped, height = itertools.cycle((0, 0, 1, 0, 2)), itertools.cycle((1, 2, 1, 3, 0, 2, 1))
    for sizes in depthwise_sizes(table):
        yield case(**sizes, accumulate=next(accumulate), skipped=next(skipped), height=next(height))
    if table["lanes"] * np.dtype(table["dtype"]).itemsize == 64:
        window = case(stride=1, dilation=1, accumulate=True, skipped=0)
        shifts = (1, 3, table["lanes"] - 1)
        for vectors, rows, shift in itertools.product((1, 3), (1, 3, 4), shifts):
            for pixels, height in ((1, 1), (2, 3), (6, 2)):
                sizes = case(pixels=pixels, channels=vectors * table["lanes"], taps=(rows, 3))
                yield window | sizes | case(height=height, shift=shift)
