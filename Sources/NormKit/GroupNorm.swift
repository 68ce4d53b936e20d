// Group and instance normalization: S is a run of neighbouring channels of one sample.

import CNormKit
import NormKitFloor

@_cdecl("normkit_instance_norm") @implementation
public func normkit_instance_norm(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ beta: UnsafeRawPointer!, _ epsilon: Double, _ y: UnsafeMutableRawPointer!, _ y_stride: Int64,
  _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, y_stride))
    try groupNorm(types, data, data.channels, x, gamma, beta, epsilon, y, mean, rstd)
  }
}

@_cdecl("normkit_group_norm") @implementation
public func normkit_group_norm(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ groups: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ gamma: UnsafeRawPointer!,
  _ beta: UnsafeRawPointer!, _ epsilon: Double, _ y: UnsafeMutableRawPointer!, _ y_stride: Int64,
  _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, y_stride))
    try groupNorm(types, data, try data.groupCount(groups), x, gamma, beta, epsilon, y, mean, rstd)
  }
}

private func groupNorm(
  _ types: Types, _ data: Channels, _ groups: Int, _ x: UnsafeRawPointer?, _ gamma: UnsafeRawPointer?,
  _ beta: UnsafeRawPointer?, _ epsilon: Double, _ y: UnsafeMutableRawPointer?, _ mean: UnsafeMutableRawPointer?,
  _ rstd: UnsafeMutableRawPointer?
) throws(Refusal) {
  try requireData(data.runs.elements, x, y)
  let statistics = try product(data.samples, groups)
  try require(
    data.runs.elements > 0 || statistics == 0 || mean == nil && rstd == nil, NORMKIT_ERROR_EMPTY_SET)
  var request = Request(types, data.runs, x: x, y: y)
  request.parameters(gamma, beta, data.channels, segment: data.segment)
  request.statistics(mean, rstd)
  request.job.epsilon = epsilon
  var view = data.groupsView(groups)
  try request.run(&view, sets: statistics)
}

extension Channels {
  /// One set per sample and group.
  @inline(__always)
  func groupsView(_ groups: Int) -> View {
    let channelsPerGroup = channels / max(groups, 1)
    var view = View()
    view.keep(samples, step: sampleStep)
    if isLast { view.reduce(positions, step: positionStep) }
    view.keep(groups, step: channelStep * channelsPerGroup)
    view.reduce(channelsPerGroup, step: channelStep)
    if !isLast { view.reduce(positions, step: positionStep) }
    return view
  }
}
