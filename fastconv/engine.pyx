"""One call, from shapes and pointers to the result, without the GIL: plan, workspace, algorithm."""
from libc.stdlib cimport free, malloc

from fastconv._kernels cimport fastconv_check_args, kernels_for
from fastconv.algorithms.depthwise cimport run_depthwise
from fastconv.algorithms.direct cimport run_direct
from fastconv.algorithms.weight_grad cimport run_weight_grad
from fastconv.axes cimport axis_entries
from fastconv.plan cimport INPUT_GRAD, WEIGHT_GRAD, Geometry, Op, Plan, Tensor, make_plan


cdef bint is_empty(Op op, const Geometry *g) noexcept nogil:
    """Whether the result has no elements, or every one of them is an empty sum."""
    return (g.batch == 0 or g.in_channels == 0 or g.out_channels == 0 or g.out_height == 0 or g.out_width == 0
            or (op == INPUT_GRAD and (g.in_height == 0 or g.in_width == 0)))


cdef Py_ssize_t workspace_bytes(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, int threads,
) noexcept nogil:
    """Bytes that `execute` takes beside the arrays, or -1 if there is no memory to find out."""
    cdef Plan plan
    cdef Py_ssize_t *entries
    if is_empty(op, g):
        return 0
    entries = <Py_ssize_t *> malloc(axis_entries(g) * sizeof(Py_ssize_t))
    if entries == NULL:
        return -1
    make_plan(&plan, op, g, kernels_for(dtype), first, second, threads, True, entries)
    free(entries)
    return plan.workspace_bytes + axis_entries(g) * sizeof(Py_ssize_t)


cdef bint is_finite(const Plan *plan, const char *out) noexcept nogil:
    """Whether no element of dL/dW is NaN or infinite."""
    cdef const Geometry *g = &plan.geometry
    cdef int finite = True
    cdef fastconv_check_args args
    args.count = g.kernel_height * g.kernel_width * (g.in_channels // g.groups) * g.out_channels
    args.values, args.finite = out, &finite
    plan.kernels.check(&args)
    return finite


cdef int compute(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, const char *bias, char *out,
    int threads, bint may_clip,
) noexcept nogil:
    """As execute; unless `may_clip`, dL/dW multiplies dy with padding."""
    # Small calls stay off the heap.
    cdef Py_ssize_t[128] few_entries
    cdef char[4096] little_space
    cdef Py_ssize_t *entries = few_entries
    cdef char *workspace = little_space
    cdef Plan plan
    cdef int failed = 0
    if axis_entries(g) > 128:
        entries = <Py_ssize_t *> malloc(axis_entries(g) * sizeof(Py_ssize_t))
        if entries == NULL:
            return -1
    make_plan(&plan, op, g, kernels_for(dtype), first, second, threads, may_clip, entries)
    if plan.workspace_bytes > <Py_ssize_t> sizeof(little_space):
        workspace = <char *> malloc(plan.workspace_bytes)
    if workspace == NULL:
        failed = -1
    elif op == WEIGHT_GRAD:
        run_weight_grad(&plan, first, second, out, workspace)
    elif plan.depthwise:
        run_depthwise(&plan, first, second, bias, out, workspace)
    else:
        run_direct(&plan, first, second, bias, out, workspace)
    if workspace != little_space:
        free(workspace)
    if entries != few_entries:
        free(entries)
    # Padding was left out although dy may not be finite: every element of dy has met an element of x, so a NaN or
    # an infinity among them shows in the result, and padding must meet it after all.
    if failed == 0 and op == WEIGHT_GRAD and plan.clipped and not is_finite(&plan, out):
        return compute(op, g, dtype, first, second, bias, out, threads, False)
    return failed


cdef int execute(
    Op op, const Geometry *g, int dtype, const Tensor *first, const Tensor *second, const char *bias, char *out,
    int threads,
) noexcept nogil:
    """Compute a pass into `out`, C-contiguous; returns -1 if there is no memory for the workspace.

    `first` and `second` are x and w, dy and w, or x and dy; nothing about the call is empty.
    """
    return compute(op, g, dtype, first, second, bias, out, threads, True)
