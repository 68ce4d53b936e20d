/* Threads for large work: none exists before the first call that may use them. */
#ifndef NORMKIT_THREADS_H
#define NORMKIT_THREADS_H

#include "job.h"
#include <stdbool.h>

enum { NK_MAX_THREADS = 256 };

/* How many threads a call may use: NORMKIT_THREADS, or 1, until it is set. */
int32_t nk_thread_count(void);
void nk_set_thread_count(int32_t count);

/* Whether some thread looks for work, so that it need not be woken. */
bool nk_has_thread_awake(void);

/* Runs tasks 0 … count - 1 of one phase, `grain` neighbouring tasks at a time, on up to `threads` threads, the
 * caller's own among them. Returns when all are done. If the threads are busy for another caller, or cannot be
 * started, the caller does it all. */
void nk_parallel(nk_kernel kernel, const nk_job *job, int32_t phase, int64_t count, int64_t grain, int32_t threads);

/* Memory for one call: malloc, calloc and free. */
void *nk_allocate(int64_t bytes);
void *nk_allocate_zeros(int64_t bytes);
void nk_free(void *memory);

#endif
