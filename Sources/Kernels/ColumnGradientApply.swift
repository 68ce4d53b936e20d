// Backward, the gradient of rows of lanes.

import NormKitFloor

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
}

/// A row of lanes that have a gamma each.
private struct Row<E: Element, D: Derivative> {
  typealias N = E.Natural
  let start: GradientStart

  /// dx of `count` lanes from `j` on.
  @inline(__always)
  func gradient(_ lanes: ColumnLanes<N>, _ j: Int, _ count: Int) -> SIMD16<N> {
    let (x, dy) = start.load(E.self, j, count)
    return gradient(lanes, x, dy)
  }

  /// dx of a pair of lanes from `j` on.
  @inline(__always)
  func gradientPair(_ lanes: LanePair<N>, _ j: Int) -> Pair<N> {
    let x = E.loadPair(start.x + j &* E.size), dy = E.loadPair(start.dy + j &* E.size)
    return Pair(
      first: gradient(lanes.first, x.first, dy.first), second: gradient(lanes.second, x.second, dy.second))
  }

  /// Elements before the first line that is stored past the caches. Rows of what prefers pairs begin where lines do.
  @inline(__always)
  func head(streams: Bool) -> Int {
    guard streams && !E.prefersPairs, let dx = start.dx else { return 0 }
    return E.elementsBeforeLine(dx)
  }

  @inline(__always)
  func gradient(_ lanes: ColumnLanes<N>, _ x: SIMD16<N>, _ dy: SIMD16<N>) -> SIMD16<N> {
    lanes.terms.apply(dy, lanes.scale, D.direction(lanes.standardize(x), x, lanes.quantity))
  }

  @inline(__always)
  func storePair(_ j: Int, _ result: Pair<N>, streams: Bool) {
    guard let dx = start.dx else { return }
    E.storePair(dx, j, result, streams: streams)
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
    typealias N = E.Natural
    typealias M = E.Mixed
    if D.isFrequent && Int(parameter_form) == NK_ROWS {
      return applyWeightedRows(E.self, block, outer, width, begin, end, scratch, sums)
    }
    scratch.arrange(M.self, width)
    let streams = self.streams != 0, bytes = width &* E.size, ahead = is_large != 0 ? rowsAhead(bytes: bytes) : 0
    var f = begin
    // Two rows share the coefficients that are loaded for them. Stores past the caches suffer from more at once.
    while D.isFrequent && NK_FOUR_VECTORS != 0 && f &+ 2 <= end {
      let row0 = Row<M, D>(start: row(M.self, block, f)), row1 = Row<M, D>(start: row(M.self, block, f &+ 1))
      let head = row0.head(streams: streams)
      if head != row1.head(streams: streams) { break }
      if ahead > 0 { bringRowsNear(block.x, block.dy, elementSize: E.size, from: f &+ ahead, 2, bytes: bytes) }
      var whole = 0
      while M.prefersPairs && whole &+ 32 <= width {
        let lanes = LanePair<N>(scratch, whole)
        let dx0 = row0.gradientPair(lanes, whole), dx1 = row1.gradientPair(lanes, whole)
        row0.storePair(whole, dx0, streams: streams)
        row1.storePair(whole, dx1, streams: streams)
        whole &+= 32
      }
      if hasWideRegisters && head == 0 {
        whole = applyVectors(row0, row1, from: whole, width, scratch, streams: streams)
      }
      forVectors(from: whole, head: head, width) { j, count in
        let lanes = ColumnLanes<N>(scratch, j)
        let dx0 = row0.gradient(lanes, j, count), dx1 = row1.gradient(lanes, j, count)
        row0.start.store(M.self, j, count, dx0, streams: streams)
        row1.start.store(M.self, j, count, dx1, streams: streams)
      }
      f &+= 2
    }
    while f < end {
      let row = Row<M, D>(start: row(M.self, block, f))
      var whole = 0
      while M.prefersPairs && whole &+ 32 <= width {
        row.storePair(whole, row.gradientPair(LanePair<N>(scratch, whole), whole), streams: streams)
        whole &+= 32
      }
      forVectors(from: whole, head: row.head(streams: streams), width) { j, count in
        row.start.store(M.self, j, count, row.gradient(ColumnLanes<N>(scratch, j), j, count), streams: streams)
      }
      f &+= 1
    }
  }

  /// Whole vectors of two rows, of which each is read before the one before it is written: see `Change`. Returns where
  /// they end.
  @inline(__always)
  private func applyVectors<E: Element, D: Derivative>(
    _ row0: Row<E, D>, _ row1: Row<E, D>, from first: Int, _ width: Int, _ scratch: ColumnGradientScratch,
    streams: Bool
  ) -> Int {
    if first &+ 16 > width { return first }
    let last = (width &- first) & ~15 &+ first &- 16
    var j = first, (x0, dy0) = row0.start.load(E.self, j, 16), (x1, dy1) = row1.start.load(E.self, j, 16)
    while j <= last {
      let next = min(j &+ 16, last), lanes = ColumnLanes<E.Natural>(scratch, j)
      let next0 = row0.start.load(E.self, next, 16), next1 = row1.start.load(E.self, next, 16)
      row0.start.store(E.self, j, 16, row0.gradient(lanes, x0, dy0), streams: streams)
      row1.start.store(E.self, j, 16, row1.gradient(lanes, x1, dy1), streams: streams)
      (x0, dy0) = next0
      (x1, dy1) = next1
      j &+= 16
    }
    return j
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
