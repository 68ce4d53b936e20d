// Batch normalization whose batch is spread over several processes.

import CNormKit
import NormKitFloor

@_cdecl("normkit_batch_norm_synchronized") @implementation
public func normkit_batch_norm_synchronized(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ beta: UnsafeRawPointer!, _ moments: UnsafePointer<normkit_channel_moments>!, _ epsilon: Double,
  _ y: UnsafeMutableRawPointer!, _ y_stride: Int64
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, y_stride))
    try requireData(data.runs.elements, x, y)
    var request = Request(types, data.runs, x: x, y: y)
    request.parameters(gamma, beta, data.channels, segment: data.segment)
    try request.standardize(by: moments, data.channels, epsilon)
    var view = data.channelsView()
    try request.run(&view, sets: data.channels)
  }
}

@_cdecl("normkit_batch_norm_gradient_sums") @implementation
public func normkit_batch_norm_gradient_sums(
  _ dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64, _ positions: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64,
  _ moments: UnsafePointer<normkit_channel_moments>!, _ epsilon: Double,
  _ sums: UnsafeMutablePointer<normkit_channel_gradient>!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, dy: dy_stride, dx: 0))
    var request = try data.backward(types, x, dy, nil, epsilon, nil, nil, nil, 0)
    try request.standardize(by: moments, data.channels, epsilon)
    try require(sums != nil || data.channels == 0, NORMKIT_ERROR_SUMS_NULL)
    request.job.gradient = Int32(NK_GRADIENT_OF_SUMS)
    request.channelSums = UnsafeMutableRawPointer(sums)?.assumingMemoryBound(to: nk_sums.self)
    var view = data.channelsView()
    try request.runBackward(&view, sets: data.channels)
  }
}

@_cdecl("normkit_batch_norm_synchronized_backward") @implementation
public func normkit_batch_norm_synchronized_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64,
  _ gamma: UnsafeRawPointer!, _ moments: UnsafePointer<normkit_channel_moments>!,
  _ sums: UnsafePointer<normkit_channel_gradient>!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    let data = try Channels(layout, samples, channels, positions, strides)
    var request = try data.backward(types, x, dy, gamma, epsilon, dx, nil, nil, 0)
    try request.standardize(by: moments, data.channels, epsilon)
    try require(sums != nil || data.channels == 0, NORMKIT_ERROR_SUMS_NULL)
    request.job.gradient = Int32(NK_GRADIENT_OF_SUMS)
    request.job.given_sums = UnsafeRawPointer(sums)?.assumingMemoryBound(to: nk_sums.self)
    var view = data.channelsView()
    try request.runBackward(&view, sets: data.channels)
  }
}

extension Request {
  /// The statistics of each channel are those of `moments`.
  fileprivate mutating func standardize(
    by moments: UnsafePointer<normkit_channel_moments>?, _ channels: Int, _ epsilon: Double
  ) throws(Refusal) {
    let moments = try kernelMoments(moments, channels)
    if let moments, runs.elements > 0 {
      for c in 0..<channels { try require(moments[c].count > 0, NORMKIT_ERROR_EMPTY_SET) }
    }
    job.given_moments = moments
    job.statistic = Int32(NK_GIVEN)
    job.source = Int32(NK_FROM_MOMENTS)
    job.epsilon = epsilon
  }
}
