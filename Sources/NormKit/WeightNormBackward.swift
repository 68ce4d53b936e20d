// Backward of weight normalization, and of scale and shift alone.

import CNormKit
import NormKitFloor

@_cdecl("normkit_weight_norm_backward") @implementation
public func normkit_weight_norm_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ norm: Int32, _ outer: Int64, _ slices: Int64, _ inner: Int64,
  _ v: UnsafeRawPointer!, _ dw: UnsafeRawPointer!, _ g: UnsafeRawPointer!, _ norms: UnsafeRawPointer!,
  _ epsilon: Double, _ dv: UnsafeMutableRawPointer!, _ dg: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    let statistic = try normStatistic(norm)
    try requireEpsilon(epsilon)
    try requireFlag(accumulate, NORMKIT_ERROR_ACCUMULATE)
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let slices = try extent(slices, NORMKIT_ERROR_SLICES)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    let runs = try contiguousRuns(outer, slices, inner)
    try require(v != nil || runs.elements == 0, NORMKIT_ERROR_V_NULL)
    try require(dw != nil || runs.elements == 0, NORMKIT_ERROR_DY_NULL)
    var request = Request(types, runs, x: v, dy: dw, dx: dv)
    request.parameters(g, nil, slices, segment: inner)
    request.gradients(dg, nil, accumulate)
    request.saved(nil, norms, NK_FROM_NORM)
    request.job.useNorm(statistic, rule: NK_ADDED, epsilon: epsilon)
    var view = slicesView(outer, slices, inner)
    try request.runBackward(&view, sets: slices)
  }
}

@_cdecl("normkit_scale_shift_backward") @implementation
public func normkit_scale_shift_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ outer: Int64, _ channels: Int64, _ inner: Int64,
  _ x: UnsafeRawPointer!, _ dy: UnsafeRawPointer!, _ scale: UnsafeRawPointer!,
  _ dx: UnsafeMutableRawPointer!, _ dscale: UnsafeMutableRawPointer!, _ dshift: UnsafeMutableRawPointer!,
  _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireFlag(accumulate, NORMKIT_ERROR_ACCUMULATE)
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let channels = try extent(channels, NORMKIT_ERROR_CHANNELS)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    let runs = try contiguousRuns(outer, channels, inner)
    try requireGradientData(runs.elements, x, dy, needsX: dscale != nil)
    var request = Request(types, runs, x: x ?? dy, dy: dy, dx: dx)
    request.parameters(scale, nil, channels, segment: inner)
    request.gradients(dscale, dshift, accumulate)
    request.job.useGivenVariance()
    var view = slicesView(outer, channels, inner)
    try request.runBackward(&view, sets: channels)
  }
}
