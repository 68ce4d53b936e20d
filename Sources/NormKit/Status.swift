// Statuses, as errors inside of the library and as numbers and sentences outside of it.

import CNormKit

/// The reason why a call is refused: one of the header's NORMKIT_ERROR values.
struct Refusal: Error {
  let status: Int32

  init(_ status: Int) { self.status = Int32(truncatingIfNeeded: status) }
}

/// Refuses the call with `status` unless `condition` holds.
@inline(__always)
func require(_ condition: Bool, _ status: Int) throws(Refusal) {
  if !condition { throw Refusal(status) }
}

/// Runs the body of an exported function and gives its status.
@inline(__always)
func statusOf(_ body: () throws(Refusal) -> Void) -> Int32 {
  do {
    try body()
    return Int32(NORMKIT_OK)
  } catch {
    return error.status
  }
}

@_cdecl("normkit_status_string") @implementation
public func normkit_status_string(_ status: Int32) -> UnsafePointer<CChar>! {
  UnsafeRawPointer(sentence(Int(status)).utf8Start).assumingMemoryBound(to: CChar.self)
}

private func sentence(_ status: Int) -> StaticString {
  switch status {
  case NORMKIT_OK: "success"
  case NORMKIT_ERROR_DTYPE: "dtype is not one of F32, F64, F16, BF16"
  case NORMKIT_ERROR_PARAMETER_DTYPE: "parameter_dtype is neither dtype nor, beside F16 and BF16, F32"
  case NORMKIT_ERROR_LAYOUT: "layout is neither channels first nor channels last"
  case NORMKIT_ERROR_NORM: "norm is not one of L1, L2, MAX"
  case NORMKIT_ERROR_EPSILON: "epsilon is negative, infinite or NaN"
  case NORMKIT_ERROR_EPSILON_RULE: "epsilon_rule is neither inside nor outside of the square root"
  case NORMKIT_ERROR_MOMENTUM: "momentum is outside of [0, 1] or NaN"
  case NORMKIT_ERROR_RUNNING_VARIANCE: "running_variance_rule is neither unbiased nor biased"
  case NORMKIT_ERROR_ONE_PLUS_GAMMA: "one_plus_gamma is neither 0 nor 1"
  case NORMKIT_ERROR_CORRECTION: "correction is negative or not below the number of elements of a set"
  case NORMKIT_ERROR_THREAD_COUNT: "the thread count is below 1 or above the maximum of 256"
  case NORMKIT_ERROR_ACCUMULATE: "accumulate is neither 0 nor 1"
  case NORMKIT_ERROR_STRENGTH: "strength is negative, infinite or NaN"
  case NORMKIT_ERROR_ROWS: "rows is negative"
  case NORMKIT_ERROR_SIZE: "size is negative"
  case NORMKIT_ERROR_SAMPLES: "samples is negative"
  case NORMKIT_ERROR_CHANNELS: "channels is negative"
  case NORMKIT_ERROR_POSITIONS: "positions is negative"
  case NORMKIT_ERROR_GROUPS: "groups is below 1 or does not divide channels"
  case NORMKIT_ERROR_RANK: "rank is negative or above the maximum of 8"
  case NORMKIT_ERROR_SHAPE: "shape is NULL or has a negative extent"
  case NORMKIT_ERROR_AXES: "axes is NULL, or an axis is outside of the rank or given twice"
  case NORMKIT_ERROR_X_STRIDE: "x_stride is neither 0 nor at least the length of a contiguous run"
  case NORMKIT_ERROR_Y_STRIDE: "y_stride is neither 0 nor at least the length of a contiguous run"
  case NORMKIT_ERROR_TOO_LARGE: "sizes and strides multiply to more bytes than can be addressed"
  case NORMKIT_ERROR_EMPTY_SET: "statistics are asked for, but the sets they are taken over have no elements"
  case NORMKIT_ERROR_ONE_VALUE: "batch normalization in training needs more than one value per channel"
  case NORMKIT_ERROR_OUTER: "outer is negative"
  case NORMKIT_ERROR_SLICES: "slices is negative"
  case NORMKIT_ERROR_INNER: "inner is negative"
  case NORMKIT_ERROR_DY_STRIDE: "dy_stride is neither 0 nor at least the length of a contiguous run"
  case NORMKIT_ERROR_DX_STRIDE: "dx_stride is neither 0 nor at least the length of a contiguous run"
  case NORMKIT_ERROR_X_NULL: "x is NULL"
  case NORMKIT_ERROR_Y_NULL: "y is NULL"
  case NORMKIT_ERROR_MEAN_NULL: "mean is NULL"
  case NORMKIT_ERROR_VARIANCE_NULL: "variance is NULL"
  case NORMKIT_ERROR_V_NULL: "v is NULL"
  case NORMKIT_ERROR_W_NULL: "w is NULL"
  case NORMKIT_ERROR_RUNNING_NULL: "only one of running_mean and running_variance is given"
  case NORMKIT_ERROR_DY_NULL: "dy (or dw) is NULL"
  case NORMKIT_ERROR_SAVED_NULL: "only one of mean and rstd is given"
  case NORMKIT_ERROR_MOMENTS_NULL: "moments is NULL"
  case NORMKIT_ERROR_SUMS_NULL: "sums is NULL"
  case NORMKIT_ERROR_MOMENTS: "a count of moments is negative, infinite or NaN"
  case NORMKIT_ERROR_Y_OVERLAP: "the output overlaps another buffer and is not exactly the input"
  case NORMKIT_ERROR_STATISTICS_OVERLAP: "an output for statistics overlaps another buffer"
  case NORMKIT_ERROR_RUNNING_OVERLAP: "running_mean or running_variance overlaps another buffer"
  case NORMKIT_ERROR_DX_OVERLAP: "the gradient dx (or dv) overlaps another buffer and is not exactly x or dy"
  case NORMKIT_ERROR_PARAMETER_OVERLAP: "a gradient of parameters overlaps another buffer"
  case NORMKIT_ERROR_MOMENTS_OVERLAP: "moments or sums that are written overlap another buffer"
  case NORMKIT_ERROR_PENALTY_OVERLAP: "value or dw of the penalty overlaps another buffer"
  case NORMKIT_ERROR_FOLDED_OVERLAP: "a folded weight or bias overlaps another buffer and is not exactly its input"
  case NORMKIT_ERROR_PROCESSOR: "this processor is older than x86-64-v2"
  case NORMKIT_ERROR_MEMORY: "there is no memory for the sums of the backward pass, or for a plan"
  case NORMKIT_ERROR_DESCRIPTION: "description is NULL, or its struct_size is not one of this header"
  case NORMKIT_ERROR_METHOD: "method is none of NORMKIT_LAYER_NORM and its siblings"
  case NORMKIT_ERROR_OUTPUT_DTYPE: "output_dtype is no dtype, or does not exist beside dtype and method"
  case NORMKIT_ERROR_FUSION: "fusions has an unknown bit, or one that does not exist on the method"
  case NORMKIT_ERROR_ACTIVATION: "an activation is unknown, or none on the method; slope is not finite"
  case NORMKIT_ERROR_RESIDUAL_STRIDE: "a residual's stride is neither 0 nor at least one contiguous run"
  case NORMKIT_ERROR_SUM_STRIDE: "sum_stride is neither 0 nor at least one contiguous run"
  case NORMKIT_ERROR_SAMPLE_SCALE: "rows_per_sample does not divide rows; one_plus_sample_scale is not 0 or 1"
  case NORMKIT_ERROR_PLAN_NULL: "plan (or where it goes) is NULL"
  case NORMKIT_ERROR_OPERANDS: "operands is NULL, or its struct_size is not one of this header"
  case NORMKIT_ERROR_PARTS: "parts is below 1, or phase or part is out of range"
  case NORMKIT_ERROR_PARALLEL_NULL: "parallel_for is NULL"
  case NORMKIT_ERROR_RESIDUAL_NULL: "residual or residual_after is NULL"
  case NORMKIT_ERROR_BIAS_NULL: "bias is NULL"
  case NORMKIT_ERROR_SUM_NULL: "sum is NULL"
  case NORMKIT_ERROR_SAMPLES_NULL: "sample_scale and sample_shift are both NULL"
  case NORMKIT_ERROR_ROW_SCALES_NULL: "row_scales is NULL"
  case NORMKIT_ERROR_OUTPUT_SCALE: "output_scale is not positive and finite, or zero_point is out of range"
  case NORMKIT_ERROR_WORKSPACE: "workspace is NULL or smaller than normkit_plan_workspace says"
  case NORMKIT_ERROR_SUM_OVERLAP: "sum overlaps another buffer, and is not exactly x or residual"
  case NORMKIT_ERROR_ROW_SCALES_OVERLAP: "row_scales overlaps another buffer"
  case NORMKIT_ERROR_WORKSPACE_OVERLAP: "workspace overlaps another buffer"
  default: "unknown status"
  }
}
