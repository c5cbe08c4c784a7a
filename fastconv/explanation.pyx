"""What a call will do, before it does it: algorithm, blocks, cost."""
from dataclasses import dataclass

import numpy

from libc.stdlib cimport free, malloc

from fastconv._kernels cimport FASTCONV_F32, FASTCONV_F64, kernels_for
from fastconv.arrays import common_dtype
from fastconv.axes cimport axis_entries
from fastconv.engine cimport Algorithm, lay_down, make_plans, need_algorithm, read_algorithm, refusal_text
from fastconv.geometry cimport Geometry, resolve_shapes
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Plan, Tensor
from fastconv.threads cimport thread_count
from fastconv.spans cimport outputs_of, taps_of
from fastconv.strips cimport goes_down
from fastconv.tiles cimport SERVES, Refusal, Winograd

OPS = {"forward": FORWARD, "input_grad": INPUT_GRAD, "weight_grad": WEIGHT_GRAD}
# What a core gets from beyond its L2, a rule of thumb, and what a call costs whatever it computes.
cdef double BYTES_A_CYCLE = 8
cdef double CALL_CYCLES = 4000


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
        Floating-point operations of the direct sum, a multiplication and an addition counted as two.
    bytes : dict of str to int
        Of the arrays read and written, and of the workspace; in Winograd's algorithm also of the transformed
        weights that the workspace holds.
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
    refused: dict
    blocking: dict
    flops: int
    bytes: dict
    intensity: float
    bound: str

    def __str__(self):
        rows = [("pass", f"{self.op}, {self.dtype}"), ("algorithm", self.algorithm), ("instruction set", self.isa)]
        rows += [(f"not {name}", reason) for name, reason in self.refused.items()]
        rows += [(name, str(value)) for name, value in self.blocking.items()]
        rows += [("FLOPs", f"{self.flops:,}")]
        rows += [(f"bytes of {name}", f"{size:,}") for name, size in self.bytes.items()]
        rows += [("FLOPs a byte", f"{self.intensity:.1f}"), ("bound by", self.bound)]
        return "\n".join([f"{name:<30}{value}" for name, value in rows])

    __repr__ = __str__


cdef void dense(Tensor *tensor, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels) noexcept:
    """Strides of a C-contiguous array; explain looks at no data."""
    tensor.data = NULL
    tensor.prepared = NULL
    tensor.channel_stride = 1
    tensor.column_stride = channels
    tensor.row_stride = width * channels
    tensor.batch_stride = height * width * channels


cdef str bound_of(const Plan *plan, double moved):
    """What bounds a call, by the roofline of a core that makes two products of vectors a cycle."""
    cdef double arithmetic = plan.flops / (4 * plan.kernels.lanes)
    cdef double memory = moved / BYTES_A_CYCLE
    if arithmetic + memory < CALL_CYCLES:
        return "the call itself"
    return "arithmetic" if arithmetic > memory else "memory"


cdef str kernel_of(const Plan *plan):
    if plan.depthwise:
        kind = "one filter a channel" if plan.group == 1 else f"groups of {plan.group_outputs} channels in a vector"
        if plan.shared > 0:
            kind = "down columns of tiles, each input channel beside its filters"
        return kind + (f", a vector takes {plan.repeat} pixels" if plan.repeat > 1 else "")
    together = ", all kernel rows together" if plan.joined else ""
    if plan.narrow or (plan.op == WEIGHT_GRAD and plan.swapped):
        return "register tile, vectors along the input channels" + together
    if plan.few_pixels:
        return "weights row by row, a few pixels at a time"
    tile = plan.kernels.grad_rows if plan.op == WEIGHT_GRAD else plan.kernels.conv_rows
    vectors = plan.panel // plan.kernels.lanes
    return f"register tile of {tile} rows by {vectors} vectors of {plan.kernels.lanes}" + together


cdef dict tiles_of(const Winograd *w):
    """The sizes that Winograd's algorithm works with, by name."""
    cdef const Plan *plan = w.plan
    found = {
        "kernel": kernel_of(plan),
        "tiles": (f"{w.tiles} of up to {outputs_of(w.row_points)} x {outputs_of(w.column_points)} outputs, and "
                  f"{w.points} points"),
        "taps": f"{w.squares} of {taps_of(w.row_points)} x {taps_of(w.column_points)}",
        "block": f"{w.block_tiles} tiles",
        "blocks": w.blocks,
    }
    if plan.op == WEIGHT_GRAD:
        found["transformed"] = "all tiles first, shared" if w.shared else "tiles of a block, by each task"
        found["channels at a time"] = f"{w.in_range} of x, {w.out_range} of dy"
        found["pieces"] = "none, sums stay in registers" if w.few else f"{w.pieces} partial sums"
    else:
        found["transformed"] = "all tiles first, shared" if w.shared else "tiles of a block, by each task"
        found["panel"] = f"{w.panel} of {plan.out_channels} output channels a group"
        found["weights"] = ("multiplied as they are transformed" if w.few else
                            f"multiplied in slices of {w.slice} rows, all panels together" if w.gradual else
                            f"transformed in slices of {w.slice} rows" if w.sliced else
                            "transformed once" if w.parts == 1 else f"transformed in {w.parts} parts")
    found["tasks"] = f"{w.tasks} on {w.threads} thread" + ("s" if w.threads > 1 else "")
    return found


cdef dict blocking_of(const Plan *plan):
    """The sizes that the plan chose, by name."""
    found = {
        "kernel": kernel_of(plan),
        "pixels a block": f"{plan.block_images} images x {plan.rows.block} rows x {plan.columns.block} columns"
                          + (f" x {plan.rows.phases * plan.columns.phases} phases" if plan.op == INPUT_GRAD else ""),
        "blocks": plan.blocks,
        "input": (
            "gathered into scratch, padded and dense" if plan.gathered else "read in place"),
    }
    if plan.trimmed or plan.clipped:
        found["padding"] = "left out of the sums"
    if plan.depthwise and plan.op == WEIGHT_GRAD:
        found["a sum"] = f"of up to {plan.strip_chain} pixels"
    elif plan.depthwise:
        across = "a tile" if goes_down(plan) else f"{plan.strip_pixels} pixels"
        found["strip"] = f"{plan.strip_rows} rows x {across}"
    else:
        found["panel"] = f"{plan.panel} of {plan.out_channels} output channels a group"
        if plan.op == WEIGHT_GRAD:
            found["pieces"] = f"{plan.pieces} partial sums"
        else:
            found["weights"] = ("read in place" if plan.weights_in_place else
                                f"packed in {plan.parts} parts" if plan.packed and plan.parts > 1 else
                                "packed once" if plan.packed else "packed slice by slice"
                                ) + f", slices of at most {plan.depth_block} rows"
    found["tasks"] = f"{plan.tasks} on {plan.threads} thread" + ("s" if plan.threads > 1 else "")
    return found


def explain(
    input_shape, weight_shape, *, op="forward", dtype=numpy.float32, stride=1, padding=0, dilation=1, groups=1,
    algorithm="auto",
):
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
        Prints as a table.  Arrays are taken to be C-contiguous, weights to be finite; sizes in bytes.

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
    cdef Geometry g
    cdef Plan plan
    cdef Winograd w
    cdef Tensor source, weights
    cdef Py_ssize_t *entries
    cdef Algorithm chosen = read_algorithm(algorithm)
    cdef Refusal refusal
    cdef int code
    if op not in OPS:
        raise ValueError(f"op must be one of {', '.join(OPS)}, got {op!r}")
    resolve_shapes(&g, input_shape, weight_shape, stride, padding, dilation, groups)
    need_algorithm(chosen, &g)
    given = numpy.dtype(dtype)
    if given.kind not in "biuf" or given.itemsize > 8:
        raise TypeError(f"dtype must be of real numbers of at most 64 bits, got {given}")
    computed = common_dtype(given)
    code = FASTCONV_F32 if computed.itemsize == 4 else FASTCONV_F64
    sizes = {
        "input": g.batch * g.in_height * g.in_width * g.in_channels * computed.itemsize,
        "weights": (g.kernel_height * g.kernel_width * (g.in_channels // g.groups) * g.out_channels
                    * computed.itemsize),
        "output": g.batch * g.out_height * g.out_width * g.out_channels * computed.itemsize,
        "workspace": 0,
    }
    isa = kernels_for(code).isa.decode()
    if not (sizes["input"] and sizes["weights"] and sizes["output"]):
        return Explanation(op, str(computed), isa, "none: an empty sum", {}, {}, 0, sizes, 0.0, "the call itself")
    if op == "input_grad":
        dense(&source, g.out_height, g.out_width, g.out_channels)
    else:
        dense(&source, g.in_height, g.in_width, g.in_channels)
    dense(&weights, g.kernel_width, g.in_channels // g.groups, g.out_channels)
    entries = <Py_ssize_t *> malloc(axis_entries(&g) * sizeof(Py_ssize_t))
    if entries == NULL:
        raise MemoryError("no memory for a plan")
    lay_down(OPS[op], &g, &source, &weights)
    refusal = make_plans(
        &plan, &w, OPS[op], &g, code, &source, &weights, thread_count(), chosen, True, entries)
    free(entries)
    flops = (2 * g.batch * g.out_height * g.out_width * g.out_channels
             * g.kernel_height * g.kernel_width * (g.in_channels // g.groups))
    moved = sizes["input"] + sizes["weights"] + sizes["output"]
    if refusal == SERVES:
        sizes["workspace"] = w.workspace_bytes
        sizes["transformed weights"] = w.weights_bytes
    else:
        sizes["workspace"] = plan.workspace_bytes
        isa = plan.kernels.isa.decode()
    return Explanation(
        op, str(computed), isa, "winograd" if refusal == SERVES else "direct",
        {} if refusal == SERVES else {"winograd": refusal_text(refusal)},
        tiles_of(&w) if refusal == SERVES else blocking_of(&plan), flops, sizes, flops / moved, bound_of(&plan, moved))
