// Backward for sets of short runs that lie far from each other, such as a channel of small images: every sample has a
// few of its elements. Neighbouring sets are taken together, so that each stretch of memory is passed once.

import NormKitFloor

/// Sets that are taken together; their states fit the scratch memory.
let mostScatteredSets = 8

/// Longer runs are taken set by set.
private let shortRunBytes = 2048

extension nk_job {
  @inline(__always)
  func isScattered(elementSize: Int) -> Bool {
    Int(parameter_form) == NK_ONE_PER_SET && reduced.extent > 1 && Int(run) &* elementSize <= shortRunBytes
  }

  /// Sets `first` to `first + count - 1`, of which there are `mostScatteredSets` at most.
  @inline(never)
  func scatteredGradients<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ first: Int, _ count: Int, _ memory: UnsafeMutableRawPointer,
    _ sums: ParameterSums<E.Natural>?
  ) {
    let scratch = GradientScratch(memory)
    standardizeSets(E.self, R.self, first, count, memory, scratch.standards)
    for k in 0..<count { scratch.starts[k] = gradientStart(E.self, first &+ k) }
    let totals = scratch.rest.assumingMemoryBound(to: nk_gradient_sums.self)
    for k in 0..<count { totals[k] = nk_gradient_sums(h: 0, hz: 0, beside: 0) }
    if needs_gradient_sums != 0 {
      for piece in 0..<Int(pieces) { addScatteredSums(E.self, R.Change.self, piece, count, scratch, totals) }
    }
    for k in 0..<count {
      scratch.gradients[k] = finishGradient(first &+ k, totals[k], &scratch.standards[k], sums)
    }
    if dx != nil { applyScattered(E.self, R.Change.self, first, count, scratch) }
  }

  /// Adds the sums of one piece of each set to `totals`.
  @inline(never)
  private func addScatteredSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ piece: Int, _ count: Int, _ scratch: GradientScratch,
    _ totals: UnsafeMutablePointer<nk_gradient_sums>
  ) {
    let states = (scratch.rest + 1024).assumingMemoryBound(to: GradientSummation<E, D>.self)
    for k in 0..<count {
      let standard = scratch.standards[k]
      (states + k).initialize(to: GradientSummation<E, D>(standard, reach: reach(standard)))
    }
    forRuns(of: piece) { f, _, length in
      let offset = reducedOffset(f)
      for k in 0..<count {
        let start = scratch.starts[k]
        states[k].add(start.x + offset.x &* E.size, start.dy + offset.y &* E.size, length, NoWeights())
      }
    }
    for k in 0..<count { totals[k].add(states[k].finish()) }
  }

  @inline(never)
  private func applyScattered<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ first: Int, _ count: Int, _ scratch: GradientScratch
  ) {
    for f in 0..<Int(reduced.extent) {
      let offset = reducedOffset(f)
      for k in 0..<count {
        let start = scratch.starts[k]
        guard let dx = start.dx else { continue }
        applyUniformGradient(
          E.self, D.self, start.x + offset.x &* E.size, start.dy + offset.y &* E.size, dx + offset.dx &* E.size,
          Int(run), scratch.standards[k], scratch.gradients[k],
          gamma: weight(firstParameter(first &+ k), as: E.Natural.self), reach: reach(scratch.standards[k]),
          streams: streams != 0)
      }
    }
  }
}
