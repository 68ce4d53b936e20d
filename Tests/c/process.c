/* What a process may rely on: refused calls write nothing, a small stack is enough, threads may call at once, a forked
 * child goes on. */
#include "check.h"
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { F32 = NORMKIT_F32, FIRST = NORMKIT_CHANNELS_FIRST };
enum { ROWS = 2048, SIZE = 1024, CALLERS = 4 };
enum { STACK = 1 << 18, MOST_STACK = 96 * 1024, UNTOUCHED = 0xa5 };

static int threads_of_the_process(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/task");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count - 2;   /* "." and ".." */
}

static void null_pointers(void)
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8], s[8];
    const int64_t shape[2] = {2, 4};
    const int32_t axis = 1;
    memset(y, 0x5a, sizeof y);
    memset(s, 0x5a, sizeof s);

    CHECK_STATUS(normkit_layer_norm(F32, F32, 2, 4, NULL, 0, NULL, NULL, 1, y, 0, s, NULL), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_layer_norm(F32, F32, 2, 4, x, 0, NULL, NULL, 1, NULL, 0, s, NULL), NORMKIT_ERROR_Y_NULL);
    CHECK_STATUS(normkit_layer_norm_channels(F32, F32, 1, 4, 2, NULL, 0, NULL, NULL, 1, y, 0, s, NULL),
                 NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_rms_norm(F32, F32, 2, 4, x, 0, NULL, NULL, 0, 1, NULL, 0, s), NORMKIT_ERROR_Y_NULL);
    CHECK_STATUS(normkit_batch_norm_inference(F32, F32, FIRST, 1, 4, 2, x, 0, NULL, NULL, NULL, s, 1, y, 0),
                 NORMKIT_ERROR_MEAN_NULL);
    CHECK_STATUS(normkit_batch_norm_inference(F32, F32, FIRST, 1, 4, 2, x, 0, NULL, NULL, s, NULL, 1, y, 0),
                 NORMKIT_ERROR_VARIANCE_NULL);
    CHECK_STATUS(normkit_batch_norm_training(F32, F32, FIRST, 1, 4, 2, x, 0, NULL, NULL, 1, s, NULL, 0, 0.1, y, 0,
                                             NULL, NULL), NORMKIT_ERROR_RUNNING_NULL);
    CHECK_STATUS(normkit_instance_norm(F32, F32, FIRST, 1, 4, 2, NULL, 0, NULL, NULL, 1, y, 0, s, NULL),
                 NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_group_norm(F32, F32, FIRST, 1, 4, 2, 2, x, 0, NULL, NULL, 1, NULL, 0, s, NULL),
                 NORMKIT_ERROR_Y_NULL);
    CHECK_STATUS(normkit_weight_norm(F32, F32, NORMKIT_L2, 1, 2, 4, NULL, NULL, 0, y, s), NORMKIT_ERROR_V_NULL);
    CHECK_STATUS(normkit_weight_norm(F32, F32, NORMKIT_L2, 1, 2, 4, x, NULL, 0, NULL, s), NORMKIT_ERROR_W_NULL);
    CHECK_STATUS(normkit_normalize(F32, 2, NULL, 1, &axis, x, 1, 0, y, s, NULL), NORMKIT_ERROR_SHAPE);
    CHECK_STATUS(normkit_normalize(F32, 2, shape, 1, NULL, x, 1, 0, y, s, NULL), NORMKIT_ERROR_AXES);
    CHECK_STATUS(normkit_lp_normalize(F32, NORMKIT_L2, 2, shape, 1, &axis, NULL, 0, y, s), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_moments(F32, 2, shape, 1, &axis, NULL, 0, s, NULL), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_scale_shift(F32, F32, 1, 4, 2, x, NULL, NULL, NULL), NORMKIT_ERROR_Y_NULL);

    for (size_t i = 0; i < sizeof y; i++)
        CHECK(((char *)y)[i] == 0x5a && ((char *)s)[i] == 0x5a);
}

/* The same backward, and for moments and weights. */
static void null_pointers_backward(void)
{
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, y[8], s[8];
    double value = 0;
    const normkit_channel_moments moments[4] = {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}, {1, 0, 0}};
    normkit_channel_moments none[4];
    const int64_t shape[2] = {2, 4};
    const int32_t axis = 1;
    memset(y, 0x5a, sizeof y);
    memset(s, 0x5a, sizeof s);
    memset(none, 0, sizeof none);

    CHECK_STATUS(normkit_layer_norm_backward(F32, F32, 2, 4, NULL, 0, x, 0, NULL, NULL, NULL, 1, y, 0, s, NULL, 0),
                 NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_layer_norm_backward(F32, F32, 2, 4, x, 0, NULL, 0, NULL, NULL, NULL, 1, y, 0, s, NULL, 0),
                 NORMKIT_ERROR_DY_NULL);
    CHECK_STATUS(normkit_layer_norm_backward(F32, F32, 2, 4, x, 0, x, 0, NULL, x, NULL, 1, y, 0, s, NULL, 0),
                 NORMKIT_ERROR_SAVED_NULL);
    CHECK_STATUS(normkit_layer_norm_channels_backward(F32, F32, 1, 4, 2, x, 0, NULL, 0, NULL, NULL, NULL, 1, y, 0,
                                                      s, NULL, 0), NORMKIT_ERROR_DY_NULL);
    CHECK_STATUS(normkit_rms_norm_backward(F32, F32, 2, 4, NULL, 0, x, 0, NULL, 0, NULL, 1, y, 0, s, NULL, 0),
                 NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_batch_norm_inference_backward(F32, F32, FIRST, 1, 4, 2, NULL, 0, x, 0, NULL, x, x, 1, y, 0,
                                                       s, NULL, 0), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_batch_norm_inference_backward(F32, F32, FIRST, 1, 4, 2, NULL, 0, x, 0, NULL, NULL, x, 1, y,
                                                       0, NULL, s, 0), NORMKIT_ERROR_MEAN_NULL);
    CHECK_STATUS(normkit_batch_norm_training_backward(F32, F32, FIRST, 1, 4, 2, x, 0, x, 0, NULL, NULL, x, 1, y, 0,
                                                      s, NULL, 0), NORMKIT_ERROR_SAVED_NULL);
    CHECK_STATUS(normkit_instance_norm_backward(F32, F32, FIRST, 1, 4, 2, x, 0, NULL, 0, NULL, NULL, NULL, 1, y, 0,
                                                s, NULL, 0), NORMKIT_ERROR_DY_NULL);
    CHECK_STATUS(normkit_group_norm_backward(F32, F32, FIRST, 1, 4, 2, 2, NULL, 0, x, 0, NULL, NULL, NULL, 1, y, 0,
                                             s, NULL, 0), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_weight_norm_backward(F32, F32, NORMKIT_L2, 1, 2, 4, NULL, x, NULL, NULL, 0, y, s, 0),
                 NORMKIT_ERROR_V_NULL);
    CHECK_STATUS(normkit_weight_norm_backward(F32, F32, NORMKIT_L2, 1, 2, 4, x, NULL, NULL, NULL, 0, y, s, 0),
                 NORMKIT_ERROR_DY_NULL);
    CHECK_STATUS(normkit_normalize_backward(F32, 2, NULL, 1, &axis, x, x, NULL, NULL, 1, 0, y), NORMKIT_ERROR_SHAPE);
    CHECK_STATUS(normkit_lp_normalize_backward(F32, NORMKIT_L2, 2, shape, 1, NULL, x, x, NULL, 0, y),
                 NORMKIT_ERROR_AXES);
    CHECK_STATUS(normkit_moments_backward(F32, 2, shape, 1, &axis, NULL, x, NULL, 0, y), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_scale_shift_backward(F32, F32, 1, 4, 2, NULL, x, NULL, y, s, NULL, 0), NORMKIT_ERROR_X_NULL);

    CHECK_STATUS(normkit_moments_accumulate(F32, FIRST, 1, 4, 2, NULL, 0, none), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_moments_accumulate(F32, FIRST, 1, 4, 2, x, 0, NULL), NORMKIT_ERROR_MOMENTS_NULL);
    CHECK_STATUS(normkit_moments_merge(4, none, NULL), NORMKIT_ERROR_MOMENTS_NULL);
    CHECK_STATUS(normkit_moments_finish(F32, 4, NULL, 0, 0, s, NULL, NULL), NORMKIT_ERROR_MOMENTS_NULL);
    CHECK_STATUS(normkit_batch_norm_synchronized(F32, F32, FIRST, 1, 4, 2, x, 0, NULL, NULL, NULL, 1, y, 0),
                 NORMKIT_ERROR_MOMENTS_NULL);
    CHECK_STATUS(normkit_batch_norm_gradient_sums(F32, FIRST, 1, 4, 2, x, 0, x, 0, moments, 1, NULL),
                 NORMKIT_ERROR_SUMS_NULL);
    CHECK_STATUS(normkit_batch_norm_synchronized_backward(F32, F32, FIRST, 1, 4, 2, x, 0, x, 0, NULL, moments, NULL,
                                                          1, y, 0), NORMKIT_ERROR_SUMS_NULL);
    CHECK_STATUS(normkit_weight_penalty(F32, NORMKIT_L1, 8, NULL, 1, &value, y, 0), NORMKIT_ERROR_W_NULL);
    CHECK_STATUS(normkit_fold_batch_norm(F32, 1, 2, 4, NULL, NULL, NULL, NULL, x, x, 1, y, s), NORMKIT_ERROR_X_NULL);
    CHECK_STATUS(normkit_fold_batch_norm(F32, 1, 2, 4, x, NULL, NULL, NULL, x, NULL, 1, y, s),
                 NORMKIT_ERROR_VARIANCE_NULL);

    for (size_t i = 0; i < sizeof y; i++)
        CHECK(((char *)y)[i] == 0x5a && ((char *)s)[i] == 0x5a);
    CHECK(value == 0 && none[0].count == 0);
}

static void *nothing(void *x) { return x; }

/* Rows, and columns of as many channels as are taken at once. */
static void *calls(void *x)
{
    enum { CHANNELS = 512, LAST = NORMKIT_CHANNELS_LAST };
    static float y[4 * CHANNELS], dx[4 * CHANNELS], sums[2 * CHANNELS];
    CHECK_OK(normkit_layer_norm(F32, F32, 4, CHANNELS, x, 0, NULL, NULL, 1, y, 0, NULL, NULL));
    CHECK_OK(normkit_group_norm(F32, F32, LAST, 1, CHANNELS, 4, 32, x, 0, NULL, NULL, 1, y, 0, NULL, NULL));
    CHECK_OK(normkit_layer_norm_backward(F32, F32, 4, CHANNELS, x, 0, y, 0, NULL, NULL, NULL, 1, dx, 0, sums,
                                         sums + CHANNELS, 0));
    CHECK_OK(normkit_batch_norm_training_backward(F32, F32, LAST, 1, CHANNELS, 4, x, 0, y, 0, NULL, NULL, NULL, 1, dx,
                                                  0, sums, sums + CHANNELS, 0));
    return NULL;
}

/* Bytes of stack that a thread has touched when it has done `work`. */
static size_t stack_of(void *(*work)(void *), void *argument)
{
    void *stack = NULL;
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(posix_memalign(&stack, 4096, STACK) == 0);
    memset(stack, UNTOUCHED, STACK);
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstack(&attributes, stack, STACK) == 0);
    CHECK(pthread_create(&thread, &attributes, work, argument) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    size_t rest = 0;
    while (rest < STACK && ((unsigned char *)stack)[rest] == UNTOUCHED)
        rest++;
    free(stack);
    return STACK - rest;
}

static void stack(void)
{
    static float x[4 * 512];
    for (int i = 0; i < 4 * 512; i++)
        x[i] = (float)(i % 97);
    const size_t used = stack_of(calls, x), without = stack_of(nothing, x);
    CHECK(used > without && used - without < MOST_STACK);
}

static float *input, *reference, *reference_dx, reference_dgamma[SIZE];

/* A problem that is large enough to be shared by several threads: normalization and its gradient. dy is the input from
 * its second row on. */
static int solve(float *y, float *dx, float *dgamma)
{
    return normkit_layer_norm(F32, F32, ROWS, SIZE, input, 0, NULL, NULL, 1e-5, y, 0, NULL, NULL) == NORMKIT_OK
           && normkit_layer_norm_backward(F32, F32, ROWS, SIZE, input, 0, input + SIZE, 0, NULL, NULL, NULL, 1e-5,
                                          dx, 0, dgamma, NULL, 0) == NORMKIT_OK;
}

/* y has room for dx behind it. */
static int large_problem(float *y)
{
    float dgamma[SIZE], *dx = y + ROWS * SIZE;
    return solve(y, dx, dgamma) && memcmp(y, reference, sizeof(float) * ROWS * SIZE) == 0
           && memcmp(dx, reference_dx, sizeof(float) * ROWS * SIZE) == 0
           && memcmp(dgamma, reference_dgamma, sizeof dgamma) == 0;
}

static void *caller(void *number)
{
    float *y = malloc(2 * sizeof(float) * ROWS * SIZE);
    intptr_t right = 1;
    for (int i = 0; i < 4; i++) {
        right &= normkit_set_thread_count(1 + (i + (int)(intptr_t)number) % 3) == NORMKIT_OK;
        right &= large_problem(y);
    }
    free(y);
    return (void *)right;
}

static void threads(void)
{
    pthread_t callers[CALLERS];
    for (intptr_t i = 0; i < CALLERS; i++)
        CHECK(pthread_create(&callers[i], NULL, caller, (void *)i) == 0);
    for (int i = 0; i < CALLERS; i++) {
        void *right = NULL;
        pthread_join(callers[i], &right);
        CHECK(right);
    }
}

/* The parent has threads that wait for work; the child does not inherit them. */
static void forked_child(float *y)
{
    CHECK_OK(normkit_set_thread_count(2));
    CHECK(large_problem(y));
    memset(y, 0, 2 * sizeof(float) * ROWS * SIZE);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);      /* a child that waits for threads it does not have ends here */
        _exit(large_problem(y) && normkit_thread_count() == 2 ? 0 : 1);
    }
    int state = -1;
    CHECK(waitpid(child, &state, 0) == child);
    CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    CHECK(large_problem(y));
}

int main(void)
{
    float x[4] = {1, 2, 3, 4}, y[4];
    const int before = threads_of_the_process();
    CHECK_OK(normkit_layer_norm(F32, F32, 1, 4, x, 0, NULL, NULL, 0, y, 0, NULL, NULL));
    CHECK(threads_of_the_process() == before);

    null_pointers();
    null_pointers_backward();
    stack();

    input = malloc(sizeof(float) * (ROWS + 1) * SIZE);
    reference = malloc(sizeof(float) * ROWS * SIZE);
    reference_dx = malloc(sizeof(float) * ROWS * SIZE);
    float *scratch = malloc(2 * sizeof(float) * ROWS * SIZE);
    for (int i = 0; i < (ROWS + 1) * SIZE; i++)
        input[i] = (float)((i * 2654435761u) >> 8) / 16777216.0f - 0.25f;
    CHECK(solve(reference, reference_dx, reference_dgamma));
    CHECK(threads_of_the_process() == before);

    CHECK_STATUS(normkit_set_thread_count(0), NORMKIT_ERROR_THREAD_COUNT);
    CHECK_STATUS(normkit_set_thread_count(NORMKIT_MAX_THREADS + 1), NORMKIT_ERROR_THREAD_COUNT);
    threads();
    forked_child(scratch);
    free(input), free(reference), free(reference_dx), free(scratch);
    printf("process: %d failures\n", failures);
    return failures != 0;
}
