#include "processor.h"
#include "halves.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const nk_isa none = {"none", NULL};

#if defined(__x86_64__)
#include <cpuid.h>

static const nk_isa x86_64_v2 = {"x86-64-v2", nk_run_x86_64_v2};
static const nk_isa x86_64_v3 = {"x86-64-v3", nk_run_x86_64_v3};
static const nk_isa x86_64_v4 = {"x86-64-v4", nk_run_x86_64_v4};
static const nk_isa x86_64_v4_bf16 = {"x86-64-v4-bf16", nk_run_x86_64_v4};
static const nk_isa *const all[] = {&x86_64_v4_bf16, &x86_64_v4, &x86_64_v3, &x86_64_v2};
_Bool nk_converts_bf16;

/* Register state that the operating system saves when it switches threads. A processor may have AVX while the
 * system does not know it: the registers would then be lost at any moment. */
static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

/* Microarchitecture level as the x86-64 psABI defines it: 1 … 4; 5 is 4 with conversion to bfloat16. */
static int level(void) {
    uint32_t a, b, c, d, c1, a7, b7, c81;
    if (!__get_cpuid(1, &a, &b, &c1, &d)) return 1;
    if (!__get_cpuid(0x80000001, &a, &b, &c81, &d)) return 1;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d)) a = b7 = 0;
    if (a < 1 || !__get_cpuid_count(7, 1, &a7, &b, &c, &d)) a7 = 0;

    const uint32_t v2 = bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_CMPXCHG16B;
    if (!has(c1, v2) || !has(c81, bit_LAHF_LM)) return 1;

    const uint32_t v3 = bit_AVX | bit_FMA | bit_F16C | bit_MOVBE | bit_OSXSAVE;
    if (!has(c1, v3) || !has(b7, bit_AVX2 | bit_BMI | bit_BMI2) || !has(c81, bit_LZCNT)) return 2;
    const uint64_t state = saved_state();
    if ((state & 0x6) != 0x6) return 2;

    const uint32_t v4 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    if (!has(b7, v4) || (state & 0xe6) != 0xe6) return 3;
    return has(a7, bit_AVX512BF16) ? 5 : 4;
}

/* How many entries at the front of `all` this machine cannot run. */
static size_t unsupported(void) { return (size_t)(5 - level()); }

/* Bytes of the largest cache; 0 if the processor does not say. Not from sysconf, which multiplies by processors that
 * a virtual machine does not have. */
static int64_t largest_cache(void) {
    int64_t largest = 0;
    const uint32_t leaves[] = {4, 0x8000001D};      /* Intel's and AMD's, of the same form */
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++)
        for (uint32_t cache = 0, a, b, c, d; __get_cpuid_count(leaves[i], cache, &a, &b, &c, &d) && a & 31; cache++) {
            const int64_t ways = (b >> 22) + 1, partitions = (b >> 12 & 0x3ff) + 1, line = (b & 0xfff) + 1;
            const int64_t bytes = ways * partitions * line * ((int64_t)c + 1);
            if (bytes > largest) largest = bytes;
        }
    return largest;
}

#elif defined(__aarch64__)

static const nk_isa arm64 = {"arm64", nk_run_arm64};
static const nk_isa *const all[] = {&arm64};
static size_t unsupported(void) { return 0; }
static int64_t largest_cache(void) { return 0; }

#endif

static const nk_isa *choose(void) {
    const size_t count = sizeof all / sizeof all[0];
    const size_t first = unsupported();
    const char *wanted = getenv("NORMKIT_ISA");
    for (size_t i = first; wanted && i < count; i++)
        if (strcmp(wanted, all[i]->name) == 0) return all[i];
    return first < count ? all[first] : &none;
}

const nk_isa *nk_chosen_isa(void) {
    /* Threads that come here at the same time choose the same. */
    static const nk_isa *_Atomic chosen;
    const nk_isa *isa = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!isa) {
        isa = choose();
#if defined(__x86_64__)
        __atomic_store_n(&nk_converts_bf16, isa == &x86_64_v4_bf16, __ATOMIC_RELAXED);
#endif
        atomic_store_explicit(&chosen, isa, memory_order_release);
    }
    return isa;
}

int64_t nk_streaming_bytes(void) {
    /* Threads that come here at the same time find the same. */
    static _Atomic int64_t found;
    int64_t bytes = atomic_load_explicit(&found, memory_order_relaxed);
    if (bytes == 0) {
        const int64_t typical = 32 << 20, most = 64 << 20, cache = largest_cache();
        bytes = (cache == 0 ? typical : cache < most ? cache : most) / 2;
        atomic_store_explicit(&found, bytes, memory_order_relaxed);
    }
    return bytes;
}
