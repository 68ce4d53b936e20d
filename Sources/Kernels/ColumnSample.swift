// Values near the means of columns, which elements are shifted by before they are summed.

import NormKitFloor

extension nk_job {
  /// Shifts for each lane of the block, the same for all lanes of a set: the mean of sixteen elements spread over the
  /// set, or of four if it has fewer than eight. They are added in pairs, so that a constant set gives its constant
  /// exactly.
  @inline(never)
  func sampleColumns<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ width: Int, _ scratch: ColumnScratch) {
    typealias N = E.Natural
    let shift = scratch.shift(N.self), run = Int(run), isLarge = setSize >= 8
    let places = UnsafeMutableRawPointer(scratch.second).assumingMemoryBound(to: (Int, Int, Int, Int).self)
    for quarter in 0..<(isLarge ? 4 : 1) { places[quarter] = samplePlaces(quarter, isLarge) }
    var j = 0
    while j < width && run == 1 {
      let lanes = x + j &* E.size, count = min(16, width &- j), quarters = UnsafeMutableRawPointer(scratch.first)
      for quarter in 0..<(isLarge ? 4 : 1) {
        N.store(quarters, quarter &* 16, sampleLanes(E.self, lanes, places[quarter], count: count) as SIMD16<N>)
      }
      var total = N.load(quarters, 0)
      if isLarge { total = (total + N.load(quarters, 16)) + (N.load(quarters, 32) + N.load(quarters, 48)) }
      N.store(shift, j, total * N.splat(isLarge ? 0x1p-4 : 0x1p-2))
      j &+= 16
    }
    while j < width {
      let set = x + j &* E.size
      var total = sumElements(E.self, set, places[0], as: N.self)
      if isLarge {
        total = total + sumElements(E.self, set, places[1], as: N.self)
        let rest = sumElements(E.self, set, places[2], as: N.self)
        total = total + (rest + sumElements(E.self, set, places[3], as: N.self))
      }
      total = total * (isLarge ? 0x1p-4 : 0x1p-2)
      for r in 0..<run { shift[j &+ r] = total }
      j &+= run
    }
  }

  /// Where the elements of one quarter of a sample are, from the first of their set on.
  @inline(__always)
  private func samplePlaces(_ quarter: Int, _ isLarge: Bool) -> (Int, Int, Int, Int) {
    let i = quarter &* 4
    return (
      samplePlace(i, isLarge), samplePlace(i &+ 1, isLarge), samplePlace(i &+ 2, isLarge), samplePlace(i &+ 3, isLarge)
    )
  }

  @inline(__always)
  private func samplePlace(_ i: Int, _ isLarge: Bool) -> Int {
    let last = setSize &- 1
    let index = isLarge ? last / 15 &* i &+ last % 15 &* i / 15 : last &* i / 3
    let f = run == 1 ? index : index / Int(run)
    return reducedOffset(f).x &+ index &- f &* Int(run)
  }
}
