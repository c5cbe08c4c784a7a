# Blocks of output pixels and the input they read: see blocks.pyx.
from fastconv.plan cimport Plan, Tensor

# Part of the output: images x steps of the row axis x steps of the column axis.
cdef struct Block:
    Py_ssize_t image, images, row, rows, column, columns

# Where the pixels of a block start to read, and how far apart its taps are.
cdef struct Source:
    char *data                  # scratch, or the first element the block could read in place
    Py_ssize_t image_stride, row_stride, column_stride      # elements, between steps
    Py_ssize_t row_pitch, column_pitch                      # elements, between scratch slots

# Pixels of a block that read inside the input through the same taps; their other taps fall on padding.
cdef struct PixelClass:
    Py_ssize_t start, pixels            # among the pixels of the phase
    Py_ssize_t first_row, end_row       # taps, counted from the first of the phase
    Py_ssize_t first_column, end_column
    bint started                        # out holds a part of the sum
    bint pooled                         # so few pixels that each tap is taken for those of several classes at once
    Py_ssize_t in_step, out_step        # elements between pixels, if only the first one has pointers; or 0

# Steps [row, end_row) x [column, end_column) of a block.
cdef struct Area:
    Py_ssize_t row, end_row, column, end_column

# Working memory of one thread.
cdef struct Workspace:
    char *scratch
    const void **reads
    void **writes
    const void **dy                     # weight_grad: of each pixel, in the place of `writes`
    const void **some_reads             # of the pixels that do not read padding through a tap
    void **some_writes
    const void **some_dy                # weight_grad: in the place of `some_writes`
    Py_ssize_t *offsets                 # of each run, from a pixel's pointer
    Py_ssize_t *run_k                   # where it starts in K
    Py_ssize_t *some_offsets            # the same of a class that has only some of the runs
    Py_ssize_t *some_k
    PixelClass *classes
    char *slice

# One phase: its taps along both axes, and the runs they make.
cdef struct Phase:
    Py_ssize_t row, column      # index along each axis
    Py_ssize_t first_row, rows, first_column, columns   # taps
    Py_ssize_t runs, run_length

cdef inline void point_row(const char *first, Py_ssize_t step, Py_ssize_t count, const void **pointers) noexcept nogil:
    """Pointers to `count` pixels, `step` bytes apart."""
    cdef Py_ssize_t i = 0
    while i + 4 <= count:       # four at a time: a loop takes longer to turn than a pointer to store
        pointers[i], pointers[i + 1] = first, first + step
        pointers[i + 2], pointers[i + 3] = first + 2 * step, first + 3 * step
        first += 4 * step
        i += 4
    while i < count:
        pointers[i] = first
        first += step
        i += 1

cdef void open_workspace(const Plan *plan, char *threads, Py_ssize_t thread, Workspace *work) noexcept nogil
cdef void open_phase(const Plan *plan, Py_ssize_t row, Py_ssize_t column, Phase *phase) noexcept nogil
cdef void locate_block(const Plan *plan, Py_ssize_t index, Block *block) noexcept nogil
cdef void gather_block(
    const Plan *plan, const Tensor *x, const Block *block, Py_ssize_t group, char *scratch, Source *source,
) noexcept nogil
cdef Py_ssize_t phase_block_rows(const Plan *plan, const Block *block, const Phase *phase) noexcept nogil
cdef Py_ssize_t phase_block_columns(const Plan *plan, const Block *block, const Phase *phase) noexcept nogil
cdef void find_interior(
    const Plan *plan, const Block *block, const Phase *phase, Py_ssize_t *left, Py_ssize_t *right) noexcept nogil
cdef void zero_block(const Plan *plan, const Block *block, char *out) noexcept nogil
cdef Py_ssize_t point_pixels(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, const Area *area, char *out,
    const void **reads, void **writes) noexcept nogil
cdef Py_ssize_t classify_pixels(
    const Plan *plan, const Block *block, const Phase *phase, const Source *source, bint by_column, char *out,
    const Workspace *work) noexcept nogil
cdef void find_runs(
    const Plan *plan, const Phase *phase, const Source *source, const Workspace *work) noexcept nogil
cdef Py_ssize_t source_group(const Plan *plan) noexcept nogil
cdef Py_ssize_t tap_offset(
    const Plan *plan, const Source *source, Py_ssize_t row_tap, Py_ssize_t column_tap) noexcept nogil
cdef Py_ssize_t inputs_of(const Plan *plan) noexcept nogil
cdef bint is_large(const Plan *plan) noexcept nogil
cdef bint may_stream(const Plan *plan, const char *out) noexcept nogil
cdef void choose_strips(Plan *plan) noexcept nogil
