/* Plans on a small problem: what is fused, against the same steps written down one by one; parts, a loop of the
 * caller's, integers, refusals. */
#include "check.h"
#include "problem.h"

static float residual[COUNT], after[COUNT], bias[COUNT], sum[COUNT], y[COUNT];
static float scale[SAMPLES * COUNT], shift[SAMPLES * COUNT], mean[COUNT], rstd[COUNT];
static unsigned char workspace[1 << 16];
static double expected_sum[COUNT], expected[COUNT];

static normkit_description description(int32_t method, int32_t layout)
{
    normkit_description d = {.struct_size = sizeof d, .method = method, .dtype = NORMKIT_F32, .layout = layout};
    d.rows = d.samples = SAMPLES, d.size = SIZE, d.channels = CHANNELS, d.positions = POSITIONS, d.groups = GROUPS;
    d.rows_per_sample = 1;
    d.epsilon = EPSILON;
    return d;
}

static normkit_operands operands(void)
{
    normkit_operands o = {.struct_size = sizeof o, .x = x, .residual = residual, .bias = bias, .gamma = gamma};
    o.beta = beta, o.sample_scale = scale, o.sample_shift = shift, o.residual_after = after;
    o.sum = sum, o.y = y, o.mean = mean, o.rstd = rstd;
    o.workspace = workspace, o.workspace_bytes = sizeof workspace;
    return o;
}

static void start(void)
{
    fill_problem();
    for (int i = 0; i < COUNT; i++) {
        residual[i] = (float)(i * 3 % 7) / 2 - 1, after[i] = (float)(i % 5) - 2, bias[i] = (float)(i % 4) / 4;
        sum[i] = y[i] = mean[i] = rstd[i] = OTHER;
    }
    for (int i = 0; i < SAMPLES * COUNT; i++)
        scale[i] = (float)(i % 9) / 8 - 0.5f, shift[i] = (float)(i % 6) / 4;
}

static double silu(double v) { return v / (1 + exp(-v)); }

/* Everything at once, with SiLU before and tanh after. parameters: how many gamma has. */
static void expect(int sets, int parameters)
{
    static double value[COUNT];
    for (int i = 0; i < COUNT; i++) {
        expected_sum[i] = (double)x[i] + residual[i] + bias[parameter_of[i]];
        value[i] = silu(expected_sum[i]);
    }
    for (int s = 0; s < sets; s++) {
        double total = 0, squares = 0;
        int count = 0;
        for (int i = 0; i < COUNT; i++)
            if (set_of[i] == s)
                total += value[i], count++;
        for (int i = 0; i < COUNT; i++)
            if (set_of[i] == s)
                squares += (value[i] - total / count) * (value[i] - total / count);
        for (int i = 0; i < COUNT; i++) {
            int p = parameter_of[i], of_sample = sample(i) * parameters + p;
            if (set_of[i] != s)
                continue;
            double n = (value[i] - total / count) / sqrt(squares / count + EPSILON) * gamma[p] + beta[p];
            expected[i] = tanh(n * (1 + (double)scale[of_sample]) + shift[of_sample]) + after[i];
        }
    }
}

static void in_turn(void *context, size_t count, normkit_task task, void *argument)
{
    *(size_t *)context += count;
    while (count-- > 0)
        task(argument, count);
}

static void fused(int32_t method, int32_t layout, int sets, int parameters)
{
    normkit_plan *plan = NULL;
    normkit_description d = description(method, layout);
    d.fusions = NORMKIT_ADD_RESIDUAL | NORMKIT_ADD_BIAS | NORMKIT_STORE_SUM | NORMKIT_SCALE_SHIFT_SAMPLES |
                NORMKIT_ADD_RESIDUAL_AFTER;
    d.activation_before = NORMKIT_SILU, d.activation_after = NORMKIT_TANH, d.one_plus_sample_scale = 1;
    expect(sets, parameters);

    CHECK_OK(normkit_plan_create(&d, &plan));
    normkit_operands o = operands();
    CHECK(normkit_plan_workspace(plan, 4) <= (int64_t)sizeof workspace && normkit_plan_most_parts(plan) >= 1);
    CHECK_OK(normkit_plan_run(plan, &o));
    CHECK_NEAR(sum, expected_sum, COUNT);
    CHECK_NEAR(y, expected, COUNT);

    float whole[COUNT];
    size_t calls = 0;
    memcpy(whole, y, sizeof y);
    memset(y, 0, sizeof y);
    CHECK_OK(normkit_plan_run_parallel(plan, &o, 4, in_turn, &calls));
    CHECK(memcmp(whole, y, sizeof y) == 0);
    CHECK(calls == 0 || calls > 1);
    memset(y, 0, sizeof y);
    for (int phase = 0; phase < normkit_plan_phases(plan); phase++)
        for (int part = 0; part < 3; part++)
            CHECK_OK(normkit_plan_run_part(plan, &o, phase, part, 3));
    CHECK(memcmp(whole, y, sizeof y) == 0);

    /* y where the second residual is, the sum where the first one is. */
    o.y = after, o.sum = residual;
    CHECK_OK(normkit_plan_run(plan, &o));
    CHECK(memcmp(whole, after, sizeof after) == 0);
    CHECK_NEAR(residual, expected_sum, COUNT);
    normkit_plan_destroy(plan);
}

/* { 1, 3 } and { -2, 2 } are standardized to { -1, 1 }, and that is -127 and 127 where a row has its own scale. */
static void integers(void)
{
    const float pairs[2][2] = {{1, 3}, {-2, 2}};
    int8_t q[2][2];
    uint8_t u[2][2];
    float scales[2];
    normkit_plan *plan;
    normkit_description d = {.struct_size = sizeof d, .method = NORMKIT_LAYER_NORM, .dtype = NORMKIT_F32};
    normkit_operands o = {.struct_size = sizeof o, .x = pairs, .y = q, .row_scales = scales, .workspace = workspace};
    o.workspace_bytes = sizeof workspace;
    d.rows = d.size = 2;
    d.output_dtype = NORMKIT_I8, d.fusions = NORMKIT_SCALE_PER_ROW;
    CHECK_OK(normkit_plan_create(&d, &plan));
    CHECK_OK(normkit_plan_run(plan, &o));
    CHECK(q[0][0] == -127 && q[0][1] == 127 && q[1][0] == -127 && q[1][1] == 127);
    CHECK(scales[0] == 1 / 127.0f && scales[1] == 1 / 127.0f);
    normkit_plan_destroy(plan);

    d.output_dtype = NORMKIT_U8, d.fusions = 0;
    o.y = u, o.output_scale = 0.5, o.zero_point = 1;
    CHECK_OK(normkit_plan_create(&d, &plan));
    CHECK_OK(normkit_plan_run(plan, &o));
    CHECK(u[0][0] == 0 && u[0][1] == 3 && u[1][0] == 0 && u[1][1] == 3);
    o.output_scale = 0;
    CHECK_STATUS(normkit_plan_run(plan, &o), NORMKIT_ERROR_OUTPUT_SCALE);
    normkit_plan_destroy(plan);
}

/* What a method has not is ignored, even where y is. */
static void without_parameters(int32_t method)
{
    normkit_plan *plan = NULL;
    normkit_description d = description(method, 0);
    d.outer = 1, d.slices = SAMPLES, d.inner = SIZE, d.norm = NORMKIT_L2;
    d.rank = 2, d.shape[0] = SAMPLES, d.shape[1] = SIZE, d.axis_count = 1, d.axes[0] = 1;
    CHECK_OK(normkit_plan_create(&d, &plan));
    normkit_operands o = operands();
    float plain[SAMPLES * SIZE];
    o.gamma = method == NORMKIT_WEIGHT_NORM ? gamma : NULL, o.beta = NULL;
    CHECK_OK(normkit_plan_run(plan, &o));
    memcpy(plain, y, sizeof plain);
    memset(y, 0, sizeof y);
    o.gamma = o.gamma ? o.gamma : y, o.beta = y;
    CHECK_OK(normkit_plan_run(plan, &o));
    CHECK(memcmp(plain, y, sizeof plain) == 0);
    normkit_plan_destroy(plan);
}

static void refusals(void)
{
    normkit_plan *plan = (normkit_plan *)(void *)x;
    normkit_description d = description(NORMKIT_LAYER_NORM, 0);
    d.struct_size = 8;
    CHECK_STATUS(normkit_plan_create(&d, &plan), NORMKIT_ERROR_DESCRIPTION);
    CHECK(plan == NULL);
    CHECK_STATUS(normkit_plan_create(NULL, &plan), NORMKIT_ERROR_DESCRIPTION);
    d.struct_size = sizeof d;
    CHECK_STATUS(normkit_plan_create(&d, NULL), NORMKIT_ERROR_PLAN_NULL);
    d.method = 99;
    CHECK_STATUS(normkit_plan_create(&d, &plan), NORMKIT_ERROR_METHOD);
    d.method = NORMKIT_WEIGHT_NORM, d.fusions = NORMKIT_ADD_RESIDUAL;
    CHECK_STATUS(normkit_plan_create(&d, &plan), NORMKIT_ERROR_FUSION);

    d.method = NORMKIT_LAYER_NORM;
    normkit_operands o = operands();
    CHECK_OK(normkit_plan_create(&d, &plan));
    o.residual = NULL;
    CHECK_STATUS(normkit_plan_run(plan, &o), NORMKIT_ERROR_RESIDUAL_NULL);
    CHECK_STATUS(normkit_plan_run(plan, NULL), NORMKIT_ERROR_OPERANDS);
    CHECK_STATUS(normkit_plan_run(NULL, &o), NORMKIT_ERROR_PLAN_NULL);
    o = operands();
    CHECK_STATUS(normkit_plan_run_part(plan, &o, 0, 3, 3), NORMKIT_ERROR_PARTS);
    CHECK_STATUS(normkit_plan_run_parallel(plan, &o, 2, NULL, NULL), NORMKIT_ERROR_PARALLEL_NULL);
    o.y = (float *)o.x + 1;
    CHECK_STATUS(normkit_plan_run(plan, &o), NORMKIT_ERROR_Y_OVERLAP);
    CHECK(normkit_plan_workspace(plan, 0) == -1 && normkit_plan_workspace(NULL, 1) == -1);
    normkit_plan_destroy(plan);
    normkit_plan_destroy(NULL);
}

int main(int argc, char **argv)
{
    if (uses_another_isa(argc, argv))
        return 1;
    start();
    fused(NORMKIT_LAYER_NORM, 0, sets_of_rows(), SIZE);
    start();
    fused(NORMKIT_LAYER_NORM_CHANNELS, NORMKIT_CHANNELS_FIRST, sets_of_positions(), CHANNELS);
    for (int layout = NORMKIT_CHANNELS_FIRST; layout <= NORMKIT_CHANNELS_LAST; layout++) {
        start();
        fused(NORMKIT_INSTANCE_NORM, layout, sets_of_groups(layout, CHANNELS), CHANNELS);
        start();
        fused(NORMKIT_GROUP_NORM, layout, sets_of_groups(layout, GROUPS), CHANNELS);
    }
    start();
    without_parameters(NORMKIT_WEIGHT_NORM);
    without_parameters(NORMKIT_NORMALIZE);
    without_parameters(NORMKIT_LP_NORMALIZE);
    integers();
    refusals();
    printf("plans on %s: %d failures\n", normkit_isa(), failures);
    return failures != 0;
}
