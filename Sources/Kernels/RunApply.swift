// Standardizing, scaling and shifting runs of neighbouring elements.

import NormKitFloor

/// y = (x - mean - residue) * factor * gamma + beta, with one gamma and beta for all.
private struct Uniform<E: Element>: Change {
  typealias N = E.Natural
  let standard: nk_standard
  let gamma, beta: Double
  let least: N
  private let mean, negativeScale, shift: SIMD16<N>

  @inline(__always)
  init(_ standard: nk_standard, gamma: Double, beta: Double, least: N) {
    self.standard = standard
    self.least = least
    self.gamma = gamma
    self.beta = beta
    let scale = standard.factor * gamma
    mean = N.splat(N.narrow(standard.mean))
    negativeScale = N.splat(N.narrow(-scale))
    shift = N.splat(N.narrow(standard.offset(scale: scale, beta: beta)))
  }

  @inline(__always)
  func apply(_ lanes: SIMD16<N>, _ i: Int, _ length: Int) -> SIMD16<N> {
    E.rectified(N.fma(mean - lanes, negativeScale, shift), least)
  }

  @inline(__always)
  func applyPair(_ lanes: Pair<N>, _ i: Int) -> Pair<N> {
    Pair(first: apply(lanes.first, i, 16), second: apply(lanes.second, i, 16))
  }

  @inline(__always)
  func applyPart(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int) {
    applyUniformPart(E.self, x, y, i, count, standard, gamma: gamma, beta: beta, least: least)
  }
}

@inline(never)
private func applyUniform<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, least: E.Natural, streams: Bool
) {
  Uniform<E.Mixed>(standard, gamma: gamma, beta: beta, least: least).apply(x, y, count, streams: streams)
}

@inline(never) @_optimize(size)
private func applyUniformPart<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, least: E.Natural
) {
  Uniform<E>(standard, gamma: gamma, beta: beta, least: least).applyLanes(x, y, i, count)
}

/// The same where `E.Natural` does not hold the scale. That is rare, and not worth a copy of the arithmetic for each
/// type of elements.
@inline(never) @_optimize(size)
private func applyUniformInDouble<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, gamma: Double, beta: Double, least: Double
) {
  var scale = Double.splat(gamma), shift = Double.splat(beta)
  applyInDouble(E.self, x, y, count, least) { _, _, lanes in standard.apply(&lanes, &scale, &shift) }
}

/// Every sixteen elements of a span as Double, through `body`, which gets the index of the first and how many they are.
@inline(__always)
private func applyInDouble<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ least: Double,
  _ body: (Int, Int, inout SIMD16<Double>) -> Void
) {
  forFewVectors(count) { i, length in
    var lanes = E.load(x, i, upTo: length, as: Double.self)
    body(i, length, &lanes)
    E.store(y, i, upTo: length, Double.atLeast(lanes, Double.splat(least)))
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
        var memory = (SIMD16<E.Natural>(), SIMD16<E.Natural>(), SIMD16<E.Natural>())
        withUnsafeMutablePointer(to: &memory) { memory in
          let terms = RowTerms<E.Natural>(memory)
          terms.set(0, standard)
          applyRows(E.self, P.self, xs, ys, xStep: 0, yStep: 0, 1, length, index, terms)
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
      applyUniformInDouble(E.self, x, y, count, standard, gamma: gamma, beta: beta, least: least(Double.self))
    } else {
      applyUniform(
        E.self, x, y, count, standard, gamma: gamma, beta: beta, least: least(E.Natural.self), streams: streams != 0)
    }
  }

  /// Applies `standard` to elements with the parameters from `start` on.
  @inline(never) @_optimize(size)
  private func applyParametersInDouble<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, _ start: Int,
    _ standard: nk_standard
  ) {
    let gammaOffset = Double.splat(Double(one_plus_gamma))
    applyInDouble(E.self, x, y, count, least(Double.self)) { i, length, lanes in
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
    let firstParameter = hasParameters ? firstParameter(first) : 0
    // Memory lies in this order: set by set, step by step.
    for f in 0..<Int(reduced.extent) {
      let offset = reducedOffset(f)
      var parameter = firstParameter
      for k in 0..<count {
        let (x, y) = start(E.self, first &+ k)
        guard let y else { return }
        let gamma = gammaValue(P.self, parameter), beta = betaValue(P.self, parameter)
        applyUniformly(
          E.self, x + offset.x &* E.size, y + offset.y &* E.size, Int(run), standards[k], gamma: gamma, beta: beta)
        if hasParameters { parameter = nextParameter(parameter, first &+ k &+ 1) }
      }
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