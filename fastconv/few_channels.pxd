# Which kernels serve few channels: of a group, of an image, or filters over one channel.  Inline, without a module of
# its own.
from fastconv._kernels cimport caches
from fastconv.axes cimport ceil_div
from fastconv.geometry cimport Geometry
from fastconv.plan cimport FORWARD, INPUT_GRAD, WEIGHT_GRAD, Plan
from fastconv.strips cimport SAME_SETS, are_windows, groups_have_windows

cdef enum:
    FEW_FILTERS = 4
    # Pixels across for each tap and filter more than one, for which planes of dy are worth their edges.
    WIDE_ENOUGH = 24
    # Pixels across for which tiles are wide enough; vectors of products a tap that a tile's pixels cost more than.
    MANY_COLUMNS = 16
    FEW_INPUTS = 4
    MANY_TAPS = 9
    # Vectors of a run from which on adding up the lanes of a few filters costs less than broadcasting; and vectors of
    # products that it takes as long as.
    FEW_LANES = 8
    ADDING_LANES = 2
    # Products a sum from which on shorter vectors, which all channels fill, are faster (Zen 4).
    HALVES_DEPTH = 48


cdef inline bint leaves_edges_out(const Plan *plan) noexcept nogil:
    """Whether the kernel of few shared channels has code for the edges of images."""
    return plan.rows.taps == plan.columns.taps == 3


cdef inline bint run_is_short(const Plan *plan, Py_ssize_t inner, Py_ssize_t outer) noexcept nogil:
    """Whether columns of tiles gain more by a short run of inputs than they lose at their ends: other taps than 3x3.

    There, each row of taps but one has sums of rows that go nowhere; and a tile of conv, which broadcasts each input
    once a row of taps, has whole vectors of them to permute, or few filters for vectors along the runs.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, run = inner * plan.columns.taps, rows = plan.rows.extent
    if plan.columns.in_step > 1 or not (plan.rows.taps in (2, 4, 5, 7)) or (
            run * plan.rows.taps * lanes * plan.itemsize > caches().l2 // 4):
        return False
    if 2 * outer == lanes:
        return (run < lanes or rows > 4 * plan.rows.taps) and (
            outer > plan.kernels.narrow_panel or run < FEW_LANES * lanes)
    if inner == 1 and outer <= FEW_FILTERS and plan.columns.extent >= FEW_LANES * lanes:     # see `single` below
        return False
    return plan.kernels.conv_panel >= 4 * lanes >= 4 * outer and run <= 4 * outer and (
        run < lanes or (run < 2 * lanes and rows > 8 * plan.rows.taps))


cdef inline bint all_see_few(const Plan *plan, Py_ssize_t inner, Py_ssize_t outer) noexcept nogil:
    """Whether taps go down columns of tiles, like depthwise ones, each of `inner` channels shared by all lanes.

    A register tile spends more on its pixels than on products where channels are few; and where `outer` channels are
    half a vector, two pixels share one.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, vectors = ceil_div(outer, lanes), step = plan.rows.in_step
    if plan.op == WEIGHT_GRAD or plan.columns.extent < MANY_COLUMNS or (
            plan.groups > 1 and (plan.op == INPUT_GRAD or outer % lanes)) or (
            plan.geometry.dilation_height > 1 or plan.geometry.dilation_width > 1 or plan.columns.in_step != step
            or step > 2 or plan.rows.out_step > 1 or plan.columns.out_step > 1):
        return False
    if plan.rows.taps != 3 or plan.columns.taps != 3:
        return plan.groups == 1 and run_is_short(plan, inner, outer)
    if 2 * outer == lanes and step == 1:
        return outer > plan.kernels.narrow_panel or inner < 6 * outer
    if vectors > 1 and (step > 1 or plan.kernels.conv_panel < 4 * lanes):   # wide tiles of few registers share more
        return False
    return inner * vectors <= FEW_INPUTS and inner < 3 * outer


cdef inline bint fits_vectors(const Plan *plan) noexcept nogil:
    """Whether vectors hold whole groups of outputs, and inputs can be laid beside them.

    A few groups; or one, where windows leave more padding out than a register tile does.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, inputs = plan.group, outputs = plan.group_outputs
    if outputs == lanes and (inputs > lanes or plan.op == WEIGHT_GRAD or not (are_windows(plan) and plan.columns.padded)
                             or plan.groups * inputs * plan.itemsize % SAME_SETS == 0):
        return False
    if not 1 < outputs <= lanes or outputs & (outputs - 1):
        return False
    if plan.op == WEIGHT_GRAD:      # goes through all pixels for each input; longer runs fill vectors as well
        return inputs == outputs <= FEW_FILTERS and plan.groups * outputs % lanes == 0 and (
            plan.rows.taps == plan.columns.taps == 3 and plan.columns.in_step % plan.geometry.dilation_width == 0
            and plan.columns.in_step <= 2 * plan.geometry.dilation_width)
    # Laying out more inputs, a few at a time, takes longer than it saves, unless many taps or all phases of dL/dx share
    # them.
    if inputs >= lanes and plan.rows.phases * plan.columns.phases == 1 and (
            plan.columns.in_step > 1 or plan.rows.taps * plan.columns.taps < MANY_TAPS):
        return False
    return 1 < inputs <= outputs or (
        inputs <= 2 * lanes and inputs % outputs == 0 and plan.groups * outputs % lanes == 0)


cdef inline bint lanes_pay(Py_ssize_t columns, Py_ssize_t runs, Py_ssize_t length, Py_ssize_t lanes) noexcept nogil:
    """Whether vectors along the runs waste so much less than vectors along few output channels.

    Counts multiply-adds of vectors a pixel; adding up the lanes at the end costs about eight.
    """
    return columns * (runs * ceil_div(length, lanes) + 8) < 0.7 * runs * length


cdef inline bint few_to_few(const Plan *plan, Py_ssize_t inputs, Py_ssize_t outputs) noexcept nogil:
    """Whether a product with every pixel has so few channels that a vector takes two pixels or more.

    A single output channel has vectors along the inputs instead, if those are more than a few.
    """
    cdef Py_ssize_t pixels = plan.kernels.lanes // max(inputs, outputs)
    return (plan.op != WEIGHT_GRAD and plan.groups == plan.rows.taps == plan.columns.taps == 1
            and plan.rows.in_step == plan.columns.in_step == plan.rows.out_step == plan.columns.out_step == 1
            and not (plan.rows.padded or plan.columns.padded)
            and pixels > 1 and (outputs > 1 or inputs <= 2 * pixels))


cdef inline bint prefers_runs(const Plan *plan, Py_ssize_t multiplier) noexcept nogil:
    """Whether dL/dx into a single channel has its vectors along the runs, whose taps of a few filters fill lanes.

    Planes of dy, one a filter, have edges to look at, and need rows that are long.  With a dilation runs are short, and
    even a register tile that uses one lane is faster.
    """
    cdef Py_ssize_t across = plan.columns.taps
    return (plan.op == INPUT_GRAD and plan.groups == 1 and plan.geometry.in_channels == 1
            and multiplier <= FEW_FILTERS and plan.geometry.stride_width == 1
            and plan.columns.extent < WIDE_ENOUGH * (across - 1) * (multiplier - 1)
            and lanes_pay(1, plan.rows.taps, across * multiplier, plan.kernels.lanes))


cdef inline bint stays_single(const Plan *plan, Py_ssize_t multiplier) noexcept nogil:
    """Whether several filters over a single channel are as many channels of one filter each, not groups of a channel.

    Scratch then holds each channel as often, or in dL/dx planes of dy that have as many vectors of each pixel.
    """
    cdef Py_ssize_t lanes = plan.kernels.lanes, groups = plan.groups, down, across
    if groups == 1:     # more pixels than channels to lay vectors along
        return multiplier <= FEW_FILTERS and plan.geometry.stride_width == 1
    if plan.op != INPUT_GRAD and plan.columns.in_step > 1 and plan.geometry.dilation_width == 1:
        return multiplier <= FEW_FILTERS        # most of the copies would be read by few
    if plan.op == FORWARD:
        return multiplier % lanes and multiplier < 4 * lanes
    if plan.op == WEIGHT_GRAD:
        return plan.geometry.dilation_width > 1 or 2 * multiplier < lanes + (groups % 2 == 0)
    # The other way has vectors along the runs of dy, and adds up their lanes.
    down = plan.rows.taps // max(plan.rows.phases, 1)
    across = plan.columns.taps // max(plan.columns.phases, 1)
    return multiplier <= FEW_FILTERS or multiplier * ceil_div(groups, lanes) * down * across < groups * (
        down * ceil_div(multiplier * across, lanes) + ADDING_LANES)


cdef inline bint halves_pay(const Plan *plan) noexcept nogil:
    """Whether the channels leave half of the last vector idle, or more, and few others make up for it.

    Not for a single pixel, nor where a vector holds two groups or two pixels and taps are those that this is fastest
    for; where two vectors become three, not if sums are so short that loading and storing outputs takes the time.
    """
    cdef const Geometry *g = &plan.geometry
    cdef Py_ssize_t lanes = plan.kernels.lanes, inner = g.in_channels // g.groups, outer = g.out_channels // g.groups
    cdef Py_ssize_t taps = plan.rows.taps * plan.columns.taps // max(plan.rows.phases * plan.columns.phases, 1)
    if plan.op == WEIGHT_GRAD or plan.tiled or plan.few_to_few or (
            plan.depthwise and plan.group == 1 and plan.shared == 0) or plan.rows.extent * plan.columns.extent == 1:
        return False
    if plan.op == INPUT_GRAD:
        inner, outer = outer, inner
    if plan.depthwise and (inner * taps < 2 * HALVES_DEPTH or plan.group > 1 and (
            taps <= 9 or groups_have_windows(plan))):
        return False
    if plan.kernels.narrow_panel < outer < lanes // 2:     # parts of short vectors take long to store, which sums hide
        return inner * taps >= 3 * HALVES_DEPTH
    return 2 * outer == lanes or (lanes < outer <= lanes + lanes // 2 and inner * taps >= HALVES_DEPTH)
