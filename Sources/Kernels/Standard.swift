// From the sums over S to what standardizes S, and to the statistics that the caller asked for.

import NormKitFloor

extension nk_job {
  /// Elements in one S.
  @inline(__always) var setSize: Int { Int(reduced.extent) &* Int(run) }

  /// The divisor's inverse for a variance, mean square or norm; 0 where the divisor is 0.
  @inline(__always)
  func factor(_ quantity: Double) -> Double {
    let divisor: Double
    switch Int(rule) {
    case NK_INSIDE_SQRT: divisor = nk_sqrt(quantity + epsilon)
    case NK_ADDED: divisor = quantity + epsilon
    default: divisor = quantity < epsilon ? epsilon : quantity
    }
    return divisor == 0 ? 0 : 1 / divisor
  }

  /// Finishes the statistics of set `s` and writes those that were asked for. `shift` is what elements were
  /// shifted by, exactly.
  @inline(never)
  func finish<N: Arithmetic>(_ s: Int, _ sums: nk_sums, shift: Double, as: N.Type) -> nk_standard {
    var standard = nk_standard(mean: 0, residue: 0, factor: 0, quantity: 0)
    var quantity: Double
    switch Int(statistic) {
    case NK_MOMENTS:
      let delta = sums.first * inverse_count
      let rest = sums.second - sums.first * delta
      let squares = rest < 0 ? 0 : rest
      standard.mean = N.widen(N.narrow(shift + delta))
      standard.residue = (shift - standard.mean) + delta
      quantity = squares * inverse_count
      if Int(spread_kind) == NK_VARIANCE, let output = spread {
        put(output, s, squares / (count - Double(correction)), as: N.self)
      }
      if let running_mean, let running_variance {
        blend(running_mean, s, shift + delta, as: N.self)
        blend(running_variance, s, squares / (count - Double(running_correction)), as: N.self)
      }
      if let moments { nk_merge(moments + s, nk_moments(count: count, mean: shift + delta, m2: squares)) }
      if Int(rule) == NK_ADDED { quantity = nk_sqrt(quantity) }
    case NK_MEAN_SQUARE: quantity = sums.second * inverse_count
    case NK_SQUARE_SUM: quantity = nk_sqrt(sums.second)
    default: quantity = sums.first
    }
    standard.factor = factor(quantity)
    standard.quantity = quantity
    if let set_sums { set_sums[s] = sums }
    if let mean { put(mean, s, standard.mean, as: N.self) }
    if let output = spread, Int(spread_kind) != NK_VARIANCE {
      put(output, s, Int(spread_kind) == NK_NORM ? quantity : standard.factor, as: N.self)
    }
    return standard
  }

  /// What standardizes set `s` if it does not have to be formed.
  @inline(never)
  func given<N: Arithmetic>(_ s: Int, as: N.Type) -> nk_standard {
    var standard = nk_standard(mean: 0, residue: 0, factor: 1, quantity: 0)
    if Int(source) == NK_FROM_MOMENTS, let given_moments {
      let moments = given_moments[s]
      standard.mean = N.widen(N.narrow(moments.mean))
      standard.residue = moments.mean - standard.mean
      standard.factor = factor(moments.count > 0 ? moments.m2 / moments.count : 0)
      return standard
    }
    if let given_mean { standard.mean = get(given_mean, s, as: N.self) }
    if let given_spread {
      standard.quantity = get(given_spread, s, as: N.self)
      standard.factor = Int(source) == NK_FROM_FACTOR ? standard.quantity : factor(standard.quantity)
    }
    return standard
  }

  /// Whether a factor, or its product with gamma, is too large or too small to be applied in `N`.
  @inline(__always)
  func needsDouble<N: Arithmetic>(_ factor: Double, in: N.Type) -> Bool {
    let magnitude = factor.magnitude
    return magnitude < N.factors.lowerBound && magnitude != 0 || magnitude > N.factors.upperBound
  }
}

/// Entry `index` of a statistics array; such arrays need not be aligned.
@inline(__always)
func get<N: Arithmetic>(_ p: UnsafeRawPointer, _ index: Int, as: N.Type) -> Double {
  N.widen(p.loadUnaligned(fromByteOffset: index &* MemoryLayout<N>.size, as: N.self))
}

@inline(__always)
func put<N: Arithmetic>(_ p: UnsafeMutableRawPointer, _ index: Int, _ value: Double, as: N.Type) {
  p.storeBytes(of: N.narrow(value), toByteOffset: index &* MemoryLayout<N>.size, as: N.self)
}

extension nk_job {
  /// running = (1 - momentum) * running + momentum * value
  @inline(__always)
  private func blend<N: Arithmetic>(_ p: UnsafeMutableRawPointer, _ index: Int, _ value: Double, as: N.Type) {
    put(p, index, (1 - momentum) * get(p, index, as: N.self) + momentum * value, as: N.self)
  }
}
