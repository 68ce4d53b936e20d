/* Normalizations as kernels of PyTorch's dispatcher, for what models mostly ask for: tensors on the CPU, dense, with
 * parameters of one type. A kernel that is asked for anything else computes nothing and says so by a result without
 * elements; its caller then goes the long way, through Python, which takes every case and explains every refusal.
 *
 * Work is shared between PyTorch's threads; with a PyTorch before 2.10, between NormKit's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "normkit.h"
#include "pytorch_abi.h"

#define EXPORT __attribute__((visibility("default")))

/* ---- PyTorch ------------------------------------------------------------------------------------------- */

static struct {
#define MEMBER(name, parameters) int32_t (*name) parameters;
    PYTORCH_FUNCTIONS(MEMBER)
#undef MEMBER
    pytorch_parallel_for parallel_for; /* NULL before 2.10, as the next */
    pytorch_get_num_threads get_num_threads;
} pytorch;

static struct {
#define MEMBER(name) int32_t name;
    PYTORCH_NUMBERS(MEMBER)
#undef MEMBER
} number;

/* Looks everything up in `library`. Returns whether all is there. */
static bool find_pytorch(void *library) {
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

/* ---- Tensors ------------------------------------------------------------------------------------------- */

enum { MOST_AXES = 8 };

typedef struct {
    int64_t rank, *sizes, *strides;
    int32_t dtype; /* NormKit's; 0 for one that it lacks */
    void *data;
} view;

static int32_t dtype_of(int32_t dtype) {
    return dtype == number.dtype_float32    ? NORMKIT_F32
           : dtype == number.dtype_float64  ? NORMKIT_F64
           : dtype == number.dtype_float16  ? NORMKIT_F16
           : dtype == number.dtype_bfloat16 ? NORMKIT_BF16
                                            : 0;
}

/* Whether `tensor` is one on the CPU of a dtype that NormKit has; what it is, then. */
static bool see(pytorch_tensor tensor, view *v) {
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

/* The product of the extents of axes `first` to `last - 1`. PyTorch has made sure that it exists. */
static int64_t extent(const view *v, int64_t first, int64_t last) {
    int64_t product = 1;
    for (int64_t axis = first; axis < last; axis++) product *= v->sizes[axis];
    return product;
}

static bool is_contiguous(const view *v) {
    int64_t axes[MOST_AXES], step = 1;
    for (int64_t k = 0; k < v->rank; k++) axes[k] = v->rank - 1 - k;
    return are_dense(v, axes, v->rank, &step);
}

/* Of a tensor [samples, channels, ...]: channels first if it is contiguous, channels last if that is it; or 0. */
static int32_t layout_of(const view *v) {
    if (is_contiguous(v)) return NORMKIT_CHANNELS_FIRST;
    int64_t axes[MOST_AXES] = {1}, step = 1;
    for (int64_t k = 1; k < v->rank - 1; k++) axes[k] = v->rank - k;
    axes[v->rank - 1] = 0;
    return are_dense(v, axes, v->rank, &step) ? NORMKIT_CHANNELS_LAST : 0;
}

/* ---- Calls --------------------------------------------------------------------------------------------- */

/* What an operator asks for. */
typedef struct {
    view x;
    /* Axes of the statistics. */
    int64_t rank, sizes[MOST_AXES];
    normkit_description description;
    normkit_operands operands;
} call;

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

/* Takes x as rows of its last axis, which has `size` elements. */
static bool take_rows(call *c, pytorch_tensor x, int64_t size) {
    if (!take_data(c, x, 1) || c->x.sizes[c->x.rank - 1] != size || !is_contiguous(&c->x)) return false;
    c->description.rows = extent(&c->x, 0, c->x.rank - 1);
    c->description.size = size;
    c->rank = c->x.rank - 1;
    for (int64_t k = 0; k < c->rank; k++) c->sizes[k] = c->x.sizes[k];
    return true;
}

/* Takes x as a tensor [samples, channels, …] of `least` axes or more. */
static bool take_channels(call *c, pytorch_tensor x, int64_t least) {
    if (!take_data(c, x, least) || !(c->description.layout = layout_of(&c->x))) return false;
    c->description.samples = c->sizes[0] = c->x.sizes[0];
    c->description.channels = c->sizes[1] = c->x.sizes[1];
    c->description.positions = extent(&c->x, 2, c->x.rank);
    c->rank = 2;
    return true;
}

/* The same with statistics over all samples. */
static bool take_batch(call *c, pytorch_tensor x) {
    if (!take_channels(c, x, 2)) return false;
    c->rank = 1;
    c->sizes[0] = c->sizes[1];
    return true;
}

/* The same with groups of channels. */
static bool take_groups(call *c, pytorch_tensor x, int64_t groups) {
    if (!take_channels(c, x, 2) || groups < 1 || c->x.sizes[1] % groups) return false;
    c->description.groups = c->sizes[1] = groups;
    return true;
}

/* The memory of `tensor`, a vector of `count` elements of dtype `dtype`; NULL if it is another one. */
static const void *vector(pytorch_tensor tensor, int64_t count, int32_t *dtype) {
    view v;
    if (!see(tensor, &v) || v.rank != 1 || v.sizes[0] != count || (count > 1 && v.strides[0] != 1)) return NULL;
    if (*dtype == 0) *dtype = v.dtype;
    return v.dtype == *dtype ? v.data : NULL;
}

/* Takes weight and bias, vectors of `count` elements of one dtype, or NULL: x's dtype, or f32 beside halves. */
static bool take_parameters(call *c, pytorch_tensor weight, pytorch_tensor bias, int64_t count) {
    int32_t dtype = 0;
    if (weight && !(c->operands.gamma = vector(weight, count, &dtype))) return false;
    if (bias && !(c->operands.beta = vector(bias, count, &dtype))) return false;
    c->description.parameter_dtype = dtype;
    return true; /* planning refuses other dtypes */
}

/* The memory of a tensor that lies as x does; NULL if it is another array. */
static void *like_x(const call *c, pytorch_tensor tensor) {
    view v;
    if (!see(tensor, &v) || v.dtype != c->x.dtype || v.rank != c->x.rank) return NULL;
    for (int64_t k = 0; k < v.rank; k++) {
        if (v.sizes[k] != c->x.sizes[k] || (v.sizes[k] != 1 && v.strides[k] != c->x.strides[k])) return NULL;
    }
    return v.data;
}

static int32_t statistics_dtype(const call *c) { return c->x.dtype == NORMKIT_F64 ? NORMKIT_F64 : NORMKIT_F32; }

static bool take_statistics(call *c, pytorch_tensor mean, pytorch_tensor variance) {
    int32_t dtype = statistics_dtype(c);
    c->operands.given_mean = vector(mean, c->x.sizes[1], &dtype);
    c->operands.given_variance = vector(variance, c->x.sizes[1], &dtype);
    return c->operands.given_mean && c->operands.given_variance;
}

/* ---- Runs ---------------------------------------------------------------------------------------------- */

/* Into how many parts to cut a run. */
static int32_t parts_of(const normkit_plan *plan) {
    if (!pytorch.parallel_for || !pytorch.get_num_threads) return normkit_thread_count();
    uint32_t threads;
    if (pytorch.get_num_threads(&threads)) return 1;
    return normkit_plan_useful_parts(plan, (int32_t)threads);
}

typedef struct {
    normkit_task task;
    void *argument;
} loop;

static void run_range(int64_t begin, int64_t end, void *context) {
    const loop *l = context;
    for (int64_t i = begin; i < end; i++) l->task(l->argument, (size_t)i);
}

static void parallel_for(void *context, size_t count, normkit_task task, void *argument) {
    (void)context;
    loop l = {task, argument};
    /* Where it fails, nothing is lost by running a task again. */
    if (pytorch.parallel_for(0, (int64_t)count, 1, run_range, &l)) run_range(0, (int64_t)count, &l);
}

static normkit_status run(call *c) {
    normkit_plan *plan;
    normkit_status status = normkit_plan_create(&c->description, &plan);
    if (status) return status;
    int32_t parts = parts_of(plan);
    normkit_operands *o = &c->operands;
    o->workspace_bytes = normkit_plan_workspace(plan, parts);
    if (o->workspace_bytes > 0 && !(o->workspace = malloc((size_t)o->workspace_bytes)))
        status = NORMKIT_ERROR_MEMORY;
    else if (!pytorch.parallel_for)
        status = normkit_plan_run_threads(plan, o);
    else
        status = normkit_plan_run_parallel(plan, o, parts, parallel_for, NULL);
    free(o->workspace);
    normkit_plan_destroy(plan);
    return status;
}

/* A tensor, whose memory goes to `*data`; or NULL. */
static pytorch_tensor made(int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype, void **data) {
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

/* The same for a contiguous one of the statistics type. */
static pytorch_tensor made_of_statistics(const call *c, int64_t rank, const int64_t *sizes, void **data) {
    int64_t strides[MOST_AXES], step = 1;
    for (int64_t k = rank - 1; k >= 0; step *= sizes[k--]) strides[k] = step;
    return made(rank, sizes, strides, statistics_dtype(c), data);
}

enum { MOST_RESULTS = 3 };

/* Leaves results on the stack, if `status` says that they are good, in place of the `tensors` that the operator was
 * given, which are deleted. For those that are NULL, and for all if they are not good, empty ones. */
static void leave(
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

/* A tensor that lies in memory as x does. */
static pytorch_tensor made_like_x(const call *c, void **data) {
    return made(c->x.rank, c->x.sizes, c->x.strides, c->x.dtype, data);
}

/* Computes what was asked for, if it `is_taken`, and leaves y, and of two results the sum that is normalized, if that is
 * to be stored, or rstd, of three mean and rstd. */
static void finish(
    call *c, bool is_taken, int32_t method, double epsilon, pytorch_value *stack, int tensors, uint64_t results) {
    c->description.method = method;
    c->description.epsilon = epsilon;
    pytorch_tensor made_ones[MOST_RESULTS] = {NULL};
    normkit_operands *o = &c->operands;
    is_taken = is_taken && (made_ones[0] = made_like_x(c, &o->y));
    if (c->description.fusions & NORMKIT_STORE_SUM) {
        is_taken = is_taken && (made_ones[1] = made_like_x(c, &o->sum));
    } else {
        void **statistics[] = {results == 2 ? &o->rstd : &o->mean, &o->rstd};
        for (uint64_t k = 1; is_taken && k < results; k++)
            is_taken = (made_ones[k] = made_of_statistics(c, c->rank, c->sizes, statistics[k - 1])) != NULL;
    }
    leave(stack, tensors, is_taken ? run(c) : NORMKIT_ERROR_MEMORY, made_ones, results);
}

static pytorch_tensor tensor_at(const pytorch_value *stack, int k) { return (pytorch_tensor)stack[k]; }

/* That at `k`, or NULL if the flag at `flag` says that another tensor stands in its place. */
static pytorch_tensor given_at(const pytorch_value *stack, int k, int flag) {
    return (bool)stack[flag] ? tensor_at(stack, k) : NULL;
}

static int64_t integer_at(const pytorch_value *stack, int k) { return (int64_t)stack[k]; }

static double real_at(const pytorch_value *stack, int k) {
    double value;
    memcpy(&value, stack + k, sizeof value);
    return value;
}

/* ---- Operators -----------------------------------------------------------------------------------------
 *
 * A forward kernel is that of two operators: of layer_norm_short, which returns y, and of layer_norm_recorded_short,
 * which returns the statistics that the gradient needs behind it. */

/* layer_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, int size, float eps) */
static void layer_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    int64_t size = integer_at(stack, 5);
    bool is_taken = take_rows(&c, tensor_at(stack, 0), size) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), size);
    finish(&c, is_taken, NORMKIT_LAYER_NORM, real_at(stack, 6), stack, 3, results);
}

/* rms_norm_short(Tensor x, Tensor weight, bool has_weight, int size, float eps) */
static void rms_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    int64_t size = integer_at(stack, 3);
    bool is_taken =
        take_rows(&c, tensor_at(stack, 0), size) && take_parameters(&c, given_at(stack, 1, 2), NULL, size);
    finish(&c, is_taken, NORMKIT_RMS_NORM, real_at(stack, 4), stack, 2, results);
}

/* group_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, int groups, float eps) */
static void group_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_groups(&c, tensor_at(stack, 0), integer_at(stack, 5)) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    finish(&c, is_taken, NORMKIT_GROUP_NORM, real_at(stack, 6), stack, 3, results);
}

/* instance_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, float eps) */
static void instance_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_channels(&c, tensor_at(stack, 0), 3) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    finish(&c, is_taken, NORMKIT_INSTANCE_NORM, real_at(stack, 5), stack, 3, results);
}

/* batch_norm_short(Tensor x, Tensor mean, Tensor var, Tensor weight, Tensor bias, bool has_weight, bool has_bias,
 *                  float eps): in inference */
static void batch_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_channels(&c, tensor_at(stack, 0), 2) &&
                    take_statistics(&c, tensor_at(stack, 1), tensor_at(stack, 2)) &&
                    take_parameters(&c, given_at(stack, 3, 5), given_at(stack, 4, 6), c.x.sizes[1]);
    finish(&c, is_taken, NORMKIT_BATCH_NORM_INFERENCE, real_at(stack, 7), stack, 5, results);
}

/* fused_rows_short(Tensor x, Tensor residual, Tensor weight, Tensor bias, bool has_residual, bool has_weight,
 *                  bool has_bias, bool is_rms, int size, int activation, float eps): what is normalized is x + residual,
 * and the activation, one of NormKit's, follows. fused_rows_sum_short returns the sum behind y. */
static void fused_rows(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    int64_t size = integer_at(stack, 8);
    bool has_residual = stack[4], is_rms = stack[7];
    bool is_taken = take_rows(&c, tensor_at(stack, 0), size) &&
                    take_parameters(&c, given_at(stack, 2, 5), given_at(stack, 3, 6), size) &&
                    (!has_residual || (c.operands.residual = like_x(&c, tensor_at(stack, 1))));
    c.description.fusions = (has_residual ? NORMKIT_ADD_RESIDUAL : 0) | (results == 2 ? NORMKIT_STORE_SUM : 0);
    c.description.activation_after = (int32_t)integer_at(stack, 9);
    int32_t method = is_rms ? NORMKIT_RMS_NORM : NORMKIT_LAYER_NORM;
    finish(&c, is_taken, method, real_at(stack, 10), stack, 4, results);
}

/* fused_groups_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, int groups, int activation,
 *                    float eps) */
static void fused_groups(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_groups(&c, tensor_at(stack, 0), integer_at(stack, 5)) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    c.description.activation_after = (int32_t)integer_at(stack, 6);
    finish(&c, is_taken, NORMKIT_GROUP_NORM, real_at(stack, 7), stack, 3, results);
}

/* ---- Gradients ----------------------------------------------------------------------------------------- */

/* The memory of statistics as a forward kernel has left them; NULL if it is another array. */
static const void *saved(const call *c, pytorch_tensor tensor) {
    view v;
    if (!see(tensor, &v) || v.dtype != statistics_dtype(c) || v.rank != c->rank || !is_contiguous(&v)) return NULL;
    for (int64_t k = 0; k < v.rank; k++) {
        if (v.sizes[k] != c->sizes[k]) return NULL;
    }
    return v.data;
}

/* Every gradient: layer_norm_backward_short(Tensor dy, Tensor x, Tensor weight, Tensor mean, Tensor rstd,
 *     bool has_weight, bool wants_x, bool wants_weight, bool wants_bias, float eps, int number)
 *     -> (Tensor dx, Tensor dweight, Tensor dbias)
 * Those of the parameters come in the statistics type. What is not wanted is empty. `number`: the size of rows, the
 * groups of a group normalization, of others nothing. Without a mean, rstd stands in for it. NormKit's threads share
 * the work. */
static void gradient(pytorch_value *stack, uint64_t results, int32_t method) {
    bool has_weight = stack[5], wants_x = stack[6], wants_weight = stack[7], wants_bias = stack[8];
    bool are_rows = method == NORMKIT_LAYER_NORM || method == NORMKIT_RMS_NORM;
    double epsilon = real_at(stack, 9);
    int64_t number_given = integer_at(stack, 10);
    call c;
    const void *dy, *mean = NULL, *rstd = NULL;
    void *dx = NULL, *dgamma = NULL, *dbeta = NULL;
    pytorch_tensor x = tensor_at(stack, 1), made_ones[MOST_RESULTS] = {NULL};
    bool is_taken = are_rows                          ? take_rows(&c, x, number_given)
                    : method == NORMKIT_GROUP_NORM    ? take_groups(&c, x, number_given)
                    : method == NORMKIT_INSTANCE_NORM ? take_channels(&c, x, 3)
                                                      : take_batch(&c, x);
    int64_t parameters = !is_taken ? 0 : are_rows ? c.description.size : c.description.channels;
    is_taken = is_taken && take_parameters(&c, has_weight ? tensor_at(stack, 2) : NULL, NULL, parameters) &&
               (dy = like_x(&c, tensor_at(stack, 0))) && (mean = saved(&c, tensor_at(stack, 3))) &&
               (rstd = saved(&c, tensor_at(stack, 4))) &&
               (!wants_x || (made_ones[0] = made_like_x(&c, &dx))) &&
               (!wants_weight || (made_ones[1] = made_of_statistics(&c, 1, &parameters, &dgamma))) &&
               (!wants_bias || (made_ones[2] = made_of_statistics(&c, 1, &parameters, &dbeta)));
    normkit_status status = NORMKIT_ERROR_MEMORY;
    if (is_taken) {
        const normkit_description *d = &c.description;
        const void *gamma = c.operands.gamma;
        int32_t parameter_dtype = d->parameter_dtype ? d->parameter_dtype : d->dtype;
        switch (method) {
        case NORMKIT_LAYER_NORM:
            status = normkit_layer_norm_backward(d->dtype, parameter_dtype, d->rows, d->size, c.x.data, 0, dy, 0,
                                                 gamma, mean, rstd, epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_RMS_NORM:
            status = normkit_rms_norm_backward(d->dtype, parameter_dtype, d->rows, d->size, c.x.data, 0, dy, 0, gamma,
                                               0, rstd, epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_GROUP_NORM:
            status = normkit_group_norm_backward(d->dtype, parameter_dtype, d->layout, d->samples, d->channels,
                                                 d->positions, d->groups, c.x.data, 0, dy, 0, gamma, mean, rstd,
                                                 epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_INSTANCE_NORM:
            status = normkit_instance_norm_backward(d->dtype, parameter_dtype, d->layout, d->samples, d->channels,
                                                    d->positions, c.x.data, 0, dy, 0, gamma, mean, rstd, epsilon, dx,
                                                    0, dgamma, dbeta, 0);
            break;
        default:
            status = normkit_batch_norm_training_backward(d->dtype, parameter_dtype, d->layout, d->samples,
                                                          d->channels, d->positions, c.x.data, 0, dy, 0, gamma, mean,
                                                          rstd, epsilon, dx, 0, dgamma, dbeta, 0);
        }
    }
    leave(stack, 5, status, made_ones, results);
}

static void layer_norm_backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    gradient(stack, results, NORMKIT_LAYER_NORM);
}

static void rms_norm_backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    gradient(stack, results, NORMKIT_RMS_NORM);
}

static void group_norm_backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    gradient(stack, results, NORMKIT_GROUP_NORM);
}

static void instance_norm_backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    gradient(stack, results, NORMKIT_INSTANCE_NORM);
}

static void batch_norm_backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    gradient(stack, results, NORMKIT_BATCH_NORM_TRAINING);
}

/* Gives PyTorch these kernels for operators that are defined already, once.
 *
 * handle  that dlopen gives of the libtorch_cpu that the process has loaded
 *
 * Returns 0; or 1, with nothing done, if that lacks a function that is needed, 2 if it refused a kernel, and 3, with
 * nothing done, if libnormkit is of another version than these kernels were built with. */
EXPORT int32_t normkit_torch_register(void *handle) {
    static const struct {
        const char *name;
        pytorch_kernel kernel;
    } kernels[] = {
        {"layer_norm_short", layer_norm},
        {"layer_norm_recorded_short", layer_norm},
        {"layer_norm_backward_short", layer_norm_backward},
        {"rms_norm_short", rms_norm},
        {"rms_norm_recorded_short", rms_norm},
        {"rms_norm_backward_short", rms_norm_backward},
        {"group_norm_short", group_norm},
        {"group_norm_recorded_short", group_norm},
        {"group_norm_backward_short", group_norm_backward},
        {"instance_norm_short", instance_norm},
        {"instance_norm_recorded_short", instance_norm},
        {"instance_norm_backward_short", instance_norm_backward},
        {"fused_rows_short", fused_rows},
        {"fused_rows_sum_short", fused_rows},
        {"fused_groups_short", fused_groups},
        {"batch_norm_short", batch_norm},
        {"batch_norm_backward_short", batch_norm_backward},
    };
    if (normkit_version() != NORMKIT_VERSION) return 3;
    if (!find_pytorch(handle)) return 1;
    void *library;
    if (pytorch.library_init_impl("normkit", "CPU", __FILE__, __LINE__, &library)) return 2;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++)
        if (pytorch.library_impl(library, kernels[k].name, kernels[k].kernel)) return 2;
    return 0;
}
