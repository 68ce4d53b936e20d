// Jobs whose sets are runs of neighbouring elements: a few sets at a time, while they are in cache.

import NormKitFloor

/// Sets that are taken together, and their bytes at most if they are summed or joined. The steps from sums to factors
/// are a long chain of dependent operations for one set; those of several sets overlap.
let mostSets = 16
private let mostBytes = 16 * 1024

/// Bytes of working memory for the sets at hand.
let runScratchBytes = 160 &* mostSets

/// Working memory for the sets at hand: an entry for each.
struct RunScratch<N: Arithmetic> {
  /// Where each set begins.
  let starts: UnsafeMutablePointer<UnsafeRawPointer>
  let shifts: UnsafeMutablePointer<N>
  let sums: UnsafeMutablePointer<nk_sums>
  let folded: (first: FoldedSums, second: FoldedSums)
  let standards: UnsafeMutablePointer<nk_standard>
  /// Of rows.
  let terms: RowTerms<N>
  /// More, aligned to 64.
  let rest: UnsafeMutableRawPointer

  @inline(__always)
  init(_ base: UnsafeMutableRawPointer) {
    starts = base.assumingMemoryBound(to: UnsafeRawPointer.self)
    shifts = (base + 8 &* mostSets).assumingMemoryBound(to: N.self)
    sums = (base + 16 &* mostSets).assumingMemoryBound(to: nk_sums.self)
    folded = (FoldedSums(base + 32 &* mostSets), FoldedSums(base + 64 &* mostSets))
    standards = (base + 96 &* mostSets).assumingMemoryBound(to: nk_standard.self)
    terms = RowTerms(base + 128 &* mostSets)
    rest = base + runScratchBytes
  }

  /// The shifts of four sets from `k` on. They are Float.
  @inline(__always)
  func fourShifts(_ k: Int) -> SIMD4<Double> {
    var values = SIMD4<Double>(repeating: 0)
    nk_get_four_f32(shifts + k, &values)
    return values
  }

  @inline(__always)
  func setFourShifts(_ k: Int, _ values: SIMD4<Double>) {
    var values = values
    nk_put_four_f32(&values, shifts + k)
  }
}

extension nk_job {
  @inline(__always)
  func runs<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ phase: Int, _ begin: Int, _ end: Int, _ memory: UnsafeMutableRawPointer
  ) {
    if phase == NK_WHOLE {
      let scratch = RunScratch<E.Natural>(memory)
      scratch.terms.clear()
      let isBound = Int(source) == NK_FORMED || Int(streams) == NK_STREAMS_JOINED
      let fitting = isBound ? min(mostSets, mostBytes / (setSize &* E.size)) : mostSets
      let together = fitting >= 4 ? fitting & ~3 : max(1, fitting)
      if R.Change.isFrequent && Int(streams) == NK_STREAMS_JOINED {
        return joinedSets(E.self, R.self, begin, end, together, scratch)
      }
      var s = begin
      while s < end {
        let count = min(together, end &- s)
        wholeSets(E.self, R.self, s, count, scratch)
        s &+= count
      }
    } else {
      var task = begin
      while task < end {
        partOfSet(E.self, R.self, phase, task)
        task &+= 1
      }
    }
  }

  /// Where the elements of set `s` begin.
  @inline(__always)
  func start<E: Element>(_: E.Type, _ s: Int) -> (x: UnsafeRawPointer, y: UnsafeMutableRawPointer?) {
    let offset = setOffset(s)
    return (x + offset.x &* E.size, y.map { $0 + offset.y &* E.size })
  }

  /// The same for sets whose y is joined to whole lines: they write to a buffer, which then goes past the caches.
  @inline(never)
  private func joinedSets<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ begin: Int, _ end: Int, _ together: Int, _ scratch: RunScratch<E.Natural>
  ) {
    guard let y else { return }
    let bytes = Int(run) &* E.size
    var lines = JoinedLines(y + begin &* bytes, scratch.rest)
    var job = self
    job.streams = Int32(NK_STREAMS_NOT)
    if ahead == 0 { job.ahead = Int64(together &* Int(kept.axis.0.x_stride) &* E.size) }
    var s = begin
    while s < end {
      let count = min(together, end &- s)
      job.y = lines.end - s &* bytes
      job.wholeSets(E.self, R.self, s, count, scratch)
      lines.append(count &* bytes)
      s &+= count
    }
    lines.finish()
  }

  @inline(never)
  private func wholeSets<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) {
    standardizeSets(E.self, R.self, first, count, scratch, scratch.standards)
    guard y != nil else { return }
    if applyRows(E.self, R.self, first, count, scratch) { return }
    if applyUniformSets(E.self, first, count, scratch.standards) { return }
    for k in 0..<count {
      let (x, y) = start(E.self, first &+ k)
      guard let y else { return }
      for piece in 0..<Int(pieces) { applyRuns(E.self, first &+ k, piece, x, y, scratch.standards[k]) }
    }
  }

  /// What standardizes sets `first` to `first + count - 1`, of which there are `mostSets` at most.
  @inline(never)
  func standardizeSets<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ memory: UnsafeMutableRawPointer,
    _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    standardizeSets(E.self, R.self, first, count, RunScratch<E.Natural>(memory), standards)
  }

  @inline(__always)
  private func standardizeSets<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ scratch: RunScratch<E.Natural>,
    _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    if Int(source) != NK_FORMED { return given(first, count: count, standards, as: E.Natural.self) }
    findStarts(elementSize: E.size, first, count, scratch.starts)
    if areShortRows(E.self, R.self) {
      return standardizeShortRows(E.self, R.self, first, count, scratch, standards)
    }
    sumSets(E.self, R.self, count, scratch)
    for k in 0..<count {
      standards[k] = standardOfRuns(
        E.self, R.self, first &+ k, scratch.starts[k], scratch.sums[k], scratch.shifts[k])
    }
  }

  @inline(never)
  private func findStarts(
    elementSize: Int, _ first: Int, _ count: Int, _ starts: UnsafeMutablePointer<UnsafeRawPointer>
  ) {
    if areEvenlySpaced {
      let step = Int(kept.axis.0.x_stride) &* elementSize
      for k in 0..<count { starts[k] = x + (first &+ k) &* step }
    } else {
      for k in 0..<count { starts[k] = x + setOffset(first &+ k).x &* elementSize }
    }
  }

  @inline(never)
  private func sumSets<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ count: Int, _ scratch: RunScratch<E.Natural>
  ) {
    let places = samplePlaces
    for k in 0..<count {
      scratch.shifts[k] = R.isCentred ? sample(E.self, scratch.starts[k], places, as: E.Natural.self) : 0
    }
    for k in 0..<count {
      scratch.sums[k] = setSums(E.self, R.self, scratch.starts[k], shift: scratch.shifts[k])
    }
  }

  /// One task of the phases in which several threads share a set.
  @inline(never) @_optimize(size)
  private func partOfSet<E: Element, R: Reduction>(_: E.Type, _: R.Type, _ phase: Int, _ task: Int) {
    let s = phase == NK_FINISH ? task : task / Int(pieces), piece = task &- s &* Int(pieces)
    let (x, y) = start(E.self, s)
    if phase == NK_APPLY {
      guard let y else { return }
      let isGiven = Int(source) != NK_FORMED
      applyRuns(E.self, s, piece, x, y, isGiven ? given(s, as: E.Natural.self) : standards[s])
      return
    }
    if Int(source) != NK_FORMED {
      standards[s] = given(s, as: E.Natural.self)
      return
    }
    let shift: E.Natural = R.isCentred ? sample(E.self, x, samplePlaces, as: E.Natural.self) : 0
    if phase == NK_SUMS {
      sums[task] = pieceSums(E.self, R.self, x, piece, shift: shift)
    } else {
      var total = sums[s &* Int(pieces)]
      for piece in 1..<Int(pieces) { total = R.join(total, sums[s &* Int(pieces) &+ piece]) }
      standards[s] = standardOfRuns(E.self, R.self, s, x, total, shift)
    }
  }
}
