/* Backward normalization by oneDNN, for backward.py: one primitive with its memory, prepared, and then executed as
 * often as wanted.
 *
 * Built by onednn.py with the headers of oneDNN 3.2 or later; group normalization needs 3.3, RMS 3.9. */
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdint.h>
#include <stdlib.h>

enum { LAYER, RMS, BATCH, GROUP };      /* the families, as onednn.py knows them */
enum { ARGUMENTS = 10 };

#define AT_LEAST(minor) (DNNL_VERSION_MAJOR > 3 || (DNNL_VERSION_MAJOR == 3 && DNNL_VERSION_MINOR >= (minor)))
#if AT_LEAST(9)
enum { RMS_FLAG = dnnl_rms_norm };
#else
enum { RMS_FLAG = 0 };
#endif

typedef struct {
    int family, is_bf16, is_last, threads;
    int64_t shape[4];       /* rows and size, or samples, channels, height and width */
    int64_t groups;
    double epsilon;
    void *x, *dy, *gamma, *mean, *variance, *dx, *dgamma, *dbeta;
} problem;

typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[ARGUMENTS];
    int count, threads;
    void *scratchpad;
    int64_t scratchpad_bytes;
} prepared;

static int failed;

#define TRY(call) (failed = failed || (call) != dnnl_success)

/* The backward primitive descriptor. */
static dnnl_primitive_desc_t describe(const problem *p, dnnl_engine_t engine, dnnl_memory_desc_t data,
                                      dnnl_memory_desc_t statistics, dnnl_primitive_attr_t attributes)
{
    dnnl_primitive_desc_t forward = NULL, backward = NULL;
    const float e = (float)p->epsilon;
    const unsigned both = dnnl_use_scale | dnnl_use_shift;
    if (p->family == BATCH) {
        TRY(dnnl_batch_normalization_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, data, data,
                                                                   e, both, NULL));
        TRY(dnnl_batch_normalization_backward_primitive_desc_create(&backward, engine, dnnl_backward, data, data, data,
                                                                    e, both, forward, attributes));
    } else if (p->family == GROUP) {
#if AT_LEAST(3)
        TRY(dnnl_group_normalization_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, data, data,
                                                                   p->groups, e, both, NULL));
        TRY(dnnl_group_normalization_backward_primitive_desc_create(&backward, engine, dnnl_backward, data, data, data,
                                                                    p->groups, e, both, forward, attributes));
#else
        failed = 1;
#endif
    } else {
        const unsigned flags = p->family == RMS ? (unsigned)dnnl_use_scale | RMS_FLAG : both;
        failed |= p->family == RMS && !RMS_FLAG;
        TRY(dnnl_layer_normalization_forward_primitive_desc_create(&forward, engine, dnnl_forward_training, data, data,
                                                                   statistics, e, flags, NULL));
        TRY(dnnl_layer_normalization_backward_primitive_desc_create(&backward, engine, dnnl_backward, data, data, data,
                                                                    statistics, e, flags, forward, attributes));
    }
    if (forward)
        dnnl_primitive_desc_destroy(forward);
    return backward;
}

static void argument(prepared *it, int which, dnnl_memory_desc_t description, void *data)
{
    if (failed)
        return;
    dnnl_exec_arg_t *argument = &it->arguments[it->count++];
    argument->arg = which;
    TRY(dnnl_memory_create(&argument->memory, description, it->engine, data));
}

void onednn_free(prepared *it)
{
    for (int i = 0; i < it->count; i++)
        dnnl_memory_destroy(it->arguments[i].memory);
    if (it->primitive)
        dnnl_primitive_destroy(it->primitive);
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
    const int is_rows = p->family == LAYER || p->family == RMS;
    const dnnl_dims_t shape = {p->shape[0], p->shape[1], p->shape[2], p->shape[3]}, parameters = {shape[1]};
    const dnnl_dims_t sets = {p->family == BATCH ? shape[1] : shape[0], p->groups};
    dnnl_memory_desc_t data = NULL, statistics = NULL, parameter = NULL;
    dnnl_primitive_attr_t attributes = NULL;

    failed = it == NULL;
    omp_set_num_threads(p->threads);
    it->threads = p->threads;
    TRY(dnnl_engine_create(&it->engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&it->stream, it->engine, dnnl_stream_default_flags));
    TRY(dnnl_memory_desc_create_with_tag(&data, is_rows ? 2 : 4, shape, p->is_bf16 ? dnnl_bf16 : dnnl_f32,
                                         is_rows ? dnnl_ab : p->is_last ? dnnl_nhwc : dnnl_nchw));
    TRY(dnnl_memory_desc_create_with_tag(&statistics, p->family == GROUP ? 2 : 1, sets, dnnl_f32,
                                         p->family == GROUP ? dnnl_ab : dnnl_a));
    TRY(dnnl_memory_desc_create_with_tag(&parameter, 1, parameters, dnnl_f32, dnnl_a));
    TRY(dnnl_primitive_attr_create(&attributes));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));

    dnnl_primitive_desc_t descriptor = failed ? NULL : describe(p, it->engine, data, statistics, attributes);
    TRY(dnnl_primitive_create(&it->primitive, descriptor));
    argument(it, DNNL_ARG_SRC, data, p->x);
    argument(it, DNNL_ARG_DIFF_DST, data, p->dy);
    argument(it, DNNL_ARG_SCALE, parameter, p->gamma);
    if (p->family != RMS)
        argument(it, DNNL_ARG_MEAN, statistics, p->mean);
    if (p->family == LAYER)
        argument(it, DNNL_ARG_SHIFT, parameter, p->gamma);  /* version 3.2 asks for one, and does not use it */
    argument(it, DNNL_ARG_VARIANCE, statistics, p->variance);
    argument(it, DNNL_ARG_DIFF_SRC, data, p->dx);
    argument(it, DNNL_ARG_DIFF_SCALE, parameter, p->dgamma);
    if (p->family != RMS)
        argument(it, DNNL_ARG_DIFF_SHIFT, parameter, p->dbeta);
    const_dnnl_memory_desc_t scratchpad =
        failed ? NULL : dnnl_primitive_desc_query_md(descriptor, dnnl_query_scratchpad_md, 0);
    if (scratchpad && dnnl_memory_desc_get_size(scratchpad) > 0) {
        it->scratchpad_bytes = (int64_t)dnnl_memory_desc_get_size(scratchpad);
        if (posix_memalign(&it->scratchpad, 4096, (size_t)it->scratchpad_bytes) != 0)
            failed = 1;
        argument(it, DNNL_ARG_SCRATCHPAD, (dnnl_memory_desc_t)scratchpad, it->scratchpad);
    }

    if (descriptor)
        dnnl_primitive_desc_destroy(descriptor);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    dnnl_memory_desc_t const descriptions[] = {data, statistics, parameter};
    for (int i = 0; i < 3; i++)
        if (descriptions[i])
            dnnl_memory_desc_destroy(descriptions[i]);
    if (failed && it)
        onednn_free(it), it = NULL;
    return it;
}

int onednn_execute(prepared *it)
{
    omp_set_num_threads(it->threads);
    return dnnl_primitive_execute(it->primitive, it->stream, it->count, it->arguments) != dnnl_success
           || dnnl_stream_wait(it->stream) != dnnl_success;
}

/* What it holds besides the buffers of the problem. */
int64_t onednn_scratchpad(const prepared *it) { return it->scratchpad_bytes; }

int onednn_version(void)
{
    const dnnl_version_t *version = dnnl_version();
    return version->major * 100 + version->minor;
}
