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
private struct GradientLanes<A: Arithmetic> {
  var h = A.splat(0), hz = A.splat(0), beside = A.splat(0)

  @inline(__always)
  mutating func add(_ h: SIMD16<A>, _ z: SIMD16<A>, _ beside: SIMD16<A>) {
    self.h = self.h + h
    hz = A.fma(h, z, hz)
    self.beside = self.beside + beside
  }
}

/// Elements that are summed in the type of computation before the sums are joined in Double.
@inline(__always)
private func chunkLength<A: Arithmetic>(_: A.Type) -> Int { A.self == Double.self ? 1024 : 512 }

/// Sums over `count` neighbouring elements.
@inline(never)
private func gradientSums<E: Element, D: Derivative, W: Weights>(
  _: E.Type, _: D.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ count: Int, _ standard: nk_standard,
  _ weights: W
) -> nk_gradient_sums {
  typealias N = E.Natural
  let row = RowLanes<N>(standard), quantity = N.splat(N.narrow(standard.quantity))
  var total = GradientLanes<Double>()
  var i = 0
  while i < count {
    let end = min(i &+ chunkLength(N.self), count)
    var even = GradientLanes<N>(), odd = GradientLanes<N>()
    while i &+ 32 <= end {
      let x0 = E.load(x, i, as: N.self), x1 = E.load(x, i &+ 16, as: N.self)
      let z0 = row.apply(x0), z1 = row.apply(x1)
      even.add(weights.weigh(E.load(dy, i, as: N.self), i), z0, D.beside(z0, x0, quantity))
      odd.add(weights.weigh(E.load(dy, i &+ 16, as: N.self), i &+ 16), z1, D.beside(z1, x1, quantity))
      i &+= 32
    }
    if i &+ 16 <= end {
      let x0 = E.load(x, i, as: N.self), z0 = row.apply(x0)
      even.add(weights.weigh(E.load(dy, i, as: N.self), i), z0, D.beside(z0, x0, quantity))
      i &+= 16
    }
    if i < end {
      let rest = end &- i, zero = N.splat(0)
      let x0 = E.load(x, i, count: rest, as: N.self)
      let z0 = row.apply(x0)
      let h = weights.weigh(E.load(dy, i, count: rest, as: N.self), i)
      odd.add(N.fill(h, rest, zero), N.fill(z0, rest, zero), N.fill(D.beside(z0, x0, quantity), rest, zero))
      i = end
    }
    total.h = total.h + N.widen(even.h + odd.h)
    total.hz = total.hz + N.widen(even.hz + odd.hz)
    total.beside = total.beside + N.widen(even.beside + odd.beside)
  }
  return nk_gradient_sums(h: nk_sum_f64(total.h), hz: nk_sum_f64(total.hz), beside: nk_sum_f64(total.beside))
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
  @inline(never)
  func pieceGradientSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ s: Int, _ piece: Int, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer,
    _ standard: nk_standard, _ parameterSums: ParameterSums<E.Natural>?
  ) -> nk_gradient_sums {
    typealias N = E.Natural
    var sums = nk_gradient_sums(h: 0, hz: 0, beside: 0)
    forRuns(of: piece) { f, start, count in
      let offset = reducedOffset(f)
      let xs = x + (offset.x &+ start) &* E.size, dys = dy + (offset.y &+ start) &* E.size
      if Int(parameter_form) == NK_ONE_PER_SET {
        sums.add(gradientSums(E.self, D.self, xs, dys, count, standard, NoWeights()))
        return
      }
      forSpans(from: element(s, f) &+ start, count) { done, length, index in
        let xs = xs + done &* E.size, dys = dys + done &* E.size
        if Int(parameter_form) == NK_ELEMENTS {
          let weights = ElementWeights(gammas: UnsafeRawPointer(gammas + index &* MemoryLayout<N>.stride))
          sums.add(gradientSums(E.self, AlongValue.self, xs, dys, length, standard, weights))
        } else {
          let span = gradientSums(E.self, D.self, xs, dys, length, standard, NoWeights())
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

  /// Index in the contiguous tensor of the first element of set `s` in its reduced step `f`.
  @inline(__always)
  func element(_ s: Int, _ f: Int) -> Int {
    let outer = lanes == 1 ? s : s / Int(lanes), lane = s &- outer &* Int(lanes)
    return ((outer &* Int(reduced.extent) &+ f) &* Int(lanes) &+ lane) &* Int(run)
  }

  /// Stretches of `count` elements from index `first` on that have one parameter, or, where neighbours have different
  /// ones, neighbouring parameters.
  @inline(__always)
  func forSpans(from first: Int, _ count: Int, _ body: (_ done: Int, _ length: Int, _ parameter: Int) -> Void) {
    let segment = Int(segment), parameters = Int(parameters)
    var done = 0
    while done < count {
      let position = first &+ done
      let length: Int, index: Int
      if segment == 1 {
        index = position < parameters ? position : position % parameters
        length = min(parameters &- index, count &- done)
      } else {
        index = position / segment % parameters
        length = min(segment &- position % segment, count &- done)
      }
      body(done, length, index)
      done &+= length
    }
  }
}
