"""The direct sum with a register tile: the forward pass, and dL/dx as a sum for each phase.

    for each part of the weights, as many panels as may be packed at once: pack them (in parallel)
        for each block of output pixels (in parallel)
            gather the input it reads, unless it can be read in place
            for each phase, group and panel of output channels
                for each slice of K: pack its weights unless they are packed or read in place
                    for each class of pixels, which read through the same taps: conv kernel
                    for each tap, those pixels whose classes are too small for a tile: conv kernel

An output element is one chain of fused multiply-adds in the order of K, so neither blocks, panels,
slices nor threads change a bit of it.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    FASTCONV_LATENT_SUMS, fastconv_conv_args, flush_denormals, restore_mode, spare_shuffles)
from fastconv.algorithms.panels cimport pack_narrow, pack_slice
from fastconv.axes cimport aligned, ceil_div, even_part
from fastconv.blocks cimport (
    Block, Phase, PixelClass, Source, Workspace, classify_pixels, find_runs, gather_block, locate_block, may_stream,
    open_phase, open_workspace, source_group, zero_block)
from fastconv.plan cimport INPUT_GRAD, Plan, Tensor, panel_start

cdef extern from "compat.h":
    void fastconv_set_setting(int *setting, int value) noexcept nogil
    void fastconv_fence() noexcept nogil


# One call of run_direct, as its tasks see it.
cdef struct Job:
    const Plan *plan
    void (*kernel)(const fastconv_conv_args *) noexcept nogil
    const Tensor *x
    const Tensor *w
    const char *bias
    char *out
    char *packed                # the units [first_unit, end_unit) of this part, if they are packed
    Py_ssize_t first_unit, end_unit
    char *threads               # workspace of the first thread
    bint streams                # the result goes to memory past the caches, whose lines need not be read then
    int finite                  # the weights packed so far hold no NaN and no infinity


cdef inline Py_ssize_t packed_column(const Plan *plan, Py_ssize_t unit) noexcept nogil:
    """First packed column of a unit: a group's panels follow one another, each padded to whole vectors."""
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels
    return group * plan.vectors * plan.kernels.lanes + (0 if plan.narrow else panel_start(plan, panel))


cdef char *packed_panel(const Job *job, const Phase *phase, Py_ssize_t unit) noexcept nogil:
    """Where a packed panel starts for one phase: panels first, phases within."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t taps = phase.first_row * plan.columns.taps + phase.rows * phase.first_column
    cdef Py_ssize_t column = packed_column(plan, unit), depth = plan.rows.taps * plan.columns.taps
    return job.packed + plan.itemsize * plan.in_channels * (
        depth * (column - packed_column(plan, job.first_unit))
        + taps * (packed_column(plan, unit + 1) - column))


cdef void pack_unit(Job *job, Py_ssize_t unit, Py_ssize_t share, Py_ssize_t shares) noexcept nogil:
    """Pack a share of one panel of one group (all of it, if narrow), for every phase."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels, lanes = plan.kernels.lanes
    cdef Py_ssize_t width = packed_column(plan, unit + 1) - packed_column(plan, unit), row, column, depth, first, end
    cdef char *to
    cdef Phase phase
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            to = packed_panel(job, &phase, unit)
            if plan.narrow:
                pack_narrow(plan, job.w, &phase, group, panel, to, &job.finite)
            else:
                depth = phase.rows * phase.columns * plan.in_channels
                first = ceil_div(depth, lanes) * share // shares * lanes
                end = min(ceil_div(depth, lanes) * (share + 1) // shares * lanes, depth)
                to += first * width * plan.itemsize
                pack_slice(plan, job.w, &phase, group, panel, first, end, to, &job.finite)


cdef void choose_runs(
    const Job *job, const Phase *phase, const Workspace *work, const PixelClass *pixels, Py_ssize_t first,
    fastconv_conv_args *args,
) noexcept nogil:
    """Of a slice, which starts at run `first`, the runs and the part of each that a class does not read from padding.

    `args` holds the slice as it is for pixels that read through every tap.
    """
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t run, column, start = args.in_offset, count = 0
    cdef Py_ssize_t across = 1 if plan.merged else phase.columns
    cdef Py_ssize_t end = min(first + args.runs, pixels.end_row * across)
    cdef bint every_column = pixels.end_column - pixels.first_column == phase.columns
    first = max(first, pixels.first_row * across)
    args.run_offset, args.run_k = work.offsets + first, work.run_k + first
    args.runs = max(end - first, 0)
    if every_column:
        return
    if plan.merged:             # a stretch of each run
        start = max(args.in_offset, pixels.first_column * plan.in_channels)
        end = min(args.in_offset + args.run_length, pixels.end_column * plan.in_channels)
        args.in_offset = args.k_offset = start
        args.run_length = max(end - start, 0)
        return
    for run in range(first, end):
        column = run % across
        if pixels.first_column <= column < pixels.end_column:
            work.some_offsets[count], work.some_k[count] = work.offsets[run], work.run_k[run]
            count += 1
    args.run_offset, args.run_k, args.runs = work.some_offsets, work.some_k, count


cdef void run_slice(
    const Job *job, const Phase *phase, const Workspace *work, Py_ssize_t classes, const fastconv_conv_args *slice,
    Py_ssize_t first_run, Py_ssize_t first_k, Py_ssize_t group_offset, bint leave_out,
) noexcept nogil:
    """A slice of K, of which weights hold the rows from `first_k` on, over every class of pixels."""
    cdef Py_ssize_t index
    cdef PixelClass *pixels
    cdef fastconv_conv_args args
    for index in range(classes):
        pixels = work.classes + index
        if pixels.pooled:
            continue
        args = slice[0]
        if leave_out:
            choose_runs(job, phase, work, pixels, first_run, &args)
        else:
            args.run_offset, args.run_k = work.offsets + first_run, work.run_k + first_run
        if args.runs == 0 or args.run_length == 0:
            continue
        args.in_offset += group_offset
        args.k_offset -= first_k
        args.pixels = pixels.pixels
        args.in_, args.out = work.reads + pixels.start, work.writes + pixels.start
        args.in_step, args.out_step = pixels.in_step, pixels.out_step
        args.accumulate = pixels.started
        job.kernel(&args)
        pixels.started = True


cdef inline bint goes_by_column(const Job *job) noexcept nogil:
    """Whether products with padding to the left and right are left out, as those above and below are.

    Where that saves time, and in dL/dx, which has no padding by definition, where weights that are not finite would
    show.
    """
    cdef const Plan *plan = job.plan
    return plan.trimmed or (plan.op == INPUT_GRAD and plan.columns.padded and not (plan.packed and job.finite))


cdef Py_ssize_t pool_pixels(
    const Workspace *work, Py_ssize_t classes, Py_ssize_t row, Py_ssize_t column,
) noexcept nogil:
    """Point to the pixels of pooled classes that read inside the input through a tap; returns how many.

    A negative row stands for any tap.
    """
    cdef Py_ssize_t index, at, count = 0
    cdef const PixelClass *pixels
    for index in range(classes):
        pixels = work.classes + index
        if pixels.pooled and (row < 0 or (pixels.first_row <= row < pixels.end_row
                                          and pixels.first_column <= column < pixels.end_column)):
            for at in range(pixels.start, pixels.start + pixels.pixels):
                work.some_reads[count], work.some_writes[count] = work.reads[at], work.writes[at]
                count += 1
    return count


cdef void run_pool(
    const Job *job, const Phase *phase, const Workspace *work, Py_ssize_t classes, const fastconv_conv_args *slice,
    Py_ssize_t first_run, Py_ssize_t first_k, Py_ssize_t group_offset,
) noexcept nogil:
    """A slice of K over the pooled classes, tap by tap.

    Sums are written and read for each tap, which costs less than a tile for every pixel or two.
    """
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t taps = phase.columns if plan.merged else 1, channels = plan.in_channels     # of a run
    cdef Py_ssize_t tap, first, end
    cdef fastconv_conv_args args = slice[0]
    args.in_, args.out = work.some_reads, work.some_writes
    args.in_step = args.out_step = 0
    args.runs, args.accumulate, args.stream = 1, True, False
    for tap in range(first_run * taps, (first_run + slice.runs) * taps):
        first = max(slice.in_offset, tap % taps * channels)
        end = min(slice.in_offset + slice.run_length, tap % taps * channels + channels)
        if first >= end:
            continue
        args.pixels = pool_pixels(work, classes, tap // phase.columns, tap % phase.columns)
        args.run_offset, args.run_k = work.offsets + tap // taps, work.run_k + tap // taps
        args.in_offset, args.k_offset = first + group_offset, first - first_k
        args.run_length = end - first
        if args.pixels > 0:
            job.kernel(&args)


cdef bint start_pool(
    const Job *job, const Phase *phase, const Workspace *work, Py_ssize_t classes, Py_ssize_t vectors,
    fastconv_conv_args *args,
) noexcept nogil:
    """Choose the classes to pool, and give their pixels what every sum starts from; returns whether there are any.

    Those whose sums are so few that they would wait for one another, unless they may have no tap in common.
    """
    cdef Py_ssize_t index, taps = 0
    cdef bint by_column = goes_by_column(job)
    cdef PixelClass *pixels
    for index in range(classes):
        pixels = work.classes + index
        pixels.pooled = by_column and not job.plan.narrow and pixels.pixels * vectors < FASTCONV_LATENT_SUMS
        if pixels.pooled:
            taps += (pixels.end_row - pixels.first_row) * (pixels.end_column - pixels.first_column)
    for index in range(classes):
        pixels = work.classes + index
        pixels.pooled = pixels.pooled and taps > phase.rows * phase.columns
        pixels.started = pixels.pooled
    args.pixels = pool_pixels(work, classes, -1, 0)
    if args.pixels > 0:
        args.in_, args.out = work.some_reads, work.some_writes
        args.in_step = args.out_step = 0
        args.runs, args.accumulate, args.stream = 0, False, False
        job.kernel(args)
    return args.pixels > 0


cdef void finish_classes(
    const Job *job, const Workspace *work, Py_ssize_t classes, fastconv_conv_args *args,
) noexcept nogil:
    """Give pixels that read nothing but padding what every sum starts from."""
    cdef Py_ssize_t index
    args.runs, args.accumulate, args.stream = 0, False, False
    for index in range(classes):
        if not work.classes[index].started:
            args.pixels = work.classes[index].pixels
            args.in_ = work.reads + work.classes[index].start
            args.out = work.writes + work.classes[index].start
            args.in_step, args.out_step = work.classes[index].in_step, work.classes[index].out_step
            job.kernel(args)


cdef void run_panel(
    Job *job, const Phase *phase, const Workspace *work, Py_ssize_t classes, Py_ssize_t unit, Py_ssize_t first_group,
) noexcept nogil:
    """All of K for one panel of one group, over every pixel of the phase; the source starts with `first_group`."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels
    cdef Py_ssize_t start = panel_start(plan, panel), width = panel_start(plan, panel + 1) - start
    cdef Py_ssize_t length = phase.run_length, run = 0, at = 0, first_k, part
    cdef bint pools
    cdef int finite
    cdef fastconv_conv_args args
    args.columns = min(plan.out_channels - start, width)
    args.out_offset = group * plan.out_channels + start
    args.weights_stride = phase.rows * phase.columns * plan.in_channels if plan.narrow else width
    args.bias = job.bias + args.out_offset * plan.itemsize if job.bias != NULL else NULL
    args.permute = spare_shuffles()
    pools = start_pool(job, phase, work, classes, width // plan.kernels.lanes, &args)
    while run < phase.runs:
        # A slice is several whole runs, or a part of one.
        args.runs = min(max(plan.depth_block // max(length, 1), 1), phase.runs - run)
        part = min(length - at, even_part(length, plan.depth_block))
        args.run_length = part
        args.in_offset = args.k_offset = at
        args.stream = job.streams and args.runs == phase.runs and part == length    # all of K at once
        first_k = 0
        if plan.weights_in_place:
            args.weights_stride = job.w.column_stride
            args.weights = job.w.data + start * plan.itemsize * (args.weights_stride if plan.narrow else 1)
        elif plan.packed:
            args.weights = packed_panel(job, phase, unit)
        else:
            finite = True
            args.weights = work.slice
            if plan.narrow:
                pack_narrow(plan, job.w, phase, group, panel, work.slice, &finite)
            else:
                first_k = run * length + at
                pack_slice(plan, job.w, phase, group, panel, first_k, first_k + args.runs * part, work.slice, &finite)
            if not finite:
                fastconv_set_setting(&job.finite, False)
        run_slice(job, phase, work, classes, &args, run, first_k, (group - first_group) * source_group(plan),
                  plan.finite_only or plan.op == INPUT_GRAD)
        if pools:
            run_pool(job, phase, work, classes, &args, run, first_k, (group - first_group) * source_group(plan))
        at += part
        if at == length:
            at = 0
            run += args.runs
    finish_classes(job, work, classes, &args)


cdef void find_weights(const Job *job, const Phase *phase, const Workspace *work) noexcept nogil:
    """Where the weights of each run, which is a tap, start in w as it stands."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t run
    for run in range(phase.runs):
        work.run_k[run] = (
            plan.rows.tap_index[phase.first_row + run // phase.columns] * job.w.batch_stride
            + plan.columns.tap_index[phase.first_column + run % phase.columns] * job.w.row_stride)


cdef void run_task(Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block, or the share of its panels that falls to this task."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t share = task % plan.shares, units = job.end_unit - job.first_unit
    cdef Py_ssize_t first = job.first_unit + units * share // plan.shares
    cdef Py_ssize_t end = job.first_unit + units * (share + 1) // plan.shares
    cdef Py_ssize_t row, column, classes, unit, group, last
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    cdef Block block
    cdef Source source
    cdef Phase phase
    open_workspace(plan, job.threads, thread, &work)
    locate_block(plan, task // plan.shares, &block)
    if job.first_unit == 0 and not (plan.rows.covered and plan.columns.covered):
        zero_block(plan, &block, job.out)
    while first < end:
        group = first // plan.panels if plan.gathered else 0
        last = min(end, (group + plan.planes) * plan.panels) if plan.gathered else end
        gather_block(plan, job.x, &block, group, work.scratch, &source)
        for row in range(plan.rows.phases):
            for column in range(plan.columns.phases):
                open_phase(plan, row, column, &phase)
                classes = classify_pixels(plan, &block, &phase, &source, goes_by_column(job), job.out, &work)
                if classes > 0:
                    find_runs(plan, &phase, &source, &work)
                    if plan.narrow and plan.weights_in_place:
                        find_weights(job, &phase, &work)
                    for unit in range(first, last):
                        run_panel(job, &phase, &work, classes, unit, group)
        first = last
    if job.streams:
        fastconv_fence()
    restore_mode(mode)


cdef void run_part(Job *job) noexcept nogil:
    """Every block, for the output channels of one part of the weights."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t task, to_pack = job.end_unit if plan.packed and plan.prepared == NULL else 0
    cdef Py_ssize_t shares = 1 if plan.narrow or plan.units >= 4 * plan.threads else plan.threads
    cdef bint parallel = plan.threads > 1       # else without the cost of opening a parallel region
    if parallel:
        for task in prange(job.first_unit * shares, to_pack * shares, num_threads=plan.threads, schedule="dynamic"):
            pack_unit(job, task // shares, task % shares, shares)
    else:
        for task in range(job.first_unit, to_pack):
            pack_unit(job, task, 0, 1)
    if plan.finite_only and not job.finite:
        return
    if parallel:
        for task in prange(plan.tasks, num_threads=plan.threads, schedule="dynamic"):
            run_task(job, task, threadid())
    else:
        for task in range(plan.tasks):
            run_task(job, task, 0)


cdef bint run_direct(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace,
) noexcept nogil:
    """Run a FORWARD or INPUT_GRAD plan; `workspace` has plan.workspace_bytes.

    Returns False if the result is wrong, since the plan is for finite weights and some are not.
    """
    cdef Job job
    cdef Py_ssize_t part
    job.kernel = (
        plan.kernels.gemv if plan.few_pixels else plan.kernels.conv_narrow if plan.narrow else plan.kernels.conv)
    job.plan, job.x, job.w, job.bias, job.out = plan, x, w, bias, out
    job.packed = aligned(workspace)
    job.threads = job.packed + plan.packed_bytes
    job.finite = True
    job.streams = may_stream(plan, out) and not (plan.narrow or plan.few_pixels)
    if plan.prepared != NULL:
        job.packed, job.finite = plan.prepared.packed, plan.prepared.finite
    for part in range(plan.parts):
        job.first_unit = plan.units * part // plan.parts
        job.end_unit = plan.units * (part + 1) // plan.parts
        run_part(&job)
        if plan.finite_only and not job.finite:
            return False
    return True


cdef bint pack_panels(const Plan *plan, const Tensor *w, char *packed) noexcept nogil:
    """Pack all weights of a FORWARD plan, for many calls; returns whether they are finite."""
    cdef Job job
    cdef Py_ssize_t unit
    job.plan, job.w, job.packed, job.first_unit, job.finite = plan, w, packed, 0, True
    for unit in range(plan.units):
        pack_unit(&job, unit, 0, 1)
    return job.finite
