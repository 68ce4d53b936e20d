#include "call.h"
#include "kernels.h"

#include <stdlib.h>

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

/* Computes what was asked for, if it `is_taken`, and leaves y and, if there are more results, behind it the sum that is
 * normalized, where that is to be stored, or mean and rstd, of RMS normalization rstd. */
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
        void **statistics[] = {method == NORMKIT_RMS_NORM ? &o->rstd : &o->mean, &o->rstd};
        for (uint64_t k = 1; is_taken && k < results; k++)
            is_taken = (made_ones[k] = made_of_statistics(c, c->rank, c->sizes, statistics[k - 1])) != NULL;
    }
    leave(stack, tensors, is_taken ? run(c) : NORMKIT_ERROR_MEMORY, made_ones, results);
}

/* ---- Operators -----------------------------------------------------------------------------------------
 *
 * A forward kernel is that of two operators: of layer_norm_short, which returns y, and of layer_norm_recorded_short,
 * which returns the statistics that the gradient needs behind it. */

/* layer_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, int size, float eps) */
void layer_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    int64_t size = integer_at(stack, 5);
    bool is_taken = take_rows(&c, tensor_at(stack, 0), size) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), size);
    finish(&c, is_taken, NORMKIT_LAYER_NORM, real_at(stack, 6), stack, 3, results);
}

/* rms_norm_short(Tensor x, Tensor weight, bool has_weight, int size, float eps) */
void rms_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    int64_t size = integer_at(stack, 3);
    bool is_taken =
        take_rows(&c, tensor_at(stack, 0), size) && take_parameters(&c, given_at(stack, 1, 2), NULL, size);
    finish(&c, is_taken, NORMKIT_RMS_NORM, real_at(stack, 4), stack, 2, results);
}

/* group_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, int groups, float eps) */
void group_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_groups(&c, tensor_at(stack, 0), integer_at(stack, 5)) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    finish(&c, is_taken, NORMKIT_GROUP_NORM, real_at(stack, 6), stack, 3, results);
}

/* instance_norm_short(Tensor x, Tensor weight, Tensor bias, bool has_weight, bool has_bias, float eps) */
void instance_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    bool is_taken = take_channels(&c, tensor_at(stack, 0), 3) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    finish(&c, is_taken, NORMKIT_INSTANCE_NORM, real_at(stack, 5), stack, 3, results);
}

/* batch_norm_short(Tensor x, Tensor mean, Tensor var, Tensor weight, Tensor bias, bool has_weight, bool has_bias,
 *                  float eps): in inference */
void batch_norm(pytorch_value *stack, uint64_t arguments, uint64_t results) {
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
void fused_rows(pytorch_value *stack, uint64_t arguments, uint64_t results) {
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
void fused_groups(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    call c;
    /* Of other ranks, a tensor that is channels last gives a contiguous one. */
    bool is_taken = take_groups(&c, tensor_at(stack, 0), integer_at(stack, 5)) &&
                    (c.description.layout == NORMKIT_CHANNELS_FIRST || c.x.rank == 4 || c.x.rank == 5) &&
                    take_parameters(&c, given_at(stack, 1, 3), given_at(stack, 2, 4), c.x.sizes[1]);
    c.description.activation_after = (int32_t)integer_at(stack, 6);
    finish(&c, is_taken, NORMKIT_GROUP_NORM, real_at(stack, 7), stack, 3, results);
}
