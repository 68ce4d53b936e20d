// Backward, the gradient of rows of lanes.

import NormKitFloor

/// Rows that are passed at once if they have `narrowLanes` lanes at most, and are read in the order of memory all the
/// same.
private let narrowRows = 32

/// What the gradients of sixteen lanes are made of.
private struct ColumnLanes<A: Arithmetic> {
  let mean, factor, quantity, scale: SIMD16<A>
  let terms: GradientTerms<A>

  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int) {
    mean = A.load(UnsafeRawPointer(scratch.mean(A.self)), j)
    factor = A.load(UnsafeRawPointer(scratch.factor(A.self)), j)
    quantity = A.load(UnsafeRawPointer(scratch.quantity(A.self)), j)
    scale = A.load(UnsafeRawPointer(scratch.scale(A.self)), j)
    terms = GradientTerms(
      slope: A.load(UnsafeRawPointer(scratch.slope(A.self)), j),
      shift: A.load(UnsafeRawPointer(scratch.shift(A.self)), j))
  }

  /// z, but for the residue of the mean, which `terms` have.
  @inline(__always)
  func standardize(_ x: SIMD16<A>) -> SIMD16<A> { (x - mean) * factor }

  /// dx, where lanes have a gamma each.
  @inline(__always)
  func gradient<D: Derivative>(_ x: SIMD16<A>, _ dy: SIMD16<A>, as: D.Type) -> SIMD16<A> {
    terms.apply(dy, scale, D.direction(standardize(x), x, quantity))
  }
}

/// Evenly spaced rows of lanes that have a gamma each.
private struct Rows<E: Element, D: Derivative> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  let dx: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  let xStep, dyStep, dxStep: Int
  let count: Int
  let scratch: ColumnGradientScratch
  let streams: Bool

  /// How many rows share the coefficients that are loaded for them.
  @inline(__always)
  static func most(areNarrow: Bool) -> Int {
    if !D.isFrequent || NK_FOUR_VECTORS == 0 { return 1 }
    return hasWideRegisters && areNarrow ? narrowRows : 2
  }

  /// Whether whole pairs are taken together: where there are registers for the coefficients of two.
  @inline(__always) static var havePairs: Bool { E.prefersPairs || hasWideRegisters && D.isFrequent && E.size < 8 }

  /// Writes dx of all lanes. `head`: elements before the first line that is stored past the caches.
  @inline(__always)
  func apply(_ width: Int, head: Int) {
    var j = 0
    if Self.havePairs && head == 0 {
      if count == 2 { j = applyPairsOfTwo(width) }
      while j &+ 64 <= width {
        applyPairs(j, isTwo: true)
        j &+= 64
      }
      if j &+ 32 <= width {
        applyPairs(j, isTwo: false)
        j &+= 32
      }
    }
    while hasFourVectors && E.size < 8 && !Self.havePairs && !streams && count == 2 && j &+ 16 <= width {
      let lanes = ColumnLanes<N>(scratch, j)
      let result0 = gradient(0, j, 16, lanes), result1 = gradient(1, j, 16, lanes)
      store(0, j, 16, result0)
      store(1, j, 16, result1)
      j &+= 16
    }
    forVectors(from: j, head: head, width) { j, length in
      let lanes = ColumnLanes<N>(scratch, j)
      forRows(count) { k in store(k, j, length, gradient(k, j, length, lanes)) }
    }
  }

  /// dx of `length` lanes from `j` on, sixteen at most, of row `k`.
  @inline(__always)
  private func gradient(_ k: Int, _ j: Int, _ length: Int, _ lanes: ColumnLanes<N>) -> SIMD16<N> {
    let value = E.load(x + k &* xStep, j, upTo: length, as: N.self)
    return lanes.gradient(value, E.load(dy + k &* dyStep, j, upTo: length, as: N.self), as: D.self)
  }

  @inline(__always)
  private func store(_ k: Int, _ j: Int, _ length: Int, _ result: SIMD16<N>) {
    E.store(dx + k &* dxStep, j, upTo: length, result, streams: streams)
  }

  /// The same of whole pairs of lanes, if there are two rows. Each is read before the one before it is written: see
  /// `Change`. Returns where they end.
  @inline(__always)
  private func applyPairsOfTwo(_ width: Int) -> Int {
    let last = width & ~31 &- 32
    if last < 0 { return 0 }
    var j = 0, (x0, dy0) = loadPairs(0, 0), (x1, dy1) = loadPairs(1, 0)
    while true {
      let pair = LanePair<N>(scratch, j), next = min(j &+ 32, last)
      let next0 = loadPairs(0, next), next1 = loadPairs(1, next)
      E.storePair(dx, j, pair.gradient(x0, dy0, as: D.self), streams: streams)
      E.storePair(dx + dxStep, j, pair.gradient(x1, dy1, as: D.self), streams: streams)
      if j == last { return j &+ 32 }
      (x0, dy0) = next0
      (x1, dy1) = next1
      j = next
    }
  }

  /// A pair of lanes from `j` on of row `k`.
  @inline(__always)
  private func loadPairs(_ k: Int, _ j: Int) -> (x: Pair<N>, dy: Pair<N>) {
    (E.loadPair(x + (k &* xStep &+ j &* E.size)), E.loadPair(dy + (k &* dyStep &+ j &* E.size)))
  }

  /// dx of two pairs of lanes from `j` on, or of one.
  @inline(__always)
  private func applyPairs(_ j: Int, isTwo: Bool) {
    let pair0 = LanePair<N>(scratch, j), pair1 = isTwo ? LanePair<N>(scratch, j &+ 32) : pair0
    let start = j &* E.size, second = 32 &* E.size
    var x = x + start, dy = dy + start, dx = dx + start
    for _ in 0..<count {
      let value0 = E.loadPair(x), gradient0 = E.loadPair(dy)
      let value1 = isTwo ? E.loadPair(x + second) : value0, gradient1 = isTwo ? E.loadPair(dy + second) : gradient0
      E.storePair(dx, 0, pair0.gradient(value0, gradient0, as: D.self), streams: streams)
      if isTwo { E.storePair(dx, 32, pair1.gradient(value1, gradient1, as: D.self), streams: streams) }
      x += xStep
      dy += dyStep
      dx += dxStep
    }
  }
}

/// The lanes of a pair.
private struct LanePair<A: Arithmetic> {
  let first, second: ColumnLanes<A>

  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int) {
    first = ColumnLanes(scratch, j)
    second = ColumnLanes(scratch, j &+ 16)
  }

  @inline(__always)
  func gradient<D: Derivative>(_ x: Pair<A>, _ dy: Pair<A>, as: D.Type) -> Pair<A> {
    Pair(
      first: first.gradient(x.first, dy.first, as: D.self), second: second.gradient(x.second, dy.second, as: D.self))
  }
}

/// A row of lanes that have one gamma, and what they give to its gradient and to that of beta.
private struct WeightedRow<E: Element> {
  typealias N = E.Natural
  let start: GradientStart
  let weight: SIMD16<N>
  let offsets: UnsafeRawPointer
  let streams: Bool
  var dyz = N.splat(0), dy = N.splat(0)

  /// Writes dx of `count` lanes from `j` on.
  @inline(__always)
  mutating func apply(_ lanes: ColumnLanes<N>, _ j: Int, _ count: Int) {
    let (value, gradient) = start.load(E.self, j, count)
    let z = lanes.standardize(value)
    start.store(E.self, j, count, lanes.terms.apply(gradient * weight, lanes.factor, z), streams: streams)
    let product = gradient * (z + N.load(offsets, j))
    dy = dy + (count == 16 ? gradient : N.fill(gradient, count, N.splat(0)))
    dyz = dyz + (count == 16 ? product : N.fill(product, count, N.splat(0)))
  }
}

extension GradientStart {
  @inline(__always)
  fileprivate func load<E: Element>(
    _: E.Type, _ j: Int, _ count: Int
  ) -> (x: SIMD16<E.Natural>, dy: SIMD16<E.Natural>) {
    (E.load(x, j, upTo: count, as: E.Natural.self), E.load(dy, j, upTo: count, as: E.Natural.self))
  }

  @inline(__always)
  fileprivate func store<E: Element>(
    _: E.Type, _ j: Int, _ count: Int, _ result: SIMD16<E.Natural>, streams: Bool
  ) {
    guard let dx else { return }
    E.store(dx, j, upTo: count, result, streams: streams)
  }
}

extension nk_job {
  /// The gradient of rows `begin ..< end` of a block, which starts at `block` in the first row of outer kept step
  /// `outer`.
  @inline(never)
  func applyColumnGradients<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ block: GradientStart, _ outer: Int, _ width: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnGradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias M = E.Mixed
    if D.isFrequent && Int(parameter_form) == NK_ROWS {
      return applyWeightedRows(E.self, block, outer, width, begin, end, scratch, sums)
    }
    guard let blockGradient = block.dx else { return }
    scratch.arrange(M.self, width)
    let streams = self.streams != 0, bytes = width &* E.size, ahead = is_large != 0 ? rowsAhead(bytes: bytes) : 0
    let most = Rows<M, D>.most(areNarrow: blocks == 1 && width <= narrowLanes)
    let step = reducedStep
    var f = begin
    while f < end {
      let offset = reducedOffset(f), dx = blockGradient + offset.dx &* E.size
      let hasHead = streams && !M.prefersPairs, head = hasHead ? E.elementsBeforeLine(dx) : 0
      let areAlike = !hasHead || E.elementsBeforeLine(dx + step.dx &* E.size) == head
      let count = areAlike ? min(most, end &- f, evenSteps(from: f)) : 1
      if ahead > 0 { bringRowsNear(block.x, block.dy, elementSize: E.size, from: f &+ ahead, count, bytes: bytes) }
      Rows<M, D>(
        x: block.x + offset.x &* E.size, dy: block.dy + offset.y &* E.size, dx: dx, xStep: step.x &* E.size,
        dyStep: step.y &* E.size, dxStep: step.dx &* E.size, count: count, scratch: scratch, streams: streams
      ).apply(width, head: head)
      f &+= count
    }
  }

  /// The same where all lanes of a row have one gamma, and the next row another.
  @inline(never)
  private func applyWeightedRows<E: Element>(
    _: E.Type, _ block: GradientStart, _ outer: Int, _ width: Int, _ begin: Int, _ end: Int,
    _ scratch: ColumnGradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    for f in begin..<end {
      let parameter = rowParameter(outer, f)
      var row = WeightedRow<E>(
        start: row(E.self, block, f), weight: N.splat(N.narrow(weight(parameter, as: N.self))),
        offsets: UnsafeRawPointer(scratch.offset(N.self)), streams: streams != 0)
      forVectors(width) { j, count in row.apply(ColumnLanes<N>(scratch, j), j, count) }
      if let sums {
        sums.dgamma[parameter] += nk_sum_f64(N.widen(row.dyz))
        sums.dbeta[parameter] += nk_sum_f64(N.widen(row.dy))
      }
    }
  }

  @inline(__always)
  private func row<E: Element>(_: E.Type, _ block: GradientStart, _ f: Int) -> GradientStart {
    let offset = reducedOffset(f)
    return GradientStart(
      x: block.x + offset.x &* E.size, dy: block.dy + offset.y &* E.size,
      dx: block.dx.map { $0 + offset.dx &* E.size })
  }
}
