/* Plans: a description from the input, operands as it asks for, and a run as a whole or in parts. */
#include "../c/values.h"
#include "fuzz.h"
#include <math.h>

static normkit_description d;
static normkit_operands o;

static int is_image(int method)
{
    return method == NORMKIT_LAYER_NORM_CHANNELS || (method >= NORMKIT_BATCH_NORM_INFERENCE &&
                                                     method <= NORMKIT_GROUP_NORM);
}

static int is_of_rows(int method) { return method == NORMKIT_LAYER_NORM || method == NORMKIT_RMS_NORM; }
static int has(int fusion) { return (d.fusions & fusion) != 0; }

/* ---- The description ---------------------------------------------------------------------------------- */

/* Memory of x, what has a parameter, and what has a statistic. */
typedef struct {
    int64_t runs, run, parameters, sets, samples;
} extents;

static extents take_sizes(int method)
{
    extents e = {.runs = 1};
    if (is_of_rows(method)) {
        e.sets = e.runs = d.rows = size(), e.parameters = e.run = d.size = size();
    } else if (is_image(method)) {
        image i = take_image(method == NORMKIT_LAYER_NORM_CHANNELS ? CHANNELS_AT_POSITIONS
                             : method == NORMKIT_BATCH_NORM_INFERENCE ? INFERENCE
                             : method == NORMKIT_BATCH_NORM_TRAINING ? TRAINING
                             : method == NORMKIT_INSTANCE_NORM ? INSTANCE : GROUP);
        d.layout = i.layout, d.samples = i.n, d.channels = i.c, d.positions = i.l, d.groups = i.groups;
        e = (extents){i.runs, i.run, i.c, i.sets, i.n};
    } else if (method == NORMKIT_WEIGHT_NORM || method == NORMKIT_SCALE_SHIFT) {
        d.outer = size(), d.slices = size(), d.inner = size();
        e.run = times(times(d.outer, d.slices), d.inner), e.sets = e.parameters = d.slices;
    } else {
        tensor t = take_tensor();
        d.rank = t.rank, d.axis_count = t.axis_count;
        memcpy(d.shape, t.shape, sizeof d.shape);
        memcpy(d.axes, t.axes, sizeof d.axes);
        e.run = t.count, e.sets = t.kept;
    }
    if (method == NORMKIT_WEIGHT_NORM || method == NORMKIT_LP_NORMALIZE)
        d.norm = choice(NORMKIT_L1, NORMKIT_MAX);
    if (method == NORMKIT_NORMALIZE)
        d.epsilon_rule = choice(0, 1);
    if (method == NORMKIT_RMS_NORM)
        d.one_plus_gamma = choice(0, 1);
    if (method == NORMKIT_BATCH_NORM_TRAINING)
        d.running_variance_rule = choice(0, 1), d.momentum = byte() / 255.0;
    return e;
}

static void take_activations(int fusable)
{
    static const double slopes[] = {0.01, 0, -1, 1, 0.5, NAN, INFINITY, -INFINITY};
    int32_t *const both[] = {&d.activation_before, &d.activation_after};
    for (int i = 0; i < 2; i++) {
        if (byte() % 4 == 0)
            *both[i] = choice(NORMKIT_IDENTITY, NORMKIT_HARD_SWISH);
        refused |= !fusable && *both[i] != NORMKIT_IDENTITY;
    }
    if (d.activation_before == NORMKIT_LEAKY_RELU || d.activation_after == NORMKIT_LEAKY_RELU) {
        d.slope = slopes[byte() % 8];
        refused |= !isfinite(d.slope);
    }
}

/* Fusions, activations and the type of y, mostly of those that the method has. */
static void take_fusions(int method, extents *e)
{
    int fusable = is_of_rows(method) || (is_image(method) && method != NORMKIT_BATCH_NORM_TRAINING);
    if (fusable || sometimes())
        d.fusions = byte() & 31;
    if (has(NORMKIT_STORE_SUM) && !has(NORMKIT_ADD_RESIDUAL | NORMKIT_ADD_BIAS) && !sometimes())
        d.fusions -= NORMKIT_STORE_SUM;
    if (sometimes())
        d.fusions |= 1 << (byte() % 32);
    take_activations(fusable);
    if (byte() % 4 == 0) {
        d.output_dtype = byte() % 8;
        int wide = dtype == NORMKIT_F64 || d.output_dtype == NORMKIT_F64;
        int other = d.output_dtype != 0 && d.output_dtype != dtype;
        refused |= d.output_dtype > NORMKIT_U8 || (other && (wide || !fusable));
        if (d.output_dtype == NORMKIT_I8 && is_of_rows(method) && byte() % 2)
            d.fusions |= NORMKIT_SCALE_PER_ROW;
    }
    refused |= d.fusions != 0 && !fusable;
    refused |= (d.fusions & ~63) != 0 || (has(NORMKIT_STORE_SUM) && !has(NORMKIT_ADD_RESIDUAL | NORMKIT_ADD_BIAS));
    refused |= has(NORMKIT_SCALE_PER_ROW) && !(is_of_rows(method) && d.output_dtype == NORMKIT_I8);
    if (!has(NORMKIT_SCALE_SHIFT_SAMPLES))
        return;
    d.one_plus_sample_scale = choice(0, 1);
    if (!is_of_rows(method))
        return;
    d.rows_per_sample = sometimes() ? size() : 1 + byte() % 4;
    if (d.rows_per_sample > 0 && d.rows > 0 && d.rows % d.rows_per_sample != 0 && !sometimes())
        d.rows_per_sample = 1;
    refused |= d.rows_per_sample < 1 || (d.rows >= 0 && d.rows % d.rows_per_sample != 0);
    e->samples = d.rows_per_sample < 1 ? 0 : d.rows / d.rows_per_sample;
}

static void take_strides(int64_t run)
{
    int64_t *const strides[] = {&d.x_stride, &d.y_stride, &d.residual_stride, &d.sum_stride, &d.residual_after_stride};
    const int used[] = {1, 1, has(NORMKIT_ADD_RESIDUAL), has(NORMKIT_STORE_SUM), has(NORMKIT_ADD_RESIDUAL_AFTER)};
    for (int i = 0; i < 5 && !overlap; i++)
        if (used[i])
            *strides[i] = in_place && i > 0 ? d.x_stride : stride(run);
}

/* ---- Operands ----------------------------------------------------------------------------------------- */

static void *large(int64_t runs, int64_t run, int64_t a_stride, int written)
{
    return strided(dtype, runs, run, a_stride, written)->data;
}

/* y over x or a residual, where `in_place` says so and its type is theirs; sum over another one. */
static void take_outputs(const extents *e)
{
    const void **const inputs[] = {&o.x, &o.residual, &o.residual_after};
    const int64_t strides[] = {d.x_stride, d.residual_stride, d.residual_after_stride};
    const int is_there[] = {1, has(NORMKIT_ADD_RESIDUAL), has(NORMKIT_ADD_RESIDUAL_AFTER)};
    int of_y = -1, of_sum = -1, same_type = d.output_dtype == 0 || d.output_dtype == dtype;
    if (in_place) {
        of_y = same_type ? byte() % 3 : -1, of_sum = has(NORMKIT_STORE_SUM) ? byte() % 3 : -1;
        of_y = of_y >= 0 && is_there[of_y] ? of_y : -1;
        of_sum = of_sum == of_y || of_sum == 2 || (of_sum >= 0 && !is_there[of_sum]) ? -1 : of_sum;
    }
    for (int i = 0; i < 3; i++)
        if (is_there[i])
            *inputs[i] = large(e->runs, e->run, strides[i], i == of_y || i == of_sum);
    int32_t type = d.output_dtype == 0 ? dtype : d.output_dtype;
    void *part = overlap ? part_of(first_buffer()) : NULL;
    o.y = of_y >= 0 ? (void *)*inputs[of_y] : part ? part : strided(type, e->runs, e->run, d.y_stride, 1)->data;
    if (has(NORMKIT_STORE_SUM))
        o.sum = of_sum >= 0 ? (void *)*inputs[of_sum] : large(e->runs, e->run, d.sum_stride, 1);
}

static void take_parameters(int method, const extents *e)
{
    int32_t of = statistics_type(dtype);
    if (method != NORMKIT_NORMALIZE && method != NORMKIT_LP_NORMALIZE)
        o.gamma = maybe(parameter_dtype, e->parameters);
    if (o.gamma && method != NORMKIT_WEIGHT_NORM)
        o.beta = maybe(parameter_dtype, e->parameters);
    if (has(NORMKIT_ADD_BIAS))
        o.bias = given(parameter_dtype, e->parameters);
    if (method == NORMKIT_BATCH_NORM_INFERENCE)
        o.given_mean = given(of, e->sets), o.given_variance = positive(of, e->sets);
    if (has(NORMKIT_SCALE_SHIFT_SAMPLES)) {
        o.sample_scale = maybe(parameter_dtype, times(e->samples, e->parameters));
        o.sample_shift = o.sample_scale ? maybe(parameter_dtype, times(e->samples, e->parameters))
                                        : given(parameter_dtype, times(e->samples, e->parameters));
    }
}

static void take_statistics(int method, const extents *e)
{
    int32_t of = statistics_type(dtype);
    if (method == NORMKIT_WEIGHT_NORM || method == NORMKIT_LP_NORMALIZE)
        o.norms = result(of, e->sets);
    else if (method != NORMKIT_BATCH_NORM_INFERENCE && method != NORMKIT_SCALE_SHIFT)
        o.mean = method == NORMKIT_RMS_NORM ? NULL : result(of, e->sets), o.rstd = result(of, e->sets);
    if (method == NORMKIT_BATCH_NORM_TRAINING && byte() % 2)
        o.running_mean = output(of, e->sets), o.running_variance = output(of, e->sets);
    if (has(NORMKIT_SCALE_PER_ROW)) {
        o.row_scales = output(NORMKIT_F32, d.rows);
    } else if (d.output_dtype >= NORMKIT_I8) {
        static const double scales[] = {1, 0.02, 3, 1e-20, 1e20, 0, -1, NAN};
        int low = d.output_dtype == NORMKIT_I8 ? -128 : 0;
        o.output_scale = scales[byte() % 8], o.zero_point = low + byte();
        if (sometimes())
            o.zero_point = byte() % 2 ? low - 1 : low + 256;
        refused |= !(o.output_scale > 0) || o.zero_point < low || o.zero_point > low + 255;
    }
}

/* One of the operands that the plan needs is missing, or the structure is another one; and what it does not need may
 * be anything. */
static void spoil(const extents *e)
{
    const void **const needed[] = {&o.x, &o.residual, &o.bias, &o.residual_after};
    int chosen = byte() % 4;
    if (sometimes()) {
        int empty = e->runs <= 0 || e->run <= 0;
        refused |= *needed[chosen] != NULL && !empty;
        *needed[chosen] = NULL;
    }
    if (sometimes())
        o.struct_size += byte() % 2 ? 8 : -8, refused = 1;
    if (!has(NORMKIT_ADD_RESIDUAL))
        o.residual = (const void *)(uintptr_t)byte();
    if (!has(NORMKIT_STORE_SUM))
        o.sum = (void *)(uintptr_t)byte();
}

/* ---- The run ------------------------------------------------------------------------------------------ */

static void in_turn(void *context, size_t count, normkit_task task, void *argument)
{
    (void)context;
    for (size_t i = count; i-- > 0;)
        task(argument, i);
}

static normkit_status in_parts(const normkit_plan *plan, int32_t parts)
{
    for (int32_t phase = 0; phase < normkit_plan_phases(plan); phase++)
        for (int32_t part = parts; part-- > 0;) {
            normkit_status status = normkit_plan_run_part(plan, &o, phase, part, parts);
            if (status != NORMKIT_OK)
                return status;
        }
    return NORMKIT_OK;
}

static normkit_status run(const normkit_plan *plan, int how, int32_t parts)
{
    switch (how) {
    case 0: return normkit_plan_run(plan, &o);
    case 1: return normkit_plan_run_parallel(plan, &o, parts, in_turn, NULL);
    case 2: return normkit_plan_run_threads(plan, &o);
    default: return in_parts(plan, parts);
    }
}

void plans(int method)
{
    d = (normkit_description){.struct_size = sizeof d, .method = method, .dtype = dtype};
    o = (normkit_operands){.struct_size = sizeof o};
    /* 0 is the same as dtype, and not the wrong choice that it is elsewhere. */
    d.parameter_dtype = parameter_dtype == 0 ? -1 : parameter_dtype == dtype && byte() % 2 ? 0 : parameter_dtype;
    extents e = take_sizes(method);
    if (method != NORMKIT_SCALE_SHIFT)
        d.epsilon = epsilon();
    take_fusions(method, &e);
    if (is_of_rows(method) || is_image(method))
        take_strides(e.run);
    if (sometimes())
        d.struct_size += byte() % 2 ? 8 : -8, refused = 1;

    normkit_plan *plan = NULL;
    normkit_status status = normkit_plan_create(&d, &plan);
    check(status);
    if (status == NORMKIT_OK) {
        int how = byte() % 4, parts = how == 0 || how == 2 ? 1 : 1 + byte() % 6;
        int64_t bytes = normkit_plan_workspace(plan, parts);
        take_outputs(&e);
        take_parameters(method, &e);
        take_statistics(method, &e);
        spoil(&e);
        if (bytes > 0 && sometimes())
            bytes--, refused = 1;
        if (bytes > 0)
            o.workspace = workspace(bytes), o.workspace_bytes = bytes;
        CALL(run(plan, how, parts));
    }
    normkit_plan_destroy(plan);
}
