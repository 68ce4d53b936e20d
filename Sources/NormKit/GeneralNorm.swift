// The general form: any subset of the axes of a contiguous tensor.

import CNormKit
import NormKitFloor

@_cdecl("normkit_normalize") @implementation
public func normkit_normalize(
  _ dtype: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32, _ axes: UnsafePointer<Int32>!,
  _ x: UnsafeRawPointer!, _ epsilon: Double, _ epsilon_rule: Int32,
  _ y: UnsafeMutableRawPointer!, _ mean: UnsafeMutableRawPointer!, _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    try requireEpsilon(epsilon)
    let rule = try epsilonRule(epsilon_rule)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try requireData(tensor.elements, x, y)
    try require(!tensor.hasEmptySets || mean == nil && rstd == nil, NORMKIT_ERROR_EMPTY_SET)
    var request = Request(types, try tensor.runs(), x: x, y: y)
    request.statistics(mean, rstd)
    request.job.rule = rule
    request.job.epsilon = epsilon
    try request.run(&tensor.view, sets: tensor.sets)
  }
}

@_cdecl("normkit_lp_normalize") @implementation
public func normkit_lp_normalize(
  _ dtype: Int32, _ norm: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32,
  _ axes: UnsafePointer<Int32>!, _ x: UnsafeRawPointer!, _ epsilon: Double,
  _ y: UnsafeMutableRawPointer!, _ norms: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    let statistic = try normStatistic(norm)
    try requireEpsilon(epsilon)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try requireData(tensor.elements, x, y)
    var request = Request(types, try tensor.runs(), x: x, y: y)
    request.statistics(nil, norms)
    request.job.useNorm(statistic, rule: NK_FLOOR, epsilon: epsilon)
    try request.run(&tensor.view, sets: tensor.sets)
    if tensor.elements == 0, let norms { zero(norms, count: tensor.sets, types) }
  }
}

@_cdecl("normkit_moments") @implementation
public func normkit_moments(
  _ dtype: Int32, _ rank: Int32, _ shape: UnsafePointer<Int64>!, _ axis_count: Int32, _ axes: UnsafePointer<Int32>!,
  _ x: UnsafeRawPointer!, _ correction: Int64,
  _ mean: UnsafeMutableRawPointer!, _ variance: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    var tensor = try AxisTensor(rank, shape, axis_count, axes)
    try require(!tensor.hasEmptySets || mean == nil && variance == nil, NORMKIT_ERROR_EMPTY_SET)
    try require(correction >= 0, NORMKIT_ERROR_CORRECTION)
    try require(tensor.elements == 0 || correction < tensor.setSize, NORMKIT_ERROR_CORRECTION)
    try require(x != nil || tensor.elements == 0, NORMKIT_ERROR_X_NULL)
    var request = Request(types, try tensor.runs(), x: x, y: nil)
    request.statistics(mean, variance)
    request.job.spread_kind = Int32(NK_VARIANCE)
    request.job.correction = correction
    try request.run(&tensor.view, sets: tensor.sets)
  }
}

/// A contiguous tensor, and the axes that its sets run over.
struct AxisTensor: ~Copyable {
  var view = View()
  var elements = 1
  var sets = 1
  var setSize = 1

  /// Whether there are sets, and they have no elements.
  var hasEmptySets: Bool { sets > 0 && setSize == 0 }

  init(
    _ rank: Int32, _ shape: UnsafePointer<Int64>?, _ axisCount: Int32, _ axes: UnsafePointer<Int32>?
  ) throws(Refusal) {
    try require(rank >= 0 && rank <= NORMKIT_MAX_RANK, NORMKIT_ERROR_RANK)
    try require(shape != nil || rank == 0, NORMKIT_ERROR_SHAPE)
    try require(axisCount >= 0 && axisCount <= rank && (axes != nil || axisCount == 0), NORMKIT_ERROR_AXES)
    var isReduced = 0
    for i in 0..<Int(axisCount) {
      guard let axes else { break }
      let axis = axes[i] < 0 ? axes[i] &+ rank : axes[i]
      try require(axis >= 0 && axis < rank, NORMKIT_ERROR_AXES)
      try require(isReduced & (1 << axis) == 0, NORMKIT_ERROR_AXES)
      isReduced |= 1 << axis
    }
    guard let shape else { return }
    for i in 0..<Int(rank) {
      let extent = try extent(shape[i], NORMKIT_ERROR_SHAPE)
      elements = try product(elements, extent)
      if isReduced & (1 << i) != 0 { setSize = try product(setSize, extent) } else { sets = try product(sets, extent) }
    }
    guard elements > 0 else { return }
    var stride = elements
    for i in 0..<Int(rank) {
      stride /= Int(shape[i])
      view.append(Int(shape[i]), isReduced: isReduced & (1 << i) != 0, step: Steps(stride))
    }
  }

  func runs() throws(Refusal) -> Runs { try Runs(length: elements, count: 1, RowStrides()) }

  /// The view alone.
  consuming func takeView() -> View { view }
}
