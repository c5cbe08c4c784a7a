"""The depthwise kernels against their formulas: see kernel_cases.py."""

import itertools
import random

import numpy as np
from kernel_sizes import STARTS, add_start, around, case, wide


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


def by_group(x, group, outputs, lanes):
    """For i in turn: beside every output channel, the i-th input channel of its group.

    Where inputs are more than outputs, those of a vector of outputs lie in further vectors.
    """
    channels = np.arange(x.shape[-1] // group * outputs)
    first = channels // outputs * group
    inputs = [first + i for i in range(group)]
    if group > outputs:
        first = channels - channels % outputs + channels // lanes * lanes * (group // outputs - 1)
        inputs = [first + i // outputs * lanes + i % outputs for i in range(group)]
    return np.stack([x[..., at] for at in inputs], axis=-2)


def slack(group, outputs, lanes):
    """Elements behind the inputs of a vector: whole vectors are read."""
    return lanes if group < outputs else 0


def place_inside(call, shape, edges, beyond=0):
    """An array that is zero outside; only the inside is there, and the fields say where.

    `beyond`: elements that each pixel has besides, which may be read.
    `edges`: rows above and below, columns to the left and right that are outside.
    """
    height, width, channels = shape
    first_row, first_column = min(edges[0], height), min(edges[2], width)
    end_row = max(height - edges[1], first_row)
    end_column = max(width - edges[3], first_column)
    inside = call.values(end_row - first_row, end_column - first_column, channels)
    x = np.zeros(shape, call.dtype)
    x[first_row:end_row, first_column:end_column] = inside
    pixels = inside.reshape(-1, channels)
    operand = call.rows(np.hstack([pixels, call.unread(len(pixels), beyond)]))
    in_row = (end_column - first_column) * operand.stride
    start = first_row * in_row + first_column * operand.stride
    return x, {
        "in": operand.address - call.bytes(start), "in_row": in_row, "in_column": operand.stride,
        "first_row": first_row, "end_row": end_row,
        "first_column": first_column, "end_column": end_column,
    }  # fmt: skip


def depthwise(
    call, rows, pixels, channels, taps, steps, dilations, start, edges,
    group=1, outputs=None, strip=64, first_vector=0, shared=0, pairs=False, room=False,
):  # fmt: skip
    lanes = call.table["lanes"]
    outputs = outputs or group
    channels = lanes if pairs else channels
    channels = channels if shared else -(-channels // outputs) * outputs
    height, width = (
        (count - 1) * step + (reach - 1) * dilation + 1 if count and reach else 0
        for count, step, reach, dilation in zip((rows, pixels), steps, taps, dilations, strict=True)
    )
    width += pairs and width > 0  # the second half of a vector reads a column further on
    inputs = channels // (shared or outputs) * group
    x, fields = place_inside(
        call,
        (height, width, inputs),
        (0, 0, 0, 0) if pairs else edges,
        0 if shared else slack(group, outputs, lanes),
    )
    w = call.values(*taps, group, channels)
    bias = call.values(channels)
    before = call.values(rows * pixels, channels)
    if shared:
        read = np.repeat(x.reshape(height, width, -1, group).swapaxes(2, 3), shared, -1)
    else:
        read = by_group(x, group, outputs, lanes)
    if pairs:
        read[:, :-1, :, channels // 2 :] = x[:, 1:, :, None]
    read = wide(read)
    want = np.zeros((rows, pixels, channels))
    for (r, t), of_tap in zip(np.ndindex(*taps), wide(w).reshape(-1, group, channels), strict=True):
        from_row = read[r * dilations[0] :: steps[0]][:rows]
        at = from_row[:, t * dilations[1] :: steps[1]][:, :pixels]
        want += np.einsum("ypic,ic->ypc", at, of_tap)
    want = want.reshape(rows * pixels, channels)
    add_start(start, want, before, bias)
    out = call.output(before, want, taps[0] * taps[1] * group + 1)
    weights = w.reshape(-1, channels)
    if shared:  # whole vectors are read, whatever they hold
        weights = call.unread(len(weights), -(-channels // lanes) * lanes)
        weights[:, :channels] = w.reshape(-1, channels)
    weights = call.rows(weights)
    stream = first_vector == 0 and streams(call, out, rows * pixels, channels)
    return call(
        "depthwise",
        out,
        **fields,
        rows=rows,
        pixels=pixels,
        channels=channels,
        group=group,
        group_outputs=outputs,
        first_vector=0
        if "out" in start or group > 1 or shared
        else first_vector % call.table["lanes"],
        strip=strip,
        shared=shared,
        second=fields["in_column"] if pairs else 0,
        accumulate="out" in start,
        stream=stream,
        row_step=steps[0],
        column_step=steps[1],
        tap_rows=taps[0],
        tap_columns=taps[1],
        row_dilation=dilations[0],
        column_dilation=dilations[1],
        out=out.address,
        out_row=pixels * out.stride,
        out_column=out.stride,
        weights=weights.address,
        weights_stride=weights.stride,
        bias=call.line(bias) if "bias" in start else None,
        room=call.room(
            room_of(rows, pixels, taps, steps, dilations, strip, max(lanes // channels, 1))
        )
        if room
        else None,
    )


def streams(call, out, pixels, channels):
    """Whether the pixels of `out` may be written past the caches."""
    vector = call.table["lanes"] * call.dtype.itemsize
    aligned = not (out.addresses(np.arange(pixels)) % vector).any()
    return channels % call.table["lanes"] == 0 and aligned


def room_of(rows, pixels, taps, steps, dilations, strip, stretches):
    """Vectors: of the weights, and of what a strip reads, as many stretches of it side by side."""
    down, across = (-(-step // dilation) for step, dilation in zip(steps, dilations, strict=True))
    columns = (min(pixels, max(strip, 16)) // stretches + 16) * across + taps[1]
    return taps[0] * taps[1] + ((rows - 1) * down + taps[0]) * columns


WINDOWS = [  # (kernel rows, columns), steps, dilations: those with code of their own, and others
    *(((3, 3), (s * d, s * e), (d, e)) for s in (1, 2) for d, e in ((1, 1), (2, 1), (2, 3))),
    *(((2, taps), (1, s), (1, 1)) for taps in (3, 5, 7) for s in (1, 2)),
    ((3, 3), (1, 2), (1, 1)), ((2, 3), (1, 1), (2, 2)), ((2, 3), (1, 4), (1, 2)),
    ((3, 5), (2, 3), (1, 6)), ((1, 1), (1, 1), (1, 1)), ((2, 2), (2, 1), (1, 1)),
    ((1, 4), (1, 3), (1, 2)), ((1, 15), (1, 1), (1, 1)), ((7, 3), (1, 1), (1, 1)),
    ((0, 3), (1, 1), (1, 1)), ((2, 16), (1, 2), (1, 1)),
    ((9, 5), (1, 1), (1, 1)), ((6, 4), (2, 2), (1, 1)), ((4, 5), (4, 2), (2, 2)),
    ((3, 4), (3, 1), (2, 1)),
]  # fmt: skip
EDGES = [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 0), (2, 0, 0, 3), (0, 2, 2, 1), (9, 0, 0, 0)]


def depthwise_cases(table):
    lanes = table["lanes"]
    chosen = random.Random("depthwise")
    groups = [1, 2, 1, 1, *(g for g in (4, 8, 16) if g <= lanes)]
    # Tiles of 14, 7, 4, 2 and 1 pixels, and those that overlap others; half of them at a time.
    halves = itertools.cycle(((0, 3, 5, 8, 15, 23), (1, 4, 7, 13, 17, 35)))
    for window, channels in itertools.product(WINDOWS, around(lanes, 3 * lanes)):
        for pixels in next(halves):
            yield case(
                **dict(zip(("taps", "steps", "dilations"), window, strict=True)),
                rows=chosen.randint(1, 7),
                pixels=pixels,
                channels=channels,
                group=chosen.choice(groups),
                start=chosen.choice(STARTS),
                edges=chosen.choice(EDGES),
                strip=chosen.choice((64, 8, 16, 4, 5, 1)),
                first_vector=chosen.choice((0, 1, 0, lanes - 1, 2)),
                room=chosen.choice((False, True)),
            )
    # Groups with another number of outputs than of inputs.
    for (outputs, group, channels), pixels in itertools.product(unlike_groups(lanes), (1, 6, 17)):
        for window in (WINDOWS[0], WINDOWS[3], *WINDOWS[8:12], *WINDOWS[5::7]):
            yield case(**dict(zip(("taps", "steps", "dilations"), window, strict=True)), rows=2,
                       pixels=pixels, channels=channels, group=group, outputs=outputs,
                       start=chosen.choice(STARTS), edges=chosen.choice(EDGES))  # fmt: skip
    # Channels that fill less than half of a vector, where some pixels are copied beside others.
    few = (2, lanes // 2, lanes + lanes // 2 - 1)
    for channels, pixels in itertools.product(few, (1, 14, 45)):
        for taps, steps in (((5, 5), (1, 1)), ((7, 7), (2, 2)), ((4, 1), (1, 1))):
            yield case(taps=taps, steps=steps, dilations=(1, 1), rows=3, pixels=pixels,
                       channels=channels, start=chosen.choice(STARTS), edges=chosen.choice(EDGES),
                       strip=chosen.choice((64, 16, 1)), room=True)  # fmt: skip
    yield from shared_cases(lanes)


def unlike_groups(lanes):
    """(outputs, inputs, channels): more inputs only where channels are whole vectors."""
    chosen = random.Random("unlike")
    pairs = [(lanes, 3), (lanes // 2, 3), (lanes // 2, 2 * lanes), (lanes // 4, lanes), (2, 4)]
    for outputs, inputs in pairs:
        if outputs > 1 and (inputs < outputs or inputs % outputs == 0):
            some = (lanes, 2 * lanes + 1, 3 * lanes)
            yield outputs, inputs, chosen.choice(some) if inputs < outputs else 2 * lanes


def shared_cases(lanes):
    """All channels or whole vectors read the same few, or half a vector those of another pixel."""
    chosen = random.Random("shared")
    # Other taps than 3x3 have a stride of 1, and no padding.
    kinds = [
        *(((3, 3), step) for step in (1, 2)),
        *(((r, t), 1) for r in (2, 4, 5, 7) for t in (1, 4, 5)),
    ]
    sizes = [
        *((channels, channels, False) for channels in around(lanes, 2 * lanes)),
        *((4 * lanes, shared, False) for shared in (lanes, 2 * lanes)),
        (lanes, lanes, True),
    ]
    for (taps, step), (channels, shared, pairs) in itertools.product(kinds, sizes):
        if (pairs and step > 1) or (shared < channels and taps != (3, 3)):  # no plan has these
            continue
        for pixels in chosen.sample((1, 2, 4, 5, 6, 7, 8, 14, 17, 30), 5):
            yield case(
                taps=taps,
                steps=(step, 2 if pairs else step),
                dilations=(1, 1),
                rows=chosen.randint(1, 7),
                pixels=pixels,
                channels=channels,
                group=chosen.choice((1, 2, 3, 5)),
                start=chosen.choice(("zero", "bias")),
                edges=chosen.choice(EDGES) if taps == (3, 3) else EDGES[0],
                shared=shared,
                pairs=pairs,
            )


def depthwise_phases(
    call, rows, pixels, channels, taps, edges, outside, strip, group=1, outputs=None
):
    """`outside`: rows and columns of the output, in the order of `edges`, that are not there."""
    outputs = outputs or group
    channels = -(-channels // outputs) * outputs
    shape = rows + taps, pixels + taps if pixels else 0, channels // outputs * group
    lanes = call.table["lanes"]
    x, fields = place_inside(call, shape, edges, slack(group, outputs, lanes))
    read = wide(by_group(x, group, outputs, lanes))
    shapes = [((taps + e) * (taps + f), group, channels) for e in range(2) for f in range(2)]
    weights = [call.values(*shape) for shape in shapes]
    want = np.zeros((rows, 2, pixels, 2, channels))
    for e, f in itertools.product(range(2), range(2)):
        for k, w in enumerate(wide(weights[2 * e + f])):
            r, t = divmod(k, taps + f)
            want[:, e, :, f] += np.einsum("ypic,ic->ypc", read[r : r + rows, t : t + pixels], w)
    end_row, end_column = 2 * rows - outside[1], 2 * pixels - outside[3]
    want = want.reshape(2 * rows, 2 * pixels, channels)
    want = want[outside[0] : end_row, outside[2] : max(end_column, 0)]
    out = call.output(
        call.unread(want[..., 0].size, channels),
        want.reshape(-1, channels),
        (taps + 1) ** 2 * group,
    )
    out_row = want.shape[1] * out.stride
    operands = [call.rows(w.reshape(-1, channels)) for w in weights]
    stream = streams(call, out, want[..., 0].size, channels)
    return call(
        "depthwise_phases",
        out,
        **fields,
        rows=rows,
        pixels=pixels,
        channels=channels,
        group=group,
        group_outputs=outputs,
        taps=taps,
        strip=strip,
        out=out.address - call.bytes(outside[0] * out_row + outside[2] * out.stride),
        out_row=out_row,
        out_column=out.stride,
        first_out_row=outside[0],
        end_out_row=end_row,
        first_out_column=outside[2],
        end_out_column=end_column,
        weights=tuple(w.address for w in operands),
        weights_stride=operands[0].stride,
        stream=stream,
    )


def depthwise_phases_cases(table):
    edges, strips = itertools.cycle(EDGES), itertools.cycle((64, 4, 7, 1))
    outside = itertools.cycle(
        [(0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1), (0, 1, 1, 0)]
    )
    whole = [n for n in around(table["lanes"], 3 * table["lanes"]) if n >= table["lanes"]]
    for taps, channels in itertools.product((1, 2), whole):
        # Tiles of 4, 2 and 1 squares, and tiles that overlap the one before.
        for rows, pixels in itertools.product((1, 2, 3), (1, 2, 3, 4, 5, 7, 8, 11)):
            sizes = case(rows=rows, pixels=pixels, channels=channels, taps=taps)
            yield sizes | case(edges=next(edges), outside=next(outside), strip=next(strips))
    lanes = table["lanes"]
    groups = [(2, 2, lanes + 1), (lanes, lanes, 2 * lanes), *unlike_groups(lanes)]
    if lanes > 2:
        groups += [(lanes // 2, lanes // 2, 2 * lanes + 1)]
    for (outputs, group, channels), pixels in itertools.product(groups, (1, 2, 4, 5, 8)):
        sizes = case(rows=2, pixels=pixels, channels=channels, taps=1, strip=next(strips))
        yield sizes | case(edges=next(edges), outside=next(outside), group=group, outputs=outputs)


def depthwise_grad(
    call, pixels, channels, taps, stride, dilation, accumulate, skipped, height, shift=0, group=1,
    two_vectors=False,
):  # fmt: skip
    rows, columns = taps
    channels = -(-channels // group) * group
    # The rows of pixels lie one after the other.
    x, fields = place_taps(call, height * pixels, channels, taps, stride, dilation)
    fields |= {"rows": height, "pixels": pixels, "in_row": pixels * fields["in_stride"]}
    dy = call.values(height * pixels, channels)
    filled = columns + skipped
    before = call.values(rows * filled * group, channels)
    want = wide(before).reshape(rows, filled, group, channels)
    read = by_group(x, group, group, call.table["lanes"])
    total = np.einsum("rtpic,pc->rtic", wide(read), wide(dy))
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
        group=group,
        shift=shift if fields["in_stride"] == dy.stride == channels else 0,
        accumulate=accumulate,
        two_vectors=two_vectors,
    )


GRAD_WINDOWS = [  # (kernel rows, columns), stride, dilation
    *(((3, taps), stride, 1) for taps in (3, 5) for stride in (1, 2)),
    ((2, 3), 2, 2), ((2, 5), 4, 2), ((3, 3), 3, 1), ((2, 3), 1, 2), ((1, 1), 1, 0), ((2, 2), 1, 1),
    ((1, 4), 3, 2), ((2, 7), 2, 1), ((1, 8), 1, 1), ((1, 15), 2, 1), ((7, 3), 1, 1), ((0, 3), 1, 1),
]  # fmt: skip


def depthwise_grad_sizes(table):
    sizes = around(table["lanes"], 3 * table["lanes"])
    for (taps, stride, dilation), channels in itertools.product(GRAD_WINDOWS, sizes):
        for pixels in (0, 1, 3, 4, 5, 7, 8, 9, 13, 15, 17, 23, 35):
            yield case(
                pixels=pixels, channels=channels, taps=taps, stride=stride, dilation=dilation
            )


def depthwise_grad_cases(table):
    groups = itertools.cycle([1, 2, 1, 1, *(g for g in (4, 8, 16) if g <= table["lanes"]), 1])
    accumulate = itertools.cycle((False, True, True, False, True))
    skipped, height = itertools.cycle((0, 0, 1, 0, 2)), itertools.cycle((1, 2, 1, 3, 0, 2, 1))
    two = itertools.cycle((True, False, True))
    for sizes in depthwise_grad_sizes(table):
        yield case(**sizes, accumulate=next(accumulate), skipped=next(skipped), height=next(height),
                   group=next(groups), two_vectors=next(two))  # fmt: skip
    if table["lanes"] * np.dtype(table["dtype"]).itemsize == 64:
        window = case(stride=1, dilation=1, accumulate=True, skipped=0)
        shifts = (1, 3, table["lanes"] - 1)
        for vectors, rows, shift in itertools.product((1, 3), (1, 3, 4), shifts):
            for pixels, height in ((1, 1), (2, 3), (6, 2)):
                sizes = case(pixels=pixels, channels=vectors * table["lanes"], taps=(rows, 3))
                yield window | sizes | case(height=height, shift=shift, two_vectors=next(two))
