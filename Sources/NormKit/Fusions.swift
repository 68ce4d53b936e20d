// What a plan does beside its normalization, as described, and which method it exists on.

import CNormKit
import NormKitFloor

extension normkit_description {
  func has(_ fusion: Int) -> Bool { Int(fusions) & fusion != 0 }

  /// Whether the kernels take ReLU for the last step of the normalization.
  var rectifies: Bool {
    activation_after == Int32(NORMKIT_RELU) && !has(NORMKIT_SCALE_SHIFT_SAMPLES) && NormKit.size(dtype) > 2
  }

  /// The activation behind the normalization that is a step of its own.
  var ownActivationAfter: Int32 { rectifies ? Int32(NORMKIT_IDENTITY) : activation_after }

  /// Whether anything is done beside the normalization.
  var isFused: Bool {
    fusions != 0 || activation_before != 0 || ownActivationAfter != 0 || output_dtype != dtype
  }

  /// Whether something is added before the normalization.
  var isSum: Bool { has(NORMKIT_ADD_RESIDUAL) || has(NORMKIT_ADD_BIAS) }

  /// Whether numbers come after it.
  var isChangedAfter: Bool { has(NORMKIT_SCALE_SHIFT_SAMPLES) || has(NORMKIT_ADD_RESIDUAL_AFTER) }

  /// Whether what comes after it has to be done in the type of computation.
  var isConvertedAfter: Bool {
    isChangedAfter || output_dtype != dtype
      || activation_after != Int32(NORMKIT_IDENTITY) && activation_after != Int32(NORMKIT_RELU)
  }

  var isOfRows: Bool { Int(method) == NORMKIT_LAYER_NORM || Int(method) == NORMKIT_RMS_NORM }
  var isOfIntegers: Bool { Int(output_dtype) == NORMKIT_I8 || Int(output_dtype) == NORMKIT_U8 }

  /// The type of the computation.
  var natural: Int32 { Int(dtype) == NORMKIT_F64 ? dtype : Int32(NORMKIT_F32) }

  private var isFusable: Bool {
    switch Int(method) {
    case NORMKIT_LAYER_NORM, NORMKIT_RMS_NORM, NORMKIT_LAYER_NORM_CHANNELS, NORMKIT_BATCH_NORM_INFERENCE,
      NORMKIT_INSTANCE_NORM, NORMKIT_GROUP_NORM:
      true
    default: false
    }
  }

  /// The description with its defaults filled in, and its choices checked.
  func completed() throws(Refusal) -> normkit_description {
    try require(
      Int(method) >= NORMKIT_LAYER_NORM && Int(method) <= NORMKIT_LP_NORMALIZE, NORMKIT_ERROR_METHOD)
    var d = self
    if parameter_dtype == 0 { d.parameter_dtype = dtype }
    if output_dtype == 0 { d.output_dtype = dtype }
    _ = try Types(d.dtype, d.parameter_dtype)
    try d.requireOutput()
    try d.requireFusions()
    try d.requireActivation(activation_before)
    try d.requireActivation(activation_after)
    return d
  }

  private func requireOutput() throws(Refusal) {
    if output_dtype == dtype { return }
    let isKnown = Int(output_dtype) >= NORMKIT_F32 && Int(output_dtype) <= NORMKIT_U8
    let isDouble = Int(dtype) == NORMKIT_F64 || Int(output_dtype) == NORMKIT_F64
    try require(isKnown && !isDouble && isFusable, NORMKIT_ERROR_OUTPUT_DTYPE)
  }

  private func requireFusions() throws(Refusal) {
    let all =
      NORMKIT_ADD_RESIDUAL | NORMKIT_ADD_BIAS | NORMKIT_STORE_SUM | NORMKIT_SCALE_SHIFT_SAMPLES
      | NORMKIT_ADD_RESIDUAL_AFTER | NORMKIT_SCALE_PER_ROW
    try require(Int(fusions) & ~all == 0 && (fusions == 0 || isFusable), NORMKIT_ERROR_FUSION)
    try require(!has(NORMKIT_STORE_SUM) || isSum, NORMKIT_ERROR_FUSION)
    let isScaledByRow = has(NORMKIT_SCALE_PER_ROW)
    try require(!isScaledByRow || isOfRows && Int(output_dtype) == NORMKIT_I8, NORMKIT_ERROR_FUSION)
    guard has(NORMKIT_SCALE_SHIFT_SAMPLES) else { return }
    try requireFlag(one_plus_sample_scale, NORMKIT_ERROR_SAMPLE_SCALE)
    guard isOfRows else { return }
    try require(rows_per_sample >= 1 && rows % rows_per_sample == 0, NORMKIT_ERROR_SAMPLE_SCALE)
  }

  /// Checks the strides of buffers that only plans have.
  func requireStrides(_ runs: Runs) throws(Refusal) {
    if has(NORMKIT_ADD_RESIDUAL) {
      _ = try Runs.stride(residual_stride, runs.length, runs.count, NORMKIT_ERROR_RESIDUAL_STRIDE)
    }
    if has(NORMKIT_ADD_RESIDUAL_AFTER) {
      _ = try Runs.stride(residual_after_stride, runs.length, runs.count, NORMKIT_ERROR_RESIDUAL_STRIDE)
    }
    if has(NORMKIT_STORE_SUM) {
      _ = try Runs.stride(sum_stride, runs.length, runs.count, NORMKIT_ERROR_SUM_STRIDE)
    }
  }

  private func requireActivation(_ activation: Int32) throws(Refusal) {
    if activation == Int32(NORMKIT_IDENTITY) { return }
    let isKnown = Int(activation) >= NORMKIT_IDENTITY && Int(activation) <= NORMKIT_HARD_SWISH
    let hasSlope = Int(activation) != NORMKIT_LEAKY_RELU || slope.isFinite
    try require(isKnown && isFusable && hasSlope, NORMKIT_ERROR_ACTIVATION)
  }
}
