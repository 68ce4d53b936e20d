// Backward, the gradient of runs of neighbouring elements.

import NormKitFloor

/// Rows, or spans of a set that go over the same parameters, whose contributions to the gradients of parameters are
/// added in the type of computation before they are joined in Double.
let recentRows = 32

/// dx = (dy * gamma - mean - slope * direction) * factor, of one set, in every lane.
private struct GradientLanes<A: Arithmetic> {
  let row: RowLanes<A>
  let mean, slope: SIMD16<A>

  @inline(__always)
  init(_ standard: nk_standard, _ gradient: nk_gradient) {
    row = RowLanes<A>(standard)
    mean = A.splat(A.narrow(gradient.mean))
    slope = A.splat(A.narrow(-gradient.slope))
  }

  @inline(__always)
  func apply(_ h: SIMD16<A>, _ direction: SIMD16<A>) -> SIMD16<A> {
    A.fma(direction, slope, h - mean) * row.factor
  }
}

/// The same gamma for all `count` elements.
@inline(never)
func applyUniformGradient<E: Element, D: Derivative>(
  _: E.Type, _: D.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ dx: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, _ gradient: nk_gradient, gamma: Double, reach: Double, streams: Bool
) {
  typealias N = E.Natural
  let change = UniformGradient<E.Mixed, D>(
    x: x, dy: dy, dx: dx, lanes: GradientLanes(standard, gradient), gamma: N.splat(N.narrow(gamma)),
    quantity: N.splat(N.narrow(reach)))
  if _slowPath(streams) {
    forVectors(head: E.elementsBeforeLine(dx), count) { i, length in change.apply(i, length, streams: true) }
  } else {
    forVectors(count) { i, length in change.apply(i, length, streams: false) }
  }
}

/// What becomes of the elements of a run that have one gamma.
private struct UniformGradient<E: Element, D: Derivative> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  let dx: UnsafeMutableRawPointer
  let lanes: GradientLanes<N>
  let gamma, quantity: SIMD16<N>

  /// Of `length` elements from `i` on.
  @inline(__always)
  func apply(_ i: Int, _ length: Int, streams: Bool) {
    let value = E.load(x, i, upTo: length, as: N.self)
    let direction = D.direction(lanes.row.apply(value), value, quantity)
    let result = lanes.apply(E.load(dy, i, upTo: length, as: N.self) * gamma, direction)
    E.store(dx, i, upTo: length, result, streams: streams)
  }
}

/// A row of elements that have a gamma each, and the sums for the gradients of those.
private struct GradientRow<E: Element> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  let dx: UnsafeMutableRawPointer?
  let lanes: GradientLanes<N>
  let streams: Bool

  @inline(__always)
  init(_ start: GradientStart, _ standard: nk_standard, _ gradient: nk_gradient, streams: Int32) {
    self.streams = streams != 0
    x = start.x
    dy = start.dy
    dx = start.dx
    lanes = GradientLanes(standard, gradient)
  }

  /// Elements i to i + 15: writes dx, and gives dy and dy * z.
  @inline(__always)
  func apply(_ i: Int, _ gammas: UnsafeRawPointer) -> (dy: SIMD16<N>, z: SIMD16<N>) {
    let z = lanes.row.apply(E.load(x, i, as: N.self)), dy = E.load(dy, i, as: N.self)
    if let dx { E.store(dx, i, lanes.apply(dy * N.load(gammas, i), z), streams: streams) }
    return (dy, z)
  }

  @inline(__always)
  func apply(_ i: Int, count: Int, _ gammas: UnsafeRawPointer) -> (dy: SIMD16<N>, z: SIMD16<N>) {
    let z = lanes.row.apply(E.load(x, i, count: count, as: N.self)), dy = E.load(dy, i, count: count, as: N.self)
    if let dx { E.store(dx, i, count: count, lanes.apply(dy * N.load(gammas, i), z)) }
    return (N.fill(dy, count, N.splat(0)), N.fill(z, count, N.splat(0)))
  }
}

extension ParameterSums {
  /// Adds to the recent sums of sixteen parameters.
  @inline(__always)
  fileprivate func add(_ i: Int, dgamma: SIMD16<N>, dbeta: SIMD16<N>) {
    let gammas = UnsafeMutableRawPointer(recentGamma), betas = UnsafeMutableRawPointer(recentBeta)
    N.store(gammas, i, N.load(gammas, i) + dgamma)
    N.store(betas, i, N.load(betas, i) + dbeta)
  }
}

extension nk_job {
  /// The gradient of one piece of set `s`, which starts at `x`, `dy` and `dx`.
  @inline(never)
  func applyGradient<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ s: Int, _ piece: Int, _ start: GradientStart, _ standard: nk_standard,
    _ gradient: nk_gradient, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let isUniform = Int(parameter_form) == NK_ONE_PER_SET
    var spans = 0
    let gamma = isUniform ? weight(firstParameter(s), as: N.self) : 0
    forRuns(of: piece) { f, first, count in
      let offset = reducedOffset(f)
      let x = start.x + (offset.x &+ first) &* E.size, dy = start.dy + (offset.y &+ first) &* E.size
      let dx = start.dx.map { $0 + (offset.dx &+ first) &* E.size }
      if isUniform {
        if let dx {
          applyUniformGradient(
            E.self, D.self, x, dy, dx, count, standard, gradient, gamma: gamma,
            reach: reach(standard), streams: streams != 0)
        }
        return
      }
      forSpans(from: element(s, f) &+ first, count) { done, length, index in
        if Int(parameter_form) == NK_ELEMENTS {
          let span = GradientStart(x: x + done &* E.size, dy: dy + done &* E.size, dx: dx.map { $0 + done &* E.size })
          let row = GradientRow<E>(span, standard, gradient, streams: streams)
          applyElements(row, from: 0, length, index, sums)
          spans &+= 1
          if spans % recentRows == 0 { sums?.join(index, length) }
        } else if let dx {
          applyUniformGradient(
            E.self, AlongValue.self, x + done &* E.size, dy + done &* E.size, dx + done &* E.size, length, standard,
            gradient, gamma: weight(index, as: N.self), reach: 0, streams: streams != 0)
        }
      }
    }
    if spans > 1 { sums?.join(0, Int(parameters)) }
  }

  /// Elements `begin ..< count` of a row whose first element has parameter `parameter`.
  @inline(never)
  private func applyElements<E: Element>(
    _ row: GradientRow<E>, from begin: Int, _ count: Int, _ parameter: Int, _ sums: ParameterSums<E.Natural>?
  ) {
    let gammas = UnsafeRawPointer(self.gammas + parameter &* MemoryLayout<E.Natural>.stride)
    var i = begin
    while i &+ 16 <= count {
      let (dy, z) = row.apply(i, gammas)
      sums?.add(parameter &+ i, dgamma: dy * z, dbeta: dy)
      i &+= 16
    }
    if i < count {
      let (dy, z) = row.apply(i, count: count &- i, gammas)
      sums?.add(parameter &+ i, dgamma: dy * z, dbeta: dy)
    }
  }

  /// The gradients of four rows: two at a time share gamma, and what is added to the sums. Rows that are better passed
  /// one by one add the same.
  @inline(never)
  func applyFourGradients<E: Element>(
    _: E.Type, _ scratch: GradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let whole = Int(run) & ~15
    if prefersSingleRows(E.self) {
      applyOneByOne(E.self, whole, scratch, sums)
    } else {
      for k in stride(from: 0, to: 4, by: 2) {
        let row0 = gradientRow(E.self, scratch, k), row1 = gradientRow(E.self, scratch, k &+ 1)
        let gammas = UnsafeRawPointer(self.gammas!)
        var i = 0
        while i < whole {
          let (dy0, z0) = row0.apply(i, gammas), (dy1, z1) = row1.apply(i, gammas)
          sums?.add(i, dgamma: N.fma(dy1, z1, dy0 * z0), dbeta: dy0 + dy1)
          i &+= 16
        }
      }
    }
    guard whole < Int(run) else { return }
    for k in 0..<4 { applyElements(gradientRow(E.self, scratch, k), from: whole, Int(run), 0, sums) }
  }

  @inline(__always)
  private func gradientRow<E: Element>(_: E.Type, _ scratch: GradientScratch, _ k: Int) -> GradientRow<E> {
    GradientRow<E>(scratch.starts[k], scratch.standards[k], scratch.gradients[k], streams: streams)
  }

  /// The first `count` elements of each of four rows, in stretches that all rows pass.
  @inline(never)
  private func applyOneByOne<E: Element>(
    _: E.Type, _ count: Int, _ scratch: GradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    let pairs = PairSums<E.Natural>(scratch.rest)
    var i = 0
    while i < count {
      let end = min(i &+ PairSums<E.Natural>.most, count)
      for k in 0..<4 { applyStretch(gradientRow(E.self, scratch, k), i, end, k, pairs, sums) }
      i = end
    }
  }

  /// Elements `begin ..< end` of row `k` of four, the first or the second of a pair.
  @inline(__always)
  private func applyStretch<E: Element>(
    _ row: GradientRow<E>, _ begin: Int, _ end: Int, _ k: Int, _ pairs: PairSums<E.Natural>,
    _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let gammas = UnsafeRawPointer(self.gammas!), isSecond = k % 2 == 1, zero = N.splat(0)
    var i = begin
    while i < end {
      let (dy, z) = row.apply(i, gammas)
      let pair = isSecond ? pairs.get(i &- begin) : (zero, zero)
      let dgamma = isSecond ? N.fma(dy, z, pair.0) : dy * z, dbeta = isSecond ? pair.1 + dy : dy
      if isSecond { sums?.add(i, dgamma: dgamma, dbeta: dbeta) } else { pairs.set(i &- begin, dgamma, dbeta) }
      i &+= 16
    }
  }
}

/// Contributions of a row to the sums of a stretch of parameters.
private struct PairSums<A: Arithmetic> {
  let dgamma, dbeta: UnsafeMutableRawPointer

  /// Parameters in one stretch.
  @inline(__always) static var most: Int { 512 }

  @inline(__always)
  init(_ memory: UnsafeMutableRawPointer) {
    dgamma = memory
    dbeta = memory + PairSums.most &* MemoryLayout<A>.stride
  }

  @inline(__always)
  func set(_ i: Int, _ dgamma: SIMD16<A>, _ dbeta: SIMD16<A>) {
    A.store(self.dgamma, i, dgamma)
    A.store(self.dbeta, i, dbeta)
  }

  @inline(__always)
  func get(_ i: Int) -> (dgamma: SIMD16<A>, dbeta: SIMD16<A>) {
    (A.load(UnsafeRawPointer(dgamma), i), A.load(UnsafeRawPointer(dbeta), i))
  }
}
