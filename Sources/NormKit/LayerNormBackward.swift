// Backward of layer and RMS normalization.

import CNormKit
import NormKitFloor

@_cdecl("normkit_layer_norm_backward") @implementation
public func normkit_layer_norm_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ rows: Int64, _ size: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    try rowsBackward(types, rows, size, strides, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate) {
      (request: inout Request) throws(Refusal) in try request.saved(mean, rstd)
    }
  }
}

@_cdecl("normkit_rms_norm_backward") @implementation
public func normkit_rms_norm_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ rows: Int64, _ size: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ one_plus_gamma: Int32, _ rstd: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireFlag(one_plus_gamma, NORMKIT_ERROR_ONE_PLUS_GAMMA)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    try rowsBackward(types, rows, size, strides, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate) {
      (request: inout Request) throws(Refusal) in
      request.saved(nil, rstd, NK_FROM_FACTOR)
      request.job.useMeanSquare(onePlusGamma: one_plus_gamma)
    }
  }
}

/// What layer and RMS normalization over rows have in common. `adjust` says what they have not.
@inline(__always)
private func rowsBackward(
  _ types: Types, _ rows: Int64, _ size: Int64, _ strides: RowStrides, _ x: UnsafeRawPointer?,
  _ dy: UnsafeRawPointer?, _ gamma: UnsafeRawPointer?, _ epsilon: Double, _ dx: UnsafeMutableRawPointer?,
  _ dgamma: UnsafeMutableRawPointer?, _ dbeta: UnsafeMutableRawPointer?, _ accumulate: Int32,
  _ adjust: (inout Request) throws(Refusal) -> Void
) throws(Refusal) {
  try requireFlag(accumulate, NORMKIT_ERROR_ACCUMULATE)
  let rows = try extent(rows, NORMKIT_ERROR_ROWS)
  let size = try extent(size, NORMKIT_ERROR_SIZE)
  let runs = try Runs(length: size, count: rows, strides)
  try requireGradientData(runs.elements, x, dy)
  var request = Request(types, runs, x: x, dy: dy, dx: dx)
  request.parameters(gamma, nil, size, segment: 1)
  request.gradients(dgamma, dbeta, accumulate)
  request.job.epsilon = epsilon
  try adjust(&request)
  var view = runs.rowsView()
  try request.runBackward(&view, sets: rows)
}

@_cdecl("normkit_layer_norm_channels_backward") @implementation
public func normkit_layer_norm_channels_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ samples: Int64, _ channels: Int64, _ positions: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    let data = try Channels(Int32(NORMKIT_CHANNELS_FIRST), samples, channels, positions, strides)
    var request = try data.backward(types, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate)
    try request.saved(mean, rstd)
    var view = data.positionsView()
    try request.runBackward(&view, sets: data.samples &* data.positions)
  }
}
