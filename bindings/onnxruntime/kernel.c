#include "kernel.h"

#include "broadcast.h"
#include "normkit.h"
#include "operators.h"
#include "plans.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Workspace up to this size is on the stack. */
enum { FEW_BYTES = 4096 };

typedef struct {
    const OrtApi *api;
    const Operator *definition;
    normkit_description description; /* what does not depend on the shape */
    int64_t axis;
    int64_t constants[ROLE_COUNT];   /* elements of an input that is a constant of the model; -1: not known yet */
    int threads;
    Plans plans;
} Kernel;

/* One computation of a node. */
typedef struct {
    const Kernel *kernel;
    OrtKernelContext *context;
    const void *inputs[ROLE_COUNT];
    const OrtValue *values[ROLE_COUNT];
    void *outputs[RESULT_COUNT];
    Shape x, residual, y, statistics; /* shapes */
    size_t axis;
    void *stretched[2];               /* copies of x and residual where they are broadcast; to be freed */
} Run;

static OrtStatus *refuse(const OrtApi *api, const char *message) {
    return api->CreateStatus(ORT_INVALID_ARGUMENT, message);
}

static size_t element_bytes(int32_t dtype) {
    return dtype == NORMKIT_F64 ? 8 : dtype == NORMKIT_F32 ? 4 : 2;
}

/* ---- Attributes --------------------------------------------------------------------------------------- */

static const struct { const char *name; int32_t activation; } activations[] = {
    {"", NORMKIT_IDENTITY}, {"Relu", NORMKIT_RELU}, {"LeakyRelu", NORMKIT_LEAKY_RELU}, {"Gelu", NORMKIT_GELU},
    {"GeluTanh", NORMKIT_GELU_TANH}, {"Silu", NORMKIT_SILU}, {"Sigmoid", NORMKIT_SIGMOID}, {"Tanh", NORMKIT_TANH},
    {"HardSwish", NORMKIT_HARD_SWISH},
};

/* These leave `value` as it is if the node has no such attribute. */

static void read_float(const OrtApi *api, const OrtKernelInfo *info, const char *name, double *value) {
    float found;
    OrtStatus *status = api->KernelInfoGetAttribute_float(info, name, &found);
    if (status == NULL) *value = found;
    else api->ReleaseStatus(status);
}

static void read_int(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t *value) {
    OrtStatus *status = api->KernelInfoGetAttribute_int64(info, name, value);
    if (status != NULL) api->ReleaseStatus(status);
}

/* False if the node names an activation that there is none of. */
static bool read_activation(const OrtApi *api, const OrtKernelInfo *info, int32_t *activation) {
    char name[16] = "";
    size_t size = 0;
    OrtStatus *status = api->KernelInfoGetAttribute_string(info, "activation", NULL, &size);
    if (status != NULL) { /* there is none */
        api->ReleaseStatus(status);
        return true;
    }
    if (size > sizeof name) return false;
    status = api->KernelInfoGetAttribute_string(info, "activation", name, &size);
    if (status != NULL) {
        api->ReleaseStatus(status);
        return false;
    }
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(name, activations[i].name) == 0) {
            *activation = activations[i].activation;
            return true;
        }
    }
    return false;
}

/* ---- Shapes ------------------------------------------------------------------------------------------- */

static OrtStatus *read_shape(const OrtApi *api, const OrtValue *value, Shape *shape) {
    OrtTensorTypeAndShapeInfo *info;
    OrtStatus *status = api->GetTensorTypeAndShape(value, &info);
    if (status != NULL) return status;
    status = api->GetDimensionsCount(info, &shape->rank);
    if (status == NULL && shape->rank > MAX_RANK) status = refuse(api, "normkit: a tensor has too many axes");
    if (status == NULL) status = api->GetDimensions(info, shape->extents, shape->rank);
    api->ReleaseTensorTypeAndShapeInfo(info);
    return status;
}

static int64_t product(const int64_t *extents, size_t from, size_t to) {
    int64_t result = 1;
    for (size_t i = from; i < to; i++) result *= extents[i];
    return result;
}

/* Fills in the sizes for data of shape run->y, and the shape of the statistics. */
static OrtStatus *set_sizes(Run *run, normkit_description *description) {
    const Kernel *kernel = run->kernel;
    const Shape *shape = &run->y;
    if (!kernel->definition->rows) {
        if (shape->rank < 2) return refuse(kernel->api, "normkit: x has no axis of channels");
        description->samples = shape->extents[0];
        description->channels = shape->extents[1];
        description->positions = product(shape->extents, 2, shape->rank);
        return NULL;
    }
    int64_t rank = (int64_t)shape->rank, axis = kernel->axis < 0 ? kernel->axis + rank : kernel->axis;
    if (axis < 0 || axis >= rank) return refuse(kernel->api, "normkit: axis is outside of the rank of x");
    run->axis = (size_t)axis;
    description->rows = product(shape->extents, 0, run->axis);
    description->size = product(shape->extents, run->axis, shape->rank);
    run->statistics = *shape;
    for (size_t i = run->axis; i < shape->rank; i++) run->statistics.extents[i] = 1;
    return NULL;
}

OrtStatus *infer_shapes(const OrtCustomOp *op, OrtShapeInferContext *context) {
    const Variant *variant = (const Variant *)op;
    const OrtApi *api = variant->api;
    OrtTensorTypeAndShapeInfo *shapes[2] = {NULL, NULL};
    int compared = variant->definition->inputs[1] == ROLE_RESIDUAL ? 2 : 1;
    int64_t extents[2][MAX_RANK];
    const char *names[2][MAX_RANK] = {{NULL}};
    size_t ranks[2] = {0, 0};
    for (int i = 0; i < compared; i++) {
        OrtStatus *status = api->ShapeInferContext_GetInputTypeShape(context, (size_t)i, &shapes[i]);
        if (status == NULL) status = api->GetDimensionsCount(shapes[i], &ranks[i]);
        if (status != NULL) return status;
        if (ranks[i] == 0 || ranks[i] > MAX_RANK) return NULL; /* 0: the shape is not known */
        status = api->GetDimensions(shapes[i], extents[i], ranks[i]);
        if (status == NULL) status = api->GetSymbolicDimensions(shapes[i], names[i], ranks[i]);
        if (status != NULL) return status;
    }
    if (compared == 2) { /* a residual of another shape may be the larger one */
        if (ranks[0] != ranks[1]) return NULL;
        for (size_t i = 0; i < ranks[0]; i++) {
            if (extents[0][i] != extents[1][i]) return NULL;
            if (extents[0][i] < 0 && (names[0][i][0] == '\0' || strcmp(names[0][i], names[1][i]) != 0)) return NULL;
        }
    }
    /* An extent that is neither known nor named cannot be told to ONNX Runtime. */
    for (size_t i = 0; i < ranks[0]; i++) {
        if (extents[0][i] < 0 && names[0][i][0] == '\0') return NULL;
    }
    /* Only of y: older releases abort if a shape is told of an output that the node does not have. */
    return api->ShapeInferContext_SetOutputTypeShape(context, 0, shapes[0]);
}

/* ---- Inputs and outputs ------------------------------------------------------------------------------- */

static OrtStatus *read_inputs(Run *run) {
    const Kernel *kernel = run->kernel;
    const OrtApi *api = kernel->api;
    for (size_t i = 0; i < kernel->definition->input_count; i++) {
        Role role = kernel->definition->inputs[i];
        const OrtValue *value = NULL;
        OrtStatus *status = api->KernelContext_GetInput(run->context, i, &value);
        void *data = NULL;
        /* No function gives the data for reading only; nothing is written to it. */
        if (status == NULL && value != NULL) status = api->GetTensorMutableData((OrtValue *)value, &data);
        if (status != NULL) return status;
        run->values[role] = value;
        run->inputs[role] = data;
    }
    OrtStatus *status = read_shape(api, run->values[ROLE_X], &run->x);
    if (status != NULL) return status;
    run->y = run->x;
    if (run->values[ROLE_RESIDUAL] == NULL) return NULL;
    status = read_shape(api, run->values[ROLE_RESIDUAL], &run->residual);
    if (status != NULL) return status;
    if (!common_shape(&run->x, &run->residual, &run->y)) {
        return refuse(api, "normkit: the residual cannot be broadcast to the shape of x");
    }
    return NULL;
}

/* Whether each parameter has as many elements as are read of it. */
static OrtStatus *check_parameters(const Run *run, int64_t wanted) {
    const Kernel *kernel = run->kernel;
    const OrtApi *api = kernel->api;
    for (int role = ROLE_GAMMA; role < ROLE_COUNT; role++) {
        if (run->values[role] == NULL) continue;
        int64_t count = kernel->constants[role];
        if (count < 0) {
            Shape shape;
            OrtStatus *status = read_shape(api, run->values[role], &shape);
            if (status != NULL) return status;
            count = element_count(&shape);
        }
        if (count != wanted) return refuse(api, "normkit: a parameter has another size than what is normalized");
    }
    return NULL;
}

/* Makes x or the residual as large as y, where it is broadcast. */
static OrtStatus *broadcast(Run *run, Role role, const Shape *shape) {
    if (run->inputs[role] == NULL || same_shape(shape, &run->y)) return NULL;
    size_t bytes = element_bytes(run->kernel->description.dtype);
    void **copy = &run->stretched[role == ROLE_RESIDUAL];
    *copy = malloc((size_t)element_count(&run->y) * bytes + 1);
    if (*copy == NULL) return run->kernel->api->CreateStatus(ORT_FAIL, "normkit: there is no memory");
    stretch(run->inputs[role], shape, *copy, &run->y, bytes);
    run->inputs[role] = *copy;
    return NULL;
}

static OrtStatus *make_outputs(Run *run) {
    const Kernel *kernel = run->kernel;
    const OrtApi *api = kernel->api;
    for (size_t i = 0; i < kernel->definition->output_count; i++) {
        Result result = kernel->definition->outputs[i];
        const Shape *shape = result == RESULT_MEAN || result == RESULT_RSTD ? &run->statistics : &run->y;
        OrtValue *value = NULL;
        OrtStatus *status = api->KernelContext_GetOutput(run->context, i, shape->extents, shape->rank, &value);
        if (status == NULL && value != NULL) status = api->GetTensorMutableData(value, &run->outputs[result]);
        if (status != NULL) return status;
    }
    return NULL;
}

/* ---- Computing ---------------------------------------------------------------------------------------- */

/* ONNX Runtime's threads as NormKit calls them. */
static void parallel_for(void *argument, size_t count, normkit_task task, void *task_argument) {
    const Run *run = argument;
    const OrtApi *api = run->kernel->api;
    OrtStatus *status = api->KernelContext_ParallelFor(run->context, task, count, 0, task_argument);
    if (status == NULL) return;
    api->ReleaseStatus(status); /* it has refused, and called nothing */
    for (size_t i = 0; i < count; i++) task(task_argument, i);
}

static normkit_status run_plan(Run *run, const normkit_plan *plan) {
    int32_t parts = normkit_plan_useful_parts(plan, run->kernel->threads);
    char few[FEW_BYTES];
    int64_t bytes = normkit_plan_workspace(plan, parts);
    void *workspace = bytes <= FEW_BYTES ? few : malloc((size_t)bytes);
    if (workspace == NULL) return NORMKIT_ERROR_MEMORY;
    normkit_operands operands = {
        .struct_size = sizeof operands,
        .x = run->inputs[ROLE_X],
        .residual = run->inputs[ROLE_RESIDUAL],
        .bias = run->inputs[ROLE_BIAS],
        .gamma = run->inputs[ROLE_GAMMA],
        .beta = run->inputs[ROLE_BETA],
        .given_mean = run->inputs[ROLE_GIVEN_MEAN],
        .given_variance = run->inputs[ROLE_GIVEN_VARIANCE],
        .sum = run->outputs[RESULT_SUM],
        .y = run->outputs[RESULT_Y],
        .mean = run->outputs[RESULT_MEAN],
        .rstd = run->outputs[RESULT_RSTD],
        .workspace = bytes > 0 ? workspace : NULL,
        .workspace_bytes = bytes,
    };
    normkit_status status = parts == 1 ? normkit_plan_run(plan, &operands)
                                       : normkit_plan_run_parallel(plan, &operands, parts, parallel_for, run);
    if (workspace != few) free(workspace);
    return status;
}

static OrtStatus *run_node(Run *run) {
    Kernel *kernel = (Kernel *)run->kernel;
    OrtStatus *status = read_inputs(run);
    if (status != NULL) return status;
    /* Copied, with what is between its fields: descriptions are compared byte by byte. */
    normkit_description description;
    memcpy(&description, &kernel->description, sizeof description);
    status = set_sizes(run, &description);
    if (status == NULL) {
        status = check_parameters(run, kernel->definition->rows ? description.size : description.channels);
    }
    if (status == NULL) status = broadcast(run, ROLE_X, &run->x);
    if (status == NULL) status = broadcast(run, ROLE_RESIDUAL, &run->residual);
    if (status == NULL) status = make_outputs(run);
    if (status != NULL) return status;

    if (run->inputs[ROLE_RESIDUAL] != NULL) description.fusions |= NORMKIT_ADD_RESIDUAL;
    if (run->inputs[ROLE_BIAS] != NULL) description.fusions |= NORMKIT_ADD_BIAS;
    if (run->outputs[RESULT_SUM] != NULL) description.fusions |= NORMKIT_STORE_SUM;
    Plan *plan;
    bool kept;
    normkit_status result = plans_find(&kernel->plans, &description, &plan, &kept);
    if (result == NORMKIT_OK) {
        result = run_plan(run, plan->plan);
        if (!kept) plan_free(plan);
    }
    return result == NORMKIT_OK ? NULL : refuse(kernel->api, normkit_status_string(result));
}

OrtStatus *kernel_compute(void *kernel, OrtKernelContext *context) {
    Run run = {.kernel = kernel, .context = context};
    OrtStatus *status = run_node(&run);
    free(run.stretched[0]);
    free(run.stretched[1]);
    return status;
}

/* ---- Making a kernel ---------------------------------------------------------------------------------- */

/* Counts the elements of the inputs that are constants of the model. */
static OrtStatus *count_constants(Kernel *kernel, const OrtKernelInfo *info) {
    const OrtApi *api = kernel->api;
    for (size_t i = 0; i < ROLE_COUNT; i++) kernel->constants[i] = -1;
    for (size_t i = 0; i < kernel->definition->input_count; i++) {
        int constant = 0;
        const OrtValue *value = NULL;
        Shape shape;
        OrtStatus *status = api->KernelInfoGetConstantInput_tensor(info, i, &constant, &value);
        if (status == NULL && constant && value != NULL) {
            status = read_shape(api, value, &shape);
            if (status == NULL) kernel->constants[kernel->definition->inputs[i]] = element_count(&shape);
        }
        if (status != NULL) return status;
    }
    return NULL;
}

OrtStatus *kernel_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **made) {
    const Variant *variant = (const Variant *)op;
    Kernel *kernel = calloc(1, sizeof *kernel);
    *made = kernel;
    if (kernel == NULL) return api->CreateStatus(ORT_FAIL, "normkit: there is no memory");
    kernel->api = api;
    kernel->definition = variant->definition;
    kernel->axis = -1;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    kernel->threads = processors < 1 ? 1 : (int)processors;

    normkit_description *description = &kernel->description;
    description->struct_size = sizeof *description;
    description->method = variant->definition->method;
    description->dtype = variant->dtype;
    description->layout = NORMKIT_CHANNELS_FIRST;
    description->epsilon = 1e-5;
    description->slope = 0.01;
    read_float(api, info, "epsilon", &description->epsilon);
    read_float(api, info, "slope", &description->slope);
    read_int(api, info, "num_groups", &description->groups);
    read_int(api, info, "axis", &kernel->axis);
    OrtStatus *status = read_activation(api, info, &description->activation_after)
        ? count_constants(kernel, info) : refuse(api, "normkit: there is no such activation");
    if (status != NULL) {
        kernel_destroy(kernel);
        *made = NULL;
    }
    return status;
}

void kernel_destroy(void *kernel) {
    if (kernel == NULL) return;
    plans_free(&((Kernel *)kernel)->plans);
    free(kernel);
}
