# Arrays in and out: see arrays.pyx.
from fastconv.plan cimport Tensor

cdef class View:
    cdef Py_buffer buffer
    cdef bint held
    cdef Tensor tensor
    cdef Py_ssize_t[4] shape    # one image: its batch is 1
    cdef int axes

cdef int open_arrays(tuple names, tuple arrays, list views) except -1
cdef int dtype_code(object dtype) except -1
cdef object dtype_of(int dtype)
cdef object make_output(tuple shape, int dtype, const char *x, bint alike)
cdef int check_output(object out, tuple shape, int dtype, tuple inputs) except -1
cdef bint is_dense(object out)
