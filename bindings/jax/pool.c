#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "call.h"

/* A loop under way. A thread of the pool may come to it when it has long ended: whoever lets go of it last frees it. */
typedef struct {
    normkit_task task;
    void *argument;
    size_t count;
    atomic_size_t next, done, holders;
    pthread_mutex_t lock;
    pthread_cond_t is_done;
} loop;

/* How often the calling thread looks before it sleeps: about as long as it takes to wake up again. */
enum { LOOKS = 2000 };

int32_t normkit_jax_pool_threads(const normkit_jax_pool *pool)
{
    int64_t threads = 1;
    XLA_FFI_ThreadPool_NumThreads_Args args = {
        XLA_FFI_ThreadPool_NumThreads_Args_STRUCT_SIZE, NULL, pool->context, &threads};
    if (normkit_jax_failed(pool->api, pool->api->XLA_FFI_ThreadPool_NumThreads(&args)))
        return 1;
    return threads < INT32_MAX ? (int32_t)threads : INT32_MAX;
}

static void work(loop *l)
{
    size_t i;
    while ((i = atomic_fetch_add(&l->next, 1)) < l->count) {
        l->task(l->argument, i);
        if (atomic_fetch_add(&l->done, 1) + 1 == l->count) {
            pthread_mutex_lock(&l->lock);
            pthread_cond_signal(&l->is_done);
            pthread_mutex_unlock(&l->lock);
        }
    }
}

static void let_go(loop *l, size_t holders)
{
    if (atomic_fetch_sub(&l->holders, holders) != holders)
        return;
    pthread_cond_destroy(&l->is_done);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void help(void *data)
{
    work(data);
    let_go(data, 1);
}

static void wait_for_others(loop *l)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load(&l->done) == l->count)
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    pthread_mutex_lock(&l->lock);
    while (atomic_load(&l->done) != l->count)
        pthread_cond_wait(&l->is_done, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

void normkit_jax_parallel_for(void *context, size_t count, normkit_task task, void *argument)
{
    const normkit_jax_pool *pool = context;
    loop *l = count > 1 ? malloc(sizeof *l) : NULL;
    if (l == NULL) {
        for (size_t i = 0; i < count; i++)
            task(argument, i);
        return;
    }
    l->task = task;
    l->argument = argument;
    l->count = count;
    atomic_init(&l->next, 0);
    atomic_init(&l->done, 0);
    atomic_init(&l->holders, count);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->is_done, NULL);

    for (size_t i = 1; i < count; i++) {
        XLA_FFI_ThreadPool_Schedule_Args args = {
            XLA_FFI_ThreadPool_Schedule_Args_STRUCT_SIZE, NULL, pool->context, help, l};
        if (normkit_jax_failed(pool->api, pool->api->XLA_FFI_ThreadPool_Schedule(&args))) {
            let_go(l, count - i);
            break;
        }
    }
    work(l);
    wait_for_others(l);
    let_go(l, 1);
}
