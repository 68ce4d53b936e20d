// From the sums over S to the gradient of S.

import NormKitFloor

extension nk_job {
  /// The gradient of set `s` from its sums, and what its saved mean has lost by rounding, which goes to `standard`.
  @inline(__always)
  func gradient<N: Arithmetic>(
    _ s: Int, _ sums: nk_gradient_sums, _ standard: inout nk_standard, as: N.Type
  ) -> nk_gradient {
    switch Int(gradient) {
    case NK_GRADIENT_GIVEN:
      standard.factor = 1
      return nk_gradient(
        factor: 1, mean: offset_scale * (given_offset.map { get($0, s, as: N.self) } ?? 1),
        slope: slope_scale * (given_slope.map { get($0, s, as: N.self) } ?? 1))
    case NK_GRADIENT_OF_SUMS:
      let total = given_moments[s].count
      guard let given_sums, total > 0 else { return nk_gradient(factor: 0, mean: 0, slope: 0) }
      let share = weight(s, as: N.self) / total
      return nk_gradient(
        factor: standard.factor, mean: given_sums[s].first * share, slope: given_sums[s].second * share)
    default:
      let mean = Int(statistic) == NK_MOMENTS ? sums.h * inverse_count : 0
      return nk_gradient(factor: standard.factor, mean: mean, slope: formedSlope(sums, standard))
    }
  }

  @inline(__always)
  private func formedSlope(_ sums: nk_gradient_sums, _ standard: nk_standard) -> Double {
    switch Int(statistic) {
    case NK_MOMENTS: sums.hz * inverse_count * inverseShare(standard)
    case NK_MEAN_SQUARE: sums.hz * inverse_count
    case NK_SQUARE_SUM: sums.hz * inverseShare(standard)
    case NK_ABSOLUTE_SUM: isConstant(standard) ? 0 : sums.hz
    case NK_MAXIMUM: isConstant(standard) ? 0 : sums.hz / sums.beside
    default: 0
    }
  }

  /// Whether the divisor is not the norm but the epsilon that it is not to fall below.
  @inline(__always)
  private func isConstant(_ standard: nk_standard) -> Bool {
    Int(rule) == NK_FLOOR && standard.quantity < epsilon
  }

  /// The divisor's inverse share in it of deviation or norm: 1, unless epsilon was added to that.
  @inline(__always)
  private func inverseShare(_ standard: nk_standard) -> Double {
    if isConstant(standard) { return 0 }
    if Int(rule) != NK_ADDED { return 1 }
    let share = standard.factor * standard.quantity
    return share == 0 ? 0 : 1 / share
  }

  /// The sums as they would be had the mean been exact. Where a mean is subtracted, the sum of z over a set is 0; what
  /// it is instead is the error of the mean, which goes to `standard`.
  @inline(__always)
  func correct(_ sums: inout nk_gradient_sums, _ standard: inout nk_standard) -> Double {
    guard Int(statistic) == NK_MOMENTS && Int(gradient) == NK_GRADIENT_FORMED && standard.factor != 0 else { return 0 }
    let error = sums.beside * inverse_count
    sums.hz -= error * sums.h
    standard.residue += error / standard.factor
    return error
  }

  /// Adds what elements with one parameter give to its gradient and to that of its beta, and weighs their sums.
  @inline(__always)
  func weigh<N: Arithmetic>(_ sums: inout nk_gradient_sums, _ parameter: Int, _ parameterSums: ParameterSums<N>?) {
    if let parameterSums {
      parameterSums.dgamma[parameter] += sums.hz
      parameterSums.dbeta[parameter] += sums.h
    }
    let weight = weight(parameter, as: N.self)
    sums.h *= weight
    sums.hz *= weight
  }

  /// gamma of parameter `index`, in the type of computation, times the scale of dy.
  @inline(__always)
  func weight<N: Arithmetic>(_ index: Int, as: N.Type) -> Double {
    guard let gammas else { return dy_scale }
    return dy_scale * N.widen(gammas.assumingMemoryBound(to: N.self)[index])
  }

  /// Fills `gammas`.
  @inline(__always)
  func prepareGammas<E: Element>(_: E.Type) {
    if hasParameters(of: E.self) {
      prepareGammas(E.Natural.self, E.self)
    } else {
      prepareGammas(E.Natural.self, F32.self)
    }
  }

  @inline(never)
  private func prepareGammas<N: Arithmetic, P: Element>(_: N.Type, _: P.Type) {
    guard let gammas else { return }
    let count = Int(parameters)
    let ones = N.splat(1), offset = N.splat(one_plus_gamma != 0 ? 1 : 0)
    var i = 0
    while i < count {
      let rest = count &- i
      var values = ones
      if let gamma {
        values = (rest >= 16 ? P.load(gamma, i, as: N.self) : P.load(gamma, i, count: rest, as: N.self)) + offset
      }
      N.store(gammas, i, values)
      i &+= 16
    }
  }
}

extension nk_gradient {
  @inline(__always)
  init(factor: Double, mean: Double, slope: Double) { self.init(slope: -slope * factor, shift: -mean * factor) }
}

/// The gradient of sets, in lanes.
struct GradientTerms<A: Arithmetic> {
  let slope, shift: SIMD16<A>

  /// dx. `h` may lack a factor that `scale` has instead.
  @inline(__always)
  func apply(_ h: SIMD16<A>, _ scale: SIMD16<A>, _ direction: SIMD16<A>) -> SIMD16<A> {
    A.fma(h, scale, A.fma(direction, slope, shift))
  }
}

/// Sums for the gradients of parameters that one strip of units forms.
struct ParameterSums<N: Arithmetic> {
  let dgamma, dbeta, current: UnsafeMutablePointer<Double>
  /// Elements: sums of dy * z and of dy over the last rows.
  let recentGamma, recentBeta: UnsafeMutablePointer<N>

  @inline(__always)
  init?(_ job: nk_job, strip: Int) {
    guard let base = job.parameter_sums else { return nil }
    let sums = base + strip &* Int(job.sums_stride), room = Int(job.room)
    dgamma = sums + NK_DGAMMA &* room
    dbeta = sums + NK_DBETA &* room
    current = sums + NK_CURRENT &* room
    recentGamma = UnsafeMutableRawPointer(sums + NK_RECENT &* room).assumingMemoryBound(to: N.self)
    recentBeta = recentGamma + room
  }

  /// Adds the recent sums of `count` parameters from `first` on to the others, and clears them.
  @inline(never)
  func join(_ first: Int, _ count: Int) {
    addAndClear(recentGamma + first, to: dgamma + first, count)
    addAndClear(recentBeta + first, to: dbeta + first, count)
  }

  @inline(__always)
  private func addAndClear(
    _ recent: UnsafeMutablePointer<N>, to sums: UnsafeMutablePointer<Double>, _ count: Int
  ) {
    let from = UnsafeMutableRawPointer(recent), to = UnsafeMutableRawPointer(sums)
    var i = 0
    while i < count {
      Double.store(to, i, Double.load(to, i) + N.widen(N.load(from, i)))
      N.store(from, i, N.splat(0))
      i &+= 16
    }
  }
}
