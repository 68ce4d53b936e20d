/* Checks that count failures and go on, so that one run shows them all. */
#ifndef CHECK_H
#define CHECK_H

#include <math.h>
#include <normkit.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

#define CHECK_STATUS(call, expected)                                                      \
    do {                                                                                  \
        int status_ = (call);                                                             \
        if (status_ != (expected)) {                                                      \
            printf("%s:%d: status %d, not %s: %s\n", __FILE__, __LINE__, status_, #expected, #call); \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, NORMKIT_OK)

/* Small f32 problems are right to within 1e-6 of the size of the numbers. */
#define CHECK_NEAR(actual, expected, count)                                               \
    do {                                                                                  \
        for (int i_ = 0; i_ < (count); i_++)                                              \
            if (!(fabs((double)(actual)[i_] - (double)(expected)[i_])                     \
                  <= 1e-6 * fmax(1, fabs((double)(expected)[i_])))) {                     \
                printf("%s:%d: %s[%d] is %.9g, not %.9g\n", __FILE__, __LINE__, #actual, i_, \
                       (double)(actual)[i_], (double)(expected)[i_]);                     \
                failures++;                                                               \
                break;                                                                    \
            }                                                                             \
    } while (0)

/* An argument names the instruction set that has to be in use. */
static inline int uses_another_isa(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], normkit_isa()) == 0)
        return 0;
    printf("the library uses %s, not %s\n", normkit_isa(), argv[1]);
    return 1;
}

#endif
