/* Which kernels this processor runs. */
#ifndef NORMKIT_PROCESSOR_H
#define NORMKIT_PROCESSOR_H

#include "job.h"

/* An instruction set: its name, and the kernels that were compiled for it (NULL: none of ours). */
typedef struct {
    const char *name;
    nk_kernel kernel;
} nk_isa;

/* The best instruction set that processor and operating system support, or the lower one that NORMKIT_ISA names.
 * Chosen at the first call, in any thread; never NULL. */
const nk_isa *nk_chosen_isa(void);

/* From how many bytes on, of all tensors together, one thread writes past the caches: half of the largest cache, which
 * others use too, but no more than 32 MiB. Found at the first call, in any thread. */
int64_t nk_streaming_bytes(void);

#endif
