/* A node of a model: made when a session is made, and computed by any number of threads at a time. */
#ifndef NORMKIT_ONNXRUNTIME_KERNEL_H
#define NORMKIT_ONNXRUNTIME_KERNEL_H

#include "onnxruntime_abi.h"

OrtStatus *kernel_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
OrtStatus *kernel_compute(void *kernel, OrtKernelContext *context);
void kernel_destroy(void *kernel);

/* Tells ONNX Runtime that y is shaped as x, which it has to know before it lets y be written over x. */
OrtStatus *infer_shapes(const OrtCustomOp *op, OrtShapeInferContext *context);

#endif
