/* The operators of the domain "normkit": what each is called, reads and writes. */
#ifndef NORMKIT_ONNXRUNTIME_OPERATORS_H
#define NORMKIT_ONNXRUNTIME_OPERATORS_H

#include "onnxruntime_abi.h"

#include <stdbool.h>
#include <stdint.h>

/* What an input or an output is, as a field of normkit_operands. */
typedef enum {
    ROLE_X, ROLE_RESIDUAL, ROLE_GAMMA, ROLE_BETA, ROLE_BIAS, ROLE_GIVEN_MEAN, ROLE_GIVEN_VARIANCE, ROLE_COUNT
} Role;

typedef enum { RESULT_Y, RESULT_MEAN, RESULT_RSTD, RESULT_SUM, RESULT_COUNT } Result;

enum { MAX_INPUTS = 5, MAX_OUTPUTS = 4 };

typedef struct {
    const char *name;
    int32_t method;           /* NORMKIT_LAYER_NORM or a sibling */
    bool rows;                /* sizes are rows and size, cut at the attribute `axis`; else channels first */
    uint8_t input_count;
    uint8_t required_inputs;  /* the first ones; the others are optional */
    uint8_t output_count;     /* all but y are optional */
    Role inputs[MAX_INPUTS];
    Result outputs[MAX_OUTPUTS];
} Operator;

/* One operator for one type of data: what ONNX Runtime holds, which gives it back to each callback. */
typedef struct {
    OrtCustomOp op;
    const OrtApi *api;
    const Operator *definition;
    int32_t dtype; /* NORMKIT_F32 or a sibling */
} Variant;

/* Fills `variants` with all operators for all types and returns how many there are; NULL: only counts. */
size_t all_variants(const OrtApi *api, Variant *variants);

#endif
