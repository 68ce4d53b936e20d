/* Buffers of exactly the size that the header asks for, which end where memory ends: at AddressSanitizer's red zone,
 * or at a page that cannot be touched. */
#include "../c/values.h"
#include "fuzz.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LIMIT = 1 << 15, WORKSPACE = 1 << 20, BUFFERS = 20 };  /* elements of the largest buffers; buffers of a call */

#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "fuzz: not true: %s (status %d)\n", #condition, (int)status); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

static buffer buffers[BUFFERS];
static int used;
static int is_too_large;    /* a buffer that was asked for */

int64_t x_stride, y_stride, dx_stride;

uint64_t random_number(void) { return random_bits(); }
void seed(int number) { random_state = 0x9e3779b97f4a7c15u ^ (uint64_t)number << 8; }

/* ---- Memory ------------------------------------------------------------------------------------------- */

static void allocate(buffer *b)
{
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
}

static void fill_buffer(buffer *b, int only_positive)
{
    if (moderate)
        fill(b->type, b->data, (int64_t)(b->bytes / element_size(b->type)), only_positive);
    else
        for (size_t i = 0; i < b->bytes; i++)
            b->data[i] = (char)random_bits();
}

static buffer *add(int32_t type, int64_t runs, int64_t run, int64_t stride, int written, int limit)
{
    if (used == BUFFERS)
        abort();
    buffer *b = &buffers[used++];
    *b = (buffer){.type = type, .runs = runs < 0 ? 0 : runs, .run = run < 0 ? 0 : run, .written = written};
    b->stride = stride < b->run ? b->run : stride;
    b->elements = b->runs == 0 || b->run == 0 ? 0 : (__int128)(b->runs - 1) * b->stride + b->run;
    is_too_large |= b->elements > limit;
    /* Where it is too large, nothing is called with it, unless that has to be refused. */
    b->bytes = b->elements > limit ? 0 : (size_t)b->elements * element_size(type);
    allocate(b);
    fill_buffer(b, 0);
    return b;
}

buffer *strided(int32_t type, int64_t runs, int64_t run, int64_t stride, int written)
{
    return add(type, runs, run, stride, written, LIMIT);
}

void *workspace(int64_t bytes) { return add(NORMKIT_U8, 1, bytes, 0, 1, WORKSPACE)->data; }

void *given(int32_t type, int64_t count) { return strided(type, 1, count, 0, 0)->data; }
void *maybe(int32_t type, int64_t count) { return byte() % 4 == 0 ? NULL : given(type, count); }
void *output(int32_t type, int64_t count) { return strided(type, 1, count, 0, 1)->data; }
void *result(int32_t type, int64_t count) { return byte() % 2 == 0 ? NULL : output(type, count); }

void *positive(int32_t type, int64_t count)
{
    buffer *b = strided(type, 1, count, 0, 0);
    fill_buffer(b, 1);
    return b->data;
}

void no_strides(void) { x_stride = y_stride = dx_stride = 0; }

void choose_strides(int64_t run, int count)
{
    no_strides();
    int64_t *const strides[] = {&x_stride, &y_stride, &dx_stride};
    for (int i = 0; i < count && !overlap; i++)
        *strides[i] = i > 0 && in_place ? x_stride : stride(run);
}

const void *take_x(int64_t runs, int64_t run) { return strided(dtype, runs, run, x_stride, in_place)->data; }

const buffer *first_buffer(void) { return &buffers[0]; }

void *part_of(const buffer *input)
{
    if (input->bytes < 2 * element_size(input->type))
        return NULL;
    refused = 1;
    return input->data + element_size(input->type);
}

void *take_y(int64_t runs, int64_t run, const void *x)
{
    if (in_place)
        return (void *)x;
    void *part = overlap ? part_of(&buffers[0]) : NULL;
    return part ? part : strided(dtype, runs, run, y_stride, 1)->data;
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
    case NORMKIT_I8:
    case NORMKIT_U8: return 1;
    default: return memcpy(&number, element, 8), isfinite(number);
    }
}

void check(normkit_status status)
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
            for (size_t at = start; stays_finite && at < end; at += element)
                REQUIRE(is_finite(b->data + at, b->type));
            if (r + 1 < b->runs)
                REQUIRE(memcmp(b->data + end, b->before + end, (size_t)(b->stride - b->run) * element) == 0);
        }
    }
}

/* What is larger than any memory has to be refused; what is only larger than the limit is not called. */
int ready(void)
{
    refused |= buffers[0].elements >= INT64_MAX;
    if (is_too_large && !refused)
        return 0;
    for (int i = 0; i < used; i++) {
        buffers[i].before = malloc(buffers[i].bytes + 1);
        if (!buffers[i].before)
            abort();
        memcpy(buffers[i].before, buffers[i].data, buffers[i].bytes);
    }
    return 1;
}

void release(void)
{
    for (int i = 0; i < used; i++) {
        if (buffers[i].mapped)
            munmap(buffers[i].block, buffers[i].mapped);
        else
            free(buffers[i].block);
        free(buffers[i].before);
    }
    used = 0;
    is_too_large = 0;
}
