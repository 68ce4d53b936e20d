/* Layer normalization and batch normalization from C.
 *
 *   example         two small problems, and what a refused call looks like
 *   example FILE    repeats a captured batch normalization and compares. All numbers are little-endian:
 *                     int64   samples, channels, positions
 *                     float32 epsilon
 *                     float32 x [samples, channels, positions]
 *                     float32 gamma, beta, mean, variance [channels] each
 *                     float32 y [samples, channels, positions], the expected result
 *
 * Built with: cc example.c $(pkg-config --cflags --libs normkit) -lm */
#include <float.h>
#include <math.h>
#include <normkit.h>
#include <stdio.h>
#include <stdlib.h>

/* How far a captured result may be off, in units in the last place. */
static const double TOLERANCE = 4;

static void print(const char *name, const float *values, int count)
{
    printf("%-12s", name);
    for (int i = 0; i < count; i++)
        printf(" %8.4f", values[i]);
    printf("\n");
}

/* Every call returns a status; 0 is success, the others name the argument at fault. */
static void require(normkit_status status)
{
    if (status == NORMKIT_OK)
        return;
    fprintf(stderr, "normkit: %s (status %d)\n", normkit_status_string(status), (int)status);
    exit(1);
}

static void layer_norm(void)
{
    const float x[2][4] = {{1, 2, 3, 4}, {10, 10, 10, 10}};
    const float gamma[4] = {1, 1, 2, 2};
    float y[2][4], mean[2], rstd[2];

    require(normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, 2, 4, x, 0, gamma, NULL, 1e-5, y, 0, mean, rstd));
    print("row 0", y[0], 4);
    print("row 1", y[1], 4);
    print("means", mean, 2);
}

static void batch_norm(void)
{
    const float mean[2] = {1, 2}, variance[2] = {4, 9};
    float image[2][3] = {{1, 3, 5}, {2, 5, 8}};     /* one sample, two channels, three positions */

    /* y may be x. */
    require(normkit_batch_norm_inference(NORMKIT_F32, NORMKIT_F32, NORMKIT_CHANNELS_FIRST, 1, 2, 3,
                                         image, 0, NULL, NULL, mean, variance, 0, image, 0));
    print("channel 0", image[0], 3);
    print("channel 1", image[1], 3);
}

static void refused_call(void)
{
    float x[4] = {1, 2, 3, 4}, y[4];
    normkit_status status = normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, 1, 4, x, 0, NULL, NULL, -1,
                                               y, 0, NULL, NULL);
    printf("epsilon -1   status %d: %s\n", (int)status, normkit_status_string(status));
}

static void read_exactly(void *values, size_t size, size_t count, FILE *file)
{
    if (fread(values, size, count, file) != count) {
        fprintf(stderr, "the file is too short\n");
        exit(2);
    }
}

static float *read_floats(int64_t count, FILE *file)
{
    float *values = malloc((size_t)count * sizeof *values + 1);
    if (!values) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    read_exactly(values, sizeof *values, (size_t)count, file);
    return values;
}

/* Repeats the batch normalization in a file. Returns 0 if every element agrees, 1 if not. */
static int captured(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 2;
    }
    int64_t sizes[3];
    float epsilon;
    read_exactly(sizes, sizeof *sizes, 3, file);
    read_exactly(&epsilon, sizeof epsilon, 1, file);
    int64_t samples = sizes[0], channels = sizes[1], positions = sizes[2];
    if (samples < 0 || channels < 0 || positions < 0) {
        fprintf(stderr, "%s: a size is negative\n", path);
        return 2;
    }
    int64_t count = samples * channels * positions;
    float *x = read_floats(count, file);
    float *gamma = read_floats(channels, file), *beta = read_floats(channels, file);
    float *mean = read_floats(channels, file), *variance = read_floats(channels, file);
    float *expected = read_floats(count, file);
    fclose(file);

    float *y = malloc((size_t)count * sizeof *y + 1);
    if (!y)
        return 2;
    require(normkit_batch_norm_inference(NORMKIT_F32, NORMKIT_F32, NORMKIT_CHANNELS_FIRST,
                                         samples, channels, positions, x, 0, gamma, beta, mean, variance, epsilon,
                                         y, 0));

    /* The last place is that of the terms which are added, not that of their sum: where they cancel, whoever
     * computed `expected` has rounded the terms. */
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / positions % channels;
        double scale = fabs(gamma[c] / sqrt((double)variance[c] + epsilon));
        double terms = (fabs(x[i]) + fabs(mean[c])) * scale + fabs(beta[c]);
        double error = fabs((double)y[i] - expected[i]);
        double ulps = error == 0 ? 0 : error / fmax(terms * FLT_EPSILON, FLT_MIN * FLT_EPSILON);
        if (!(ulps <= worst))   /* also where it is NaN */
            worst = ulps;
    }
    int agrees = worst <= TOLERANCE;
    printf("[%lld, %lld, %lld]: %lld elements, at most %.2f units in the last place from the expected: %s\n",
           (long long)samples, (long long)channels, (long long)positions, (long long)count, worst,
           agrees ? "agrees" : "DIFFERS");
    free(x), free(gamma), free(beta), free(mean), free(variance), free(expected), free(y);
    return !agrees;
}

int main(int argc, char **argv)
{
    if (normkit_version() < NORMKIT_VERSION) {
        fprintf(stderr, "normkit %s is older than its header\n", normkit_version_string());
        return 2;
    }
    if (argc > 1)
        return captured(argv[1]);
    printf("normkit %s on %s\n", normkit_version_string(), normkit_isa());
    layer_norm();
    batch_norm();
    refused_call();
    return 0;
}
