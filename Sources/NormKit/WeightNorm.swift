// Weight normalization, and scale and shift alone: tensors seen as [outer, slices, inner].

import CNormKit
import NormKitFloor

@_cdecl("normkit_weight_norm") @implementation
public func normkit_weight_norm(
  _ dtype: Int32, _ parameter_dtype: Int32, _ norm: Int32, _ outer: Int64, _ slices: Int64, _ inner: Int64,
  _ v: UnsafeRawPointer!, _ g: UnsafeRawPointer!, _ epsilon: Double,
  _ w: UnsafeMutableRawPointer!, _ norms: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    let statistic = try normStatistic(norm)
    try requireEpsilon(epsilon)
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let slices = try extent(slices, NORMKIT_ERROR_SLICES)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    let runs = try contiguousRuns(outer, slices, inner)
    try require(v != nil || runs.elements == 0, NORMKIT_ERROR_V_NULL)
    try require(w != nil || runs.elements == 0, NORMKIT_ERROR_W_NULL)
    var request = Request(types, runs, x: v, y: w)
    request.parameters(g, nil, slices, segment: inner)
    request.statistics(nil, norms)
    request.job.useNorm(statistic, rule: NK_ADDED, epsilon: epsilon)
    var view = slicesView(outer, slices, inner)
    try request.run(&view, sets: slices)
    if runs.elements == 0, let norms { zero(norms, count: slices, types) }
  }
}

@_cdecl("normkit_scale_shift") @implementation
public func normkit_scale_shift(
  _ dtype: Int32, _ parameter_dtype: Int32, _ outer: Int64, _ channels: Int64, _ inner: Int64,
  _ x: UnsafeRawPointer!, _ scale: UnsafeRawPointer!, _ shift: UnsafeRawPointer!, _ y: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let channels = try extent(channels, NORMKIT_ERROR_CHANNELS)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    let runs = try contiguousRuns(outer, channels, inner)
    try requireData(runs.elements, x, y)
    var request = Request(types, runs, x: x, y: y)
    request.parameters(scale, shift, channels, segment: inner)
    request.job.useGivenVariance()
    var view = slicesView(outer, channels, inner)
    try request.run(&view, sets: channels)
  }
}

/// All of a contiguous tensor as one run.
func contiguousRuns(_ outer: Int, _ slices: Int, _ inner: Int) throws(Refusal) -> Runs {
  // Also where another extent is 0: there may be norms to write.
  _ = try product(outer, slices)
  let length = try product(slices, inner)
  return try Runs(length: try product(outer, length), count: 1, RowStrides())
}

/// One set per slice.
@inline(__always)
func slicesView(_ outer: Int, _ slices: Int, _ inner: Int) -> View {
  var view = View()
  view.reduce(outer, step: Steps(slices &* inner))
  view.keep(slices, step: Steps(inner))
  view.reduce(inner, step: Steps(1))
  return view
}
