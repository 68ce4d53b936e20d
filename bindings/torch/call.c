#include "call.h"

#include <stddef.h>

/* Takes x, a tensor of `least` axes or more that has elements, or returns false. */
static bool take_data(call *c, pytorch_tensor x, int64_t least) {
    memset(c, 0, sizeof *c);
    c->description.struct_size = sizeof c->description;
    c->operands.struct_size = sizeof c->operands;
    if (!see(x, &c->x) || c->x.rank < least || c->x.rank > MOST_AXES || extent(&c->x, 0, c->x.rank) == 0) return false;
    c->description.dtype = c->x.dtype;
    c->operands.x = c->x.data;
    return true;
}

bool take_rows(call *c, pytorch_tensor x, int64_t size) {
    if (!take_data(c, x, 1) || c->x.sizes[c->x.rank - 1] != size || !is_contiguous(&c->x)) return false;
    c->description.rows = extent(&c->x, 0, c->x.rank - 1);
    c->description.size = size;
    c->rank = c->x.rank - 1;
    for (int64_t k = 0; k < c->rank; k++) c->sizes[k] = c->x.sizes[k];
    return true;
}

bool take_channels(call *c, pytorch_tensor x, int64_t least) {
    if (!take_data(c, x, least) || !(c->description.layout = layout_of(&c->x))) return false;
    c->description.samples = c->sizes[0] = c->x.sizes[0];
    c->description.channels = c->sizes[1] = c->x.sizes[1];
    c->description.positions = extent(&c->x, 2, c->x.rank);
    c->rank = 2;
    return true;
}

bool take_batch(call *c, pytorch_tensor x) {
    if (!take_channels(c, x, 2)) return false;
    c->rank = 1;
    c->sizes[0] = c->sizes[1];
    return true;
}

bool take_groups(call *c, pytorch_tensor x, int64_t groups) {
    if (!take_channels(c, x, 2) || groups < 1 || c->x.sizes[1] % groups) return false;
    c->description.groups = c->sizes[1] = groups;
    return true;
}

bool take_parameters(call *c, pytorch_tensor weight, pytorch_tensor bias, int64_t count) {
    int32_t dtype = 0;
    if (weight && !(c->operands.gamma = vector(weight, count, &dtype))) return false;
    if (bias && !(c->operands.beta = vector(bias, count, &dtype))) return false;
    c->description.parameter_dtype = dtype;
    return true; /* planning refuses other dtypes */
}

void *like_x(const call *c, pytorch_tensor tensor) {
    view v;
    if (!see(tensor, &v) || v.dtype != c->x.dtype || v.rank != c->x.rank) return NULL;
    for (int64_t k = 0; k < v.rank; k++) {
        if (v.sizes[k] != c->x.sizes[k] || (v.sizes[k] != 1 && v.strides[k] != c->x.strides[k])) return NULL;
    }
    return v.data;
}

int32_t statistics_dtype(const call *c) { return c->x.dtype == NORMKIT_F64 ? NORMKIT_F64 : NORMKIT_F32; }

bool take_statistics(call *c, pytorch_tensor mean, pytorch_tensor variance) {
    int32_t dtype = statistics_dtype(c);
    c->operands.given_mean = vector(mean, c->x.sizes[1], &dtype);
    c->operands.given_variance = vector(variance, c->x.sizes[1], &dtype);
    return c->operands.given_mean && c->operands.given_variance;
}

pytorch_tensor made_of_statistics(const call *c, int64_t rank, const int64_t *sizes, void **data) {
    int64_t strides[MOST_AXES];
    dense_strides(rank, sizes, NORMKIT_CHANNELS_FIRST, strides);
    return made(rank, sizes, strides, statistics_dtype(c), data);
}

pytorch_tensor made_like_x(const call *c, void **data) {
    int64_t strides[MOST_AXES];
    dense_strides(c->x.rank, c->x.sizes, c->description.layout, strides);
    return made(c->x.rank, c->x.sizes, strides, c->x.dtype, data);
}

void leave(
    pytorch_value *stack, int tensors, normkit_status status, const pytorch_tensor *made_ones, uint64_t results) {
    for (int k = 0; k < tensors; k++) pytorch.delete_tensor_object((pytorch_tensor)stack[k]);
    const int64_t nothing = 0, step = 1;
    void *data;
    for (uint64_t k = 0; k < results; k++) {
        pytorch_tensor tensor = made_ones[k];
        if (tensor && status != NORMKIT_OK) {
            pytorch.delete_tensor_object(tensor);
            tensor = NULL;
        }
        stack[k] = (pytorch_value)(tensor ? tensor : made(1, &nothing, &step, NORMKIT_F32, &data));
    }
}
