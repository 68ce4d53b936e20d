// Standardizing, scaling and shifting rows of lanes.

import NormKitFloor

extension nk_job {
  /// Whether gamma and beta are the same for all lanes of a row (layer normalization over channels), and not one
  /// per lane.
  @inline(__always)
  private var isUniformInRows: Bool {
    (gamma != nil || beta != nil) && segment % (lanes &* run) == 0
  }

  /// Spreads what standardizes each set over its lanes, together with parameters that lanes have of their own.
  /// Returns whether a lane needs Double.
  @inline(__always)
  private func spread<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch
  ) -> Bool {
    typealias N = E.Natural
    let coefficients = scratch.coefficients(N.self), wide = scratch.wideCoefficients
    let segment = Int(segment), run = Int(run)
    let ownParameters = (gamma != nil || beta != nil) && !isUniformInRows
    var anyWide = false
    var j = 0
    while j < width {
      let standard = scratch.standards[j / run]
      let isWide = needsDouble(standard, in: N.self)
      anyWide = anyWide || isWide
      var r = 0
      while r < run {
        let index = ownParameters ? (lane &+ j) / segment % Int(parameters) : 0
        let scale = standard.factor * (ownParameters ? gammaValue(P.self, index) : 1)
        let offset = (ownParameters ? betaValue(P.self, index) : 0) - standard.residue * scale
        coefficients.mean[j] = N.narrow(standard.mean)
        coefficients.scale[j] = N.narrow(scale)
        coefficients.offset[j] = N.narrow(offset)
        wide.mean[j] = standard.mean
        wide.scale[j] = scale
        wide.offset[j] = offset
        scratch.wide[j] = isWide ? 1 : 0
        j &+= 1
        r &+= 1
      }
    }
    return anyWide
  }

  /// Applies what standardizes the block's sets to rows `begin ..< end`. `lane` is the block's first lane, at which
  /// `x` and `y` point in the first row; `outer` its outer kept step.
  @inline(__always)
  func applyColumns<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ outer: Int, _ lane: Int, _ width: Int,
    _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    if parameter_dtype == dtype {
      applyColumns(E.self, E.self, x, y, outer, lane, width, begin, end, scratch)
    } else {
      applyColumns(E.self, F32.self, x, y, outer, lane, width, begin, end, scratch)
    }
  }

  @inline(never)
  private func applyColumns<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ outer: Int, _ lane: Int,
    _ width: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    let anyWide = spread(E.self, P.self, lane, width, scratch)
    let uniform = isUniformInRows
    let rowsPerParameter = uniform ? Int(segment / (lanes &* run)) : 1
    var f = begin
    while f < end {
      let offset = reduced.offset(f)
      let xs = x + offset.x &* E.size, ys = y + offset.y &* E.size
      if uniform {
        let index = (outer &* Int(reduced.extent) &+ f) / rowsPerParameter % Int(parameters)
        let gamma = gammaValue(P.self, index), beta = betaValue(P.self, index)
        applyRow(E.self, xs, ys, width, scratch, anyWide) { (z: SIMD16<E.Natural>) in
          let scale = E.Natural.splat(E.Natural.narrow(gamma))
          return E.Natural.fma(z, scale, E.Natural.splat(E.Natural.narrow(beta)))
        } wide: { (z: SIMD16<Double>) in
          Double.fma(z, Double.splat(gamma), Double.splat(beta))
        }
      } else {
        applyRow(E.self, xs, ys, width, scratch, anyWide, { $0 }, wide: { $0 })
      }
      f &+= 1
    }
  }
}

@inline(__always)
private func applyRow<E: Element>(
  _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ width: Int, _ scratch: ColumnScratch,
  _ anyWide: Bool, _ finish: (SIMD16<E.Natural>) -> SIMD16<E.Natural>,
  wide finishWide: (SIMD16<Double>) -> SIMD16<Double>
) {
  typealias N = E.Natural
  let coefficients = scratch.coefficients(N.self)
  var j = 0
  while j < width {
    let count = min(16, width &- j)
    let value = count == 16 ? E.load(x, j, as: N.self) : E.load(x, j, count: count, as: N.self)
    var result = finish(standardize(value, coefficients, j))
    if anyWide {
      let other = finishWide(standardize(N.widen(value), scratch.wideCoefficients, j))
      let choose = nk_load_f32(scratch.wide + j)
      result = N.narrow(chooseLanes(choose, other, N.widen(result)))
    }
    if count == 16 { E.store(y, j, result) } else { E.store(y, j, count: count, result) }
    j &+= 16
  }
}

@inline(__always)
private func standardize<A: Arithmetic>(
  _ x: SIMD16<A>, _ coefficients: ColumnScratch.Coefficients<A>, _ j: Int
) -> SIMD16<A> {
  let mean = A.load(UnsafeRawPointer(coefficients.mean), j)
  let scale = A.load(UnsafeRawPointer(coefficients.scale), j)
  return A.fma(x - mean, scale, A.load(UnsafeRawPointer(coefficients.offset), j))
}

/// Lanes of `a` where `choose` is not 0, lanes of `b` elsewhere.
@inline(__always)
private func chooseLanes(_ choose: SIMD16<Float>, _ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
  nk_choose_f64(nk_widen(choose), a, b)
}
