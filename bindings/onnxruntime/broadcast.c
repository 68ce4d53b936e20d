#include "broadcast.h"

#include <string.h>

bool same_shape(const Shape *a, const Shape *b) {
    return a->rank == b->rank && memcmp(a->extents, b->extents, a->rank * sizeof *a->extents) == 0;
}

int64_t element_count(const Shape *shape) {
    int64_t count = 1;
    for (size_t i = 0; i < shape->rank; i++) count *= shape->extents[i];
    return count;
}

/* Extent of `shape` at an axis of a shape of rank `rank`, of which it has the last axes. */
static int64_t extent_at(const Shape *shape, size_t rank, size_t axis) {
    size_t missing = rank - shape->rank;
    return axis < missing ? 1 : shape->extents[axis - missing];
}

bool common_shape(const Shape *a, const Shape *b, Shape *common) {
    common->rank = a->rank > b->rank ? a->rank : b->rank;
    for (size_t i = 0; i < common->rank; i++) {
        int64_t left = extent_at(a, common->rank, i), right = extent_at(b, common->rank, i);
        if (left != right && left != 1 && right != 1) return false;
        common->extents[i] = left == 1 ? right : left;
    }
    return true;
}

void stretch(const void *source, const Shape *from, void *target, const Shape *to, size_t element_bytes) {
    /* The last axes, of which both have all, are copied as one. */
    size_t outer = to->rank, run_bytes = element_bytes;
    while (outer > 0 && extent_at(from, to->rank, outer - 1) == to->extents[outer - 1]) {
        run_bytes *= (size_t)to->extents[--outer];
    }
    int64_t runs = 1, step = 1, steps[MAX_RANK], index[MAX_RANK] = {0};
    for (size_t i = outer; i-- > 0;) {
        int64_t extent = extent_at(from, to->rank, i);
        steps[i] = extent == 1 ? 0 : step;
        step *= extent;
        runs *= to->extents[i];
    }
    const char *read = source;
    char *write = target;
    int64_t at = 0;
    for (int64_t n = 0; n < runs && run_bytes > 0; n++, write += run_bytes) {
        memcpy(write, read + (size_t)at * run_bytes, run_bytes);
        for (size_t i = outer; i-- > 0;) {
            at += steps[i];
            if (++index[i] < to->extents[i]) break;
            at -= steps[i] * to->extents[i];
            index[i] = 0;
        }
    }
}
