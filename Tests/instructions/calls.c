/* One call of each kernel, of a fixed size, for callgrind to count. counts.py builds and runs it.
 *
 * Each call is made twice and counted the second time: what only a first call does (choosing an instruction
 * set, growing the heap) is no part of a kernel. */
#include "../c/check.h"
#include "../c/values.h"
#include <valgrind/callgrind.h>

enum { LARGEST = 64 * 768, SAMPLES = 4, CHANNELS = 32, POSITIONS = 14 * 14, GROUPS = 8 };
enum { ANOTHER_ISA = 2 };   /* exit status */
static const double EPSILON = 1e-5;

/* So many elements of any type. Where they begin decides how much of the work is done in whole vectors. */
typedef struct {
    _Alignas(64) double values[LARGEST];
} elements;
static elements x, y, dy, dx, gamma, beta, mean, spread, dgamma, dbeta, running_mean, running_variance;

static const char *const type_names[] = {"", "f32", "f64", "f16", "bf16"};
static int32_t dtype;

static void use_type(int32_t type)
{
    dtype = type;
    fill(type, &x, LARGEST, 0), fill(type, &dy, LARGEST, 0);
    fill(type, &gamma, LARGEST, 0), fill(type, &beta, LARGEST, 0);
    fill(statistics_type(type), &mean, LARGEST, 0), fill(statistics_type(type), &spread, LARGEST, 1);
}

/* The count is named after the function, the type and the size. */
#define COUNT(size, function, ...)                                                              \
    do {                                                                                        \
        char name_[80];                                                                         \
        snprintf(name_, sizeof name_, "%s %s %s", #function, type_names[dtype], size);          \
        CHECK_OK(normkit_##function(dtype, dtype, __VA_ARGS__));                                \
        CALLGRIND_ZERO_STATS;                                                                   \
        CALLGRIND_TOGGLE_COLLECT;                                                               \
        normkit_##function(dtype, dtype, __VA_ARGS__);                                          \
        CALLGRIND_TOGGLE_COLLECT;                                                               \
        CALLGRIND_DUMP_STATS_AT(name_);                                                         \
    } while (0)

static void rows(const char *shape, int64_t count, int64_t size)
{
    COUNT(shape, layer_norm, count, size, &x, 0, &gamma, &beta, EPSILON, &y, 0, &mean, &spread);
    COUNT(shape, layer_norm_backward, count, size, &x, 0, &dy, 0, &gamma, &mean, &spread, EPSILON,
          &dx, 0, &dgamma, &dbeta, 0);
    COUNT(shape, rms_norm, count, size, &x, 0, &gamma, NULL, 0, EPSILON, &y, 0, &spread);
    COUNT(shape, rms_norm_backward, count, size, &x, 0, &dy, 0, &gamma, 0, &spread, EPSILON,
          &dx, 0, &dgamma, NULL, 0);
}

static void channels(const char *shape, int32_t layout)
{
    COUNT(shape, batch_norm_inference, layout, SAMPLES, CHANNELS, POSITIONS, &x, 0, &gamma, &beta,
          &running_mean, &running_variance, EPSILON, &y, 0);
    COUNT(shape, batch_norm_training, layout, SAMPLES, CHANNELS, POSITIONS, &x, 0, &gamma, &beta, EPSILON,
          &running_mean, &running_variance, NORMKIT_RUNNING_UNBIASED, 0.1, &y, 0, &mean, &spread);
    COUNT(shape, batch_norm_training_backward, layout, SAMPLES, CHANNELS, POSITIONS, &x, 0, &dy, 0, &gamma,
          &mean, &spread, EPSILON, &dx, 0, &dgamma, &dbeta, 0);
    COUNT(shape, instance_norm, layout, SAMPLES, CHANNELS, POSITIONS, &x, 0, &gamma, &beta, EPSILON, &y, 0,
          &mean, &spread);
    COUNT(shape, group_norm, layout, SAMPLES, CHANNELS, POSITIONS, GROUPS, &x, 0, &gamma, &beta, EPSILON, &y, 0,
          &mean, &spread);
    COUNT(shape, group_norm_backward, layout, SAMPLES, CHANNELS, POSITIONS, GROUPS, &x, 0, &dy, 0, &gamma,
          &mean, &spread, EPSILON, &dx, 0, &dgamma, &dbeta, 0);
}

int main(int argc, char **argv)
{
    if (uses_another_isa(argc, argv))
        return ANOTHER_ISA;
    for (int32_t type = NORMKIT_F32; type <= NORMKIT_BF16; type++) {
        use_type(type);
        rows("64x768", 64, 768);
        rows("64x50", 64, 50);
    }
    use_type(NORMKIT_F32);
    channels("4x32x196", NORMKIT_CHANNELS_FIRST);
    channels("4x196x32", NORMKIT_CHANNELS_LAST);
    COUNT("4x32x196", layer_norm_channels, SAMPLES, CHANNELS, POSITIONS, &x, 0, &gamma, &beta, EPSILON, &y, 0,
          &mean, &spread);
    COUNT("128x384", weight_norm, NORMKIT_L2, 1, 128, 384, &x, &gamma, 0, &y, &spread);
    COUNT("128x384", weight_norm_backward, NORMKIT_L2, 1, 128, 384, &x, &dy, &gamma, &spread, 0,
          &dx, &dgamma, 0);
    return failures > 0;
}
