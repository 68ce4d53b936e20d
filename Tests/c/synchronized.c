/* Statistics in pieces: exact sums of small numbers, and batch normalization of a batch that two processes share,
 * against the whole batch in one call. */
#include "check.h"
#include "problem.h"

enum { F32 = NORMKIT_F32, FIRST = NORMKIT_CHANNELS_FIRST };

static void moments_of_small_numbers(void)
{
    const float first[2][2] = {{1, 3}, {-2, 2}}, second[2][2] = {{5, 7}, {6, 6}};   /* two channels */
    normkit_channel_moments a[2] = {{0, 0, 0}}, b[2] = {{0, 0, 0}}, none[2] = {{0, 0, 0}};
    double mean[2], variance[2], rstd[2];
    float mean_f32[2];

    CHECK_OK(normkit_moments_accumulate(F32, FIRST, 1, 2, 2, first, 0, a));
    CHECK(a[0].count == 2 && a[0].mean == 2 && a[0].m2 == 2);
    CHECK(a[1].count == 2 && a[1].mean == 0 && a[1].m2 == 8);
    CHECK_OK(normkit_moments_accumulate(F32, FIRST, 1, 2, 2, second, 0, b));
    CHECK_OK(normkit_moments_merge(2, a, none));
    CHECK(a[0].count == 2 && a[0].mean == 2 && a[0].m2 == 2);
    CHECK_OK(normkit_moments_merge(2, none, a));
    CHECK(none[1].count == 2 && none[1].mean == 0 && none[1].m2 == 8);

    /* { 1, 3, 5, 7 } and { -2, 2, 6, 6 }, merged or accumulated in turn */
    CHECK_OK(normkit_moments_merge(2, a, b));
    CHECK_OK(normkit_moments_accumulate(F32, FIRST, 1, 2, 2, second, 0, none));
    CHECK(a[0].count == 4 && a[0].mean == 4 && a[0].m2 == 20 && none[0].count == 2 + 2);
    CHECK(a[1].count == 4 && a[1].mean == 3 && a[1].m2 == 44 && none[1].mean == 3 && none[1].m2 == 44);

    CHECK_OK(normkit_moments_finish(NORMKIT_F64, 2, a, 0, 4, mean, variance, rstd));
    CHECK(mean[0] == 4 && mean[1] == 3 && variance[0] == 5 && variance[1] == 11);
    CHECK(fabs(rstd[0] - 1 / 3.0) < 1e-15);
    CHECK_OK(normkit_moments_finish(F32, 2, a, 2, 0, mean_f32, NULL, NULL));
    CHECK(mean_f32[0] == 4 && mean_f32[1] == 3);
    CHECK_OK(normkit_moments_finish(NORMKIT_F64, 2, a, 2, 0, NULL, variance, NULL));
    CHECK(variance[0] == 10 && variance[1] == 22);

    CHECK_STATUS(normkit_moments_finish(F32, 2, a, 4, 0, mean_f32, NULL, NULL), NORMKIT_ERROR_CORRECTION);
    a[1].count = 0;
    CHECK_STATUS(normkit_moments_finish(F32, 2, a, 0, 0, mean_f32, NULL, NULL), NORMKIT_ERROR_EMPTY_SET);
    a[1].count = -1;
    CHECK_STATUS(normkit_moments_merge(2, b, a), NORMKIT_ERROR_MOMENTS);
}

/* The whole batch in one call, and one sample for each of two processes. Both are near the exact result. */
static void shared_batch(int32_t layout)
{
    float whole[COUNT], shares[COUNT], whole_dgamma[CHANNELS], whole_dbeta[CHANNELS];
    double dgamma[CHANNELS], dbeta[CHANNELS];
    normkit_channel_moments all[CHANNELS] = {{0, 0, 0}}, share[CHANNELS];
    normkit_channel_gradient sums[SAMPLES][CHANNELS], total[CHANNELS] = {{0, 0}};

    fill_problem();
    for (int process = 0; process < SAMPLES; process++) {
        for (int c = 0; c < CHANNELS; c++)
            share[c] = (normkit_channel_moments){0, 0, 0};
        CHECK_OK(normkit_moments_accumulate(F32, layout, 1, CHANNELS, POSITIONS, x + process * SIZE, 0, share));
        CHECK_OK(normkit_moments_merge(CHANNELS, all, share));
    }

    CHECK_OK(normkit_batch_norm_training(F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, gamma, beta, EPSILON,
                                         NULL, NULL, 0, 0, whole, 0, NULL, NULL));
    for (int process = 0; process < SAMPLES; process++)
        CHECK_OK(normkit_batch_norm_synchronized(F32, F32, layout, 1, CHANNELS, POSITIONS, x + process * SIZE, 0,
                                                 gamma, beta, all, EPSILON, shares + process * SIZE, 0));
    CHECK_NEAR(shares, whole, COUNT);

    CHECK_OK(normkit_batch_norm_training_backward(F32, F32, layout, SAMPLES, CHANNELS, POSITIONS, x, 0, dy, 0, gamma,
                                                  NULL, NULL, EPSILON, whole, 0, whole_dgamma, whole_dbeta, 0));
    for (int process = 0; process < SAMPLES; process++) {
        CHECK_OK(normkit_batch_norm_gradient_sums(F32, layout, 1, CHANNELS, POSITIONS, x + process * SIZE, 0,
                                                  dy + process * SIZE, 0, all, EPSILON, sums[process]));
        for (int c = 0; c < CHANNELS; c++)
            total[c].dy += sums[process][c].dy, total[c].dy_z += sums[process][c].dy_z;
    }
    for (int process = 0; process < SAMPLES; process++)
        CHECK_OK(normkit_batch_norm_synchronized_backward(
            F32, F32, layout, 1, CHANNELS, POSITIONS, x + process * SIZE, 0, dy + process * SIZE, 0, gamma, all, total,
            EPSILON, shares + process * SIZE, 0));
    CHECK_NEAR(shares, whole, COUNT);
    for (int c = 0; c < CHANNELS; c++)
        dgamma[c] = total[c].dy_z, dbeta[c] = total[c].dy;
    CHECK_NEAR(dgamma, whole_dgamma, CHANNELS);
    CHECK_NEAR(dbeta, whole_dbeta, CHANNELS);
}

int main(int argc, char **argv)
{
    if (uses_another_isa(argc, argv))
        return 1;
    moments_of_small_numbers();
    shared_batch(FIRST);
    shared_batch(NORMKIT_CHANNELS_LAST);
    printf("synchronized on %s: %d failures\n", normkit_isa(), failures);
    return failures != 0;
}
