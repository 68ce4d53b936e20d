#define _GNU_SOURCE
#include "tensors.h"

#include <dlfcn.h>
#include <stddef.h>

#include "normkit.h"

struct pytorch pytorch;
struct pytorch_numbers number;

bool find_pytorch(void *library) {
#define FIND(name, parameters)                                                                                 \
    if (!(*(void **)&pytorch.name = dlsym(library, "aoti_torch_" #name))) return false;
    PYTORCH_FUNCTIONS(FIND)
#undef FIND
    int32_t (*function)(void);
#define FIND(name)                                                                                             \
    if (!(*(void **)&function = dlsym(library, "aoti_torch_" #name))) return false;                            \
    number.name = function();
    PYTORCH_NUMBERS(FIND)
#undef FIND
    pytorch.parallel_for = (pytorch_parallel_for)dlsym(library, "torch_parallel_for");
    pytorch.get_num_threads = (pytorch_get_num_threads)dlsym(library, "torch_get_num_threads");
    return true;
}

static int32_t dtype_of(int32_t dtype) {
    return dtype == number.dtype_float32    ? NORMKIT_F32
           : dtype == number.dtype_float64  ? NORMKIT_F64
           : dtype == number.dtype_float16  ? NORMKIT_F16
           : dtype == number.dtype_bfloat16 ? NORMKIT_BF16
                                            : 0;
}

bool see(pytorch_tensor tensor, view *v) {
    int32_t dtype, device;
    if (pytorch.get_dim(tensor, &v->rank) || pytorch.get_sizes(tensor, &v->sizes) ||
        pytorch.get_strides(tensor, &v->strides) || pytorch.get_dtype(tensor, &dtype) ||
        pytorch.get_device_type(tensor, &device) || pytorch.get_data_ptr(tensor, &v->data))
        return false;
    v->dtype = dtype_of(dtype);
    return v->dtype && device == number.device_type_cpu;
}

/* Whether `count` axes of `v`, the innermost first, lie behind each other without gaps; `*step` is the distance from
 * one of the innermost to the next, and afterwards what all take together. Axes of one element lie anywhere. */
static bool are_dense(const view *v, const int64_t *axes, int64_t count, int64_t *step) {
    for (int64_t k = 0; k < count; k++) {
        int64_t axis = axes[k];
        if (v->sizes[axis] != 1 && v->strides[axis] != *step) return false;
        *step *= v->sizes[axis];
    }
    return true;
}

int64_t extent(const view *v, int64_t first, int64_t last) {
    int64_t product = 1;
    for (int64_t axis = first; axis < last; axis++) product *= v->sizes[axis];
    return product;
}

/* The axes of a tensor from the innermost on. */
static void order_axes(int64_t rank, int32_t layout, int64_t *axes) {
    for (int64_t k = 0; k < rank; k++) axes[k] = rank - 1 - k;
    if (layout != NORMKIT_CHANNELS_LAST) return;
    for (int64_t k = rank - 2; k > 0; k--) axes[k] = axes[k - 1];
    axes[0] = 1;
}

static bool is_dense(const view *v, int32_t layout) {
    int64_t axes[MOST_AXES], step = 1;
    order_axes(v->rank, layout, axes);
    return are_dense(v, axes, v->rank, &step);
}

void dense_strides(int64_t rank, const int64_t *sizes, int32_t layout, int64_t *strides) {
    int64_t axes[MOST_AXES], step = 1;
    order_axes(rank, layout, axes);
    for (int64_t k = 0; k < rank; step *= sizes[axes[k++]]) strides[axes[k]] = step;
}

bool is_contiguous(const view *v) { return is_dense(v, NORMKIT_CHANNELS_FIRST); }

int32_t layout_of(const view *v) {
    if (is_contiguous(v)) return NORMKIT_CHANNELS_FIRST;
    return is_dense(v, NORMKIT_CHANNELS_LAST) ? NORMKIT_CHANNELS_LAST : 0;
}

const void *vector(pytorch_tensor tensor, int64_t count, int32_t *dtype) {
    view v;
    if (!see(tensor, &v) || v.rank != 1 || v.sizes[0] != count || (count > 1 && v.strides[0] != 1)) return NULL;
    if (*dtype == 0) *dtype = v.dtype;
    return v.dtype == *dtype ? v.data : NULL;
}

pytorch_tensor made(int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype, void **data) {
    int32_t theirs = dtype == NORMKIT_F64    ? number.dtype_float64
                     : dtype == NORMKIT_F16  ? number.dtype_float16
                     : dtype == NORMKIT_BF16 ? number.dtype_bfloat16
                                             : number.dtype_float32;
    pytorch_tensor tensor = NULL;
    if (pytorch.empty_strided(rank, sizes, strides, theirs, number.device_type_cpu, 0, &tensor)) return NULL;
    if (pytorch.get_data_ptr(tensor, data)) {
        pytorch.delete_tensor_object(tensor);
        tensor = NULL;
    }
    return tensor;
}
