// Standardizing, scaling and shifting runs of neighbouring elements.

import NormKitFloor

/// What becomes of sixteen elements. It has a type of its own because the compiler would call a closure.
private protocol Change {
  associatedtype A: Arithmetic
  /// `i` is the index of the first, `length` how many they are.
  func apply(_ lanes: SIMD16<A>, _ i: Int, _ length: Int) -> SIMD16<A>
}

/// Applies `change` to a run of elements.
@inline(__always)
private func apply<E: Element, C: Change>(
  _: E.Type, _ change: C, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, streams: Bool
) where C.A == E.Natural {
  let last = count &- 16
  if last < 0 {
    return E.store(y, 0, count: count, change.apply(E.load(x, 0, count: count, as: C.A.self), 0, count))
  }
  // The last vector may share elements with the one before it, and is read before those are written in place.
  let rest = E.load(x, last, as: C.A.self)
  var i = 0
  while i < last {
    E.store(y, i, change.apply(E.load(x, i, as: C.A.self), i, 16), streams: streams)
    i &+= 16
  }
  E.store(y, last, change.apply(rest, last, 16), streams: streams && i == last)
}

/// y = (x - mean - residue) * factor * gamma + beta, with one gamma and beta for all.
private struct Uniform<A: Arithmetic>: Change {
  let mean, negativeScale, shift: SIMD16<A>

  @inline(__always)
  init(_ standard: nk_standard, gamma: Double, beta: Double) {
    let scale = standard.factor * gamma
    mean = A.splat(A.narrow(standard.mean))
    negativeScale = A.splat(A.narrow(-scale))
    shift = A.splat(A.narrow(standard.offset(scale: scale, beta: beta)))
  }

  @inline(__always)
  func apply(_ lanes: SIMD16<A>, _ i: Int, _ length: Int) -> SIMD16<A> { A.fma(mean - lanes, negativeScale, shift) }
}

@inline(never)
private func applyUniform<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, streams: Bool
) {
  apply(E.self, Uniform<E.Natural>(standard, gamma: gamma, beta: beta), x, y, count, streams: streams)
}

/// The same where `E.Natural` does not hold the scale. That is rare, and not worth a copy of the arithmetic for each
/// type of elements.
@inline(never)
private func applyUniformInDouble<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double
) {
  var scale = Double.splat(gamma), shift = Double.splat(beta)
  applyInDouble(E.self, x, y, count, standard) { _, _, lanes in standard.apply(&lanes, &scale, &shift) }
}

/// Every sixteen elements of a span as Double, through `body`, which gets the index of the first and how many they are.
@inline(__always)
private func applyInDouble<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ standard: nk_standard,
  _ body: (Int, Int, inout SIMD16<Double>) -> Void
) {
  var i = 0
  while i < count {
    let length = min(16, count &- i)
    var lanes = E.load(x, i, upTo: length, as: Double.self)
    body(i, length, &lanes)
    E.store(y, i, upTo: length, lanes)
    i &+= 16
  }
}

extension nk_standard {
  /// Standardizes, scales and shifts sixteen elements.
  @inline(never)
  fileprivate func apply(
    _ lanes: inout SIMD16<Double>, _ scale: inout SIMD16<Double>, _ shift: inout SIMD16<Double>
  ) {
    lanes = Double.fma(RowLanes<Double>(self).apply(lanes), scale, shift)
  }
}

/// Rows that share a gamma and beta for each element, one after the other.
private struct Rows<E: Element, P: Element>: ParameterUser {
  typealias N = E.Natural
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  let xStep, yStep: Int
  let rows, count: Int
  let standards: UnsafePointer<nk_standard>
  let streams: Bool

  @inline(__always)
  func use<L: LaneParameters>(_ parameters: L) {
    var x = x, y = y, standard = standards
    let end = standards + rows
    while standard < end {
      let row = ScaledRow<E, P, L>(
        row: RowLanes(standard.pointee), parameters: parameters, next: x + rows &* xStep)
      apply(E.self, row, x, y, count, streams: streams)
      x += xStep
      y += yStep
      standard += 1
    }
  }
}

/// One of them.
private struct ScaledRow<E: Element, P: Element, L: LaneParameters>: Change {
  let row: RowLanes<E.Natural>
  let parameters: L
  /// The same row of the next group, which is prefetched: samples of rows are read in no order that a processor could
  /// foresee.
  let next: UnsafeRawPointer

  @inline(__always)
  func apply(_ lanes: SIMD16<E.Natural>, _ i: Int, _ length: Int) -> SIMD16<E.Natural> {
    nk_prefetch(next + i &* E.size)
    return parameters.apply(row.apply(lanes)) { P.load($0, i, upTo: length, as: E.Natural.self) }
  }
}

/// What standardizes one row, in every lane.
struct RowLanes<A: Arithmetic> {
  let mean, factor: SIMD16<A>
  private let negative, offset: SIMD16<A>

  @inline(__always)
  init(_ standard: nk_standard) {
    mean = A.splat(A.narrow(standard.mean))
    factor = A.splat(A.narrow(standard.factor))
    negative = A.splat(A.narrow(-standard.factor))
    offset = A.splat(A.narrow(standard.offset(scale: standard.factor, beta: 0)))
  }

  /// Subtracts from the mean, because then the subtraction takes `x` from memory.
  @inline(__always)
  func apply(_ x: SIMD16<A>) -> SIMD16<A> { A.fma(mean - x, negative, offset) }
}

/// Four rows at once, which share the parameters that are loaded for them: whole vectors only. Where registers are
/// wide, loads are what such loops wait for. Elsewhere they wait for arithmetic, and one row after the other is better,
/// because memory is then read and written in its order.
private struct FourRows<E: Element, P: Element>: ParameterUser {
  let x: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)
  let y: (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  let count: Int
  let standards: UnsafePointer<nk_standard>

  @inline(__always)
  func use<L: LaneParameters>(_ parameters: L) {
    typealias N = E.Natural
    let row0 = RowLanes<N>(standards[0]), row1 = RowLanes<N>(standards[1])
    let row2 = RowLanes<N>(standards[2]), row3 = RowLanes<N>(standards[3])
    var i = 0
    while i &+ 16 <= count {
      let z0 = row0.apply(E.load(x.0, i, as: N.self)), z1 = row1.apply(E.load(x.1, i, as: N.self))
      let z2 = row2.apply(E.load(x.2, i, as: N.self)), z3 = row3.apply(E.load(x.3, i, as: N.self))
      let r0 = parameters.apply(z0) { P.load($0, i, as: N.self) }
      let r1 = parameters.apply(z1) { P.load($0, i, as: N.self) }
      let r2 = parameters.apply(z2) { P.load($0, i, as: N.self) }
      let r3 = parameters.apply(z3) { P.load($0, i, as: N.self) }
      E.store(y.0, i, r0)
      E.store(y.1, i, r1)
      E.store(y.2, i, r2)
      E.store(y.3, i, r3)
      i &+= 16
    }
  }
}

extension nk_job {
  /// Applies `standard` to `count` elements; `element` is the index of the first in the contiguous tensor, which
  /// decides its parameters.
  @inline(__always)
  private func applySpan<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ element: Int,
    _ standard: nk_standard
  ) {
    if gamma == nil && beta == nil {
      return applyUniformly(E.self, x, y, count, standard, gamma: 1, beta: 0)
    }
    forSpans(from: element, count) { done, length, index in
      let xs = x + done &* E.size, ys = y + done &* E.size
      if segment != 1 {
        let gamma = gammaValue(P.self, index), beta = betaValue(P.self, index)
        applyUniformly(E.self, xs, ys, length, standard, gamma: gamma, beta: beta)
      } else if needsDouble(standard.factor, in: E.Natural.self) {
        applyParametersInDouble(E.self, P.self, xs, ys, length, index, standard)
      } else {
        withUnsafePointer(to: standard) { standards in
          applyRows(E.self, P.self, xs, ys, xStep: 0, yStep: 0, 1, length, index, standards)
        }
      }
    }
  }

  @inline(__always)
  private func applyUniformly<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ standard: nk_standard,
    gamma: Double, beta: Double
  ) {
    if needsDouble(standard.factor, in: E.Natural.self) || needsDouble(standard.factor * gamma, in: E.Natural.self) {
      applyUniformInDouble(E.self, x, y, count, standard, gamma: gamma, beta: beta)
    } else {
      applyUniform(E.self, x, y, count, standard, gamma: gamma, beta: beta, streams: streams != 0)
    }
  }

  /// Applies `standard` to elements with the parameters from `start` on.
  @inline(never)
  private func applyParametersInDouble<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ start: Int,
    _ standard: nk_standard
  ) {
    let gammaOffset = Double.splat(Double(one_plus_gamma))
    applyInDouble(E.self, x, y, count, standard) { i, length, lanes in
      var scale = Double.splat(1), shift = Double.splat(0)
      if let gamma { scale = P.load(gamma, start &+ i, count: length, as: Double.self) + gammaOffset }
      if let beta { shift = P.load(beta, start &+ i, count: length, as: Double.self) }
      standard.apply(&lanes, &scale, &shift)
    }
  }

  /// Applies `standard` to one piece of set `s`, which starts at `x` and `y`.
  @inline(__always)
  func applyRuns<E: Element>(
    _: E.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ standard: nk_standard
  ) {
    if hasParameters(of: E.self) {
      applyPiece(E.self, E.self, s, piece, x, y, standard)
    } else {
      applyPiece(E.self, F32.self, s, piece, x, y, standard)
    }
  }

  /// Whether sets are in one piece, and all of a set has one gamma and beta.
  @inline(__always)
  private var areUniform: Bool {
    pieces == 1
      && (gamma == nil && beta == nil || segment == run || segment > run && segment % run == 0)
  }

  /// Applies what standardizes sets `first` to `first + count - 1` if they are such. Returns whether it did.
  @inline(__always)
  func applyUniformSets<E: Element>(
    _: E.Type, _ first: Int, _ count: Int, _ standards: UnsafePointer<nk_standard>
  ) -> Bool {
    guard areUniform else { return false }
    if hasParameters(of: E.self) {
      applyUniformSets(E.self, E.self, first, count, standards)
    } else {
      applyUniformSets(E.self, F32.self, first, count, standards)
    }
    return true
  }

  @inline(never)
  private func applyUniformSets<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ first: Int, _ count: Int, _ standards: UnsafePointer<nk_standard>
  ) {
    let hasParameters = gamma != nil || beta != nil
    var parameter = hasParameters ? firstParameter(first) : 0
    for k in 0..<count {
      let (x, y) = start(E.self, first &+ k)
      guard let y else { return }
      let gamma = gammaValue(P.self, parameter), beta = betaValue(P.self, parameter)
      for f in 0..<Int(reduced.extent) {
        let offset = reducedOffset(f)
        applyUniformly(
          E.self, x + offset.x &* E.size, y + offset.y &* E.size, Int(run), standards[k], gamma: gamma, beta: beta)
      }
      if hasParameters {
        let next = parameter &+ 1 == Int(parameters) ? 0 : parameter &+ 1
        parameter = segment == run ? next : firstParameter(first &+ k &+ 1)
      }
    }
  }

  /// Applies `standards` to `rows` rows of `count` elements, with the parameters from `start` on.
  @inline(never)
  private func applyRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, xStep: Int, yStep: Int, _ rows: Int,
    _ count: Int, _ start: Int, _ standards: UnsafePointer<nk_standard>
  ) {
    chooseParameters(
      P.self, from: start,
      for: Rows<E, P>(
        x: x, y: y, xStep: xStep, yStep: yStep, rows: rows, count: count, standards: standards, streams: streams != 0))
  }

  /// Whether sets are rows with a parameter for each element, the same for all rows: what layer and RMS
  /// normalization nearly always are.
  @inline(__always)
  var hasParametersOfRows: Bool {
    segment == 1 && parameters == run && pieces == 1 && reduced.extent == 1 && (gamma != nil || beta != nil)
  }

  /// Whether rows are better passed one by one: those that start at the same place in a page would push each other out
  /// of the first-level cache, and stores past the caches suffer from several rows at once.
  @inline(__always)
  func prefersSingleRows<E: Element>(_: E.Type) -> Bool {
    streams != 0 || Int(kept.axis.0.x_stride) &* E.size % 4096 == 0
  }

  /// Applies what standardizes sets `first` to `first + count - 1` if they are rows as above, an even distance apart,
  /// and none of them needs Double. Returns whether it did.
  @inline(__always)
  func applyRows<E: Element>(
    _: E.Type, _ first: Int, _ count: Int, _ standards: UnsafePointer<nk_standard>
  ) -> Bool {
    guard hasParametersOfRows && areEvenlySpaced else { return false }
    for k in 0..<count where needsDouble(standards[k].factor, in: E.Natural.self) { return false }
    if hasParameters(of: E.self) {
      applyRows(E.self, E.self, first, count, standards)
    } else {
      applyRows(E.self, F32.self, first, count, standards)
    }
    return true
  }

  @inline(__always)
  private func applyRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ first: Int, _ count: Int, _ standards: UnsafePointer<nk_standard>
  ) {
    let (x, start) = start(E.self, first), length = Int(run)
    guard let y = start else { return }
    let xStep = Int(kept.axis.0.x_stride) &* E.size, yStep = Int(kept.axis.0.y_stride) &* E.size
    var k = 0
    if hasWideRegisters && !prefersSingleRows(E.self) {
      while k &+ 4 <= count {
        let start = (x: x + k &* xStep, y: y + k &* yStep)
        applyFourRows(E.self, P.self, start.x, start.y, xStep: xStep, yStep: yStep, length, standards + k)
        k &+= 4
      }
    }
    if k == count { return }
    applyRows(
      E.self, P.self, x + k &* xStep, y + k &* yStep, xStep: xStep, yStep: yStep, count &- k, length, 0, standards + k)
  }

  @inline(never)
  private func applyFourRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x0: UnsafeRawPointer, _ y0: UnsafeMutableRawPointer, xStep: Int, yStep: Int, _ count: Int,
    _ standards: UnsafePointer<nk_standard>
  ) {
    let x = (x0, x0 + xStep, x0 + 2 &* xStep, x0 + 3 &* xStep)
    let y = (y0, y0 + yStep, y0 + 2 &* yStep, y0 + 3 &* yStep)
    chooseParameters(P.self, from: 0, for: FourRows<E, P>(x: x, y: y, count: count, standards: standards))
    let done = count & ~15
    if done == count { return }
    applyRows(
      E.self, P.self, x0 + done &* E.size, y0 + done &* E.size, xStep: xStep, yStep: yStep, 4, count &- done, done,
      standards)
  }

  @inline(never)
  private func applyPiece<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer,
    _ standard: nk_standard
  ) {
    forRuns(of: piece) { f, start, count in
      let offset = reducedOffset(f)
      applySpan(
        E.self, P.self, x + (offset.x &+ start) &* E.size, y + (offset.y &+ start) &* E.size, count,
        element(s, f) &+ start, standard)
    }
  }
}
