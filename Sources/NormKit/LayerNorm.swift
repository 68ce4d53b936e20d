// Layer and RMS normalization: S is a row, or the channels at one position.

import CNormKit
import NormKitFloor

@_cdecl("normkit_layer_norm") @implementation
public func normkit_layer_norm(
  _ dtype: Int32, _ parameter_dtype: Int32, _ rows: Int64, _ size: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!, _ beta: UnsafeRawPointer!,
  _ epsilon: Double, _ y: UnsafeMutableRawPointer!, _ y_stride: Int64,
  _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    try normalizeRows(types, rows, size, x, x_stride, gamma, beta, epsilon, y, y_stride, mean, rstd) { _ in }
  }
}

@_cdecl("normkit_rms_norm") @implementation
public func normkit_rms_norm(
  _ dtype: Int32, _ parameter_dtype: Int32, _ rows: Int64, _ size: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!, _ beta: UnsafeRawPointer!,
  _ one_plus_gamma: Int32, _ epsilon: Double, _ y: UnsafeMutableRawPointer!, _ y_stride: Int64,
  _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireFlag(one_plus_gamma, NORMKIT_ERROR_ONE_PLUS_GAMMA)
    try requireEpsilon(epsilon)
    try normalizeRows(types, rows, size, x, x_stride, gamma, beta, epsilon, y, y_stride, nil, rstd) { job in
      job.useMeanSquare(onePlusGamma: one_plus_gamma)
    }
  }
}

/// What layer and RMS normalization over rows have in common. `adjust` says what they have not.
@inline(__always)
private func normalizeRows(
  _ types: Types, _ rows: Int64, _ size: Int64, _ x: UnsafeRawPointer?, _ xStride: Int64,
  _ gamma: UnsafeRawPointer?, _ beta: UnsafeRawPointer?, _ epsilon: Double, _ y: UnsafeMutableRawPointer?,
  _ yStride: Int64, _ mean: UnsafeMutableRawPointer?, _ rstd: UnsafeMutableRawPointer?,
  _ adjust: (inout nk_job) -> Void
) throws(Refusal) {
  let rows = try extent(rows, NORMKIT_ERROR_ROWS)
  let size = try extent(size, NORMKIT_ERROR_SIZE)
  let runs = try Runs(length: size, count: rows, RowStrides(xStride, yStride))
  try requireData(runs.elements, x, y)
  try require(size > 0 || rows == 0 || mean == nil && rstd == nil, NORMKIT_ERROR_EMPTY_SET)
  var request = Request(types, runs, x: x, y: y)
  request.parameters(gamma, beta, size, segment: 1)
  request.statistics(mean, rstd)
  request.job.epsilon = epsilon
  adjust(&request.job)
  var view = runs.rowsView()
  try request.run(&view, sets: rows)
}

@_cdecl("normkit_layer_norm_channels") @implementation
public func normkit_layer_norm_channels(
  _ dtype: Int32, _ parameter_dtype: Int32, _ samples: Int64, _ channels: Int64, _ positions: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!, _ beta: UnsafeRawPointer!,
  _ epsilon: Double, _ y: UnsafeMutableRawPointer!, _ y_stride: Int64,
  _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(Int32(NORMKIT_CHANNELS_FIRST), samples, channels, positions, RowStrides(x_stride, y_stride))
    try requireData(data.runs.elements, x, y)
    let statistics = data.samples &* data.positions
    try require(
      data.channels > 0 || statistics == 0 || mean == nil && rstd == nil, NORMKIT_ERROR_EMPTY_SET)
    var request = Request(types, data.runs, x: x, y: y)
    request.parameters(gamma, beta, data.channels, segment: data.segment)
    request.statistics(mean, rstd)
    request.job.epsilon = epsilon
    var view = data.positionsView()
    try request.run(&view, sets: statistics)
  }
}

extension Runs {
  /// One set per run.
  @inline(__always)
  func rowsView() -> View {
    var view = View()
    view.keep(count, step: step)
    view.reduce(length, step: Steps(1))
    return view
  }
}

extension Channels {
  /// One set per sample and position.
  @inline(__always)
  func positionsView() -> View {
    var view = View()
    view.keep(samples, step: sampleStep)
    view.reduce(channels, step: channelStep)
    view.keep(positions, step: positionStep)
    return view
  }
}
