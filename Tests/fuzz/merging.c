/* Moments in pieces, batch normalization by them, and what is done with weights. */
#include "../c/values.h"
#include "fuzz.h"
#include <math.h>

static int64_t least_count;     /* of the moments that were taken last; INT64_MAX where there are none to read */

/* Moments of `channels` channels with counts that are whole numbers; now and then one of them is out of range. */
static normkit_channel_moments *take_moments(int64_t channels, int least, int written)
{
    static const double wrong[] = {-1, INFINITY, NAN};
    buffer *b = strided(NORMKIT_F64, 1, times(channels, 3), 0, written);
    int64_t count = (int64_t)(b->bytes / sizeof(normkit_channel_moments));
    least_count = INT64_MAX;
    for (int64_t c = 0; c < count; c++) {
        normkit_channel_moments m;
        char *place = b->data + (size_t)c * sizeof m;
        memcpy(&m, place, sizeof m);
        int64_t n = least + (int64_t)(random_number() % 100);
        if (moderate)
            m.m2 = fabs(m.m2);
        m.count = (double)n;
        if (n == 0)
            m.mean = m.m2 = 0;
        if (n < least_count)
            least_count = n;
        memcpy(place, &m, sizeof m);
    }
    if (count > 0 && sometimes()) {
        memcpy(b->data, &wrong[byte() % 3], sizeof *wrong);
        refused = 1;
    }
    return (normkit_channel_moments *)(void *)b->data;
}

void moments_of_channels(int function)
{
    if (function == ACCUMULATE) {
        image i = take_image(TRAINING);
        in_place = 0;
        choose_strides(i.run, 1);
        const void *x = take_x(i.runs, i.run);
        normkit_channel_moments *moments = take_moments(i.c, 0, 1);
        CALL(normkit_moments_accumulate(dtype, i.layout, i.n, i.c, i.l, x, x_stride, moments));
        return;
    }
    int64_t c = size();
    if (function == MERGE) {
        normkit_channel_moments *moments = take_moments(c, 0, 1), *other = take_moments(c, 0, 0);
        if (overlap && least_count < INT64_MAX)
            other = moments, refused = 1;
        CALL(normkit_moments_merge(c, moments, other));
        return;
    }
    int64_t correction = byte() % 4 - 1;
    double e = epsilon();
    normkit_channel_moments *moments = take_moments(c, byte() % 2, 0);
    refused |= correction < 0 || (c > 0 && least_count <= correction);
    void *mean = result(dtype, c), *variance = result(dtype, c), *rstd = result(dtype, c);
    if (overlap && mean && least_count < INT64_MAX)
        variance = mean, refused = 1;
    CALL(normkit_moments_finish(dtype, c, moments, correction, e, mean, variance, rstd));
}

void gradient_sums(int unused)
{
    (void)unused;
    image i = take_image(TRAINING);
    double e = epsilon();
    in_place = overlap = 0;
    choose_strides(i.run, 2);
    const void *x = take_x(i.runs, i.run), *dy = strided(dtype, i.runs, i.run, y_stride, 0)->data;
    const normkit_channel_moments *moments = take_moments(i.c, 1, 0);
    void *sums = output(NORMKIT_F64, times(i.c, 2));
    CALL(normkit_batch_norm_gradient_sums(dtype, i.layout, i.n, i.c, i.l, x, x_stride, dy, y_stride, moments, e,
                                          sums));
}

void synchronized_backward(int unused)
{
    (void)unused;
    image i = take_image(TRAINING);
    double e = epsilon();
    choose_strides(i.run, 3);
    gradient g = take_data(i.runs, i.run);
    g.gamma = maybe(parameter_dtype, i.c);
    const normkit_channel_moments *moments = take_moments(i.c, 1, 0);
    const void *sums = given(NORMKIT_F64, times(i.c, 2));
    CALL(normkit_batch_norm_synchronized_backward(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, g.x, x_stride, g.dy,
                                                  y_stride, g.gamma, moments, sums, e, g.dx, dx_stride));
}

void synchronized(int unused)
{
    (void)unused;
    image i = take_image(TRAINING);
    double e = epsilon();
    choose_strides(i.run, 2);
    const void *x = take_x(i.runs, i.run), *gamma = maybe(parameter_dtype, i.c), *beta = maybe(parameter_dtype, i.c);
    const normkit_channel_moments *moments = take_moments(i.c, 1, 0);
    void *y = take_y(i.runs, i.run, x);
    CALL(normkit_batch_norm_synchronized(dtype, parameter_dtype, i.layout, i.n, i.c, i.l, x, x_stride, gamma, beta,
                                         moments, e, y, y_stride));
}

void weight_penalty(int unused)
{
    (void)unused;
    int32_t norm = choice(NORMKIT_L1, NORMKIT_L2), accumulate = choice(0, 1);
    int64_t count = size();
    double strength = epsilon();
    no_strides();
    in_place = 0;
    const void *w = take_x(1, count);
    void *value = result(NORMKIT_F64, 1), *dw = byte() % 4 == 0 ? NULL : take_y(1, count, w);
    CALL(normkit_weight_penalty(dtype, norm, count, w, strength, value, dw, accumulate));
}

void fold_batch_norm(int unused)
{
    (void)unused;
    int64_t outer = size(), c = size(), inner = size();
    const int64_t count = times(times(outer, c), inner);
    double e = epsilon();
    no_strides();
    const void *weight = take_x(1, count), *gamma = maybe(dtype, c), *beta = maybe(dtype, c);
    const void *mean = given(dtype, c), *variance = positive(dtype, c);
    void *folded_weight = take_y(1, count, weight);
    int with_bias = byte() % 4;
    buffer *bias = with_bias == 0 ? NULL : strided(dtype, 1, c, 0, with_bias == 1);
    void *folded_bias = with_bias == 1 ? bias->data : output(dtype, c);
    CALL(normkit_fold_batch_norm(dtype, outer, c, inner, weight, bias ? bias->data : NULL, gamma, beta, mean, variance,
                                 e, folded_weight, folded_bias));
}
