/* PyTorch's tensors, and the PyTorch that the process has loaded. */
#ifndef NORMKIT_TORCH_TENSORS_H
#define NORMKIT_TORCH_TENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "pytorch_abi.h"

/* ---- PyTorch ------------------------------------------------------------------------------------------- */

extern struct pytorch {
#define MEMBER(name, parameters) int32_t (*name) parameters;
    PYTORCH_FUNCTIONS(MEMBER)
#undef MEMBER
    pytorch_parallel_for parallel_for; /* NULL before 2.10, as the next */
    pytorch_get_num_threads get_num_threads;
} pytorch;

extern struct pytorch_numbers {
#define MEMBER(name) int32_t name;
    PYTORCH_NUMBERS(MEMBER)
#undef MEMBER
} number;

/* Looks everything up in `library`. Returns whether all is there. */
bool find_pytorch(void *library);

/* ---- Tensors ------------------------------------------------------------------------------------------- */

enum { MOST_AXES = 8 };

typedef struct {
    int64_t rank, *sizes, *strides;
    int32_t dtype; /* NormKit's; 0 for one that it lacks */
    void *data;
} view;

/* Whether `tensor` is one on the CPU of a dtype that NormKit has; what it is, then. */
bool see(pytorch_tensor tensor, view *v);

/* The product of the extents of axes `first` to `last - 1`. PyTorch has made sure that it exists. */
int64_t extent(const view *v, int64_t first, int64_t last);

bool is_contiguous(const view *v);

/* Of a tensor [samples, channels, ...]: channels first if it is contiguous, channels last if that is it; or 0. */
int32_t layout_of(const view *v);

/* The strides of a dense tensor in a layout, also of axes of one element. */
void dense_strides(int64_t rank, const int64_t *sizes, int32_t layout, int64_t *strides);

/* The memory of `tensor`, a vector of `count` elements of dtype `dtype`; NULL if it is another one. */
const void *vector(pytorch_tensor tensor, int64_t count, int32_t *dtype);

/* A tensor, whose memory goes to `*data`; or NULL. */
pytorch_tensor made(int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype, void **data);

#endif
