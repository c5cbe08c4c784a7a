# The C micro-kernels (src/kernel_table.h, src/cpu.h) as Cython sees them.
cdef extern from "cpu.h" nogil:
    enum: FASTCONV_AVX2, FASTCONV_AVX512
    ctypedef struct fastconv_caches:
        Py_ssize_t l1, l2
    unsigned int fastconv_cpu_features()
    fastconv_caches fastconv_cpu_caches()
    int fastconv_cpu_spare_shuffles()
    int fastconv_cpu_splits_vectors()
    unsigned long long fastconv_flush_denormals()
    void fastconv_restore_mode(unsigned long long mode)

cdef extern from "kernel_table.h" nogil:
    enum: FASTCONV_F32, FASTCONV_F64
    enum: FASTCONV_LATENT_SUMS, FASTCONV_FEW_PIXELS, FASTCONV_EVEN_COLUMNS, FASTCONV_GRAD_VECTORS

    ctypedef struct fastconv_conv_args:
        Py_ssize_t pixels, columns
        const void **in_ "in"
        void **out
        Py_ssize_t in_step, out_step
        Py_ssize_t in_offset, out_offset, k_offset
        Py_ssize_t runs, run_length
        const Py_ssize_t *run_offset
        const Py_ssize_t *run_k
        const void *weights
        Py_ssize_t weights_stride
        const void *bias
        int permute, stream, accumulate

    ctypedef struct fastconv_grad_args:
        Py_ssize_t pixels, rows, columns
        const void **in_ "in"
        Py_ssize_t in_offset, run_length
        const Py_ssize_t *run_offset
        const void **dy
        Py_ssize_t dy_offset
        void *grad
        Py_ssize_t grad_stride
        Py_ssize_t ahead
        int permute, accumulate

    ctypedef struct fastconv_depthwise_args:
        Py_ssize_t rows, pixels, channels, group, group_outputs, first_vector, strip, shared
        int accumulate, stream
        Py_ssize_t second
        const void *in_ "in"
        Py_ssize_t in_row, in_column, row_step, column_step
        Py_ssize_t tap_rows, tap_columns, row_dilation, column_dilation
        Py_ssize_t first_row, end_row, first_column, end_column
        void *out
        Py_ssize_t out_row, out_column
        const void *weights
        Py_ssize_t weights_stride
        const void *bias
        void *room

    ctypedef struct fastconv_depthwise_phases_args:
        Py_ssize_t rows, pixels, channels, group, group_outputs
        int taps
        Py_ssize_t strip
        const void *in_ "in"
        Py_ssize_t in_row, in_column
        Py_ssize_t first_row, end_row, first_column, end_column
        void *out
        Py_ssize_t out_row, out_column
        Py_ssize_t first_out_row, end_out_row, first_out_column, end_out_column
        const void *weights[4]
        Py_ssize_t weights_stride
        int stream

    ctypedef struct fastconv_depthwise_grad_args:
        Py_ssize_t rows, pixels, channels, group, shift
        const void *in_ "in"
        const void *dy
        Py_ssize_t in_row, dy_row
        Py_ssize_t in_stride, dy_stride
        Py_ssize_t tap_rows, tap_columns, tap_step
        const Py_ssize_t *row_offset
        void *grad
        Py_ssize_t grad_stride, grad_columns
        int accumulate, two_vectors

    ctypedef struct fastconv_pack_args:
        Py_ssize_t rows, columns
        const void *source
        Py_ssize_t row_stride, column_stride
        void *panel
        Py_ssize_t panel_stride
        int *finite

    ctypedef struct fastconv_gather_args:
        Py_ssize_t lead, pixels, tail
        Py_ssize_t outer, inner
        const void *x
        Py_ssize_t column_stride, outer_stride, inner_stride
        void *scratch
        Py_ssize_t pixel_step, outer_step

    ctypedef struct fastconv_add_args:
        Py_ssize_t count
        const void *term
        void *sum

    ctypedef struct fastconv_check_args:
        Py_ssize_t count
        const void *values
        int *finite

    ctypedef struct fastconv_winograd_args:
        int rows, columns
        Py_ssize_t channels
        const void *in_ "in"
        Py_ssize_t in_row, in_column
        Py_ssize_t first_row, end_row, first_column, end_column
        void *out
        Py_ssize_t out_row, out_column
        Py_ssize_t out_rows, out_columns
        const void *bias
        int stream
        int *finite
    enum:
        fastconv_winograd_input6, fastconv_winograd_input5, fastconv_winograd_input4
        fastconv_winograd_output6, fastconv_winograd_output5, fastconv_winograd_output4, fastconv_winograd_output1
        fastconv_winograd_output6_grad, fastconv_winograd_output5_grad, fastconv_winograd_output4_grad
        fastconv_winograd_weights_grad, fastconv_winograd_weights3_grad

    ctypedef struct fastconv_winograd_weights_args:
        Py_ssize_t rows, columns
        const void *source
        Py_ssize_t tap_rows, tap_columns
        Py_ssize_t tap_row, tap_column, row_stride, column_stride
        void *panel
        Py_ssize_t panel_stride, panel_point
        const void **in_ "in"[6]
        void **out[6]
        Py_ssize_t in_offset, in_point, out_point
        Py_ssize_t tiles[6]
        Py_ssize_t sixth[6]
        int row_points, column_points, accumulate
        int *finite

    ctypedef struct fastconv_winograd_few_grad_args:
        Py_ssize_t rows, columns
        const void **in_ "in"[6]
        const void **dy[6]
        Py_ssize_t in_offset, in_point, dy_offset, dy_point
        Py_ssize_t tiles[36]
        void *grad
        Py_ssize_t tap_row, tap_column, grad_stride
        int wide
        int *finite

    ctypedef struct fastconv_kernels:
        const char *isa
        const char *dtype
        int itemsize, lanes
        int conv_panel, grad_panel, narrow_panel
        int conv_rows, grad_rows, few_tiles
        void (*conv)(const fastconv_conv_args *) noexcept nogil
        void (*conv_narrow)(const fastconv_conv_args *) noexcept nogil
        void (*gemv)(const fastconv_conv_args *) noexcept nogil
        void (*ger)(const fastconv_grad_args *) noexcept nogil
        void (*grad)(const fastconv_grad_args *) noexcept nogil
        void (*grad_swapped)(const fastconv_grad_args *) noexcept nogil
        void (*depthwise)(const fastconv_depthwise_args *) noexcept nogil
        void (*depthwise_phases)(const fastconv_depthwise_phases_args *) noexcept nogil
        void (*depthwise_grad)(const fastconv_depthwise_grad_args *) noexcept nogil
        void (*pack)(const fastconv_pack_args *) noexcept nogil
        void (*gather)(const fastconv_gather_args *) noexcept nogil
        void (*add)(const fastconv_add_args *) noexcept nogil
        void (*check)(const fastconv_check_args *) noexcept nogil
        void (*winograd)(const fastconv_winograd_args *) noexcept nogil
        void (*winograd_weights)(const fastconv_winograd_weights_args *) noexcept nogil
        void (*winograd_few)(const fastconv_winograd_weights_args *) noexcept nogil
        void (*winograd_few_grad)(const fastconv_winograd_few_grad_args *) noexcept nogil
        double (*fma_chain)(Py_ssize_t steps) noexcept nogil
        int fma_width

    const fastconv_kernels *fastconv_kernels_at(int isa, int dtype)
    int fastconv_kernels_best(unsigned int allowed)

# The table in use for a dtype: the widest instruction set that the CPU has and FASTCONV_ISA allows.
cdef const fastconv_kernels *kernels_for(int dtype) noexcept nogil
cdef fastconv_caches caches() noexcept nogil
cdef bint spare_shuffles() noexcept nogil
cdef const fastconv_kernels *halved(const fastconv_kernels *kernels) noexcept nogil
cdef unsigned long long flush_denormals() noexcept nogil
cdef void restore_mode(unsigned long long mode) noexcept nogil
