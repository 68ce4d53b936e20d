// Sums of rows, four of which are added up side by side: the chain of additions of one would take longer than many a
// row.

import NormKitFloor

struct FoldedSums {
  /// What is left of the lanes of each row.
  let rows: UnsafeMutablePointer<SIMD4<Double>>

  static func bytes(_ count: Int) -> Int { count &* MemoryLayout<SIMD4<Double>>.stride }

  @inline(__always)
  init(_ memory: UnsafeMutableRawPointer) { rows = memory.assumingMemoryBound(to: SIMD4<Double>.self) }

  @inline(__always)
  func set<A: Arithmetic>(_ k: Int, _ lanes: SIMD16<A>) { nk_fold_f32(Float.narrow(A.widen(lanes)), rows + k) }

  /// A row whose lanes are added up already: `total` gives `sum` exactly.
  @inline(__always)
  func set(_ k: Int, _ sum: Double) { rows[k] = SIMD4(sum, 0, 0, 0) }

  /// The sums of four rows from `k` on.
  @inline(__always)
  func total(_ k: Int) -> SIMD4<Double> {
    var sums = SIMD4<Double>(repeating: 0)
    nk_sum_folded(rows + k, &sums)
    return sums
  }

  /// Lets the first of the last four of `count` rows stand in for those that these lack.
  @inline(never)
  func fill(_ count: Int) {
    for k in count..<(count &+ 3) & ~3 { rows[k] = rows[count & ~3] }
  }
}
