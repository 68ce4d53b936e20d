/* Every forward function once, on a small problem, against the two steps written down as they are:
 * statistics over the set S of each element, then scale and shift by the parameter of each element. And what is done
 * with weights, on numbers that are exact. */
#include "check.h"
#include "problem.h"

static float y[COUNT], mean[COUNT], spread[COUNT];

/* What is expected. */
static double expected[COUNT], expected_mean[COUNT], expected_variance[COUNT], expected_rstd[COUNT];

static void start(void)
{
    fill_problem();
    for (int i = 0; i < COUNT; i++)
        y[i] = mean[i] = spread[i] = OTHER;
}

/* centred 0: RMS, the mean is not subtracted. */
static void expect(int sets, int centred)
{
    for (int s = 0; s < sets; s++) {
        double sum = 0, squares = 0;
        int count = 0;
        for (int i = 0; i < COUNT; i++)
            if (set_of[i] == s)
                sum += x[i], count++;
        expected_mean[s] = centred ? sum / count : 0;
        for (int i = 0; i < COUNT; i++)
            if (set_of[i] == s)
                squares += (x[i] - expected_mean[s]) * (x[i] - expected_mean[s]);
        expected_variance[s] = squares / count;
        expected_rstd[s] = 1 / sqrt(expected_variance[s] + EPSILON);
    }
    for (int i = 0; i < COUNT; i++)
        expected[i] = (x[i] - expected_mean[set_of[i]]) * expected_rstd[set_of[i]] * gamma[parameter_of[i]]
                      + beta[parameter_of[i]];
}

static void compare(int sets)
{
    CHECK_NEAR(y, expected, COUNT);
    CHECK_NEAR(mean, expected_mean, sets);
    CHECK_NEAR(spread, expected_rstd, sets);
    CHECK(mean[sets] == OTHER && spread[sets] == OTHER);
}

static void rows(void)
{
    start();
    expect(sets_of_rows(), 1);
    CHECK_OK(normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, SAMPLES, SIZE, x, 0, gamma, beta, EPSILON,
                                y, 0, mean, spread));
    compare(SAMPLES);

    start();
    expect(SAMPLES, 0);
    CHECK_OK(normkit_rms_norm(NORMKIT_F32, NORMKIT_F32, SAMPLES, SIZE, x, 0, gamma, beta, 0, EPSILON, y, 0, spread));
    CHECK_NEAR(y, expected, COUNT);
    CHECK_NEAR(spread, expected_rstd, SAMPLES);

    for (int i = 0; i < SIZE; i++)
        gamma[i] -= 1;      /* 1 + gamma is what gamma was */
    CHECK_OK(normkit_rms_norm(NORMKIT_F32, NORMKIT_F32, SAMPLES, SIZE, x, 0, gamma, beta, 1, EPSILON, y, 0, NULL));
    CHECK_NEAR(y, expected, COUNT);
}

static void layer_norm_channels(void)
{
    start();
    expect(sets_of_positions(), 1);
    CHECK_OK(normkit_layer_norm_channels(NORMKIT_F32, NORMKIT_F32, SAMPLES, CHANNELS, POSITIONS, x, 0, gamma, beta,
                                         EPSILON, y, 0, mean, spread));
    compare(SAMPLES * POSITIONS);
}

static void batch(int layout)
{
    const int values = SAMPLES * POSITIONS;
    float running_mean[CHANNELS], running_variance[CHANNELS];
    double next_mean[CHANNELS], next_variance[CHANNELS];

    start();
    expect(sets_of_channels(layout), 1);
    for (int c = 0; c < CHANNELS; c++) {
        running_mean[c] = (float)c, running_variance[c] = (float)c + 1;
        next_mean[c] = 0.75 * c + 0.25 * expected_mean[c];
        next_variance[c] = 0.75 * (c + 1) + 0.25 * expected_variance[c] * values / (values - 1);
    }
    CHECK_OK(normkit_batch_norm_training(NORMKIT_F32, NORMKIT_F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0,
                                         gamma, beta, EPSILON, running_mean, running_variance,
                                         NORMKIT_RUNNING_UNBIASED, 0.25, y, 0, mean, spread));
    compare(CHANNELS);
    CHECK_NEAR(running_mean, next_mean, CHANNELS);
    CHECK_NEAR(running_variance, next_variance, CHANNELS);

    float variance[CHANNELS];
    for (int c = 0; c < CHANNELS; c++)
        mean[c] = (float)expected_mean[c], variance[c] = (float)expected_variance[c];
    memset(y, 0, sizeof y);
    CHECK_OK(normkit_batch_norm_inference(NORMKIT_F32, NORMKIT_F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, gamma,
                                          beta, mean, variance, EPSILON, y, 0));
    CHECK_NEAR(y, expected, COUNT);
}

static void instance_and_group(int layout)
{
    start();
    expect(sets_of_groups(layout, CHANNELS), 1);
    CHECK_OK(normkit_instance_norm(NORMKIT_F32, NORMKIT_F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, gamma, beta,
                                   EPSILON, y, 0, mean, spread));
    compare(SAMPLES * CHANNELS);

    start();
    expect(sets_of_groups(layout, GROUPS), 1);
    CHECK_OK(normkit_group_norm(NORMKIT_F32, NORMKIT_F32, layout, SAMPLES, CHANNELS, POSITIONS, GROUPS, x, 0, gamma,
                                beta, EPSILON, y, 0, mean, spread));
    compare(SAMPLES * GROUPS);
}

static void weight_norm(void)
{
    const float v[4] = {3, 4, -5, 12}, g[2] = {10, 26};
    const float by_row[4] = {6, 8, -10, 24};            /* slices { 3, 4 } and { -5, 12 } by their L2 norms */
    const float by_column[4] = {6, 26 / 3.0f, -10, 26}; /* slices { 3, -5 } and { 4, 12 } by their maxima */
    float w[4], norms[2];

    CHECK_OK(normkit_weight_norm(NORMKIT_F32, NORMKIT_F32, NORMKIT_L2, 1, 2, 2, v, g, 0, w, norms));
    CHECK_NEAR(w, by_row, 4);
    CHECK(norms[0] == 5 && norms[1] == 13);
    CHECK_OK(normkit_weight_norm(NORMKIT_F32, NORMKIT_F32, NORMKIT_MAX, 2, 2, 1, v, g, 0, w, norms));
    CHECK_NEAR(w, by_column, 4);
    CHECK(norms[0] == 5 && norms[1] == 12);
    CHECK_OK(normkit_weight_norm(NORMKIT_F32, NORMKIT_F32, NORMKIT_L1, 1, 1, 4, v, NULL, 0, w, norms));
    CHECK(norms[0] == 24 && w[3] == 0.5f);
}

static void general_form(void)
{
    const int64_t shape[3] = {SAMPLES, CHANNELS, POSITIONS};
    const int32_t axes[2] = {0, -1};
    double variance[CHANNELS];
    const int values = SAMPLES * POSITIONS;

    start();
    for (int c = 0; c < CHANNELS; c++)
        gamma[c] = 1, beta[c] = 0;
    expect(sets_of_channels(NORMKIT_CHANNELS_FIRST), 1);
    CHECK_OK(normkit_normalize(NORMKIT_F32, 3, shape, 2, axes, x, EPSILON, NORMKIT_EPSILON_INSIDE_SQRT,
                               y, mean, spread));
    compare(CHANNELS);

    for (int c = 0; c < CHANNELS; c++)
        variance[c] = expected_variance[c] * values / (values - 1);
    CHECK_OK(normkit_moments(NORMKIT_F32, 3, shape, 2, axes, x, 1, mean, spread));
    CHECK_NEAR(mean, expected_mean, CHANNELS);
    CHECK_NEAR(spread, variance, CHANNELS);

    const float values_in[4] = {3, 4, 0, 0}, unit[4] = {0.6f, 0.8f, 0, 0};
    const int64_t small[2] = {2, 2};
    const int32_t last = 1;
    float norms[2];
    CHECK_OK(normkit_lp_normalize(NORMKIT_F32, NORMKIT_L2, 2, small, 1, &last, values_in, 0, y, norms));
    CHECK_NEAR(y, unit, 4);
    CHECK(norms[0] == 5 && norms[1] == 0);

    const float scale[2] = {2, 3}, shift[2] = {1, -1}, shifted[4] = {7, 11, 1, -1};
    CHECK_OK(normkit_scale_shift(NORMKIT_F32, NORMKIT_F32, 2, 2, 1, values_in, scale, shift, y));
    CHECK_NEAR(y, shifted, 4);
}

static void weight_penalty(void)
{
    const float w[4] = {1, -2, 0, 3}, slope[4] = {0.5f, -0.5f, 0, 0.5f}, more[4] = {1, -1.5f, 0, 2};
    float dw[4];
    double value;

    CHECK_OK(normkit_weight_penalty(NORMKIT_F32, NORMKIT_L1, 4, w, 0.5, &value, dw, 0));
    CHECK(value == 3 && memcmp(dw, slope, sizeof dw) == 0);
    CHECK_OK(normkit_weight_penalty(NORMKIT_F32, NORMKIT_L2, 4, w, 0.5, &value, dw, 1));
    CHECK(value == 3.5);
    CHECK_NEAR(dw, more, 4);
}

/* gamma * rstd is 1 and 6. */
static void fold_batch_norm(void)
{
    const double weight[2][2] = {{1, 2}, {-3, 1}}, bias[2] = {1, -1}, scale[2] = {2, 3}, shift[2] = {0.5, 1};
    const double average[2] = {1, 2}, variance[2] = {4, 0.25};
    const double folded[4] = {1, 2, -18, 6}, folded_bias[2] = {0.5, -17};
    const double by_input[4] = {1, 12, -3, 6};      /* [inputs, outputs], as a transposed convolution's */
    double w[4], b[2];

    CHECK_OK(normkit_fold_batch_norm(NORMKIT_F64, 1, 2, 2, weight, bias, scale, shift, average, variance, 0, w, b));
    CHECK_NEAR(w, folded, 4);
    CHECK_NEAR(b, folded_bias, 2);
    CHECK_OK(normkit_fold_batch_norm(NORMKIT_F64, 2, 2, 1, weight, NULL, scale, NULL, average, variance, 0, w, b));
    CHECK_NEAR(w, by_input, 4);
    CHECK(b[0] == -1 && b[1] == -12);
}

/* { 1, -1 } has mean 0 and variance 1, in every dtype. */
static void dtypes(void)
{
    const double f64[2] = {1, -1};
    const uint16_t f16[2] = {0x3c00, 0xbc00}, bf16[2] = {0x3f80, 0xbf80};
    double wide[2];
    uint16_t half[2];
    float statistics[2];

    CHECK_OK(normkit_layer_norm(NORMKIT_F64, NORMKIT_F64, 1, 2, f64, 0, NULL, NULL, 0, wide, 0, NULL, NULL));
    CHECK(memcmp(wide, f64, sizeof wide) == 0);
    CHECK_OK(normkit_layer_norm(NORMKIT_F16, NORMKIT_F32, 1, 2, f16, 0, NULL, NULL, 0, half, 0, statistics, NULL));
    CHECK(memcmp(half, f16, sizeof half) == 0 && statistics[0] == 0);
    CHECK_OK(normkit_layer_norm(NORMKIT_BF16, NORMKIT_BF16, 1, 2, bf16, 0, NULL, NULL, 0, half, 0, NULL, statistics));
    CHECK(memcmp(half, bf16, sizeof half) == 0 && statistics[0] == 1);
}

static void about_the_library(void)
{
    CHECK(normkit_version() == NORMKIT_VERSION);
    CHECK(strcmp(normkit_version_string(), "0.1.0") == 0);
    CHECK(strcmp(normkit_isa(), "none") != 0);
    for (int status = -1; status <= 130; status++)
        CHECK(normkit_status_string(status) && normkit_status_string(status)[0]);
    CHECK(strcmp(normkit_status_string(NORMKIT_ERROR_X_NULL), normkit_status_string(NORMKIT_ERROR_Y_NULL)) != 0);
}

int main(int argc, char **argv)
{
    if (uses_another_isa(argc, argv))
        return 1;
    about_the_library();
    rows();
    layer_norm_channels();
    for (int layout = NORMKIT_CHANNELS_FIRST; layout <= NORMKIT_CHANNELS_LAST; layout++) {
        batch(layout);
        instance_and_group(layout);
    }
    weight_norm();
    general_form();
    weight_penalty();
    fold_batch_norm();
    dtypes();
    printf("functions on %s: %d failures\n", normkit_isa(), failures);
    return failures != 0;
}
