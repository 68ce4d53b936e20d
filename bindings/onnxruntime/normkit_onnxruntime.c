/* A library of operators for ONNX Runtime: the normalizations of NormKit, in the domain "normkit". */
#include "onnxruntime_abi.h"
#include "operators.h"

#include "normkit.h"

#include <stdatomic.h>
#include <stdlib.h>

/* ONNX Runtime calls this once for each session options that the library is registered with. */
NORMKIT_API OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base);

static OrtStatus *make_domain(const OrtApi *api, OrtCustomOpDomain **domain, Variant **variants) {
    *variants = malloc(all_variants(api, NULL) * sizeof **variants);
    if (*variants == NULL) return api->CreateStatus(ORT_FAIL, "normkit: there is no memory");
    size_t count = all_variants(api, *variants);
    OrtStatus *status = api->CreateCustomOpDomain("normkit", domain);
    for (size_t i = 0; status == NULL && i < count; i++) status = api->CustomOpDomain_Add(*domain, &(*variants)[i].op);
    return status;
}

/* The domain and its operators have to live as long as any session made with them, of whose end nobody is told: they
 * are made once and kept. */
static OrtStatus *find_domain(const OrtApi *api, OrtCustomOpDomain **domain) {
    static _Atomic(OrtCustomOpDomain *) kept;
    *domain = atomic_load(&kept);
    if (*domain != NULL) return NULL;

    OrtCustomOpDomain *made = NULL, *nothing = NULL;
    Variant *variants = NULL;
    OrtStatus *status = make_domain(api, &made, &variants);
    if (status == NULL && atomic_compare_exchange_strong(&kept, &nothing, made)) {
        *domain = made;
        return NULL;
    }
    *domain = nothing; /* another thread has been faster */
    if (made != NULL) api->ReleaseCustomOpDomain(made);
    free(variants);
    return status;
}

OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->GetApi(ORT_API_VERSION);
    if (api == NULL) return base->GetApi(1)->CreateStatus(ORT_FAIL, "normkit needs ONNX Runtime 1.18 or newer");
    OrtCustomOpDomain *domain = NULL;
    OrtStatus *status = find_domain(api, &domain);
    return status != NULL ? status : api->AddCustomOpDomain(options, domain);
}
