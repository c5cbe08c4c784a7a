"""Arrays in and out: whatever NumPy can read becomes pointers, shapes and strides.

float32 and float64 arrays, aligned and in native byte order, are used as they stand, whatever their
strides; anything else is converted by NumPy first, which costs a copy.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer

import numpy

from fastconv._kernels cimport FASTCONV_F32, FASTCONV_F64

cdef object ndarray = numpy.ndarray
cdef object float32 = numpy.dtype(numpy.float32)
cdef object float64 = numpy.dtype(numpy.float64)
cdef object uint8 = numpy.dtype(numpy.uint8)
cdef object empty = numpy.empty

# NumPy aligns arrays to 16 bytes, but a vector that crosses a line of the cache takes twice as long.  A result of so
# many bytes and more has a page to spare.  Two lines, since lines of x and of the result that are whole pages apart
# compete for the same places in L1.
cdef Py_ssize_t LARGE_RESULT = 1 << 16
cdef Py_ssize_t LINE = 64
cdef Py_ssize_t PAGE = 4096


cdef class View:
    """A buffer held while a call computes, as a tensor of four axes."""

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


cdef bint open_view(View view, object array) except -1:
    """Hold `array`; False if its elements cannot be reached in whole, aligned steps."""
    cdef Py_ssize_t i, axis, stride, size, dense = 1
    cdef size_t bits
    cdef Py_ssize_t[4] strides
    PyObject_GetBuffer(array, &view.buffer, PyBUF_STRIDES)
    view.held = True
    view.axes = view.buffer.ndim
    if view.axes > 4:
        return True
    size = view.buffer.itemsize
    bits = <size_t> view.buffer.buf
    for i in range(3, -1, -1):
        axis = i - 4 + view.axes
        view.shape[i] = view.buffer.shape[axis] if axis >= 0 else 1
        # An axis of one element is never stepped along: whatever stride it has, call it dense.
        strides[i] = dense
        if view.shape[i] > 1:
            stride = view.buffer.strides[axis]
            bits |= <size_t> stride
            strides[i] = stride // size
        dense *= view.shape[i]
    view.tensor.data = <char *> view.buffer.buf
    view.tensor.prepared = NULL
    view.tensor.batch_stride, view.tensor.row_stride = strides[0], strides[1]
    view.tensor.column_stride, view.tensor.channel_stride = strides[2], strides[3]
    return bits & <size_t> (size - 1) == 0


cdef bint is_real(object dtype) except -1:
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def as_array(value, str name):
    """`value` as an ndarray of real numbers, without a copy where it is one already."""
    if not isinstance(value, ndarray):
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = numpy.from_dlpack(value)
        try:
            value = numpy.asarray(value)
        except ValueError as error:     # nested lists of unequal length
            raise ValueError(f"{name} must be an array, got {type(value).__name__}") from error
    if not is_real(value.dtype):
        raise TypeError(f"{name} must hold real numbers of at most 64 bits, got dtype {value.dtype}")
    return value


def common_dtype(*dtypes):
    """What arrays of these dtypes are computed in: NumPy's promotion, float32 or float64 at the end.

    Integers and bools that meet no float become float64; float16 becomes float32.
    """
    promoted = numpy.result_type(*dtypes)
    if promoted.kind != "f":
        return float64
    return float64 if promoted.itemsize == 8 else float32


cdef int open_arrays(tuple names, tuple arrays, list views) except -1:
    """Append a View of each array (None stays None), all in one dtype; returns that dtype's code."""
    cdef object dtype = arrays[0].dtype if type(arrays[0]) is ndarray else None
    cdef bint ready = dtype is float32 or dtype is float64
    cdef View view
    # Only a bias may be absent.
    for name, array in zip(names, arrays):
        if not (type(array) is ndarray and array.dtype is dtype or array is None and name == "bias"):
            ready = False
    if not ready:
        arrays = tuple([None if a is None and name == "bias" else as_array(a, name)
                        for name, a in zip(names, arrays)])
        dtype = common_dtype(*[a.dtype for a in arrays if a is not None])
    for array in arrays:
        view = None
        if array is not None:
            view = View.__new__(View)
            if not ready:
                array = numpy.asarray(array, dtype)
            if not open_view(view, array):
                view = View.__new__(View)
                open_view(view, array.copy())
        views.append(view)
    return FASTCONV_F32 if dtype == float32 else FASTCONV_F64


cdef int dtype_code(object dtype) except -1:
    """The code of what an array of this dtype is computed in."""
    given = numpy.dtype(dtype)
    if not is_real(given):
        raise TypeError(f"dtype must be of real numbers of at most 64 bits, got {given}")
    return FASTCONV_F32 if common_dtype(given) == float32 else FASTCONV_F64


cdef object dtype_of(int dtype):
    return float32 if dtype == FASTCONV_F32 else float64


cdef object make_output(tuple shape, int dtype, const char *x, bint alike):
    """A new array; a large one starts two lines behind where x does in its page, and a line, unless x is `alike`."""
    cdef object wanted = dtype_of(dtype)
    cdef Py_ssize_t size = 4 if dtype == FASTCONV_F32 else 8, length, start = <Py_ssize_t> x + 2 * LINE
    cdef Py_buffer buffer
    for length in shape:
        size *= length
    if size < LARGE_RESULT:
        return empty(shape, wanted)
    if not alike:
        start = (start + LINE - 1) & -LINE
    memory = empty(size + PAGE, uint8)
    PyObject_GetBuffer(memory, &buffer, PyBUF_SIMPLE)
    start = (start - <Py_ssize_t> buffer.buf) & (PAGE - 1)
    PyBuffer_Release(&buffer)
    return ndarray(shape, wanted, memory, start)


cdef int check_output(object out, tuple shape, int dtype, tuple inputs) except -1:
    """Raise unless `out` can take the result: shape, dtype, writable, apart from every input."""
    wanted = dtype_of(dtype)
    if not isinstance(out, ndarray):
        raise TypeError(f"out must be a numpy.ndarray, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {out.shape}")
    if out.dtype != wanted:
        raise TypeError(f"out must have dtype {wanted}, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out must be writable, got a read-only array")
    for array in inputs:
        if isinstance(array, ndarray) and overlap(out, array):
            raise ValueError("out must not overlap an input, got an array that shares memory with one")
    return 0


def overlap(a, b):
    """Whether two arrays share memory; where that is too hard to tell, whether their extents do."""
    try:
        return numpy.shares_memory(a, b, max_work=10000)
    except numpy.exceptions.TooHardError:
        return True


cdef bint is_dense(object out):
    """Whether a result can be written to `out` as it stands."""
    return out.flags.c_contiguous and out.flags.aligned and out.dtype.isnative
