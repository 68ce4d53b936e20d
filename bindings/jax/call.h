/* What the handlers share: errors, attributes and the metadata that XLA asks a handler for. */
#ifndef NORMKIT_JAX_CALL_H
#define NORMKIT_JAX_CALL_H

#include <normkit.h>
#include <xla/ffi/api/c_api.h>

/* An error for XLA, which copies the message. */
XLA_FFI_Error *normkit_jax_error(const XLA_FFI_Api *api, XLA_FFI_Error_Code code, const char *message);

/* The same for a status; NULL for NORMKIT_OK. */
XLA_FFI_Error *normkit_jax_refusal(const XLA_FFI_Api *api, normkit_status status);

/* Frees what a function of XLA returned; whether it was an error. */
int normkit_jax_failed(const XLA_FFI_Api *api, XLA_FFI_Error *error);

/* Whether XLA asks for the handler's metadata instead of calling it; if so they are filled in. `state` is the type of
 * what the handler leaves with an executable, {0} for none. */
int normkit_jax_metadata(XLA_FFI_CallFrame *frame, XLA_FFI_TypeId state);

/* An attribute by its name: an integer of 64 bits, a double, a string. 0 and "" if there is none of this name and
 * type. */
int64_t normkit_jax_integer(const XLA_FFI_Attrs *attributes, const char *name);
double normkit_jax_real(const XLA_FFI_Attrs *attributes, const char *name);
XLA_FFI_ByteSpan normkit_jax_string(const XLA_FFI_Attrs *attributes, const char *name);

/* Names of the members of a struct that are pointers, with their offsets; ends with {NULL, 0}. */
typedef struct {
    const char *name;
    size_t offset;
} normkit_jax_member;

/* At most so many operands, arguments and results together. */
enum { NORMKIT_JAX_MOST_OPERANDS = 16 };

/* Finds the offsets of the members that `names` lists with one space between two. Returns how many, -1 for an unknown
 * name or too many. */
int normkit_jax_offsets(const normkit_jax_member *members, XLA_FFI_ByteSpan names, uint16_t *offsets);

/* Puts the addresses of a call's arguments and results at those offsets of `operands`. Returns -1 if their number is
 * another one. */
int normkit_jax_bind(const XLA_FFI_CallFrame *frame, const uint16_t *offsets, int count, void *operands);

#endif
