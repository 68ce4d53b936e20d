/* Prints a hash of the output bits of plans with everything that can be fused, one line for each method, data type
 * and activation. Equal lines from two machines mean equal bits.
 *
 *   plan_bits [PARTS]     into how many parts each run is cut, 1 unless given */
#include "values.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 1 << 17, PARAMETERS = 1 << 12, WORKSPACE = 1 << 22 };    /* elements, and bytes */

static void *x, *residual, *after, *sum, *y, *bias, *gamma, *beta, *scale, *shift;
static void *mean, *rstd, *given_mean, *given_variance, *workspace;
static void **const parameters[] = {&bias, &gamma, &beta, &scale, &shift};
static uint64_t hash;

static void require(int condition, const char *what)
{
    if (condition)
        return;
    printf("%s\n", what);
    exit(1);
}

/* FNV-1a. */
static void add(const void *values, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)values)[i]) * 0x100000001b3u;
}

static const int64_t shapes[][3] = {{3, 5, 7}, {2, 64, 49}, {4, 96, 151}, {2, 320, 1}, {6, 8, 1000}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void in_turn(void *context, size_t count, normkit_task task, void *argument)
{
    (void)context;
    for (size_t i = 0; i < count; i++)
        task(argument, i);
}

static void run(const normkit_description *d, int32_t parts, int64_t count)
{
    normkit_plan *plan;
    normkit_status status = normkit_plan_create(d, &plan);
    require(status == NORMKIT_OK, normkit_status_string(status));
    require(normkit_plan_workspace(plan, parts) <= WORKSPACE, "the workspace is too small");
    normkit_operands o = {.struct_size = sizeof o, .x = x, .residual = residual, .bias = bias, .gamma = gamma};
    o.beta = beta, o.given_mean = given_mean, o.given_variance = given_variance;
    o.sample_scale = scale, o.sample_shift = shift, o.residual_after = after, o.sum = sum, o.y = y;
    o.mean = mean, o.rstd = rstd, o.output_scale = 0.0625;
    o.workspace = workspace, o.workspace_bytes = WORKSPACE;
    status = normkit_plan_run_parallel(plan, &o, parts, in_turn, NULL);
    require(status == NORMKIT_OK, normkit_status_string(status));
    normkit_plan_destroy(plan);

    add(y, (size_t)count * element_size(d->output_dtype ? d->output_dtype : d->dtype));
    add(sum, (size_t)count * element_size(d->dtype));
}

static void plans(int32_t dtype, int32_t method, const char *name, int32_t parts)
{
    static const char *const names[] = {"", "f32", "f64", "f16", "bf16"};
    int is_of_rows = method == NORMKIT_LAYER_NORM || method == NORMKIT_RMS_NORM;
    for (int32_t activation = NORMKIT_IDENTITY; activation <= NORMKIT_HARD_SWISH; activation++) {
        hash = 0xcbf29ce484222325u;
        for (int i = 0; i < SHAPES; i++)
            for (int32_t layout = NORMKIT_CHANNELS_FIRST; layout <= NORMKIT_CHANNELS_LAST; layout++) {
                normkit_description d = {.struct_size = sizeof d, .method = method, .dtype = dtype};
                d.parameter_dtype = i % 2 && dtype != NORMKIT_F64 ? NORMKIT_F32 : dtype;
                d.layout = layout;
                d.samples = shapes[i][0], d.channels = shapes[i][1], d.positions = shapes[i][2], d.groups = 1;
                if (d.channels % 4 == 0)
                    d.groups = 4;
                d.rows = d.samples * d.positions, d.size = d.channels, d.rows_per_sample = d.positions;
                d.fusions = NORMKIT_ADD_RESIDUAL | NORMKIT_ADD_BIAS | NORMKIT_STORE_SUM |
                            NORMKIT_SCALE_SHIFT_SAMPLES | NORMKIT_ADD_RESIDUAL_AFTER;
                d.activation_before = (activation + i) % (NORMKIT_HARD_SWISH + 1), d.activation_after = activation;
                d.slope = 0.01, d.epsilon = 1e-5;
                if (i == 2 && dtype != NORMKIT_F64)
                    d.output_dtype = NORMKIT_I8;
                for (int b = 0; b < 5; b++)
                    fill(d.parameter_dtype, *parameters[b], PARAMETERS, 0);
                run(&d, parts, d.samples * d.channels * d.positions);
                if (is_of_rows)
                    break;
            }
        printf("plan of %-21s %-4s %d %016" PRIx64 "\n", name, names[dtype], (int)activation, hash);
    }
}

static void allocate(void **buffer, int64_t count)
{
    *buffer = calloc((size_t)count, sizeof(double));
    require(*buffer != NULL, "there is no memory");
}

int main(int argc, char **argv)
{
    static const struct {
        int32_t method;
        const char *name;
    } methods[] = {
        {NORMKIT_LAYER_NORM, "layer_norm"}, {NORMKIT_RMS_NORM, "rms_norm"},
        {NORMKIT_LAYER_NORM_CHANNELS, "layer_norm_channels"}, {NORMKIT_BATCH_NORM_INFERENCE, "batch_norm_inference"},
        {NORMKIT_INSTANCE_NORM, "instance_norm"}, {NORMKIT_GROUP_NORM, "group_norm"},
    };
    void **const large[] = {&x, &residual, &after, &sum, &y};
    void **const statistics[] = {&mean, &rstd, &given_mean, &given_variance};
    for (int b = 0; b < 5; b++)
        allocate(large[b], LIMIT), allocate(parameters[b], PARAMETERS);
    for (int b = 0; b < 4; b++)
        allocate(statistics[b], LIMIT);
    allocate(&workspace, WORKSPACE / (int64_t)sizeof(double));
    int32_t parts = argc > 1 ? atoi(argv[1]) : 1;
    for (int32_t dtype = NORMKIT_F32; dtype <= NORMKIT_BF16; dtype++) {
        for (int b = 0; b < 3; b++)
            fill(dtype, *large[b], LIMIT, 0);
        fill(statistics_type(dtype), given_mean, PARAMETERS, 0);
        fill(statistics_type(dtype), given_variance, PARAMETERS, 1);
        for (size_t m = 0; m < sizeof methods / sizeof *methods; m++)
            plans(dtype, methods[m].method, methods[m].name, parts);
    }
    return 0;
}
