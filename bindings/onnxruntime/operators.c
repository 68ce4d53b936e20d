#include "operators.h"

#include "kernel.h"
#include "normkit.h"

static const Operator definitions[] = {
    {"BatchNormalization", NORMKIT_BATCH_NORM_INFERENCE, false, 5, 5, 1,
     {ROLE_X, ROLE_GAMMA, ROLE_BETA, ROLE_GIVEN_MEAN, ROLE_GIVEN_VARIANCE}, {RESULT_Y}},
    {"LayerNormalization", NORMKIT_LAYER_NORM, true, 3, 1, 3,
     {ROLE_X, ROLE_GAMMA, ROLE_BETA}, {RESULT_Y, RESULT_MEAN, RESULT_RSTD}},
    {"SkipLayerNormalization", NORMKIT_LAYER_NORM, true, 5, 2, 4,
     {ROLE_X, ROLE_RESIDUAL, ROLE_GAMMA, ROLE_BETA, ROLE_BIAS}, {RESULT_Y, RESULT_MEAN, RESULT_RSTD, RESULT_SUM}},
    {"RMSNormalization", NORMKIT_RMS_NORM, true, 2, 1, 2,
     {ROLE_X, ROLE_GAMMA}, {RESULT_Y, RESULT_RSTD}},
    {"SkipRMSNormalization", NORMKIT_RMS_NORM, true, 4, 2, 3,
     {ROLE_X, ROLE_RESIDUAL, ROLE_GAMMA, ROLE_BIAS}, {RESULT_Y, RESULT_RSTD, RESULT_SUM}},
    {"ChannelLayerNormalization", NORMKIT_LAYER_NORM_CHANNELS, false, 3, 1, 1,
     {ROLE_X, ROLE_GAMMA, ROLE_BETA}, {RESULT_Y}},
    {"InstanceNormalization", NORMKIT_INSTANCE_NORM, false, 3, 1, 1,
     {ROLE_X, ROLE_GAMMA, ROLE_BETA}, {RESULT_Y}},
    {"GroupNormalization", NORMKIT_GROUP_NORM, false, 3, 1, 1,
     {ROLE_X, ROLE_GAMMA, ROLE_BETA}, {RESULT_Y}},
};

static const int32_t dtypes[] = {NORMKIT_F32, NORMKIT_F64, NORMKIT_F16, NORMKIT_BF16};

enum { DEFINITIONS = sizeof definitions / sizeof *definitions, DTYPES = sizeof dtypes / sizeof *dtypes };

static const Variant *variant_of(const OrtCustomOp *op) { return (const Variant *)op; }

static ONNXTensorElementDataType onnx_type(int32_t dtype) {
    switch (dtype) {
    case NORMKIT_F64: return ONNX_DOUBLE;
    case NORMKIT_F16: return ONNX_FLOAT16;
    case NORMKIT_BF16: return ONNX_BFLOAT16;
    default: return ONNX_FLOAT;
    }
}

static ONNXTensorElementDataType statistics_type(int32_t dtype) {
    return dtype == NORMKIT_F64 ? ONNX_DOUBLE : ONNX_FLOAT;
}

static const char *get_name(const OrtCustomOp *op) { return variant_of(op)->definition->name; }

static const char *get_provider(const OrtCustomOp *op) {
    (void)op;
    return NULL; /* the CPU */
}

static size_t get_input_count(const OrtCustomOp *op) { return variant_of(op)->definition->input_count; }

static size_t get_output_count(const OrtCustomOp *op) { return variant_of(op)->definition->output_count; }

static ONNXTensorElementDataType get_input_type(const OrtCustomOp *op, size_t index) {
    const Variant *variant = variant_of(op);
    Role role = variant->definition->inputs[index];
    return role == ROLE_GIVEN_MEAN || role == ROLE_GIVEN_VARIANCE ? statistics_type(variant->dtype)
                                                                  : onnx_type(variant->dtype);
}

static ONNXTensorElementDataType get_output_type(const OrtCustomOp *op, size_t index) {
    const Variant *variant = variant_of(op);
    Result result = variant->definition->outputs[index];
    return result == RESULT_MEAN || result == RESULT_RSTD ? statistics_type(variant->dtype)
                                                          : onnx_type(variant->dtype);
}

static OrtCustomOpInputOutputCharacteristic get_input_characteristic(const OrtCustomOp *op, size_t index) {
    return index < variant_of(op)->definition->required_inputs ? ORT_REQUIRED : ORT_OPTIONAL;
}

static OrtCustomOpInputOutputCharacteristic get_output_characteristic(const OrtCustomOp *op, size_t index) {
    (void)op;
    return index == 0 ? ORT_REQUIRED : ORT_OPTIONAL;
}

static OrtMemType get_memory_type(const OrtCustomOp *op, size_t index) {
    (void)op, (void)index;
    return ORT_MEMORY_DEFAULT;
}

static int get_arity(const OrtCustomOp *op) {
    (void)op;
    return 0;
}

static int get_start_version(const OrtCustomOp *op) {
    (void)op;
    return 1;
}

static int get_end_version(const OrtCustomOp *op) {
    (void)op;
    return INT32_MAX;
}

/* y may be written over x, and where there is a residual, y and the sum over either of the two. The pairs are those of
 * an operator without a residual, of SkipLayerNormalization and of SkipRMSNormalization. */

static size_t in_place(int **inputs, int **outputs) {
    static int from[] = {0}, to[] = {0};
    *inputs = from, *outputs = to;
    return 1;
}

static size_t in_place_skip_layer(int **inputs, int **outputs) {
    static int from[] = {0, 1, 0, 1}, to[] = {0, 0, 3, 3};
    *inputs = from, *outputs = to;
    return 4;
}

static size_t in_place_skip_rms(int **inputs, int **outputs) {
    static int from[] = {0, 1, 0, 1}, to[] = {0, 0, 2, 2};
    *inputs = from, *outputs = to;
    return 4;
}

static size_t no_aliases(int **inputs, int **outputs) {
    *inputs = *outputs = NULL;
    return 0;
}

static void release_nothing(int *inputs, int *outputs) { (void)inputs, (void)outputs; }

size_t all_variants(const OrtApi *api, Variant *variants) {
    for (size_t i = 0; variants != NULL && i < DEFINITIONS * DTYPES; i++) {
        const Operator *definition = &definitions[i / DTYPES];
        bool skip = definition->inputs[1] == ROLE_RESIDUAL;
        variants[i] = (Variant){
            .api = api,
            .definition = definition,
            .dtype = dtypes[i % DTYPES],
            .op = {
                .version = ORT_API_VERSION,
                .GetName = get_name,
                .GetExecutionProviderType = get_provider,
                .GetInputType = get_input_type,
                .GetInputTypeCount = get_input_count,
                .GetOutputType = get_output_type,
                .GetOutputTypeCount = get_output_count,
                .KernelDestroy = kernel_destroy,
                .GetInputCharacteristic = get_input_characteristic,
                .GetOutputCharacteristic = get_output_characteristic,
                .GetInputMemoryType = get_memory_type,
                .GetVariadicInputMinArity = get_arity,
                .GetVariadicInputHomogeneity = get_arity,
                .GetVariadicOutputMinArity = get_arity,
                .GetVariadicOutputHomogeneity = get_arity,
                .CreateKernelV2 = kernel_create,
                .KernelComputeV2 = kernel_compute,
                .InferOutputShapeFn = infer_shapes,
                .GetStartVersion = get_start_version,
                .GetEndVersion = get_end_version,
                .GetMayInplace = !skip ? in_place
                    : definition->method == NORMKIT_RMS_NORM ? in_place_skip_rms : in_place_skip_layer,
                .ReleaseMayInplace = release_nothing,
                .GetAliasMap = no_aliases,
                .ReleaseAliasMap = release_nothing,
            },
        };
    }
    return DEFINITIONS * DTYPES;
}
