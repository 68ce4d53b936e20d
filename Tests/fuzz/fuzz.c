/* Calls one function with arguments made from the bytes of an input (libFuzzer).
 *
 * What has to hold:
 *   - a call with an argument that is out of range is refused;
 *   - a refused call has written nothing;
 *   - inputs, and the gaps between strided rows of an output, are never written;
 *   - moderate finite numbers give finite results. */
#include "fuzz.h"

/* Which types a function has: none; f32 and f64; all; all, and one for parameters. */
enum { NO_DTYPE, WHOLE, DATA, PARAMETERS };

static const struct {
    void (*call)(int which);
    int which, types;
} functions[] = {
    {rows, 0, PARAMETERS}, {rows, 1, PARAMETERS},
    {channels, CHANNELS_AT_POSITIONS, PARAMETERS}, {channels, INFERENCE, PARAMETERS}, {channels, TRAINING, PARAMETERS},
    {channels, INSTANCE, PARAMETERS}, {channels, GROUP, PARAMETERS},
    {along_an_axis, 0, PARAMETERS}, {along_an_axis, 1, PARAMETERS},
    {general_form, NORMALIZE, DATA}, {general_form, LP_NORMALIZE, DATA}, {general_form, MOMENTS, DATA},
    {rows_backward, 0, PARAMETERS}, {rows_backward, 1, PARAMETERS},
    {channels_backward, CHANNELS_AT_POSITIONS, PARAMETERS}, {channels_backward, INFERENCE, PARAMETERS},
    {channels_backward, TRAINING, PARAMETERS}, {channels_backward, INSTANCE, PARAMETERS},
    {channels_backward, GROUP, PARAMETERS},
    {along_an_axis_backward, 0, PARAMETERS}, {along_an_axis_backward, 1, PARAMETERS},
    {general_form_backward, NORMALIZE, DATA}, {general_form_backward, LP_NORMALIZE, DATA},
    {general_form_backward, MOMENTS, DATA},
    {moments_of_channels, ACCUMULATE, DATA}, {moments_of_channels, MERGE, NO_DTYPE},
    {moments_of_channels, FINISH, WHOLE},
    {synchronized, 0, PARAMETERS}, {gradient_sums, 0, DATA}, {synchronized_backward, 0, PARAMETERS},
    {weight_penalty, 0, DATA}, {fold_batch_norm, 0, WHOLE},
    {plans, NORMKIT_LAYER_NORM, PARAMETERS}, {plans, NORMKIT_LAYER_NORM_CHANNELS, PARAMETERS},
    {plans, NORMKIT_RMS_NORM, PARAMETERS}, {plans, NORMKIT_BATCH_NORM_INFERENCE, PARAMETERS},
    {plans, NORMKIT_BATCH_NORM_TRAINING, PARAMETERS}, {plans, NORMKIT_INSTANCE_NORM, PARAMETERS},
    {plans, NORMKIT_GROUP_NORM, PARAMETERS}, {plans, NORMKIT_WEIGHT_NORM, PARAMETERS},
    {plans, NORMKIT_SCALE_SHIFT, PARAMETERS}, {plans, NORMKIT_NORMALIZE, DATA}, {plans, NORMKIT_LP_NORMALIZE, DATA},
};

static void choose_types(int types)
{
    dtype = types == NO_DTYPE ? NORMKIT_F64 : choice(NORMKIT_F32, types == WHOLE ? NORMKIT_F64 : NORMKIT_BF16);
    parameter_dtype = dtype;
    if (types == PARAMETERS && byte() % 3 == 0) {
        parameter_dtype = byte() % 5;
        int half = dtype == NORMKIT_F16 || dtype == NORMKIT_BF16;
        refused |= parameter_dtype != dtype && !(half && parameter_dtype == NORMKIT_F32);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    start(data, length);
    int function = byte() % (int)(sizeof functions / sizeof *functions), how = byte();
    seed(byte());
    moderate = stays_finite = how % 4 != 0;
    in_place = how >> 2 & 1;
    overlap = !in_place && (how >> 3 & 7) == 7;
    choose_types(functions[function].types);
    functions[function].call(functions[function].which);
    release();
    return 0;
}
