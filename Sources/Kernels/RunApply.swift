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

/// The same with a gamma and beta for each element.
@inline(__always)
private func applyLanes<E: Element, P: Element, A: Arithmetic, L: LaneParameters>(
  _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, _ parameters: L, as: A.Type
) {
  let means = A.splat(A.narrow(standard.mean))
  let factors = A.splat(A.narrow(standard.factor))
  let offsets = A.splat(A.narrow(-standard.residue * standard.factor))
  var i = 0
  while i &+ 16 <= count {
    let z = A.fma(E.load(x, i, as: A.self) - means, factors, offsets)
    E.store(y, i, parameters.apply(z) { P.load($0, i, as: A.self) })
    i &+= 16
  }
  if i < count {
    let rest = count &- i
    let z = A.fma(E.load(x, i, count: rest, as: A.self) - means, factors, offsets)
    E.store(y, i, count: rest, parameters.apply(z) { P.load($0, i, count: rest, as: A.self) })
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
        applyUniform(
          E.self, xs, ys, length, standard, gamma: gammaValue(P.self, index), beta: betaValue(P.self, index),
          as: A.self)
        done &+= length
      }
    }
  }

  /// Chooses the form of scale and shift for parameters `start` and the following.
  @inline(__always)
  private func applyParameters<E: Element, P: Element, A: Arithmetic>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ start: Int,
    _ standard: nk_standard, as: A.Type
  ) {
    let beta = beta.map { $0 + start &* P.size }
    if A.self != E.Natural.self {
      let parameters = AnyParameters(
        gamma: gamma.map { $0 + start &* P.size }, beta: beta, gammaOffset: Double(one_plus_gamma))
      applyLanes(E.self, P.self, x, y, count, standard, parameters, as: A.self)
    } else if let gamma = gamma.map({ $0 + start &* P.size }) {
      if one_plus_gamma != 0 {
        applyLanes(E.self, P.self, x, y, count, standard, OnePlusScale(gamma: gamma, beta: beta), as: A.self)
      } else if let beta {
        applyLanes(E.self, P.self, x, y, count, standard, ScaleShift(gamma: gamma, beta: beta), as: A.self)
      } else {
        applyLanes(E.self, P.self, x, y, count, standard, Scale(gamma: gamma), as: A.self)
      }
    } else if let beta {
      applyLanes(E.self, P.self, x, y, count, standard, Shift(beta: beta), as: A.self)
    } else {
      applyUniform(E.self, x, y, count, standard, gamma: 1, beta: 0, as: A.self)
    }
  }

  /// Applies `standard` to one piece of set `s`, which starts at `x` and `y`.
  @inline(__always)
  func applyRuns<E: Element>(
    _: E.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ standard: nk_standard
  ) {
    if parameter_dtype == dtype {
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
    if needsDouble(standard, in: E.Natural.self) {
      applyPiece(E.self, P.self, s, piece, x, y, standard, as: Double.self)
    } else if segment == 1 && parameters == run && run_pieces == 1 && reduced.extent == 1 {
      // A row with a parameter for each element: what layer and RMS normalization are nearly always.
      applyParameters(E.self, P.self, x, y, Int(run), 0, standard, as: E.Natural.self)
    } else {
      applyPiece(E.self, P.self, s, piece, x, y, standard, as: E.Natural.self)
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
