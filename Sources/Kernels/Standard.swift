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

  /// What `factor` is for one, for four. The rule is not NK_FLOOR.
  @inline(__always)
  private func fourFactors(_ quantities: SIMD4<Double>) -> SIMD4<Double> {
    var divisors = quantities + epsilon
    if Int(rule) == NK_INSIDE_SQRT { nk_root(&divisors) }
    nk_inverse(&divisors)
    return divisors
  }

  /// Whether `finishFour` does what `finish` would.
  @inline(__always)
  var canFinishFour: Bool {
    guard moments == nil && set_sums == nil else { return false }
    if Int(statistic) == NK_SQUARE_SUM { return Int(rule) == NK_ADDED }
    return Int(rule) == NK_INSIDE_SQRT && (spread == nil || Int(spread_kind) == NK_FACTOR)
  }

  /// What `finish` does for one set, for sets `first` to `first + count - 1`, four at most, whose sums were formed in
  /// Float. Most of what goes to `standards` is also returned.
  @discardableResult
  @inline(__always)
  func finishFour<R: Reduction>(
    _: R.Type, _ first: Int, _ count: Int, _ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>,
    _ shifts: SIMD4<Double>, _ standards: UnsafeMutablePointer<nk_standard>
  ) -> (means: SIMD4<Double>, residues: SIMD4<Double>, factors: SIMD4<Double>) {
    var means = shifts, residues = shifts, quantities = seconds
    if R.isCentred {
      let deltas = firsts * inverse_count
      quantities -= firsts * deltas
      nk_floor_at_0(&quantities)
      means += deltas
      if let running_mean, let running_variance {
        let variances = quantities / (self.count - Double(running_correction))
        for k in 0..<count {
          blend(running_mean, first &+ k, means[k], as: Float.self)
          blend(running_variance, first &+ k, variances[k], as: Float.self)
        }
      }
      nk_round_to_f32(&means)
      residues -= means
      residues += deltas
    }
    if R.isCentred || Int(statistic) != NK_SQUARE_SUM { quantities *= inverse_count } else { nk_root(&quantities) }
    let factors = fourFactors(quantities)
    if count == 4 {
      var results = (means, residues, factors, quantities)
      nk_transpose(&results, standards)
    } else {
      for k in 0..<count {
        standards[k] = nk_standard(mean: means[k], residue: residues[k], factor: factors[k], quantity: quantities[k])
      }
    }
    if let mean { for k in 0..<count { put(mean, first &+ k, means[k], as: Float.self) } }
    if let spread {
      let spreads = Int(spread_kind) == NK_NORM ? quantities : factors
      for k in 0..<count { put(spread, first &+ k, spreads[k], as: Float.self) }
    }
    return (means, residues, factors)
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

  /// Whether `givenFour` does what `given` would.
  @inline(__always)
  var canGiveFour: Bool {
    given_spread != nil && (Int(source) == NK_FROM_FACTOR || Int(source) != NK_FROM_MOMENTS && Int(rule) != NK_FLOOR)
  }

  /// What `given` is for one set, for four from `s` on, whose statistics are Float.
  @inline(__always)
  func givenFour(_ s: Int, _ standards: UnsafeMutablePointer<nk_standard>) {
    guard let given_spread else { return }
    var means = SIMD4<Double>(repeating: 0), quantities = means
    if let given_mean { nk_get_four_f32(given_mean + s &* 4, &means) }
    nk_get_four_f32(given_spread + s &* 4, &quantities)
    let factors = Int(source) == NK_FROM_FACTOR ? quantities : fourFactors(quantities)
    var results = (means, SIMD4<Double>(repeating: 0), factors, quantities)
    nk_transpose(&results, standards)
  }

  /// What standardizes `count` sets from `first` on if it does not have to be formed.
  @inline(__always)
  func given<N: Arithmetic>(
    _ first: Int, count: Int, _ standards: UnsafeMutablePointer<nk_standard>, as: N.Type
  ) {
    var k = 0
    while N.self == Float.self && k &+ 4 <= count && canGiveFour {
      givenFour(first &+ k, standards + k)
      k &+= 4
    }
    while k < count {
      standards[k] = given(first &+ k, as: N.self)
      k &+= 1
    }
  }

  /// Whether a factor, or its product with gamma, is too large or too small to be applied in `N`.
  @inline(__always)
  func needsDouble<N: Arithmetic>(_ factor: Double, in: N.Type) -> Bool {
    // Nearly always one comparison says that it is neither; 0 is not in this range.
    let bits = factor.bitPattern &<< 1, least = 0x1p-99.bitPattern &<< 1, most = 0x1p99.bitPattern &<< 1
    if bits &- least <= most &- least { return false }
    let magnitude = factor.magnitude
    return magnitude < N.factors.lowerBound && magnitude != 0 || magnitude > N.factors.upperBound
  }
}

extension nk_standard {
  /// What is added to (x - mean) * scale, where `scale` is the factor times gamma. Never -0, so that the sign of
  /// x - mean does not show where x is the mean.
  @inline(__always)
  func offset(scale: Double, beta: Double) -> Double { beta - residue * scale + 0 }
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
