// Jobs whose sets are columns: a block of neighbouring lanes at a time, reduced downwards.

import NormKitFloor

extension nk_job {
  @inline(__always)
  func columns<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ phase: Int, _ begin: Int, _ end: Int, _ memory: UnsafeMutableRawPointer
  ) {
    let scratch = ColumnScratch(base: memory)
    var task = begin
    while task < end {
      var next = task &+ 1
      let isByUnit = phase == NK_WHOLE || phase == NK_FINISH
      let unit = isByUnit ? task : task / Int(pieces), piece = isByUnit ? 0 : task &- unit &* Int(pieces)
      let block = ColumnBlock(self, unit)
      let outer = block.outer, lane = block.lane, width = block.width, firstSet = block.firstSet, sets = block.sets
      let start = keptOffset(outer)
      let x = self.x! + (start.x &+ lane) &* E.size
      let y = self.y.map { $0 + (start.y &+ lane) &* E.size }
      switch phase {
      case NK_SUMS:
        if R.isCentred { sampleColumns(E.self, x, width, scratch) }
        columnPieceSums(E.self, R.self, x, width, piece, scratch, as: E.Natural.self)
        let output = sums + task &* Int(self.block)
        var j = 0
        while j < width {
          output[j] = nk_sums(first: scratch.pieceFirst[j], second: scratch.pieceSecond[j])
          j &+= 1
        }
      case NK_FINISH:
        let summed = sums + unit &* Int(pieces) &* Int(self.block)
        standardsOfColumns(E.self, R.self, x, firstSet, sets, width, scratch, summed)
        copy(scratch.standards, to: standards + firstSet, count: sets)
      case NK_APPLY:
        if Int(source) == NK_FORMED {
          copy(standards + firstSet, to: scratch.standards, count: sets)
        } else {
          given(firstSet, count: sets, scratch.standards, as: E.Natural.self)
        }
        // Pieces that follow each other are passed as one.
        next = min(end, task &- piece &+ Int(pieces))
        let row = piece &* Int(piece_length), last = row &+ (next &- task) &* Int(piece_length)
        if let y { applyColumns(E.self, x, y, outer, lane, width, row, min(last, Int(reduced.extent)), scratch) }
      default:
        standardsOfColumns(E.self, R.self, x, firstSet, sets, width, scratch, nil)
        if let y { applyColumns(E.self, x, y, outer, lane, width, 0, Int(reduced.extent), scratch) }
      }
      task = next
    }
  }

  /// What standardizes the sets of a block, into the scratch memory. `summed`: sums of its pieces, if they were
  /// formed elsewhere.
  @inline(never)
  func standardsOfColumns<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ firstSet: Int, _ sets: Int, _ width: Int,
    _ scratch: ColumnScratch, _ summed: UnsafePointer<nk_sums>?
  ) {
    typealias N = E.Natural
    if Int(source) != NK_FORMED { return given(firstSet, count: sets, scratch.standards, as: N.self) }
    if R.isCentred { sampleColumns(E.self, x, width, scratch) }
    blockSums(E.self, R.self, x, width, scratch, summed, as: N.self)
    var m = 0
    while m < sets {
      scratch.isFinished[m] = false
      m &+= 1
    }
    if finishSets(E.self, R.self, firstSet, sets, scratch, as: N.self, last: false) { return }
    // Some sets overflow, underflow or cancel: sum again in Double, from the means just found. The others keep
    // what they have, so that no set depends on its neighbours.
    blockSums(E.self, R.self, x, width, scratch, nil, as: Double.self)
    if finishSets(E.self, R.self, firstSet, sets, scratch, as: Double.self, last: false) { return }
    blockSums(E.self, R.self, x, width, scratch, nil, as: Double.self)
    _ = finishSets(E.self, R.self, firstSet, sets, scratch, as: Double.self, last: true)
  }

  @inline(never)
  private func blockSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ width: Int, _ scratch: ColumnScratch,
    _ summed: UnsafePointer<nk_sums>?, as: A.Type
  ) {
    var piece = 0
    if summed == nil {
      columnPieceSums(E.self, R.self, x, width, 0, scratch, as: A.self)
      copy(scratch.pieceFirst, to: scratch.first, count: width)
      copy(scratch.pieceSecond, to: scratch.second, count: width)
      piece = 1
    } else {
      zero(scratch.first, width)
      zero(scratch.second, width)
    }
    while piece < Int(pieces) {
      if summed == nil { columnPieceSums(E.self, R.self, x, width, piece, scratch, as: A.self) }
      joinPiece(R.self, scratch, width, summed.map { $0 + piece &* Int(block) })
      piece &+= 1
    }
  }

  /// Finishes the sets whose sums, formed in `A`, are reliable, or all that are left if this is the last attempt.
  /// For the others, sets shifts in Double for the next attempt. Returns whether all are finished.
  @inline(never)
  private func finishSets<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ firstSet: Int, _ sets: Int, _ scratch: ColumnScratch, as: A.Type, last: Bool
  ) -> Bool {
    let run = Int(run)
    var allFinished = true
    // From the last set to the first: a shift in Double lies over the shifts in Float of its own lane or of higher
    // ones, whose sets are done.
    var m = sets
    while m > 0 {
      if A.self == Float.self && m >= 4 && run == 1 && finishFour(R.self, firstSet, m &- 4, scratch) {
        m &-= 4
        continue
      }
      m &-= 1
      if scratch.isFinished[m] { continue }
      let lane = m &* run
      var sums = nk_sums(first: scratch.first[lane], second: scratch.second[lane])
      var r = 1
      while r < run {
        sums.first = R.join(sums.first, scratch.first[lane &+ r])
        sums.second = sums.second + scratch.second[lane &+ r]
        r &+= 1
      }
      let shift = R.isCentred ? A.widen(scratch.shift(A.self)[lane]) : 0
      if last || R.isReliable(sums, count, in: A.self) {
        scratch.standards[m] = finish(firstSet &+ m, sums, shift: shift, as: E.Natural.self)
        scratch.isFinished[m] = true
        continue
      }
      allFinished = false
      guard R.isCentred else { continue }
      let estimate = shift + sums.first / count
      r = 0
      while r < run {
        scratch.shift(Double.self)[lane &+ r] = estimate.isFinite ? estimate : 0
        r &+= 1
      }
    }
    return allFinished
  }

  /// Finishes sets `k` to `k + 3` of a block, of one lane each, if their sums, formed in Float, are all reliable.
  /// Returns whether they are.
  @inline(__always)
  private func finishFour<R: Reduction>(_: R.Type, _ firstSet: Int, _ k: Int, _ scratch: ColumnScratch) -> Bool {
    guard canFinishFour else { return false }
    var shifts = SIMD4<Double>(repeating: 0)
    let firsts = four(scratch.first + k), seconds = four(scratch.second + k)
    guard R.areReliable(firsts, seconds, count) else { return false }
    if R.isCentred { nk_get_four_f32(scratch.shift(Float.self) + k, &shifts) }
    finishFour(R.self, firstSet &+ k, 4, firsts, seconds, shifts, scratch.standards + k)
    for i in 0..<4 { scratch.isFinished[k &+ i] = true }
    return true
  }

  @inline(__always)
  private func four(_ p: UnsafePointer<Double>) -> SIMD4<Double> {
    UnsafeRawPointer(p).loadUnaligned(as: SIMD4<Double>.self)
  }
}

/// Copies bytes: to copy the structs one by one, Swift would make a function that modules for different instruction
/// sets share.
@inline(__always)
func copy<T>(_ from: UnsafePointer<T>, to: UnsafeMutablePointer<T>, count: Int) {
  UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: count &* MemoryLayout<T>.stride)
}
