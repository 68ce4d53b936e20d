// Standardizing, scaling and shifting runs of neighbouring elements.

import NormKitFloor

/// y = (x - mean - residue) * factor * gamma + beta, with one gamma and beta for all of it.
@inline(never)
private func applyUniform<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, streams: Bool
) {
  typealias A = E.Natural
  let scale = standard.factor * gamma
  let means = A.splat(A.narrow(standard.mean))
  let scales = A.splat(A.narrow(scale))
  let shifts = A.splat(A.narrow(beta - standard.residue * scale))
  var i = 0
  while i &+ 16 <= count {
    E.store(y, i, A.fma(E.load(x, i, as: A.self) - means, scales, shifts), streams: streams)
    i &+= 16
  }
  if i < count {
    let rest = count &- i
    E.store(y, i, count: rest, A.fma(E.load(x, i, count: rest, as: A.self) - means, scales, shifts))
  }
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

/// The same with a gamma and beta for each element.
private struct OneRow<E: Element, P: Element>: ParameterUser {
  typealias N = E.Natural
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  let count: Int
  let standard: nk_standard
  let streams: Bool

  @inline(__always)
  func use<L: LaneParameters>(_ parameters: L) {
    let row = RowLanes<N>(standard)
    var i = 0
    while i &+ 16 <= count {
      let z = row.apply(E.load(x, i, as: N.self))
      E.store(y, i, parameters.apply(z) { P.load($0, i, as: N.self) }, streams: streams)
      i &+= 16
    }
    if i < count {
      let rest = count &- i
      let z = row.apply(E.load(x, i, count: rest, as: N.self))
      E.store(y, i, count: rest, parameters.apply(z) { P.load($0, i, count: rest, as: N.self) })
    }
  }
}

/// What standardizes one row, in every lane.
struct RowLanes<A: Arithmetic> {
  let mean, factor, offset: SIMD16<A>

  @inline(__always)
  init(_ standard: nk_standard) {
    mean = A.splat(A.narrow(standard.mean))
    factor = A.splat(A.narrow(standard.factor))
    offset = A.splat(A.narrow(-standard.residue * standard.factor))
  }

  @inline(__always)
  func apply(_ x: SIMD16<A>) -> SIMD16<A> { A.fma(x - mean, factor, offset) }
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
        chooseParameters(
          P.self, from: index,
          for: OneRow<E, P>(x: xs, y: ys, count: length, standard: standard, streams: streams != 0))
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
    if E.self == F64.self || parameter_dtype == dtype {
      applyRuns(E.self, E.self, s, piece, x, y, standard)
    } else {
      applyRuns(E.self, F32.self, s, piece, x, y, standard)
    }
  }

  @inline(never)
  private func applyRuns<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer,
    _ standard: nk_standard
  ) {
    if hasParametersOfRows && !needsDouble(standard.factor, in: E.Natural.self) {
      applyRow(E.self, P.self, x, y, 0, standard)
    } else {
      applyPiece(E.self, P.self, s, piece, x, y, standard)
    }
  }

  /// Applies `standard` to the elements of a row from `start` on.
  @inline(never)
  private func applyRow<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ start: Int, _ standard: nk_standard
  ) {
    let xs = x + start &* E.size, ys = y + start &* E.size
    chooseParameters(
      P.self, from: start,
      for: OneRow<E, P>(x: xs, y: ys, count: Int(run) &- start, standard: standard, streams: streams != 0))
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

  /// Applies what standardizes four rows, the first of which is set `s`, unless one of them needs Double or they are
  /// better passed one by one. Returns whether it did.
  @inline(__always)
  func applyFourRows<E: Element>(_: E.Type, _ s: Int, _ standards: UnsafePointer<nk_standard>) -> Bool {
    if kept.count != 1 || prefersSingleRows(E.self) { return false }
    for k in 0..<4 where needsDouble(standards[k].factor, in: E.Natural.self) { return false }
    if E.self == F64.self || parameter_dtype == dtype {
      applyFourRows(E.self, E.self, s, standards)
    } else {
      applyFourRows(E.self, F32.self, s, standards)
    }
    return true
  }

  @inline(never)
  private func applyFourRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ s: Int, _ standards: UnsafePointer<nk_standard>
  ) {
    let (x0, start) = start(E.self, s), count = Int(run)
    guard let y0 = start else { return }
    let xStep = Int(kept.axis.0.x_stride) &* E.size, yStep = Int(kept.axis.0.y_stride) &* E.size
    let x = (x0, x0 + xStep, x0 + 2 &* xStep, x0 + 3 &* xStep)
    let y = (y0, y0 + yStep, y0 + 2 &* yStep, y0 + 3 &* yStep)
    let rows = FourRows<E, P>(x: x, y: y, count: count, standards: standards)
    chooseParameters(P.self, from: 0, for: rows)
    if count % 16 != 0 {
      applyRow(E.self, P.self, x.0, y.0, count & ~15, standards[0])
      applyRow(E.self, P.self, x.1, y.1, count & ~15, standards[1])
      applyRow(E.self, P.self, x.2, y.2, count & ~15, standards[2])
      applyRow(E.self, P.self, x.3, y.3, count & ~15, standards[3])
    }
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
