"""One call, from shapes and pointers to the result, without the GIL: algorithm, plan, workspace.

Before it, what Python says of algorithms: which may be asked for, and why one is refused.
"""
from libc.stdlib cimport free, malloc

from fastconv._kernels cimport kernels_for
from fastconv.algorithms.depthwise cimport run_depthwise
from fastconv.algorithms.direct cimport run_direct
from fastconv.algorithms.weight_grad cimport is_finite, run_weight_grad
from fastconv.algorithms.winograd cimport run_winograd
from fastconv.algorithms.winograd_grad cimport run_winograd_grad
from fastconv.axes cimport axis_entries
from fastconv.plan cimport INPUT_GRAD, WEIGHT_GRAD, Geometry, Op, Plan, Tensor, make_plan
from fastconv.tiles cimport (
    COSTLY, DOUBLE, FEW_CHANNELS, KERNEL_SIZE, NOT_ASKED, SERVES, STRIDED, Refusal, Winograd, cannot_serve,
    does_not_pay, make_winograd)

ALGORITHMS = ("auto", "direct", "winograd")

# Without the GIL, or in a Python that has none, others read it while one writes.
cdef extern from "compat.h":
    int fastconv_get_setting(const int *setting) noexcept nogil
    void fastconv_set_setting(int *setting, int value) noexcept nogil
    void *fastconv_exchange(void **place, void *value) noexcept nogil
    Py_ssize_t FASTCONV_MOST_KEPT

cdef int _default = AUTO

# The workspace that a call left for the next one, or NULL while none did, or a call has it.  What malloc takes from the
# system anew has to be mapped page by page, which takes longer than many a call.
cdef void *_kept = NULL


cdef char *take_workspace(Py_ssize_t size) noexcept nogil:
    """At least `size` bytes, or NULL; how many there are stands before them."""
    cdef Py_ssize_t *kept = NULL
    if size <= FASTCONV_MOST_KEPT:
        kept = <Py_ssize_t *> fastconv_exchange(&_kept, NULL)
    if kept == NULL or kept[0] < size:
        free(kept)
        kept = <Py_ssize_t *> malloc(size + sizeof(Py_ssize_t))
        if kept == NULL:
            return NULL
        kept[0] = size
    return <char *> (kept + 1)


cdef void leave_workspace(char *workspace) noexcept nogil:
    """Keep it, in the place of another, or free it."""
    cdef Py_ssize_t *kept = <Py_ssize_t *> workspace - 1
    free(fastconv_exchange(&_kept, kept) if kept[0] <= FASTCONV_MOST_KEPT else kept)


cdef Algorithm default_algorithm() noexcept nogil:
    return <Algorithm> fastconv_get_setting(&_default)


cdef Algorithm read_algorithm(object algorithm, str name="algorithm") except *:
    if algorithm == "auto":
        return AUTO
    if algorithm == "direct":
        return DIRECT
    if algorithm == "winograd":
        return WINOGRAD
    problem = f"{name} must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}"
    raise ValueError(problem) if isinstance(algorithm, str) else TypeError(problem)


cdef str refusal_text(Refusal refusal):
    """Why Winograd's algorithm does not compute a call, as the end of a sentence."""
    if refusal == KERNEL_SIZE:
        return "it is for kernels of more than one tap only"
    if refusal == STRIDED:
        return "it is for a stride of 1 only"
    if refusal == DOUBLE:
        return "float64 is for every digit: only if named"
    if refusal == FEW_CHANNELS:
        return "too few channels a group"
    if refusal == COSTLY:
        return "its transforms would cost more than the products they save"
    return "the direct sum was asked for"


cdef int need_algorithm(Algorithm algorithm, const Geometry *g) except -1:
    """An algorithm that is named must be able to serve the call."""
    if algorithm == WINOGRAD and cannot_serve(g) != SERVES:
        raise ValueError("algorithm must be able to serve the call, and Winograd's is not: "
                         f"{refusal_text(cannot_serve(g))}, got 'winograd'")
    return 0


def get_default():
    return ALGORITHMS[default_algorithm()]


def set_default(algorithm, str name):
    """Let calls that say "auto" compute this way; `name` is who says so, for errors."""
    fastconv_set_setting(&_default, read_algorithm(algorithm, name))


cdef bint is_empty(Op op, const Geometry *g) noexcept nogil:
    """Whether the result has no elements, or every one of them is an empty sum."""
    return (g.batch == 0 or g.in_channels == 0 or g.out_channels == 0 or g.out_height == 0 or g.out_width == 0
            or (op == INPUT_GRAD and (g.in_height == 0 or g.in_width == 0)))


cdef inline void swap(Py_ssize_t *a, Py_ssize_t *b) noexcept nogil:
    a[0], b[0] = b[0], a[0]


cdef void lay_down(Op op, Geometry *g, Tensor *first, Tensor *second) noexcept nogil:
    """Take images of a single column for such of a single row: what its taps read lies side by side, as all of this
    expects.  The result has the same elements in the same order.
    """
    if not (g.in_width == g.kernel_width == g.out_width == 1 and g.pad_left == 0):
        return
    swap(&g.in_height, &g.in_width)
    swap(&g.out_height, &g.out_width)
    swap(&g.kernel_height, &g.kernel_width)
    swap(&g.stride_height, &g.stride_width)
    swap(&g.dilation_height, &g.dilation_width)
    swap(&g.pad_top, &g.pad_left)
    swap(&g.pad_bottom, &g.pad_right)
    swap(&first.row_stride, &first.column_stride)
    if op == WEIGHT_GRAD:
        swap(&second.row_stride, &second.column_stride)
    else:
        swap(&second.batch_stride, &second.row_stride)      # rows and columns of the kernel


cdef Refusal make_plans(
    Plan *plan, Winograd *w, Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second,
    int threads, Algorithm algorithm, bint may_clip, Py_ssize_t *entries,
) noexcept nogil:
    """Fill `plan` and, where the result is SERVES, `w`; `entries` as for make_plan.

    WINOGRAD must be able to serve the call.  A default, unlike an argument, only says what is to be preferred.
    """
    cdef Refusal refusal = NOT_ASKED
    cdef bint forced
    if algorithm == AUTO:
        algorithm = default_algorithm()
        if algorithm == WINOGRAD and cannot_serve(g) != SERVES:
            algorithm = AUTO
    forced = algorithm == WINOGRAD
    make_plan(plan, op, g, kernels_for(dtype), first, second, threads, may_clip, forced, entries)
    if algorithm != DIRECT:
        refusal = SERVES if forced else does_not_pay(plan)
    if refusal == SERVES:
        make_winograd(w, plan, second, threads, False)
    return refusal


cdef Py_ssize_t workspace_bytes(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, int threads,
    Algorithm algorithm,
) noexcept nogil:
    """Bytes that `execute` takes beside the arrays, or -1 if there is no memory to find out."""
    cdef Geometry geometry = g[0]
    cdef Tensor a = first[0], b = second[0]
    cdef Plan plan
    cdef Winograd w
    cdef Refusal refusal
    cdef Py_ssize_t *entries
    if is_empty(op, g):
        return 0
    entries = <Py_ssize_t *> malloc(axis_entries(g) * sizeof(Py_ssize_t))
    if entries == NULL:
        return -1
    lay_down(op, &geometry, &a, &b)
    refusal = make_plans(&plan, &w, op, &geometry, dtype, &a, &b, threads, algorithm, True, entries)
    free(entries)
    return (w.workspace_bytes if refusal == SERVES else plan.workspace_bytes) + axis_entries(g) * sizeof(Py_ssize_t)


# A call, without what decides how it is computed.
cdef struct Call:
    Op op
    const Geometry *g
    int dtype
    const Tensor *first
    const Tensor *second
    const char *bias
    char *out
    int threads


cdef int compute_image(const Call *call, const Plan *plan, Py_ssize_t image) noexcept nogil:
    """One image of a forward pass or of dL/dx, directly."""
    cdef Geometry g = call.g[0]
    cdef Tensor first = call.first[0]
    cdef Call single = call[0]
    g.batch = 1
    first.data += image * first.batch_stride * plan.itemsize
    single.g, single.first = &g, &first
    single.out += image * plan.rows.out_size * plan.columns.out_size * plan.out_total * plan.itemsize
    return compute(&single, DIRECT, True)


cdef int compute_tiles(const Call *call, const Winograd *w, char *workspace) noexcept nogil:
    """By Winograd's algorithm, and directly again what is not finite: there a NaN or an infinity, or an overflow of
    what has been transformed, would show in pixels that it does not belong to.  An image is computed by one of
    both, whatever else is in its batch.
    """
    cdef Py_ssize_t image
    cdef const int *finite
    cdef int failed = 0
    if call.op == WEIGHT_GRAD:
        if run_winograd_grad(w, call.first, call.second, call.out, workspace):
            return 0
        return compute(call, DIRECT, True)
    if not run_winograd(w, call.first, call.second, call.bias, call.out, workspace, &finite):
        return compute(call, DIRECT, True)
    for image in range(call.g.batch):
        if failed == 0 and not finite[image]:
            failed = compute_image(call, w.plan, image)
    return failed


cdef int compute(const Call *call, Algorithm algorithm, bint may_clip) noexcept nogil:
    """As execute; unless `may_clip`, weights and dy are multiplied with padding, too."""
    # Small calls stay off the heap.
    cdef Py_ssize_t[128] few_entries
    cdef char[4096] little_space
    cdef Py_ssize_t *entries = few_entries
    cdef char *workspace = little_space
    cdef Py_ssize_t size
    cdef Plan plan
    cdef Winograd w
    cdef Refusal refusal
    cdef bint right = True
    cdef int failed = 0
    if axis_entries(call.g) > 128:
        entries = <Py_ssize_t *> malloc(axis_entries(call.g) * sizeof(Py_ssize_t))
        if entries == NULL:
            return -1
    refusal = make_plans(&plan, &w, call.op, call.g, call.dtype, call.first, call.second, call.threads, algorithm,
                         may_clip, entries)
    size = w.workspace_bytes if refusal == SERVES else plan.workspace_bytes
    if size > <Py_ssize_t> sizeof(little_space):
        workspace = take_workspace(size)
    if workspace == NULL:
        failed = -1
    elif refusal == SERVES:
        failed = compute_tiles(call, &w, workspace)
    elif call.op == WEIGHT_GRAD:
        run_weight_grad(&plan, call.first, call.second, call.out, workspace)
    elif plan.depthwise:
        run_depthwise(&plan, call.first, call.second, call.bias, call.out, workspace)
    else:
        right = run_direct(&plan, call.first, call.second, call.bias, call.out, workspace)
    if workspace != little_space and workspace != NULL:
        leave_workspace(workspace)
    if entries != few_entries:
        free(entries)
    # Padding was left out although dy may not be finite: every element of dy has met an element of x, so a NaN or
    # an infinity among them shows in the result, and padding must meet it after all.
    if failed == 0 and refusal != SERVES and call.op == WEIGHT_GRAD and plan.clipped:
        right = is_finite(&plan, call.out)
    if not right:
        return compute(call, DIRECT, False)
    return failed


cdef int execute(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, const char *bias, char *out,
    int threads, Algorithm algorithm,
) noexcept nogil:
    """Compute a pass into `out`, C-contiguous; returns -1 if there is no memory for the workspace.

    `first` and `second` are x and w, dy and w, or x and dy; nothing about the call is empty.
    """
    cdef Geometry geometry = g[0]
    cdef Tensor a = first[0], b = second[0]
    cdef Call call
    lay_down(op, &geometry, &a, &b)
    call.op, call.g, call.dtype, call.first, call.second = op, &geometry, dtype, &a, &b
    call.bias, call.out, call.threads = bias, out, threads
    return compute(&call, algorithm, True)
