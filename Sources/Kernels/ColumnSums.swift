// Sums down columns: every lane is summed on its own, sixteen or sixty-four lanes at a time.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

extension nk_job {
  /// Adds rows `begin ..< end` to the `piece` sums of the block's lanes. `x` is the block's first lane.
  @inline(__always)
  private func addRows<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnScratch, as: A.Type
  ) {
    let shift = UnsafeRawPointer(scratch.shift(A.self))
    let isWide = NK_FOUR_VECTORS != 0 && A.self == E.Natural.self
    var chunk = begin
    while chunk < end {
      let chunkEnd = min(chunk &+ chunkRows, end)
      var j = 0
      while isWide && j &+ 64 <= width {
        let shift0 = A.load(shift, j), shift1 = A.load(shift, j &+ 16)
        let shift2 = A.load(shift, j &+ 32), shift3 = A.load(shift, j &+ 48)
        var first0 = A.splat(0), first1 = first0, first2 = first0, first3 = first0
        var second0 = first0, second1 = first0, second2 = first0, second3 = first0
        var f = chunk
        while f < chunkEnd {
          let row = x + reducedOffset(f).x &* E.size
          let x0 = E.load(row, j, as: A.self), x1 = E.load(row, j &+ 16, as: A.self)
          let x2 = E.load(row, j &+ 32, as: A.self), x3 = E.load(row, j &+ 48, as: A.self)
          R.add(R.isCentred ? x0 - shift0 : x0, &first0, &second0)
          R.add(R.isCentred ? x1 - shift1 : x1, &first1, &second1)
          R.add(R.isCentred ? x2 - shift2 : x2, &first2, &second2)
          R.add(R.isCentred ? x3 - shift3 : x3, &first3, &second3)
          f &+= 1
        }
        addPieceLanes(R.self, scratch, j, first0, second0)
        addPieceLanes(R.self, scratch, j &+ 16, first1, second1)
        addPieceLanes(R.self, scratch, j &+ 32, first2, second2)
        addPieceLanes(R.self, scratch, j &+ 48, first3, second3)
        j &+= 64
      }
      while j < width {
        let count = min(16, width &- j)
        let shift0 = A.load(shift, j)
        var first0 = A.splat(0), second0 = first0
        var f = chunk
        while f < chunkEnd {
          let row = x + reducedOffset(f).x &* E.size
          let x0 = count == 16 ? E.load(row, j, as: A.self) : E.load(row, j, count: count, as: A.self)
          R.add(R.isCentred ? x0 - shift0 : x0, &first0, &second0)
          f &+= 1
        }
        addPieceLanes(R.self, scratch, j, first0, second0)
        j &+= 16
      }
      chunk = chunkEnd
    }
  }

  @inline(__always)
  private func addPieceLanes<A: Arithmetic, R: Reduction>(
    _: R.Type, _ scratch: ColumnScratch, _ j: Int, _ first: SIMD16<A>, _ second: SIMD16<A>
  ) {
    let firsts = UnsafeMutableRawPointer(scratch.pieceFirst), seconds = UnsafeMutableRawPointer(scratch.pieceSecond)
    Double.store(firsts, j, R.join(Double.load(firsts, j), A.widen(first)))
    Double.store(seconds, j, Double.load(seconds, j) + A.widen(second))
  }

  /// Sums of one piece of a block, into the scratch memory's piece sums.
  @inline(never)
  func columnPieceSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ piece: Int, _ scratch: ColumnScratch, as: A.Type
  ) {
    clear(scratch.pieceFirst, width)
    clear(scratch.pieceSecond, width)
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

  /// Shifts for each lane of the block: the mean of four elements spread over its set, the same for all lanes of a
  /// set. Four are added in pairs, so that a constant set gives its constant exactly.
  @inline(__always)
  func sampleColumns<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ width: Int, _ scratch: ColumnScratch) {
    typealias N = E.Natural
    let shift = scratch.shift(N.self)
    let run = Int(run), last = Int(reduced.extent) &- 1
    let row0 = x, row1 = x + reducedOffset(last / 3).x &* E.size
    let row2 = x + reducedOffset(last &* 2 / 3).x &* E.size, row3 = x + reducedOffset(last).x &* E.size
    var j = 0
    if run == 1 {
      while j &+ 16 <= width {
        let upper = E.load(row0, j, as: N.self) + E.load(row1, j, as: N.self)
        let lower = E.load(row2, j, as: N.self) + E.load(row3, j, as: N.self)
        N.store(UnsafeMutableRawPointer(shift), j, (upper + lower) * N.splat(0.25))
        j &+= 16
      }
    }
    while j < width {
      let upper = N.narrow(E.value(row0, j)) + N.narrow(E.value(row1, j &+ (run &- 1) / 3))
      let lower = N.narrow(E.value(row2, j &+ (run &- 1) &* 2 / 3)) + N.narrow(E.value(row3, j &+ run &- 1))
      let value = (upper + lower) * 0.25
      var r = 0
      while r < run {
        shift[j &+ r] = value
        r &+= 1
      }
      j &+= run
    }
  }
}

@inline(__always)
func clear(_ values: UnsafeMutablePointer<Double>, _ count: Int) {
  let p = UnsafeMutableRawPointer(values)
  var j = 0
  while j < count {
    Double.store(p, j, Double.splat(0))
    j &+= 16
  }
}
