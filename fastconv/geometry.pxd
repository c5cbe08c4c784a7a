# The resolved shapes of one convolution: see geometry.pyx.
cdef struct Geometry:
    Py_ssize_t batch, in_height, in_width, in_channels
    Py_ssize_t kernel_height, kernel_width, out_channels
    Py_ssize_t stride_height, stride_width
    Py_ssize_t pad_top, pad_bottom, pad_left, pad_right
    Py_ssize_t dilation_height, dilation_width, groups
    Py_ssize_t out_height, out_width

# What stride=, padding=, dilation= and groups= said, before the input size is known.
cdef struct Options:
    Py_ssize_t stride[2]
    Py_ssize_t dilation[2]
    Py_ssize_t padding[4]       # top, bottom, left, right
    bint same
    Py_ssize_t groups

# What may be wrong with a geometry; those of the width follow those of the height.
cdef enum Problem:
    SOUND
    BAD_SIZE                    # negative batch, height, width or channels
    BAD_KERNEL, BAD_STRIDE, BAD_DILATION, BAD_GROUPS    # below 1
    BAD_PADDING                 # negative
    HUGE_NUMBER                 # one that passes the limit by itself
    INPUT_GROUPS, OUTPUT_GROUPS     # groups do not divide the channels
    FAR_HEIGHT, FAR_WIDTH       # dilation carries the last tap past the limit
    PADDED_HEIGHT, PADDED_WIDTH     # padding carries the image past the limit
    SMALL_HEIGHT, SMALL_WIDTH   # the padded input is smaller than the kernel
    INPUT_BYTES, OUTPUT_BYTES, WEIGHT_BYTES     # arrays past the limit

cdef Py_ssize_t LIMIT           # the largest size, in elements along an axis and in bytes of an array
cdef bint columns_make_channels(const Geometry *g) noexcept nogil
cdef void take_columns_as_channels(Geometry *g) noexcept nogil
cdef int check_geometry(Geometry *g, bint same) noexcept nogil
cdef int read_options(Options *options, object stride, object padding, object dilation, object groups) except -1
cdef int read_pair(Py_ssize_t *pair, object value, str name, Py_ssize_t least) except -1
cdef Py_ssize_t read_size(object value, str name, Py_ssize_t least) except -1
cdef int read_input_shape(Py_ssize_t *shape, object value) except -1
cdef int resolve_geometry(Geometry *g, const Options *options, str kernel_name) except -1
cdef int resolve_shapes(
    Geometry *g, object input_shape, object weight_shape, object stride, object padding, object dilation,
    object groups) except -1
