// Backward, sums down columns: every lane is summed on its own. Four rows at a time pass the block, whose sums stay in
// cache. The residue of the mean is taken into account when the sums are finished: see ColumnGradients.swift.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

/// One row of a block: where its first lane is, and what dy is multiplied by.
private struct Row<E: Element> {
  let x, dy: UnsafeRawPointer
  let weight: SIMD16<E.Natural>
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
    let weighs = D.isFrequent && Int(parameter_form) == NK_ROWS
    let bytes = width &* E.size, ahead = is_large != 0 ? rowsAhead(bytes: bytes) : 0
    let end = min((piece &+ 1) &* Int(piece_length), Int(reduced.extent))
    var f = piece &* Int(piece_length)
    while f < end {
      let chunkEnd = min(f &+ chunkRows, end)
      scratch.chunkSums(N.self).clear(width: width)
      while D.isFrequent && NK_FOUR_VECTORS != 0 && f &+ 4 <= chunkEnd {
        let row0 = row(E.self, x, dy, outer, f, weighs), row1 = row(E.self, x, dy, outer, f &+ 1, weighs)
        let row2 = row(E.self, x, dy, outer, f &+ 2, weighs), row3 = row(E.self, x, dy, outer, f &+ 3, weighs)
        if ahead > 0 { bringRowsNear(x, dy, elementSize: E.size, from: f &+ ahead, 4, bytes: bytes) }
        forVectors(width) { j, count in
          var lanes = ColumnLanes<E, D>(scratch, j, count)
          lanes.add(row0, weighs: weighs)
          lanes.add(row1, weighs: weighs)
          lanes.add(row2, weighs: weighs)
          lanes.add(row3, weighs: weighs)
          lanes.keep()
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
