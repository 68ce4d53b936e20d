// Standardizing, scaling and shifting four rows at once.

import NormKitFloor

/// gamma and beta of elements, for rows that share what is loaded for them.
private struct SharedParameters<P: Element> {
  typealias N = P.Natural
  let gamma: UnsafeRawPointer
  let beta: UnsafeRawPointer?
  /// Bytes from gamma of one element to that of the next: none where it is absent, and ones stand in for it.
  let gammaStep: Int
  /// What is added to gamma: 1, or what does not even change the sign of a zero.
  let offset: N

  /// - ones: memory for them.
  @inline(__always)
  init(_ job: nk_job, _ ones: UnsafeMutableRawPointer) {
    if job.gamma == nil { P.storePair(ones, Pair(first: N.splat(1), second: N.splat(1))) }
    gamma = job.gamma ?? UnsafeRawPointer(ones)
    gammaStep = job.gamma == nil ? 0 : P.size
    beta = job.beta
    offset = job.one_plus_gamma != 0 ? 1 : -0.0
  }
}

/// What sixteen elements of each row are multiplied by and, if S is `Shifted`, what is added to them.
private protocol SharedForm {
  static var isShifted: Bool { get }
}
private enum Scaled: SharedForm {
  @inline(__always) static var isShifted: Bool { false }
}
private enum Shifted: SharedForm {
  @inline(__always) static var isShifted: Bool { true }
}

private struct SharedLanes<A: Arithmetic, F: SharedForm> {
  let scale, shift: SIMD16<A>

  @inline(__always)
  func apply(_ z: SIMD16<A>) -> SIMD16<A> { F.isShifted ? A.fma(z, scale, shift) : z * scale }
}

/// Four rows of sixteen elements at least. Where registers are wide, loads are what such loops wait for. Elsewhere they
/// wait for arithmetic, and one row after the other is better, because memory is then read and written in its order.
private struct FourRows<E: Element, P: Element, F: SharedForm> {
  typealias N = E.Natural
  let x: (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)
  let y: (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  let count: Int
  let terms: RowTerms<N>
  let parameters: SharedParameters<P>
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
      let lanes = lanesOfPair(i)
      E.storePair(y.0 + i &* E.size, Pair(first: lanes.first.apply(z0.first), second: lanes.second.apply(z0.second)))
      E.storePair(y.1 + i &* E.size, Pair(first: lanes.first.apply(z1.first), second: lanes.second.apply(z1.second)))
      E.storePair(y.2 + i &* E.size, Pair(first: lanes.first.apply(z2.first), second: lanes.second.apply(z2.second)))
      E.storePair(y.3 + i &* E.size, Pair(first: lanes.first.apply(z3.first), second: lanes.second.apply(z3.second)))
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

  /// What is applied to sixteen elements from `i` on.
  @inline(__always)
  private func lanes(_ i: Int) -> SharedLanes<N, F> {
    lanes(P.load(parameters.gamma + i &* parameters.gammaStep)) { P.load($0 + i &* P.size) }
  }

  @inline(__always)
  private func lanes(
    _ gamma: SIMD16<P.Natural>, _ beta: (UnsafeRawPointer) -> SIMD16<P.Natural>
  ) -> SharedLanes<N, F> {
    var shift = SIMD16<N>()
    if F.isShifted, let start = parameters.beta { shift = N.narrow(P.Natural.widen(beta(start))) }
    return SharedLanes(scale: N.narrow(P.Natural.widen(gamma + P.Natural.splat(parameters.offset))), shift: shift)
  }

  /// What is applied to a pair.
  @inline(__always)
  private func lanesOfPair(_ i: Int) -> (first: SharedLanes<N, F>, second: SharedLanes<N, F>) {
    let gammas = P.loadPair(parameters.gamma + i &* parameters.gammaStep)
    return (
      first: lanes(gammas.first) { P.loadPair($0 + i &* P.size).first },
      second: lanes(gammas.second) { P.loadPair($0 + i &* P.size).second }
    )
  }

  /// Scales, shifts and stores sixteen elements of each row.
  @inline(__always)
  private func store(_ i: Int, _ z0: SIMD16<N>, _ z1: SIMD16<N>, _ z2: SIMD16<N>, _ z3: SIMD16<N>) {
    let lanes = lanes(i)
    let r0 = lanes.apply(z0), r1 = lanes.apply(z1), r2 = lanes.apply(z2), r3 = lanes.apply(z3)
    E.store(y.0, i, E.rectified(r0, least))
    E.store(y.1, i, E.rectified(r1, least))
    E.store(y.2, i, E.rectified(r2, least))
    E.store(y.3, i, E.rectified(r3, least))
  }
}

extension nk_job {
  /// Applies `terms` to `count` rows, a multiple of four, of `length` elements, sixteen at least, with a gamma and beta
  /// for each of them.
  @inline(never)
  func applyInFours<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ length: Int,
    _ terms: RowTerms<E.Natural>
  ) {
    if E.self == P.self {
      fours(E.Mixed.self, P.Mixed.self, x, y, count, length, terms)
    } else {
      fours(E.self, P.self, x, y, count, length, terms)
    }
  }

  @inline(__always)
  private func fours<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ length: Int,
    _ terms: RowTerms<E.Natural>
  ) {
    var ones = Pair(first: P.Natural.splat(0), second: P.Natural.splat(0))
    withUnsafeMutableBytes(of: &ones) { ones in
      guard let ones = ones.baseAddress else { return }
      let parameters = SharedParameters<P>(self, ones)
      if beta == nil {
        fours(E.self, P.self, Scaled.self, x, y, count, length, terms, parameters)
      } else {
        fours(E.self, P.self, Shifted.self, x, y, count, length, terms, parameters)
      }
    }
  }

  @inline(__always)
  private func fours<E: Element, P: Element, F: SharedForm>(
    _: E.Type, _: P.Type, _: F.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
    _ length: Int, _ terms: RowTerms<E.Natural>, _ parameters: SharedParameters<P>
  ) {
    let xStep = Int(kept.axis.0.x_stride) &* E.size, yStep = Int(kept.axis.0.y_stride) &* E.size
    var k = 0
    while k < count {
      let x = x + k &* xStep, y = y + k &* yStep
      FourRows<E, P, F>(
        x: (x, x + xStep, x + 2 &* xStep, x + 3 &* xStep), y: (y, y + yStep, y + 2 &* yStep, y + 3 &* yStep),
        count: length, terms: terms.from(k), parameters: parameters, least: least(E.Natural.self)
      ).apply()
      k &+= 4
    }
  }
}
