/* The kernels, as PyTorch calls them. */
#ifndef NORMKIT_TORCH_KERNELS_H
#define NORMKIT_TORCH_KERNELS_H

#include "pytorch_abi.h"

void layer_norm(pytorch_value *stack, uint64_t arguments, uint64_t results);
void rms_norm(pytorch_value *stack, uint64_t arguments, uint64_t results);
void group_norm(pytorch_value *stack, uint64_t arguments, uint64_t results);
void instance_norm(pytorch_value *stack, uint64_t arguments, uint64_t results);
void batch_norm(pytorch_value *stack, uint64_t arguments, uint64_t results);
void fused_rows(pytorch_value *stack, uint64_t arguments, uint64_t results);
void fused_groups(pytorch_value *stack, uint64_t arguments, uint64_t results);
void backward(pytorch_value *stack, uint64_t arguments, uint64_t results);

#endif
