/* Normalizations as kernels of PyTorch's dispatcher, for what models mostly ask for: tensors on the CPU, dense, with
 * parameters of one type. A kernel that is asked for anything else computes nothing and says so by a result without
 * elements; its caller then goes the long way, through Python, which takes every case and explains every refusal.
 *
 * Work is shared between PyTorch's threads; gradients, and all with a PyTorch before 2.10, between NormKit's. */
#include <stdbool.h>
#include <stddef.h>

#include "kernels.h"
#include "normkit.h"
#include "tensors.h"

#define EXPORT __attribute__((visibility("default")))

/* Gives PyTorch these kernels for operators that are defined already, once.
 *
 * handle  that dlopen gives of the libtorch_cpu that the process has loaded
 *
 * Returns 0; or 1, with nothing done, if that lacks a function that is needed, 2 if it refused a kernel, and 3, with
 * nothing done, if libnormkit is of another version than these kernels were built with. */
EXPORT int32_t normkit_torch_register(void *handle) {
    static const struct {
        const char *name;
        pytorch_kernel kernel;
    } kernels[] = {
        {"layer_norm_short", layer_norm},
        {"layer_norm_recorded_short", layer_norm},
        {"rms_norm_short", rms_norm},
        {"rms_norm_recorded_short", rms_norm},
        {"group_norm_short", group_norm},
        {"group_norm_recorded_short", group_norm},
        {"instance_norm_short", instance_norm},
        {"instance_norm_recorded_short", instance_norm},
        {"fused_rows_short", fused_rows},
        {"fused_rows_sum_short", fused_rows},
        {"fused_groups_short", fused_groups},
        {"batch_norm_short", batch_norm},
        {"backward_short", backward},
    };
    if (normkit_version() != NORMKIT_VERSION) return 3;
    if (!find_pytorch(handle)) return 1;
    void *library;
    if (pytorch.library_init_impl("normkit", "CPU", __FILE__, __LINE__, &library)) return 2;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++)
        if (pytorch.library_impl(library, kernels[k].name, kernels[k].kernel)) return 2;
    return 0;
}
