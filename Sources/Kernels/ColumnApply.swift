// Standardizing, scaling and shifting rows of lanes.

import NormKitFloor

/// Rows that a tile of lanes passes before the next tile starts at the first of them again.
private let chunkRows = 32

extension nk_job {
  /// Whether gamma and beta are the same for all lanes of a row and change from row to row (layer normalization
  /// over channels), and not one per lane.
  @inline(__always)
  private var changesByRow: Bool { (gamma != nil || beta != nil) && segment == lanes &* run }

  /// Spreads what standardizes each set over its lanes, together with parameters that lanes have of their own.
  /// Returns whether a lane needs Double.
  @inline(__always)
  private func spread<E: Element, P: Element>(
    _: E.Type, _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch
  ) -> Bool {
    typealias N = E.Natural
    let coefficients = scratch.coefficients(N.self), wide = scratch.wideCoefficients
    let segment = Int(segment), run = Int(run)
    let ownParameters = (gamma != nil || beta != nil) && !changesByRow
    var anyWide = false
    var j = 0
    while j < width {
      let standard = scratch.standards[j / run]
      var r = 0
      while r < run {
        let index = ownParameters ? (lane &+ j) / segment % Int(parameters) : 0
        let scale = standard.factor * (ownParameters ? gammaValue(P.self, index) : 1)
        let isWide = needsDouble(standard.factor, in: N.self) || needsDouble(scale, in: N.self)
        anyWide = anyWide || isWide
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
    if E.self == F64.self || parameter_dtype == dtype {
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
    let rows = Rows<E, P>(job: self, x: x, y: y, outer: outer, scratch: scratch)
    var row = begin
    while row < end {
      let chunkEnd = min(row &+ chunkRows, end)
      var j = 0
      if !anyWide && NK_FOUR_VECTORS != 0 {
        while j &+ 64 <= width {
          if changesByRow {
            rows.applyFour(j, row, chunkEnd, byRow: true)
          } else {
            rows.applyFour(j, row, chunkEnd, byRow: false)
          }
          j &+= 64
        }
      }
      while j < width {
        rows.applyOne(j, min(16, width &- j), row, chunkEnd, byRow: changesByRow, anyWide: anyWide)
        j &+= 16
      }
      row = chunkEnd
    }
  }

  /// Rows of one block, and how its lanes are standardized.
  private struct Rows<E: Element, P: Element> {
    typealias N = E.Natural
    let job: nk_job
    let x: UnsafeRawPointer
    let y: UnsafeMutableRawPointer
    let outer: Int
    let scratch: ColumnScratch

    @inline(__always)
    private func parameters(_ f: Int) -> (gamma: Double, beta: Double) {
      let index = (outer &* Int(job.reduced.extent) &+ f) % Int(job.parameters)
      return (job.gammaValue(P.self, index), job.betaValue(P.self, index))
    }

    /// Four vectors of lanes from `j` on, in rows `begin ..< end`; their coefficients stay in registers.
    @inline(__always)
    func applyFour(_ j: Int, _ begin: Int, _ end: Int, byRow: Bool) {
      let lanes0 = LaneCoefficients(scratch.coefficients(N.self), j)
      let lanes1 = LaneCoefficients(scratch.coefficients(N.self), j &+ 16)
      let lanes2 = LaneCoefficients(scratch.coefficients(N.self), j &+ 32)
      let lanes3 = LaneCoefficients(scratch.coefficients(N.self), j &+ 48)
      var f = begin
      while f < end {
        let offset = job.reducedOffset(f)
        let xs = x + (offset.x &+ j) &* E.size, ys = y + (offset.y &+ j) &* E.size
        var y0 = lanes0.apply(E.load(xs, 0, as: N.self)), y1 = lanes1.apply(E.load(xs, 16, as: N.self))
        var y2 = lanes2.apply(E.load(xs, 32, as: N.self)), y3 = lanes3.apply(E.load(xs, 48, as: N.self))
        if byRow {
          let (gamma, beta) = parameters(f)
          let scale = N.splat(N.narrow(gamma)), shift = N.splat(N.narrow(beta))
          y0 = N.fma(y0, scale, shift)
          y1 = N.fma(y1, scale, shift)
          y2 = N.fma(y2, scale, shift)
          y3 = N.fma(y3, scale, shift)
        }
        E.store(ys, 0, y0)
        E.store(ys, 16, y1)
        E.store(ys, 32, y2)
        E.store(ys, 48, y3)
        f &+= 1
      }
    }

    /// `count` lanes from `j` on. Lanes that need Double get it, and the others what they get elsewhere.
    @inline(__always)
    func applyOne(_ j: Int, _ count: Int, _ begin: Int, _ end: Int, byRow: Bool, anyWide: Bool) {
      let lanes = LaneCoefficients(scratch.coefficients(N.self), j)
      var f = begin
      while f < end {
        let offset = job.reducedOffset(f)
        let xs = x + (offset.x &+ j) &* E.size, ys = y + (offset.y &+ j) &* E.size
        let value = count == 16 ? E.load(xs, 0, as: N.self) : E.load(xs, 0, count: count, as: N.self)
        let (gamma, beta) = byRow ? parameters(f) : (1, 0)
        var result = lanes.apply(value)
        if byRow { result = N.fma(result, N.splat(N.narrow(gamma)), N.splat(N.narrow(beta))) }
        if anyWide {
          let wide = LaneCoefficients(scratch.wideCoefficients, j).apply(N.widen(value))
          let chosen = nk_choose_f64(
            nk_widen(nk_load_f32(scratch.wide + j)), Double.fma(wide, Double.splat(gamma), Double.splat(beta)),
            N.widen(result))
          result = N.narrow(chosen)
        }
        if count == 16 { E.store(ys, 0, result) } else { E.store(ys, 0, count: count, result) }
        f &+= 1
      }
    }
  }
}

/// y = (x - mean) * scale + offset, sixteen lanes.
private struct LaneCoefficients<A: Arithmetic> {
  let mean, scale, offset: SIMD16<A>

  @inline(__always)
  init(_ coefficients: ColumnScratch.Coefficients<A>, _ j: Int) {
    mean = A.load(UnsafeRawPointer(coefficients.mean), j)
    scale = A.load(UnsafeRawPointer(coefficients.scale), j)
    offset = A.load(UnsafeRawPointer(coefficients.offset), j)
  }

  @inline(__always)
  func apply(_ x: SIMD16<A>) -> SIMD16<A> { A.fma(x - mean, scale, offset) }
}
