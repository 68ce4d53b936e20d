// Backward, sums down columns: every lane on its own, sixteen or sixty-four lanes at a time.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

/// Rows of a block that are asked for ahead if they do not follow each other: the processor does not foresee them.
let rowsAhead = 8

/// Sixteen lanes from `j` on: what standardizes them, and their sums.
private struct ColumnLanes<E: Element, D: Derivative> {
  typealias N = E.Natural
  let j: Int
  let mean, factor, offset, quantity: SIMD16<N>
  var h = N.splat(0), hz = N.splat(0), beside = N.splat(0)

  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int) {
    self.j = j
    mean = N.load(UnsafeRawPointer(scratch.mean(N.self)), j)
    factor = N.load(UnsafeRawPointer(scratch.factor(N.self)), j)
    offset = N.load(UnsafeRawPointer(scratch.offset(N.self)), j)
    quantity = N.load(UnsafeRawPointer(scratch.quantity(N.self)), j)
  }

  /// Adds one row's `count` lanes. `x` and `dy`: the row's first lane in this block.
  @inline(__always)
  mutating func add(_ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, count: Int, weight: SIMD16<N>, weighs: Bool) {
    let value = count == 16 ? E.load(x, j, as: N.self) : E.load(x, j, count: count, as: N.self)
    let gradient = count == 16 ? E.load(dy, j, as: N.self) : E.load(dy, j, count: count, as: N.self)
    let z = N.fma(value - mean, factor, offset), h = weighs ? gradient * weight : gradient
    self.h = self.h + h
    hz = N.fma(h, z, hz)
    beside = beside + D.beside(z, value, quantity)
  }

  @inline(__always)
  func join(_ sums: ColumnGradientScratch.Sums) {
    N.add(h, to: sums.h, j)
    N.add(hz, to: sums.hz, j)
    N.add(beside, to: sums.beside, j)
  }
}

extension nk_job {
  /// Sums of one piece of a block, whose first lane is at `x` and `dy` in the first row of outer kept step `outer`,
  /// into the scratch memory's piece sums.
  @inline(never)
  func columnGradientSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ outer: Int, _ width: Int, _ piece: Int,
    _ scratch: ColumnGradientScratch
  ) {
    typealias N = E.Natural
    let sums = scratch.pieceSums
    sums.clear(width: width)
    let weighs = D.isFrequent && Int(parameter_form) == NK_ROWS, isScattered = hasGaps(width)
    let begin = piece &* Int(piece_length), end = min(begin &+ Int(piece_length), Int(reduced.extent))
    var chunk = begin
    while chunk < end {
      let chunkEnd = min(chunk &+ chunkRows, end)
      var j = 0
      while D.isFrequent && NK_FOUR_VECTORS != 0 && j &+ 64 <= width {
        var lanes0 = ColumnLanes<E, D>(scratch, j), lanes1 = ColumnLanes<E, D>(scratch, j &+ 16)
        var lanes2 = ColumnLanes<E, D>(scratch, j &+ 32), lanes3 = ColumnLanes<E, D>(scratch, j &+ 48)
        var f = chunk
        while f < chunkEnd {
          let offset = reducedOffset(f)
          let xs = x + offset.x &* E.size, dys = dy + offset.y &* E.size
          if isScattered {
            let ahead = reducedOffset(min(f &+ rowsAhead, end &- 1))
            nk_prefetch(x + (ahead.x &+ j) &* E.size, Int64(64 &* E.size))
            nk_prefetch(dy + (ahead.y &+ j) &* E.size, Int64(64 &* E.size))
          }
          let weight = N.splat(N.narrow(weighs ? rowWeight(outer, f, as: N.self) : 1))
          lanes0.add(xs, dys, count: 16, weight: weight, weighs: weighs)
          lanes1.add(xs, dys, count: 16, weight: weight, weighs: weighs)
          lanes2.add(xs, dys, count: 16, weight: weight, weighs: weighs)
          lanes3.add(xs, dys, count: 16, weight: weight, weighs: weighs)
          f &+= 1
        }
        lanes0.join(sums)
        lanes1.join(sums)
        lanes2.join(sums)
        lanes3.join(sums)
        j &+= 64
      }
      while j < width {
        var lanes = ColumnLanes<E, D>(scratch, j)
        var f = chunk
        while f < chunkEnd {
          let offset = reducedOffset(f)
          let weight = N.splat(N.narrow(weighs ? rowWeight(outer, f, as: N.self) : 1))
          lanes.add(
            x + offset.x &* E.size, dy + offset.y &* E.size, count: min(16, width &- j), weight: weight,
            weighs: weighs)
          f &+= 1
        }
        lanes.join(sums)
        j &+= 16
      }
      chunk = chunkEnd
    }
  }

  /// Whether there are other lanes between the rows of a block.
  @inline(__always)
  func hasGaps(_ width: Int) -> Bool { width < Int(lanes) &* Int(run) }

  /// Index of the parameter that all lanes of row `f` have.
  @inline(__always)
  func rowParameter(_ outer: Int, _ f: Int) -> Int { (outer &* Int(reduced.extent) &+ f) % Int(parameters) }

  @inline(__always)
  private func rowWeight<N: Arithmetic>(_ outer: Int, _ f: Int, as: N.Type) -> Double {
    weight(rowParameter(outer, f), as: N.self)
  }
}
