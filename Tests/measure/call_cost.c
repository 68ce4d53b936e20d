/* Print what one small call costs: nanoseconds per call of f32 layer normalization of 1 x 64 with gamma and beta, and
 * of its backward pass with dgamma and dbeta, on one thread; the median of many batches of calls.
 *
 * cc -O2 -I include Tests/measure/call_cost.c -L .build/release -lnormkit -o call_cost */
#define _POSIX_C_SOURCE 200809L

#include <normkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 64, BATCHES = 501, CALLS = 2000 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float x[SIZE], y[SIZE], gamma[SIZE], beta[SIZE], dx[SIZE], dgamma[SIZE], dbeta[SIZE], mean, rstd;

static normkit_status forward(void) {
    return normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, 1, SIZE, x, 0, gamma, beta, 1e-5, y, 0, &mean, &rstd);
}

static normkit_status backward(void) {
    return normkit_layer_norm_backward(NORMKIT_F32, NORMKIT_F32, 1, SIZE, x, 0, y, 0, gamma, &mean, &rstd, 1e-5,
                                       dx, 0, dgamma, dbeta, 0);
}

static void measure(const char *name, normkit_status (*function)(void)) {
    static double batches[BATCHES];
    for (int batch = 0; batch < BATCHES; batch++) {
        double start = now();
        for (int call = 0; call < CALLS; call++) {
            normkit_status status = function();
            if (status != NORMKIT_OK) {
                fprintf(stderr, "%s: %s\n", name, normkit_status_string(status));
                exit(EXIT_FAILURE);
            }
        }
        batches[batch] = (now() - start) / CALLS;
    }
    qsort(batches, BATCHES, sizeof batches[0], ascending);
    printf("%-19s 1x64, f32, gamma and beta, %s: %.1f ns per call (median of %d batches of %d calls)\n",
           name, normkit_isa(), batches[BATCHES / 2], (int)BATCHES, (int)CALLS);
}

int main(void) {
    for (int i = 0; i < SIZE; i++) {
        x[i] = (float)(i * 37 % 64) - 31.0f;
        gamma[i] = 1.0f + (float)i / SIZE;
        beta[i] = (float)i / SIZE;
    }
    if (normkit_set_thread_count(1) != NORMKIT_OK) return EXIT_FAILURE;
    measure("layer norm", forward);
    measure("layer norm backward", backward);
    return EXIT_SUCCESS;
}
