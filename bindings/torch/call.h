/* What an operator is called with, and how its results are left. */
#ifndef NORMKIT_TORCH_CALL_H
#define NORMKIT_TORCH_CALL_H

#include <string.h>

#include "normkit.h"
#include "tensors.h"

/* ---- The stack ----------------------------------------------------------------------------------------- */

static inline pytorch_tensor tensor_at(const pytorch_value *stack, int k) { return (pytorch_tensor)stack[k]; }

/* That at `k`, or NULL if the flag at `flag` says that another tensor stands in its place. */
static inline pytorch_tensor given_at(const pytorch_value *stack, int k, int flag) {
    return (bool)stack[flag] ? tensor_at(stack, k) : NULL;
}

static inline int64_t integer_at(const pytorch_value *stack, int k) { return (int64_t)stack[k]; }

static inline double real_at(const pytorch_value *stack, int k) {
    double value;
    memcpy(&value, stack + k, sizeof value);
    return value;
}

/* ---- Arguments -----------------------------------------------------------------------------------------
 *
 * Each function returns whether it took what it was given. Those that take x clear the call first. */

/* What an operator asks for. */
typedef struct {
    view x;
    /* Axes of the statistics. */
    int64_t rank, sizes[MOST_AXES];
    normkit_description description;
    normkit_operands operands;
} call;

/* Takes x as rows of its last axis, which has `size` elements. */
bool take_rows(call *c, pytorch_tensor x, int64_t size);

/* Takes x as a tensor [samples, channels, …] of `least` axes or more. */
bool take_channels(call *c, pytorch_tensor x, int64_t least);

/* The same with statistics over all samples. */
bool take_batch(call *c, pytorch_tensor x);

/* The same with groups of channels. */
bool take_groups(call *c, pytorch_tensor x, int64_t groups);

/* Takes weight and bias, vectors of `count` elements of one dtype, or NULL: x's dtype, or f32 beside halves. */
bool take_parameters(call *c, pytorch_tensor weight, pytorch_tensor bias, int64_t count);

bool take_statistics(call *c, pytorch_tensor mean, pytorch_tensor variance);

/* The memory of a tensor that lies as x does; NULL if it is another array. */
void *like_x(const call *c, pytorch_tensor tensor);

int32_t statistics_dtype(const call *c);

/* ---- Results ------------------------------------------------------------------------------------------- */

enum { MOST_RESULTS = 3 };

/* A contiguous tensor of the statistics type. */
pytorch_tensor made_of_statistics(const call *c, int64_t rank, const int64_t *sizes, void **data);

/* A tensor that lies in memory as x does. */
pytorch_tensor made_like_x(const call *c, void **data);

/* Leaves results on the stack, if `status` says that they are good, in place of the `tensors` that the operator was
 * given, which are deleted. For those that are NULL, and for all if they are not good, empty ones. */
void leave(
    pytorch_value *stack, int tensors, normkit_status status, const pytorch_tensor *made_ones, uint64_t results);

#endif
