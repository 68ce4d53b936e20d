#include "job.h"

void nk_call(nk_kernel kernel, const nk_job *job, int32_t phase, int64_t begin, int64_t end) {
    _Alignas(64) char scratch[NK_SCRATCH_BYTES];
    kernel(job, phase, begin, end, scratch);
}
