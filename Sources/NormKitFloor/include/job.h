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

#include "stage.h"
#include <stdint.h>

enum { NK_MAX_AXES = 4 };

/* An axis: how many steps, and how far one step goes in x, in y (backward: dy) and in dx, in elements. */
typedef struct {
    int64_t extent, x_stride, y_stride, dx_stride;
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
    NK_GIVEN = 6            /* nothing: mean and factor are constants, which come from elsewhere */
};

/* Where what standardizes S comes from. */
enum {
    NK_FORMED = 0,          /* x */
    NK_FROM_VARIANCE = 1,   /* given_mean (NULL: 0) and given_spread, a variance (NULL: the factor is 1) */
    NK_FROM_FACTOR = 2,     /* given_mean (NULL: 0) and given_spread, a factor */
    NK_FROM_NORM = 3,       /* given_spread, a norm */
    NK_FROM_MOMENTS = 4     /* given_moments */
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
 * what is missing from it; quantity is the norm or deviation that the factor was made of. */
typedef struct {
    double mean, residue, factor, quantity;
} nk_standard;

/* Sums over a piece of S, of shifted elements d = x - shift. */
typedef struct {
    double first, second;   /* of d and of d * d; or of |x|; or the largest |x| */
} nk_sums;

/* Count, mean and sum of squared deviations: normkit_channel_moments. */
typedef struct {
    double count, mean, m2;
} nk_moments;

/* Merges `other` into `moments`, by Chan's formula. */
static inline void nk_merge(nk_moments *moments, nk_moments other) {
#pragma clang fp contract(off)
    if (other.count == 0) return;
    if (moments->count == 0) {
        *moments = other;
        return;
    }
    const double total = moments->count + other.count, delta = other.mean - moments->mean;
    moments->mean += delta * (other.count / total);
    moments->m2 += other.m2 + delta * delta * (moments->count * (other.count / total));
    moments->count = total;
}

/* Backward, sums over a piece of S: of h = dy * gamma, of h * z, and of what the statistic needs beside them (z where
 * a mean is subtracted, the number of largest elements for the norm MAX). Where all of S has one gamma, h is dy. */
typedef struct {
    double h, hz, beside;
} nk_gradient_sums;

/* The gradient of one S: dx = factor * (h - mean of h - share * direction), where the direction is z, or, for the norms
 * L1 and MAX, the sign of x. What is the same for all elements is multiplied out:
 * dx = factor * h + slope * direction + shift. */
typedef struct {
    double slope, shift;
} nk_gradient;

/* Where the gradient of S comes from. */
enum {
    NK_FORWARD = 0,             /* there is none */
    NK_GRADIENT_FORMED = 1,     /* sums over S */
    NK_GRADIENT_OF_SUMS = 2,    /* given_sums, of dy and of dy * z, and the counts of given_moments */
    NK_GRADIENT_GIVEN = 3       /* given_offset and given_slope, times offset_scale and slope_scale (NULL: 1) */
};

/* How parameters lie over S, which decides where their gradients are formed. */
enum {
    NK_ONE_PER_SET = 1,         /* runs: all of S has one */
    NK_SEGMENTS = 2,            /* runs: a stretch of neighbouring elements has one */
    NK_ELEMENTS = 3,            /* runs: neighbours have different ones */
    NK_LANES = 4,               /* columns: one per lane */
    NK_ROWS = 5                 /* columns: one per row of lanes */
};

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

    int32_t statistic, source, rule, spread_kind, family;
    double epsilon;
    int64_t correction;

    const void *x;
    void *y;                                    /* NULL: statistics only */
    int32_t streams;                            /* whether y (backward: dx) is written past the caches, and how: see
                                                   below */
    int32_t is_large;                           /* whether x and dy come from memory, and are brought
                                                   near by rows and runs */
    int64_t ahead;                              /* rows with a parameter for each element: bytes from x to what is
                                                   read next, which is brought near; 0: the rows behind these, if they
                                                   come from memory */
    void *mean, *spread;                        /* statistics outputs, optional */
    nk_moments *moments;                        /* output: merged with those of statistic s, optional */
    nk_sums *set_sums;                          /* output: the sums of statistic s themselves, optional */

    /* gamma and beta: element i of the contiguous tensor has parameter (i / segment) % parameters. A single
     * parameter has an endless segment. */
    const void *gamma, *beta;
    int64_t segment, parameters;
    int32_t one_plus_gamma;
    int32_t rectifies;                          /* whether 0 takes the place of what is negative in y, which is not of
                                                   halves: their kernels wait for arithmetic, others for memory */

    const void *given_mean, *given_spread;      /* of statistic s: entry s */
    const nk_moments *given_moments;
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

    /* Only where a unit is shared by several threads, in more than one phase: [units][pieces] sums, each of them one
     * (runs) or `block` entries (columns), and [kept * lanes] results. */
    nk_sums *sums;
    nk_standard *standards;

    /* Backward. */
    int32_t gradient, parameter_form;
    int32_t needs_gradient_sums;                /* whether sums over sets are needed for what was asked for */
    const void *dy;
    void *dx;                                   /* NULL: not wanted */
    const nk_sums *given_sums;
    const void *given_offset, *given_slope;     /* of statistic s: entry s */
    double offset_scale, slope_scale;
    double dy_scale;                            /* dy is multiplied by it: 1, or 0 where there is no dy */
    void *gammas;                               /* gamma in the type of computation, ones if it is NULL; see below */

    /* Sums for the gradients of gamma and beta. Units are cut into strips that each have their own sums, `room` Doubles
     * for each of NK_PARAMETER_SUMS arrays, so that what is added to what does not depend on threads. NULL: not
     * wanted. sums_stride: Doubles from those of one strip to those of the next; 0 where strips take turns. */
    double *parameter_sums;
    int64_t strips, strip_units, room, sums_stride;

    /* Only where a unit is shared by several threads, as above. */
    nk_gradient_sums *gradient_sums;
    nk_gradient *gradients;

    const nk_stage *stage;                      /* for NK_STAGE */
} nk_job;

/* The arrays of parameter_sums. */
enum {
    NK_DGAMMA = 0,      /* these two are neighbours, and stand first */
    NK_DBETA = 1,
    NK_CURRENT = 2,     /* segments: sums of dy over the set at hand */
    NK_RECENT = 2,      /* elements: sums of dy * z and of dy over the last rows, in the type of computation */
    NK_PARAMETER_SUMS = 4
};

/* Parameters that a vector may reach over the end of `gammas` and of the arrays above. */
enum { NK_MARGIN = 16 };

/* A job runs as a whole, unit by unit, or in three phases with a barrier between them: sums of pieces
 * (units * pieces tasks), results (units tasks), scale and shift of pieces (units * pieces tasks). Backward does too:
 * as a whole, strip by strip, or in phases, of which the first two give what standardizes S, as in the forward
 * direction. Where that is not formed from x, the forward direction has only the last phase, of which each task finds
 * it by itself. NK_PREPARE, one task, fills `gammas`. NK_STAGE, one task, runs `stage` and looks at nothing else. */
enum {
    NK_WHOLE = 0,
    NK_SUMS = 1,
    NK_FINISH = 2,
    NK_APPLY = 3,
    NK_PREPARE = 4,
    NK_GRADIENT_WHOLE = 5,
    NK_GRADIENT_SUMS = 6,
    NK_GRADIENT_FINISH = 7,
    NK_GRADIENT_APPLY = 8,
    NK_STAGE = 9
};

/* How a job writes past the caches. */
enum {
    NK_STREAMS_NOT = 0,
    NK_STREAMS = 1,         /* the address of what is written is a multiple of an element, and, in bf16 channels last
                               and backward passes of rows of halves and over channels, that of every run and row of
                               lanes, or of as many rows as are passed as one, of 64 bytes */
    NK_STREAMS_JOINED = 2   /* the same for runs that are sets, of 2048 bytes at most, and lie in what is written
                               without gaps: they are joined to whole cache lines first. Not for the norms L1 and MAX;
                               backward those of f32 and f64 alone that have one parameter each */
};

/* Working memory of a kernel: an entry for each lane of a block of columns, or for a few sets of runs. Arrays of lanes
 * lie three cache lines further apart than they have to, so that a lane of them all does not fill one set of a cache;
 * up to fifteen entries behind an array may be read. */
enum {
    NK_BLOCK_LANES = 512,
    NK_ARRAY_BYTES = NK_BLOCK_LANES * 8 + 192,
    NK_SCRATCH_BYTES = 18 * NK_ARRAY_BYTES
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
