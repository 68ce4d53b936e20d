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
    let places = UnsafeMutableRawPointer(scratch.second).assumingMemoryBound(to: Int.self)
    for i in 0..<(isLarge ? 16 : 4) { places[i] = samplePlace(i, isLarge) }
    var j = 0
    while j < width && run == 1 {
      let count = min(16, width &- j), quarters = UnsafeMutableRawPointer(scratch.first)
      for quarter in 0..<(isLarge ? 4 : 1) {
        let four = places + quarter &* 4
        let upper = lanes(E.self, x, four[0] &+ j, count) + lanes(E.self, x, four[1] &+ j, count)
        let lower = lanes(E.self, x, four[2] &+ j, count) + lanes(E.self, x, four[3] &+ j, count)
        N.store(quarters, quarter &* 16, upper + lower)
      }
      var total = N.load(quarters, 0)
      if isLarge { total = (total + N.load(quarters, 16)) + (N.load(quarters, 32) + N.load(quarters, 48)) }
      N.store(shift, j, total * N.splat(isLarge ? 0x1p-4 : 0x1p-2))
      j &+= 16
    }
    while j < width {
      var total = four(E.self, x, places, j)
      if isLarge {
        total = total + four(E.self, x, places + 4, j)
        total = total + (four(E.self, x, places + 8, j) + four(E.self, x, places + 12, j))
      }
      total = total * (isLarge ? 0x1p-4 : 0x1p-2)
      for r in 0..<run { shift[j &+ r] = total }
      j &+= run
    }
  }

  /// Where the elements `i` of samples are, from the first of their sets on.
  @inline(__always)
  private func samplePlace(_ i: Int, _ isLarge: Bool) -> Int {
    let last = setSize &- 1
    let index = isLarge ? last / 15 &* i &+ last % 15 &* i / 15 : last &* i / 3
    let f = run == 1 ? index : index / Int(run)
    return reducedOffset(f).x &+ index &- f &* Int(run)
  }

  @inline(__always)
  private func lanes<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ i: Int, _ count: Int) -> SIMD16<E.Natural> {
    E.load(x, i, upTo: count, as: E.Natural.self)
  }

  /// Four elements of the set that begins at lane `j`, added.
  @inline(__always)
  private func four<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ places: UnsafePointer<Int>, _ j: Int
  ) -> E.Natural {
    typealias N = E.Natural
    let upper = N.narrow(E.value(x, places[0] &+ j)) + N.narrow(E.value(x, places[1] &+ j))
    return upper + (N.narrow(E.value(x, places[2] &+ j)) + N.narrow(E.value(x, places[3] &+ j)))
  }
}
