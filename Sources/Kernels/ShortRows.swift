// Rows that are short enough for one chunk of sums. The sums of four are joined and finished side by side: what is done
// once per row would otherwise take longer than the row.

import NormKitFloor

extension nk_job {
  /// Whether sets are such rows, and have to be standardized. Their terms are set then, too.
  @inline(__always)
  func areShortRows<E: Element, R: Reduction>(_: E.Type, _: R.Type) -> Bool {
    Int(source) == NK_FORMED && NK_FOUR_VECTORS != 0 && R.Change.isFrequent && E.Natural.self == Float.self
      && reduced.extent == 1 && Int(run) <= chunkLength(Float.self)
  }

  /// What standardizes rows `first` to `first + count - 1`, of which there are `mostSets` at most. What is normalized
  /// mostly has a mean that is small beside its deviation, and is summed as it is; a row is shifted by a sample only if
  /// its sums turn out to have lost something without.
  @inline(never)
  func standardizeShortRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ scratch: RunScratch<E.Natural>,
    _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    E.Natural.store(scratch.shifts, 0, E.Natural.splat(0))
    sumRows(E.self, R.self, count, scratch)
    if count % 4 != 0 { scratch.fill(R.self, count) }
    // A bit for each four rows.
    var rest: UInt8 = 0xff, isShifted = !R.isCentred
    while true {
      var lost: UInt8 = 0
      forFours(rest, count) { k, end in
        if !finishRows(R.self, first, k, end, scratch, standards) { lost |= 1 &<< UInt8(truncatingIfNeeded: k / 4) }
      }
      rest = lost
      if rest == 0 { return }
      if isShifted { break }
      shiftRows(E.self, R.self, rest, count, scratch)
      isShifted = true
    }
    forFours(rest, count) { k, end in
      for k in k..<end {
        standards[k] = standardOfRuns(
          E.self, R.self, first &+ k, scratch.starts[k], scratch.foldedSums(R.self, k), scratch.shifts[k])
        scratch.terms.set(k, standards[k])
      }
    }
  }

  /// The fours of `count` rows that are in `fours`; the last one may be less.
  @inline(__always)
  private func forFours(_ fours: UInt8, _ count: Int, _ body: (_ begin: Int, _ end: Int) -> Void) {
    var k = 0
    while k < count {
      let end = min(k &+ 4, count)
      if fours &>> UInt8(truncatingIfNeeded: k / 4) & 1 != 0 { body(k, end) }
      k = end
    }
  }

  /// Finishes rows `k ..< end`, four at most, if their sums are reliable. Returns whether they are.
  @inline(__always)
  private func finishRows<A: Arithmetic, R: Reduction>(
    _: R.Type, _ first: Int, _ k: Int, _ end: Int, _ scratch: RunScratch<A>,
    _ standards: UnsafeMutablePointer<nk_standard>
  ) -> Bool {
    let seconds = scratch.folded.second.total(k)
    var shifts = SIMD4<Double>(repeating: 0), firsts = shifts
    if R.isCentred {
      shifts = scratch.fourShifts(k)
      firsts = scratch.folded.first.total(k)
    }
    guard canFinishFour && R.areReliable(firsts, seconds, count) else { return false }
    let (means, residues, factors) = finishFour(
      R.self, first &+ k, end &- k, firsts, seconds, shifts, standards + k)
    scratch.terms.setFour(k, means, residues, factors)
    return true
  }

  /// Shifts those of `count` rows in `fours` whose sums are not reliable by a sample of them.
  @inline(never) @_optimize(size)
  private func shiftRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ fours: UInt8, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) {
    forFours(fours, count) { begin, end in
      scratch.setFourShifts(begin, samples(E.self, begin, end, scratch))
    }
    forFours(fours, count) { begin, end in
      let firsts = scratch.folded.first.total(begin), seconds = scratch.folded.second.total(begin)
      for k in begin..<end {
        let sums = nk_sums(first: firsts[k &- begin], second: seconds[k &- begin])
        if R.isReliable(sums, self.count, in: E.Natural.self) {
          scratch.shifts[k] = 0
        } else {
          scratch.fold(R.self, k, pieceSums(E.self, R.self, scratch.starts[k], 0, shift: scratch.shifts[k]))
        }
      }
    }
    if count % 4 != 0 { scratch.fill(R.self, count) }
  }

  /// What `sample` is for one set, for rows `begin ..< end`, four at most.
  @inline(__always)
  private func samples<E: Element>(
    _: E.Type, _ begin: Int, _ end: Int, _ scratch: RunScratch<E.Natural>
  ) -> SIMD4<Double> {
    typealias N = E.Natural
    let places = samplePlaces
    if isSampledByElements {
      func sample(_ k: Int) -> Double {
        N.widen(sampleElements(E.self, scratch.starts[min(begin &+ k, end &- 1)], places, as: N.self))
      }
      return SIMD4(sample(0), sample(1), sample(2), sample(3))
    }
    let lanes = FoldedSums(scratch.sums)
    for k in begin..<end {
      lanes.set(k &- begin, sampleLanes(E.self, scratch.starts[k], places) as SIMD16<N>)
    }
    lanes.fill(end &- begin)
    return lanes.total(0) * 0x1p-6
  }

  /// The sums of `count` rows, which are not shifted.
  @inline(never)
  private func sumRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) {
    typealias N = E.Natural
    let zero = N.splat(0)
    for k in 0..<count {
      if run == 16 {
        var first = zero, second = zero
        R.Unshifted.add(E.load(scratch.starts[k], 0, as: N.self), &first, &second)
        scratch.fold(R.self, k, first, second)
      } else {
        var sums = ChunkSums<N, R.Unshifted>()
        sums.add(E.self, scratch.starts[k], 0, Int(run), zero)
        scratch.fold(R.self, k, sums.joinedFirst, sums.joinedSecond)
      }
    }
  }
}

extension RunScratch {
  /// Takes the sums of row `k`.
  @inline(__always)
  fileprivate func fold<R: Reduction>(_: R.Type, _ k: Int, _ first: SIMD16<N>, _ second: SIMD16<N>) {
    if R.isCentred { folded.first.set(k, first) }
    folded.second.set(k, second)
  }

  /// Takes the sums of row `k`, whose lanes are added up already.
  @inline(__always)
  fileprivate func fold<R: Reduction>(_: R.Type, _ k: Int, _ sums: nk_sums) {
    if R.isCentred { folded.first.set(k, sums.first) }
    folded.second.set(k, sums.second)
  }

  /// The sums of row `k`.
  @inline(__always)
  fileprivate func foldedSums<R: Reduction>(_: R.Type, _ k: Int) -> nk_sums {
    nk_sums(first: R.isCentred ? folded.first.total(k & ~3)[k & 3] : 0, second: folded.second.total(k & ~3)[k & 3])
  }

  /// Lets other rows stand in for those that the last four of `count` rows lack.
  @inline(__always)
  fileprivate func fill<R: Reduction>(_: R.Type, _ count: Int) {
    if R.isCentred { folded.first.fill(count) }
    folded.second.fill(count)
  }
}
