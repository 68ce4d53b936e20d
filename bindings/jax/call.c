#include "call.h"

#include <string.h>

XLA_FFI_Error *normkit_jax_error(const XLA_FFI_Api *api, XLA_FFI_Error_Code code, const char *message)
{
    XLA_FFI_Error_Create_Args args = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, message, code};
    return api->XLA_FFI_Error_Create(&args);
}

XLA_FFI_Error *normkit_jax_refusal(const XLA_FFI_Api *api, normkit_status status)
{
    if (status == NORMKIT_OK)
        return NULL;
    XLA_FFI_Error_Code code =
        status == NORMKIT_ERROR_MEMORY ? XLA_FFI_Error_Code_RESOURCE_EXHAUSTED : XLA_FFI_Error_Code_INVALID_ARGUMENT;
    return normkit_jax_error(api, code, normkit_status_string(status));
}

int normkit_jax_failed(const XLA_FFI_Api *api, XLA_FFI_Error *error)
{
    if (error == NULL)
        return 0;
    XLA_FFI_Error_Destroy_Args args = {XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, NULL, error};
    api->XLA_FFI_Error_Destroy(&args);
    return 1;
}

int normkit_jax_metadata(XLA_FFI_CallFrame *frame, XLA_FFI_TypeId state)
{
    XLA_FFI_Extension_Base *extension = frame->extension_start;
    if (extension == NULL || extension->type != XLA_FFI_Extension_Metadata)
        return 0;
    XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
    metadata->api_version.struct_size = XLA_FFI_Api_Version_STRUCT_SIZE;
    metadata->api_version.extension_start = NULL;
    metadata->api_version.major_version = XLA_FFI_API_MAJOR;
    metadata->api_version.minor_version = XLA_FFI_API_MINOR;
    metadata->traits = 0;
    metadata->state_type_id = state;
    return 1;
}

static const void *attribute(const XLA_FFI_Attrs *attributes, const char *name, XLA_FFI_AttrType type)
{
    size_t length = strlen(name);
    for (int64_t i = 0; i < attributes->size; i++) {
        const XLA_FFI_ByteSpan *found = attributes->names[i];
        if (found->len == length && memcmp(found->ptr, name, length) == 0)
            return attributes->types[i] == type ? attributes->attrs[i] : NULL;
    }
    return NULL;
}

int64_t normkit_jax_integer(const XLA_FFI_Attrs *attributes, const char *name)
{
    const XLA_FFI_Scalar *scalar = attribute(attributes, name, XLA_FFI_AttrType_SCALAR);
    return scalar != NULL && scalar->dtype == XLA_FFI_DataType_S64 ? *(const int64_t *)scalar->value : 0;
}

double normkit_jax_real(const XLA_FFI_Attrs *attributes, const char *name)
{
    const XLA_FFI_Scalar *scalar = attribute(attributes, name, XLA_FFI_AttrType_SCALAR);
    return scalar != NULL && scalar->dtype == XLA_FFI_DataType_F64 ? *(const double *)scalar->value : 0;
}

XLA_FFI_ByteSpan normkit_jax_string(const XLA_FFI_Attrs *attributes, const char *name)
{
    const XLA_FFI_ByteSpan *span = attribute(attributes, name, XLA_FFI_AttrType_STRING);
    XLA_FFI_ByteSpan empty = {"", 0};
    return span != NULL ? *span : empty;
}

int normkit_jax_offsets(const normkit_jax_member *members, XLA_FFI_ByteSpan names, uint16_t *offsets)
{
    int count = 0;
    const char *name = names.ptr, *end = names.ptr + names.len;
    while (name < end) {
        const char *space = memchr(name, ' ', (size_t)(end - name));
        size_t length = (size_t)((space != NULL ? space : end) - name);
        const normkit_jax_member *member = members;
        while (member->name != NULL && (strlen(member->name) != length || memcmp(member->name, name, length) != 0))
            member++;
        if (member->name == NULL || count == NORMKIT_JAX_MOST_OPERANDS)
            return -1;
        offsets[count++] = (uint16_t)member->offset;
        name += length + 1;
    }
    return count;
}

int normkit_jax_bind(const XLA_FFI_CallFrame *frame, const uint16_t *offsets, int count, void *operands)
{
    if (frame->args.size + frame->rets.size != count)
        return -1;
    for (int i = 0; i < count; i++) {
        const XLA_FFI_Buffer *buffer =
            i < frame->args.size ? frame->args.args[i] : frame->rets.rets[i - frame->args.size];
        memcpy((char *)operands + offsets[i], &buffer->data, sizeof(void *));
    }
    return 0;
}
