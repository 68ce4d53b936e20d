// Rows that are short enough for one chunk of sums: four at a time, whose sums are joined and finished side by side.
// What is done once per row would otherwise take longer than the row.

import NormKitFloor

extension nk_job {
  /// Whether sets are such rows.
  @inline(__always)
  func areShortRows<E: Element, R: Reduction>(_: E.Type, _: R.Type) -> Bool {
    NK_FOUR_VECTORS != 0 && R.Change.isFrequent && E.Natural.self == Float.self && reduced.extent == 1
      && Int(run) <= chunkLength(Float.self)
  }

  /// What standardizes rows `first` to `first + count - 1`, of which there are four at most.
  @inline(never)
  func standardizeShortRows<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    // Where there are fewer rows than four, the last one stands in for those that are missing.
    let row0 = start(E.self, first).x, row1 = row(E.self, row0, first, min(1, count &- 1))
    let row2 = row(E.self, row0, first, min(2, count &- 1)), row3 = row(E.self, row0, first, count &- 1)
    var shifts = SIMD4<Double>(repeating: 0), firsts = shifts, seconds = shifts
    if R.isCentred {
      let places = samplePlaces
      nk_sum_four_f32(
        sampleLanes(E.self, row0, places), sampleLanes(E.self, row1, places), sampleLanes(E.self, row2, places),
        sampleLanes(E.self, row3, places), &shifts)
      shifts *= 0x1p-6
      nk_round_to_f32(&shifts)
    }
    let sums0 = rowSums(E.self, R.self, row0, shift: shifts[0])
    var sums1 = sums0, sums2 = sums0, sums3 = sums0
    if count > 1 { sums1 = rowSums(E.self, R.self, row1, shift: shifts[1]) }
    if count > 2 { sums2 = rowSums(E.self, R.self, row2, shift: shifts[2]) }
    if count > 3 { sums3 = rowSums(E.self, R.self, row3, shift: shifts[3]) }
    if R.isCentred { nk_sum_four_f32(sums0.first, sums1.first, sums2.first, sums3.first, &firsts) }
    nk_sum_four_f32(sums0.second, sums1.second, sums2.second, sums3.second, &seconds)
    if isPlain && areReliable(R.self, firsts, seconds) {
      return finishFour(R.self, first, count, firsts, seconds, shifts, standards)
    }
    for k in 0..<count {
      let sums = nk_sums(first: firsts[k], second: seconds[k])
      standards[k] = standardOfRuns(E.self, R.self, first &+ k, start(E.self, first &+ k).x, sums, E.Natural(shifts[k]))
    }
  }

  /// Where row `first + k` begins; row `first` does at `x`.
  @inline(__always)
  private func row<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ first: Int, _ k: Int) -> UnsafeRawPointer {
    kept.count == 1 ? x + k &* Int(kept.axis.0.x_stride) &* E.size : start(E.self, first &+ k).x
  }

  @inline(__always)
  private func areReliable<R: Reduction>(_: R.Type, _ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>) -> Bool {
    R.isReliable(nk_sums(first: firsts[0], second: seconds[0]), count, in: Float.self)
      && R.isReliable(nk_sums(first: firsts[1], second: seconds[1]), count, in: Float.self)
      && R.isReliable(nk_sums(first: firsts[2], second: seconds[2]), count, in: Float.self)
      && R.isReliable(nk_sums(first: firsts[3], second: seconds[3]), count, in: Float.self)
  }

  /// Sums of the row at `x`, in sixteen lanes.
  @inline(__always)
  private func rowSums<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, shift: Double
  ) -> (first: SIMD16<Float>, second: SIMD16<Float>) {
    var sums = ChunkSums<Float, R>()
    sums.add(E.self, x, 0, Int(run), Float.splat(Float(shift)))
    return (sums.joinedFirst, sums.joinedSecond)
  }

  /// Whether nothing but mean and reciprocal deviation is made of the sums.
  @inline(__always)
  private var isPlain: Bool {
    Int(rule) == NK_INSIDE_SQRT && (spread == nil || Int(spread_kind) == NK_FACTOR) && running_mean == nil
      && moments == nil && set_sums == nil
  }

  /// What `finish` does for one set.
  @inline(__always)
  private func finishFour<R: Reduction>(
    _: R.Type, _ first: Int, _ count: Int, _ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>,
    _ shifts: SIMD4<Double>, _ standards: UnsafeMutablePointer<nk_standard>
  ) {
    var means = shifts, residues = shifts, quantities = seconds
    if R.isCentred {
      let deltas = firsts * inverse_count
      quantities -= firsts * deltas
      nk_floor_at_0(&quantities)
      means += deltas
      nk_round_to_f32(&means)
      residues -= means
      residues += deltas
    }
    quantities *= inverse_count
    var factors = quantities + epsilon
    nk_inverse_root(&factors)
    for k in 0..<count {
      standards[k] = nk_standard(mean: means[k], residue: residues[k], factor: factors[k], quantity: quantities[k])
    }
    if let mean { for k in 0..<count { put(mean, first &+ k, means[k], as: Float.self) } }
    if let spread { for k in 0..<count { put(spread, first &+ k, factors[k], as: Float.self) } }
  }
}
