// Batch normalization: S is one channel in all samples and positions.

import CNormKit
import NormKitFloor

@_cdecl("normkit_batch_norm_inference") @implementation
public func normkit_batch_norm_inference(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ beta: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ variance: UnsafeRawPointer!, _ epsilon: Double,
  _ y: UnsafeMutableRawPointer!, _ y_stride: Int64
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, y_stride))
    try requireData(data.runs.elements, x, y)
    try require(mean != nil || data.channels == 0, NORMKIT_ERROR_MEAN_NULL)
    try require(variance != nil || data.channels == 0, NORMKIT_ERROR_VARIANCE_NULL)
    var request = Request(types, data.runs, x: x, y: y)
    request.parameters(gamma, beta, data.channels, segment: data.segment)
    request.job.useGivenVariance()
    request.job.given_mean = UnsafeRawPointer(mean)
    request.job.given_spread = UnsafeRawPointer(variance)
    request.job.epsilon = epsilon
    var view = data.channelsView()
    try request.run(&view, sets: data.channels)
  }
}

@_cdecl("normkit_batch_norm_training") @implementation
public func normkit_batch_norm_training(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ beta: UnsafeRawPointer!, _ epsilon: Double, _ running_mean: UnsafeMutableRawPointer!,
  _ running_variance: UnsafeMutableRawPointer!, _ running_variance_rule: Int32, _ momentum: Double,
  _ y: UnsafeMutableRawPointer!, _ y_stride: Int64, _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    try requireRunning(momentum, running_variance_rule)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, y_stride))
    try requireData(data.runs.elements, x, y)
    try require((running_mean == nil) == (running_variance == nil), NORMKIT_ERROR_RUNNING_NULL)
    let count = data.samples &* data.positions
    let wantsStatistics = running_mean != nil || mean != nil || rstd != nil
    try require(count > 0 || data.channels == 0 || !wantsStatistics, NORMKIT_ERROR_EMPTY_SET)
    try require(count != 1 || data.channels == 0, NORMKIT_ERROR_ONE_VALUE)
    var request = Request(types, data.runs, x: x, y: y)
    request.parameters(gamma, beta, data.channels, segment: data.segment)
    request.statistics(mean, rstd)
    request.job.running_mean = UnsafeMutableRawPointer(running_mean)
    request.job.running_variance = UnsafeMutableRawPointer(running_variance)
    request.job.useMomentum(momentum, running_variance_rule)
    request.job.epsilon = epsilon
    var view = data.channelsView()
    try request.run(&view, sets: data.channels)
  }
}

extension Channels {
  /// One set per channel.
  @inline(__always)
  func channelsView() -> View {
    var view = View()
    view.reduce(samples, step: sampleStep)
    if isLast {
      view.reduce(positions, step: positionStep)
      view.keep(channels, step: channelStep)
    } else {
      view.keep(channels, step: channelStep)
      view.reduce(positions, step: positionStep)
    }
    return view
  }
}
