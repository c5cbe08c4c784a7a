# The C interface, as Cython hands it from module to module: `cimport fastconv` is the face of it (see
# __init__.pxd), include/fastconv.h the other.  Signatures are frozen (tests/data/c_interface.txt): Cython
# compares them, as text, when a module that was built against them is imported.  `layer` is a fastconv_conv2d.
from libc.stdint cimport int64_t

cdef int fastconv_output_shape(const void *layer, int64_t *shape) noexcept nogil
cdef int fastconv_forward_f32(
    const void *layer, const float *x, const float *w, const float *bias, float *y) noexcept nogil
cdef int fastconv_forward_f64(
    const void *layer, const double *x, const double *w, const double *bias, double *y) noexcept nogil
cdef int fastconv_input_grad_f32(const void *layer, const float *dy, const float *w, float *dx) noexcept nogil
cdef int fastconv_input_grad_f64(const void *layer, const double *dy, const double *w, double *dx) noexcept nogil
cdef int fastconv_weight_grad_f32(const void *layer, const float *x, const float *dy, float *dw) noexcept nogil
cdef int fastconv_weight_grad_f64(const void *layer, const double *x, const double *dy, double *dw) noexcept nogil
cdef int fastconv_workspace_f32(const void *layer, int which, int64_t *bytes) noexcept nogil
cdef int fastconv_workspace_f64(const void *layer, int which, int64_t *bytes) noexcept nogil
cdef const char *fastconv_status_string(int status) noexcept nogil
cdef const char *fastconv_version() noexcept nogil
