#define _GNU_SOURCE /* for what Linux says of processors */
#include "threads.h"

#include <pthread.h>
#include <sched.h>
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

/* Threads that sleep. Who goes to sleep is counted before a last look, and who changes what they wait for does that
 * before looking whether someone is counted: one of the two sees the other. */
struct sleepers {
    pthread_cond_t wake;
    _Atomic int32_t count;
};

/* One call at a time has the threads: it holds `user`. The work is handed over without a lock: who has to wait for one
 * is put to sleep, and to wake takes longer than many a call. */
static struct {
    pthread_mutex_t user, lock; /* `lock` is for those who go to sleep */
    struct sleepers idle, caller;
    int32_t started;            /* threads that exist */
    _Atomic int32_t open;       /* how many more may join the work below, which is complete before */
    _Atomic int32_t joined;     /* how many are at it, or ask */
    _Atomic int32_t watching;   /* how many look for work, and need not be woken */
    _Atomic int32_t processor;  /* that the caller runs on */
    bool watches_forks;

    nk_kernel kernel;
    const nk_job *job;
    int32_t phase, shares;
    int64_t count, grain;
} pool = {
    .user = PTHREAD_MUTEX_INITIALIZER,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .idle = {PTHREAD_COND_INITIALIZER, 0},
    .caller = {PTHREAD_COND_INITIALIZER, 0},
};

/* A forked child has none of the threads, and locks as they happened to be. */
static void forget_threads(void) {
    pool.user = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.idle = pool.caller = (struct sleepers){PTHREAD_COND_INITIALIZER, 0};
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

/* ---- Where they run ------------------------------------------------------------------------------------ */

#if defined(__linux__)

/* The processor that a thread is kept off, -1 for none, and the others, which it may run on. */
struct place {
    int32_t off;
    cpu_set_t others;
};

static int32_t processor(void) { return sched_getcpu(); }

/* Moves this thread off the caller's processor, if it is there and may run on another. Some systems wake it there, to
 * let the others sleep, and the caller would wait for the one who came to help it. */
static void keep_off(int32_t callers, struct place *place) {
    cpu_set_t allowed;
    if (callers < 0 || processor() != callers || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    if (place->off >= 0 && CPU_EQUAL(&allowed, &place->others)) CPU_SET(place->off, &allowed);
    CPU_CLR(callers, &allowed);
    if (CPU_COUNT(&allowed) == 0 || sched_setaffinity(0, sizeof allowed, &allowed) != 0) return;
    place->off = callers;
    place->others = allowed;
}

#else

struct place {
    int32_t off;
};
static int32_t processor(void) { return -1; }
static void keep_off(int32_t callers, struct place *place) { (void)callers, (void)place; }

#endif

/* ---- Waiting ------------------------------------------------------------------------------------------- */

/* Waits until `value` is zero, or is not, but not for long. Returns whether it is so. */
static bool look_at(_Atomic int32_t *value, bool until_zero) {
    const int64_t end = nanoseconds() + awake_nanoseconds;
    do {
        for (int i = 0; i < 32; i++) {
            if ((atomic_load(value) == 0) == until_zero) return true;
            relax();
        }
    } while (nanoseconds() < end);
    return false;
}

/* The same for as long as it takes. */
static void sleep_on(_Atomic int32_t *value, bool until_zero, struct sleepers *place) {
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&place->count, 1);
    while ((atomic_load(value) == 0) != until_zero) pthread_cond_wait(&place->wake, &pool.lock);
    atomic_fetch_sub(&place->count, 1);
    pthread_mutex_unlock(&pool.lock);
}

/* Wakes up to `count`. */
static void wake(struct sleepers *place, int32_t count) {
    if (count <= 0 || atomic_load(&place->count) == 0) return;
    pthread_mutex_lock(&pool.lock);
    for (int32_t i = 0; i < count; i++) pthread_cond_signal(&place->wake);
    pthread_mutex_unlock(&pool.lock);
}

static void leave(void) {
    if (atomic_fetch_sub(&pool.joined, 1) == 1) wake(&pool.caller, 1);
}

/* Whether there is work to join. Who asks counts as joined, so that the caller waits for everyone who was let in. */
static bool join(void) {
    atomic_fetch_add(&pool.joined, 1);
    int32_t open = atomic_load(&pool.open);
    while (open > 0)
        if (atomic_compare_exchange_weak(&pool.open, &open, open - 1)) return true;
    leave();
    return false;
}

static void *stand_by(void *number) {
    const int32_t own = (int32_t)(intptr_t)number;
    struct place place = {.off = -1};
    for (;;) {
        sleep_on(&pool.open, false, &pool.idle);
        for (;;) {
            keep_off(atomic_load(&pool.processor), &place);
            if (!join()) break;
            work(own);
            leave();
            atomic_fetch_add(&pool.watching, 1);
            look_at(&pool.open, false);
            atomic_fetch_sub(&pool.watching, 1);
        }
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
    start_threads(threads - 1);
    pool.kernel = kernel;
    pool.job = job;
    pool.phase = phase;
    pool.count = count;
    pool.grain = grain;
    pool.shares = threads;
    atomic_store(&pool.processor, processor());
    for (int32_t i = 0; i < threads; i++) atomic_store_explicit(&shares[i].next, first_task(i), memory_order_relaxed);
    const int32_t invited = threads - 1 < pool.started ? threads - 1 : pool.started;
    atomic_store(&pool.open, invited);
    wake(&pool.idle, invited - atomic_load(&pool.watching));

    work(0);

    atomic_store(&pool.open, 0); /* who has not woken up yet need not */
    if (!look_at(&pool.joined, true)) sleep_on(&pool.joined, true, &pool.caller);
    pthread_mutex_unlock(&pool.user);
    pthread_setcancelstate(cancellation, &cancellation);
}

void *nk_allocate(int64_t bytes) { return malloc((size_t)bytes); }
void *nk_allocate_zeros(int64_t bytes) { return calloc(1, (size_t)bytes); }
void nk_free(void *memory) { free(memory); }
