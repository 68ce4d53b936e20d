// Backward of batch normalization.

import CNormKit
import NormKitFloor

@_cdecl("normkit_batch_norm_inference_backward") @implementation
public func normkit_batch_norm_inference_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64,
  _ gamma: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ variance: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    var data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, dy: dy_stride, dx: dx_stride))
    // Only the gradient of gamma depends on x: without either, dy takes its place.
    let isIndependent = x == nil && dgamma == nil
    if isIndependent {
      data = try Channels(layout, samples, channels, positions, RowStrides(dy_stride, dy: dy_stride, dx: dx_stride))
    }
    var request = try data.backward(
      types, isIndependent ? dy : x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate)
    try require(mean != nil || data.channels == 0, NORMKIT_ERROR_MEAN_NULL)
    try require(variance != nil || data.channels == 0, NORMKIT_ERROR_VARIANCE_NULL)
    request.saved(mean, variance, NK_FROM_VARIANCE)
    request.job.useGivenVariance()
    var view = data.channelsView()
    try request.runBackward(&view, sets: data.channels)
  }
}

@_cdecl("normkit_batch_norm_training_backward") @implementation
public func normkit_batch_norm_training_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64,
  _ gamma: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    let data = try Channels(layout, samples, channels, positions, strides)
    var request = try data.backward(types, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate)
    try request.saved(mean, rstd)
    try require(data.samples &* data.positions != 1 || data.channels == 0, NORMKIT_ERROR_ONE_VALUE)
    var view = data.channelsView()
    try request.runBackward(&view, sets: data.channels)
  }
}
