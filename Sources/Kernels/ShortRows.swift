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

  /// What standardizes rows `first` to `first + count - 1`, of which there are `mostSets` at most.
  @inline(never)
  func standardizeShortRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ scratch: RunScratch<E.Natural>,
    _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    let folded = scratch.folded
    if R.isCentred { sampleRows(E.self, count, scratch) }
    if run == 16 {
      sumVectors(E.self, R.self, count, scratch)
    } else {
      for k in 0..<count {
        var sums = ChunkSums<E.Natural, R>()
        sums.add(E.self, scratch.starts[k], 0, Int(run), E.Natural.splat(R.isCentred ? scratch.shifts[k] : 0))
        scratch.fold(R.self, k, sums.joinedFirst, sums.joinedSecond)
      }
    }
    if count % 4 != 0 {
      folded.first.fill(count)
      folded.second.fill(count)
    }
    var k = 0
    while k < count {
      defer { k &+= 4 }
      let four = min(4, count &- k), seconds = folded.second.total(k)
      var shifts = SIMD4<Double>(repeating: 0), firsts = shifts
      if R.isCentred {
        shifts = scratch.fourShifts(k)
        firsts = folded.first.total(k)
      }
      if canFinishFour && R.areReliable(firsts, seconds, self.count) {
        let (means, residues, factors) = finishFour(
          R.self, first &+ k, four, firsts, seconds, shifts, standards + k)
        scratch.terms.setFour(k, means, residues, factors)
        continue
      }
      for i in 0..<four {
        standards[k &+ i] = standardOfRuns(
          E.self, R.self, first &+ k &+ i, scratch.starts[k &+ i], nk_sums(first: firsts[i], second: seconds[i]),
          E.Natural.narrow(shifts[i]))
        scratch.terms.set(k &+ i, standards[k &+ i])
      }
    }
  }

  /// The sums of rows that are one vector.
  @inline(__always)
  private func sumVectors<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) {
    typealias N = E.Natural
    for k in 0..<count {
      let shifts = N.splat(R.isCentred ? scratch.shifts[k] : 0)
      var first = N.splat(0), second = first
      R.add(R.shifted(E.load(scratch.starts[k], 0, as: N.self), shifts), &first, &second)
      scratch.fold(R.self, k, first, second)
    }
  }

  /// What `sample` is for one set, for each.
  @inline(__always)
  private func sampleRows<E: Element>(_: E.Type, _ count: Int, _ scratch: RunScratch<E.Natural>) {
    let places = samplePlaces, lanes = scratch.folded.first
    if isSampledByElements {
      for k in 0..<count {
        scratch.shifts[k] = sampleElements(E.self, scratch.starts[k], places, as: E.Natural.self)
      }
      return
    }
    for k in 0..<count { lanes.set(k, sampleLanes(E.self, scratch.starts[k], places) as SIMD16<E.Natural>) }
    if count % 4 != 0 { lanes.fill(count) }
    var k = 0
    while k < count {
      scratch.setFourShifts(k, lanes.total(k) * 0x1p-6)
      k &+= 4
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
}
