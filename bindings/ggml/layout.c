/* From ggml's strides to those of a plan. See layout.h. */
#include "layout.h"

/* Strides in bytes of x, the residuals and y. Absent tensors have those of x, so that they never stand in the way. */
struct strides {
    const int64_t *ne;
    size_t element, y_element;
    size_t nb[BLOCK_TENSORS][GGML_MAX_DIMS];
    int dims[GGML_MAX_DIMS], count;     /* the outer dimensions that have more than one element */
};

static struct strides strides_of(const normkit_ggml_description *d, struct ggml_tensor *const *tensors, bool in_place,
                                 int outermost)
{
    const struct ggml_tensor *x = tensors[BLOCK_X];
    struct strides s = {.ne = x->ne, .element = ggml_type_size(x->type)};
    s.y_element = ggml_type_size(in_place ? x->type : (enum ggml_type)d->type);

    size_t contiguous = s.y_element;
    for (int k = 0; k < GGML_MAX_DIMS; k++) {
        for (int t = BLOCK_X; t < BLOCK_Y; t++)
            s.nb[t][k] = tensors[t] ? tensors[t]->nb[k] : x->nb[k];
        s.nb[BLOCK_Y][k] = in_place ? x->nb[k] : contiguous;
        contiguous *= x->ne[k];
        if (k >= outermost && x->ne[k] > 1)
            s.dims[s.count++] = k;
    }
    return s;
}

static size_t element(const struct strides *s, int tensor)
{
    return tensor == BLOCK_Y ? s->y_element : s->element;
}

/* Whether in all tensors dimension k has a step of `elements`, or has no second element. */
static bool steps(const struct strides *s, int k, int64_t elements)
{
    for (int t = 0; t < BLOCK_TENSORS; t++)
        if (s->ne[k] > 1 && s->nb[t][k] != elements * element(s, t))
            return false;
    return true;
}

/* Merges the outer dimensions from the first one on that follow each other in all tensors without a change of step:
 * their extent and the step in elements, 0 with none. False if a step is no multiple of the element, or below `run`. */
static bool merge(const struct strides *s, int first, int *next, int64_t run, int64_t *extent,
                  int64_t step[BLOCK_TENSORS])
{
    int i = first;
    *extent = 1;
    for (; i < s->count; i++) {
        bool follows = true;
        for (int t = 0; t < BLOCK_TENSORS; t++)
            follows = follows && s->nb[t][s->dims[i]] == s->nb[t][s->dims[first]] * *extent;
        if (!follows)
            break;
        *extent *= s->ne[s->dims[i]];
    }
    *next = i;
    for (int t = 0; t < BLOCK_TENSORS; t++) {
        const size_t bytes = i > first ? s->nb[t][s->dims[first]] : 0;
        step[t] = bytes / element(s, t);
        if (i > first && (bytes % element(s, t) != 0 || step[t] < run))
            return false;
    }
    return true;
}

/* What is left over after the merged dimensions becomes the grid of blocks. */
static bool blocks_from(const struct strides *s, int first, struct blocks *blocks)
{
    *blocks = (struct blocks){.count = {1, 1}};
    if (s->count - first > 2)
        return false;
    for (int i = first; i < s->count; i++) {
        blocks->count[i - first] = s->ne[s->dims[i]];
        for (int t = 0; t < BLOCK_TENSORS; t++)
            blocks->step[t][i - first] = s->nb[t][s->dims[i]];
    }
    return true;
}

static void set_strides(normkit_description *plan, const int64_t step[BLOCK_TENSORS])
{
    plan->x_stride = step[BLOCK_X];
    plan->residual_stride = step[BLOCK_RESIDUAL];
    plan->residual_after_stride = step[BLOCK_RESIDUAL_AFTER];
    plan->y_stride = step[BLOCK_Y];
    plan->sum_stride = step[BLOCK_Y];
}

/* Layer norm in place with the features outside of the positions, as in a permuted picture. */
static bool channels_fit(const struct strides *s, normkit_description *plan, struct blocks *blocks)
{
    int64_t positions = 1, step[BLOCK_TENSORS];
    int i = 0;
    for (; i < s->count && steps(s, s->dims[i], positions); i++)
        positions *= s->ne[s->dims[i]];
    if (!steps(s, 0, positions))
        return false;

    int rest;
    if (!merge(s, i, &rest, positions * s->ne[0], &plan->samples, step) || !blocks_from(s, rest, blocks))
        return false;
    plan->method = NORMKIT_LAYER_NORM_CHANNELS;
    plan->channels = s->ne[0];
    plan->positions = positions;
    set_strides(plan, step);
    return true;
}

static bool rows_fit(const struct strides *s, normkit_description *plan, struct blocks *blocks)
{
    int64_t step[BLOCK_TENSORS];
    int rest;
    if (!steps(s, 0, 1) || !merge(s, 0, &rest, s->ne[0], &plan->rows, step) || !blocks_from(s, rest, blocks))
        return false;
    plan->size = s->ne[0];
    set_strides(plan, step);
    /* A block does not know where among the samples it is. */
    return !(plan->fusions & NORMKIT_SCALE_SHIFT_SAMPLES) || rest == s->count;
}

static bool group_fits(const struct strides *s, normkit_description *plan, struct blocks *blocks)
{
    const int64_t positions = s->ne[0] * s->ne[1], channels = s->ne[2];
    int64_t step[BLOCK_TENSORS] = {0};
    plan->samples = s->ne[3];
    plan->channels = channels;
    plan->positions = positions;
    *blocks = (struct blocks){.count = {1, 1}};

    if (steps(s, 0, 1) && steps(s, 1, s->ne[0]) && steps(s, 2, positions)) {
        int rest;
        plan->layout = NORMKIT_CHANNELS_FIRST;
        if (!merge(s, 0, &rest, positions * channels, &plan->samples, step))
            return false;
    } else if (steps(s, 2, 1) && steps(s, 0, channels) && steps(s, 1, channels * s->ne[0]) &&
               steps(s, 3, channels * positions)) {
        plan->layout = NORMKIT_CHANNELS_LAST;
    } else {
        return false;
    }
    set_strides(plan, step);
    return true;
}

bool layout_fits(const normkit_ggml_description *d, struct ggml_tensor *const *tensors, bool in_place,
                 normkit_description *plan, struct blocks *blocks)
{
    const bool group = d->method == NORMKIT_GROUP_NORM;
    const struct strides s = strides_of(d, tensors, in_place, group ? 3 : 1);
    if (group)
        return group_fits(&s, plan, blocks);
    if (rows_fit(&s, plan, blocks))
        return true;
    const bool plain = !(plan->fusions & NORMKIT_SCALE_SHIFT_SAMPLES);
    return in_place && plain && d->method == NORMKIT_LAYER_NORM && channels_fit(&s, plan, blocks);
}
