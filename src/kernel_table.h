/* The micro-kernels of one dtype and instruction set, and the tables that hold them.
 *
 * Pointers are void because the dtype is decided once, when a table is chosen; every stride and
 * offset counts elements of that dtype.  The contracts stand in src/README.md. */
#ifndef FASTCONV_KERNEL_TABLE_H
#define FASTCONV_KERNEL_TABLE_H

#include <stddef.h>

/* Sums that a tile needs so that none waits for the one before: two multiply-adds a cycle, of four cycles each. */
enum { FASTCONV_LATENT_SUMS = 8 };
/* Pixels that gemv takes at a time, and ger at all. */
enum { FASTCONV_FEW_PIXELS = 4 };
/* Columns up to which conv_narrow has code of its own for pixels that are evenly spaced. */
enum { FASTCONV_EVEN_COLUMNS = 4 };
/* Vectors of columns that winograd_few_grad writes one after the other. */
enum { FASTCONV_GRAD_VECTORS = 4 };

/* out[p][n] = (accumulate ? out[p][n] : bias ? bias[n] : 0)
 *             + sum over r < runs, l < run_length of in[p][run_offset[r] + l] * weights[run_k[r] + l][n] */
typedef struct {
    ptrdiff_t pixels, columns;    /* columns <= conv_panel of the table */
    const void *const *in;        /* [pixels]: where each output pixel starts to read */
    void *const *out;             /* [pixels]: where it writes, before out_offset */
    ptrdiff_t in_step, out_step;  /* elements from a pixel to the next, if in and out hold the first alone, or 0 */
    ptrdiff_t in_offset, out_offset, k_offset;  /* k_offset: added to every run_k */
    ptrdiff_t runs, run_length;
    const ptrdiff_t *run_offset, *run_k;        /* [runs] */
    const void *weights;          /* rows of whole vectors, weights_stride apart */
    ptrdiff_t weights_stride;
    const void *bias;             /* [columns] or NULL */
    int permute;                  /* conv: take some inputs from registers by permutation, where it has a way to */
    int stream;                   /* conv: write past the caches, whole vectors that are aligned */
    int accumulate;
} fastconv_conv_args;

/* The same formula for any number of columns, but weights[n][run_k[r] + l]: a row a column, weights_stride
 * apart. */
typedef fastconv_conv_args fastconv_conv_narrow_args;

/* The first formula for any number of columns; of weights just the columns are read. */
typedef fastconv_conv_args fastconv_gemv_args;

/* grad[m][n] = (accumulate ? grad[m][n] : 0) + sum over p < pixels of in[p][from[m]] * dy[p][dy_offset + n],
 * from[m] = in_offset + (run_length < rows ? run_offset[m / run_length] + m % run_length : m) */
typedef struct {
    ptrdiff_t pixels, rows, columns;  /* columns <= grad_panel of the table */
    const void *const *in;            /* [pixels] */
    ptrdiff_t in_offset, run_length;
    const ptrdiff_t *run_offset;      /* [rows / run_length], where that is more than one */
    const void *const *dy;            /* [pixels], whole vectors each */
    ptrdiff_t dy_offset;
    void *grad;                       /* [rows][columns], rows grad_stride apart */
    ptrdiff_t grad_stride;
    ptrdiff_t ahead;                  /* elements from dy to what the next calls will read; changes no result */
    int permute;                      /* grad: take some rows from registers by permutation, where it has a way to */
    int accumulate;
} fastconv_grad_args;
typedef fastconv_grad_args fastconv_grad_swapped_args;  /* but one run, and dy has just its columns, any number of them */
typedef fastconv_grad_args fastconv_ger_args;           /* the same for up to FASTCONV_FEW_PIXELS */

/* out[y][p][c] = (accumulate ? out[y][p][c] : bias ? bias[c] : 0) + sum over r < tap_rows, t < tap_columns and i < group,
 *     with row = y * row_step + r * row_dilation inside [first_row, end_row) and the same of column, of
 *     in[row * in_row + column * in_column + from(c, i)] * weights[(r * tap_columns + t) * group + i][c],
 *     from(c, i) = i + c / group_outputs * group; where shared, i + c / shared * group + (c < half a vector ? 0 : second) */
typedef struct {
    ptrdiff_t rows, pixels, channels, group;
    ptrdiff_t group_outputs;          /* where not shared: channels of a group, which see the same */
    ptrdiff_t first_vector;           /* channel that the vectors after the first start from, or 0 */
    ptrdiff_t strip;                  /* pixels that go through all channels before the next ones do */
    int accumulate, stream;           /* stream: write past the caches where there is a way; all is aligned */
    ptrdiff_t shared;                 /* so many channels read the same group, all or whole vectors; or 0 */
    ptrdiff_t second;                 /* elements to where the second half of a vector reads it */
    const void *in;                   /* element (0, 0), wherever it would be */
    ptrdiff_t in_row, in_column;      /* elements from an input row or column to the next */
    ptrdiff_t row_step, column_step;  /* input rows and columns from an output to the next */
    ptrdiff_t tap_rows, tap_columns, row_dilation, column_dilation;
    ptrdiff_t first_row, end_row, first_column, end_column;     /* those that are read */
    void *out;
    ptrdiff_t out_row, out_column;
    const void *weights;              /* [tap_rows * tap_columns * group] rows, weights_stride apart */
    ptrdiff_t weights_stride;
    const void *bias;                 /* [channels] or NULL */
    void *room;                       /* to copy what a strip reads, or NULL: see src/README.md */
} fastconv_depthwise_args;

/* out[2 * y + e][2 * p + f][c] = sum over r < taps + e, t < taps + f and i < group, with first_row <= y + r < end_row and
 *     first_column <= p + t < end_column, of
 *     in[y + r][p + t][from(c, i)] * weights[2 * e + f][(r * (taps + f) + t) * group + i][c], e and f < 2;
 * outputs outside first_out_row <= 2 * y + e < end_out_row and the same of columns are not written. */
typedef struct {
    ptrdiff_t rows, pixels, channels; /* y < rows, p < pixels */
    ptrdiff_t group, group_outputs;   /* as in depthwise */
    int taps;                         /* 1, or 2 where group is 1 */
    ptrdiff_t strip;                  /* p that go through all channels before the next ones do */
    const void *in;                   /* element (0, 0), wherever it would be */
    ptrdiff_t in_row, in_column;      /* elements from an input row or column to the next */
    ptrdiff_t first_row, end_row, first_column, end_column;     /* those that are read */
    void *out;                        /* element (0, 0), wherever it would be */
    ptrdiff_t out_row, out_column;
    ptrdiff_t first_out_row, end_out_row, first_out_column, end_out_column;
    const void *weights[4];           /* [2 * e + f], rows weights_stride apart */
    ptrdiff_t weights_stride;
    int stream;                       /* write past the caches, whole vectors that are aligned */
} fastconv_depthwise_phases_args;

/* grad[(r * grad_columns + t) * group + i][c] = (accumulate ? what was there : 0) + sum over q < rows, p < pixels of
 *     in[q * in_row + p * in_stride + row_offset[r] + t * tap_step + c - c % group + i] * dy[q * dy_row + p * dy_stride + c],
 *     i < group */
typedef struct {
    ptrdiff_t rows, pixels, channels, group;
    ptrdiff_t shift;                  /* channel that the first vector starts with, or 0: see src/README.md */
    const void *in, *dy;
    ptrdiff_t in_row, dy_row;         /* elements from a row of pixels to the next */
    ptrdiff_t in_stride, dy_stride;   /* elements from a pixel to the next */
    ptrdiff_t tap_rows, tap_columns, tap_step;
    const ptrdiff_t *row_offset;      /* [tap_rows] */
    void *grad;                       /* [tap_rows * grad_columns * group] rows, grad_stride apart */
    ptrdiff_t grad_stride, grad_columns;
    int accumulate;
    int two_vectors;                  /* two vectors of channels at a time, which share pages, do well: no other sums */
} fastconv_depthwise_grad_args;

/* panel[k][n] = source[k * row_stride + n * column_stride] for n < columns, 0 up to whole vectors;
 * clears *finite when a NaN or an infinity came by */
typedef struct {
    ptrdiff_t rows, columns;
    const void *source;
    ptrdiff_t row_stride, column_stride;
    void *panel;                      /* [rows][panel_stride] */
    ptrdiff_t panel_stride;           /* columns, rounded up to whole vectors */
    int *finite;
} fastconv_pack_args;

/* scratch[a * outer_step + p * pixel_step + b] = x[p * column_stride + a * outer_stride + b * inner_stride]
 * for p < pixels, a < outer, b < inner; zeros for the `lead` pixels before and the `tail` pixels after. */
typedef struct {
    ptrdiff_t lead, pixels, tail;
    ptrdiff_t outer, inner;
    const void *x;
    ptrdiff_t column_stride, outer_stride, inner_stride;
    void *scratch;                    /* the first of the lead pixels */
    ptrdiff_t pixel_step, outer_step;
} fastconv_gather_args;

/* sum[i] += term[i] for i < count */
typedef struct {
    ptrdiff_t count;
    const void *term;
    void *sum;
} fastconv_add_args;

/* clears *finite when a NaN or an infinity is among values[i], i < count */
typedef struct {
    ptrdiff_t count;
    const void *values;
    int *finite;
} fastconv_check_args;

/* out[i][j][c] = bias[c] + sum over a, b of rows[i][a] * columns[j][b] * in[a][b][c] for i < out_rows, j < out_columns;
 * rows and columns are matrices of Winograd's algorithm, numbers below.  in is zero outside [first, end), and
 * not read there.  Clears *finite when `columns` makes results and one is not finite. */
typedef struct {
    int rows, columns;
    ptrdiff_t channels;
    const void *in;                   /* element (0, 0), wherever it would be */
    ptrdiff_t in_row, in_column;
    ptrdiff_t first_row, end_row, first_column, end_column;
    void *out;
    ptrdiff_t out_row, out_column;
    ptrdiff_t out_rows, out_columns;
    const void *bias;                 /* [channels] or NULL */
    int stream;                       /* write past the caches, whole vectors that are aligned */
    int *finite;
} fastconv_winograd_args;

/* winograd_weights: panel[i * column_points + j][k][n] = u[i][j][k][n], and zeros up to whole vectors;
 * winograd_few: out[t][i * 6 + j][n] = (accumulate ? that : 0) + sum over k < rows of in[t][i * 6 + j][k] * u[i][j][k][n],
 * for n up to whole vectors and the tiles t of line i, which have all lines before it; where a tile has no such point, out
 * may be written, and in read;
 * u[i][j][k][n] = sum over a < tap_rows, b < tap_columns of G[i][a] * G[j][b] *
 * source[a][b][k][n], i < row_points, j < column_points, n < columns, with the matrix G of F(4, 3), of pairs for three
 * points, and of a single tap for one.
 * Clears *finite when a NaN or an infinity is among the source. */
typedef struct {
    ptrdiff_t rows, columns;
    const void *source;               /* [tap_rows][tap_columns][rows][columns], up to 3x3 taps */
    ptrdiff_t tap_rows, tap_columns;
    ptrdiff_t tap_row, tap_column, row_stride, column_stride;
    void *panel;                      /* [rows] of whole vectors, panel_stride apart; points panel_point apart */
    ptrdiff_t panel_stride, panel_point;
    const void *const *in[6];         /* [tiles[i]] of each line i: [rows], points in_point apart, from in_offset on */
    void *const *out[6];              /* [tiles[i]]: whole vectors, points out_point apart */
    ptrdiff_t in_offset, in_point, out_point;
    ptrdiff_t tiles[6], sixth[6];     /* so many of the first tiles of a line have a sixth point */
    int row_points, column_points;    /* 6 both; winograd_weights: or 3 both, or 1 and 6, either way */
    int accumulate;                   /* winograd_few: to what is there */
    int *finite;
} fastconv_winograd_weights_args;
typedef fastconv_winograd_weights_args fastconv_winograd_few_args;

/* grad[a][b][m][n] = sum over i, j < 6 of G[i][a] * G[j][b] * (sum over t < tiles[6 * i + j] of
 * in[i][t][6 * i + j][m] * dy[i][t][6 * i + j][n]), m < rows, n < columns, with the G of winograd_weights. */
typedef struct {
    ptrdiff_t rows, columns;
    const void *const *in[6];         /* [tiles] of each line i: [rows], points in_point apart, from in_offset on */
    const void *const *dy[6];         /* [tiles]: whole vectors, points dy_point apart, from dy_offset on */
    ptrdiff_t in_offset, in_point, dy_offset, dy_point;
    ptrdiff_t tiles[36];              /* the first ones of a line's that have a point */
    void *grad;                       /* [3][3][rows][columns] */
    ptrdiff_t tap_row, tap_column, grad_stride;
    int wide;                         /* write FASTCONV_GRAD_VECTORS vectors of a row one after the other */
    int *finite;                      /* cleared when a NaN or an infinity is written */
} fastconv_winograd_few_grad_args;

#define TRANSFORM(name, size, results, makes) fastconv_##name,
enum {
#include "kernels/winograd.def"
    fastconv_winograd_transforms
};
#undef TRANSFORM

typedef struct {
    const char *isa, *dtype;
    int itemsize, lanes;              /* bytes an element, elements a vector */
    int conv_panel, grad_panel;       /* widest panel of each product, in elements */
    int narrow_panel;                 /* columns that conv_narrow takes at a time */
    int conv_rows, grad_rows;         /* rows of their widest register tile */
    int few_tiles;                    /* of Winograd's, which winograd_few takes at a time */
#define KERNEL(name, what) void (*name)(const fastconv_##name##_args *);
#include "kernels.def"
#undef KERNEL
    double (*fma_chain)(ptrdiff_t steps);  /* steps FMAs, one after the other, in fma_width lanes */
    int fma_width;
} fastconv_kernels;

/* NULL where the build lacks that instruction set (cpu.h numbers them). */
enum { FASTCONV_F32 = 0, FASTCONV_F64 = 1 };
const fastconv_kernels *fastconv_kernels_at(int isa, int dtype);

/* The widest instruction set that the build and the CPU have, among the bits of `allowed`. */
int fastconv_kernels_best(unsigned allowed);

#endif
