/* The plans of one node: one for each shape that it has met. Without locks. */
#ifndef NORMKIT_ONNXRUNTIME_PLANS_H
#define NORMKIT_ONNXRUNTIME_PLANS_H

#include "normkit.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct Plan Plan;

struct Plan {
    normkit_description description;
    normkit_plan *plan;
    Plan *next;
};

/* A list to which plans are only ever added in front, until plans_free. Starts as all 0. */
typedef struct {
    _Atomic(Plan *) first;
    atomic_int count;
} Plans;

/* Finds the plan of `description`, which has to be set to 0 where nothing is set, or makes it. */
normkit_status plans_find(Plans *plans, const normkit_description *description, Plan **found, bool *kept);

/* To be called after the run if the plan was not kept. */
void plan_free(Plan *plan);

void plans_free(Plans *plans);

#endif
