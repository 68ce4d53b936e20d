#include "plans.h"

#include <stdlib.h>
#include <string.h>

/* A model with more shapes than these (each sentence of another length) makes a plan for a run and frees it: a search
 * through many would take as long, and memory besides. */
enum { MOST_KEPT = 16 };

normkit_status plans_find(Plans *plans, const normkit_description *description, Plan **found, bool *kept) {
    Plan *first = atomic_load_explicit(&plans->first, memory_order_acquire);
    for (Plan *plan = first; plan != NULL; plan = plan->next) {
        if (memcmp(&plan->description, description, sizeof *description) == 0) {
            *found = plan, *kept = true;
            return NORMKIT_OK;
        }
    }

    Plan *made = malloc(sizeof *made);
    if (made == NULL) return NORMKIT_ERROR_MEMORY;
    memcpy(&made->description, description, sizeof *description);
    normkit_status status = normkit_plan_create(description, &made->plan);
    if (status != NORMKIT_OK) {
        free(made);
        return status;
    }
    *found = made;
    *kept = atomic_fetch_add_explicit(&plans->count, 1, memory_order_relaxed) < MOST_KEPT;
    if (!*kept) {
        atomic_fetch_sub_explicit(&plans->count, 1, memory_order_relaxed);
        return NORMKIT_OK;
    }
    /* Two threads may add a plan of the same shape; the later one is then found first, and both are kept. */
    made->next = first;
    while (!atomic_compare_exchange_weak_explicit(
        &plans->first, &made->next, made, memory_order_release, memory_order_relaxed)) {
    }
    return NORMKIT_OK;
}

void plan_free(Plan *plan) {
    normkit_plan_destroy(plan->plan);
    free(plan);
}

void plans_free(Plans *plans) {
    for (Plan *plan = atomic_load(&plans->first), *next; plan != NULL; plan = next) {
        next = plan->next;
        plan_free(plan);
    }
}
