// Backward for jobs whose sets are runs of neighbouring elements.

import NormKitFloor

/// Rows that are passed as one, and their bytes, of x and dy, at most: they share gamma.
private let mostRows = 4
private let mostBytes = 256 * 1024
/// Bytes of short rows that are taken together: the steps from sums to gradients are a long chain for four of them;
/// those of several fours overlap.
private let mostShortBytes = 8 * 1024

/// Where the elements of a set begin.
struct GradientStart {
  let x, dy: UnsafeRawPointer
  var dx: UnsafeMutableRawPointer?
}

/// Working memory for the sets at hand.
struct GradientScratch {
  let standards: UnsafeMutablePointer<nk_standard>
  let gradients: UnsafeMutablePointer<nk_gradient>
  let starts: UnsafeMutablePointer<GradientStart>
  let totals: UnsafeMutablePointer<nk_gradient_sums>
  /// More, aligned to 64.
  let rest: UnsafeMutableRawPointer

  /// Behind the memory that standards are formed in.
  @inline(__always)
  init(_ base: UnsafeMutableRawPointer) {
    let base = base + runScratchBytes
    standards = base.assumingMemoryBound(to: nk_standard.self)
    gradients = (base + 512).assumingMemoryBound(to: nk_gradient.self)
    starts = (base + 1024).assumingMemoryBound(to: GradientStart.self)
    totals = (base + 2048).assumingMemoryBound(to: nk_gradient_sums.self)
    rest = base + 3072
  }

  @inline(__always)
  private init(_ other: GradientScratch, from k: Int) {
    standards = other.standards + k
    gradients = other.gradients + k
    starts = other.starts + k
    totals = other.totals + k
    rest = other.rest
  }

  /// That of the sets from the k-th on.
  @inline(__always)
  func from(_ k: Int) -> GradientScratch { GradientScratch(self, from: k) }
}

extension nk_job {
  @inline(__always)
  func runGradients<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ phase: Int, _ begin: Int, _ end: Int, _ memory: UnsafeMutableRawPointer
  ) {
    var task = begin
    while task < end {
      if phase == NK_GRADIENT_WHOLE {
        runStrip(E.self, R.self, task, memory)
      } else {
        partOfGradient(E.self, R.Change.self, phase, task, memory)
      }
      task &+= 1
    }
  }

  @inline(__always)
  func gradientStart<E: Element>(_: E.Type, _ s: Int) -> GradientStart {
    let offset = setOffset(s)
    return GradientStart(
      x: x + offset.x &* E.size, dy: dy + offset.y &* E.size, dx: dx.map { $0 + offset.dx &* E.size })
  }

  /// All sets of a strip, in order.
  @inline(__always)
  private func runStrip<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ strip: Int, _ memory: UnsafeMutableRawPointer
  ) {
    let sums = ParameterSums<E.Natural>(self, strip: strip)
    let smallSets = smallSetsTogether(E.self, R.Change.self)
    let together = rowsTogether(E.self, R.Change.self) ?? smallSets
    let end = min((strip &+ 1) &* Int(strip_units), Int(units))
    var s = strip &* Int(strip_units), recent = 0
    var lines = smallSets > 1 ? joinedLines(E.self, s, memory) : nil
    while s < end {
      let count = min(together, end &- s)
      standardizeSets(E.self, R.self, s, count, memory, GradientScratch(memory).standards)
      if smallSets > 1 {
        smallSetGradients(E.self, s, count, memory, sums, &lines)
      } else {
        wholeGradients(E.self, R.Change.self, s, count, memory, sums)
      }
      s &+= count
      recent &+= count &* Int(reduced.extent)
      if Int(parameter_form) == NK_ELEMENTS && recent >= recentRows {
        sums?.join(0, Int(parameters))
        recent = 0
      }
    }
    if Int(parameter_form) == NK_ELEMENTS { sums?.join(0, Int(parameters)) }
    lines?.finish()
  }

  /// How many sets are taken together if they are rows with parameters for each element: a number that goes into
  /// `recentRows`.
  @inline(__always)
  private func rowsTogether<E: Element, D: Derivative>(_: E.Type, _: D.Type) -> Int? {
    let bytes = setSize &* E.size &* 2
    guard Int(parameter_form) == NK_ELEMENTS && bytes &* mostRows <= mostBytes else { return nil }
    if streams != 0 || !areShortGradientRows(E.self, D.self) { return mostRows }
    return bytes &* 16 <= mostShortBytes ? 16 : bytes &* 8 <= mostShortBytes ? 8 : mostRows
  }

  /// The gradients of `count` sets that are standardized.
  @inline(never)
  private func wholeGradients<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ first: Int, _ count: Int, _ memory: UnsafeMutableRawPointer,
    _ sums: ParameterSums<E.Natural>?
  ) {
    let scratch = GradientScratch(memory)
    for k in 0..<count { scratch.starts[k] = gradientStart(E.self, first &+ k) }
    if needs_gradient_sums != 0 && areShortGradientRows(E.self, D.self) {
      for k in stride(from: 0, to: count, by: 4) {
        finishShortGradientRows(E.self, min(4, count &- k), scratch.from(k))
      }
    } else {
      for k in 0..<count {
        scratch.totals[k] = nk_gradient_sums(h: 0, hz: 0, beside: 0)
        if needs_gradient_sums != 0 { sumGradients(E.self, D.self, first &+ k, k, scratch, sums) }
      }
      for k in 0..<count {
        scratch.gradients[k] = finishGradient(first &+ k, scratch.totals[k], &scratch.standards[k], sums)
      }
    }
    guard dx != nil || sums != nil && Int(parameter_form) == NK_ELEMENTS else { return }
    var k = 0
    if NK_FOUR_VECTORS != 0 && Int(parameter_form) == NK_ELEMENTS && hasGammasOfRows {
      while k &+ 4 <= count {
        applyFourGradients(E.self, scratch.from(k), sums)
        k &+= 4
      }
    }
    for k in k..<count {
      let start = scratch.starts[k]
      for piece in 0..<Int(pieces) {
        applyGradient(
          E.self, D.self, first &+ k, piece, start, scratch.standards[k], scratch.gradients[k], sums)
      }
    }
  }

  /// Sums over all pieces of set `s`, which is the k-th at hand.
  @inline(__always)
  private func sumGradients<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ s: Int, _ k: Int, _ scratch: GradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    let start = scratch.starts[k]
    for piece in 0..<Int(pieces) {
      scratch.totals[k].add(
        pieceGradientSums(E.self, D.self, s, piece, start.x, start.dy, scratch.standards[k], sums))
    }
  }

  /// Whether sets are rows with a gamma for each element, the same for all rows.
  @inline(__always)
  var hasGammasOfRows: Bool { parameters == run && pieces == 1 && reduced.extent == 1 }

  /// The gradient of set `s` from its sums; adds to the gradients of its parameters, unless they have a part in the
  /// sums of elements.
  @inline(never)
  func finishGradient<N: Arithmetic>(
    _ s: Int, _ total: nk_gradient_sums, _ standard: inout nk_standard, _ sums: ParameterSums<N>?
  ) -> nk_gradient {
    var total = total
    let error = correct(&total, &standard)
    switch Int(parameter_form) {
    case NK_ONE_PER_SET: weigh(&total, firstParameter(s), sums)
    case NK_SEGMENTS:
      guard let sums else { break }
      let first = firstParameter(s)
      let last = first &+ (Int(run) &- 1) / Int(segment)
      for i in first...last {
        sums.dgamma[i] -= error * sums.current[i]
        sums.dbeta[i] += sums.current[i]
        sums.current[i] = 0
      }
    default: break
    }
    return gradient(s, total, &standard, as: N.self)
  }

  /// One task of the phases in which several threads share a set. They have no sums of parameters but those of sets
  /// that have parameters of their own.
  @inline(never) @_optimize(size)
  private func partOfGradient<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ phase: Int, _ task: Int, _ memory: UnsafeMutableRawPointer
  ) {
    let isSet = phase == NK_GRADIENT_FINISH
    let s = isSet ? task : task / Int(pieces), piece = task &- s &* Int(pieces)
    let start = gradientStart(E.self, s)
    switch phase {
    case NK_GRADIENT_SUMS:
      if smallSetsTogether(E.self, D.self) > 1 {
        gradient_sums[task] = smallSetSums(E.self, piece, start, standards[s], memory)
      } else {
        gradient_sums[task] = pieceGradientSums(E.self, D.self, s, piece, start.x, start.dy, standards[s], nil)
      }
    case NK_GRADIENT_FINISH:
      var total = nk_gradient_sums(h: 0, hz: 0, beside: 0)
      if needs_gradient_sums != 0 {
        for piece in 0..<Int(pieces) { total.add(gradient_sums[s &* Int(pieces) &+ piece]) }
      }
      gradients[s] = finishGradient(s, total, &standards[s], ParameterSums<E.Natural>(self, strip: 0))
    default:
      applyGradient(E.self, D.self, s, piece, start, standards[s], gradients[s], nil)
    }
  }
}
