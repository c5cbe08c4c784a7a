/* winograd: the transforms of F(4, 3), F(3, 3) and F(2, 3), of pairs and of single values between zeros, and their
 * transposes, which make dL/dW.
 *
 * Each is a matrix along the rows and one along the columns.  The points of interpolation are 0, 3/4, -3/4, infinity,
 * 3/2 and -3/2: the error is a fifth of that of 0, 1, -1, 2, -2 (docs/accuracy.md), and every constant but those
 * of the weights is exact.  F(3, 3) has the first five points and F(2, 3) the first four, and their input is scaled so
 * that the weights transformed for six serve them, too. */
#define POINT_A 0.75
#define POINT_B 1.5
#define SQUARE_A (POINT_A * POINT_A)
#define SQUARE_B (POINT_B * POINT_B)
#define SCALE_0 (1 / (SQUARE_A * SQUARE_B))
#define SCALE_A (1 / (2 * SQUARE_A * (SQUARE_A - SQUARE_B)))
#define SCALE_B (1 / (2 * SQUARE_B * (SQUARE_B - SQUARE_A)))

static FASTCONV_INLINE VEC K(scaled)(double factor, VEC a) { return V(fma)(V(set1)((REAL)factor), a, V(zero)()); }
static FASTCONV_INLINE VEC K(plus)(VEC a, double factor, VEC b) { return V(fma)(V(set1)((REAL)factor), b, a); }

static FASTCONV_INLINE void K(winograd_input6)(const VEC *d, VEC *v) {
    const VEC even_a = K(plus)(d[4], -SQUARE_B, d[2]), odd_a = K(plus)(d[3], -SQUARE_B, d[1]);
    const VEC even_b = K(plus)(d[4], -SQUARE_A, d[2]), odd_b = K(plus)(d[3], -SQUARE_A, d[1]);
    v[0] = K(plus)(K(plus)(d[4], -(SQUARE_A + SQUARE_B), d[2]), SQUARE_A * SQUARE_B, d[0]);
    v[1] = K(plus)(even_a, POINT_A, odd_a);
    v[2] = K(plus)(even_a, -POINT_A, odd_a);
    v[3] = K(plus)(K(plus)(d[5], -(SQUARE_A + SQUARE_B), d[3]), SQUARE_A * SQUARE_B, d[1]);
    v[4] = K(plus)(even_b, POINT_B, odd_b);
    v[5] = K(plus)(even_b, -POINT_B, odd_b);
}

static FASTCONV_INLINE void K(winograd_input5)(const VEC *d, VEC *v) {
    const VEC even = K(scaled)(SQUARE_A - SQUARE_B, d[2]);
    v[0] = K(plus)(K(plus)(K(scaled)(SQUARE_A * SQUARE_B, d[0]), -SQUARE_A * POINT_B, d[1]), POINT_B,
                   K(plus)(d[3], -POINT_B, d[2]));
    v[1] = K(plus)(even, POINT_A + POINT_B, K(plus)(d[3], -POINT_A * POINT_B, d[1]));
    v[2] = K(plus)(even, POINT_B - POINT_A, K(plus)(d[3], POINT_A * POINT_B, d[1]));
    v[3] = K(plus)(K(plus)(d[4], -SQUARE_A, d[2]), -POINT_B, K(plus)(d[3], -SQUARE_A, d[1]));
    v[4] = K(plus)(K(scaled)(2 * POINT_B, d[3]), -2 * SQUARE_A * POINT_B, d[1]);
}

static FASTCONV_INLINE void K(winograd_input4)(const VEC *d, VEC *v) {
    const VEC even = K(scaled)(SQUARE_A - SQUARE_B, d[2]);
    v[0] = K(plus)(K(scaled)(SQUARE_A * SQUARE_B, d[0]), -SQUARE_B, d[2]);
    v[1] = K(plus)(even, POINT_A * (SQUARE_A - SQUARE_B), d[1]);
    v[2] = K(plus)(even, -POINT_A * (SQUARE_A - SQUARE_B), d[1]);
    v[3] = K(plus)(d[3], -SQUARE_A, d[1]);
}

/* Products are of weights without their factors: those of each point go to what is made of it. */
static FASTCONV_INLINE void K(winograd_output6)(const VEC *m, VEC *y) {
    const VEC even_a = V(add)(m[1], m[2]), odd_a = V(sub)(m[1], m[2]);
    const VEC even_b = V(add)(m[4], m[5]), odd_b = V(sub)(m[4], m[5]);
    y[0] = K(plus)(K(plus)(K(scaled)(SCALE_0, m[0]), SCALE_A, even_a), SCALE_B, even_b);
    y[1] = K(plus)(K(scaled)(SCALE_A * POINT_A, odd_a), SCALE_B * POINT_B, odd_b);
    y[2] = K(plus)(K(scaled)(SCALE_A * SQUARE_A, even_a), SCALE_B * SQUARE_B, even_b);
    y[3] = K(plus)(K(plus)(K(scaled)(1 / SQUARE_A, m[3]), SCALE_A * POINT_A * SQUARE_A, odd_a),
                   SCALE_B * POINT_B * SQUARE_B, odd_b);
}

static FASTCONV_INLINE void K(winograd_output5)(const VEC *m, VEC *y) {
    const VEC even = V(add)(m[1], m[2]), odd = V(sub)(m[1], m[2]);
    y[0] = K(plus)(K(plus)(K(scaled)(SCALE_0, m[0]), SCALE_A, even), SCALE_B, m[4]);
    y[1] = K(plus)(K(scaled)(SCALE_B * POINT_B, m[4]), SCALE_A * POINT_A, odd);
    y[2] = K(plus)(K(plus)(K(scaled)(1 / SQUARE_A, m[3]), SCALE_A * SQUARE_A, even), SCALE_B * SQUARE_B, m[4]);
}

static FASTCONV_INLINE void K(winograd_output4)(const VEC *m, VEC *y) {
    const VEC even = V(add)(m[1], m[2]), odd = V(sub)(m[1], m[2]);
    y[0] = K(plus)(K(scaled)(SCALE_0, m[0]), SCALE_A, even);
    y[1] = K(plus)(K(scaled)(1 / SQUARE_A, m[3]), SCALE_A * POINT_A, odd);
}

static FASTCONV_INLINE void K(winograd_output6_grad)(const VEC *y, VEC *m) {
    const VEC even_a = K(plus)(K(scaled)(SCALE_A, y[0]), SCALE_A * SQUARE_A, y[2]);
    const VEC even_b = K(plus)(K(scaled)(SCALE_B, y[0]), SCALE_B * SQUARE_B, y[2]);
    const VEC odd_a = K(plus)(K(scaled)(SCALE_A * POINT_A, y[1]), SCALE_A * POINT_A * SQUARE_A, y[3]);
    const VEC odd_b = K(plus)(K(scaled)(SCALE_B * POINT_B, y[1]), SCALE_B * POINT_B * SQUARE_B, y[3]);
    m[0] = K(scaled)(SCALE_0, y[0]);
    m[1] = V(add)(even_a, odd_a);
    m[2] = V(sub)(even_a, odd_a);
    m[3] = K(scaled)(1 / SQUARE_A, y[3]);
    m[4] = V(add)(even_b, odd_b);
    m[5] = V(sub)(even_b, odd_b);
}

static FASTCONV_INLINE void K(winograd_output5_grad)(const VEC *y, VEC *m) {
    const VEC even = K(plus)(K(scaled)(SCALE_A, y[0]), SCALE_A * SQUARE_A, y[2]);
    m[0] = K(scaled)(SCALE_0, y[0]);
    m[1] = K(plus)(even, SCALE_A * POINT_A, y[1]);
    m[2] = K(plus)(even, -SCALE_A * POINT_A, y[1]);
    m[3] = K(scaled)(1 / SQUARE_A, y[2]);
    m[4] = K(plus)(K(plus)(K(scaled)(SCALE_B, y[0]), SCALE_B * SQUARE_B, y[2]), SCALE_B * POINT_B, y[1]);
}

static FASTCONV_INLINE void K(winograd_output4_grad)(const VEC *y, VEC *m) {
    const VEC even = K(scaled)(SCALE_A, y[0]);
    m[0] = K(scaled)(SCALE_0, y[0]);
    m[1] = K(plus)(even, SCALE_A * POINT_A, y[1]);
    m[2] = K(plus)(even, -SCALE_A * POINT_A, y[1]);
    m[3] = K(scaled)(1 / SQUARE_A, y[1]);
}

/* The transpose of the weights' matrix without the factors of the points, which are 1, -1, 2 and -2 times POINT_A: first
 * without the powers of POINT_A, too. */
static FASTCONV_INLINE void K(winograd_bare_grad)(const VEC *u, VEC *g) {
    const VEC even_a = V(add)(u[1], u[2]), odd_a = V(sub)(u[1], u[2]);
    const VEC even_b = V(add)(u[4], u[5]), odd_b = V(sub)(u[4], u[5]);
    g[0] = V(add)(V(add)(u[0], even_a), even_b);
    g[1] = K(plus)(odd_a, 2, odd_b);
    g[2] = K(plus)(V(add)(u[3], even_a), 4, even_b);
}

static FASTCONV_INLINE void K(winograd_weights_grad)(const VEC *u, VEC *g) {
    K(winograd_bare_grad)(u, g);
    g[1] = K(scaled)(POINT_A, g[1]);
    g[2] = K(scaled)(SQUARE_A, g[2]);
}

/* Two values between zeros, as a dilation leaves them at the edges, need three products for three taps, and one value
 * needs the first of these. */
static FASTCONV_INLINE void K(winograd_input3)(const VEC *d, VEC *v) {
    v[0] = V(add)(d[0], d[1]);
    v[1] = d[0];
    v[2] = d[1];
}

static FASTCONV_INLINE void K(winograd_output3)(const VEC *m, VEC *y) {
    y[0] = V(add)(m[0], m[2]);
    y[1] = V(add)(m[0], m[1]);
}

static FASTCONV_INLINE void K(winograd_output3_grad)(const VEC *y, VEC *m) {
    m[0] = V(add)(y[0], y[1]);
    m[1] = y[1];
    m[2] = y[0];
}

static FASTCONV_INLINE void K(winograd_weights3_grad)(const VEC *u, VEC *g) {
    g[0] = u[1];
    g[1] = V(sub)(V(sub)(u[0], u[1]), u[2]);
    g[2] = u[2];
}

static FASTCONV_INLINE void K(winograd_input1)(const VEC *d, VEC *v) { v[0] = d[0]; }
static FASTCONV_INLINE void K(winograd_output1)(const VEC *m, VEC *y) { y[0] = m[0]; }
static FASTCONV_INLINE void K(winograd_output1_grad)(const VEC *y, VEC *m) { m[0] = y[0]; }

/* Lines of vectors to be transformed: `line` elements from line to line, and from one value of a result to the next
 * `step`.  Each value that is read has a place of its own, since some are zeros that lie elsewhere. */
typedef struct {
    const REAL *in[6];
    ptrdiff_t in_line[6], in_vector[6];
    REAL *out;
    ptrdiff_t out_step, out_line, out_vector;
    ptrdiff_t lines, vectors;
    int last;                         /* of the two: adds the bias, and looks whether the results are finite */
    int stream;                       /* ... and may write them past the caches */
    VEC bias[4], check;
} K(winograd_lines);

static FASTCONV_INLINE void K(winograd_apply)(K(winograd_lines) *given, void (*transform)(const VEC *, VEC *),
                                              const int size, const int results, const int makes_results) {
    REAL *out = given->out;
    const ptrdiff_t out_step = given->out_step, out_line = given->out_line;
    const ptrdiff_t lines = given->lines, vectors = given->vectors;
    const ptrdiff_t in_line = given->in_line[0], in_step = size > 1 ? given->in[1] - given->in[0] : 0;
    const int last = makes_results && given->last, stream = last && given->stream;
    VEC check = V(zero)();
    for (ptrdiff_t v = 0; v < vectors; v++, out += given->out_vector) {
        const VEC bias = makes_results ? given->bias[v] : V(zero)();   /* of inputs, vectors may be more */
        const REAL *in[6];
        FASTCONV_UNROLL
        for (int i = 0; i < size; i++) in[i] = given->in[i] + v * given->in_vector[i];
        for (ptrdiff_t l = 0; l < lines; l++) {
            VEC from[6], to[6];
            FASTCONV_UNROLL
            for (int i = 0; i < size; i++) {
                if (makes_results) {
                    from[i] = V(load)(in[0] + l * in_line + i * in_step);
                } else {
                    from[i] = V(load)(in[i]);
                    FASTCONV_PREFETCH(in[i] + 4 * LANES);    /* what the next call of this reads */
                    in[i] += given->in_line[i];
                }
            }
            transform(from, to);
            if (last) {
                FASTCONV_UNROLL
                for (int i = 0; i < results; i++) {
                    to[i] = V(add)(to[i], bias);
                    check = V(fma)(to[i], V(zero)(), check);
                }
            }
            FASTCONV_UNROLL
            for (int i = 0; i < results; i++) {
                if (makes_results && stream)
                    V(stream)(out + l * out_line + i * out_step, to[i]);
                else
                    V(store)(out + l * out_line + i * out_step, to[i]);
            }
        }
    }
    given->check = check;
}

#define TRANSFORM(name, size, results, makes) static FASTCONV_NOINLINE void K(name##_lines)(K(winograd_lines) *lines) { K(winograd_apply)(lines, K(name), size, results, makes); }
#include "winograd.def"
#undef TRANSFORM
static const struct {
    void (*apply)(K(winograd_lines) *);
    int size, results, makes_results;
} K(winograd_transforms)[] = {
#define TRANSFORM(name, size, results, makes) {K(name##_lines), size, results, makes},
#include "winograd.def"
#undef TRANSFORM
};

/* A tile of some vectors is a frame of [6][6] vectors, one after the other, in memory of the kernel's own. */
enum { K(winograd_frame_size) = 36 * LANES };

/* What lies inside, of less than a vector. */
static FASTCONV_NOINLINE void K(winograd_fill)(const fastconv_winograd_args *args, ptrdiff_t channel, int lanes,
                                               REAL *frame) {
    const REAL *in = (const REAL *)args->in + channel;
    for (ptrdiff_t i = args->first_row; i < args->end_row; i++)
        for (ptrdiff_t j = args->first_column; j < args->end_column; j++)
            V(store)(frame + (6 * i + j) * LANES, K(load_up_to)(in + i * args->in_row + j * args->in_column, lanes));
}

/* Zeros for the columns that do not lie inside, which the transform along the rows leaves out. */
static FASTCONV_NOINLINE void K(winograd_clear)(const fastconv_winograd_args *args, ptrdiff_t columns, ptrdiff_t vectors,
                                                REAL *between) {
    for (ptrdiff_t j = 0; j < columns; j++) {
        if (j == args->first_column) j = args->end_column;
        for (ptrdiff_t v = 0; j < columns && v < vectors; v++)
            for (ptrdiff_t i = 0; i < 6; i++)
                V(store)(between + v * K(winograd_frame_size) + (6 * i + j) * LANES, V(zero)());
    }
}

/* Lets the transform along the rows read what lies inside, and zeros for the other rows. */
static FASTCONV_INLINE void K(winograd_read)(const fastconv_winograd_args *args, const REAL *in, ptrdiff_t row,
                                             ptrdiff_t column, K(winograd_lines) *down) {
    static const FASTCONV_ALIGN(64) REAL nothing[LANES];
    in += args->first_column * column;
    for (ptrdiff_t i = 0; i < 6; i++, in += row) {
        const int inside = i >= args->first_row && i < args->end_row;
        down->in[i] = inside ? in : nothing;
        down->in_line[i] = inside ? column : 0, down->in_vector[i] = inside ? LANES : 0;
    }
}

static FASTCONV_NOINLINE void K(winograd_empty)(const fastconv_winograd_args *args, ptrdiff_t channel, int lanes,
                                                const REAL *frame) {
    REAL *out = (REAL *)args->out + channel;
    for (ptrdiff_t i = 0; i < args->out_rows; i++)
        for (ptrdiff_t j = 0; j < args->out_columns; j++)
            K(store_up_to)(out + i * args->out_row + j * args->out_column, V(load)(frame + (6 * i + j) * LANES), lanes);
}

/* Both matrices of whole vectors of the gradient of weights, with all between them in registers; returns how many
 * channels those are. */
static FASTCONV_NOINLINE ptrdiff_t K(winograd_all_grad)(const fastconv_winograd_args *args, VEC *found) {
    ptrdiff_t n = 0;
    VEC check = V(zero)();
    for (; n + LANES <= args->channels; n += LANES) {
        const REAL *in = (const REAL *)args->in + n;
        REAL *out = (REAL *)args->out + n;
        VEC between[3][6];
        FASTCONV_UNROLL
        for (int j = 0; j < 6; j++) {
            VEC from[6], to[3];
            FASTCONV_UNROLL
            for (int i = 0; i < 6; i++) from[i] = V(load)(in + i * args->in_row + j * args->in_column);
            K(winograd_weights_grad)(from, to);
            FASTCONV_UNROLL
            for (int i = 0; i < 3; i++) between[i][j] = to[i];
        }
        FASTCONV_UNROLL
        for (int i = 0; i < 3; i++) {
            VEC to[3];
            K(winograd_weights_grad)(between[i], to);
            FASTCONV_UNROLL
            for (int j = 0; j < 3; j++) {
                V(store)(out + i * args->out_row + j * args->out_column, to[j]);
                check = V(fma)(to[j], V(zero)(), check);
            }
        }
    }
    *found = check;
    return n;
}

/* A single matrix, where the other axis is not transformed: straight from the source to where the results go. */
static FASTCONV_NOINLINE VEC K(winograd_along_one)(const fastconv_winograd_args *args) {
    static const FASTCONV_ALIGN(64) REAL nothing[LANES];
    const int across = K(winograd_transforms)[args->rows].size == 1;
    const int matrix = across ? args->columns : args->rows;
    const ptrdiff_t step = across ? args->in_column : args->in_row;
    const ptrdiff_t first = across ? args->first_column : args->first_row;
    const ptrdiff_t end = across ? args->end_column : args->end_row;
    const int missing = args->first_row == args->end_row || args->first_column == args->end_column;
    K(winograd_lines) line;
    VEC check = V(zero)();
    line.out_step = across ? args->out_column : args->out_row, line.out_vector = LANES;
    line.lines = 1, line.out_line = 0;
    line.last = 1, line.stream = args->stream;
    for (ptrdiff_t n = 0; n < args->channels; n += line.vectors * LANES) {
        if (args->channels - n < LANES) n = args->channels - LANES;     /* some channels before once more */
        const ptrdiff_t left = (args->channels - n) / LANES;
        const int makes_results = K(winograd_transforms)[matrix].makes_results;
        line.vectors = makes_results && left > 4 ? 4 : left;
        for (ptrdiff_t i = 0; i < K(winograd_transforms)[matrix].size; i++) {
            const int inside = !missing && i >= first && i < end;
            line.in[i] = inside ? (const REAL *)args->in + i * step + n : nothing;
            line.in_line[i] = 0, line.in_vector[i] = inside ? LANES : 0;
        }
        for (ptrdiff_t v = 0; v < line.vectors && makes_results; v++)
            line.bias[v] = args->bias ? V(load)((const REAL *)args->bias + n + v * LANES) : V(zero)();
        line.out = (REAL *)args->out + n;
        K(winograd_transforms)[matrix].apply(&line);
        check = V(add)(check, line.check);
    }
    return check;
}

static void K(winograd)(const fastconv_winograd_args *args) {
    const int rows = K(winograd_transforms)[args->rows].size, columns = K(winograd_transforms)[args->columns].size;
    const int inside = args->first_row == 0 && args->first_column == 0 && args->end_row == rows && args->end_column == columns;
    const int whole = args->out_columns == K(winograd_transforms)[args->columns].results;
    const int whole_rows = args->out_rows == K(winograd_transforms)[args->rows].results;
    FASTCONV_ALIGN(64) REAL frame[4 * K(winograd_frame_size)], between[4 * K(winograd_frame_size)];
    K(winograd_lines) down, across;
    VEC check = V(zero)();
    assert(args->rows >= 0 && args->rows < fastconv_winograd_transforms);
    assert(args->columns >= 0 && args->columns < fastconv_winograd_transforms);
    assert(args->end_row <= rows && args->end_column <= columns && args->out_rows >= 0 && args->out_columns >= 0);
    assert(args->out_rows <= K(winograd_transforms)[args->rows].results);
    assert(inside || !K(winograd_transforms)[args->rows].makes_results);
    assert(!args->stream || args->channels % LANES == 0);

    ptrdiff_t done = 0;
    if ((rows == 1 || columns == 1) && whole && whole_rows && args->channels >= LANES) {
        if (!K(all_zero)(K(winograd_along_one)(args))) *args->finite = 0;
        return;
    }
    if (inside && whole && whole_rows && !args->bias && args->rows == fastconv_winograd_weights_grad
        && args->rows == args->columns)
        done = K(winograd_all_grad)(args, &check);
    ptrdiff_t vectors = args->channels - done < LANES ? 1 : (args->channels - done) / LANES;
    if (vectors > 4) vectors = 4;
    K(winograd_clear)(args, columns, vectors, between);
    down.out = between + args->first_column * LANES, down.out_vector = K(winograd_frame_size);
    down.out_step = 6 * LANES, down.out_line = LANES;
    down.lines = args->end_column - args->first_column, down.last = 0, down.stream = 0;
    across.lines = args->out_rows, across.last = 1;
    for (ptrdiff_t j = 0; j < 6; j++) {
        across.in[j] = between + j * LANES;
        across.in_line[j] = 6 * LANES, across.in_vector[j] = K(winograd_frame_size);
    }
    for (ptrdiff_t n = done; n < args->channels; n += vectors * LANES) {
        /* Less than a vector: some channels before once more, if there are enough. */
        if (args->channels - n < LANES && args->channels >= LANES) n = args->channels - LANES;
        const ptrdiff_t left = args->channels - n;
        const int full = left >= LANES, lanes = full ? LANES : (int)left, direct = whole && full;
        vectors = left >= 4 * LANES ? 4 : full ? left / LANES : 1;
        if (full) {
            K(winograd_read)(args, (const REAL *)args->in + n, args->in_row, args->in_column, &down);
        } else {
            K(winograd_fill)(args, n, lanes, frame);
            K(winograd_read)(args, frame, 6 * LANES, LANES, &down);
        }
        down.vectors = across.vectors = vectors;
        for (ptrdiff_t v = 0; v < vectors; v++) {
            down.bias[v] = across.bias[v] = V(zero)();
            if (args->bias)
                across.bias[v] = K(load_up_to)((const REAL *)args->bias + n + v * LANES, lanes);
        }
        K(winograd_transforms)[args->rows].apply(&down);

        across.out = direct ? (REAL *)args->out + n : frame;
        across.out_vector = direct ? LANES : K(winograd_frame_size);
        across.out_step = direct ? args->out_column : LANES, across.out_line = direct ? args->out_row : 6 * LANES;
        across.stream = args->stream && direct;
        K(winograd_transforms)[args->columns].apply(&across);
        check = V(add)(check, across.check);
        if (!direct)
            for (ptrdiff_t v = 0; v < vectors; v++)
                K(winograd_empty)(args, n + v * LANES, lanes, frame + v * K(winograd_frame_size));
    }
    if (!K(all_zero)(check)) *args->finite = 0;
}
