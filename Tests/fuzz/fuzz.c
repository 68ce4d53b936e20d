/* Calls one function with arguments made from the bytes of an input (libFuzzer).
 *
 * Buffers have exactly the size that the header asks for, and end where memory ends: at AddressSanitizer's red zone,
 * or at a page that cannot be touched. Arguments are mostly sensible, sometimes not. What has to hold:
 *   - a call with an argument that is out of range is refused;
 *   - a refused call has written nothing;
 *   - inputs, and the gaps between strided rows of the output, are never written;
 *   - moderate finite numbers give finite results. */
#include "../c/values.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIMIT = 1 << 15 };   /* elements of the largest buffer */

#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "fuzz: not true: %s (status %d)\n", #condition, (int)status); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

/* ---- The input ---------------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t left;
static int refused;     /* an argument is out of range: the call must not succeed */

/* The next byte; after the last, pseudo-random ones, so that a short input is a whole call too. */
static int byte(void)
{
    if (left == 0)
        return (int)(random_bits() >> 56);
    left--;
    return *input++;
}
static int sometimes(void) { return byte() >= 240; }

/* One of the values low … high, sometimes another. */
static int32_t choice(int32_t low, int32_t high)
{
    if (!sometimes())
        return low + byte() % (high - low + 1);
    const int32_t other[] = {low - 1, high + 1, INT32_MIN, INT32_MAX};
    refused = 1;
    return other[byte() % 4];
}

static int64_t size(void)
{
    static const int64_t unusual[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 62, INT64_C(1) << 32, 300, 1025, 5000};
    int first = byte();
    int64_t value = first < 240 ? first % 37 : unusual[byte() % 8];
    refused |= value < 0;
    return value;
}

/* a * b, or INT64_MAX where that is too small. */
static int64_t times(int64_t a, int64_t b)
{
    __int128 product = (__int128)(a < 0 ? 0 : a) * (b < 0 ? 0 : b);
    return product > INT64_MAX ? INT64_MAX : (int64_t)product;
}

static double epsilon(void)
{
    static const double values[] = {1e-5, 0, 1, 1e-12, -1, INFINITY, NAN, 1e-30};
    double value = values[byte() % 8];
    refused |= !(value >= 0 && isfinite(value));
    return value;
}

/* ---- Buffers ------------------------------------------------------------------------------------------ */

typedef struct {
    char *data, *before;    /* NULL: not given */
    void *block;            /* what was allocated */
    size_t bytes, mapped;
    int32_t type;
    int64_t runs, run, stride;
    __int128 elements;
    int written;            /* an output */
} buffer;

static buffer buffers[8];
static int used, moderate;
static __int128 largest;    /* elements of the largest buffer that was asked for */

/* `runs` runs of `run` elements, from the start of one to the start of the next `stride` elements. */
static buffer *strided(int32_t type, int64_t runs, int64_t run, int64_t stride, int written)
{
    buffer *b = &buffers[used++];
    *b = (buffer){.type = type, .runs = runs < 0 ? 0 : runs, .run = run < 0 ? 0 : run, .written = written};
    b->stride = stride < b->run ? b->run : stride;
    b->elements = b->runs == 0 || b->run == 0 ? 0 : (__int128)(b->runs - 1) * b->stride + b->run;
    if (b->elements > largest)
        largest = b->elements;
    /* Where it is too large, nothing is called with it, unless that has to be refused. */
    int64_t elements = b->elements > LIMIT ? 0 : (int64_t)b->elements;
    b->bytes = (size_t)elements * element_size(type);

    int kind = byte() % 4;
    if (kind == 3) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t body = (b->bytes + page - 1) / page * page;
        b->mapped = body + page;
        b->block = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b->block == MAP_FAILED)
            abort();
        mprotect((char *)b->block + body, page, PROT_NONE);
        b->data = (char *)b->block + body - b->bytes;
    } else {
        size_t shift = (size_t)kind % 2;    /* not even an element's alignment may be expected */
        b->block = malloc(b->bytes + shift);
        if (!b->block)
            abort();
        b->data = (char *)b->block + shift;
    }
    fill(type, b->data, elements, 0);
    if (!moderate)
        for (size_t i = 0; i < b->bytes; i++)
            b->data[i] = (char)random_bits();
    return b;
}

static void *given(int32_t type, int64_t count) { return strided(type, 1, count, 0, 0)->data; }
static void *maybe(int32_t type, int64_t count) { return byte() % 4 == 0 ? NULL : given(type, count); }
static void *result(int32_t type, int64_t count)
{
    return byte() % 2 == 0 ? NULL : strided(type, 1, count, 0, 1)->data;
}

static int in_place, overlap;
static int64_t x_stride, y_stride;

static int64_t stride(int64_t run)
{
    int kind = byte();
    if (kind < 160)
        return 0;
    int64_t value = kind < 240 ? run + kind % 5 : size();
    refused |= value != 0 && value < run;
    return value;
}

/* An overlap is one of contiguous runs: strided ones could lie in each other's gaps. */
static void choose_strides(int64_t run)
{
    x_stride = overlap ? 0 : stride(run);
    y_stride = overlap ? 0 : in_place ? x_stride : stride(run);
}

static const void *take_x(int32_t type, int64_t runs, int64_t run)
{
    buffer *x = strided(type, runs, run, x_stride, in_place || overlap);
    return x->data;
}

/* y is x, or a part of x, or memory of its own. */
static void *take_y(int32_t type, int64_t runs, int64_t run, const void *x)
{
    buffer *of_x = &buffers[0];
    if (in_place)
        return (void *)x;
    if (overlap && of_x->bytes >= 2 * element_size(type)) {
        refused = 1;
        return (char *)x + element_size(type);
    }
    return strided(type, runs, run, y_stride, 1)->data;
}

/* ---- What has to hold --------------------------------------------------------------------------------- */

static int is_finite(const char *element, int32_t type)
{
    uint16_t half;
    float single;
    double number;
    switch (type) {
    case NORMKIT_F16: return memcpy(&half, element, 2), (half & 0x7c00) != 0x7c00;
    case NORMKIT_BF16: return memcpy(&half, element, 2), (half & 0x7f80) != 0x7f80;
    case NORMKIT_F32: return memcpy(&single, element, 4), isfinite(single);
    default: return memcpy(&number, element, 8), isfinite(number);
    }
}

static void check(normkit_status status)
{
    REQUIRE(normkit_status_string(status) != NULL);
    REQUIRE(!refused || status != NORMKIT_OK);
    for (int i = 0; i < used; i++) {
        buffer *b = &buffers[i];
        if (!b->written || status != NORMKIT_OK) {
            REQUIRE(memcmp(b->data, b->before, b->bytes) == 0);
            continue;
        }
        size_t element = element_size(b->type);
        for (int64_t r = 0; r < b->runs && b->bytes > 0; r++) {
            size_t start = (size_t)(r * b->stride) * element, end = start + (size_t)b->run * element;
            for (size_t at = start; moderate && at < end; at += element)
                REQUIRE(is_finite(b->data + at, b->type));
            if (r + 1 < b->runs)
                REQUIRE(memcmp(b->data + end, b->before + end, (size_t)(b->stride - b->run) * element) == 0);
        }
    }
}

/* Whether the buffers may be used as they are: what is larger than any memory has to be refused. */
static int ready(void)
{
    refused |= buffers[0].elements >= INT64_MAX;
    if (largest > LIMIT && !refused)
        return 0;
    for (int i = 0; i < used; i++) {
        buffers[i].before = malloc(buffers[i].bytes + 1);
        if (!buffers[i].before)
            abort();
        memcpy(buffers[i].before, buffers[i].data, buffers[i].bytes);
    }
    return 1;
}

static void release(void)
{
    for (int i = 0; i < used; i++) {
        if (buffers[i].mapped)
            munmap(buffers[i].block, buffers[i].mapped);
        else
            free(buffers[i].block);
        free(buffers[i].before);
    }
    used = 0;
}

#define CALL(...)                   \
    do {                            \
        if (ready())                \
            check(__VA_ARGS__);     \
    } while (0)

/* ---- The functions ------------------------------------------------------------------------------------ */

static int32_t dtype, parameter_dtype;

static void rows(int rms)
{
    int64_t n = size(), run = size();
    double e = epsilon();
    choose_strides(run);
    int32_t one_plus_gamma = rms ? choice(0, 1) : 0;
    const void *x = take_x(dtype, n, run), *gamma = maybe(parameter_dtype, run), *beta = maybe(parameter_dtype, run);
    void *y = take_y(dtype, n, run, x);
    void *mean = rms ? NULL : result(statistics_type(dtype), n), *rstd = result(statistics_type(dtype), n);
    if (rms)
        CALL(normkit_rms_norm(dtype, parameter_dtype, n, run, x, x_stride, gamma, beta, one_plus_gamma, e,
                              y, y_stride, rstd));
    else
        CALL(normkit_layer_norm(dtype, parameter_dtype, n, run, x, x_stride, gamma, beta, e,
                                y, y_stride, mean, rstd));
}

enum { CHANNELS_AT_POSITIONS, INFERENCE, TRAINING, INSTANCE, GROUP };

static void channels(int method)
{
    int32_t layout = method == CHANNELS_AT_POSITIONS ? NORMKIT_CHANNELS_FIRST : choice(1, 2);
    int64_t n = size(), c = size(), l = size(), groups = 1;
    if (method == GROUP && !sometimes()) {      /* groups that divide the channels */
        groups = 1 + byte() % 8;
        c = c > 0 ? times(c % 64, groups) : c;
    } else if (method == GROUP) {
        groups = size();
    }
    double e = epsilon(), momentum = byte() / 255.0;
    int first = layout != NORMKIT_CHANNELS_LAST;
    int64_t runs = first ? n : times(n, l), run = first ? times(c, l) : c;
    choose_strides(run);
    int32_t rule = method == TRAINING ? choice(0, 1) : 0, of = statistics_type(dtype);
    refused |= groups < 1 || (c >= 0 && c % groups != 0);

    const void *x = take_x(dtype, runs, run), *gamma = maybe(parameter_dtype, c), *beta = maybe(parameter_dtype, c);
    void *y = take_y(dtype, runs, run, x);
    if (method == INFERENCE) {
        void *mean = given(of, c), *variance = given(of, c);
        if (moderate && largest <= LIMIT)
            fill(of, variance, c, 1);
        CALL(normkit_batch_norm_inference(dtype, parameter_dtype, layout, n, c, l, x, x_stride, gamma, beta,
                                          mean, variance, e, y, y_stride));
        return;
    }
    int64_t sets = method == CHANNELS_AT_POSITIONS ? times(n, l) : method == TRAINING ? c
                   : method == INSTANCE ? times(n, c) : times(n, groups);
    void *mean = result(of, sets), *rstd = result(of, sets);
    if (method == TRAINING) {
        int tracked = byte() % 2;
        void *running_mean = tracked ? strided(of, 1, c, 0, 1)->data : NULL;
        void *running_variance = tracked ? strided(of, 1, c, 0, 1)->data : NULL;
        CALL(normkit_batch_norm_training(dtype, parameter_dtype, layout, n, c, l, x, x_stride, gamma, beta, e,
                                         running_mean, running_variance, rule, momentum, y, y_stride, mean, rstd));
    } else if (method == CHANNELS_AT_POSITIONS) {
        CALL(normkit_layer_norm_channels(dtype, parameter_dtype, n, c, l, x, x_stride, gamma, beta, e,
                                         y, y_stride, mean, rstd));
    } else if (method == INSTANCE) {
        CALL(normkit_instance_norm(dtype, parameter_dtype, layout, n, c, l, x, x_stride, gamma, beta, e,
                                   y, y_stride, mean, rstd));
    } else {
        CALL(normkit_group_norm(dtype, parameter_dtype, layout, n, c, l, groups, x, x_stride, gamma, beta, e,
                                y, y_stride, mean, rstd));
    }
}

static void along_an_axis(int weight)
{
    int32_t norm = weight ? choice(NORMKIT_L1, NORMKIT_MAX) : 0;
    int64_t outer = size(), middle = size(), inner = size();
    double e = weight ? epsilon() : 0;
    x_stride = y_stride = 0;
    const int64_t count = times(times(outer, middle), inner);
    const void *x = take_x(dtype, 1, count), *factor = maybe(parameter_dtype, middle);
    const void *shift = weight ? NULL : maybe(parameter_dtype, middle);
    void *y = take_y(dtype, 1, count, x), *norms = weight ? result(statistics_type(dtype), middle) : NULL;
    if (weight)
        CALL(normkit_weight_norm(dtype, parameter_dtype, norm, outer, middle, inner, x, factor, e, y, norms));
    else
        CALL(normkit_scale_shift(dtype, parameter_dtype, outer, middle, inner, x, factor, shift, y));
}

enum { NORMALIZE, LP_NORMALIZE, MOMENTS };

static void general_form(int method)
{
    int32_t rank = choice(0, NORMKIT_MAX_RANK), axes[NORMKIT_MAX_RANK] = {0};
    int64_t shape[NORMKIT_MAX_RANK] = {0}, count = 1, kept = 1;
    int known = rank >= 0 && rank <= NORMKIT_MAX_RANK;
    int reduced = byte(), axis_count = 0;
    for (int32_t a = 0; known && a < rank; a++) {
        shape[a] = sometimes() ? size() : byte() % 6;
        count = times(count, shape[a]);
        if (reduced >> a & 1)
            axes[axis_count++] = byte() % 2 ? a : a - rank;
        else
            kept = times(kept, shape[a]);
    }
    if (axis_count > 0 && sometimes()) {
        static const int32_t wrong[] = {-9, 8, INT32_MIN, INT32_MAX};
        refused = 1;
        axes[axis_count - 1] = wrong[byte() % 4];
    }
    double e = method == MOMENTS ? 0 : epsilon();
    int32_t of = statistics_type(dtype), option = 0;
    if (method == NORMALIZE)
        option = choice(NORMKIT_EPSILON_INSIDE_SQRT, NORMKIT_EPSILON_OUTSIDE_SQRT);
    if (method == LP_NORMALIZE)
        option = choice(NORMKIT_L1, NORMKIT_MAX);
    int64_t correction = byte() % 3 - 1;
    x_stride = y_stride = 0;
    if (method == MOMENTS)
        in_place = overlap = 0, refused |= correction < 0;
    const void *x = take_x(dtype, 1, count);
    void *y = method == MOMENTS ? NULL : take_y(dtype, 1, count, x);
    void *first = method == LP_NORMALIZE ? NULL : result(of, kept), *second = result(of, kept);
    if (method == NORMALIZE)
        CALL(normkit_normalize(dtype, rank, shape, axis_count, axes, x, e, option, y, first, second));
    else if (method == LP_NORMALIZE)
        CALL(normkit_lp_normalize(dtype, option, rank, shape, axis_count, axes, x, e, y, second));
    else
        CALL(normkit_moments(dtype, rank, shape, axis_count, axes, x, correction, first, second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    input = data, left = length;
    refused = 0, largest = 0;
    random_state = 0x9e3779b97f4a7c15u;
    int function = byte() % 12, how = byte();
    random_state ^= (uint64_t)byte() << 8;
    moderate = how % 4 != 0;
    in_place = how >> 2 & 1;
    overlap = !in_place && (how >> 3 & 7) == 7;

    dtype = choice(NORMKIT_F32, NORMKIT_BF16);
    parameter_dtype = dtype;
    if (byte() % 3 == 0) {
        parameter_dtype = byte() % 5;
        int half = dtype == NORMKIT_F16 || dtype == NORMKIT_BF16;
        refused |= function < 9 && parameter_dtype != dtype && !(half && parameter_dtype == NORMKIT_F32);
    }
    switch (function) {
    case 0: case 1: rows(function); break;
    case 2: case 3: case 4: case 5: case 6: channels(function - 2); break;
    case 7: case 8: along_an_axis(function - 7); break;
    default: general_form(function - 9); break;
    }
    release();
    return 0;
}
