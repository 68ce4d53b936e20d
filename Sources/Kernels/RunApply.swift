// Standardizing, scaling and shifting runs of neighbouring elements.

import NormKitFloor

/// y = (x - mean - residue) * factor * gamma + beta, with one gamma and beta for all of it.
@inline(__always)
private func applyUniform<E: Element, A: Arithmetic>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, as: A.Type
) {
  let scale = standard.factor * gamma
  let means = A.splat(A.narrow(standard.mean))
  let scales = A.splat(A.narrow(scale))
  let shifts = A.splat(A.narrow(beta - standard.residue * scale))
  var i = 0
  while i &+ 16 <= count {
    E.store(y, i, A.fma(E.load(x, i, as: A.self) - means, scales, shifts))
    i &+= 16
  }
  if i < count {
    let rest = count &- i
    E.store(y, i, count: rest, A.fma(E.load(x, i, count: rest, as: A.self) - means, scales, shifts))
  }
}

/// The same for the rare segments whose scale `E.Natural` does not hold.
@inline(never)
private func applyUniformInDouble<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double
) {
  applyUniform(E.self, x, y, count, standard, gamma: gamma, beta: beta, as: Double.self)
}

/// The same with a gamma and beta for each element.
private struct OneRow<E: Element, P: Element, A: Arithmetic>: ParameterUser {
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  let count: Int
  let standard: nk_standard

  @inline(__always)
  func use<L: LaneParameters>(_ parameters: L) {
    let row = RowLanes<A>(standard)
    var i = 0
    while i &+ 16 <= count {
      let z = row.apply(E.load(x, i, as: A.self))
      E.store(y, i, parameters.apply(z) { P.load($0, i, as: A.self) })
      i &+= 16
    }
    if i < count {
      let rest = count &- i
      let z = row.apply(E.load(x, i, count: rest, as: A.self))
      E.store(y, i, count: rest, parameters.apply(z) { P.load($0, i, count: rest, as: A.self) })
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

/// Four rows at once, which share the parameters that are loaded for them: whole vectors only.
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
  private func applySpan<E: Element, P: Element, A: Arithmetic>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ element: Int,
    _ standard: nk_standard, as: A.Type
  ) {
    if gamma == nil && beta == nil {
      return applyUniform(E.self, x, y, count, standard, gamma: 1, beta: 0, as: A.self)
    }
    let segment = Int(segment), parameters = Int(parameters)
    var done = 0
    while done < count {
      let position = element &+ done
      let xs = x + done &* E.size, ys = y + done &* E.size
      if segment == 1 {
        let start = position < parameters ? position : position % parameters
        let length = min(parameters &- start, count &- done)
        applyParameters(E.self, P.self, xs, ys, length, start, standard, as: A.self)
        done &+= length
      } else {
        let index = position / segment % parameters
        let length = min(segment &- position % segment, count &- done)
        let gamma = gammaValue(P.self, index), beta = betaValue(P.self, index)
        if needsDouble(standard.factor * gamma, in: A.self) {
          applyUniformInDouble(E.self, xs, ys, length, standard, gamma: gamma, beta: beta)
        } else {
          applyUniform(E.self, xs, ys, length, standard, gamma: gamma, beta: beta, as: A.self)
        }
        done &+= length
      }
    }
  }

  /// Applies `standard` to elements with the parameters from `start` on.
  @inline(__always)
  private func applyParameters<E: Element, P: Element, A: Arithmetic>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ start: Int,
    _ standard: nk_standard, as: A.Type
  ) {
    let row = OneRow<E, P, A>(x: x, y: y, count: count, standard: standard)
    if A.self == E.Natural.self { return chooseParameters(P.self, from: start, for: row) }
    row.use(
      AnyParameters(
        gamma: gamma.map { $0 + start &* P.size }, beta: beta.map { $0 + start &* P.size },
        gammaOffset: Double(one_plus_gamma)))
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
    if needsDouble(standard.factor, in: E.Natural.self) {
      applyPiece(E.self, P.self, s, piece, x, y, standard, as: Double.self)
    } else if hasParametersOfRows {
      applyRow(E.self, P.self, x, y, 0, standard)
    } else {
      applyPiece(E.self, P.self, s, piece, x, y, standard, as: E.Natural.self)
    }
  }

  /// Applies `standard` to the elements of a row from `start` on.
  @inline(never)
  private func applyRow<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ start: Int, _ standard: nk_standard
  ) {
    let xs = x + start &* E.size, ys = y + start &* E.size
    applyParameters(E.self, P.self, xs, ys, Int(run) &- start, start, standard, as: E.Natural.self)
  }

  /// Whether sets are rows with a parameter for each element, the same for all rows: what layer and RMS
  /// normalization nearly always are.
  @inline(__always)
  var hasParametersOfRows: Bool {
    segment == 1 && parameters == run && pieces == 1 && reduced.extent == 1 && (gamma != nil || beta != nil)
  }

  /// Applies what standardizes four rows, the first of which is set `s`, unless one of them needs Double. Rows that
  /// start at the same place in a page would push each other out of the first-level cache. Returns whether it did.
  @inline(__always)
  func applyFourRows<E: Element>(_: E.Type, _ s: Int, _ standards: UnsafePointer<nk_standard>) -> Bool {
    if Int(kept.axis.0.x_stride) &* E.size % 4096 == 0 { return false }
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
    let row0 = start(E.self, s), row1 = start(E.self, s &+ 1)
    let row2 = start(E.self, s &+ 2), row3 = start(E.self, s &+ 3)
    guard let y0 = row0.y, let y1 = row1.y, let y2 = row2.y, let y3 = row3.y else { return }
    let count = Int(run)
    let rows = FourRows<E, P>(
      x: (row0.x, row1.x, row2.x, row3.x), y: (y0, y1, y2, y3), count: count, standards: standards)
    chooseParameters(P.self, from: 0, for: rows)
    if count % 16 != 0 {
      applyRow(E.self, P.self, row0.x, y0, count & ~15, standards[0])
      applyRow(E.self, P.self, row1.x, y1, count & ~15, standards[1])
      applyRow(E.self, P.self, row2.x, y2, count & ~15, standards[2])
      applyRow(E.self, P.self, row3.x, y3, count & ~15, standards[3])
    }
  }

  @inline(never)
  private func applyPiece<E: Element, P: Element, A: Arithmetic>(
    _: E.Type, _: P.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer,
    _ standard: nk_standard, as: A.Type
  ) {
    let outer = lanes == 1 ? s : s / Int(lanes), lane = s &- outer &* Int(lanes)
    forRuns(of: piece) { f, start, count in
      let offset = reducedOffset(f)
      let row = (outer &* Int(reduced.extent) &+ f) &* Int(lanes) &+ lane
      applySpan(
        E.self, P.self, x + (offset.x &+ start) &* E.size, y + (offset.y &+ start) &* E.size, count,
        row &* Int(run) &+ start, standard, as: A.self)
    }
  }
}
