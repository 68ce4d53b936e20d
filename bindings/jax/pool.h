/* A parallel loop on the threads that XLA computes with. */
#ifndef NORMKIT_JAX_POOL_H
#define NORMKIT_JAX_POOL_H

#include <normkit.h>
#include <xla/ffi/api/c_api.h>

/* Where the threads are. */
typedef struct {
    const XLA_FFI_Api *api;
    XLA_FFI_ExecutionContext *context;
} normkit_jax_pool;

/* How many threads there are; 1 if there is no pool. */
int32_t normkit_jax_pool_threads(const normkit_jax_pool *pool);

/* A normkit_parallel_for, whose context is a normkit_jax_pool. The calling thread takes part, and it alone runs what
 * no other thread comes to. So the loop ends also if every thread of the pool is in such a loop. */
void normkit_jax_parallel_for(void *context, size_t count, normkit_task task, void *argument);

#endif
