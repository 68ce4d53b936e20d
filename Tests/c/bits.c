/* Prints a hash of the output bits of every method, data type and way through memory, one line each. Equal lines
 * from two machines mean equal bits.
 *
 *   bits [THREADS]     how many threads the library may use, 1 unless given */
#include "values.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMIT = 1 << 19, PARAMETERS = 1 << 16 };     /* elements of a tensor; of a parameter or statistic */

static void *x, *y, *dy, *gamma, *beta, *mean, *spread, *running_mean, *running_variance;
static int32_t dtype, parameter_dtype;
static uint64_t hash;

/* FNV-1a over the output and the statistics of a call that has to succeed. */
static void add(const void *values, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)values)[i]) * 0x100000001b3u;
}

static void call(normkit_status status, int64_t count, int64_t statistics)
{
    if (status != NORMKIT_OK) {
        printf("%s\n", normkit_status_string(status));
        exit(1);
    }
    add(y, (size_t)count * element_size(dtype));
    add(mean, (size_t)statistics * element_size(statistics_type(dtype)));
    add(spread, (size_t)statistics * element_size(statistics_type(dtype)));
}

static void line(const char *method)
{
    static const char *const names[] = {"", "f32", "f64", "f16", "bf16"};
    printf("%-28s %-4s %-4s %016" PRIx64 "\n", method, names[dtype], names[parameter_dtype], hash);
    hash = 0xcbf29ce484222325u;
}

static const int64_t row_shapes[][2] = {
    {5, 1}, {3, 15}, {7, 16}, {4, 100}, {2, 1023}, {65, 768}, {1, 100003}, {0, 8}, {300, 700},
};
/* The last ones are large enough for several threads: with many sets, with few, and with few positions. */
static const int64_t shapes[][3] = {
    {1, 4, 1}, {2, 12, 5}, {3, 4, 49}, {2, 64, 196}, {1, 320, 7}, {16, 8, 1000}, {2, 4, 30000}, {300, 100, 7},
};
enum { ROW_SHAPES = sizeof row_shapes / sizeof *row_shapes, SHAPES = sizeof shapes / sizeof *shapes };

#define ROW int64_t n = row_shapes[i][0], size = row_shapes[i][1]
#define SHAPE int64_t n = shapes[i][0], c = shapes[i][1], l = shapes[i][2], count = n * c * l

static void rows(void)
{
    for (int i = 0; i < ROW_SHAPES; i++) {
        ROW;
        call(normkit_layer_norm(dtype, parameter_dtype, n, size, x, 0, gamma, beta, 1e-5, y, 0, mean, spread),
             n * size, n);
    }
    line("layer_norm");
    for (int i = 0; i < ROW_SHAPES; i++) {
        ROW;
        call(normkit_rms_norm(dtype, parameter_dtype, n, size, x, 0, gamma, NULL, i % 2, 1e-6, y, 0, spread),
             n * size, n);
    }
    line("rms_norm");
    for (int32_t norm = NORMKIT_L1; norm <= NORMKIT_MAX; norm++)
        for (int i = 0; i < ROW_SHAPES; i++) {
            ROW;
            int64_t slices = size < PARAMETERS ? size : 1;
            call(normkit_weight_norm(dtype, parameter_dtype, norm, 1, n, size, x, gamma, 0, y, spread), n * size, n);
            call(normkit_weight_norm(dtype, parameter_dtype, norm, n, slices, 1, x, gamma, 0, y, spread),
                 n * slices, slices);
        }
    line("weight_norm");
}

static void channels(int32_t layout)
{
    const char *const last = layout == NORMKIT_CHANNELS_LAST ? "_last" : "";
    char name[40];
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_batch_norm_inference(dtype, parameter_dtype, layout, n, c, l, x, 0, gamma, beta, running_mean,
                                          running_variance, 1e-5, y, 0), count, 0);
        call(normkit_batch_norm_training(dtype, parameter_dtype, layout, n + 1, c, l, x, 0, gamma, beta, 1e-5,
                                         running_mean, running_variance, i % 2, 0.1, y, 0, mean, spread),
             count + c * l, c);
        add(running_mean, (size_t)c * element_size(statistics_type(dtype)));
        add(running_variance, (size_t)c * element_size(statistics_type(dtype)));
    }
    snprintf(name, sizeof name, "batch_norm%s", last);
    line(name);
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_instance_norm(dtype, parameter_dtype, layout, n, c, l, x, 0, gamma, beta, 1e-5, y, 0,
                                   mean, spread), count, n * c);
    }
    snprintf(name, sizeof name, "instance_norm%s", last);
    line(name);
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_group_norm(dtype, parameter_dtype, layout, n, c, l, 4, x, 0, gamma, beta, 1e-5, y, 0,
                                mean, spread), count, n * 4);
    }
    snprintf(name, sizeof name, "group_norm%s", last);
    line(name);
}

static const int64_t shape_of_four[4] = {3, 8, 5, 20};

/* The axes of a subset; gives how many sets there are. */
static int64_t choose_axes(int subset, int32_t *axes, int32_t *axis_count)
{
    int64_t kept = 1;
    *axis_count = 0;
    for (int32_t a = 0; a < 4; a++)
        if (subset >> a & 1)
            axes[(*axis_count)++] = a;
        else
            kept *= shape_of_four[a];
    return kept;
}

static void other(void)
{
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_layer_norm_channels(dtype, parameter_dtype, n, c, l, x, 0, gamma, beta, 1e-5, y, 0,
                                         mean, spread), count, n * l);
    }
    line("layer_norm_channels");
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_scale_shift(dtype, parameter_dtype, n, c, l, x, gamma, beta, y), count, 0);
    }
    line("scale_shift");

    if (dtype != parameter_dtype)
        return;     /* the general form has no parameters */
    for (int subset = 0; subset < 16; subset++) {
        int32_t axes[4], axis_count;
        int64_t kept = choose_axes(subset, axes, &axis_count);
        call(normkit_normalize(dtype, 4, shape_of_four, axis_count, axes, x, 1e-9, subset % 2, y, mean, spread),
             2400, kept);
        call(normkit_moments(dtype, 4, shape_of_four, axis_count, axes, x, 0, mean, spread), 0, kept);
        call(normkit_lp_normalize(dtype, NORMKIT_L1 + subset % 3, 4, shape_of_four, axis_count, axes, x, 0, y, spread),
             2400, kept);
    }
    line("general_form");
}

/* ---- Backward: y is dx, mean and spread are the gradients of the parameters ------------------------------ */

static void rows_backward(void)
{
    for (int i = 0; i < ROW_SHAPES; i++) {
        ROW;
        call(normkit_layer_norm_backward(dtype, parameter_dtype, n, size, x, 0, dy, 0, gamma, NULL, NULL, 1e-5, y, 0,
                                         mean, spread, i % 2), n * size, size);
        call(normkit_layer_norm_backward(dtype, parameter_dtype, n, size, x, 0, dy, 0, gamma, running_mean,
                                         running_variance, 1e-5, y, 0, NULL, NULL, 0), n * size, 0);
    }
    line("layer_norm backward");
    for (int i = 0; i < ROW_SHAPES; i++) {
        ROW;
        call(normkit_rms_norm_backward(dtype, parameter_dtype, n, size, x, 0, dy, 0, gamma, i % 2, NULL, 1e-6, y, 0,
                                       mean, spread, 0), n * size, size);
    }
    line("rms_norm backward");
    for (int32_t norm = NORMKIT_L1; norm <= NORMKIT_MAX; norm++)
        for (int i = 0; i < ROW_SHAPES; i++) {
            ROW;
            int64_t slices = size < PARAMETERS ? size : 1;
            call(normkit_weight_norm_backward(dtype, parameter_dtype, norm, 1, n, size, x, dy, gamma, NULL, 0, y,
                                              mean, 0), n * size, n);
            call(normkit_weight_norm_backward(dtype, parameter_dtype, norm, n, slices, 1, x, dy, gamma, NULL, 0, y,
                                              mean, 0), n * slices, slices);
        }
    line("weight_norm backward");
}

static void channels_backward(int32_t layout)
{
    const char *const last = layout == NORMKIT_CHANNELS_LAST ? "_last" : "";
    char name[40];
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_batch_norm_inference_backward(dtype, parameter_dtype, layout, n, c, l, x, 0, dy, 0, gamma,
                                                   running_mean, running_variance, 1e-5, y, 0, mean, spread, 0),
             count, c);
        call(normkit_batch_norm_training_backward(dtype, parameter_dtype, layout, n + 1, c, l, x, 0, dy, 0, gamma,
                                                  NULL, NULL, 1e-5, y, 0, mean, spread, i % 2), count + c * l, c);
    }
    snprintf(name, sizeof name, "batch_norm%s backward", last);
    line(name);
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_instance_norm_backward(dtype, parameter_dtype, layout, n, c, l, x, 0, dy, 0, gamma, NULL, NULL,
                                            1e-5, y, 0, mean, spread, 0), count, c);
    }
    snprintf(name, sizeof name, "instance_norm%s backward", last);
    line(name);
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_group_norm_backward(dtype, parameter_dtype, layout, n, c, l, 4, x, 0, dy, 0, gamma, NULL, NULL,
                                         1e-5, y, 0, mean, spread, 0), count, c);
    }
    snprintf(name, sizeof name, "group_norm%s backward", last);
    line(name);
}

static void other_backward(void)
{
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_layer_norm_channels_backward(dtype, parameter_dtype, n, c, l, x, 0, dy, 0, gamma, NULL, NULL,
                                                  1e-5, y, 0, mean, spread, 0), count, c);
    }
    line("layer_norm_channels backward");
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        call(normkit_scale_shift_backward(dtype, parameter_dtype, n, c, l, x, dy, gamma, y, mean, spread, 0),
             count, c);
    }
    line("scale_shift backward");

    if (dtype != parameter_dtype)
        return;
    for (int subset = 0; subset < 16; subset++) {
        int32_t axes[4], axis_count;
        choose_axes(subset, axes, &axis_count);
        call(normkit_normalize_backward(dtype, 4, shape_of_four, axis_count, axes, x, dy, NULL, NULL, 1e-9,
                                        subset % 2, y), 2400, 0);
        call(normkit_moments_backward(dtype, 4, shape_of_four, axis_count, axes, x, running_mean, running_variance, 0,
                                      y), 2400, 0);
        call(normkit_lp_normalize_backward(dtype, NORMKIT_L1 + subset % 3, 4, shape_of_four, axis_count, axes, x, dy,
                                           NULL, 0, y), 2400, 0);
    }
    line("general_form backward");
}

/* ---- Moments in pieces, and weights ----------------------------------------------------------------------- */

static void synchronized(int32_t layout)
{
    static normkit_channel_moments moments[PARAMETERS], other[PARAMETERS];
    static normkit_channel_gradient sums[PARAMETERS];
    for (int i = 0; i < SHAPES; i++) {
        SHAPE;
        memset(moments, 0, sizeof moments);
        memset(other, 0, sizeof other);
        call(normkit_moments_accumulate(dtype, layout, n, c, l, x, 0, moments), 0, 0);
        call(normkit_moments_accumulate(dtype, layout, n, c, l, dy, 0, other), 0, 0);
        call(normkit_moments_merge(c, moments, other), 0, 0);
        add(moments, (size_t)c * sizeof *moments);
        call(normkit_moments_finish(statistics_type(dtype), c, moments, 1, 1e-5, mean, spread, NULL), 0, c);
        call(normkit_batch_norm_synchronized(dtype, parameter_dtype, layout, n, c, l, x, 0, gamma, beta, moments, 1e-5,
                                             y, 0), count, 0);
        call(normkit_batch_norm_gradient_sums(dtype, layout, n, c, l, x, 0, dy, 0, moments, 1e-5, sums), 0, 0);
        add(sums, (size_t)c * sizeof *sums);
        call(normkit_batch_norm_synchronized_backward(dtype, parameter_dtype, layout, n, c, l, x, 0, dy, 0, gamma,
                                                      moments, sums, 1e-5, y, 0), count, 0);
    }
    line(layout == NORMKIT_CHANNELS_LAST ? "synchronized_last" : "synchronized");
}

static void weights(void)
{
    double value;
    for (int i = 0; i < ROW_SHAPES; i++) {
        ROW;
        call(normkit_weight_penalty(dtype, NORMKIT_L1 + i % 2, n * size, x, 0.01, &value, y, i / 2 % 2), n * size, 0);
        add(&value, sizeof value);
        if (dtype == statistics_type(dtype))
            call(normkit_fold_batch_norm(dtype, 1, n, size, x, beta, gamma, NULL, running_mean, running_variance, 1e-5,
                                         y, mean), n * size, n);
    }
    line("weights");
}

int main(int argc, char **argv)
{
    void **const buffers[] = {&x, &y, &dy, &gamma, &beta, &mean, &spread, &running_mean, &running_variance};
    for (size_t b = 0; b < sizeof buffers / sizeof *buffers; b++) {
        *buffers[b] = calloc(b < 3 ? LIMIT : 2 * PARAMETERS, sizeof(double));
        if (!*buffers[b])
            return 1;
    }
    if (normkit_set_thread_count(argc > 1 ? atoi(argv[1]) : 1) != NORMKIT_OK)
        return 1;
    hash = 0xcbf29ce484222325u;
    for (dtype = NORMKIT_F32; dtype <= NORMKIT_BF16; dtype++) {
        fill(dtype, x, LIMIT, 0);
        fill(dtype, dy, LIMIT, 0);
        for (int wide = 0; wide <= (dtype == NORMKIT_F16 || dtype == NORMKIT_BF16); wide++) {
            parameter_dtype = wide ? NORMKIT_F32 : dtype;
            fill(parameter_dtype, gamma, 2 * PARAMETERS, 0);
            fill(parameter_dtype, beta, 2 * PARAMETERS, 0);
            fill(statistics_type(dtype), running_mean, PARAMETERS, 0);
            fill(statistics_type(dtype), running_variance, PARAMETERS, 1);
            rows();
            rows_backward();
            for (int32_t layout = NORMKIT_CHANNELS_FIRST; layout <= NORMKIT_CHANNELS_LAST; layout++) {
                channels(layout);
                channels_backward(layout);
                synchronized(layout);
            }
            other();
            other_backward();
            if (dtype == parameter_dtype)
                weights();
        }
    }
    return 0;
}
