/* A small problem of [SAMPLES, CHANNELS, POSITIONS] elements, and which set S and which parameter each belongs to. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include <normkit.h>

enum { SAMPLES = 2, CHANNELS = 4, POSITIONS = 3, GROUPS = 2, COUNT = SAMPLES * CHANNELS * POSITIONS };
enum { SIZE = CHANNELS * POSITIONS };   /* of a row, where each sample is one */
enum { OTHER = -12345 };                /* what an output holds before a call */

static const double EPSILON = 1e-3;
static float x[COUNT], gamma[COUNT], beta[COUNT], dy[COUNT];
static int set_of[COUNT], parameter_of[COUNT];

static void fill_problem(void)
{
    for (int i = 0; i < COUNT; i++) {
        x[i] = (float)((i * 7 % 11) - 3) / 4 + (float)i / 8;
        gamma[i] = (float)(i + 2) / 4;
        beta[i] = (float)(3 - i) / 2;
        dy[i] = (float)((i * 5 % 13) - 6) / 8;
    }
}

/* Indices of element i of [SAMPLES, CHANNELS, POSITIONS], or of [SAMPLES, POSITIONS, CHANNELS]. */
static inline int sample(int i) { return i / SIZE; }
static inline int channel(int i, int layout)
{
    return layout == NORMKIT_CHANNELS_FIRST ? i / POSITIONS % CHANNELS : i % CHANNELS;
}

/* Each says what the sets and the parameters are, and gives the number of sets. */
static inline int sets_of_rows(void)
{
    for (int i = 0; i < COUNT; i++)
        set_of[i] = sample(i), parameter_of[i] = i % SIZE;
    return SAMPLES;
}

static inline int sets_of_positions(void)
{
    for (int i = 0; i < COUNT; i++)
        set_of[i] = sample(i) * POSITIONS + i % POSITIONS, parameter_of[i] = channel(i, NORMKIT_CHANNELS_FIRST);
    return SAMPLES * POSITIONS;
}

static inline int sets_of_channels(int layout)
{
    for (int i = 0; i < COUNT; i++)
        set_of[i] = parameter_of[i] = channel(i, layout);
    return CHANNELS;
}

/* groups == CHANNELS: instances. */
static inline int sets_of_groups(int layout, int groups)
{
    for (int i = 0; i < COUNT; i++) {
        parameter_of[i] = channel(i, layout);
        set_of[i] = sample(i) * groups + channel(i, layout) / (CHANNELS / groups);
    }
    return SAMPLES * groups;
}

#endif
