// Standardizing, scaling and shifting rows with a gamma and beta for each element.

import NormKitFloor

/// Rows that share a gamma and beta for each element, one after the other.
private struct Rows<E: Element, P: Element>: ParameterUser {
  typealias N = E.Natural
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  let xStep, yStep: Int
  let rows, count: Int
  /// Bytes from a row to what is prefetched: what the job says, or, if rows come from memory, the same row of the next
  /// group, or else this row: processors find what is in their caches faster by themselves.
  let ahead: Int
  let terms: RowTerms<N>
  let least: N
  let streams: Bool

  /// The same with mixed lanes, which parameters have to have then too.
  @inline(__always)
  var mixed: Rows<E.Mixed, P.Mixed> {
    Rows<E.Mixed, P.Mixed>(
      x: x, y: y, xStep: xStep, yStep: yStep, rows: rows, count: count, ahead: ahead, terms: terms,
      least: least, streams: streams)
  }

  /// Not worth their code for Double, which waits for memory, nor on old processors, which lack registers for several
  /// vectors.
  @inline(__always) static var hasOwnForms: Bool { hasFourVectors && P.size < 8 }

  @inline(__always)
  func use<F: ParameterForm>(_ parameters: ElementParameters<P>, _: F.Type) {
    var x = x, y = y, terms = terms
    let end = terms.means + rows
    while terms.means < end {
      if NK_FOUR_VECTORS != 0 && streams { bringJointNear(y + 2 &* yStep) }
      let row = ScaledRow<E, P, F>(terms, parameters, least, next: x + ahead)
      row.apply(x, y, count, streams: streams)
      x += xStep
      y += yStep
      terms = terms.from(1)
    }
  }
}

/// One of them.
private struct ScaledRow<E: Element, P: Element, F: ParameterForm>: Change {
  let terms: RowTerms<E.Natural>
  private let row: RowLanes<E.Natural>
  let parameters: ElementParameters<P>
  let least: E.Natural
  let next: UnsafeRawPointer

  @inline(__always)
  init(
    _ terms: RowTerms<E.Natural>, _ parameters: ElementParameters<P>, _ least: E.Natural, next: UnsafeRawPointer
  ) {
    self.terms = terms
    row = terms.lanes(0)
    self.parameters = parameters
    self.least = least
    self.next = next
  }

  @inline(__always)
  func apply(_ lanes: SIMD16<E.Natural>, _ i: Int, _ length: Int) -> SIMD16<E.Natural> {
    nk_prefetch(next + i &* E.size)
    let parameters = parameters.lanes(i, length) as ScaleShift<E.Natural, F>
    return E.rectified(parameters.apply(row.apply(lanes)), least)
  }

  @inline(__always)
  func applyPair(_ lanes: Pair<E.Natural>, _ i: Int) -> Pair<E.Natural> {
    nk_prefetch(next + i &* E.size)
    let parameters = parameters.pair(i) as ScaleShiftPair<E.Natural, F>
    return parameters.apply(row.applyPair(lanes))
  }

  @inline(__always)
  func applyPart(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int) {
    applyRowPart(E.self, P.self, x, y, i, count, terms, parameters, least)
  }
}

@inline(never) @_optimize(size)
private func applyRowPart<E: Element, P: Element>(
  _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int,
  _ terms: RowTerms<E.Natural>, _ parameters: ElementParameters<P>, _ least: E.Natural
) {
  ScaledRow<E, P, AnyForm>(terms, parameters, least, next: x).applyLanes(x, y, i, count)
}

/// What standardizes one row, in every lane.
struct RowLanes<A: Arithmetic> {
  let mean, negative, offset: SIMD16<A>

  @inline(__always)
  init(mean: A, negative: A, offset: A) {
    self.mean = A.splat(mean)
    self.negative = A.splat(negative)
    self.offset = A.splat(offset)
  }

  @inline(__always)
  init(_ standard: nk_standard) {
    let (mean, negative, offset) = standard.terms(A.self)
    self.init(mean: mean, negative: negative, offset: offset)
  }

  /// Subtracts from the mean, because then the subtraction takes `x` from memory.
  @inline(__always)
  func apply(_ x: SIMD16<A>) -> SIMD16<A> { A.fma(mean - x, negative, offset) }

  @inline(__always)
  func applyPair(_ x: Pair<A>) -> Pair<A> { Pair(first: apply(x.first), second: apply(x.second)) }
}

extension nk_job {
  /// Applies `terms` to `rows` rows of `count` elements, with the parameters from `start` on.
  @inline(never)
  func applyRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, xStep: Int, yStep: Int, _ rows: Int,
    _ count: Int, _ start: Int, _ terms: RowTerms<E.Natural>
  ) {
    let rows = Rows<E, P>(
      x: x, y: y, xStep: xStep, yStep: yStep, rows: rows, count: count,
      ahead: ahead != 0 ? Int(ahead) : is_large != 0 ? rows &* xStep : 0, terms: terms,
      least: least(E.Natural.self), streams: streams != 0)
    if E.self == P.self {
      useParameters(from: start, for: rows.mixed)
    } else {
      useParameters(from: start, for: rows)
    }
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
    streams != 0 || ahead != 0 || Int(kept.axis.0.x_stride) &* E.size % 4096 == 0
  }

  /// Applies what standardizes sets `first` to `first + count - 1` if they are rows as above, an even distance apart,
  /// and none of them needs Double. Returns whether it did.
  @inline(__always)
  func applyRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) -> Bool {
    guard hasParametersOfRows && areEvenlySpaced else { return false }
    let areShort = areShortRows(E.self, R.self)
    if !(areShort && scratch.terms.areOrdinary(count)) {
      for k in 0..<count {
        if needsDouble(scratch.standards[k].factor, in: E.Natural.self) { return false }
        if !areShort { scratch.terms.set(k, scratch.standards[k]) }
      }
    }
    if hasParameters(of: E.self) {
      applyRows(E.self, E.self, first, count, scratch.terms)
    } else {
      applyRows(E.self, F32.self, first, count, scratch.terms)
    }
    return true
  }

  @inline(__always)
  private func applyRows<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ first: Int, _ count: Int, _ terms: RowTerms<E.Natural>
  ) {
    let (x, start) = start(E.self, first), length = Int(run)
    guard let y = start else { return }
    let xStep = Int(kept.axis.0.x_stride) &* E.size, yStep = Int(kept.axis.0.y_stride) &* E.size
    var k = 0
    if hasWideRegisters && length >= 16 && !prefersSingleRows(E.self) {
      k = count & ~3
      if k > 0 { applyInFours(E.self, P.self, x, y, xStep: xStep, yStep: yStep, k, length, terms) }
    }
    if k == count { return }
    applyRows(
      E.self, P.self, x + k &* xStep, y + k &* yStep, xStep: xStep, yStep: yStep, count &- k, length, 0, terms.from(k))
  }
}
