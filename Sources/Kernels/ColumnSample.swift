// Values near the means of columns, which elements are shifted by before they are summed.

import NormKitFloor

extension nk_job {
  /// Shifts for each lane of the block, the same for all lanes of a set: the mean of sixteen elements spread over the
  /// set, or of four if it has fewer than eight. They are added in pairs, so that a constant set gives its constant
  /// exactly.
  @inline(never)
  func sampleColumns<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ width: Int, _ scratch: ColumnScratch) {
    typealias N = E.Natural
    let shift = UnsafeMutableRawPointer(scratch.shift(N.self)), quarters = UnsafeMutableRawPointer(scratch.first)
    let run = Int(run), isLarge = setSize >= 8
    let part: N = isLarge ? 0x1p-4 : 0x1p-2
    var j = 0
    while j < width {
      for quarter in 0..<(isLarge ? 4 : 1) {
        let i = quarter &* 4
        let upper = sample(E.self, x, j, width, i, isLarge) + sample(E.self, x, j, width, i &+ 1, isLarge)
        let lower = sample(E.self, x, j, width, i &+ 2, isLarge) + sample(E.self, x, j, width, i &+ 3, isLarge)
        N.store(quarters, quarter &* 16, upper + lower)
      }
      var total = N.load(quarters, 0)
      if isLarge { total = (total + N.load(quarters, 16)) + (N.load(quarters, 32) + N.load(quarters, 48)) }
      total = total * N.splat(part)
      if run == 1 {
        N.store(shift, j, total)
        j &+= 16
      } else {
        for r in 0..<run { scratch.shift(N.self)[j &+ r] = total[0] }
        j &+= run
      }
    }
  }

  /// Sample `i` of the sets that begin at lane `j`: of sixteen sets, or of one if a set has several lanes.
  @inline(__always)
  private func sample<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ j: Int, _ width: Int, _ i: Int, _ isLarge: Bool
  ) -> SIMD16<E.Natural> {
    let last = setSize &- 1
    let index = isLarge ? last / 15 &* i &+ last % 15 &* i / 15 : last &* i / 3
    let f = run == 1 ? index : index / Int(run), r = index &- f &* Int(run)
    let row = x + reducedOffset(f).x &* E.size
    let count = run == 1 ? min(16, width &- j) : 1
    return E.load(row, j &+ r, upTo: count, as: E.Natural.self)
  }
}
