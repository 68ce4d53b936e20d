// What standardizes rows that follow each other, as one number each in the type of computation.

import NormKitFloor

/// Up to `mostSets` rows.
struct RowTerms<A: Arithmetic> {
  let means: UnsafeMutablePointer<A>
  private var negatives: UnsafeMutablePointer<A> { means + mostSets }
  private var offsets: UnsafeMutablePointer<A> { means + 2 &* mostSets }

  /// In memory for three numbers of each row.
  @inline(__always)
  init(_ memory: UnsafeMutableRawPointer) { means = memory.assumingMemoryBound(to: A.self) }

  /// Those of the rows from `k` on.
  @inline(__always)
  func from(_ k: Int) -> RowTerms { RowTerms(means + k) }

  @inline(__always)
  func lanes(_ k: Int) -> RowLanes<A> { RowLanes(mean: means[k], negative: negatives[k], offset: offsets[k]) }

  @inline(__always)
  func set(_ k: Int, _ standard: nk_standard) {
    (means[k], negatives[k], offsets[k]) = standard.terms(A.self)
  }

  /// Those of four rows from `k` on. They are Float.
  @inline(__always)
  func setFour(_ k: Int, _ means: SIMD4<Double>, _ residues: SIMD4<Double>, _ factors: SIMD4<Double>) {
    var means = means, negatives = -factors, offsets = 0 - residues * factors + 0
    nk_put_four_f32(&means, self.means + k)
    nk_put_four_f32(&negatives, self.negatives + k)
    nk_put_four_f32(&offsets, self.offsets + k)
  }

  /// Makes the factors of rows that are never set ordinary.
  @inline(__always)
  func clear() { A.store(negatives, 0, A.splat(1)) }

  /// Whether the factors of `count` rows, which are Float, are far from overflow and underflow. Four are read at once,
  /// as they were written: more would have to wait until all that was stored before them has reached the cache.
  @inline(__always)
  func areOrdinary(_ count: Int) -> Bool {
    var k = 0
    while k < count {
      if !nk_are_between_f32(negatives + k, 0x1p-99, 0x1p99) { return false }
      k &+= 4
    }
    return true
  }
}

extension nk_standard {
  /// y = (mean - x) * negative + offset, in the type of computation.
  @inline(__always)
  func terms<A: Arithmetic>(_: A.Type) -> (mean: A, negative: A, offset: A) {
    (A.narrow(mean), A.narrow(-factor), A.narrow(offset(scale: factor, beta: 0)))
  }
}
