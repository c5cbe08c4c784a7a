"""Arguments to shapes: every number a convolution needs, read and checked once.

A `Geometry` is what the rest of the package works with; whoever holds one may trust it: sizes are
consistent, positive where they must be, and no product of them overflows.
"""
from collections import namedtuple
from operator import index

GeometryTuple = namedtuple("Geometry", [
    "batch", "in_height", "in_width", "in_channels", "kernel_height", "kernel_width", "out_channels",
    "stride_height", "stride_width", "pad_top", "pad_bottom", "pad_left", "pad_right",
    "dilation_height", "dilation_width", "groups", "out_height", "out_width"])

# Sizes and their products, in bytes, stay below this: sums of a few of them still fit an integer,
# also one of 32 bits, as WebAssembly has them.
cdef Py_ssize_t LIMIT = <Py_ssize_t> 1 << (8 * sizeof(Py_ssize_t) - 4)
cdef Py_ssize_t LARGEST_ITEM = 8
# Channels, at least, that dL/dx makes of the columns of a kernel.
cdef Py_ssize_t LEAST_COLUMNS = 8
cdef Py_ssize_t WHOLE_VECTORS = 16
_LIMIT_TEXT = f"2**{8 * sizeof(Py_ssize_t) - 4}"


cdef Py_ssize_t read_size(object value, str name, Py_ssize_t least) except -1:
    """`value` as an integer of at least `least`."""
    cdef Py_ssize_t size
    wanted = "a positive int" if least == 1 else "a non-negative int"
    if type(value) is not int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be {wanted}, got {value!r}")
        try:
            value = index(value)
        except TypeError:
            raise TypeError(f"{name} must be {wanted}, got {value!r}") from None
    if not least <= value <= LIMIT:
        below = "" if value < least else f" up to {LIMIT}"
        raise ValueError(f"{name} must be {wanted}{below}, got {value}")
    size = value
    return size


cdef int read_pair(Py_ssize_t *pair, object value, str name, Py_ssize_t least) except -1:
    """`value`, one integer for both axes or a pair, as (vertical, horizontal)."""
    if type(value) is not int:
        if isinstance(value, (tuple, list)):
            if len(value) != 2:
                raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}")
            pair[0] = read_size(value[0], name, least)
            pair[1] = read_size(value[1], name, least)
            return 0
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            wanted = "a positive int" if least == 1 else "a non-negative int"
            raise TypeError(f"{name} must be {wanted} or a pair of them, got {value!r}")
    pair[0] = pair[1] = read_size(value, name, least)
    return 0


cdef int read_padding(Options *options, object padding) except -1:
    cdef Py_ssize_t pair[2]
    options.same = False
    if isinstance(padding, str):
        if padding == "same":
            options.same = True
        elif padding != "valid":
            raise ValueError(f'padding must be "valid", "same", an int, a pair or two pairs, got {padding!r}')
        options.padding[:] = [0, 0, 0, 0]
        return 0
    # Lists, not generators: those would bring all that Cython has for coroutines, 5 KB of a wheel.
    nested = [isinstance(side, (tuple, list)) for side in padding] if isinstance(padding, (tuple, list)) else []
    if len(nested) == 2 and any(nested):
        if not all([isinstance(side, (tuple, list)) and len(side) == 2 for side in padding]):
            raise ValueError(f"padding must be ((top, bottom), (left, right)) when it is nested, got {padding!r}")
        read_pair(&options.padding[0], padding[0], "padding", 0)
        read_pair(&options.padding[2], padding[1], "padding", 0)
        return 0
    read_pair(pair, padding, "padding", 0)
    options.padding[0] = options.padding[1] = pair[0]
    options.padding[2] = options.padding[3] = pair[1]
    return 0


cdef int read_options(Options *options, object stride, object padding, object dilation, object groups) except -1:
    """Read the four geometry keywords of every public function."""
    read_pair(options.stride, stride, "stride", 1)
    read_pair(options.dilation, dilation, "dilation", 1)
    read_padding(options, padding)
    options.groups = read_size(groups, "groups", 1)
    return 0


cdef int read_shape(Py_ssize_t *shape, object value, str name, str axes, Py_ssize_t least) except -1:
    """A tuple of sizes for the named axes, the last ones of `shape`; returns how many were given."""
    cdef Py_ssize_t i, count
    names = axes.split()
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise TypeError(f"{name} must be a tuple of ints ({', '.join(names)}), got {value!r}")
    count = len(value)
    if count != 4 and not (count == 3 and names[0] == "N"):
        optional = " or (H, W, C)" if names[0] == "N" else ""
        raise ValueError(f"{name} must be ({', '.join(names)}){optional}, got {tuple(value)!r}")
    shape[0] = 1
    for i in range(count):
        shape[4 - count + i] = read_size(value[i], name, least)
    return count


cdef int read_input_shape(Py_ssize_t *shape, object value) except -1:
    """(N, H, W, C) or (H, W, C) into four sizes; returns how many there were."""
    return read_shape(shape, value, "input_shape", "N H W C", 0)


cdef bint too_large(Py_ssize_t a, Py_ssize_t b, Py_ssize_t c, Py_ssize_t d) noexcept nogil:
    """Whether an array of this shape, an axis of 0 taken for one of 1, passes the limit in bytes."""
    return (<double> max(a, 1) * <double> max(b, 1) * <double> max(c, 1) * <double> max(d, 1)
            > <double> (LIMIT // LARGEST_ITEM))


cdef int check_number(Py_ssize_t a, Py_ssize_t b, Py_ssize_t least, int problem) noexcept nogil:
    """`problem` if one of two numbers is below `least`, HUGE_NUMBER if one is above the limit."""
    if a < least or b < least:
        return problem
    return HUGE_NUMBER if a > LIMIT or b > LIMIT else SOUND


cdef int check_numbers(const Geometry *g) noexcept nogil:
    """Each number by itself."""
    cdef int problem = check_number(g.batch, g.in_height, 0, BAD_SIZE)
    if not problem:
        problem = check_number(g.in_width, g.in_channels, 0, BAD_SIZE)
    if not problem:
        problem = check_number(g.out_channels, g.out_channels, 0, BAD_SIZE)
    if not problem:
        problem = check_number(g.kernel_height, g.kernel_width, 1, BAD_KERNEL)
    if not problem:
        problem = check_number(g.stride_height, g.stride_width, 1, BAD_STRIDE)
    if not problem:
        problem = check_number(g.pad_top, g.pad_bottom, 0, BAD_PADDING)
    if not problem:
        problem = check_number(g.pad_left, g.pad_right, 0, BAD_PADDING)
    if not problem:
        problem = check_number(g.dilation_height, g.dilation_width, 1, BAD_DILATION)
    if not problem:
        problem = check_number(g.groups, g.groups, 1, BAD_GROUPS)
    return problem


cdef int check_axis(
    Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t dilation, bint same, Py_ssize_t *pad,
    Py_ssize_t *out,
) noexcept nogil:
    """Padding (for "same") and output size along one axis; a problem is told as the one of the height."""
    cdef Py_ssize_t reach, padded, total
    if <double> dilation * <double> (kernel - 1) > <double> LIMIT:
        return FAR_HEIGHT
    reach = dilation * (kernel - 1) + 1
    if same:
        out[0] = (size - 1) // stride + 1 if size > 0 else 0
        total = max((out[0] - 1) * stride + reach - size, 0) if out[0] > 0 else 0
        pad[0] = total // 2
        pad[1] = total - total // 2
        return SOUND
    padded = size + pad[0] + pad[1]
    if padded > LIMIT:
        return PADDED_HEIGHT
    if reach > padded:
        return SMALL_HEIGHT
    out[0] = (padded - reach) // stride + 1
    return SOUND


cdef bint columns_make_channels(const Geometry *g) noexcept nogil:
    """Whether kernels lie side by side in a row of x, so that each of its columns meets one of w's: dL/dx had better
    take those of a kernel as channels then, where they make vectors that channels alone do not.

    A pixel or two of dy have a kernel of their own.
    """
    if not (g.dilation_width == g.groups == 1 and g.pad_left == 0 and g.in_width == g.out_width * g.kernel_width
            and (g.out_width == 1 or g.stride_width == g.kernel_width)):
        return False
    return (g.kernel_width > 1 and g.kernel_width * g.in_channels >= LEAST_COLUMNS and g.out_height * g.out_width > 2
            and (g.out_width == 1 or g.in_channels % WHOLE_VECTORS))


cdef void take_columns_as_channels(Geometry *g) noexcept nogil:
    """The same convolution, with kernels of a single column."""
    g.in_channels *= g.kernel_width
    g.in_width = g.out_width
    g.kernel_width = g.stride_width = 1


cdef int check_geometry(Geometry *g, bint same) noexcept nogil:
    """Check every number and product, and fill in the output size, for `same` the padding, too.

    The one check there is: the Python functions turn a Problem into an exception, the C interface
    into a status.
    """
    cdef int problem = check_numbers(g)
    if problem:
        return problem
    if g.in_channels % g.groups:
        return INPUT_GROUPS
    if g.out_channels % g.groups:
        return OUTPUT_GROUPS
    problem = check_axis(g.in_height, g.kernel_height, g.stride_height, g.dilation_height, same,
                         &g.pad_top, &g.out_height)
    if problem:
        return problem
    problem = check_axis(g.in_width, g.kernel_width, g.stride_width, g.dilation_width, same,
                         &g.pad_left, &g.out_width)
    if problem:
        return problem + 1      # of the width
    if too_large(g.batch, g.in_height, g.in_width, g.in_channels):
        return INPUT_BYTES
    if too_large(g.batch, g.out_height, g.out_width, g.out_channels):
        return OUTPUT_BYTES
    if too_large(g.kernel_height, g.kernel_width, g.in_channels // g.groups, g.out_channels):
        return WEIGHT_BYTES
    return SOUND


cdef int refuse(Geometry *g, int problem, str kernel_name) except -1:
    """Raise the ValueError of a problem that numbers read by `read_size` can still have."""
    cdef bint high = problem in (FAR_HEIGHT, PADDED_HEIGHT, SMALL_HEIGHT)
    axis = "height" if high else "width"
    kernel, dilation, size, first, last = (
        (g.kernel_height, g.dilation_height, g.in_height, g.pad_top, g.pad_bottom) if high else
        (g.kernel_width, g.dilation_width, g.in_width, g.pad_left, g.pad_right))
    if problem == BAD_KERNEL:
        raise ValueError(
            f"{kernel_name} must have a kernel of at least 1 x 1, got {g.kernel_height} x {g.kernel_width}")
    if problem == INPUT_GROUPS:
        raise ValueError(f"groups must divide the {g.in_channels} input channels, got {g.groups}")
    if problem == OUTPUT_GROUPS:
        raise ValueError(f"groups must divide the {g.out_channels} output channels, got {g.groups}")
    if problem in (FAR_HEIGHT, FAR_WIDTH):
        raise ValueError(
            f"dilation * (kernel {axis} - 1) must be below {_LIMIT_TEXT}, got {dilation} * {kernel - 1}")
    if problem in (PADDED_HEIGHT, PADDED_WIDTH):
        raise ValueError(
            f"padding must keep the padded {axis} below {_LIMIT_TEXT}, got {first} and {last}")
    if problem in (SMALL_HEIGHT, SMALL_WIDTH):
        raise ValueError(
            f"{kernel_name} must fit the padded input: a kernel of {axis} {kernel} and dilation {dilation} "
            f"covers {dilation * (kernel - 1) + 1}, an input of {axis} {size} and padding {first} and {last}, "
            f"got {size + first + last}")
    if problem == INPUT_BYTES:
        raise ValueError(f"x must have a size in bytes below {_LIMIT_TEXT}, "
                         f"got ({g.batch}, {g.in_height}, {g.in_width}, {g.in_channels})")
    if problem == OUTPUT_BYTES:
        raise ValueError(f"padding and the input must keep the size of the output in bytes below {_LIMIT_TEXT}, "
                         f"got ({g.batch}, {g.out_height}, {g.out_width}, {g.out_channels})")
    if problem == WEIGHT_BYTES:
        raise ValueError(
            f"w must have a size in bytes below {_LIMIT_TEXT}, got "
            f"({g.kernel_height}, {g.kernel_width}, {g.in_channels // g.groups}, {g.out_channels})")
    # HUGE_NUMBER, which only the shape of an array that repeats itself can hold: the rest was read by `read_size`.
    raise ValueError(
        f"x and w must have sizes of at most {LIMIT} along each axis, got ({g.batch}, {g.in_height}, {g.in_width}, "
        f"{g.in_channels}) and ({g.kernel_height}, {g.kernel_width}, {g.in_channels // g.groups}, {g.out_channels})")


cdef int resolve_geometry(Geometry *g, const Options *options, str kernel_name) except -1:
    """Fill in what `options` and the shapes already in `g` determine: padding and output size.

    `kernel_name` is the argument that gave the kernel size.
    """
    cdef int problem
    g.stride_height, g.stride_width = options.stride[0], options.stride[1]
    g.dilation_height, g.dilation_width = options.dilation[0], options.dilation[1]
    g.pad_top, g.pad_bottom = options.padding[0], options.padding[1]
    g.pad_left, g.pad_right = options.padding[2], options.padding[3]
    g.groups = options.groups
    problem = check_geometry(g, options.same)
    if problem:
        refuse(g, problem, kernel_name)
    return 0


cdef int resolve_shapes(
    Geometry *g, object input_shape, object weight_shape, object stride, object padding, object dilation,
    object groups,
) except -1:
    """Fill `g` from two shapes and the keywords."""
    cdef Options options
    cdef Py_ssize_t shape[4]
    cdef Py_ssize_t weights[4]
    read_input_shape(shape, input_shape)
    read_shape(weights, weight_shape, "weight_shape", "KH KW C//groups O", 0)
    read_options(&options, stride, padding, dilation, groups)
    g.batch, g.in_height, g.in_width, g.in_channels = shape[0], shape[1], shape[2], shape[3]
    g.kernel_height, g.kernel_width, g.out_channels = weights[0], weights[1], weights[3]
    if <double> weights[2] * <double> options.groups != <double> g.in_channels:
        raise ValueError(f"weight_shape must have {g.in_channels} / groups input channels "
                         f"for groups={options.groups}, got {weights[2]}")
    resolve_geometry(g, &options, "weight_shape")
    return 0


def resolve(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1):
    """Every size of a convolution as a named tuple; batch is 1 where input_shape has none."""
    cdef Geometry g
    resolve_shapes(&g, input_shape, weight_shape, stride, padding, dilation, groups)
    return GeometryTuple(
        g.batch, g.in_height, g.in_width, g.in_channels, g.kernel_height, g.kernel_width, g.out_channels,
        g.stride_height, g.stride_width, g.pad_top, g.pad_bottom, g.pad_left, g.pad_right,
        g.dilation_height, g.dilation_width, g.groups, g.out_height, g.out_width)
