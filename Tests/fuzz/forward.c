/* The forward functions. */
#include "../c/values.h"
#include "fuzz.h"

void rows(int rms)
{
    int64_t n = size(), run = size();
    double e = epsilon();
    choose_strides(run, 2);
    int32_t one_plus_gamma = rms ? choice(0, 1) : 0, of = statistics_type(dtype);
    const void *x = take_x(n, run), *gamma = maybe(parameter_dtype, run), *beta = maybe(parameter_dtype, run);
    void *y = take_y(n, run, x);
    void *mean = rms ? NULL : result(of, n), *rstd = result(of, n);
    if (rms)
        CALL(normkit_rms_norm(dtype, parameter_dtype, n, run, x, x_stride, gamma, beta, one_plus_gamma, e,
                              y, y_stride, rstd));
    else
        CALL(normkit_layer_norm(dtype, parameter_dtype, n, run, x, x_stride, gamma, beta, e,
                                y, y_stride, mean, rstd));
}

void channels(int method)
{
    image i = take_image(method);
    double e = epsilon(), momentum = byte() / 255.0;
    choose_strides(i.run, 2);
    int32_t rule = method == TRAINING ? choice(0, 1) : 0, of = statistics_type(dtype);

    const void *x = take_x(i.runs, i.run), *gamma = maybe(parameter_dtype, i.c), *beta = maybe(parameter_dtype, i.c);
    void *y = take_y(i.runs, i.run, x);
    if (method == INFERENCE) {
        void *mean = given(of, i.c), *variance = positive(of, i.c);
        CALL(normkit_batch_norm_inference(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, x, x_stride, gamma, beta,
                                          mean, variance, e, y, y_stride));
        return;
    }
    void *mean = result(of, i.sets), *rstd = result(of, i.sets);
    if (method == TRAINING) {
        int tracked = byte() % 2;
        void *running_mean = tracked ? output(of, i.c) : NULL, *running_variance = tracked ? output(of, i.c) : NULL;
        CALL(normkit_batch_norm_training(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, x, x_stride, gamma, beta, e,
                                         running_mean, running_variance, rule, momentum, y, y_stride, mean, rstd));
    } else if (method == CHANNELS_AT_POSITIONS) {
        CALL(normkit_layer_norm_channels(dtype, parameter_dtype, i.n, i.c, i.l, x, x_stride, gamma, beta, e,
                                         y, y_stride, mean, rstd));
    } else if (method == INSTANCE) {
        CALL(normkit_instance_norm(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, x, x_stride, gamma, beta, e,
                                   y, y_stride, mean, rstd));
    } else {
        CALL(normkit_group_norm(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, i.groups, x, x_stride, gamma, beta,
                                e, y, y_stride, mean, rstd));
    }
}

void along_an_axis(int weight)
{
    int32_t norm = weight ? choice(NORMKIT_L1, NORMKIT_MAX) : 0;
    int64_t outer = size(), middle = size(), inner = size();
    double e = weight ? epsilon() : 0;
    no_strides();
    const int64_t count = times(times(outer, middle), inner);
    const void *x = take_x(1, count), *factor = maybe(parameter_dtype, middle);
    const void *shift = weight ? NULL : maybe(parameter_dtype, middle);
    void *y = take_y(1, count, x), *norms = weight ? result(statistics_type(dtype), middle) : NULL;
    if (weight)
        CALL(normkit_weight_norm(dtype, parameter_dtype, norm, outer, middle, inner, x, factor, e, y, norms));
    else
        CALL(normkit_scale_shift(dtype, parameter_dtype, outer, middle, inner, x, factor, shift, y));
}

void general_form(int method)
{
    tensor t = take_tensor();
    double e = method == MOMENTS ? 0 : epsilon();
    int32_t of = statistics_type(dtype), option = 0;
    if (method == NORMALIZE)
        option = choice(NORMKIT_EPSILON_INSIDE_SQRT, NORMKIT_EPSILON_OUTSIDE_SQRT);
    if (method == LP_NORMALIZE)
        option = choice(NORMKIT_L1, NORMKIT_MAX);
    int64_t correction = byte() % 3 - 1;
    no_strides();
    if (method == MOMENTS)
        in_place = overlap = 0, refused |= correction < 0;
    const void *x = take_x(1, t.count);
    void *y = method == MOMENTS ? NULL : take_y(1, t.count, x);
    void *first = method == LP_NORMALIZE ? NULL : result(of, t.kept), *second = result(of, t.kept);
    if (method == NORMALIZE)
        CALL(normkit_normalize(dtype, t.rank, t.shape, t.axis_count, t.axes, x, e, option, y, first, second));
    else if (method == LP_NORMALIZE)
        CALL(normkit_lp_normalize(dtype, option, t.rank, t.shape, t.axis_count, t.axes, x, e, y, second));
    else
        CALL(normkit_moments(dtype, t.rank, t.shape, t.axis_count, t.axes, x, correction, first, second));
}
