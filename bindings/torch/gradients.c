#include "call.h"
#include "kernels.h"

/* The memory of statistics as a forward kernel has left them; NULL if it is another array. */
static const void *saved(const call *c, pytorch_tensor tensor) {
    view v;
    if (!see(tensor, &v) || v.dtype != statistics_dtype(c) || v.rank != c->rank || !is_contiguous(&v)) return NULL;
    for (int64_t k = 0; k < v.rank; k++) {
        if (v.sizes[k] != c->sizes[k]) return NULL;
    }
    return v.data;
}

/* backward_short(Tensor dy, Tensor x, Tensor weight, Tensor mean, Tensor rstd, bool has_weight, bool wants_x,
 *     bool wants_weight, bool wants_bias, float eps, int method, int number)
 *     -> (Tensor dx, Tensor dweight, Tensor dbias)
 * Those of the parameters come in the statistics type. What is not wanted is empty. `method`: NORMKIT_LAYER_NORM and its
 * siblings. `number`: the size of rows, the groups of a group normalization, of others nothing. Without a mean, rstd
 * stands in for it. NormKit's threads share the work. */
void backward(pytorch_value *stack, uint64_t arguments, uint64_t results) {
    (void)arguments;
    bool wants_x = stack[6], wants_weight = stack[7], wants_bias = stack[8];
    double epsilon = real_at(stack, 9);
    int64_t method = integer_at(stack, 10), number = integer_at(stack, 11);
    bool are_rows = method == NORMKIT_LAYER_NORM || method == NORMKIT_RMS_NORM;
    call c;
    const void *dy = NULL, *mean = NULL, *rstd = NULL;
    void *dx = NULL, *dgamma = NULL, *dbeta = NULL;
    pytorch_tensor x = tensor_at(stack, 1), made_ones[MOST_RESULTS] = {NULL};
    bool is_taken = are_rows                          ? take_rows(&c, x, number)
                    : method == NORMKIT_GROUP_NORM    ? take_groups(&c, x, number)
                    : method == NORMKIT_INSTANCE_NORM ? take_channels(&c, x, 3)
                                                      : take_batch(&c, x);
    int64_t parameters = !is_taken ? 0 : are_rows ? c.description.size : c.description.channels;
    is_taken = is_taken && take_parameters(&c, given_at(stack, 2, 5), NULL, parameters) &&
               (dy = like_x(&c, tensor_at(stack, 0))) && (mean = saved(&c, tensor_at(stack, 3))) &&
               (rstd = saved(&c, tensor_at(stack, 4))) &&
               (!wants_x || (made_ones[0] = made_like_x(&c, &dx))) &&
               (!wants_weight || (made_ones[1] = made_of_statistics(&c, 1, &parameters, &dgamma))) &&
               (!wants_bias || (made_ones[2] = made_of_statistics(&c, 1, &parameters, &dbeta)));
    normkit_status status = NORMKIT_ERROR_MEMORY;
    if (is_taken) {
        const normkit_description *d = &c.description;
        const void *gamma = c.operands.gamma;
        int32_t parameter_dtype = d->parameter_dtype ? d->parameter_dtype : d->dtype;
        switch (method) {
        case NORMKIT_LAYER_NORM:
            status = normkit_layer_norm_backward(d->dtype, parameter_dtype, d->rows, d->size, c.x.data, 0, dy, 0,
                                                 gamma, mean, rstd, epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_RMS_NORM:
            status = normkit_rms_norm_backward(d->dtype, parameter_dtype, d->rows, d->size, c.x.data, 0, dy, 0, gamma,
                                               0, rstd, epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_GROUP_NORM:
            status = normkit_group_norm_backward(d->dtype, parameter_dtype, d->layout, d->samples, d->channels,
                                                 d->positions, d->groups, c.x.data, 0, dy, 0, gamma, mean, rstd,
                                                 epsilon, dx, 0, dgamma, dbeta, 0);
            break;
        case NORMKIT_INSTANCE_NORM:
            status = normkit_instance_norm_backward(d->dtype, parameter_dtype, d->layout, d->samples, d->channels,
                                                    d->positions, c.x.data, 0, dy, 0, gamma, mean, rstd, epsilon, dx,
                                                    0, dgamma, dbeta, 0);
            break;
        default:
            status = normkit_batch_norm_training_backward(d->dtype, parameter_dtype, d->layout, d->samples,
                                                          d->channels, d->positions, c.x.data, 0, dy, 0, gamma, mean,
                                                          rstd, epsilon, dx, 0, dgamma, dbeta, 0);
        }
    }
    leave(stack, 5, status, made_ones, results);
}
