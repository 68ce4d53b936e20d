// Backward, sums over runs of neighbouring elements: of h = dy * gamma, of h * z, and of what the statistic needs.

import NormKitFloor

/// How dy becomes h.
protocol Weights {
  func weigh<A: Arithmetic>(_ dy: SIMD16<A>, _ i: Int) -> SIMD16<A>
}

/// All elements have one gamma, which is taken into account afterwards.
struct NoWeights: Weights {
  @inline(__always) func weigh<A: Arithmetic>(_ dy: SIMD16<A>, _ i: Int) -> SIMD16<A> { dy }
}

/// Each element has its own gamma, from `gammas` on.
struct ElementWeights: Weights {
  let gammas: UnsafeRawPointer
  @inline(__always) func weigh<A: Arithmetic>(_ dy: SIMD16<A>, _ i: Int) -> SIMD16<A> { dy * A.load(gammas, i) }
}

/// Sums in sixteen lanes.
private struct GradientLaneSums<A: Arithmetic> {
  var h = A.splat(0), hz = A.splat(0)

  @inline(__always)
  mutating func add(_ h: SIMD16<A>, _ z: SIMD16<A>) {
    self.h = self.h + h
    hz = A.fma(h, z, hz)
  }
}

/// Sums of a chunk over what one value of `standard` standardizes: of every other vector, and of those between. What is
/// summed beside them takes one vector, so that all fit the registers.
struct GradientChunkSums<E: Element, D: Derivative> {
  typealias N = E.Natural
  let row: RowLanes<N>
  let quantity: SIMD16<N>
  private var even = GradientLaneSums<N>(), odd = GradientLaneSums<N>(), beside = N.splat(0)

  @inline(__always)
  init(_ standard: nk_standard, reach: Double) {
    row = RowLanes<N>(standard)
    quantity = N.splat(N.narrow(reach))
  }

  /// Adds elements `i` to `i + 15`, to `beside` what is summed beside.
  @inline(__always)
  private func addVector<W: Weights>(
    _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ i: Int, _ weights: W, to sums: inout GradientLaneSums<N>,
    _ beside: inout SIMD16<N>
  ) {
    let value = E.load(x, i, as: N.self), z = row.apply(value)
    sums.add(weights.weigh(E.load(dy, i, as: N.self), i), z)
    beside = beside + D.beside(z, value, quantity)
  }

  /// Adds elements `begin ..< end`.
  @inline(__always)
  mutating func add<W: Weights>(
    _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ begin: Int, _ end: Int, _ weights: W
  ) {
    var i = begin
    while D.isFrequent && NK_FOUR_VECTORS != 0 && i &+ 32 <= end {
      addVector(x, dy, i, weights, to: &even, &beside)
      addVector(x, dy, i &+ 16, weights, to: &odd, &beside)
      i &+= 32
    }
    while i &+ 16 <= end {
      addVector(x, dy, i, weights, to: &even, &beside)
      i &+= 16
    }
    if i < end {
      let rest = end &- i, zero = N.splat(0)
      let x0 = E.load(x, i, count: rest, as: N.self)
      let z0 = row.apply(x0)
      let h = weights.weigh(E.load(dy, i, count: rest, as: N.self), i)
      odd.add(N.fill(h, rest, zero), N.fill(z0, rest, zero))
      beside = beside + N.fill(D.beside(z0, x0, quantity), rest, zero)
    }
  }

  @inline(__always)
  var joined: (h: SIMD16<N>, hz: SIMD16<N>, beside: SIMD16<N>) { (even.h + odd.h, even.hz + odd.hz, beside) }

  @inline(__always)
  var total: nk_gradient_sums {
    let sums = joined
    return nk_gradient_sums(
      h: nk_sum_f64(N.widen(sums.h)), hz: nk_sum_f64(N.widen(sums.hz)), beside: nk_sum_f64(N.widen(sums.beside)))
  }

  @inline(__always)
  mutating func clear() {
    even = GradientLaneSums<N>()
    odd = even
    beside = N.splat(0)
  }
}

/// Elements that are summed in the type of computation before the sums are joined in Double.
let gradientChunkLength = 1024

/// Sums over runs that one value of `standard` standardizes.
struct GradientSummation<E: Element, D: Derivative> {
  typealias N = E.Natural
  private var chunk: GradientChunkSums<E, D>
  private var total = nk_gradient_sums(h: 0, hz: 0, beside: 0)
  /// Elements that are in `chunk`.
  private var pending = 0

  @inline(__always)
  init(_ standard: nk_standard, reach: Double) { chunk = GradientChunkSums<E, D>(standard, reach: reach) }

  /// Adds `count` neighbouring elements.
  @inline(__always)
  mutating func add<W: Weights>(_ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ count: Int, _ weights: W) {
    var i = 0
    while i < count {
      let end = min(i &+ gradientChunkLength &- pending, count)
      chunk.add(x, dy, i, end, weights)
      // A part of a vector adds to its lanes as a whole one does.
      pending = (pending &+ end &- i &+ 15) & ~15
      i = end
      if pending >= gradientChunkLength { join() }
    }
  }

  @inline(__always)
  private mutating func join() {
    total.add(chunk.total)
    chunk.clear()
    pending = 0
  }

  @inline(__always)
  mutating func finish() -> nk_gradient_sums {
    if pending > 0 { join() }
    return total
  }
}

/// Sums over one run.
@inline(never)
private func gradientSums<E: Element, W: Weights>(
  _: E.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ count: Int, _ standard: nk_standard, _ weights: W
) -> nk_gradient_sums {
  var summation = GradientSummation<E, AlongValue>(standard, reach: 0)
  summation.add(x, dy, count, weights)
  return summation.finish()
}

extension nk_gradient_sums {
  @inline(__always)
  mutating func add(_ other: nk_gradient_sums, weight: Double = 1) {
    h += weight * other.h
    hz += weight * other.hz
    beside += other.beside
  }
}

extension nk_job {
  /// Sums over one piece of set `s`, which starts at `x` and `dy`.
  @inline(__always)
  func pieceGradientSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer,
    _ standard: nk_standard, _ parameterSums: ParameterSums<E.Natural>?
  ) -> nk_gradient_sums {
    if D.isFrequent && Int(parameter_form) == NK_ELEMENTS && hasGammasOfRows {
      return gradientSums(E.self, x, dy, Int(run), standard, ElementWeights(gammas: UnsafeRawPointer(gammas)))
    }
    if D.isFrequent && Int(parameter_form) != NK_ONE_PER_SET {
      return spanGradientSums(E.self, s, piece, x, dy, standard, parameterSums)
    }
    return pieceGradientSums(E.self, D.self, piece, x, dy, standard)
  }

  /// The same where all of the set has one gamma, which is taken into account afterwards.
  @inline(never)
  private func pieceGradientSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ piece: Int, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ standard: nk_standard
  ) -> nk_gradient_sums {
    var summation = GradientSummation<E, D>(standard, reach: reach(standard))
    forRuns(of: piece) { f, start, count in
      let offset = reducedOffset(f)
      if is_large != 0 && reduced.extent > 1 { bringRunNear(x, dy, elementSize: E.size, behind: f) }
      summation.add(x + (offset.x &+ start) &* E.size, dy + (offset.y &+ start) &* E.size, count, NoWeights())
    }
    return summation.finish()
  }

  /// The same where gamma changes within the set.
  @inline(never) @_optimize(size)
  private func spanGradientSums<E: Element>(
    _: E.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ standard: nk_standard,
    _ parameterSums: ParameterSums<E.Natural>?
  ) -> nk_gradient_sums {
    typealias N = E.Natural
    var sums = nk_gradient_sums(h: 0, hz: 0, beside: 0)
    forRuns(of: piece) { f, start, count in
      let offset = reducedOffset(f)
      let xs = x + (offset.x &+ start) &* E.size, dys = dy + (offset.y &+ start) &* E.size
      forSpans(from: element(s, f) &+ start, count) { done, length, index in
        let xs = xs + done &* E.size, dys = dys + done &* E.size
        if Int(parameter_form) == NK_ELEMENTS {
          let weights = ElementWeights(gammas: UnsafeRawPointer(gammas + index &* MemoryLayout<N>.stride))
          sums.add(gradientSums(E.self, xs, dys, length, standard, weights))
        } else {
          let span = gradientSums(E.self, xs, dys, length, standard, NoWeights())
          sums.add(span, weight: weight(index, as: N.self))
          if let parameterSums {
            parameterSums.current[index] += span.h
            parameterSums.dgamma[index] += span.hz
          }
        }
      }
    }
    return sums
  }
}

/// Sums of stretches of which each fits one chunk: those of four are joined side by side.
struct FoldedGradientSums {
  private let h, hz, beside: FoldedSums

  /// In memory for `most` stretches.
  @inline(__always)
  init(_ memory: UnsafeMutableRawPointer, most: Int) {
    h = FoldedSums(memory)
    hz = FoldedSums(memory + FoldedSums.bytes(most))
    beside = FoldedSums(memory + 2 &* FoldedSums.bytes(most))
  }

  @inline(__always)
  func set<E: Element, D: Derivative>(_ k: Int, _ chunk: GradientChunkSums<E, D>) {
    let sums = chunk.joined
    h.set(k, sums.h)
    hz.set(k, sums.hz)
    beside.set(k, sums.beside)
  }

  /// Lets the first of the last four of `count` stretches stand in for those that these lack.
  @inline(__always)
  func fill(_ count: Int) {
    h.fill(count)
    hz.fill(count)
    beside.fill(count)
  }

  /// The sums of four stretches from `k` on.
  @inline(__always)
  func total(_ k: Int) -> (h: SIMD4<Double>, hz: SIMD4<Double>, beside: SIMD4<Double>) {
    (h.total(k), hz.total(k), beside.total(k))
  }
}

/// The sums of `count` neighbouring elements, one chunk at most, as the k-th of `folded`.
@inline(__always)
func foldGradientSums<E: Element, W: Weights>(
  _: E.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ count: Int, _ standard: nk_standard, _ weights: W,
  _ folded: FoldedGradientSums, _ k: Int
) {
  var chunk = GradientChunkSums<E, AlongValue>(standard, reach: 0)
  chunk.add(x, dy, 0, count, weights)
  folded.set(k, chunk)
}
