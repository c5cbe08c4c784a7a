# Transformed tiles, a thread's own or shared: see transforms.pyx.
from fastconv._kernels cimport fastconv_winograd_args
from fastconv.plan cimport Tensor
from fastconv.tiles cimport KINDS, Tile, Tiles, Winograd

# One call, as its tasks see it.
cdef struct Job:
    const Winograd *w
    const Tensor *x
    const Tensor *second        # weights, or dy
    const char *bias
    char *out                   # y, dx, or dL/dW and the pieces after the first
    char *partials
    char *weights               # transformed, of the units [first_unit, end_unit)
    Py_ssize_t first_unit, end_unit
    Tiles *blocks               # of every block, if they are shared
    char *inputs                # [blocks][points][tiles][channels], transformed
    char *outputs               # dL/dW: the same of dy
    char *threads
    int finite                  # no weight so far is NaN or infinite
    int *image_finite           # of each image: no result so far is
    bint streams                # results go to memory past the caches

# Working memory of a thread, and the block it works on.
cdef struct Workspace:
    char *sums                  # dL/dW: [points][rows][columns]
    char *weights               # of a slice, transformed
    char *scratch               # a tile whose channels were not dense
    Tiles block
    char *input                 # [points][tiles][channels], transformed
    char *output                # [points][tiles][panels]: products, or dy transformed
    Py_ssize_t first_channel    # of the output, whose products are there
    # Of each tile that has a point: see tiles_of_point.
    const void **inputs         # [kinds][tiles]
    const void **outputs
    Py_ssize_t[KINDS][KINDS] counts     # of a list, the tiles that have so many columns

cdef char *open_job(Job *job, const Winograd *w, char *at) noexcept nogil
cdef void open_workspace(const Job *job, Py_ssize_t thread, Workspace *work) noexcept nogil
cdef void open_block(const Job *job, Py_ssize_t block, Workspace *work) noexcept nogil
cdef Py_ssize_t tiles_of_point(
    const Winograd *w, const Workspace *work, Py_ssize_t point, const void ***inputs,
    const void ***outputs) noexcept nogil
cdef void choose_matrices(const Tile *tile, int six, fastconv_winograd_args *args) noexcept nogil
cdef void transform_inputs(
    const Job *job, const Workspace *work, Py_ssize_t first, Py_ssize_t end, Py_ssize_t group, Py_ssize_t k,
    Py_ssize_t rows, Py_ssize_t to) noexcept nogil
cdef void transform_outputs(
    const Job *job, const Workspace *work, Py_ssize_t first, Py_ssize_t end, Py_ssize_t channel,
    Py_ssize_t channels) noexcept nogil
cdef void transform_shared(const Job *job) noexcept nogil
