/* Which strides of ggml a plan can take, and what is left to a loop around it. */
#ifndef NORMKIT_GGML_LAYOUT_H
#define NORMKIT_GGML_LAYOUT_H

#include "normkit_ggml.h"

/* x and the tensors of its shape, in the order in which they are given to layout_fits; y is last. */
enum { BLOCK_X, BLOCK_RESIDUAL, BLOCK_RESIDUAL_AFTER, BLOCK_Y, BLOCK_TENSORS };

/* A grid of count[0] x count[1] blocks, and the bytes from one to the next in each tensor. */
struct blocks {
    int64_t count[2];
    size_t step[BLOCK_TENSORS][2];
};

/* Fills sizes and strides of `plan`, for one block, and the blocks. `tensors` are x, residual and residual after,
 * absent ones NULL; y is x if in place, and contiguous otherwise. False if no plan can read these strides. */
bool layout_fits(const normkit_ggml_description *description, struct ggml_tensor *const *tensors, bool in_place,
                 normkit_description *plan, struct blocks *blocks);

#endif /* NORMKIT_GGML_LAYOUT_H */
