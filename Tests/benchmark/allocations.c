/* Counts the bytes that a process has allocated, for memory.py, which preloads it.
 *
 * cc -std=c99 -D_GNU_SOURCE -O2 -shared -fPIC Tests/benchmark/allocations.c -o allocations.so */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static int64_t current, peak;

/* What has been allocated from now on is counted. */
void allocations_start(void)
{
    __atomic_store_n(&current, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&peak, 0, __ATOMIC_SEQ_CST);
}

/* The most that was allocated at one time since then. */
int64_t allocations_peak(void) { return __atomic_load_n(&peak, __ATOMIC_SEQ_CST); }

static void note(int64_t bytes)
{
    int64_t now = __atomic_add_fetch(&current, bytes, __ATOMIC_SEQ_CST), highest = allocations_peak();
    while (now > highest && !__atomic_compare_exchange_n(&peak, &highest, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        ;
}

static void *counted(void *memory)
{
    note((int64_t)malloc_usable_size(memory));
    return memory;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *found = memalign(alignment, size);
    if (!found)
        return ENOMEM;
    *memory = found;
    return 0;
}

void *realloc(void *memory, size_t size)
{
    int64_t before = (int64_t)malloc_usable_size(memory);
    void *moved = __libc_realloc(memory, size);
    if (moved || size == 0)
        note((int64_t)malloc_usable_size(moved) - before);
    return moved;
}

void free(void *memory)
{
    note(-(int64_t)malloc_usable_size(memory));
    __libc_free(memory);
}
