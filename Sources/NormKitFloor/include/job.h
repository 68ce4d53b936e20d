/* A job: one normalization as the kernels see it. They know views, elements and lanes, and no method by name.
 *
 * Every method is a contiguous (or evenly strided) tensor seen as four axes, kept and reduced in turn:
 *
 *     [ outer kept | outer reduced | lanes (kept) | run (reduced) ]
 *
 * Element (o, f, m, r) stands at kept(o) + reduced(f) + m * run + r. Statistic o * lanes + m is taken over its
 * set S = { all f and r }. The outer axes may themselves be lists of axes, so that any subset of the axes of a
 * tensor can be reduced. */
#ifndef NORMKIT_JOB_H
#define NORMKIT_JOB_H

#include <stdint.h>

enum { NK_MAX_AXES = 4 };

/* An axis: how many steps, and how far one step goes in x and in y, in elements. */
typedef struct {
    int64_t extent, x_stride, y_stride;
} nk_axis;

/* Nested axes, outermost first; extent is the product of all. None: extent 1. */
typedef struct {
    int32_t count;
    int64_t extent;
    nk_axis axis[NK_MAX_AXES];
} nk_axes;

/* What is taken over S. */
enum {
    NK_MOMENTS = 1,         /* mean and variance */
    NK_MEAN_SQUARE = 2,     /* mean of x * x */
    NK_SQUARE_SUM = 3,      /* sum of x * x, and its root */
    NK_ABSOLUTE_SUM = 4,    /* sum of |x| */
    NK_MAXIMUM = 5,         /* largest |x| */
    NK_GIVEN = 6            /* nothing: mean and variance are inputs (NULL: 0 and 1, without epsilon) */
};

/* How a variance, mean square or norm q becomes the factor that x is multiplied by. Where the divisor is 0, the
 * factor is 0. */
enum {
    NK_INSIDE_SQRT = 1,     /* 1 / sqrt(q + epsilon) */
    NK_ADDED = 2,           /* 1 / (q + epsilon), of a standard deviation or norm q */
    NK_FLOOR = 3            /* 1 / max(q, epsilon), of a norm q */
};

/* What goes to `spread`, the second statistics output. */
enum {
    NK_FACTOR = 1,          /* the factor, rstd */
    NK_VARIANCE = 2,        /* sum of squared deviations / (elements - correction) */
    NK_NORM = 3             /* the norm, before epsilon */
};

/* How S lies in memory, which decides the way it is walked. */
enum {
    NK_RUNS = 1,            /* runs of neighbouring elements, one after another */
    NK_COLUMNS = 2          /* rows of lanes, reduced downwards */
};

/* What standardizes one S: z = (x - mean - residue) * factor. mean is a value of the type of computation, residue
 * what is missing from it. */
typedef struct {
    double mean, residue, factor;
} nk_standard;

/* Sums over a piece of S, of shifted elements d = x - shift. */
typedef struct {
    double first, second;   /* of d and of d * d; or of |x|; or the largest |x| */
} nk_sums;

/* How elements are stored; the values of NORMKIT_F32 and its siblings. */
enum {
    NK_F32 = 1,
    NK_F64 = 2,
    NK_F16 = 3,
    NK_BF16 = 4
};

typedef struct {
    int32_t dtype, parameter_dtype;

    nk_axes kept, reduced;
    int64_t lanes, run;
    double count, inverse_count;                /* elements of one S, and 1 / count */

    int32_t statistic, rule, spread_kind, family;
    double epsilon;
    int64_t correction;

    const void *x;
    void *y;                                    /* NULL: statistics only */
    void *mean, *spread;                        /* statistics outputs, optional */

    /* gamma and beta: element i of the contiguous tensor has parameter (i / segment) % parameters. A single
     * parameter has an endless segment. */
    const void *gamma, *beta;
    int64_t segment, parameters;
    int32_t one_plus_gamma;

    const void *given_mean, *given_variance;    /* of statistic s: entry s */
    void *running_mean, *running_variance;      /* of statistic s: entry s */
    double momentum;
    int64_t running_correction;

    /* How the work is cut. The cuts depend on the shape alone, so that sums are formed the same way by any number
     * of threads. A unit is one S (runs) or the lanes of `block` neighbouring columns (columns); a piece is a part
     * of it. */
    int64_t units, pieces;
    int64_t piece_length;                       /* reduced steps, or elements of a run if run_pieces > 1 */
    int64_t run_pieces;                         /* pieces per run; 1: a piece has whole runs */
    int64_t block, blocks;                      /* columns: lanes per unit; units per outer kept step */

    /* Only where a unit is shared by several threads: [units][pieces] sums, each of them one (runs) or `block`
     * entries (columns), and [kept * lanes] results. */
    nk_sums *sums;
    nk_standard *standards;
} nk_job;

/* A job runs as a whole, unit by unit, or in three phases with a barrier between them: sums of pieces
 * (units * pieces tasks), results (units tasks), scale and shift of pieces (units * pieces tasks). */
enum {
    NK_WHOLE = 0,
    NK_SUMS = 1,
    NK_FINISH = 2,
    NK_APPLY = 3
};

/* Working memory of a kernel: an entry for each lane of a block of columns, or for a few sets of runs. */
enum {
    NK_BLOCK_LANES = 256,
    NK_SCRATCH_BYTES = NK_BLOCK_LANES * 128
};

/* Tasks begin … end - 1 of one phase, on one instruction set. scratch: NK_SCRATCH_BYTES, aligned to 64. */
typedef void (*nk_kernel)(const nk_job *job, int32_t phase, int64_t begin, int64_t end, void *scratch);

void nk_run_x86_64_v2(const nk_job *job, int32_t phase, int64_t begin, int64_t end, void *scratch);
void nk_run_x86_64_v3(const nk_job *job, int32_t phase, int64_t begin, int64_t end, void *scratch);
void nk_run_x86_64_v4(const nk_job *job, int32_t phase, int64_t begin, int64_t end, void *scratch);
void nk_run_arm64(const nk_job *job, int32_t phase, int64_t begin, int64_t end, void *scratch);

/* Calls a kernel with scratch memory on the stack of the calling thread. */
void nk_call(nk_kernel kernel, const nk_job *job, int32_t phase, int64_t begin, int64_t end);

#endif
