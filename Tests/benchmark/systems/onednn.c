/* Normalization by oneDNN, for onednn.py: a primitive with its memory, prepared, and then executed as often as
 * wanted; and before it, where there is a residual, a primitive that adds it.
 *
 * Built by onednn.py with the headers of oneDNN 3.2 or later; group normalization needs 3.3, RMS 3.9. */
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdint.h>
#include <stdlib.h>

enum { LAYER, RMS, BATCH_TRAINING, BATCH_INFERENCE, GROUP, RESIDUAL_LAYER };    /* families, as onednn.py knows them */
enum { ARGUMENTS = 11 };

#define AT_LEAST(minor) (DNNL_VERSION_MAJOR > 3 || (DNNL_VERSION_MAJOR == 3 && DNNL_VERSION_MINOR >= (minor)))
#if AT_LEAST(9)
enum { RMS_FLAG = dnnl_rms_norm };
#else
enum { RMS_FLAG = 0 };
#endif

typedef struct {
    int family, dtype, is_backward, is_last, threads;
    int64_t shape[3];       /* rows and size, or samples, channels and positions */
    int64_t groups;
    double epsilon;
    void *x, *dy, *gamma, *beta, *mean, *variance, *y, *dx, *dgamma, *dbeta, *residual, *sum;
} problem;

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[ARGUMENTS];
    int count;
} step;

typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    step add, normalize;
    int threads;
    void *scratchpad;
    int64_t scratchpad_bytes;
} prepared;

static int failed;

#define TRY(call) (failed = failed || (call) != dnnl_success)

static int is_batch(const problem *p) { return p->family == BATCH_TRAINING || p->family == BATCH_INFERENCE; }

static unsigned flags(const problem *p)
{
    if (p->family == RMS)
        return (unsigned)dnnl_use_scale | RMS_FLAG;
    return dnnl_use_scale | dnnl_use_shift | (p->family == BATCH_INFERENCE ? dnnl_use_global_stats : 0);
}

static dnnl_primitive_desc_t forward(const problem *p, dnnl_engine_t engine, dnnl_memory_desc_t data,
                                     dnnl_memory_desc_t statistics, dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t found = NULL;
    const float e = (float)p->epsilon;
    const int is_training = p->is_backward || p->family == BATCH_TRAINING;
    const dnnl_prop_kind_t kind = is_training ? dnnl_forward_training : dnnl_forward_inference;
    if (is_batch(p))
        TRY(dnnl_batch_normalization_forward_primitive_desc_create(&found, engine, kind, data, data, e, flags(p),
                                                                   attributes));
    else if (p->family == GROUP) {
#if AT_LEAST(3)
        TRY(dnnl_group_normalization_forward_primitive_desc_create(&found, engine, kind, data, data, p->groups, e,
                                                                   flags(p), attributes));
#else
        failed = 1;
#endif
    } else
        TRY(dnnl_layer_normalization_forward_primitive_desc_create(&found, engine, kind, data, data, statistics, e,
                                                                   flags(p), attributes));
    return found;
}

static dnnl_primitive_desc_t backward(const problem *p, dnnl_engine_t engine, dnnl_memory_desc_t data,
                                      dnnl_memory_desc_t statistics, dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t hint = forward(p, engine, data, statistics, NULL), found = NULL;
    const float e = (float)p->epsilon;
    if (failed)
        return NULL;
    if (is_batch(p))
        TRY(dnnl_batch_normalization_backward_primitive_desc_create(&found, engine, dnnl_backward, data, data, data, e,
                                                                    flags(p), hint, attributes));
    else if (p->family == GROUP) {
#if AT_LEAST(3)
        TRY(dnnl_group_normalization_backward_primitive_desc_create(&found, engine, dnnl_backward, data, data, data,
                                                                    p->groups, e, flags(p), hint, attributes));
#endif
    } else
        TRY(dnnl_layer_normalization_backward_primitive_desc_create(&found, engine, dnnl_backward, data, data, data,
                                                                    statistics, e, flags(p), hint, attributes));
    dnnl_primitive_desc_destroy(hint);
    return found;
}

/* Adds an argument that the primitive has: `data` is NULL for the others. */
static void argument(prepared *it, step *of, int which, const_dnnl_memory_desc_t description, void *data)
{
    if (failed || !data)
        return;
    dnnl_exec_arg_t *argument = &of->arguments[of->count++];
    argument->arg = which;
    TRY(dnnl_memory_create(&argument->memory, description, it->engine, data));
}

static void prepare_addition(prepared *it, const problem *p, dnnl_memory_desc_t data)
{
    dnnl_primitive_desc_t found = NULL;
    TRY(dnnl_binary_primitive_desc_create(&found, it->engine, dnnl_binary_add, data, data, data, NULL));
    TRY(dnnl_primitive_create(&it->add.primitive, found));
    argument(it, &it->add, DNNL_ARG_SRC_0, data, p->x);
    argument(it, &it->add, DNNL_ARG_SRC_1, data, p->residual);
    argument(it, &it->add, DNNL_ARG_DST, data, p->sum);
    if (found)
        dnnl_primitive_desc_destroy(found);
}

static void arguments(prepared *it, const problem *p, dnnl_memory_desc_t data, dnnl_memory_desc_t statistics,
                      dnnl_memory_desc_t parameter)
{
    step *of = &it->normalize;
    /* Layer normalization in inference forms its statistics for itself. */
    const int has_statistics = p->is_backward || is_batch(p);
    argument(it, of, DNNL_ARG_SRC, data, p->sum ? p->sum : p->x);
    argument(it, of, DNNL_ARG_SCALE, parameter, p->gamma);
    argument(it, of, DNNL_ARG_MEAN, statistics, has_statistics && p->family != RMS ? p->mean : NULL);
    argument(it, of, DNNL_ARG_VARIANCE, statistics, has_statistics ? p->variance : NULL);
    /* Backward, version 3.2 asks layer normalization for a shift, and does not use it. */
    argument(it, of, DNNL_ARG_SHIFT, parameter,
             p->family != RMS && (!p->is_backward || p->family == LAYER) ? p->beta : NULL);
    argument(it, of, DNNL_ARG_DST, data, p->y);
    argument(it, of, DNNL_ARG_DIFF_DST, data, p->dy);
    argument(it, of, DNNL_ARG_DIFF_SRC, data, p->dx);
    argument(it, of, DNNL_ARG_DIFF_SCALE, parameter, p->dgamma);
    argument(it, of, DNNL_ARG_DIFF_SHIFT, parameter, p->dbeta);
}

static void free_step(step *it)
{
    for (int i = 0; i < it->count; i++)
        dnnl_memory_destroy(it->arguments[i].memory);
    if (it->primitive)
        dnnl_primitive_destroy(it->primitive);
}

void onednn_free(prepared *it)
{
    free_step(&it->add);
    free_step(&it->normalize);
    if (it->stream)
        dnnl_stream_destroy(it->stream);
    if (it->engine)
        dnnl_engine_destroy(it->engine);
    free(it->scratchpad);
    free(it);
}

/* NULL where this oneDNN lacks it. */
prepared *onednn_prepare(const problem *p)
{
    prepared *it = calloc(1, sizeof *it);
    const int is_rows = p->family == LAYER || p->family == RMS || p->family == RESIDUAL_LAYER;
    const int is_last = p->is_last || p->shape[2] == 1;     /* then they are the same, and this one is quicker */
    const dnnl_data_type_t types[] = {dnnl_f32, dnnl_bf16, dnnl_f16};
    const dnnl_dims_t shape = {p->shape[0], p->shape[1], p->shape[2], 1}, parameters = {p->shape[1]};
    const dnnl_dims_t sets = {is_batch(p) ? shape[1] : shape[0], p->groups};
    dnnl_memory_desc_t data = NULL, statistics = NULL, parameter = NULL;
    dnnl_primitive_attr_t attributes = NULL;

    if (!it)
        return NULL;
    failed = p->family == RMS && !RMS_FLAG;
    omp_set_num_threads(p->threads);
    it->threads = p->threads;
    TRY(dnnl_engine_create(&it->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&it->stream, it->engine, dnnl_stream_default_flags));
    TRY(dnnl_memory_desc_create_with_tag(&data, is_rows ? 2 : 4, shape, types[p->dtype],
                                         is_rows ? dnnl_ab : is_last ? dnnl_nhwc : dnnl_nchw));
    TRY(dnnl_memory_desc_create_with_tag(&statistics, p->family == GROUP ? 2 : 1, sets, dnnl_f32,
                                         p->family == GROUP ? dnnl_ab : dnnl_a));
    TRY(dnnl_memory_desc_create_with_tag(&parameter, 1, parameters, dnnl_f32, dnnl_a));
    TRY(dnnl_primitive_attr_create(&attributes));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));

    dnnl_primitive_desc_t descriptor =
        failed ? NULL : (p->is_backward ? backward : forward)(p, it->engine, data, statistics, attributes);
    TRY(dnnl_primitive_create(&it->normalize.primitive, descriptor));
    arguments(it, p, data, statistics, parameter);
    if (p->residual)
        prepare_addition(it, p, data);
    const_dnnl_memory_desc_t scratchpad =
        failed ? NULL : dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0);
    if (scratchpad && dnnl_memory_desc_get_size(scratchpad) > 0) {
        it->scratchpad_bytes = (int64_t)dnnl_memory_desc_get_size(scratchpad);
        if (posix_memalign(&it->scratchpad, 4096, (size_t)it->scratchpad_bytes) != 0)
            failed = 1;
        argument(it, &it->normalize, DNNL_ARG_SCRATCHPAD, scratchpad, it->scratchpad);
    }

    if (descriptor)
        dnnl_primitive_desc_destroy(descriptor);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    dnnl_memory_desc_t const descriptions[] = {data, statistics, parameter};
    for (int i = 0; i < 3; i++)
        if (descriptions[i])
            dnnl_memory_desc_destroy(descriptions[i]);
    if (failed)
        onednn_free(it), it = NULL;
    return it;
}

static int failed_step(const prepared *it, const step *next)
{
    return dnnl_primitive_execute(next->primitive, it->stream, next->count, next->arguments) != dnnl_success;
}

int onednn_execute(prepared *it)
{
    omp_set_num_threads(it->threads);
    return (it->add.primitive && failed_step(it, &it->add)) || failed_step(it, &it->normalize)
           || dnnl_stream_wait(it->stream) != dnnl_success;
}

/* What it holds besides the buffers of the problem. */
int64_t onednn_scratchpad(const prepared *it) { return it->scratchpad_bytes; }

int onednn_version(void)
{
    const dnnl_version_t *version = dnnl_version();
    return version->major * 100 + version->minor;
}
