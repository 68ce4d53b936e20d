/* What the fuzzed calls are made of: arguments from the input, and buffers that are watched. */
#ifndef FUZZ_H
#define FUZZ_H

#include <normkit.h>
#include <stddef.h>
#include <stdint.h>

/* ---- The input: arguments.c --------------------------------------------------------------------------- */

extern int refused;         /* an argument is out of range: the call must not succeed */
extern int moderate;        /* numbers are moderate, and not any bits */
extern int stays_finite;    /* the results have to be finite */
extern int in_place;        /* the output is where an input is */
extern int overlap;         /* the output overlaps an input as it may not */
extern int32_t dtype, parameter_dtype;

void start(const uint8_t *data, size_t length);
int byte(void);                                 /* after the last, pseudo-random ones */
int sometimes(void);
int32_t choice(int32_t low, int32_t high);      /* one of the values low … high, sometimes another */
int64_t size(void);
int64_t times(int64_t a, int64_t b);            /* a * b, or INT64_MAX where that is too small */
double epsilon(void);
int64_t stride(int64_t run);

/* Data with channels, as a method sees them: memory is `runs` runs of `run` elements. */
enum { CHANNELS_AT_POSITIONS, INFERENCE, TRAINING, INSTANCE, GROUP };
typedef struct {
    int32_t layout;
    int64_t n, c, l, groups, runs, run, sets;
} image;
image take_image(int method);

/* Any subset of the axes of a tensor. */
enum { NORMALIZE, LP_NORMALIZE, MOMENTS };
typedef struct {
    int32_t rank, axis_count, axes[NORMKIT_MAX_RANK];
    int64_t shape[NORMKIT_MAX_RANK], count, kept, reduced;
} tensor;
tensor take_tensor(void);

/* ---- Buffers: buffers.c ------------------------------------------------------------------------------- */

typedef struct {
    char *data, *before;    /* what it holds, and what it held */
    void *block;            /* what was allocated */
    size_t bytes, mapped;
    int32_t type;
    int64_t runs, run, stride;
    __int128 elements;
    int written;            /* an output */
} buffer;

/* Pseudo-random numbers, in buffers and behind the end of the input. */
uint64_t random_number(void);
void seed(int number);

/* `runs` runs of `run` elements, from the start of one to the start of the next `stride` elements. */
buffer *strided(int32_t type, int64_t runs, int64_t run, int64_t stride, int written);
void *given(int32_t type, int64_t count);           /* an input */
void *positive(int32_t type, int64_t count);        /* one of positive numbers, where numbers are moderate */
void *maybe(int32_t type, int64_t count);           /* an input or NULL */
void *output(int32_t type, int64_t count);
void *result(int32_t type, int64_t count);          /* an output or NULL */
void *workspace(int64_t bytes);                     /* also of more bytes than a buffer may have */

extern int64_t x_stride, y_stride, dx_stride;       /* dy has y_stride */

/* `count` of them, in this order; none with an overlap: strided runs could lie in each other's gaps. */
void choose_strides(int64_t run, int count);
void no_strides(void);
const void *take_x(int64_t runs, int64_t run);
void *take_y(int64_t runs, int64_t run, const void *x);     /* x, or a part of x, or memory of its own */
const buffer *first_buffer(void);
void *part_of(const buffer *input);     /* of an input, where the output may not be; NULL if it is too small */

/* The buffers of backward functions. */
typedef struct {
    const void *x, *dy, *gamma, *mean, *spread;
    void *dx, *dgamma, *dbeta;
    int32_t accumulate;
} gradient;
gradient take_data(int64_t runs, int64_t run);  /* dx is x or dy, a part of them, NULL, or memory of its own */

int ready(void);                        /* whether the buffers may be used as they are */
void check(normkit_status status);      /* what has to hold after a call */
void release(void);

#define CALL(...)                   \
    do {                            \
        if (ready())                \
            check(__VA_ARGS__);     \
    } while (0)

/* ---- The functions: forward.c, backward.c, merging.c, plans.c ----------------------------------------- */

void rows(int rms);
void channels(int method);
void along_an_axis(int weight);
void general_form(int method);

void rows_backward(int rms);
void channels_backward(int method);
void along_an_axis_backward(int weight);
void general_form_backward(int method);

enum { ACCUMULATE, MERGE, FINISH };
void moments_of_channels(int function);
void synchronized(int unused);
void gradient_sums(int unused);
void synchronized_backward(int unused);
void weight_penalty(int unused);
void fold_batch_norm(int unused);

void plans(int method);     /* NORMKIT_LAYER_NORM and its siblings */

#endif
