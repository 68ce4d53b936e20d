/* Every backward function once, on a small problem, against differences: the loss sum(dy * y), with y from the forward
 * formulas in double, a little to both sides of each element and parameter. */
#include "check.h"
#include "problem.h"
#include <float.h>

enum { FIRST = NORMKIT_CHANNELS_FIRST, F32 = NORMKIT_F32 };

/* The errors that the header calls a few units. */
static const double UNITS = 4;

/* What the elements of S are divided by. */
typedef enum { DEVIATION, DEVIATION_AND_EPSILON, ROOT_MEAN_SQUARE, GIVEN, L1, L2, MAXIMUM } divisor;

/* One backward function. It uses `saved` statistics where they are not NULL, and the variables below. */
typedef normkit_status backward(int32_t layout, const float *saved_mean, const float *saved, int32_t accumulate);

static double epsilon;
static float dx[COUNT], dgamma[COUNT], dbeta[COUNT];
static float given_mean[COUNT], given_variance[COUNT];

/* ---- The loss and its differences --------------------------------------------------------------------- */

static double point[3][COUNT];      /* x, gamma and beta, in turn moved a little */
static double mean_of[COUNT], divisor_of[COUNT], norm_of[COUNT];

/* Forms what the elements of set s are standardized by. */
static void standardize(divisor by, int s)
{
    double sum = 0, absolute = 0, squares = 0, largest = 0, deviations = 0;
    int count = 0;
    for (int i = 0; i < COUNT; i++) {
        double value = point[0][i];
        if (set_of[i] == s)
            sum += value, absolute += fabs(value), squares += value * value, largest = fmax(largest, fabs(value)),
                count++;
    }
    for (int i = 0; i < COUNT; i++)
        if (set_of[i] == s)
            deviations += (point[0][i] - sum / count) * (point[0][i] - sum / count) / count;

    const int centred = by == DEVIATION || by == DEVIATION_AND_EPSILON;
    mean_of[s] = centred ? sum / count : by == GIVEN ? given_mean[s] : 0;
    norm_of[s] = by == L1 ? absolute : by == L2 ? sqrt(squares) : largest;
    divisor_of[s] = by == DEVIATION ? sqrt(deviations + epsilon)
                    : by == DEVIATION_AND_EPSILON ? sqrt(deviations) + epsilon
                    : by == ROOT_MEAN_SQUARE ? sqrt(squares / count + epsilon)
                    : by == GIVEN ? sqrt(given_variance[s] + epsilon) : norm_of[s] + epsilon;
}

static double z(int i) { return (point[0][i] - mean_of[set_of[i]]) / divisor_of[set_of[i]]; }

static double loss(divisor by, int sets)
{
    double total = 0;
    for (int s = 0; s < sets; s++)
        standardize(by, s);
    for (int i = 0; i < COUNT; i++)
        total += dy[i] * (z(i) * point[1][parameter_of[i]] + point[2][parameter_of[i]]);
    return total;
}

static double difference(double *moved, divisor by, int sets)
{
    const double here = *moved, step = 1e-5;
    *moved = here + step;
    double after = loss(by, sets);
    *moved = here - step;
    double before = loss(by, sets);
    *moved = here;
    loss(by, sets);
    return (after - before) / (2 * step);
}

/* ---- Comparison in the header's units ----------------------------------------------------------------- */

/* `times`: how often the gradient of each parameter has been added up. */
static void compare(divisor by, int sets, int gammas, int betas, int times)
{
    for (int i = 0; i < COUNT; i++) {
        double unit = 0;
        for (int j = 0; j < COUNT; j++)
            if (set_of[j] == set_of[i])
                unit = fmax(unit, fabs(point[1][parameter_of[j]] * dy[j] / divisor_of[set_of[j]]));
        CHECK(fabs(dx[i] - difference(&point[0][i], by, sets)) <= UNITS * FLT_EPSILON * unit);
    }
    for (int p = 0; p < gammas; p++) {
        double squares = 0, squares_of_dy = 0;
        for (int i = 0; i < COUNT; i++)
            if (parameter_of[i] == p)
                squares += dy[i] * z(i) * dy[i] * z(i), squares_of_dy += dy[i] * dy[i];
        double expected = times * difference(&point[1][p], by, sets);
        CHECK(fabs(dgamma[p] - expected) <= times * UNITS * FLT_EPSILON * sqrt(squares));
        if (p >= betas)
            continue;
        expected = times * difference(&point[2][p], by, sets);
        CHECK(fabs(dbeta[p] - expected) <= times * UNITS * FLT_EPSILON * sqrt(squares_of_dy));
    }
    CHECK(dgamma[gammas] == OTHER && dbeta[betas] == OTHER);
}

/* Statistics formed again and gradients overwritten; then saved statistics and gradients added. */
static void check(backward *call, int32_t layout, divisor by, double with_epsilon, int sets, int gammas, int betas)
{
    float saved_mean[COUNT], saved[COUNT];
    epsilon = with_epsilon;
    for (int i = 0; i < COUNT; i++) {
        point[0][i] = x[i], point[1][i] = gamma[i], point[2][i] = beta[i];
        dx[i] = dgamma[i] = dbeta[i] = OTHER;
    }
    CHECK_OK(call(layout, NULL, NULL, 0));
    compare(by, sets, gammas, betas, 1);
    for (int s = 0; s < sets; s++) {
        saved_mean[s] = (float)mean_of[s];
        saved[s] = (float)(by >= L1 ? norm_of[s] : 1 / divisor_of[s]);
    }
    memset(dx, 0, sizeof dx);
    CHECK_OK(call(layout, saved_mean, saved, 1));
    compare(by, sets, gammas, betas, 2);
}

/* ---- The functions ------------------------------------------------------------------------------------ */

static normkit_status layer(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)layout;
    return normkit_layer_norm_backward(F32, F32, SAMPLES, SIZE, x, 0, dy, 0, gamma, mean, rstd, epsilon, dx, 0,
                                       dgamma, dbeta, accumulate);
}

static normkit_status layer_channels(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)layout;
    return normkit_layer_norm_channels_backward(F32, F32, SAMPLES, CHANNELS, POSITIONS, x, 0, dy, 0, gamma, mean, rstd,
                                                epsilon, dx, 0, dgamma, dbeta, accumulate);
}

static normkit_status rms(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)layout, (void)mean;
    return normkit_rms_norm_backward(F32, F32, SAMPLES, SIZE, x, 0, dy, 0, gamma, 0, rstd, epsilon, dx, 0,
                                     dgamma, dbeta, accumulate);
}

static normkit_status rms_one_plus(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    float less[COUNT];      /* 1 + it is gamma, without rounding */
    (void)layout, (void)mean;
    for (int i = 0; i < COUNT; i++)
        less[i] = gamma[i] - 1;
    return normkit_rms_norm_backward(F32, F32, SAMPLES, SIZE, x, 0, dy, 0, less, 1, rstd, epsilon, dx, 0,
                                     dgamma, dbeta, accumulate);
}

static normkit_status batch(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    return normkit_batch_norm_training_backward(F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, dy, 0, gamma,
                                                mean, rstd, epsilon, dx, 0, dgamma, dbeta, accumulate);
}

static normkit_status frozen(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)mean, (void)rstd;
    /* Without the gradient of gamma, nothing depends on x. */
    normkit_status status = normkit_batch_norm_inference_backward(
        F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, NULL, 0, dy, 0, gamma, given_mean, given_variance, epsilon,
        dx, 0, NULL, dbeta, accumulate);
    if (status != NORMKIT_OK)
        return status;
    return normkit_batch_norm_inference_backward(
        F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, dy, 0, gamma, given_mean, given_variance, epsilon,
        NULL, 0, dgamma, NULL, accumulate);
}

static normkit_status instance(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    return normkit_instance_norm_backward(F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, dy, 0, gamma,
                                          mean, rstd, epsilon, dx, 0, dgamma, dbeta, accumulate);
}

static normkit_status group(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    return normkit_group_norm_backward(F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, GROUPS, x, 0, dy, 0, gamma,
                                       mean, rstd, epsilon, dx, 0, dgamma, dbeta, accumulate);
}

/* The norm takes the place of the layout. */
static normkit_status weight(int32_t norm, const float *mean, const float *norms, int32_t accumulate)
{
    (void)mean;
    return normkit_weight_norm_backward(F32, F32, norm, SAMPLES, CHANNELS, POSITIONS, x, dy, gamma, norms, epsilon,
                                        dx, dgamma, accumulate);
}

static normkit_status scale_shift(int32_t layout, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)layout, (void)mean, (void)rstd;
    return normkit_scale_shift_backward(F32, F32, SAMPLES, CHANNELS, POSITIONS, x, dy, gamma, dx, dgamma, dbeta,
                                        accumulate);
}

static const int64_t shape[3] = {SAMPLES, CHANNELS, POSITIONS};
static const int32_t axes[2] = {0, -1};

/* The rule takes the place of the layout. */
static normkit_status normalize(int32_t rule, const float *mean, const float *rstd, int32_t accumulate)
{
    (void)accumulate;
    return normkit_normalize_backward(F32, 3, shape, 2, axes, x, dy, mean, rstd, epsilon, rule, dx);
}

static normkit_status lp_normalize(int32_t norm, const float *mean, const float *norms, int32_t accumulate)
{
    (void)mean, (void)accumulate;
    return normkit_lp_normalize_backward(F32, norm, 3, shape, 2, axes, x, dy, norms, epsilon, dx);
}

static void every_method(void)
{
    check(layer, FIRST, DEVIATION, EPSILON, sets_of_rows(), SIZE, SIZE);
    check(rms, FIRST, ROOT_MEAN_SQUARE, EPSILON, sets_of_rows(), SIZE, SIZE);
    check(rms_one_plus, FIRST, ROOT_MEAN_SQUARE, EPSILON, sets_of_rows(), SIZE, SIZE);
    check(layer_channels, FIRST, DEVIATION, EPSILON, sets_of_positions(), CHANNELS, CHANNELS);
    for (int32_t layout = FIRST; layout <= NORMKIT_CHANNELS_LAST; layout++) {
        check(batch, layout, DEVIATION, EPSILON, sets_of_channels(layout), CHANNELS, CHANNELS);
        check(frozen, layout, GIVEN, EPSILON, sets_of_channels(layout), CHANNELS, CHANNELS);
        check(instance, layout, DEVIATION, EPSILON, sets_of_groups(layout, CHANNELS), CHANNELS, CHANNELS);
        check(group, layout, DEVIATION, EPSILON, sets_of_groups(layout, GROUPS), CHANNELS, CHANNELS);
    }
    for (int32_t norm = NORMKIT_L1; norm <= NORMKIT_MAX; norm++)
        check(weight, norm, (divisor)(L1 + norm - NORMKIT_L1), EPSILON, sets_of_channels(FIRST), CHANNELS, 0);

    for (int c = 0; c < CHANNELS; c++)
        given_mean[c] = 0, given_variance[c] = 1;
    check(scale_shift, FIRST, GIVEN, 0, sets_of_channels(FIRST), CHANNELS, CHANNELS);

    for (int c = 0; c < CHANNELS; c++)
        gamma[c] = 1;
    check(normalize, NORMKIT_EPSILON_INSIDE_SQRT, DEVIATION, EPSILON, sets_of_channels(FIRST), 0, 0);
    check(normalize, NORMKIT_EPSILON_OUTSIDE_SQRT, DEVIATION_AND_EPSILON, EPSILON, sets_of_channels(FIRST), 0, 0);
    for (int32_t norm = NORMKIT_L1; norm <= NORMKIT_MAX; norm++)
        check(lp_normalize, norm, (divisor)(L1 + norm - NORMKIT_L1), 0, sets_of_channels(FIRST), 0, 0);
}

/* mean 4, four elements: dx = 4 / 4 + 3 * 2 * (x - 4) / (4 - 1). */
static void moments(void)
{
    const float values[4] = {1, 3, 5, 7}, dmean = 4, dvariance = 3, expected[4] = {-5, -1, 3, 7};
    const int64_t four = 4;
    const int32_t axis = 0;
    CHECK_OK(normkit_moments_backward(F32, 1, &four, 1, &axis, values, &dmean, &dvariance, 1, dx));
    CHECK_NEAR(dx, expected, 4);
    CHECK_OK(normkit_moments_backward(F32, 1, &four, 1, &axis, values, &dmean, NULL, 1, dx));
    CHECK(dx[0] == 1 && dx[3] == 1);
}

/* x has mean 0 and variance 1, dy one element: dx is { 1/2, 0, -1/2, 0 }, in every dtype. */
static void dtypes(void)
{
    enum { ONE_F16 = 0x3c00, ONE_BF16 = 0x3f80, MINUS = 0x8000, HALF_F16 = 0x3800, HALF_BF16 = 0x3f00 };
    const double f64[4] = {1, -1, 1, -1}, one[4] = {1}, expected[4] = {0.5, 0, -0.5, 0};
    const uint16_t f16[4] = {ONE_F16, MINUS | ONE_F16, ONE_F16, MINUS | ONE_F16}, one_f16[4] = {ONE_F16};
    const uint16_t bf16[4] = {ONE_BF16, MINUS | ONE_BF16, ONE_BF16, MINUS | ONE_BF16}, one_bf16[4] = {ONE_BF16};
    double wide[4], dgamma_f64[4];
    uint16_t half[4];

    CHECK_OK(normkit_layer_norm_backward(NORMKIT_F64, NORMKIT_F64, 1, 4, f64, 0, one, 0, NULL, NULL, NULL, 0, wide, 0,
                                         dgamma_f64, NULL, 0));
    CHECK_NEAR(wide, expected, 4);
    CHECK_NEAR(dgamma_f64, one, 4);
    CHECK_OK(normkit_layer_norm_backward(NORMKIT_F16, F32, 1, 4, f16, 0, one_f16, 0, NULL, NULL, NULL, 0, half, 0,
                                         dgamma, NULL, 0));
    CHECK(half[0] == HALF_F16 && half[2] == (MINUS | HALF_F16) && dgamma[0] == 1 && dgamma[3] == 0);
    CHECK_OK(normkit_layer_norm_backward(NORMKIT_BF16, NORMKIT_BF16, 1, 4, bf16, 0, one_bf16, 0, NULL, NULL, NULL, 0,
                                         half, 0, NULL, dbeta, 0));
    CHECK(half[0] == HALF_BF16 && half[2] == (MINUS | HALF_BF16) && dbeta[0] == 1 && dbeta[3] == 0);
}

int main(int argc, char **argv)
{
    if (uses_another_isa(argc, argv))
        return 1;
    fill_problem();
    for (int c = 0; c < CHANNELS; c++)
        given_mean[c] = (float)c / 2, given_variance[c] = (float)(c + 1) / 2;
    every_method();
    moments();
    dtypes();
    printf("gradients on %s: %d failures\n", normkit_isa(), failures);
    return failures != 0;
}
