/* The handler of every forward function. An executable makes a plan where it is compiled and runs it where it runs.
 *
 * Attributes: the fields of normkit_description by their names, integers of 64 bits or doubles; `operands`, which lists
 * what the arguments and then the results are, by the names of the members of normkit_operands. */
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "pool.h"

typedef struct {
    normkit_plan *plan;
    int count;
    uint16_t offsets[NORMKIT_JAX_MOST_OPERANDS];
} state;

/* Workspace up to this size lies on the stack. */
enum { SMALL_WORKSPACE = 4096 };

#define MEMBER(name) {#name, offsetof(normkit_operands, name)}
static const normkit_jax_member members[] = {
    MEMBER(x), MEMBER(residual), MEMBER(bias), MEMBER(gamma), MEMBER(beta), MEMBER(given_mean),
    MEMBER(given_variance), MEMBER(sample_scale), MEMBER(sample_shift), MEMBER(residual_after), MEMBER(sum),
    MEMBER(y), MEMBER(mean), MEMBER(rstd), MEMBER(norms), {NULL, 0},
};

static void destroy(void *object)
{
    state *s = object;
    normkit_plan_destroy(s->plan);
    free(s);
}

/* Registered from Python, which is why they have names for other files. */
extern NORMKIT_API XLA_FFI_TypeId normkit_jax_state_type;
extern NORMKIT_API XLA_FFI_TypeInfo normkit_jax_state_info;
XLA_FFI_TypeId normkit_jax_state_type = {0};
XLA_FFI_TypeInfo normkit_jax_state_info = {XLA_FFI_TypeInfo_STRUCT_SIZE, NULL, destroy};

NORMKIT_API XLA_FFI_Handler normkit_jax_instantiate, normkit_jax_execute;

static normkit_description described(const XLA_FFI_Attrs *a)
{
    normkit_description d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d;
#define INTEGER(name) d.name = (int32_t)normkit_jax_integer(a, #name)
#define SIZE(name) d.name = normkit_jax_integer(a, #name)
    INTEGER(method);
    INTEGER(dtype);
    INTEGER(parameter_dtype);
    SIZE(rows);
    SIZE(size);
    SIZE(samples);
    SIZE(channels);
    SIZE(positions);
    SIZE(groups);
    SIZE(outer);
    SIZE(slices);
    SIZE(inner);
    INTEGER(layout);
    INTEGER(norm);
    INTEGER(fusions);
    INTEGER(activation_after);
#undef INTEGER
#undef SIZE
    d.epsilon = normkit_jax_real(a, "epsilon");
    return d;
}

XLA_FFI_Error *normkit_jax_instantiate(XLA_FFI_CallFrame *frame)
{
    if (normkit_jax_metadata(frame, normkit_jax_state_type))
        return NULL;
    const XLA_FFI_Api *api = frame->api;
    state *s = calloc(1, sizeof *s);
    if (s == NULL)
        return normkit_jax_refusal(api, NORMKIT_ERROR_MEMORY);
    s->count = normkit_jax_offsets(members, normkit_jax_string(&frame->attrs, "operands"), s->offsets);
    if (s->count < 0) {
        free(s);
        return normkit_jax_error(api, XLA_FFI_Error_Code_INVALID_ARGUMENT, "an operand has an unknown name");
    }
    normkit_description d = described(&frame->attrs);
    normkit_status status = normkit_plan_create(&d, &s->plan);
    if (status != NORMKIT_OK) {
        free(s);
        return normkit_jax_refusal(api, status);
    }
    XLA_FFI_State_Set_Args args = {XLA_FFI_State_Set_Args_STRUCT_SIZE, NULL, frame->ctx,
                                   XLA_FFI_ExecutionStage_INSTANTIATE, &normkit_jax_state_type, s};
    XLA_FFI_Error *error = api->XLA_FFI_State_Set(&args);
    if (error != NULL)
        destroy(s);
    return error;
}

XLA_FFI_Error *normkit_jax_execute(XLA_FFI_CallFrame *frame)
{
    if (normkit_jax_metadata(frame, normkit_jax_state_type))
        return NULL;
    const XLA_FFI_Api *api = frame->api;
    XLA_FFI_State_Get_Args args = {XLA_FFI_State_Get_Args_STRUCT_SIZE, NULL, frame->ctx,
                                   XLA_FFI_ExecutionStage_INSTANTIATE, &normkit_jax_state_type, NULL};
    XLA_FFI_Error *error = api->XLA_FFI_State_Get(&args);
    if (error != NULL)
        return error;
    const state *s = args.state;

    normkit_operands o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    if (normkit_jax_bind(frame, s->offsets, s->count, &o) != 0)
        return normkit_jax_error(api, XLA_FFI_Error_Code_INVALID_ARGUMENT, "the number of operands is another one");

    normkit_jax_pool pool = {api, frame->ctx};
    int32_t parts = normkit_plan_useful_parts(s->plan, normkit_jax_pool_threads(&pool));
    char small[SMALL_WORKSPACE];
    o.workspace_bytes = normkit_plan_workspace(s->plan, parts);
    o.workspace = o.workspace_bytes > SMALL_WORKSPACE ? malloc((size_t)o.workspace_bytes) : small;
    if (o.workspace == NULL)
        return normkit_jax_refusal(api, NORMKIT_ERROR_MEMORY);
    normkit_status status = normkit_plan_run_parallel(s->plan, &o, parts, normkit_jax_parallel_for, &pool);
    if (o.workspace != small)
        free(o.workspace);
    return normkit_jax_refusal(api, status);
}
