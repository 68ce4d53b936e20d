/* Broadcasting, as ONNX's Add does it. */
#ifndef NORMKIT_ONNXRUNTIME_BROADCAST_H
#define NORMKIT_ONNXRUNTIME_BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_RANK = 16 };

typedef struct {
    size_t rank;
    int64_t extents[MAX_RANK];
} Shape;

bool same_shape(const Shape *a, const Shape *b);
int64_t element_count(const Shape *shape);

/* The shape that both are stretched to; false if there is none. */
bool common_shape(const Shape *a, const Shape *b, Shape *common);

/* Copies `source` of shape `from`, stretched to shape `to`. */
void stretch(const void *source, const Shape *from, void *target, const Shape *to, size_t element_bytes);

#endif
