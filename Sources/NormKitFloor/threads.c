#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* ---- The count ----------------------------------------------------------------------------------------- */

static _Atomic int32_t thread_count; /* 0: not decided yet */

static int32_t count_from_environment(void) {
    const char *text = getenv("NORMKIT_THREADS");
    const long value = text ? strtol(text, NULL, 10) : 1;
    return value < 1 ? 1 : value > NK_MAX_THREADS ? NK_MAX_THREADS : (int32_t)value;
}

int32_t nk_thread_count(void) {
    int32_t count = atomic_load_explicit(&thread_count, memory_order_relaxed);
    if (count == 0) {
        /* If it is set by another thread meanwhile, that stands. */
        int32_t undecided = 0;
        count = count_from_environment();
        if (!atomic_compare_exchange_strong(&thread_count, &undecided, count)) count = undecided;
    }
    return count;
}

void nk_set_thread_count(int32_t count) { atomic_store(&thread_count, count); }

/* ---- The threads --------------------------------------------------------------------------------------- */

/* One call at a time has the threads: it holds `user`. `lock` guards the rest; `open`, `joined`
 * and `watching` are also read without it. */
static struct {
    pthread_mutex_t user, lock;
    pthread_cond_t wake, done;
    int32_t started;            /* threads that exist */
    _Atomic int32_t open;       /* how many more may join the work at hand */
    _Atomic int32_t joined;     /* how many are at it */
    _Atomic int32_t watching;   /* how many look for work, and need not be woken */
    bool watches_forks;

    nk_kernel kernel;
    const nk_job *job;
    int32_t phase, shares;
    int64_t count, grain;
} pool = {
    .user = PTHREAD_MUTEX_INITIALIZER,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

/* A forked child has none of the threads, and locks as they happened to be. */
static void forget_threads(void) {
    pool.user = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.wake = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.done = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.started = pool.open = pool.joined = pool.watching = 0;
}

/* Each thread has a share of the tasks, neighbouring ones, and the same share in each call: what it has in its cache
 * is often what the last call left there. A thread that is done helps the others. On a cache line each: how far a
 * share is done. */
static struct {
    _Alignas(64) _Atomic int64_t next;
} shares[NK_MAX_THREADS];

static int64_t first_task(int32_t share) {
    const int64_t size = pool.count / pool.shares, rest = pool.count % pool.shares;
    return size * share + (share < rest ? share : rest);
}

static void work(int32_t own) {
    for (int32_t i = 0; i < pool.shares; i++) {
        const int32_t share = (own + i) % pool.shares;
        const int64_t last = first_task(share + 1);
        for (;;) {
            const int64_t begin =
                atomic_fetch_add_explicit(&shares[share].next, pool.grain, memory_order_relaxed);
            if (begin >= last) break;
            nk_call(pool.kernel, pool.job, pool.phase, begin, last - begin < pool.grain ? last : begin + pool.grain);
        }
    }
}

/* To wake a thread takes longer than many a call. Who waits looks for so long, at least, before it goes to sleep. */
static const int64_t awake_nanoseconds = 50000;

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until `value` is zero, or is not, but not for long. */
static void look_at(_Atomic int32_t *value, bool until_zero) {
    const int64_t end = nanoseconds() + awake_nanoseconds;
    do {
        for (int i = 0; i < 32; i++) {
            if ((atomic_load_explicit(value, memory_order_acquire) == 0) == until_zero) return;
            relax();
        }
    } while (nanoseconds() < end);
}

static void *stand_by(void *number) {
    const int32_t own = (int32_t)(intptr_t)number;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.open == 0) pthread_cond_wait(&pool.wake, &pool.lock);
        pool.open--;
        pool.joined++;
        pthread_mutex_unlock(&pool.lock);
        work(own);
        pthread_mutex_lock(&pool.lock);
        if (--pool.joined == 0) pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
        atomic_fetch_add_explicit(&pool.watching, 1, memory_order_relaxed);
        look_at(&pool.open, false);
        atomic_fetch_sub_explicit(&pool.watching, 1, memory_order_relaxed);
        pthread_mutex_lock(&pool.lock);
    }
    return NULL;
}

bool nk_has_thread_awake(void) { return atomic_load_explicit(&pool.watching, memory_order_relaxed) > 0; }

/* Starts threads until there are `wanted`, as far as the system allows. Signals are for the process's own
 * threads. */
static void start_threads(int32_t wanted) {
    if (pool.started >= wanted) return;
    if (!pool.watches_forks) pool.watches_forks = pthread_atfork(NULL, NULL, forget_threads) == 0;
    if (!pool.watches_forks) return;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    while (pool.started < wanted) {
        void *number = (void *)(intptr_t)(pool.started + 1);
        if (pthread_create(&thread, &attributes, stand_by, number) != 0) break;
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void nk_parallel(nk_kernel kernel, const nk_job *job, int32_t phase, int64_t count, int64_t grain, int32_t threads) {
    if (pthread_mutex_trylock(&pool.user) != 0) {
        nk_call(kernel, job, phase, 0, count);
        return;
    }
    /* A caller that was cancelled while it waits would leave the others with a job on a stack that is gone. */
    int cancellation;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancellation);
    pthread_mutex_lock(&pool.lock);
    start_threads(threads - 1);
    pool.kernel = kernel;
    pool.job = job;
    pool.phase = phase;
    pool.count = count;
    pool.grain = grain;
    pool.shares = threads;
    for (int32_t i = 0; i < threads; i++) atomic_store_explicit(&shares[i].next, first_task(i), memory_order_relaxed);
    pool.open = threads - 1 < pool.started ? threads - 1 : pool.started;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);

    work(0);

    pthread_mutex_lock(&pool.lock);
    pool.open = 0; /* who has not woken up yet need not */
    pthread_mutex_unlock(&pool.lock);
    look_at(&pool.joined, true);
    pthread_mutex_lock(&pool.lock);
    while (pool.joined > 0) pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&pool.user);
    pthread_setcancelstate(cancellation, &cancellation);
}

void *nk_allocate(int64_t bytes) { return malloc((size_t)bytes); }
void *nk_allocate_zeros(int64_t bytes) { return calloc(1, (size_t)bytes); }
void nk_free(void *memory) { free(memory); }
