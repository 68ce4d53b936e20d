// Sums down columns: every lane is summed on its own. Four rows at a time pass the block, whose sums stay in cache; for
// the norms L1 and MAX, one.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double: one by one they lose more than
/// four at a time.
@inline(__always)
private func chunkRows(byFours: Bool) -> Int { byFours ? 32 : 8 }

private typealias FourStarts = (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)

/// Sixteen lanes from `j` on: what they are shifted by, and their sums over the rows of a chunk so far.
private struct ColumnLanes<E: Element, R: Reduction> {
  typealias N = E.Natural
  let scratch: ColumnScratch
  let j, count: Int
  let shift: SIMD16<N>
  var first, second: SIMD16<N>

  /// `count`: the lanes that there are.
  @inline(__always)
  init(_ scratch: ColumnScratch, _ j: Int, _ count: Int) {
    self.scratch = scratch
    self.j = j
    self.count = count
    shift = N.load(UnsafeRawPointer(scratch.shift(N.self)), j)
    first = N.load(UnsafeRawPointer(scratch.chunkFirst(N.self)), j)
    second = N.load(UnsafeRawPointer(scratch.chunkSecond(N.self)), j)
  }

  /// Lanes of one row, shifted if the reduction wants that.
  @inline(__always)
  private func shifted(_ row: UnsafeRawPointer) -> SIMD16<N> {
    R.shifted(E.load(row, j, upTo: count, as: N.self), shift)
  }

  @inline(__always)
  mutating func add(_ row: UnsafeRawPointer) { R.add(shifted(row), &first, &second) }

  @inline(__always)
  mutating func add(_ rows: FourStarts) {
    R.add((shifted(rows.0), shifted(rows.1), shifted(rows.2), shifted(rows.3)), &first, &second)
  }

  /// The same lanes of the rows that are `ahead` elements behind these. Where a block is a part of its rows, they are
  /// read in no order that a processor could foresee.
  @inline(__always)
  func prefetch(_ rows: FourStarts, _ ahead: Int) {
    let next = (ahead &+ j) &* E.size
    nk_prefetch(rows.0 + next)
    nk_prefetch(rows.1 + next)
    nk_prefetch(rows.2 + next)
    nk_prefetch(rows.3 + next)
  }

  @inline(__always)
  func keep() {
    N.store(scratch.chunkFirst(N.self), j, first)
    N.store(scratch.chunkSecond(N.self), j, second)
  }
}

extension nk_job {
  /// Adds rows `begin ..< end` to the piece sums of the block's lanes. `x` is the block's first lane.
  @inline(__always)
  private func addRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    typealias N = E.Natural
    let byFours = R.Change.isFrequent && NK_FOUR_VECTORS != 0
    // How many rows behind the one that is summed another is prefetched: a few thousand bytes of a block, more where
    // they come from memory.
    let distance = max(4, (is_large != 0 ? 4096 : 1024) / width)
    var f = begin
    while f < end {
      let chunkEnd = min(f &+ chunkRows(byFours: byFours), end)
      zero(scratch.chunkFirst(N.self), width)
      zero(scratch.chunkSecond(N.self), width)
      while byFours && f &+ 4 <= chunkEnd {
        let rows = (row(E.self, x, f), row(E.self, x, f &+ 1), row(E.self, x, f &+ 2), row(E.self, x, f &+ 3))
        let ahead = f &+ distance &+ 4 <= end ? reducedOffset(f &+ distance).x &- reducedOffset(f).x : 0
        forVectors(width) { j, count in
          var lanes = ColumnLanes<E, R>(scratch, j, count)
          lanes.prefetch(rows, ahead)
          lanes.add(rows)
          lanes.keep()
        }
        f &+= 4
      }
      while f < chunkEnd {
        let row = row(E.self, x, f)
        forVectors(width) { j, count in
          var lanes = ColumnLanes<E, R>(scratch, j, count)
          lanes.add(row)
          lanes.keep()
        }
        f &+= 1
      }
      joinChunk(R.self, N.self, width, scratch)
    }
  }

  @inline(__always)
  private func row<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ f: Int) -> UnsafeRawPointer {
    x + reducedOffset(f).x &* E.size
  }

  /// Adds the sums of a chunk to the piece sums.
  @inline(__always)
  private func joinChunk<A: Arithmetic, R: Reduction>(_: R.Type, _: A.Type, _ width: Int, _ scratch: ColumnScratch) {
    let firsts = UnsafeMutableRawPointer(scratch.pieceFirst)
    var j = 0
    while j < width {
      var total = Double.load(firsts, j)
      R.add(A.load(UnsafeRawPointer(scratch.chunkFirst(A.self)), j), to: &total)
      Double.store(firsts, j, total)
      A.add(A.load(UnsafeRawPointer(scratch.chunkSecond(A.self)), j), to: scratch.pieceSecond, j)
      j &+= 16
    }
  }

  /// The same in Double for elements whose sums in the type of computation overflow, underflow or cancel. That is rare,
  /// and not worth a copy of the arithmetic for each type of elements.
  @inline(never)
  private func addRowsInDouble<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    for f in begin..<end {
      let row = x + reducedOffset(f).x &* E.size
      var j = 0
      while j < width {
        let count = min(16, width &- j)
        var lanes = E.load(row, j, upTo: count, as: Double.self)
        scratch.addInDouble(R.self, j, &lanes)
        j &+= 16
      }
    }
  }

  /// Sums of one piece of a block, into the scratch memory's piece sums.
  @inline(never)
  func columnPieceSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ piece: Int, _ scratch: ColumnScratch, as: A.Type
  ) {
    zero(scratch.pieceFirst, width)
    zero(scratch.pieceSecond, width)
    let begin = piece &* Int(piece_length), end = min(begin &+ Int(piece_length), Int(reduced.extent))
    if A.self == E.Natural.self {
      addRows(E.self, R.self, x, width, begin, end, scratch)
    } else {
      addRowsInDouble(E.self, R.self, x, width, begin, end, scratch)
    }
  }

  /// Adds the piece sums, or those of another thread, to the sums of the block.
  @inline(__always)
  func joinPiece<R: Reduction>(
    _: R.Type, _ scratch: ColumnScratch, _ width: Int, _ summed: UnsafePointer<nk_sums>?
  ) {
    var j = 0
    while j < width {
      let first = summed.map { $0[j].first } ?? scratch.pieceFirst[j]
      let second = summed.map { $0[j].second } ?? scratch.pieceSecond[j]
      scratch.first[j] = R.join(scratch.first[j], first)
      scratch.second[j] = scratch.second[j] + second
      j &+= 1
    }
  }
}

extension ColumnScratch {
  /// Adds sixteen lanes of one row, from `j` on, to the piece sums.
  @inline(never)
  fileprivate func addInDouble<R: Reduction>(_: R.Type, _ j: Int, _ lanes: inout SIMD16<Double>) {
    let firsts = UnsafeMutableRawPointer(pieceFirst), seconds = UnsafeMutableRawPointer(pieceSecond)
    var first = Double.load(firsts, j), second = Double.load(seconds, j)
    R.add(R.shifted(lanes, Double.load(UnsafeRawPointer(shift(Double.self)), j)), &first, &second)
    Double.store(firsts, j, first)
    Double.store(seconds, j, second)
  }
}

@inline(__always)
func zero<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ count: Int) {
  let p = UnsafeMutableRawPointer(values)
  var j = 0
  while j < count {
    A.store(p, j, A.splat(0))
    j &+= 16
  }
}
