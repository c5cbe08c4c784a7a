# How one call will be computed: see plan.pyx.
from fastconv._kernels cimport fastconv_kernels
from fastconv.axes cimport Axis
from fastconv.geometry cimport Geometry

cdef enum Op:
    FORWARD
    INPUT_GRAD
    WEIGHT_GRAD

# Weights of a forward pass, prepared beforehand: see packing.pyx.
cdef struct Prepared:
    const fastconv_kernels *kernels
    int dtype
    Py_ssize_t groups, panels
    bint narrow, finite
    char *packed                    # every panel as the direct sum has it, or NULL
    char *transformed               # every panel as Winograd's algorithm has it, or NULL

# An NHWC array (or HWIO weights: batch is the kernel row, row the kernel column, and so on), strides in elements.
cdef struct Tensor:
    char *data
    Py_ssize_t batch_stride, row_stride, column_stride, channel_stride
    const Prepared *prepared        # of weights, or NULL

cdef struct Plan:
    Geometry geometry
    Op op
    bint tiled                      # the register tile, whatever the channels
    bint kernels_apart              # dL/dx that may take columns as channels: how weights lie decides whether it does
    bint depthwise                  # vectors along the channels of all groups
    const fastconv_kernels *kernels
    Py_ssize_t itemsize
    double flops
    int threads
    # The pass as a sum over taps: input and output channels of one group (depthwise: of all), and of a whole pixel.
    Py_ssize_t images, groups, multiplier
    Py_ssize_t group                # depthwise: input channels that an output channel sees, 1 or a few
    Py_ssize_t group_outputs        # ... output channels that see the same, where group > 1
    Py_ssize_t shared               # depthwise: so many input channels, seen by all output channels; or 0
    Py_ssize_t in_channels, out_channels, in_total, out_total
    Axis rows, columns
    # Blocks of output: whole images, or a part of one.
    Py_ssize_t block_images, image_blocks, blocks
    Py_ssize_t block_pixels         # most pixels that one phase has in a block
    # The input of a block: gathered into scratch, or read in place.
    bint gathered
    bint finite_only                # forward: padding is left out, wrong where weights are not finite
    Py_ssize_t planes               # of scratch: a group each, so many at a time
    bint clipped                    # depthwise, weight_grad: taps (or rows of them) outside the input are left out
    bint merged                     # the taps of a kernel row are one run
    Py_ssize_t pixel_pitch, row_pitch, group_pitch, image_pitch     # of scratch, in elements
    bint streamed                   # depthwise: too large for any cache, so nearly in the order of memory
    Py_ssize_t strip_pixels, strip_rows     # depthwise: that go through all channels before others do
    Py_ssize_t room_columns         # ... of what is copied for a strip, or 0
    Py_ssize_t repeat               # pixels that one row of packed weights covers, where channels are few
    Py_ssize_t strip_chain          # weight_grad: pixels, at most, that are summed before the sum is added to the rest
    # Products: panels of output channels, K in slices.
    Py_ssize_t vectors, panels      # of one group
    Py_ssize_t panel                # widest panel, in elements
    Py_ssize_t depth_block          # most of K in one kernel call
    bint trimmed                    # pixels at the left and right edges (weight_grad: taps) go without padding
    bint few_pixels                 # weights, or those of dL/dW, go row by row as they lie
    bint few_to_few               # so few channels that a vector holds several pixels
    bint narrow                     # few output channels: vectors along the runs, all of K at once
    bint packed                     # panels are packed before the first block, a part of them at a time
    Py_ssize_t parts
    bint weights_in_place           # panels are read as they stand
    const Prepared *prepared        # the weights as they are needed, or NULL
    # Tasks: (block or piece) x (share of the panels).
    bint joined                     # weight_grad: all kernel rows, whose runs are short, fill the tiles together
    bint swapped                    # weight_grad: vectors along the runs, not along the output channels
    Py_ssize_t whole                # weight_grad: vectors before the last panel, which alone is swapped; 0 if none is
    Py_ssize_t pieces               # weight_grad: partial sums, the same for any number of threads
    Py_ssize_t units, shares        # panels (weight_grad: x runs) of all groups, shares they are cut into
    Py_ssize_t tasks
    # Workspace, in bytes.
    Py_ssize_t scratch_bytes, pointer_bytes, offset_bytes, class_bytes, slice_bytes, thread_bytes
    Py_ssize_t packed_bytes, partial_bytes, workspace_bytes

cdef void make_plan(
    Plan *plan, Op op, const Geometry *g, const fastconv_kernels *kernels, const Tensor *source,
    const Tensor *weights, int threads, bint may_clip, bint tiled, Py_ssize_t *axis_memory) noexcept nogil
cdef Py_ssize_t panel_start(const Plan *plan, Py_ssize_t panel) noexcept nogil
cdef int useful_threads(const Plan *plan, int threads) noexcept nogil
cdef Py_ssize_t panels_bytes(const Plan *plan) noexcept nogil
cdef const Prepared *prepared_for(const Plan *plan, const Tensor *weights) noexcept nogil
