"""What a call will do, before it does it: algorithm, blocks, cost.

`plan_facts` has the numbers, under the names that they have in plan.pxd and tiles.pxd.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy

from fastconv.plan_facts import plan_facts

if TYPE_CHECKING:
    from typing import SupportsIndex

    from numpy.typing import DTypeLike

    from fastconv._typing import Algorithm, Op, Padding, Pair, Shape

__all__ = ["Explanation", "explain"]

# What a core gets from beyond its L2, a rule of thumb, and what a call costs whatever it computes.
_BYTES_A_CYCLE = 8
_CALL_CYCLES = 4000


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; prints as a table.

    Attributes
    ----------
    algorithm : str
        What computes the call.
    refused : dict of str to str
        The algorithms that were asked before it, and why each was refused.
    blocking : dict of str to object
        Sizes of blocks, panels and slices, in pixels and elements; tasks and threads.
    flops : int
        Floating-point operations of the direct sum, a multiplication and an addition counted as
        two.
    bytes : dict of str to int
        Of the arrays read and written, and of the workspace; in Winograd's algorithm also of the
        transformed weights that the workspace holds.
    intensity : float
        Operations a byte of the arrays.
    bound : str
        What the call will spend its time on: "arithmetic", "memory", or, where both together are
        less than the work around them, "the call itself".
    """

    op: str
    dtype: str
    isa: str
    algorithm: str
    refused: dict[str, str]
    blocking: dict[str, Any]
    flops: int
    bytes: dict[str, int]
    intensity: float
    bound: str

    def __str__(self) -> str:
        """Return a line for every fact."""
        rows = [("pass", f"{self.op}, {self.dtype}"), ("algorithm", self.algorithm)]
        rows += [("instruction set", self.isa)]
        rows += [(f"not {name}", reason) for name, reason in self.refused.items()]
        rows += [(name, str(value)) for name, value in self.blocking.items()]
        rows += [("FLOPs", f"{self.flops:,}")]
        rows += [(f"bytes of {name}", f"{size:,}") for name, size in self.bytes.items()]
        rows += [("FLOPs a byte", f"{self.intensity:.1f}"), ("bound by", self.bound)]
        return "\n".join([f"{name:<30}{value}" for name, value in rows])

    __repr__ = __str__


def _bound_of(flops: int, moved: int, lanes: int) -> str:
    """Find what bounds a call, by the roofline of a core: two products of vectors a cycle."""
    arithmetic = flops / (4 * lanes)
    memory = moved / _BYTES_A_CYCLE
    if arithmetic + memory < _CALL_CYCLES:
        return "the call itself"
    return "arithmetic" if arithmetic > memory else "memory"


def _kernel_of(plan: SimpleNamespace, op: str) -> str:
    if plan.depthwise:
        kind = "one filter a channel"
        if plan.group > 1:
            kind = f"groups of {plan.group_outputs} channels in a vector"
        if plan.shared > 0:
            kind = "down columns of tiles, each input channel beside its filters"
        return kind + (f", a vector takes {plan.repeat} pixels" if plan.repeat > 1 else "")
    together = ", all kernel rows together" if plan.joined else ""
    if plan.narrow or (op == "weight_grad" and plan.swapped):
        return "register tile, vectors along the input channels" + together
    if plan.few_to_few:
        return "several pixels in a vector"
    if plan.few_pixels:
        return "weights row by row, a few pixels at a time"
    rows = plan.grad_rows if op == "weight_grad" else plan.conv_rows
    vectors = f"{plan.panel // plan.lanes} vectors of {plan.lanes}"
    return f"register tile of {rows} rows by {vectors}{together}"


def _tasks_of(facts: SimpleNamespace) -> str:
    return f"{facts.tasks} on {facts.threads} thread" + ("s" if facts.threads > 1 else "")


def _tiles_of(w: SimpleNamespace, plan: SimpleNamespace, op: str) -> dict[str, Any]:
    """Return the sizes that Winograd's algorithm works with, by name."""
    outputs = f"{w.output_rows} x {w.output_columns} outputs"
    found = {
        "kernel": _kernel_of(plan, op),
        "tiles": f"{w.tiles} of up to {outputs}, and {w.points} points",
        "taps": f"{w.squares} of {w.tap_rows} x {w.tap_columns}",
        "block": f"{w.block_tiles} tiles",
        "blocks": w.blocks,
        "transformed": "all tiles first, shared" if w.shared else "tiles of a block, by each task",
    }
    if op == "weight_grad":
        found["channels at a time"] = f"{w.in_range} of x, {w.out_range} of dy"
        found["pieces"] = "none, sums stay in registers" if w.few else f"{w.pieces} partial sums"
    else:
        found["panel"] = f"{w.panel} of {plan.out_channels} output channels a group"
        found["weights"] = _transformed_weights(w)
    found["tasks"] = _tasks_of(w)
    return found


def _transformed_weights(w: SimpleNamespace) -> str:
    if w.few:
        return "multiplied as they are transformed"
    if w.gradual:
        return f"multiplied in slices of {w.slice} rows, all panels together"
    if w.sliced:
        return f"transformed in slices of {w.slice} rows"
    return "transformed once" if w.parts == 1 else f"transformed in {w.parts} parts"


def _blocking_of(plan: SimpleNamespace, op: str) -> dict[str, Any]:
    """Return the sizes that the plan of a direct sum chose, by name."""
    block = f"{plan.block_images} images x {plan.block_rows} rows x {plan.block_columns} columns"
    found = {
        "kernel": _kernel_of(plan, op),
        "pixels a block": block + (f" x {plan.phases} phases" if op == "input_grad" else ""),
        "blocks": plan.blocks,
        "input": "gathered into scratch, padded and dense" if plan.gathered else "read in place",
    }
    if plan.trimmed or plan.clipped:
        found["padding"] = "left out of the sums"
    if plan.depthwise and op == "weight_grad":
        found["a sum"] = f"of up to {plan.strip_chain} pixels"
    elif plan.depthwise:
        across = "a tile" if plan.goes_down else f"{plan.strip_pixels} pixels"
        found["strip"] = f"{plan.strip_rows} rows x {across}"
    else:
        found["panel"] = f"{plan.panel} of {plan.out_channels} output channels a group"
        if op == "weight_grad":
            found["pieces"] = f"{plan.pieces} partial sums"
        else:
            slices = f"slices of at most {plan.depth_block} rows"
            found["weights"] = f"{_packed_weights(plan)}, {slices}"
    found["tasks"] = _tasks_of(plan)
    return found


def _packed_weights(plan: SimpleNamespace) -> str:
    if plan.weights_in_place:
        return "read in place"
    if plan.packed:
        return f"packed in {plan.parts} parts" if plan.parts > 1 else "packed once"
    return "packed slice by slice"


def explain(
    input_shape: Shape,
    weight_shape: Shape,
    *,
    op: Op = "forward",
    dtype: DTypeLike = numpy.float32,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    algorithm: Algorithm = "auto",
) -> Explanation:
    """Say how a call would be computed, without computing it.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of x: (N, H, W, C), or (H, W, C) for one image.
    weight_shape : tuple of int
        Shape of w: (KH, KW, C // groups, O).
    op : {"forward", "input_grad", "weight_grad"}, default "forward"
        The pass: `conv2d`, `conv2d_input_grad` or `conv2d_weight_grad`.
    dtype : data-type, default numpy.float32
        What the arrays hold.
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.

    Returns
    -------
    Explanation
        Prints as a table.  Arrays are taken to be C-contiguous, weights to be finite; sizes in
        bytes.

    Raises
    ------
    ValueError, TypeError
        As the call itself would.

    References
    ----------
    .. [1] S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model
       for multicore architectures", Communications of the ACM 52(4), 2009: operations a byte.

    Examples
    --------
    >>> import fastconv
    >>> plan = fastconv.explain((8, 56, 56, 64), (3, 3, 64, 64), padding=1)
    >>> plan.algorithm
    'winograd'
    >>> plan.flops
    1849688064
    """
    call, plan, w = [
        SimpleNamespace(**facts)
        for facts in plan_facts(
            input_shape, weight_shape, op, dtype, stride, padding, dilation, groups, algorithm
        )
    ]
    computed = f"float{8 * call.itemsize}"
    sizes = {
        "input": call.inputs * call.itemsize,
        "weights": call.weights * call.itemsize,
        "output": call.outputs * call.itemsize,
    }
    moved = sum(sizes.values())
    if not (call.inputs and call.outputs):
        said, sizes["workspace"] = "none: an empty sum", 0
        return Explanation(op, computed, call.isa, said, {}, {}, 0, sizes, 0.0, "the call itself")
    flops = 2 * call.outputs * call.terms
    bound = _bound_of(flops, moved, plan.lanes)
    if call.refusal is None:
        said, refused, blocking = "winograd", {}, _tiles_of(w, plan, op)
        sizes["workspace"] = w.workspace_bytes
        sizes["transformed weights"] = w.weights_bytes
    else:
        said, refused, blocking = "direct", {"winograd": call.refusal}, _blocking_of(plan, op)
        sizes["workspace"] = plan.workspace_bytes
    return Explanation(
        op, computed, call.isa, said, refused, blocking, flops, sizes, flops / moved, bound
    )
