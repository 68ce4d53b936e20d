/* What a process may rely on: refused calls write nothing, threads may call at once, a forked child goes on. */
#include "check.h"
#include <dirent.h>
#include <normkit.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { F32 = NORMKIT_F32, FIRST = NORMKIT_CHANNELS_FIRST };
enum { ROWS = 2048, SIZE = 1024, CALLERS = 4 };

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

static float *input, *reference;

/* A problem that is large enough to be shared by several threads, and is right. */
static int large_problem(float *y)
{
    return normkit_layer_norm(F32, F32, ROWS, SIZE, input, 0, NULL, NULL, 1e-5, y, 0, NULL, NULL) == NORMKIT_OK
           && memcmp(y, reference, sizeof(float) * ROWS * SIZE) == 0;
}

static void *caller(void *number)
{
    float *y = malloc(sizeof(float) * ROWS * SIZE);
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
    memset(y, 0, sizeof(float) * ROWS * SIZE);
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

    input = malloc(sizeof(float) * ROWS * SIZE);
    reference = malloc(sizeof(float) * ROWS * SIZE);
    float *scratch = malloc(sizeof(float) * ROWS * SIZE);
    for (int i = 0; i < ROWS * SIZE; i++)
        input[i] = (float)((i * 2654435761u) >> 8) / 16777216.0f - 0.25f;
    CHECK_OK(normkit_layer_norm(F32, F32, ROWS, SIZE, input, 0, NULL, NULL, 1e-5, reference, 0, NULL, NULL));
    CHECK(threads_of_the_process() == before);

    CHECK_STATUS(normkit_set_thread_count(0), NORMKIT_ERROR_THREAD_COUNT);
    CHECK_STATUS(normkit_set_thread_count(NORMKIT_MAX_THREADS + 1), NORMKIT_ERROR_THREAD_COUNT);
    threads();
    forked_child(scratch);
    free(input), free(reference), free(scratch);
    printf("process: %d failures\n", failures);
    return failures != 0;
}
