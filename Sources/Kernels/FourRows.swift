// Standardizing, scaling and shifting four rows at once.

import NormKitFloor

/// Rows of sixteen elements at least that share a gamma and beta for each element.
private struct RowsInFours<E: Element, P: Element>: ParameterUser {
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  let xStep, yStep: Int
  /// Rows, a multiple of four, and elements of each.
  let rows, count: Int
  let terms: RowTerms<E.Natural>
  let least: E.Natural

  /// The same with mixed lanes.
  @inline(__always)
  var mixed: RowsInFours<E.Mixed, P.Mixed> {
    RowsInFours<E.Mixed, P.Mixed>(
      x: x, y: y, xStep: xStep, yStep: yStep, rows: rows, count: count, terms: terms, least: least)
  }

  /// Four rows share the addition.
  @inline(__always) static var hasOwnForms: Bool { false }

  @inline(__always)
  func use<F: ParameterForm>(_ parameters: ElementParameters<P>, _: F.Type) {
    var k = 0
    while k < rows {
      let x = x + k &* xStep, y = y + k &* yStep
      FourRows<E, P, F>(
        x: (x, x + xStep, x + 2 &* xStep, x + 3 &* xStep), y: (y, y + yStep, y + 2 &* yStep, y + 3 &* yStep),
        count: count, terms: terms.from(k), parameters: parameters, least: least
      ).apply()
      k &+= 4
    }
  }
}

/// Four of them, which share what is loaded for their parameters. Where registers are wide, loads are what such loops
/// wait for. Elsewhere they wait for arithmetic, and one row after the other is better, because memory is then read and
/// written in its order.
private struct FourRows<E: Element, P: Element, F: ParameterForm> {
  typealias N = E.Natural
  let x: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)
  let y: (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  let count: Int
  let terms: RowTerms<N>
  let parameters: ElementParameters<P>
  let least: N

  @inline(__always)
  func apply() {
    let row0 = terms.lanes(0), row1 = terms.lanes(1), row2 = terms.lanes(2), row3 = terms.lanes(3)
    let last = count &- 16, whole = count & ~31
    // What is left behind pairs is nothing, or a vector at least, so that it can be passed as below.
    let pairs = !E.prefersPairs ? 0 : whole == count || whole <= last ? whole : whole &- 32
    var i = 0
    while i < pairs {
      let z0 = row0.applyPair(E.loadPair(x.0 + i &* E.size)), z1 = row1.applyPair(E.loadPair(x.1 + i &* E.size))
      let z2 = row2.applyPair(E.loadPair(x.2 + i &* E.size)), z3 = row3.applyPair(E.loadPair(x.3 + i &* E.size))
      let parameters = parameters.pair(i) as ScaleShiftPair<N, F>
      E.storePair(y.0 + i &* E.size, parameters.apply(z0))
      E.storePair(y.1 + i &* E.size, parameters.apply(z1))
      E.storePair(y.2 + i &* E.size, parameters.apply(z2))
      E.storePair(y.3 + i &* E.size, parameters.apply(z3))
      i &+= 32
    }
    if i == count { return }
    // What comes next is read before this is written, as where rows are passed one by one.
    var z0 = row0.apply(E.load(x.0, i, as: N.self)), z1 = row1.apply(E.load(x.1, i, as: N.self))
    var z2 = row2.apply(E.load(x.2, i, as: N.self)), z3 = row3.apply(E.load(x.3, i, as: N.self))
    while i < last {
      let j = min(i &+ 16, last)
      let next0 = row0.apply(E.load(x.0, j, as: N.self)), next1 = row1.apply(E.load(x.1, j, as: N.self))
      let next2 = row2.apply(E.load(x.2, j, as: N.self)), next3 = row3.apply(E.load(x.3, j, as: N.self))
      store(i, z0, z1, z2, z3)
      (z0, z1, z2, z3) = (next0, next1, next2, next3)
      i &+= 16
    }
    store(last, z0, z1, z2, z3)
  }

  /// Scales, shifts and stores sixteen elements of each row.
  @inline(__always)
  private func store(_ i: Int, _ z0: SIMD16<N>, _ z1: SIMD16<N>, _ z2: SIMD16<N>, _ z3: SIMD16<N>) {
    let parameters = parameters.lanes(i, 16) as ScaleShift<N, F>
    let r0 = parameters.apply(z0), r1 = parameters.apply(z1), r2 = parameters.apply(z2), r3 = parameters.apply(z3)
    E.store(y.0, i, E.rectified(r0, least))
    E.store(y.1, i, E.rectified(r1, least))
    E.store(y.2, i, E.rectified(r2, least))
    E.store(y.3, i, E.rectified(r3, least))
  }
}

extension nk_job {
  /// Applies `terms` to `rows` rows, a multiple of four, of `count` elements, sixteen at least.
  @inline(never)
  func applyInFours<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, xStep: Int, yStep: Int, _ rows: Int,
    _ count: Int, _ terms: RowTerms<E.Natural>
  ) {
    let rows = RowsInFours<E, P>(
      x: x, y: y, xStep: xStep, yStep: yStep, rows: rows, count: count, terms: terms, least: least(E.Natural.self))
    if E.self == P.self {
      useParameters(from: 0, for: rows.mixed)
    } else {
      useParameters(from: 0, for: rows)
    }
  }
}
