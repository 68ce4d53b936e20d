/* What is used of PyTorch's stable C interface (torch/csrc/stable/c/shim.h and the AOTInductor shim that it includes,
 * PyTorch 2.7 and later). Declared here, because these functions are looked up in the PyTorch that the process has
 * loaded: nothing of PyTorch is needed to build, and one build serves every version. */
#ifndef NORMKIT_PYTORCH_ABI_H
#define NORMKIT_PYTORCH_ABI_H

#include <stdint.h>

/* A tensor; who gets one from PyTorch deletes it. */
typedef struct pytorch_tensor_opaque *pytorch_tensor;
/* An argument or a result of an operator: a tensor, or the bytes of an int64_t or a double. */
typedef uint64_t pytorch_value;
/* An operator: takes its arguments from the stack and leaves its results there, from the first place on. */
typedef void (*pytorch_kernel)(pytorch_value *stack, uint64_t arguments, uint64_t results);

/* Each returns 0, or that it failed and has said why on stderr. */
#define PYTORCH_FUNCTIONS(F)                                                                                   \
    F(library_init_impl, (const char *space, const char *key, const char *file, uint32_t line, void **made))   \
    F(library_impl, (void *library, const char *name, pytorch_kernel kernel))                                  \
    F(get_dim, (pytorch_tensor tensor, int64_t *rank))                                                         \
    F(get_sizes, (pytorch_tensor tensor, int64_t **sizes))                                                     \
    F(get_strides, (pytorch_tensor tensor, int64_t **strides))                                                 \
    F(get_dtype, (pytorch_tensor tensor, int32_t *dtype))                                                      \
    F(get_device_type, (pytorch_tensor tensor, int32_t *device))                                               \
    F(get_data_ptr, (pytorch_tensor tensor, void **data))                                                      \
    F(empty_strided, (int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype,               \
                      int32_t device, int32_t index, pytorch_tensor *tensor))                                  \
    F(delete_tensor_object, (pytorch_tensor tensor))

/* Since 2.10. A loop on PyTorch's threads: `body` gets ranges of at least `grain` numbers of those from begin to end - 1,
 * and all have been dealt with on return. */
typedef void (*pytorch_body)(int64_t begin, int64_t end, void *context);
typedef int32_t (*pytorch_parallel_for)(int64_t begin, int64_t end, int64_t grain, pytorch_body body, void *context);
typedef int32_t (*pytorch_get_num_threads)(uint32_t *threads);

/* The numbers of dtypes and devices. */
#define PYTORCH_NUMBERS(F) F(dtype_float32) F(dtype_float64) F(dtype_float16) F(dtype_bfloat16) F(device_type_cpu)

#endif
