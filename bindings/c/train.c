/* Training through a layer normalization: gradient descent finds the gamma and beta that a target was made with.
 *
 * One step goes over the data in two pieces, as it would if they did not fit into memory at once:
 *   forward    writes y, and saves mean and rstd of each row
 *   loss       (y - target)^2 / 2, so that dy = y - target
 *   backward   takes dy and what was saved, overwrites dx, and adds to dgamma and dbeta
 *
 * Built with: cc train.c $(pkg-config --cflags --libs normkit) -lm */
#include <math.h>
#include <normkit.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECES = 2, ROWS = 16, SIZE = 8, STEPS = 40 };

static const double EPSILON = 1e-5;
static const float RATE = 0.02f;    /* of the descent: less than 2 / (number of rows), or it does not come closer */

static void require(normkit_status status)
{
    if (status == NORMKIT_OK)
        return;
    fprintf(stderr, "normkit: %s (status %d)\n", normkit_status_string(status), (int)status);
    exit(1);
}

static float x[PIECES][ROWS][SIZE], target[PIECES][ROWS][SIZE];

int main(void)
{
    float true_gamma[SIZE], true_beta[SIZE], gamma[SIZE], beta[SIZE], dgamma[SIZE], dbeta[SIZE];
    float y[ROWS][SIZE], mean[ROWS], rstd[ROWS];
    double loss = 0;

    for (int c = 0; c < SIZE; c++) {
        true_gamma[c] = 0.5f + (float)c / 4, true_beta[c] = 1 - (float)c / 8;
        gamma[c] = 1, beta[c] = 0;
    }
    srand(1);
    for (int p = 0; p < PIECES; p++) {
        for (int i = 0; i < ROWS * SIZE; i++)
            x[p][i / SIZE][i % SIZE] = (float)rand() / (float)RAND_MAX;
        require(normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, ROWS, SIZE, x[p], 0, true_gamma, true_beta, EPSILON,
                                   target[p], 0, NULL, NULL));
    }

    for (int step = 0; step <= STEPS; step++) {
        loss = 0;
        for (int p = 0; p < PIECES; p++) {
            require(normkit_layer_norm(NORMKIT_F32, NORMKIT_F32, ROWS, SIZE, x[p], 0, gamma, beta, EPSILON,
                                       y, 0, mean, rstd));
            for (int i = 0; i < ROWS * SIZE; i++) {
                float *dy = &y[i / SIZE][i % SIZE];
                *dy -= target[p][i / SIZE][i % SIZE];
                loss += *dy * *dy / 2;
            }
            /* dx, for the layer before, may take the place of dy. The second piece adds to what the first has left. */
            require(normkit_layer_norm_backward(NORMKIT_F32, NORMKIT_F32, ROWS, SIZE, x[p], 0, y, 0, gamma, mean, rstd,
                                                EPSILON, y, 0, dgamma, dbeta, p > 0));
        }
        if (step % 10 == 0)
            printf("step %2d   loss %.3g\n", step, loss);
        for (int c = 0; c < SIZE; c++)
            gamma[c] -= RATE * dgamma[c], beta[c] -= RATE * dbeta[c];
    }

    double largest = 0;
    for (int c = 0; c < SIZE; c++)
        largest = fmax(largest, fmax(fabs(gamma[c] - true_gamma[c]), fabs(beta[c] - true_beta[c])));
    printf("gamma and beta are found to within %.1g\n", largest);
    return largest < 1e-4 ? 0 : 1;
}
