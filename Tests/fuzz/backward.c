/* The backward functions. */
#include "../c/values.h"
#include "fuzz.h"

gradient take_data(int64_t runs, int64_t run)
{
    int is_x = byte() % 2, is_absent = byte() % 8 == 0;
    buffer *x = strided(dtype, runs, run, x_stride, in_place && is_x);
    buffer *dy = strided(dtype, runs, run, y_stride, in_place && !is_x), *chosen = is_x ? x : dy;
    gradient g = {.x = x->data, .dy = dy->data};
    void *part = overlap ? part_of(chosen) : NULL;
    g.dx = in_place ? chosen->data : part ? part : is_absent ? NULL : strided(dtype, runs, run, dx_stride, 1)->data;
    /* rstd * gamma * dy may be too large for f16. */
    stays_finite &= dtype != NORMKIT_F16;
    return g;
}

/* In place of what a forward function has saved: both or none; one alone is refused. spread is rstd or norms.
 * Without the largest element, none is as large: its gradient is shared by none. */
static void take_saved(gradient *g, int64_t sets, int is_centred, int is_largest)
{
    int how = byte() % 8;
    if (how < 3)
        return;
    stays_finite &= !is_largest;
    g->spread = positive(statistics_type(dtype), sets);
    if (is_centred && how < 7)
        g->mean = given(statistics_type(dtype), sets);
    refused |= is_centred && how == 7;
}

/* Now and then a gradient is where an input is, which is refused. */
static void take_gradients(gradient *g, int64_t parameters, int has_beta)
{
    g->accumulate = choice(0, 1);
    g->dgamma = result(statistics_type(dtype), parameters);
    g->dbeta = has_beta ? result(statistics_type(dtype), parameters) : NULL;
    if (g->dgamma && g->gamma && parameters > 0 && sometimes())
        g->dgamma = (void *)g->gamma, refused = 1;
}

void rows_backward(int rms)
{
    int64_t n = size(), run = size();
    double e = epsilon();
    choose_strides(run, 3);
    int32_t one_plus_gamma = rms ? choice(0, 1) : 0;
    gradient g = take_data(n, run);
    g.gamma = maybe(parameter_dtype, run);
    take_saved(&g, n, !rms, 0);
    take_gradients(&g, run, 1);
    if (rms)
        CALL(normkit_rms_norm_backward(dtype, parameter_dtype, n, run, g.x, x_stride, g.dy, y_stride, g.gamma,
                                       one_plus_gamma, g.spread, e, g.dx, dx_stride, g.dgamma, g.dbeta,
                                       g.accumulate));
    else
        CALL(normkit_layer_norm_backward(dtype, parameter_dtype, n, run, g.x, x_stride, g.dy, y_stride, g.gamma,
                                         g.mean, g.spread, e, g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
}

void channels_backward(int method)
{
    image i = take_image(method);
    double e = epsilon();
    choose_strides(i.run, 3);
    gradient g = take_data(i.runs, i.run);
    g.gamma = maybe(parameter_dtype, i.c);
    if (method != INFERENCE)
        take_saved(&g, i.sets, 1, 0);
    take_gradients(&g, i.c, 1);
    if (method == INFERENCE) {
        g.mean = given(statistics_type(dtype), i.c), g.spread = positive(statistics_type(dtype), i.c);
        if (!in_place && !overlap && sometimes()) {     /* x is needed for the gradient of gamma alone */
            g.x = NULL;
            refused |= g.dgamma && times(i.runs, i.run) > 0;
        }
        CALL(normkit_batch_norm_inference_backward(
            dtype, parameter_dtype, i.layout, i.n, i.c, i.l, g.x, x_stride, g.dy, y_stride, g.gamma, g.mean, g.spread,
            e, g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
    } else if (method == TRAINING) {
        refused |= times(i.n, i.l) == 1 && i.c > 0;
        CALL(normkit_batch_norm_training_backward(
            dtype, parameter_dtype, i.layout, i.n, i.c, i.l, g.x, x_stride, g.dy, y_stride, g.gamma, g.mean, g.spread,
            e, g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
    } else if (method == CHANNELS_AT_POSITIONS) {
        CALL(normkit_layer_norm_channels_backward(
            dtype, parameter_dtype, i.n, i.c, i.l, g.x, x_stride, g.dy, y_stride, g.gamma, g.mean, g.spread, e,
            g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
    } else if (method == INSTANCE) {
        CALL(normkit_instance_norm_backward(
            dtype, parameter_dtype, i.layout, i.n, i.c, i.l, g.x, x_stride, g.dy, y_stride, g.gamma, g.mean, g.spread,
            e, g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
    } else {
        CALL(normkit_group_norm_backward(
            dtype, parameter_dtype, i.layout, i.n, i.c, i.l, i.groups, g.x, x_stride, g.dy, y_stride, g.gamma, g.mean,
            g.spread, e, g.dx, dx_stride, g.dgamma, g.dbeta, g.accumulate));
    }
}

void along_an_axis_backward(int weight)
{
    int32_t norm = weight ? choice(NORMKIT_L1, NORMKIT_MAX) : 0;
    int64_t outer = size(), middle = size(), inner = size();
    const int64_t count = times(times(outer, middle), inner);
    double e = weight ? epsilon() : 0;
    no_strides();
    gradient g = take_data(1, count);
    g.gamma = maybe(parameter_dtype, middle);
    if (weight)
        take_saved(&g, middle, 0, norm == NORMKIT_MAX);
    take_gradients(&g, middle, !weight);
    if (weight) {
        CALL(normkit_weight_norm_backward(dtype, parameter_dtype, norm, outer, middle, inner, g.x, g.dy, g.gamma,
                                          g.spread, e, g.dx, g.dgamma, g.accumulate));
        return;
    }
    if (!in_place && !overlap && sometimes()) {
        g.x = NULL;
        refused |= g.dgamma && count > 0;
    }
    CALL(normkit_scale_shift_backward(dtype, parameter_dtype, outer, middle, inner, g.x, g.dy, g.gamma, g.dx, g.dgamma,
                                      g.dbeta, g.accumulate));
}

void general_form_backward(int method)
{
    tensor t = take_tensor();
    double e = method == MOMENTS ? 0 : epsilon();
    int32_t of = statistics_type(dtype);
    no_strides();
    if (method == MOMENTS) {
        int64_t correction = byte() % 4 - 1;
        refused |= correction < 0 || (t.count > 0 && correction >= t.reduced);
        const void *x = take_x(1, t.count), *dmean = maybe(of, t.kept), *dvariance = maybe(of, t.kept);
        void *dx = take_y(1, t.count, x);
        CALL(normkit_moments_backward(dtype, t.rank, t.shape, t.axis_count, t.axes, x, dmean, dvariance, correction,
                                      dx));
        return;
    }
    int32_t option = method == NORMALIZE ? choice(NORMKIT_EPSILON_INSIDE_SQRT, NORMKIT_EPSILON_OUTSIDE_SQRT)
                     : choice(NORMKIT_L1, NORMKIT_MAX);
    gradient g = take_data(1, t.count);
    take_saved(&g, t.kept, method == NORMALIZE, method == LP_NORMALIZE && option == NORMKIT_MAX);
    if (method == NORMALIZE)
        CALL(normkit_normalize_backward(dtype, t.rank, t.shape, t.axis_count, t.axes, g.x, g.dy, g.mean, g.spread, e,
                                        option, g.dx));
    else
        CALL(normkit_lp_normalize_backward(dtype, option, t.rank, t.shape, t.axis_count, t.axes, g.x, g.dy, g.spread,
                                           e, g.dx));
}
