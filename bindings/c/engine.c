/* NormKit inside an inference engine: plans made once, the engine's own threads and its own memory.
 *
 * A network of LAYERS layers runs over [SAMPLES, TOKENS, WIDTH]. What stands between the normalizations is a stand-in
 * for attention and dense layers: it mixes neighbouring tokens. In each layer
 *
 *   stream += branch;  y = RMS norm of stream;                    branch = mix(y)
 *   stream += branch;  y = layer norm of stream, with a scale and a shift of each sample (adaptive);  branch = mix(y)
 *   branch = SiLU(group norm of branch) + stream
 *
 * and each of the three lines has one call of NormKit. The program looks after
 *   - results: near to those of plain C in double;
 *   - bits: the same for one thread and for four;
 *   - allocations: none in more than ten thousand runs. They are counted where the C library is glibc.
 * It ends with 1 if one of these is not so.
 *
 * Built with: cc engine.c $(pkg-config --cflags --libs normkit) -pthread -lm */
#define _GNU_SOURCE
#include <math.h>
#include <normkit.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SAMPLES = 4, TOKENS = 32, WIDTH = 128, GROUPS = 8, ROWS = SAMPLES * TOKENS, COUNT = ROWS * WIDTH };
enum { LAYERS = 12, PASSES = 300, THREADS = 4 };

static const double EPSILON = 1e-5;

/* ---- Allocations -------------------------------------------------------------------------------------- */

#ifdef __GLIBC__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static long allocations;

static void note(void) { __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED); }

void *malloc(size_t size) { return note(), __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return note(), __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return note(), __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return note(), __libc_memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    note();
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    note();
    return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

static long allocations_so_far(void) { return __atomic_load_n(&allocations, __ATOMIC_RELAXED); }
#else
static long allocations_so_far(void) { return -1; }
#endif

/* The engine's arena: one block, of which everything is taken before the first run. */
static char *arena;
static size_t arena_used, arena_size;

static void *take(size_t bytes)
{
    arena_used = (arena_used + 63) & ~(size_t)63;
    if (bytes > arena_size - arena_used) {
        fprintf(stderr, "the arena is too small\n");
        exit(1);
    }
    void *memory = arena + arena_used;
    arena_used += bytes;
    return memory;
}

/* ---- Threads ------------------------------------------------------------------------------------------ */

/* Workers that sleep until there is a loop to run; the thread that starts it works too. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t wake, ready;
    pthread_t workers[THREADS];
    int worker_count, busy, stop;
    unsigned round;

    normkit_task task;
    void *argument;
    size_t count, next;
} thread_pool;

static void take_turns(thread_pool *pool)
{
    size_t i;
    while ((i = __atomic_fetch_add(&pool->next, 1, __ATOMIC_RELAXED)) < pool->count)
        pool->task(pool->argument, i);
}

static void *worker(void *argument)
{
    thread_pool *pool = argument;
    unsigned seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == seen && !pool->stop)
            pthread_cond_wait(&pool->wake, &pool->lock);
        if (pool->stop)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->lock);
        take_turns(pool);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->ready);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* The engine's parallel loop, in the form that normkit_plan_run_parallel takes. */
static void parallel_for(void *context, size_t count, normkit_task task, void *argument)
{
    thread_pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    pool->task = task, pool->argument = argument, pool->count = count, pool->next = 0;
    pool->busy = pool->worker_count;
    pool->round++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);

    take_turns(pool);

    pthread_mutex_lock(&pool->lock);
    while (pool->busy > 0)
        pthread_cond_wait(&pool->ready, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void start(thread_pool *pool, int threads)
{
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->ready, NULL);
    for (; pool->worker_count < threads - 1; pool->worker_count++)
        if (pthread_create(&pool->workers[pool->worker_count], NULL, worker, pool) != 0) {
            fprintf(stderr, "there is no thread\n");
            exit(1);
        }
}

static void stop(thread_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->worker_count; i++)
        pthread_join(pool->workers[i], NULL);
}

/* ---- The network -------------------------------------------------------------------------------------- */

typedef struct {
    normkit_plan *rms, *adaptive, *group;
    int32_t parts;
    float *input, *stream, *branch, *y, *gamma, *beta, *scale, *shift, *before;
    void *workspace;
    int64_t workspace_bytes;
} network;

static void require(normkit_status status)
{
    if (status == NORMKIT_OK)
        return;
    fprintf(stderr, "normkit: %s (status %d)\n", normkit_status_string(status), (int)status);
    exit(1);
}

/* The plans of the network, and in `workspace_bytes` what the one in most need of memory needs. */
static void plan(network *net)
{
    normkit_description rows = {.struct_size = sizeof rows, .dtype = NORMKIT_F32, .epsilon = EPSILON};
    rows.rows = ROWS, rows.size = WIDTH;
    rows.fusions = NORMKIT_ADD_RESIDUAL | NORMKIT_STORE_SUM;
    rows.method = NORMKIT_RMS_NORM;
    require(normkit_plan_create(&rows, &net->rms));

    rows.method = NORMKIT_LAYER_NORM;
    rows.fusions |= NORMKIT_SCALE_SHIFT_SAMPLES;
    rows.one_plus_sample_scale = 1, rows.rows_per_sample = TOKENS;
    require(normkit_plan_create(&rows, &net->adaptive));

    normkit_description image = {.struct_size = sizeof image, .dtype = NORMKIT_F32, .epsilon = EPSILON};
    image.method = NORMKIT_GROUP_NORM;
    image.layout = NORMKIT_CHANNELS_LAST;
    image.samples = SAMPLES, image.channels = WIDTH, image.positions = TOKENS, image.groups = GROUPS;
    image.activation_after = NORMKIT_SILU;
    image.fusions = NORMKIT_ADD_RESIDUAL_AFTER;
    require(normkit_plan_create(&image, &net->group));

    const normkit_plan *const plans[] = {net->rms, net->adaptive, net->group};
    net->workspace_bytes = 0;
    for (int i = 0; i < 3; i++) {
        int64_t bytes = normkit_plan_workspace(plans[i], net->parts);
        if (bytes > net->workspace_bytes)
            net->workspace_bytes = bytes;
    }
}

static float *numbers(int64_t count, float middle, float spread)
{
    float *values = take((size_t)count * sizeof *values);
    for (int64_t i = 0; i < count; i++)
        values[i] = middle + spread * ((float)rand() / (float)RAND_MAX - 0.5f);
    return values;
}

static void build(network *net, int threads)
{
    memset(net, 0, sizeof *net);
    net->parts = threads;
    arena_used = 0;
    plan(net);
    srand(1);
    net->input = numbers(COUNT, 0, 4);
    net->stream = numbers(COUNT, 0, 0), net->branch = numbers(COUNT, 0, 0);
    net->y = numbers(COUNT, 0, 0), net->before = numbers(2 * COUNT, 0, 0);
    net->gamma = numbers(WIDTH, 1, 1), net->beta = numbers(WIDTH, 0, 1);
    net->scale = numbers(SAMPLES * WIDTH, 0, 1), net->shift = numbers(SAMPLES * WIDTH, 0, 1);
    net->workspace = take((size_t)net->workspace_bytes);
}

static void destroy(network *net)
{
    normkit_plan_destroy(net->rms);
    normkit_plan_destroy(net->adaptive);
    normkit_plan_destroy(net->group);
}

/* branch = mix(y): each token with the ones beside it. A task is a sample. */
static void mix(void *argument, size_t sample)
{
    const network *net = argument;
    for (int t = 0; t < TOKENS; t++)
        for (int c = 0; c < WIDTH; c++) {
            const float *y = net->y + (sample * TOKENS) * WIDTH;
            float left = y[(t + TOKENS - 1) % TOKENS * WIDTH + c];
            float right = y[(t + 1) % TOKENS * WIDTH + (c + 1) % WIDTH];
            net->branch[(sample * TOKENS + (size_t)t) * WIDTH + c] = 0.5f * left - 0.75f * right + 0.25f;
        }
}

/* ---- Results in plain C ------------------------------------------------------------------------------- */

/* y of one set of `count` elements, `runs` apart from each other in rows of `run`: z = (x - mean) / deviation. */
typedef struct {
    const float *x;
    int run, step;
    double mean, rstd;
} set;

static set standardized(const float *x, int runs, int run, int step, int subtracts_mean)
{
    double sum = 0, squares = 0, n = (double)runs * run;
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < run; i++)
            sum += x[r * step + i];
    set s = {x, run, step, subtracts_mean ? sum / n : 0, 0};
    for (int r = 0; r < runs; r++)
        for (int i = 0; i < run; i++)
            squares += (x[r * step + i] - s.mean) * (x[r * step + i] - s.mean);
    s.rstd = 1 / sqrt(squares / n + EPSILON);
    return s;
}

static double worst;    /* difference between a result and plain C, in parts of the largest number around it */

static void compare(float found, double wanted)
{
    double difference = fabs(found - wanted) / fmax(1, fabs(wanted));
    if (!(difference <= worst))
        worst = difference;
}

/* The first two lines of a layer; `before` holds stream and branch as they were. */
static void check_rows(const network *net, int adaptive)
{
    for (int row = 0; row < ROWS; row++) {
        const float *stream = net->stream + row * WIDTH, *y = net->y + row * WIDTH;
        set s = standardized(stream, 1, WIDTH, WIDTH, adaptive);
        for (int c = 0; c < WIDTH; c++) {
            int i = row * WIDTH + c, sample = row / TOKENS * WIDTH + c;
            compare(stream[c], (double)net->before[i] + net->before[COUNT + i]);
            double n = (stream[c] - s.mean) * s.rstd * net->gamma[c] + (adaptive ? net->beta[c] : 0);
            compare(y[c], adaptive ? n * (1 + (double)net->scale[sample]) + net->shift[sample] : n);
        }
    }
}

static void check_group(const network *net)
{
    enum { WIDTH_OF_GROUP = WIDTH / GROUPS };
    for (int sample = 0; sample < SAMPLES; sample++)
        for (int g = 0; g < GROUPS; g++) {
            int first = sample * TOKENS * WIDTH + g * WIDTH_OF_GROUP;
            set s = standardized(net->before + COUNT + first, TOKENS, WIDTH_OF_GROUP, WIDTH, 1);
            for (int t = 0; t < TOKENS; t++)
                for (int k = 0; k < WIDTH_OF_GROUP; k++) {
                    int i = first + t * WIDTH + k, c = g * WIDTH_OF_GROUP + k;
                    double n = (net->before[COUNT + i] - s.mean) * s.rstd * net->gamma[c] + net->beta[c];
                    compare(net->branch[i], n / (1 + exp(-n)) + net->stream[i]);
                }
        }
}

static void remember(network *net, int wanted)
{
    if (!wanted)
        return;
    memcpy(net->before, net->stream, COUNT * sizeof(float));
    memcpy(net->before + COUNT, net->branch, COUNT * sizeof(float));
}

/* ---- Runs --------------------------------------------------------------------------------------------- */

static void run(const network *net, thread_pool *pool, const normkit_plan *which, const normkit_operands *operands)
{
    require(normkit_plan_run_parallel(which, operands, net->parts, parallel_for, pool));
}

static void layer(network *net, thread_pool *pool, int checked)
{
    /* `sum` takes the place of the residual: the stream grows where it stands. */
    normkit_operands rows = {.struct_size = sizeof rows, .workspace = net->workspace};
    rows.workspace_bytes = net->workspace_bytes;
    rows.x = net->branch, rows.residual = rows.sum = net->stream, rows.y = net->y, rows.gamma = net->gamma;
    remember(net, checked);
    run(net, pool, net->rms, &rows);
    if (checked)
        check_rows(net, 0);
    parallel_for(pool, SAMPLES, mix, net);

    rows.beta = net->beta, rows.sample_scale = net->scale, rows.sample_shift = net->shift;
    remember(net, checked);
    run(net, pool, net->adaptive, &rows);
    if (checked)
        check_rows(net, 1);
    parallel_for(pool, SAMPLES, mix, net);

    normkit_operands image = {.struct_size = sizeof image, .workspace = net->workspace};
    image.workspace_bytes = net->workspace_bytes;
    image.x = image.y = net->branch, image.residual_after = net->stream;
    image.gamma = net->gamma, image.beta = net->beta;
    remember(net, checked);
    run(net, pool, net->group, &image);
    if (checked)
        check_group(net);
}

/* One pass of the network over its input, in `branch` at the end. */
static void pass(network *net, thread_pool *pool, int checked)
{
    memset(net->stream, 0, COUNT * sizeof(float));
    memcpy(net->branch, net->input, COUNT * sizeof(float));
    for (int i = 0; i < LAYERS; i++)
        layer(net, pool, checked);
}

int main(void)
{
    static float results[2][COUNT];
    int failed = 0;
    arena_size = 64 * COUNT;
    arena = malloc(arena_size);
    if (!arena)
        return 1;
    for (int i = 0; i < 2; i++) {
        int threads = i == 0 ? 1 : THREADS;
        thread_pool pool;
        network net;
        build(&net, threads);
        start(&pool, threads);
        long before = allocations_so_far();
        for (int n = 0; n < PASSES; n++) {
            pass(&net, &pool, n == 0);
            if (n == 0)
                memcpy(results[i], net.branch, sizeof results[i]);
            failed |= memcmp(results[i], net.branch, sizeof results[i]) != 0;
        }
        long allocated = allocations_so_far() - before;
        failed |= allocated != 0;
        stop(&pool);
        destroy(&net);
        printf("%d thread%s: %d runs, %ld allocations, at most %.1g from plain C\n", threads, threads == 1 ? "" : "s",
               3 * LAYERS * PASSES, allocated, worst);
        failed |= !(worst < 1e-5);
    }
    int same = memcmp(results[0], results[1], sizeof results[0]) == 0;
    printf("one thread and %d: %s\n", THREADS, same ? "the same bits" : "other bits");
#ifdef __GLIBC__
    /* Or nothing was counted. */
    failed |= allocations_so_far() == 0;
#endif
    free(arena);
    return failed || !same;
}
