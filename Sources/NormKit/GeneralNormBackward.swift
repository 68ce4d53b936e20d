// Backward of the general form: any subset of the axes of a contiguous tensor.

import CNormKit
import NormKitFloor

@_cdecl("normkit_normalize_backward") @implementation
public func normkit_normalize_backward(
  _ dtype: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32, _ axes: UnsafePointer<Int32>!,
  _ x: UnsafeRawPointer!, _ dy: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!,
  _ epsilon: Double, _ epsilon_rule: Int32, _ dx: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    try requireEpsilon(epsilon)
    let rule = try epsilonRule(epsilon_rule)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try requireGradientData(tensor.elements, x, dy)
    var request = Request(types, try tensor.runs(), x: x, dy: dy, dx: dx)
    try request.saved(mean, rstd)
    // The gradient needs the deviation, which is lost in a factor that epsilon was added to.
    if rule == Int32(NK_ADDED) { request.job.source = Int32(NK_FORMED) }
    request.job.rule = rule
    request.job.epsilon = epsilon
    try request.runBackward(&tensor.view, sets: tensor.sets)
  }
}

@_cdecl("normkit_lp_normalize_backward") @implementation
public func normkit_lp_normalize_backward(
  _ dtype: Int32, _ norm: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32,
  _ axes: UnsafePointer<Int32>!, _ x: UnsafeRawPointer!, _ dy: UnsafeRawPointer!, _ norms: UnsafeRawPointer!,
  _ epsilon: Double, _ dx: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    let statistic = try normStatistic(norm)
    try requireEpsilon(epsilon)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try requireGradientData(tensor.elements, x, dy)
    var request = Request(types, try tensor.runs(), x: x, dy: dy, dx: dx)
    request.saved(nil, norms, NK_FROM_NORM)
    request.job.useNorm(statistic, rule: NK_FLOOR, epsilon: epsilon)
    try request.runBackward(&tensor.view, sets: tensor.sets)
  }
}

@_cdecl("normkit_moments_backward") @implementation
public func normkit_moments_backward(
  _ dtype: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32, _ axes: UnsafePointer<Int32>!,
  _ x: UnsafeRawPointer!, _ dmean: UnsafeRawPointer!, _ dvariance: UnsafeRawPointer!, _ correction: Int64,
  _ dx: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try require(correction >= 0 && (correction < tensor.setSize || tensor.elements == 0), NORMKIT_ERROR_CORRECTION)
    try require(x != nil || tensor.elements == 0, NORMKIT_ERROR_X_NULL)
    // There is no dy: x takes its place, times 0.
    var request = Request(types, try tensor.runs(), x: x, dy: x, dx: dx)
    let count = Double(tensor.setSize)
    request.job.gradient = Int32(NK_GRADIENT_GIVEN)
    request.job.dy_scale = 0
    request.job.given_offset = UnsafeRawPointer(dmean)
    request.job.given_slope = UnsafeRawPointer(dvariance)
    request.job.offset_scale = dmean == nil ? 0 : -1 / count
    request.job.slope_scale = dvariance == nil ? 0 : -2 / (count - Double(correction))
    try request.runBackward(&tensor.view, sets: tensor.sets)
  }
}
