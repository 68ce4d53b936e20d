// Sums down columns: every lane is summed on its own, sixteen or sixty-four lanes at a time.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

extension nk_job {
  /// Adds rows `begin ..< end` to the piece sums of the block's lanes. `x` is the block's first lane.
  @inline(__always)
  private func addRows<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnScratch, as: A.Type
  ) {
    if A.self != E.Natural.self { return addRowsInDouble(E.self, R.self, x, width, begin, end, scratch) }
    let isWide = NK_FOUR_VECTORS != 0 && R.Change.isFrequent
    var chunk = begin
    while chunk < end {
      let chunkEnd = min(chunk &+ chunkRows, end)
      var j = 0
      while isWide && j &+ 64 <= width {
        addFourVectors(E.self, R.self, x, j, chunk, chunkEnd, scratch, as: A.self)
        j &+= 64
      }
      while j < width {
        addVector(E.self, R.self, x, j, min(16, width &- j), chunk, chunkEnd, scratch, as: A.self)
        j &+= 16
      }
      chunk = chunkEnd
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
        var lanes = count == 16 ? E.load(row, j, as: Double.self) : E.load(row, j, count: count, as: Double.self)
        scratch.addInDouble(R.self, j, &lanes)
        j &+= 16
      }
    }
  }

  /// Sixty-four lanes from `j` on: four rows at a time, while there are four.
  @inline(__always)
  private func addFourVectors<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ j: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch,
    as: A.Type
  ) {
    let shift = UnsafeRawPointer(scratch.shift(A.self))
    let shift0 = A.load(shift, j), shift1 = A.load(shift, j &+ 16)
    let shift2 = A.load(shift, j &+ 32), shift3 = A.load(shift, j &+ 48)
    var first0 = A.splat(0), first1 = first0, first2 = first0, first3 = first0
    var second0 = first0, second1 = first0, second2 = first0, second3 = first0
    var f = begin
    while f &+ 4 <= end {
      let rows = fourRows(E.self, x, f)
      R.add(shifted(E.self, R.self, rows, j, shift0), &first0, &second0)
      R.add(shifted(E.self, R.self, rows, j &+ 16, shift1), &first1, &second1)
      R.add(shifted(E.self, R.self, rows, j &+ 32, shift2), &first2, &second2)
      R.add(shifted(E.self, R.self, rows, j &+ 48, shift3), &first3, &second3)
      f &+= 4
    }
    while f < end {
      let row = x + reducedOffset(f).x &* E.size
      R.add(shifted(E.self, R.self, row, j, shift0), &first0, &second0)
      R.add(shifted(E.self, R.self, row, j &+ 16, shift1), &first1, &second1)
      R.add(shifted(E.self, R.self, row, j &+ 32, shift2), &first2, &second2)
      R.add(shifted(E.self, R.self, row, j &+ 48, shift3), &first3, &second3)
      f &+= 1
    }
    addPieceLanes(R.self, scratch, j, first0, second0)
    addPieceLanes(R.self, scratch, j &+ 16, first1, second1)
    addPieceLanes(R.self, scratch, j &+ 32, first2, second2)
    addPieceLanes(R.self, scratch, j &+ 48, first3, second3)
  }

  /// `count` lanes from `j` on, sixteen at most, in the same order of additions.
  @inline(__always)
  private func addVector<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ j: Int, _ count: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnScratch, as: A.Type
  ) {
    let shift = A.load(UnsafeRawPointer(scratch.shift(A.self)), j)
    var first = A.splat(0), second = first
    var f = begin
    while f &+ 4 <= end {
      let rows = fourRows(E.self, x, f)
      R.add(shifted(E.self, R.self, rows, j, shift, count: count), &first, &second)
      f &+= 4
    }
    while f < end {
      R.add(shifted(E.self, R.self, x + reducedOffset(f).x &* E.size, j, shift, count: count), &first, &second)
      f &+= 1
    }
    addPieceLanes(R.self, scratch, j, first, second)
  }

  private typealias FourRows = (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)

  @inline(__always)
  private func fourRows<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ f: Int) -> FourRows {
    (
      x + reducedOffset(f).x &* E.size, x + reducedOffset(f &+ 1).x &* E.size,
      x + reducedOffset(f &+ 2).x &* E.size, x + reducedOffset(f &+ 3).x &* E.size
    )
  }

  /// Lanes of one row, shifted if the reduction wants that; of four rows.
  @inline(__always)
  private func shifted<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ row: UnsafeRawPointer, _ j: Int, _ shift: SIMD16<A>, count: Int = 16
  ) -> SIMD16<A> {
    let value = count == 16 ? E.load(row, j, as: A.self) : E.load(row, j, count: count, as: A.self)
    return R.isCentred ? value - shift : value
  }

  @inline(__always)
  private func shifted<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ rows: FourRows, _ j: Int, _ shift: SIMD16<A>, count: Int = 16
  ) -> (SIMD16<A>, SIMD16<A>, SIMD16<A>, SIMD16<A>) {
    (
      shifted(E.self, R.self, rows.0, j, shift, count: count), shifted(E.self, R.self, rows.1, j, shift, count: count),
      shifted(E.self, R.self, rows.2, j, shift, count: count), shifted(E.self, R.self, rows.3, j, shift, count: count)
    )
  }

  @inline(__always)
  private func addPieceLanes<A: Arithmetic, R: Reduction>(
    _: R.Type, _ scratch: ColumnScratch, _ j: Int, _ first: SIMD16<A>, _ second: SIMD16<A>
  ) {
    let firsts = UnsafeMutableRawPointer(scratch.pieceFirst)
    var total = Double.load(firsts, j)
    R.add(first, to: &total)
    Double.store(firsts, j, total)
    A.add(second, to: scratch.pieceSecond, j)
  }

  /// Sums of one piece of a block, into the scratch memory's piece sums.
  @inline(never)
  func columnPieceSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ piece: Int, _ scratch: ColumnScratch, as: A.Type
  ) {
    zero(scratch.pieceFirst, width)
    zero(scratch.pieceSecond, width)
    let begin = piece &* Int(piece_length), end = min(begin &+ Int(piece_length), Int(reduced.extent))
    addRows(E.self, R.self, x, width, begin, end, scratch, as: A.self)
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
    let d = R.isCentred ? lanes - Double.load(UnsafeRawPointer(shift(Double.self)), j) : lanes
    R.add(d, &first, &second)
    Double.store(firsts, j, first)
    Double.store(seconds, j, second)
  }
}

@inline(__always)
func zero(_ values: UnsafeMutablePointer<Double>, _ count: Int) {
  let p = UnsafeMutableRawPointer(values)
  var j = 0
  while j < count {
    Double.store(p, j, Double.splat(0))
    j &+= 16
  }
}
