// Backward, sums down columns: every lane is summed on its own. Four rows at a time pass the block, whose sums stay in
// cache. The residue of the mean is taken into account when the sums are finished: see ColumnGradients.swift.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

/// One row of a block: where its first lane is, and what dy is multiplied by.
private struct Row<E: Element> {
  let x, dy: UnsafeRawPointer
  let weight: SIMD16<E.Natural>

  /// Lane `j` of the row that is so many bytes behind this one.
  @inline(__always)
  func prefetch(_ j: Int, _ xAhead: Int, _ dyAhead: Int) {
    nk_prefetch(x + (xAhead &+ j &* E.size))
    nk_prefetch(dy + (dyAhead &+ j &* E.size))
  }
}

/// Sixteen lanes from `j` on: what standardizes them, and their sums over the rows of a chunk so far.
private struct ColumnLanes<E: Element, D: Derivative> {
  typealias N = E.Natural
  let scratch: ColumnGradientScratch
  let j, count: Int
  let mean, factor, quantity: SIMD16<N>
  var h, hz, beside: SIMD16<N>

  /// `count`: the lanes that there are.
  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int, _ count: Int) {
    self.scratch = scratch
    self.j = j
    self.count = count
    mean = N.load(UnsafeRawPointer(scratch.mean(N.self)), j)
    factor = N.load(UnsafeRawPointer(scratch.factor(N.self)), j)
    quantity = N.load(UnsafeRawPointer(scratch.quantity(N.self)), j)
    let sums = scratch.chunkSums(N.self)
    h = N.load(UnsafeRawPointer(sums.h), j)
    hz = N.load(UnsafeRawPointer(sums.hz), j)
    beside = N.load(UnsafeRawPointer(sums.beside), j)
  }

  @inline(__always)
  mutating func add(_ row: Row<E>, weighs: Bool) {
    let value = E.load(row.x, j, upTo: count, as: N.self)
    let dy = E.load(row.dy, j, upTo: count, as: N.self)
    let z = (value - mean) * factor, h = weighs ? dy * row.weight : dy
    self.h = self.h + h
    hz = N.fma(h, z, hz)
    beside = beside + D.beside(z, value, quantity)
  }

  @inline(__always)
  func keep() {
    let sums = scratch.chunkSums(N.self)
    N.store(sums.h, j, h)
    N.store(sums.hz, j, hz)
    N.store(sums.beside, j, beside)
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
    scratch.pieceSums.clear(width: width)
    let weighs = D.isFrequent && Int(parameter_form) == NK_ROWS, distance = rowsAhead(width)
    let end = min((piece &+ 1) &* Int(piece_length), Int(reduced.extent))
    var f = piece &* Int(piece_length)
    while f < end {
      let chunkEnd = min(f &+ chunkRows, end)
      scratch.chunkSums(N.self).clear(width: width)
      while D.isFrequent && NK_FOUR_VECTORS != 0 && f &+ 4 <= chunkEnd {
        let row0 = row(E.self, x, dy, outer, f, weighs), row1 = row(E.self, x, dy, outer, f &+ 1, weighs)
        let row2 = row(E.self, x, dy, outer, f &+ 2, weighs), row3 = row(E.self, x, dy, outer, f &+ 3, weighs)
        let rows = (row0, row1, row2, row3)
        // Tensors that may be in cache, and narrow rows, the processor's own prefetching brings as well. Double would
        // be worth it, too, but not the code.
        let next = f &+ distance
        if N.self == Float.self && _slowPath(streams != 0 && width >= 128 && next &+ 4 <= end) {
          let next = reducedOffset(next), here = reducedOffset(f)
          let ahead = (x: (next.x &- here.x) &* E.size, dy: (next.y &- here.y) &* E.size)
          addFourRows(E.self, D.self, rows, width, weighs, scratch, ahead)
        } else {
          addFourRows(E.self, D.self, rows, width, weighs, scratch, nil)
        }
        f &+= 4
      }
      while f < chunkEnd {
        let row = row(E.self, x, dy, outer, f, weighs)
        forVectors(width) { j, count in
          var lanes = ColumnLanes<E, D>(scratch, j, count)
          lanes.add(row, weighs: weighs)
          lanes.keep()
        }
        f &+= 1
      }
      scratch.pieceSums.add(scratch.chunkSums(N.self), width: width)
    }
  }

  /// Adds four rows to the sums of a chunk. `ahead`: how many bytes behind them the rows are that are prefetched.
  @inline(__always)
  private func addFourRows<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ rows: (Row<E>, Row<E>, Row<E>, Row<E>), _ width: Int, _ weighs: Bool,
    _ scratch: ColumnGradientScratch, _ ahead: (x: Int, dy: Int)?
  ) {
    forVectors(width) { j, count in
      var lanes = ColumnLanes<E, D>(scratch, j, count)
      if let ahead {
        rows.0.prefetch(j, ahead.x, ahead.dy)
        rows.1.prefetch(j, ahead.x, ahead.dy)
        rows.2.prefetch(j, ahead.x, ahead.dy)
        rows.3.prefetch(j, ahead.x, ahead.dy)
      }
      lanes.add(rows.0, weighs: weighs)
      lanes.add(rows.1, weighs: weighs)
      lanes.add(rows.2, weighs: weighs)
      lanes.add(rows.3, weighs: weighs)
      lanes.keep()
    }
  }

  @inline(__always)
  private func row<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ outer: Int, _ f: Int, _ weighs: Bool
  ) -> Row<E> {
    typealias N = E.Natural
    let offset = reducedOffset(f)
    let weight = weighs ? weight(rowParameter(outer, f), as: N.self) : 1
    return Row(x: x + offset.x &* E.size, dy: dy + offset.y &* E.size, weight: N.splat(N.narrow(weight)))
  }

  /// Index of the parameter that all lanes of row `f` have.
  @inline(__always)
  func rowParameter(_ outer: Int, _ f: Int) -> Int { (outer &* Int(reduced.extent) &+ f) % Int(parameters) }
}
