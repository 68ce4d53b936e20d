/* Nodes of ggml graphs that run plans of NormKit. See normkit_ggml.h. */
#include "normkit_ggml.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "layout.h"

/* What a node reads, in the order in which it keeps their places among its sources. */
enum { X, RESIDUAL, RESIDUAL_AFTER, BIAS, GAMMA, BETA, SAMPLE_SCALE, SAMPLE_SHIFT, SOURCES };

/* What a node needs to be computed; the userdata of its callback. */
struct node {
    struct node *next;
    struct normkit_ggml *owner;
    normkit_plan *plan;
    int place[SOURCES];                 /* among the sources of the tensor, -1: absent */
    struct blocks blocks;               /* x and what has its shape cut into pieces that a plan can take */
    size_t sum_offset;                  /* where the sum begins in what the node writes; 0: it is not stored */
    int parts;                          /* the most parts that one block is cut into */
    char *workspace;
    int64_t shared_bytes, own_bytes;    /* of it: of all parts of a block, and of a thread that runs a block alone */
};

struct normkit_ggml {
    struct node *first;
    int threads;
    atomic_int status;
};

normkit_ggml *normkit_ggml_new(int threads)
{
    normkit_ggml *nodes = calloc(1, sizeof *nodes);
    if (nodes)
        nodes->threads = threads < 1 ? 1 : threads;
    return nodes;
}

static void destroy(struct node *node)
{
    normkit_plan_destroy(node->plan);
    free(node->workspace);
    free(node);
}

void normkit_ggml_free(normkit_ggml *nodes)
{
    if (!nodes)
        return;
    for (struct node *node = nodes->first, *next; node; node = next) {
        next = node->next;
        destroy(node);
    }
    free(nodes);
}

normkit_status normkit_ggml_status(const normkit_ggml *nodes)
{
    return atomic_load(&nodes->status);
}

void normkit_ggml_layout(const struct ggml_tensor *tensor, int32_t *type, int64_t ne[GGML_MAX_DIMS],
                         size_t nb[GGML_MAX_DIMS])
{
    *type = tensor->type;
    for (int d = 0; d < GGML_MAX_DIMS; d++) {
        ne[d] = tensor->ne[d];
        nb[d] = tensor->nb[d];
    }
}

/* ---- Computing ---------------------------------------------------------------------------------------- */

static char *data(const struct ggml_tensor *tensor, const struct node *node, int source)
{
    return node->place[source] < 0 ? NULL : tensor->src[node->place[source]]->data;
}

static char *advanced(char *start, const size_t step[2], int64_t i, int64_t j)
{
    return start ? start + i * step[0] + j * step[1] : NULL;
}

/* The callback of all nodes: part `thread` of `threads`. ggml calls it on all threads of the graph. */
static void compute(struct ggml_tensor *tensor, int thread, int threads, void *userdata)
{
    struct node *node = userdata;
    const struct blocks *b = &node->blocks;
    char *x = data(tensor, node, X), *residual = data(tensor, node, RESIDUAL);
    char *residual_after = data(tensor, node, RESIDUAL_AFTER), *y = tensor->data;
    char *sum = node->sum_offset ? y + node->sum_offset : NULL;
    normkit_operands operands = {
        .struct_size = sizeof operands,
        .bias = data(tensor, node, BIAS), .gamma = data(tensor, node, GAMMA), .beta = data(tensor, node, BETA),
        .sample_scale = data(tensor, node, SAMPLE_SCALE), .sample_shift = data(tensor, node, SAMPLE_SHIFT),
    };
    if (threads > node->owner->threads)
        threads = node->owner->threads;
    if (thread >= threads)
        return;

    /* With many blocks each thread takes whole ones. Otherwise all threads share each block, and who begins changes,
     * because a block may be too small to be cut. */
    const bool whole = b->count[0] * b->count[1] >= 4 * (int64_t)threads;
    const int parts = whole ? 1 : threads < node->parts ? threads : node->parts;
    operands.workspace = node->workspace ? node->workspace + (parts == 1 ? thread * node->own_bytes : 0) : NULL;
    operands.workspace_bytes = parts == 1 ? node->own_bytes : node->shared_bytes;

    int turn = thread;
    for (int64_t j = 0; j < b->count[1]; j++)
        for (int64_t i = 0; i < b->count[0]; i++) {
            if (turn < parts) {
                operands.x = advanced(x, b->step[BLOCK_X], i, j);
                operands.residual = advanced(residual, b->step[BLOCK_RESIDUAL], i, j);
                operands.residual_after = advanced(residual_after, b->step[BLOCK_RESIDUAL_AFTER], i, j);
                operands.y = advanced(y, b->step[BLOCK_Y], i, j);
                operands.sum = advanced(sum, b->step[BLOCK_Y], i, j);
                normkit_status status = parts == 1 ? normkit_plan_run(node->plan, &operands)
                                                   : normkit_plan_run_part(node->plan, &operands, 0, turn, parts);
                int none = NORMKIT_OK;
                if (status != NORMKIT_OK)
                    atomic_compare_exchange_strong(&node->owner->status, &none, status);
            }
            turn = turn + 1 < threads ? turn + 1 : 0;
        }
}

/* ---- Making a node ------------------------------------------------------------------------------------ */

static int32_t dtype(enum ggml_type type)
{
    switch (type) {
        case GGML_TYPE_F32: return NORMKIT_F32;
        case GGML_TYPE_F64: return NORMKIT_F64;
        case GGML_TYPE_F16: return NORMKIT_F16;
        case GGML_TYPE_BF16: return NORMKIT_BF16;
        default: return 0;
    }
}

/* Refuses what no plan would see; sets the type of the parameters, which is 0 without any. */
static const char *check_sources(const normkit_ggml_description *d, struct ggml_tensor *const source[SOURCES],
                                 int32_t *parameter_dtype)
{
    const struct ggml_tensor *x = source[X];
    if (!x)
        return "x is missing";
    const bool group = d->method == NORMKIT_GROUP_NORM;
    const int64_t size = group ? x->ne[2] : x->ne[0];

    if (!group && d->method != NORMKIT_LAYER_NORM && d->method != NORMKIT_RMS_NORM)
        return "the method is none of layer, RMS and group norm";
    if (!dtype(x->type))
        return "x is not of type F32, F16, BF16 or F64";
    if (!dtype(d->type))
        return "y is not of type F32, F16, BF16 or F64";
    if (ggml_is_empty(x))
        return "x has no elements";
    for (int s = RESIDUAL; s <= RESIDUAL_AFTER; s++)
        if (source[s] && (!ggml_are_same_shape(source[s], x) || source[s]->type != x->type))
            return "a residual does not have the shape and type of x; ggml_repeat and ggml_cast make it so";

    for (int s = BIAS; s < SOURCES; s++) {
        const struct ggml_tensor *p = source[s];
        if (!p)
            continue;
        if (!ggml_is_contiguous(p))
            return "a parameter is not contiguous";
        if (s < SAMPLE_SCALE && (ggml_nelements(p) != size || (!group && p->ne[0] != size)))
            return group ? "bias, gamma and beta need one element for each channel"
                         : "bias, gamma and beta need ne[0] elements in one row; other rows are a sample_scale";
        if (!dtype(p->type) || (*parameter_dtype && *parameter_dtype != dtype(p->type)))
            return "the parameters are not of one type, that of x or F32";
        *parameter_dtype = dtype(p->type);
    }
    return NULL;
}

/* How many rows of x share a row of the parameter p, 0 if its shape is not one that says so. */
static int64_t rows_per_sample(const struct ggml_tensor *x, const struct ggml_tensor *p)
{
    int64_t rows = 1;
    int d = 1;
    if (p->ne[0] != x->ne[0])
        return 0;
    for (; d < GGML_MAX_DIMS && p->ne[d] == 1; d++)
        rows *= x->ne[d];
    for (; d < GGML_MAX_DIMS; d++)
        if (p->ne[d] != x->ne[d])
            return 0;
    return rows;
}

static const char *check_samples(const normkit_ggml_description *d, normkit_description *plan)
{
    const struct ggml_tensor *both[2] = {d->sample_scale, d->sample_shift};
    for (int i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        if (d->method == NORMKIT_GROUP_NORM) {
            if (ggml_nelements(both[i]) != d->x->ne[2] * d->x->ne[3])
                return "sample_scale and sample_shift need one element for each channel of each sample";
            continue;
        }
        const int64_t rows = rows_per_sample(d->x, both[i]);
        if (!rows || (plan->rows_per_sample && plan->rows_per_sample != rows))
            return "sample_scale and sample_shift do not have one shape that x repeats in its inner dimensions";
        plan->rows_per_sample = rows;
    }
    return NULL;
}

/* The part of the plan that does not depend on strides. */
static normkit_description described(const normkit_ggml_description *d, int32_t parameter_dtype, bool store_sum)
{
    normkit_description plan = {
        .struct_size = sizeof plan, .method = d->method, .dtype = dtype(d->x->type),
        .parameter_dtype = parameter_dtype, .output_dtype = dtype(d->type), .groups = d->groups,
        .one_plus_gamma = d->one_plus_gamma, .one_plus_sample_scale = d->one_plus_sample_scale,
        .activation_before = d->activation_before, .activation_after = d->activation_after,
        .epsilon = d->epsilon, .slope = d->slope,
    };
    if (d->residual)
        plan.fusions |= NORMKIT_ADD_RESIDUAL;
    if (d->bias)
        plan.fusions |= NORMKIT_ADD_BIAS;
    if (store_sum)
        plan.fusions |= NORMKIT_STORE_SUM;
    if (d->sample_scale || d->sample_shift)
        plan.fusions |= NORMKIT_SCALE_SHIFT_SAMPLES;
    if (d->residual_after)
        plan.fusions |= NORMKIT_ADD_RESIDUAL_AFTER;
    return plan;
}

/* Creates the plan and, where it needs one, its workspace. */
static const char *make_plan(struct node *node, const normkit_description *description)
{
    normkit_status status = normkit_plan_create(description, &node->plan);
    if (status != NORMKIT_OK)
        return normkit_status_string(status);

    /* The threads of ggml have no barrier inside of a custom node: a plan of several phases is run by one of them. */
    const int32_t most = normkit_plan_most_parts(node->plan);
    node->parts = most < node->owner->threads ? most : node->owner->threads;
    if (normkit_plan_phases(node->plan) > 1)
        node->parts = 1;
    node->own_bytes = normkit_plan_workspace(node->plan, 1);
    node->shared_bytes = normkit_plan_workspace(node->plan, node->parts);
    const int64_t bytes = node->owner->threads * node->own_bytes;
    const int64_t most_bytes = bytes > node->shared_bytes ? bytes : node->shared_bytes;
    if (most_bytes && !(node->workspace = malloc(most_bytes)))
        return "there is no memory for the workspace";
    return NULL;
}

/* Adds the finished node to the graph: the tensor that it writes, which is y, or y and behind it the sum. */
static void connect(struct node *node, struct ggml_context *context, const normkit_ggml_description *d,
                    struct ggml_tensor *const source[SOURCES], bool in_place, struct ggml_tensor **y,
                    struct ggml_tensor **sum)
{
    struct ggml_tensor *sources[SOURCES], *out;
    int count = 0;
    for (int s = 0; s < SOURCES; s++) {
        node->place[s] = source[s] ? count : -1;
        if (source[s])
            sources[count++] = source[s];
    }
    const int64_t *ne = d->x->ne, blocks = node->blocks.count[0] * node->blocks.count[1];
    const int tasks = blocks > 1 || node->parts >= node->owner->threads ? GGML_N_TASKS_MAX : node->parts;
    if (in_place)
        out = ggml_custom_inplace(context, sources[0], sources + 1, count - 1, compute, tasks, node);
    else
        out = ggml_custom_4d(context, (enum ggml_type)d->type, ne[0], ne[1], ne[2], sum ? 2 * ne[3] : ne[3],
                             sources, count, compute, tasks, node);
    *y = out;
    if (sum) {
        const size_t *nb = out->nb;
        node->sum_offset = ggml_nbytes(out) / 2;
        *y = ggml_view_4d(context, out, ne[0], ne[1], ne[2], ne[3], nb[1], nb[2], nb[3], 0);
        *sum = ggml_view_4d(context, out, ne[0], ne[1], ne[2], ne[3], nb[1], nb[2], nb[3], node->sum_offset);
    }
    node->next = node->owner->first;
    node->owner->first = node;
}

const char *normkit_ggml_add(normkit_ggml *nodes, struct ggml_context *context,
                             const normkit_ggml_description *description, struct ggml_tensor **y,
                             struct ggml_tensor **sum)
{
    normkit_ggml_description d = *description;
    struct ggml_tensor *source[SOURCES] = {
        d.x, d.residual, d.residual_after, d.bias, d.gamma, d.beta, d.sample_scale, d.sample_shift,
    };
    int32_t parameter_dtype = 0;
    const char *error = check_sources(&d, source, &parameter_dtype);
    if (error)
        return error;
    normkit_description plan = described(&d, parameter_dtype, sum != NULL);
    if ((error = check_samples(&d, &plan)))
        return error;
    if ((d.in_place || sum) && d.type != (int32_t)d.x->type)
        return "in place and beside a sum, y has the type of x";
    if (d.in_place && sum)
        return "in place there is no room for the sum";

    struct node *node = calloc(1, sizeof *node);
    if (!node)
        return "there is no memory for the node";
    node->owner = nodes;

    /* What no plan can read as it is is copied; y may then go where the copy of x is. */
    bool in_place = d.in_place;
    if (!layout_fits(&d, source, in_place, &plan, &node->blocks)) {
        for (int s = d.in_place ? RESIDUAL : X; s <= RESIDUAL_AFTER; s++)
            if (source[s] && !ggml_is_contiguous(source[s])) {
                source[s] = ggml_cont(context, source[s]);
                in_place = in_place || (s == X && !sum && d.type == (int32_t)d.x->type);
            }
        d.x = source[X];
        if (!layout_fits(&d, source, in_place, &plan, &node->blocks)) {
            destroy(node);
            return "x cannot be normalized in place with these strides; ggml_cont makes it contiguous";
        }
    }
    if ((error = make_plan(node, &plan))) {
        destroy(node);
        return error;
    }

    connect(node, context, &d, source, in_place, y, sum);
    return NULL;
}
