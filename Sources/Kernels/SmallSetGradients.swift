// Backward for sets that have one gamma each and are short, such as slices of weights, or consist of short runs that
// lie far from each other, such as channels of small images, of which every sample has a few elements. Neighbouring
// sets are taken together: the chains of operations that finish each overlap.

import NormKitFloor

/// Sets that are taken together.
private let mostSmallSets = 8
/// Their bytes, of x and dy, about, if a set is one run, and if they come from memory: reading and writing then take
/// turns more often.
private let mostBytes = 16 * 1024, mostBytesOfMemory = 8 * 1024

/// Sets of several longer runs are taken one by one.
private let shortRunBytes = 2048

extension nk_job {
  /// How many such sets are taken together; 1 if sets are not such, or too large for two.
  @inline(__always)
  func smallSetsTogether<E: Element, D: Derivative>(_: E.Type, _: D.Type) -> Int {
    guard D.isFrequent && Int(parameter_form) == NK_ONE_PER_SET && Int(run) <= gradientChunkLength else { return 1 }
    if reduced.extent > 1 { return Int(run) &* E.size <= shortRunBytes ? mostSmallSets : 1 }
    let sets = min(mostSmallSets, (streams != 0 ? mostBytesOfMemory : mostBytes) / (2 &* Int(run) &* E.size))
    // Four are finished side by side, so that there are as many of fours as are nearest; three would take longer.
    return sets < 3 ? max(1, sets) : (sets &+ 1) & ~3
  }

  /// dx from set `first` on, if it is joined to whole lines.
  @inline(__always)
  func joinedLines<E: Element>(_: E.Type, _ first: Int, _ memory: UnsafeMutableRawPointer) -> JoinedLines? {
    guard Int(streams) == NK_STREAMS_JOINED, let dx else { return nil }
    return JoinedLines(dx + first &* Int(run) &* E.size, GradientScratch(memory).rest + 1024)
  }

  /// The gradients of sets `first` to `first + count - 1`, of which there are `mostSmallSets` at most, and which are
  /// standardized. `lines`: what dx is joined to.
  @inline(never)
  func smallSetGradients<E: Element>(
    _: E.Type, _ first: Int, _ count: Int, _ memory: UnsafeMutableRawPointer, _ sums: ParameterSums<E.Natural>?,
    _ lines: inout JoinedLines?
  ) {
    let scratch = GradientScratch(memory), small = SmallSetScratch(scratch.totals), bytes = Int(run) &* E.size
    for k in 0..<count {
      var start = gradientStart(E.self, first &+ k)
      if let lines { start.dx = lines.end + k &* bytes }
      scratch.starts[k] = start
    }
    prepareSmallSets(E.Natural.self, first, count, small)
    if needs_gradient_sums != 0 {
      for piece in 0..<Int(pieces) { sumSmallSets(E.self, piece, count, scratch, small) }
    }
    finishSmallSets(first, count, scratch, small, sums)
    if dx != nil { applySmallSets(E.self, count, scratch, small, streams: streams != 0 && lines == nil) }
    lines?.append(count &* bytes)
  }

  /// Sets the parameters of the sets at hand.
  @inline(never)
  private func prepareSmallSets<N: Arithmetic>(_: N.Type, _ first: Int, _ count: Int, _ small: SmallSetScratch) {
    var parameter = firstParameter(first)
    for k in 0..<count {
      if k > 0 { parameter = nextParameter(parameter, first &+ k) }
      small.set(k, parameter, weight(parameter, as: N.self))
    }
  }

  /// The gradients of the sets at hand from their totals.
  @inline(never)
  private func finishSmallSets<N: Arithmetic>(
    _ first: Int, _ count: Int, _ scratch: GradientScratch, _ small: SmallSetScratch, _ sums: ParameterSums<N>?
  ) {
    var k = 0
    while k &+ 4 <= count && canFinishFourGradients(N.self) {
      finishFourGradients(small.h(k), small.hz(k), small.beside(k), scratch.standards + k, scratch.gradients + k) {
        h, hz in
        sums?.add(k, h, hz, small)
        let weights = small.fourWeights(k)
        h *= weights
        hz *= weights
      }
      k &+= 4
    }
    while k < count {
      scratch.gradients[k] = finishGradient(first &+ k, small.total(k), &scratch.standards[k], sums)
      k &+= 1
    }
  }

  /// The sums of one piece of such a set, which starts at `start`, on its own.
  @inline(never)
  func smallSetSums<E: Element>(
    _: E.Type, _ piece: Int, _ start: GradientStart, _ standard: nk_standard, _ memory: UnsafeMutableRawPointer
  ) -> nk_gradient_sums {
    let scratch = GradientScratch(memory), small = SmallSetScratch(scratch.totals)
    scratch.starts[0] = start
    scratch.standards[0] = standard
    small.set(0, 0, 1)
    sumSmallSets(E.self, piece, 1, scratch, small)
    return small.total(0)
  }

  /// Adds the sums of one piece of each set to its totals. Of all sets as many runs are taken as fit one chunk.
  @inline(never)
  private func sumSmallSets<E: Element>(
    _: E.Type, _ piece: Int, _ count: Int, _ scratch: GradientScratch, _ small: SmallSetScratch
  ) {
    let folds = NK_FOUR_VECTORS != 0 && E.Natural.self == Float.self
    let folded = FoldedGradientSums(scratch.rest, most: mostSmallSets)
    let rows = gradientChunkLength / ((Int(run) &+ 15) & ~15)
    var f = piece &* Int(piece_length)
    let end = min(f &+ Int(piece_length), Int(reduced.extent))
    small.clearPiece()
    while f < end {
      let next = min(f &+ rows, end)
      for k in 0..<count {
        let start = scratch.starts[k]
        if folds && reduced.extent == 1 {
          foldGradientSums(E.self, start.x, start.dy, Int(run), scratch.standards[k], NoWeights(), folded, k)
        } else {
          sumRuns(E.self, f, next, k, scratch, folds ? folded : nil, small)
        }
      }
      if folds { small.add(folded, count) }
      f = next
    }
    small.endPiece()
  }

  /// Sums runs `begin ..< end` of the k-th set. They go to `folded`, if it is not nil.
  @inline(never)
  private func sumRuns<E: Element>(
    _: E.Type, _ begin: Int, _ end: Int, _ k: Int, _ scratch: GradientScratch, _ folded: FoldedGradientSums?,
    _ small: SmallSetScratch
  ) {
    let start = scratch.starts[k]
    var chunk = GradientChunkSums<E, AlongValue>(scratch.standards[k], reach: 0)
    for f in begin..<end {
      let offset = reducedOffset(f)
      chunk.add(start.x + offset.x &* E.size, start.dy + offset.y &* E.size, 0, Int(run), NoWeights())
    }
    if let folded { folded.set(k, chunk) } else { small.add(k, chunk.total) }
  }

  @inline(never)
  private func applySmallSets<E: Element>(
    _: E.Type, _ count: Int, _ scratch: GradientScratch, _ small: SmallSetScratch, streams: Bool
  ) {
    for f in 0..<Int(reduced.extent) {
      let offset = reducedOffset(f)
      for k in 0..<count {
        let start = scratch.starts[k]
        guard let dx = start.dx else { continue }
        applyUniformGradient(
          E.self, AlongValue.self, start.x + offset.x &* E.size, start.dy + offset.y &* E.size,
          dx + offset.dx &* E.size, Int(run), scratch.standards[k], scratch.gradients[k], gamma: small.weights[k],
          reach: 0, streams: streams)
      }
    }
  }
}

/// Sums, parameters and their weights of the sets at hand.
private struct SmallSetScratch {
  let weights: UnsafeMutablePointer<Double>
  private let parameters: UnsafeMutablePointer<Int>
  /// Of all pieces so far, and of the piece at hand: of h, of h * z, and beside.
  private let totals, sums: UnsafeMutablePointer<Double>

  @inline(__always)
  init(_ memory: UnsafeMutableRawPointer) {
    weights = memory.assumingMemoryBound(to: Double.self)
    parameters = (memory + 8 &* mostSmallSets).assumingMemoryBound(to: Int.self)
    totals = weights + (2 &* mostSmallSets)
    sums = totals + (3 &* mostSmallSets)
  }

  /// Sets the parameter of set `k`, and its totals to 0.
  @inline(__always)
  func set(_ k: Int, _ parameter: Int, _ weight: Double) {
    weights[k] = weight
    parameters[k] = parameter
    for quantity in 0..<3 { totals[quantity &* mostSmallSets &+ k] = 0 }
  }

  @inline(__always)
  func parameter(_ k: Int) -> Int { parameters[k] }

  /// Begins a piece.
  @inline(never)
  func clearPiece() {
    for quantity in 0..<3 {
      for k in stride(from: 0, to: mostSmallSets, by: 4) { four(sums, quantity, k).pointee = SIMD4(repeating: 0) }
    }
  }

  /// Adds to what set `k` has in the piece at hand.
  @inline(__always)
  func add(_ k: Int, _ total: nk_gradient_sums) {
    sums[k] += total.h
    sums[mostSmallSets &+ k] += total.hz
    sums[2 &* mostSmallSets &+ k] += total.beside
  }

  /// The same for `count` sets.
  @inline(never)
  func add(_ folded: FoldedGradientSums, _ count: Int) {
    if count & 3 != 0 { folded.fill(count) }
    var k = 0
    while k < count {
      let (h, hz, beside) = folded.total(k)
      four(sums, 0, k).pointee += h
      four(sums, 1, k).pointee += hz
      four(sums, 2, k).pointee += beside
      k &+= 4
    }
  }

  /// Adds the piece at hand to the totals. Those of sets that there are not are not asked for.
  @inline(never)
  func endPiece() {
    for quantity in 0..<3 {
      for k in stride(from: 0, to: mostSmallSets, by: 4) {
        four(totals, quantity, k).pointee += four(sums, quantity, k).pointee
      }
    }
  }

  @inline(__always)
  func total(_ k: Int) -> nk_gradient_sums {
    nk_gradient_sums(h: totals[k], hz: totals[mostSmallSets &+ k], beside: totals[2 &* mostSmallSets &+ k])
  }

  /// Those of four sets from `k` on.
  @inline(__always) func h(_ k: Int) -> SIMD4<Double> { four(totals, 0, k).pointee }
  @inline(__always) func hz(_ k: Int) -> SIMD4<Double> { four(totals, 1, k).pointee }
  @inline(__always) func beside(_ k: Int) -> SIMD4<Double> { four(totals, 2, k).pointee }
  @inline(__always) func fourWeights(_ k: Int) -> SIMD4<Double> { four(weights, 0, k).pointee }

  @inline(__always)
  private func four(
    _ array: UnsafeMutablePointer<Double>, _ quantity: Int, _ k: Int
  ) -> UnsafeMutablePointer<SIMD4<Double>> {
    UnsafeMutableRawPointer(array + (quantity &* mostSmallSets &+ k)).assumingMemoryBound(to: SIMD4<Double>.self)
  }
}

extension ParameterSums {
  /// Adds what four sets from the k-th at hand on give.
  @inline(__always)
  fileprivate func add(_ k: Int, _ h: SIMD4<Double>, _ hz: SIMD4<Double>, _ small: SmallSetScratch) {
    for i in 0..<4 {
      let parameter = small.parameter(k &+ i)
      dgamma[parameter] += hz[i]
      dbeta[parameter] += h[i]
    }
  }
}
