// What a run of a plan is given, checked.

import CNormKit
import NormKitFloor

extension Plan {
  func check(_ operands: normkit_operands, parts: Int) throws(Refusal) {
    try requirePointers(operands)
    try requireChoices(operands)
    let bytes = workspace(parts: parts)
    try require(
      bytes == 0 || operands.workspace != nil && operands.workspace_bytes >= Int64(bytes), NORMKIT_ERROR_WORKSPACE)
    try requireDisjoint(operands, workspaceBytes: bytes)
  }

  private func requirePointers(_ o: normkit_operands) throws(Refusal) {
    let d = description
    let isWeight = Int(d.method) == NORMKIT_WEIGHT_NORM
    try require(o.x != nil || elements == 0, isWeight ? NORMKIT_ERROR_V_NULL : NORMKIT_ERROR_X_NULL)
    try require(o.y != nil || elements == 0, isWeight ? NORMKIT_ERROR_W_NULL : NORMKIT_ERROR_Y_NULL)
    try require((o.running_mean == nil) == (o.running_variance == nil), NORMKIT_ERROR_RUNNING_NULL)
    if isGiven && parameters > 0 {
      try require(o.given_mean != nil, NORMKIT_ERROR_MEAN_NULL)
      try require(o.given_variance != nil, NORMKIT_ERROR_VARIANCE_NULL)
    }
    guard elements > 0 else { return }
    try require(!d.has(NORMKIT_ADD_RESIDUAL) || o.residual != nil, NORMKIT_ERROR_RESIDUAL_NULL)
    try require(!d.has(NORMKIT_ADD_RESIDUAL_AFTER) || o.residual_after != nil, NORMKIT_ERROR_RESIDUAL_NULL)
    try require(!d.has(NORMKIT_ADD_BIAS) || o.bias != nil, NORMKIT_ERROR_BIAS_NULL)
    try require(!d.has(NORMKIT_STORE_SUM) || o.sum != nil, NORMKIT_ERROR_SUM_NULL)
    let hasSamples = o.sample_scale != nil || o.sample_shift != nil
    try require(!d.has(NORMKIT_SCALE_SHIFT_SAMPLES) || hasSamples, NORMKIT_ERROR_SAMPLES_NULL)
    try require(!d.has(NORMKIT_SCALE_PER_ROW) || o.row_scales != nil, NORMKIT_ERROR_ROW_SCALES_NULL)
  }

  private func requireChoices(_ o: normkit_operands) throws(Refusal) {
    let isForming = hasMoments && (o.mean != nil || o.rstd != nil || o.running_mean != nil)
    try require(elements > 0 || sets == 0 || !isForming, NORMKIT_ERROR_EMPTY_SET)
    guard description.isOfIntegers && !description.has(NORMKIT_SCALE_PER_ROW) else { return }
    let isUnsigned = Int(description.output_dtype) == NORMKIT_U8
    let range: ClosedRange<Int32> = isUnsigned ? 0...255 : -128...127
    let scale = Float(o.output_scale)
    try require(scale > 0 && scale.isFinite && range.contains(o.zero_point), NORMKIT_ERROR_OUTPUT_SCALE)
  }

  /// Whether the method has mean and rstd, or norms, to write.
  private var hasMoments: Bool {
    !hasNorms && !isGiven && Int(description.method) != NORMKIT_SCALE_SHIFT
  }
  var hasNorms: Bool {
    Int(description.method) == NORMKIT_WEIGHT_NORM || Int(description.method) == NORMKIT_LP_NORMALIZE
  }

  /// Where mean and rstd (or norms) go: nowhere in methods that form none.
  private func statistics(_ o: normkit_operands) -> (mean: UnsafeMutableRawPointer?, spread: UnsafeMutableRawPointer?) {
    if hasNorms { return (nil, o.norms) }
    guard hasMoments else { return (nil, nil) }
    return (Int(description.method) == NORMKIT_RMS_NORM ? nil : o.mean, o.rstd)
  }

  /// gamma and beta of methods that have them.
  func scaleAndShift(_ o: normkit_operands) -> (gamma: UnsafeRawPointer?, beta: UnsafeRawPointer?) {
    switch Int(description.method) {
    case NORMKIT_NORMALIZE, NORMKIT_LP_NORMALIZE: return (nil, nil)
    case NORMKIT_WEIGHT_NORM: return (UnsafeRawPointer(o.gamma), nil)
    default: return (UnsafeRawPointer(o.gamma), UnsafeRawPointer(o.beta))
    }
  }

  private var isTraining: Bool { Int(description.method) == NORMKIT_BATCH_NORM_TRAINING }
  private var isGiven: Bool { Int(description.method) == NORMKIT_BATCH_NORM_INFERENCE }

  /// Enters the statistics that are read and written into a job whose first set is number `set` and whose first
  /// parameter is number `parameter`.
  func placeStatistics(_ o: normkit_operands, in job: inout nk_job, set: Int, parameter: Int) {
    let statistics = statistics(o), size = types.statisticsSize
    job.mean = statistics.mean.map { $0 + set * size }
    job.spread = statistics.spread.map { $0 + set * size }
    if isGiven {
      job.given_mean = o.given_mean.map { $0 + parameter * size }
      job.given_spread = o.given_variance.map { $0 + parameter * size }
    } else if isTraining {
      job.running_mean = o.running_mean
      job.running_variance = o.running_variance
    }
  }

  private func requireDisjoint(_ o: normkit_operands, workspaceBytes: Int) throws(Refusal) {
    let d = description, statistics = statistics(o), statisticsBytes = sets &* types.statisticsSize
    let parameterBytes = self.parameters &* types.parameterSize, parameters = scaleAndShift(o)
    let samples = !d.has(NORMKIT_SCALE_SHIFT_SAMPLES) ? 0 : Int(d.isOfRows ? d.rows / d.rows_per_sample : d.samples)
    let sampleBytes = samples &* parameterBytes
    try NormKit.requireDisjoint { buffers in
      let place = d.output_dtype == d.dtype ? InPlace.any : .none
      buffers.append(data(o.y, d.y_stride, d.output_dtype), NORMKIT_ERROR_Y_OVERLAP, place)
      if d.has(NORMKIT_STORE_SUM) {
        buffers.append(data(o.sum, d.sum_stride, d.dtype), NORMKIT_ERROR_SUM_OVERLAP, .either)
      }
      buffers.append(Span(statistics.mean, length: statisticsBytes), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(Span(statistics.spread, length: statisticsBytes), NORMKIT_ERROR_STATISTICS_OVERLAP)
      if isTraining {
        buffers.append(Span(o.running_mean, length: statisticsBytes), NORMKIT_ERROR_RUNNING_OVERLAP)
        buffers.append(Span(o.running_variance, length: statisticsBytes), NORMKIT_ERROR_RUNNING_OVERLAP)
      }
      if d.has(NORMKIT_SCALE_PER_ROW) {
        buffers.append(Span(o.row_scales, length: Int(d.rows) &* 4), NORMKIT_ERROR_ROW_SCALES_OVERLAP)
      }
      buffers.append(Span(o.workspace, length: workspaceBytes), NORMKIT_ERROR_WORKSPACE_OVERLAP)
      buffers.append(data(o.x, d.x_stride, d.dtype), NORMKIT_OK, .first)
      if d.has(NORMKIT_ADD_RESIDUAL) {
        buffers.append(data(o.residual, d.residual_stride, d.dtype), NORMKIT_OK, .second)
      }
      if d.has(NORMKIT_ADD_RESIDUAL_AFTER) {
        buffers.append(data(o.residual_after, d.residual_after_stride, d.dtype), NORMKIT_OK, .third)
      }
      buffers.append(Span(parameters.gamma, length: parameterBytes))
      buffers.append(Span(parameters.beta, length: parameterBytes))
      if d.has(NORMKIT_ADD_BIAS) { buffers.append(Span(o.bias, length: parameterBytes)) }
      if isGiven {
        buffers.append(Span(o.given_mean, length: statisticsBytes))
        buffers.append(Span(o.given_variance, length: statisticsBytes))
      }
      if samples > 0 {
        buffers.append(Span(o.sample_scale, length: sampleBytes))
        buffers.append(Span(o.sample_shift, length: sampleBytes))
      }
    }
  }

  private func data(_ p: UnsafeRawPointer?, _ stride: Int64, _ dtype: Int32) -> Span {
    let bytes = size(dtype)
    return Span(
      p, length: runs.length &* bytes, count: runs.count, stride: (stride == 0 ? runs.length : Int(stride)) &* bytes)
  }
}
