/* What kernels and header have in common has the same values. */
#include "../../include/normkit.h"
#include "job.h"
#include "threads.h"

_Static_assert((int)NK_F32 == NORMKIT_F32, "F32");
_Static_assert((int)NK_F64 == NORMKIT_F64, "F64");
_Static_assert((int)NK_F16 == NORMKIT_F16, "F16");
_Static_assert((int)NK_BF16 == NORMKIT_BF16, "BF16");
_Static_assert((int)NK_MAX_THREADS == NORMKIT_MAX_THREADS, "threads");
_Static_assert(sizeof(nk_moments) == sizeof(normkit_channel_moments), "moments");
_Static_assert(sizeof(nk_sums) == sizeof(normkit_channel_gradient), "sums of gradients");
