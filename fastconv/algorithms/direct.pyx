"""The direct sum with a register tile: the forward pass, and dL/dx as a sum for each phase.

    for each block of output pixels (in parallel)
        gather the input it reads
        for each phase, group and panel of output channels
            for each slice of K: pack its weights unless they are packed; conv kernel over all pixels

An output element is one chain of fused multiply-adds in the order of K, so neither blocks, panels,
slices nor threads change a bit of it.
"""
from cython.parallel cimport prange, threadid

from fastconv._kernels cimport (
    fastconv_conv_args, fastconv_pack_args, flush_denormals, restore_mode)
from fastconv.blocks cimport (
    Block, Phase, RowClass, Source, Workspace, classify_rows, find_offsets, gather_block, locate_block, open_phase,
    open_workspace, phase_block_columns, source_group, zero_block)
from fastconv.plan cimport INPUT_GRAD, Axis, Plan, Tensor, panel_start


# One call of run_direct, as its tasks see it.
cdef struct Job:
    const Plan *plan
    void (*kernel)(const fastconv_conv_args *) noexcept nogil
    const Tensor *x
    const Tensor *w
    const char *bias
    char *out
    char *packed
    char *threads               # workspace of the first thread
    int finite                  # packed weights hold no NaN and no infinity


cdef void pack_slice(
    const Job *job, const Phase *phase, Py_ssize_t group, Py_ssize_t panel, Py_ssize_t first, Py_ssize_t end,
    char *to, int *finite,
) noexcept nogil:
    """Rows [first, end) of K of one panel: (row tap, column tap, channel), channels fastest."""
    cdef const Plan *plan = job.plan
    cdef const Tensor *w = job.w
    cdef fastconv_pack_args args
    cdef Py_ssize_t channels = plan.in_channels, size = plan.itemsize
    cdef Py_ssize_t start = panel_start(plan, panel)
    cdef Py_ssize_t tap, channel, k = first, k_stride, n_stride, group_stride
    if plan.op == INPUT_GRAD:   # the kernel's output channels are summed over
        k_stride, n_stride = w.channel_stride, w.column_stride
        group_stride = channels * w.channel_stride
    else:
        k_stride, n_stride = w.column_stride, w.channel_stride
        group_stride = plan.out_channels * w.channel_stride
    args.panel_stride = panel_start(plan, panel + 1) - start
    args.columns = min(plan.out_channels - start, args.panel_stride)
    args.row_stride, args.column_stride = k_stride, n_stride
    args.finite = finite
    args.panel = to
    while k < end:
        tap = k // channels
        channel = k - tap * channels
        args.rows = min(channels - channel, end - k)
        args.source = w.data + size * (
            plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
            + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
            + group * group_stride + start * n_stride + channel * k_stride)
        plan.kernels.pack(&args)
        args.panel = <char *> args.panel + args.rows * args.panel_stride * size
        k += args.rows


cdef void pack_narrow(
    const Job *job, const Phase *phase, Py_ssize_t group, char *to, int *finite,
) noexcept nogil:
    """All of K of a group, a row of weights for each output channel.

    The pack kernel writes whole vectors: each tap's surplus is overwritten by the next tap, and the
    last one's falls into the rest of the panel, which is wider than the rows.
    """
    cdef const Plan *plan = job.plan
    cdef const Tensor *w = job.w
    cdef fastconv_pack_args args
    cdef Py_ssize_t channels = plan.in_channels, column, tap, group_stride, n_stride
    if plan.op == INPUT_GRAD:
        args.column_stride, n_stride = w.channel_stride, w.column_stride
        group_stride = channels * w.channel_stride
    else:
        args.column_stride, n_stride = w.column_stride, w.channel_stride
        group_stride = plan.out_channels * w.channel_stride
    args.rows, args.columns = 1, channels
    args.row_stride = 0
    args.panel_stride = (channels + plan.kernels.lanes - 1) // plan.kernels.lanes * plan.kernels.lanes
    args.finite = finite
    args.panel = to
    for column in range(plan.out_channels):
        for tap in range(phase.rows * phase.columns):
            args.source = w.data + plan.itemsize * (
                plan.rows.tap_index[phase.first_row + tap // phase.columns] * w.batch_stride
                + plan.columns.tap_index[phase.first_column + tap % phase.columns] * w.row_stride
                + group * group_stride + column * n_stride)
            plan.kernels.pack(&args)
            args.panel = <char *> args.panel + channels * plan.itemsize


cdef char *packed_panel(
    const Job *job, const Phase *phase, Py_ssize_t group, Py_ssize_t panel,
) noexcept nogil:
    """Where a panel of packed weights starts: phases first, then groups, then panels."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t taps = phase.first_row * plan.columns.taps + phase.rows * phase.first_column
    cdef Py_ssize_t width = plan.vectors * plan.kernels.lanes
    cdef Py_ssize_t depth = phase.rows * phase.columns * plan.in_channels
    return job.packed + plan.itemsize * (
        taps * plan.in_channels * plan.groups * width + depth * (group * width + panel_start(plan, panel)))


cdef void pack_all(Job *job, Py_ssize_t unit) noexcept nogil:
    """Pack one panel of one group, for every phase."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels, row, column
    cdef Phase phase
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            if plan.narrow:
                pack_narrow(job, &phase, group, packed_panel(job, &phase, group, panel), &job.finite)
            else:
                pack_slice(job, &phase, group, panel, 0, phase.rows * phase.columns * plan.in_channels,
                           packed_panel(job, &phase, group, panel), &job.finite)


cdef inline Py_ssize_t depth_step(const Plan *plan, const fastconv_conv_args *args) noexcept nogil:
    """Elements of packed weights from one row of K to the next."""
    return 1 if plan.narrow else args.weights_stride


cdef void only_real_columns(
    const Job *job, const Block *block, const Phase *phase, const fastconv_conv_args *slice, Py_ssize_t first_k,
) noexcept nogil:
    """dL/dx with weights that are not finite: zero times them is not zero, so padding must not be multiplied.

    Goes pixel by pixel and tap by tap through a slice of K, which starts at `first_k`, in the same order.
    """
    cdef const Plan *plan = job.plan
    cdef const Axis *columns = &plan.columns
    cdef Py_ssize_t channels = plan.in_channels, across = phase_block_columns(plan, block, phase)
    cdef Py_ssize_t stride = depth_step(plan, slice) * plan.itemsize, pixel, run, l, k, tap, at
    cdef fastconv_conv_args args = slice[0]
    args.pixels = 1
    for pixel in range(slice.pixels):
        args.in_ = <const void **> slice.in_ + pixel
        args.out = <void **> slice.out + pixel
        args.runs, args.accumulate = 0, slice.accumulate
        job.kernel(&args)
        args.runs, args.accumulate = 1, True
        for run in range(slice.runs):
            args.run_offset = slice.run_offset + run
            l = 0
            while l < slice.run_length:
                k = first_k + run * slice.run_length + l
                tap = k // channels
                args.run_length = min(channels - (k - tap * channels), slice.run_length - l)
                args.in_offset = slice.in_offset + l
                args.weights = <const char *> slice.weights + (run * slice.run_length + l) * stride
                at = block.column + pixel % across + columns.tap_offset[phase.first_column + tap % phase.columns]
                if 0 <= at < columns.in_size:
                    job.kernel(&args)
                l += args.run_length


cdef void run_slice(
    const Job *job, const Block *block, const Phase *phase, const Workspace *work, Py_ssize_t classes,
    const fastconv_conv_args *slice, Py_ssize_t first_run, Py_ssize_t first_k, bint finite,
) noexcept nogil:
    """A slice of K over every class of rows; rows of padding are left out where zero times weights is zero."""
    cdef const Plan *plan = job.plan
    cdef bint leave_out = finite or plan.op == INPUT_GRAD
    cdef bint by_column = plan.op == INPUT_GRAD and plan.columns.padded and not finite
    cdef Py_ssize_t index, first, end, rows
    cdef RowClass *row_class
    cdef fastconv_conv_args args = slice[0]
    for index in range(classes):
        row_class = work.classes + index
        first, end = first_run, first_run + slice.runs
        if leave_out:
            first, end = max(first, row_class.first_run), min(end, row_class.end_run)
        if first >= end:
            continue
        rows = (first - first_run) * slice.run_length
        args.pixels = row_class.pixels
        args.in_, args.out = work.reads + row_class.start, work.writes + row_class.start
        args.runs = end - first
        args.run_offset = work.offsets + first
        args.weights = <const char *> slice.weights + rows * depth_step(plan, slice) * plan.itemsize
        args.accumulate = row_class.started
        if by_column:
            only_real_columns(job, block, phase, &args, first_k + rows)
        else:
            job.kernel(&args)
        row_class.started = True


cdef void finish_classes(
    const Job *job, const Workspace *work, Py_ssize_t classes, fastconv_conv_args *args,
) noexcept nogil:
    """Give pixels that read nothing but padding what every sum starts from."""
    cdef Py_ssize_t index
    args.runs, args.accumulate = 0, False
    for index in range(classes):
        if not work.classes[index].started:
            args.pixels = work.classes[index].pixels
            args.in_ = work.reads + work.classes[index].start
            args.out = work.writes + work.classes[index].start
            job.kernel(args)


cdef void run_panel(
    const Job *job, const Block *block, const Phase *phase, const Workspace *work, Py_ssize_t classes,
    Py_ssize_t unit,
) noexcept nogil:
    """All of K for one panel of one group, over every pixel of the phase."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t group = unit // plan.panels, panel = unit % plan.panels
    cdef Py_ssize_t start = panel_start(plan, panel), width = panel_start(plan, panel + 1) - start
    cdef Py_ssize_t length = phase.run_length, size = plan.itemsize
    cdef Py_ssize_t run = 0, at = 0, k, index
    cdef int finite = job.finite
    cdef fastconv_conv_args args
    args.columns = min(plan.out_channels - start, width)
    args.out_offset = group * plan.out_channels + start
    args.weights_stride = phase.rows * phase.columns * plan.in_channels if plan.narrow else width
    args.bias = job.bias + args.out_offset * size if job.bias != NULL else NULL
    for index in range(classes):
        work.classes[index].started = False
    while run < phase.runs:
        # A slice is several whole runs, or a part of one.
        args.runs = min(max(plan.depth_block // length, 1), phase.runs - run)
        args.run_length = min(length - at, even_part(length, plan.depth_block))
        args.in_offset = at + group * source_group(plan)
        k = run * length + at
        if plan.weights_in_place:
            args.weights = job.w.data + k * width * size
        elif plan.packed:
            args.weights = packed_panel(job, phase, group, panel) + k * width * size
        else:
            finite = True
            args.weights = work.slice
            if plan.narrow:
                pack_narrow(job, phase, group, work.slice, &finite)
            else:
                pack_slice(job, phase, group, panel, k, k + args.runs * args.run_length, work.slice, &finite)
        run_slice(job, block, phase, work, classes, &args, run, k, finite)
        at += args.run_length
        if at == length:
            at = 0
            run += args.runs
    finish_classes(job, work, classes, &args)


cdef inline Py_ssize_t even_part(Py_ssize_t length, Py_ssize_t most) noexcept nogil:
    """Length of the parts when a run is cut into as few even ones of at most `most` as will do."""
    cdef Py_ssize_t parts = (length + most - 1) // most
    return (length + parts - 1) // parts


cdef void run_task(const Job *job, Py_ssize_t task, Py_ssize_t thread) noexcept nogil:
    """One block, or the share of its panels that falls to this task."""
    cdef const Plan *plan = job.plan
    cdef Py_ssize_t share = task % plan.shares
    cdef Py_ssize_t first = plan.units * share // plan.shares, end = plan.units * (share + 1) // plan.shares
    cdef Py_ssize_t row, column, classes, unit
    cdef unsigned long long mode = flush_denormals()
    cdef Workspace work
    cdef Block block
    cdef Source source
    cdef Phase phase
    open_workspace(plan, job.threads, thread, &work)
    locate_block(plan, task // plan.shares, &block)
    gather_block(plan, job.x, &block, work.scratch, &source)
    if not (plan.rows.covered and plan.columns.covered):
        zero_block(plan, &block, job.out)
    for row in range(plan.rows.phases):
        for column in range(plan.columns.phases):
            open_phase(plan, row, column, &phase)
            classes = classify_rows(plan, &block, &phase, &source, job.out, &work)
            if classes > 0:
                find_offsets(plan, &phase, &source, work.offsets)
                for unit in range(first, end):
                    run_panel(job, &block, &phase, &work, classes, unit)
    restore_mode(mode)


cdef void run_direct(
    const Plan *plan, const Tensor *x, const Tensor *w, const char *bias, char *out, char *workspace,
) noexcept nogil:
    """Run a FORWARD or INPUT_GRAD plan; `workspace` has plan.workspace_bytes."""
    cdef Job job
    cdef Py_ssize_t task
    job.kernel = plan.kernels.conv_narrow if plan.narrow else plan.kernels.conv
    job.plan, job.x, job.w, job.bias, job.out = plan, x, w, bias, out
    job.packed = <char *> ((<size_t> workspace + 63) & ~(<size_t> 63))
    job.threads = job.packed + plan.packed_bytes
    job.finite = True
    if plan.packed:
        for task in prange(plan.units, num_threads=plan.threads, schedule="dynamic"):
            pack_all(&job, task)
    if plan.threads == 1:       # without the cost of opening a parallel region
        for task in range(plan.tasks):
            run_task(&job, task, 0)
    else:
        for task in prange(plan.tasks, num_threads=plan.threads, schedule="dynamic"):
            run_task(&job, task, threadid())
