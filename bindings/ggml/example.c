/* A node of NormKit in a ggml graph from C: residual add, RMS norm and weight in one, beside ggml's three nodes.
 *
 * Built as README.md says. */
#include "normkit_ggml.h"

#include <ggml-cpu.h>
#include <math.h>
#include <stdio.h>

enum { WIDTH = 4096, TOKENS = 16, THREADS = 2 };

static struct ggml_tensor *filled(struct ggml_context *context, int rows, float step)
{
    struct ggml_tensor *tensor = ggml_new_tensor_2d(context, GGML_TYPE_F32, WIDTH, rows);
    float *values = ggml_get_data_f32(tensor);
    for (int i = 0; i < WIDTH * rows; i++)
        values[i] = sinf(step * (float)i);
    return tensor;
}

static float largest_difference(const struct ggml_tensor *a, const struct ggml_tensor *b)
{
    const float *p = ggml_get_data_f32(a), *q = ggml_get_data_f32(b);
    float largest = 0;
    for (int64_t i = 0; i < ggml_nelements(a); i++)
        largest = fmaxf(largest, fabsf(p[i] - q[i]));
    return largest;
}

int main(void)
{
    struct ggml_context *context = ggml_init((struct ggml_init_params){.mem_size = 16 << 20});
    struct ggml_tensor *x = filled(context, TOKENS, 0.1f), *residual = filled(context, TOKENS, 0.37f);
    struct ggml_tensor *weight = filled(context, 1, 1.3f);

    struct ggml_tensor *added = ggml_add(context, x, residual);
    struct ggml_tensor *plain = ggml_mul(context, ggml_rms_norm(context, added, 1e-6f), weight);

    normkit_ggml *nodes = normkit_ggml_new(THREADS);
    const normkit_ggml_description description = {
        .method = NORMKIT_RMS_NORM, .epsilon = 1e-6, .x = x, .residual = residual, .gamma = weight,
    };
    struct ggml_tensor *y, *sum;
    const char *error = normkit_ggml_add(nodes, context, &description, &y, &sum);
    if (error) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }

    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, plain);
    ggml_build_forward_expand(graph, y);
    ggml_build_forward_expand(graph, sum);
    ggml_graph_compute_with_ctx(context, graph, THREADS);

    const normkit_status status = normkit_ggml_status(nodes);
    const float normalized = largest_difference(y, plain), sums = largest_difference(sum, added);
    printf("status %d; largest difference from ggml: %.1e, of the sums %.1e\n", (int)status, normalized, sums);

    ggml_free(context);
    normkit_ggml_free(nodes);
    return status != NORMKIT_OK || normalized > 1e-6f || sums > 0;
}
