/* Arguments from the bytes of an input: mostly sensible, sometimes not. */
#include "fuzz.h"
#include <math.h>

int refused, moderate, stays_finite, in_place, overlap;
int32_t dtype, parameter_dtype;

static const uint8_t *input;
static size_t left;

void start(const uint8_t *data, size_t length)
{
    input = data, left = length;
    refused = 0;
    seed(0);
}

int byte(void)
{
    if (left == 0)
        return (int)(random_number() >> 56);
    left--;
    return *input++;
}

int sometimes(void) { return byte() >= 240; }

int32_t choice(int32_t low, int32_t high)
{
    if (!sometimes())
        return low + byte() % (high - low + 1);
    const int32_t other[] = {low - 1, high + 1, INT32_MIN, INT32_MAX};
    refused = 1;
    return other[byte() % 4];
}

int64_t size(void)
{
    static const int64_t unusual[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 62, INT64_C(1) << 32, 300, 1025, 5000};
    int first = byte();
    int64_t value = first < 240 ? first % 37 : unusual[byte() % 8];
    refused |= value < 0;
    return value;
}

int64_t times(int64_t a, int64_t b)
{
    __int128 product = (__int128)(a < 0 ? 0 : a) * (b < 0 ? 0 : b);
    return product > INT64_MAX ? INT64_MAX : (int64_t)product;
}

double epsilon(void)
{
    static const double values[] = {1e-5, 0, 1, 1e-12, -1, INFINITY, NAN, 1e-30};
    double value = values[byte() % 8];
    refused |= !(value >= 0 && isfinite(value));
    return value;
}

int64_t stride(int64_t run)
{
    int kind = byte();
    if (kind < 160)
        return 0;
    int64_t value = kind < 240 ? run + kind % 5 : size();
    refused |= value != 0 && value < run;
    return value;
}

image take_image(int method)
{
    image i = {.layout = method == CHANNELS_AT_POSITIONS ? NORMKIT_CHANNELS_FIRST : choice(1, 2), .groups = 1};
    i.n = size(), i.c = size(), i.l = size();
    if (method == GROUP && !sometimes()) {      /* groups that divide the channels */
        i.groups = 1 + byte() % 8;
        i.c = i.c > 0 ? times(i.c % 64, i.groups) : i.c;
    } else if (method == GROUP) {
        i.groups = size();
    }
    refused |= i.groups < 1 || (i.c >= 0 && i.c % i.groups != 0);
    int first = i.layout != NORMKIT_CHANNELS_LAST;
    i.runs = first ? i.n : times(i.n, i.l), i.run = first ? times(i.c, i.l) : i.c;
    i.sets = method == CHANNELS_AT_POSITIONS ? times(i.n, i.l) : method == INSTANCE ? times(i.n, i.c)
             : method == GROUP ? times(i.n, i.groups) : i.c;
    return i;
}

tensor take_tensor(void)
{
    tensor t = {.rank = choice(0, NORMKIT_MAX_RANK), .count = 1, .kept = 1, .reduced = 1};
    int known = t.rank >= 0 && t.rank <= NORMKIT_MAX_RANK, chosen = byte();
    for (int32_t a = 0; known && a < t.rank; a++) {
        t.shape[a] = sometimes() ? size() : byte() % 6;
        t.count = times(t.count, t.shape[a]);
        int64_t *of = chosen >> a & 1 ? &t.reduced : &t.kept;
        *of = times(*of, t.shape[a]);
        if (of == &t.reduced)
            t.axes[t.axis_count++] = byte() % 2 ? a : a - t.rank;
    }
    if (t.axis_count > 0 && sometimes()) {
        static const int32_t wrong[] = {-9, 8, INT32_MIN, INT32_MAX};
        refused = 1;
        t.axes[t.axis_count - 1] = wrong[byte() % 4];
    }
    return t;
}
