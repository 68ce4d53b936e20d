// Backward, from sums to gradients for four sets side by side, such as rows that are short enough for one chunk of
// sums.

import NormKitFloor

extension nk_job {
  /// Whether `finishFourGradients` does what `correct` and `gradient` do.
  @inline(__always)
  func canFinishFourGradients<N: Arithmetic>(_: N.Type) -> Bool {
    guard NK_FOUR_VECTORS != 0 && N.self == Float.self && Int(gradient) == NK_GRADIENT_FORMED else { return false }
    switch Int(statistic) {
    case NK_MOMENTS, NK_MEAN_SQUARE: return Int(rule) == NK_INSIDE_SQRT
    case NK_SQUARE_SUM: return Int(rule) == NK_ADDED
    default: return false
    }
  }

  /// What `correct` and `gradient` do for one set, for four, which `standards` standardize; in between, `weigh` gets
  /// the sums of h and of h * z.
  @inline(__always)
  func finishFourGradients(
    _ h: SIMD4<Double>, _ hz: SIMD4<Double>, _ beside: SIMD4<Double>, _ standards: UnsafeMutablePointer<nk_standard>,
    _ gradients: UnsafeMutablePointer<nk_gradient>,
    weigh: (_ h: inout SIMD4<Double>, _ hz: inout SIMD4<Double>) -> Void
  ) {
    let zero = SIMD4<Double>(repeating: 0)
    var h = h, hz = hz, means = zero
    var columns = (mean: zero, residue: zero, factor: zero, quantity: zero)
    nk_transpose(standards, &columns)
    if Int(statistic) == NK_MOMENTS {
      let errors = beside * inverse_count
      var lost = errors * h, residues = errors / columns.factor
      nk_clear_with(&lost, &columns.factor)
      hz -= lost
      nk_clear_with(&residues, &columns.factor)
      columns.residue += residues
      nk_transpose(&columns, standards)
    }
    weigh(&h, &hz)
    if Int(statistic) == NK_MOMENTS { means = h * inverse_count }
    if Int(statistic) == NK_SQUARE_SUM {
      var shares = columns.factor * columns.quantity
      nk_inverse(&shares)
      hz *= shares
    } else {
      hz *= inverse_count
    }
    // The negative of 0 is -0, as for one set.
    nk_negate(&hz)
    nk_negate(&means)
    var slopes = hz * columns.factor, shifts = means * columns.factor
    nk_pair(&slopes, &shifts, gradients)
  }

  /// Whether sets are rows that one chunk holds, with a gamma for each element.
  @inline(__always)
  func areShortGradientRows<E: Element, D: Derivative>(_: E.Type, _: D.Type) -> Bool {
    D.isFrequent && Int(parameter_form) == NK_ELEMENTS && hasGammasOfRows && Int(run) <= gradientChunkLength
      && canFinishFourGradients(E.Natural.self)
  }

  /// The gradients of four such rows at most, whose sums are joined and finished side by side.
  @inline(never)
  func finishShortGradientRows<E: Element>(_: E.Type, _ count: Int, _ scratch: GradientScratch) {
    let weights = ElementWeights(gammas: UnsafeRawPointer(gammas)), folded = FoldedGradientSums(scratch.rest, most: 4)
    for k in 0..<count {
      let start = scratch.starts[k]
      foldGradientSums(E.self, start.x, start.dy, Int(run), scratch.standards[k], weights, folded, k)
    }
    // The first row stands in for those that are missing.
    for k in count..<4 { scratch.standards[k] = scratch.standards[0] }
    if count < 4 { folded.fill(count) }
    let (h, hz, beside) = folded.total(0)
    finishFourGradients(h, hz, beside, scratch.standards, scratch.gradients) { _, _ in }
  }
}
