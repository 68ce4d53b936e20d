/* The handler of every backward function.
 *
 * Attributes: `method`, the method of normkit_description whose function is differentiated, and the sizes and choices
 * that this function takes, integers of 64 bits or doubles; `operands` as in forward.c, by the names of the
 * function's parameters. */
#include <string.h>

#include "call.h"

typedef struct {
    const void *x, *dy, *gamma, *mean, *rstd, *variance, *norms;
    void *dx, *dgamma, *dbeta;
} operands;

#define MEMBER(name) {#name, offsetof(operands, name)}
static const normkit_jax_member members[] = {
    MEMBER(x), MEMBER(dy), MEMBER(gamma), MEMBER(mean), MEMBER(rstd), MEMBER(variance), MEMBER(norms),
    MEMBER(dx), MEMBER(dgamma), MEMBER(dbeta), {NULL, 0},
};

NORMKIT_API XLA_FFI_Handler normkit_jax_backward;

static normkit_status differentiate(const XLA_FFI_Attrs *a, const operands *o)
{
#define INTEGER(name) (int32_t) normkit_jax_integer(a, #name)
#define SIZE(name) normkit_jax_integer(a, #name)
    int32_t dtype = INTEGER(dtype), parameter_dtype = INTEGER(parameter_dtype), layout = INTEGER(layout);
    int64_t rows = SIZE(rows), size = SIZE(size);
    int64_t samples = SIZE(samples), channels = SIZE(channels), positions = SIZE(positions);
    double epsilon = normkit_jax_real(a, "epsilon");
    switch (INTEGER(method)) {
    case NORMKIT_LAYER_NORM:
        return normkit_layer_norm_backward(dtype, parameter_dtype, rows, size, o->x, 0, o->dy, 0, o->gamma,
                                           o->mean, o->rstd, epsilon, o->dx, 0, o->dgamma, o->dbeta, 0);
    case NORMKIT_RMS_NORM:
        return normkit_rms_norm_backward(dtype, parameter_dtype, rows, size, o->x, 0, o->dy, 0, o->gamma, 0,
                                         o->rstd, epsilon, o->dx, 0, o->dgamma, o->dbeta, 0);
    case NORMKIT_BATCH_NORM_INFERENCE:
        return normkit_batch_norm_inference_backward(
            dtype, parameter_dtype, layout, samples, channels, positions, o->x, 0, o->dy, 0, o->gamma,
            o->mean, o->variance, epsilon, o->dx, 0, o->dgamma, o->dbeta, 0);
    case NORMKIT_INSTANCE_NORM:
        return normkit_instance_norm_backward(
            dtype, parameter_dtype, layout, samples, channels, positions, o->x, 0, o->dy, 0, o->gamma,
            o->mean, o->rstd, epsilon, o->dx, 0, o->dgamma, o->dbeta, 0);
    case NORMKIT_GROUP_NORM:
        return normkit_group_norm_backward(
            dtype, parameter_dtype, layout, samples, channels, positions, SIZE(groups), o->x, 0, o->dy, 0, o->gamma,
            o->mean, o->rstd, epsilon, o->dx, 0, o->dgamma, o->dbeta, 0);
    case NORMKIT_WEIGHT_NORM:
        return normkit_weight_norm_backward(dtype, parameter_dtype, INTEGER(norm), SIZE(outer), SIZE(slices),
                                            SIZE(inner), o->x, o->dy, o->gamma, o->norms, epsilon,
                                            o->dx, o->dgamma, 0);
    default:
        return NORMKIT_ERROR_METHOD;
    }
#undef INTEGER
#undef SIZE
}

XLA_FFI_Error *normkit_jax_backward(XLA_FFI_CallFrame *frame)
{
    XLA_FFI_TypeId none = {0};
    if (normkit_jax_metadata(frame, none))
        return NULL;
    uint16_t offsets[NORMKIT_JAX_MOST_OPERANDS];
    int count = normkit_jax_offsets(members, normkit_jax_string(&frame->attrs, "operands"), offsets);
    operands o;
    memset(&o, 0, sizeof o);
    if (count < 0 || normkit_jax_bind(frame, offsets, count, &o) != 0)
        return normkit_jax_error(frame->api, XLA_FFI_Error_Code_INVALID_ARGUMENT,
                                 "an operand has an unknown name, or their number is another one");
    return normkit_jax_refusal(frame->api, differentiate(&frame->attrs, &o));
}
