/* The part of ONNX Runtime's C API that a library of operators needs, declared by hand, because none of its packages
 * carries its header. OrtApi is a table of functions to which new ones are only ever appended; the numbers are places
 * in that table. */
#ifndef NORMKIT_ONNXRUNTIME_ABI_H
#define NORMKIT_ONNXRUNTIME_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* The lowest version that has all of this: ONNX Runtime 1.18. A newer one would be refused by older releases. */
#define ORT_API_VERSION 18

typedef struct OrtStatus OrtStatus; /* NULL is success */
typedef struct OrtValue OrtValue;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtShapeInferContext OrtShapeInferContext;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtCustomOp OrtCustomOp;

enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };

typedef enum {
    ONNX_FLOAT = 1,
    ONNX_FLOAT16 = 10,
    ONNX_DOUBLE = 11,
    ONNX_BFLOAT16 = 16
} ONNXTensorElementDataType;

typedef enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1 } OrtCustomOpInputOutputCharacteristic;

typedef enum { ORT_MEMORY_DEFAULT = 0 } OrtMemType;

#define ORT_UNUSED(from, to) void (*unused_##from[(to) - (from)])(void)

typedef struct OrtApi {
    OrtStatus *(*CreateStatus)(int code, const char *message); /* 0 */
    ORT_UNUSED(1, 26);
    OrtStatus *(*CreateCustomOpDomain)(const char *domain, OrtCustomOpDomain **out); /* 26 */
    OrtStatus *(*CustomOpDomain_Add)(OrtCustomOpDomain *domain, const OrtCustomOp *op);
    OrtStatus *(*AddCustomOpDomain)(OrtSessionOptions *options, OrtCustomOpDomain *domain);
    ORT_UNUSED(29, 51);
    OrtStatus *(*GetTensorMutableData)(OrtValue *value, void **out); /* 51 */
    ORT_UNUSED(52, 61);
    OrtStatus *(*GetDimensionsCount)(const OrtTensorTypeAndShapeInfo *info, size_t *out); /* 61 */
    OrtStatus *(*GetDimensions)(const OrtTensorTypeAndShapeInfo *info, int64_t *extents, size_t count);
    OrtStatus *(*GetSymbolicDimensions)(const OrtTensorTypeAndShapeInfo *info, const char **names, size_t count);
    OrtStatus *(*GetTensorShapeElementCount)(const OrtTensorTypeAndShapeInfo *info, size_t *out);
    OrtStatus *(*GetTensorTypeAndShape)(const OrtValue *value, OrtTensorTypeAndShapeInfo **out);
    ORT_UNUSED(66, 85);
    OrtStatus *(*KernelInfoGetAttribute_float)(const OrtKernelInfo *info, const char *name, float *out); /* 85 */
    OrtStatus *(*KernelInfoGetAttribute_int64)(const OrtKernelInfo *info, const char *name, int64_t *out);
    OrtStatus *(*KernelInfoGetAttribute_string)(const OrtKernelInfo *info, const char *name, char *out, size_t *size);
    ORT_UNUSED(88, 90);
    OrtStatus *(*KernelContext_GetInput)(const OrtKernelContext *context, size_t index, const OrtValue **out); /* 90 */
    OrtStatus *(*KernelContext_GetOutput)(
        OrtKernelContext *context, size_t index, const int64_t *extents, size_t count, OrtValue **out);
    ORT_UNUSED(92, 93);
    void (*ReleaseStatus)(OrtStatus *status); /* 93 */
    ORT_UNUSED(94, 99);
    void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo *info); /* 99 */
    ORT_UNUSED(100, 101);
    void (*ReleaseCustomOpDomain)(OrtCustomOpDomain *domain); /* 101 */
    ORT_UNUSED(102, 249);
    OrtStatus *(*KernelInfoGetConstantInput_tensor)(
        const OrtKernelInfo *info, size_t index, int *is_constant, const OrtValue **out); /* 249 */
    ORT_UNUSED(250, 267);
    OrtStatus *(*ShapeInferContext_GetInputCount)(const OrtShapeInferContext *context, size_t *out); /* 267 */
    OrtStatus *(*ShapeInferContext_GetInputTypeShape)(
        const OrtShapeInferContext *context, size_t index, OrtTensorTypeAndShapeInfo **out);
    ORT_UNUSED(269, 270);
    OrtStatus *(*ShapeInferContext_SetOutputTypeShape)(
        const OrtShapeInferContext *context, size_t index, const OrtTensorTypeAndShapeInfo *info); /* 270 */
    ORT_UNUSED(271, 274);
    OrtStatus *(*KernelContext_ParallelFor)(
        const OrtKernelContext *context, void (*task)(void *, size_t), size_t total, size_t batches,
        void *argument); /* 274 */
} OrtApi;

#define ORT_PLACE(function, place) \
    static_assert(offsetof(OrtApi, function) == (place) * sizeof(void *), "place of " #function)
ORT_PLACE(AddCustomOpDomain, 28);
ORT_PLACE(GetTensorTypeAndShape, 65);
ORT_PLACE(KernelInfoGetAttribute_string, 87);
ORT_PLACE(KernelContext_GetOutput, 91);
ORT_PLACE(ReleaseCustomOpDomain, 101);
ORT_PLACE(KernelInfoGetConstantInput_tensor, 249);
ORT_PLACE(ShapeInferContext_SetOutputTypeShape, 270);
ORT_PLACE(KernelContext_ParallelFor, 274);

typedef struct OrtApiBase {
    const OrtApi *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} OrtApiBase;

struct OrtCustomOp {
    uint32_t version;
    void *(*CreateKernel)(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info);
    const char *(*GetName)(const OrtCustomOp *op);
    const char *(*GetExecutionProviderType)(const OrtCustomOp *op);
    ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp *op, size_t index);
    size_t (*GetInputTypeCount)(const OrtCustomOp *op);
    ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp *op, size_t index);
    size_t (*GetOutputTypeCount)(const OrtCustomOp *op);
    void (*KernelCompute)(void *kernel, OrtKernelContext *context);
    void (*KernelDestroy)(void *kernel);
    OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp *op, size_t index);
    OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp *op, size_t index);
    OrtMemType (*GetInputMemoryType)(const OrtCustomOp *op, size_t index);
    int (*GetVariadicInputMinArity)(const OrtCustomOp *op);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp *op);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp *op);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp *op);
    OrtStatus *(*CreateKernelV2)(
        const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
    OrtStatus *(*KernelComputeV2)(void *kernel, OrtKernelContext *context);
    OrtStatus *(*InferOutputShapeFn)(const OrtCustomOp *op, OrtShapeInferContext *context);
    int (*GetStartVersion)(const OrtCustomOp *op);
    int (*GetEndVersion)(const OrtCustomOp *op);
    size_t (*GetMayInplace)(int **inputs, int **outputs);
    void (*ReleaseMayInplace)(int *inputs, int *outputs);
    size_t (*GetAliasMap)(int **inputs, int **outputs);
    void (*ReleaseAliasMap)(int *inputs, int *outputs);
};

#endif
