# dL/dW of depthwise layers: see depthwise_grad.pyx.
from fastconv.blocks cimport Block, Phase, Source, Workspace
from fastconv.plan cimport Plan, Tensor

cdef inline Py_ssize_t sums_bytes(const Plan *plan) noexcept nogil:
    """Of the sums of a thread, a row of every repetition for each tap."""
    return plan.rows.taps * plan.columns.taps * plan.panel * plan.itemsize

cdef void run_depthwise_block(
    const Plan *plan, const Tensor *dy, const Block *block, const Phase *phase, const Source *source,
    const Workspace *work, Py_ssize_t first, Py_ssize_t end, char *grad, Py_ssize_t grad_stride) noexcept nogil
cdef void add_repetitions(
    const Plan *plan, const char *sums, Py_ssize_t first, Py_ssize_t end, char *grad) noexcept nogil
