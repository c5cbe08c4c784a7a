"""The plan of a call in numbers, which explanation.py puts into words: texts are small there, and large in C."""
from libc.stdlib cimport free, malloc

from fastconv._kernels cimport fastconv_kernels, kernels_for
from fastconv.arrays cimport dtype_code
from fastconv.axes cimport axis_entries
from fastconv.engine cimport Algorithm, lay_down, make_plans, need_algorithm, read_algorithm, refusal_text
from fastconv.geometry cimport Geometry, resolve_shapes
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Op, Plan, Tensor
from fastconv.spans cimport outputs_of, taps_of
from fastconv.strips cimport goes_down, has_windows
from fastconv.threads cimport thread_count
from fastconv.tiles cimport SERVES, Refusal, Winograd


cdef Op read_op(object op) except *:
    if op == "forward":
        return FORWARD
    if op == "input_grad":
        return INPUT_GRAD
    if op == "weight_grad":
        return WEIGHT_GRAD
    raise ValueError(f"op must be one of forward, input_grad, weight_grad, got {op!r}")


cdef void dense(Tensor *tensor, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels) noexcept:
    """Strides of a C-contiguous array; nobody looks at its data."""
    tensor.data = NULL
    tensor.prepared = NULL
    tensor.channel_stride = 1
    tensor.column_stride = channels
    tensor.row_stride = width * channels
    tensor.batch_stride = height * width * channels


# Calls of this are 0.8 KB of a wheel less than the items of a dict display.
cdef int put(dict facts, str name, Py_ssize_t value) except -1:
    facts[name] = value
    return 0


cdef int put_plan(dict facts, const Plan *plan) except -1:
    """The kernel, then the blocks, then what only some passes have."""
    put(facts, "depthwise", plan.depthwise)
    put(facts, "group", plan.group)
    put(facts, "group_outputs", plan.group_outputs)
    put(facts, "shared", plan.shared)
    put(facts, "repeat", plan.repeat)
    put(facts, "joined", plan.joined)
    put(facts, "few_to_few", plan.few_to_few)
    put(facts, "narrow", plan.narrow)
    put(facts, "swapped", plan.swapped)
    put(facts, "few_pixels", plan.few_pixels)
    put(facts, "lanes", plan.kernels.lanes)
    put(facts, "conv_rows", plan.kernels.conv_rows)
    put(facts, "grad_rows", plan.kernels.grad_rows)
    put(facts, "panel", plan.panel)
    put(facts, "out_channels", plan.out_channels)
    put(facts, "block_images", plan.block_images)
    put(facts, "block_rows", plan.rows.block)
    put(facts, "block_columns", plan.columns.block)
    put(facts, "phases", plan.rows.phases * plan.columns.phases)
    put(facts, "blocks", plan.blocks)
    put(facts, "gathered", plan.gathered)
    put(facts, "trimmed", plan.trimmed)
    put(facts, "clipped", plan.clipped)
    put(facts, "tasks", plan.tasks)
    put(facts, "threads", plan.threads)
    put(facts, "workspace_bytes", plan.workspace_bytes)
    put(facts, "goes_down", goes_down(plan) or (
        has_windows(plan) and plan.room_columns == 0 and plan.out_total >= plan.kernels.lanes))
    put(facts, "strip_rows", plan.strip_rows)
    put(facts, "strip_pixels", plan.strip_pixels)
    put(facts, "strip_chain", plan.strip_chain)
    put(facts, "pieces", plan.pieces)
    put(facts, "weights_in_place", plan.weights_in_place)
    put(facts, "packed", plan.packed)
    put(facts, "parts", plan.parts)
    put(facts, "depth_block", plan.depth_block)
    return 0


cdef int put_tiles(dict facts, const Winograd *w) except -1:
    """The tiles, then the blocks, then the panels or, of dL/dW, the ranges."""
    put(facts, "tiles", w.tiles)
    put(facts, "output_rows", outputs_of(w.row_points))
    put(facts, "output_columns", outputs_of(w.column_points))
    put(facts, "points", w.points)
    put(facts, "squares", w.squares)
    put(facts, "tap_rows", taps_of(w.row_points))
    put(facts, "tap_columns", taps_of(w.column_points))
    put(facts, "block_tiles", w.block_tiles)
    put(facts, "blocks", w.blocks)
    put(facts, "shared", w.shared)
    put(facts, "tasks", w.tasks)
    put(facts, "threads", w.threads)
    put(facts, "workspace_bytes", w.workspace_bytes)
    put(facts, "weights_bytes", w.weights_bytes)
    put(facts, "few", w.few)
    put(facts, "panel", w.panel)
    put(facts, "gradual", w.gradual)
    put(facts, "sliced", w.sliced)
    put(facts, "slice", w.slice)
    put(facts, "parts", w.parts)
    put(facts, "in_range", w.in_range)
    put(facts, "out_range", w.out_range)
    put(facts, "pieces", w.pieces)
    return 0


cdef Refusal find_plans(Plan *plan, Winograd *w, Op op, Geometry *g, int dtype, Algorithm algorithm) except *:
    """As make_plans, for C-contiguous arrays and as many threads as a call may use."""
    cdef Tensor source, weights
    cdef Refusal refusal
    cdef Py_ssize_t *entries = <Py_ssize_t *> malloc(axis_entries(g) * sizeof(Py_ssize_t))
    if entries == NULL:
        raise MemoryError("no memory for a plan")
    if op == INPUT_GRAD:
        dense(&source, g.out_height, g.out_width, g.out_channels)
    else:
        dense(&source, g.in_height, g.in_width, g.in_channels)
    dense(&weights, g.kernel_width, g.in_channels // g.groups, g.out_channels)
    lay_down(op, g, &source, &weights)
    refusal = make_plans(plan, w, op, g, dtype, &source, &weights, thread_count(), algorithm, True, entries)
    free(entries)
    return refusal


def plan_facts(input_shape, weight_shape, op, dtype, stride, padding, dilation, groups, algorithm, /):
    """Check a call's arguments; return three dicts of facts: on the call, on its plan, on its tiles.

    Of an empty sum, the last two are empty; without Winograd's algorithm, the last one is.
    """
    cdef Geometry g
    cdef Plan plan
    cdef Winograd w
    cdef Algorithm chosen = read_algorithm(algorithm)
    cdef Op which = read_op(op)
    cdef Refusal refusal
    cdef Py_ssize_t inputs, outputs, terms
    cdef const fastconv_kernels *kernels
    cdef dict call = {}, planned = {}, tiles = {}
    cdef int code
    resolve_shapes(&g, input_shape, weight_shape, stride, padding, dilation, groups)
    need_algorithm(chosen, &g)
    code = dtype_code(dtype)
    kernels = kernels_for(code)
    inputs = g.batch * g.in_height * g.in_width * g.in_channels
    outputs = g.batch * g.out_height * g.out_width * g.out_channels
    terms = g.kernel_height * g.kernel_width * (g.in_channels // g.groups)
    put(call, "itemsize", kernels.itemsize)
    put(call, "inputs", inputs)
    put(call, "weights", terms * g.out_channels)
    put(call, "outputs", outputs)
    put(call, "terms", terms)       # of the sum that an output is
    if inputs > 0 and outputs > 0:      # so there are weights, too
        refusal = find_plans(&plan, &w, which, &g, code, chosen)
        put_plan(planned, &plan)
        if refusal == SERVES:
            put_tiles(tiles, &w)
            call["refusal"] = None
        else:
            call["refusal"] = refusal_text(refusal)
        kernels = plan.kernels      # whose vectors may be shorter
    call["isa"] = kernels.isa.decode()
    return call, planned, tiles
