// Backward, the gradient of rows of lanes.

import NormKitFloor

/// Rows that a tile of lanes passes before the next tile starts at the first of them again.
private let chunkRows = 32

/// Sixteen lanes from `j` on: dx = (dy * gamma - mean - slope * direction) * factor.
private struct ColumnLanes<E: Element, D: Derivative> {
  typealias N = E.Natural
  let j: Int
  let mean, factor, offset, quantity, gamma, gradientMean, slope: SIMD16<N>

  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int) {
    self.j = j
    mean = N.load(UnsafeRawPointer(scratch.mean(N.self)), j)
    factor = N.load(UnsafeRawPointer(scratch.factor(N.self)), j)
    offset = N.load(UnsafeRawPointer(scratch.offset(N.self)), j)
    quantity = N.load(UnsafeRawPointer(scratch.quantity(N.self)), j)
    gamma = N.load(UnsafeRawPointer(scratch.gamma(N.self)), j)
    gradientMean = N.load(UnsafeRawPointer(scratch.gradientMean(N.self)), j)
    slope = N.load(UnsafeRawPointer(scratch.slope(N.self)), j)
  }

  /// Writes dx of `count` lanes of a row, and gives dy and dy * z.
  @inline(__always)
  func apply(
    _ row: GradientStart, count: Int, weight: SIMD16<N>, weighs: Bool
  ) -> (dy: SIMD16<N>, dyz: SIMD16<N>) {
    let value = count == 16 ? E.load(row.x, j, as: N.self) : E.load(row.x, j, count: count, as: N.self)
    let dy = count == 16 ? E.load(row.dy, j, as: N.self) : E.load(row.dy, j, count: count, as: N.self)
    let z = N.fma(value - mean, factor, offset)
    if let dx = row.dx {
      let h = dy * (weighs ? weight : gamma)
      let result = N.fma(D.direction(z, value, quantity), slope, h - gradientMean) * factor
      if count == 16 { E.store(dx, j, result) } else { E.store(dx, j, count: count, result) }
    }
    return (dy, dy * z)
  }
}

extension nk_job {
  /// The gradient of rows `begin ..< end` of a block, which starts at `block` in the first row of outer kept step
  /// `outer`.
  @inline(never)
  func applyColumnGradients<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ block: GradientStart, _ outer: Int, _ width: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnGradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    typealias Lanes = ColumnLanes<E, D>
    let isByRow = D.isFrequent && Int(parameter_form) == NK_ROWS, isScattered = hasGaps(width)
    let rowSums = isByRow ? sums : nil
    var chunk = begin
    while chunk < end {
      let chunkEnd = min(chunk &+ chunkRows, end)
      var j = 0
      while D.isFrequent && NK_FOUR_VECTORS != 0 && j &+ 64 <= width {
        let lanes0 = Lanes(scratch, j), lanes1 = Lanes(scratch, j &+ 16)
        let lanes2 = Lanes(scratch, j &+ 32), lanes3 = Lanes(scratch, j &+ 48)
        for f in chunk..<chunkEnd {
          let row = row(E.self, block, f), weight = rowWeight(outer, f, isByRow, as: N.self)
          if isScattered {
            let ahead = self.row(E.self, block, min(f &+ rowsAhead, end &- 1)), bytes = Int64(64 &* E.size)
            nk_prefetch(ahead.x + j &* E.size, bytes)
            nk_prefetch(ahead.dy + j &* E.size, bytes)
            if let dx = ahead.dx { nk_prefetch_to_write(dx + j &* E.size, bytes) }
          }
          let (dy0, dyz0) = lanes0.apply(row, count: 16, weight: weight, weighs: isByRow)
          let (dy1, dyz1) = lanes1.apply(row, count: 16, weight: weight, weighs: isByRow)
          let (dy2, dyz2) = lanes2.apply(row, count: 16, weight: weight, weighs: isByRow)
          let (dy3, dyz3) = lanes3.apply(row, count: 16, weight: weight, weighs: isByRow)
          if let rowSums {
            rowSums.add(rowParameter(outer, f), (dyz0 + dyz1) + (dyz2 + dyz3), (dy0 + dy1) + (dy2 + dy3))
          }
        }
        j &+= 64
      }
      while j < width {
        let lanes = Lanes(scratch, j), count = min(16, width &- j), zero = N.splat(0)
        for f in chunk..<chunkEnd {
          let row = row(E.self, block, f), weight = rowWeight(outer, f, isByRow, as: N.self)
          let (dy, dyz) = lanes.apply(row, count: count, weight: weight, weighs: isByRow)
          if let rowSums {
            rowSums.add(rowParameter(outer, f), N.fill(dyz, count, zero), N.fill(dy, count, zero))
          }
        }
        j &+= 16
      }
      chunk = chunkEnd
    }
  }

  @inline(__always)
  private func row<E: Element>(_: E.Type, _ block: GradientStart, _ f: Int) -> GradientStart {
    let offset = reducedOffset(f)
    return GradientStart(
      x: block.x + offset.x &* E.size, dy: block.dy + offset.y &* E.size,
      dx: block.dx.map { $0 + offset.dx &* E.size })
  }

  @inline(__always)
  private func rowWeight<N: Arithmetic>(_ outer: Int, _ f: Int, _ isByRow: Bool, as: N.Type) -> SIMD16<N> {
    N.splat(N.narrow(isByRow ? weight(rowParameter(outer, f), as: N.self) : 1))
  }
}

extension ParameterSums {
  /// Adds what lanes of one row give to that row's parameter.
  @inline(__always)
  fileprivate func add(_ parameter: Int, _ dyz: SIMD16<N>, _ dy: SIMD16<N>) {
    dgamma[parameter] += nk_sum_f64(N.widen(dyz))
    dbeta[parameter] += nk_sum_f64(N.widen(dy))
  }
}
