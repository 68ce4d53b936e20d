// Backward, the gradient of runs of neighbouring elements.

import NormKitFloor

/// Rows, or spans of a set that go over the same parameters, whose contributions to the gradients of parameters are
/// added in the type of computation before they are joined in Double.
let recentRows = 32

/// What the gradient of one set is made of, in every lane.
private struct GradientLanes<A: Arithmetic> {
  let row: RowLanes<A>
  let factor: SIMD16<A>
  let terms: GradientTerms<A>

  @inline(__always)
  init(_ standard: nk_standard, _ gradient: nk_gradient) {
    row = RowLanes<A>(standard)
    factor = A.splat(A.narrow(standard.factor))
    terms = GradientTerms(slope: A.splat(A.narrow(gradient.slope)), shift: A.splat(A.narrow(gradient.shift)))
  }
}

/// The same gamma for all `count` elements.
@inline(never)
func applyUniformGradient<E: Element, D: Derivative>(
  _: E.Type, _: D.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ dx: UnsafeMutableRawPointer, _ count: Int,
  _ standard: nk_standard, _ gradient: nk_gradient, gamma: Double, reach: Double, streams: Bool
) {
  typealias N = E.Natural
  let change = UniformGradient<E.Mixed, D>(
    x: x, dy: dy, dx: dx, lanes: GradientLanes(standard, gradient), scale: N.splat(N.narrow(gamma * standard.factor)),
    quantity: N.splat(N.narrow(reach)))
  var first = streams ? min(E.elementsBeforeLine(dx), count) : 0
  if first > 0 { change.apply(0, first, streams: true) }
  while E.Mixed.prefersPairs && !streams && first &+ 32 <= count {
    change.applyPair(first)
    first &+= 32
  }
  if hasFourVectors { first = change.applyVectors(from: first, count, streams: streams) }
  forFewVectors(from: first, count) { i, length in change.apply(i, length, streams: streams) }
}

/// What becomes of the elements of a run that have one gamma.
private struct UniformGradient<E: Element, D: Derivative> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  let dx: UnsafeMutableRawPointer
  let lanes: GradientLanes<N>
  /// gamma times the factor.
  let scale: SIMD16<N>
  let quantity: SIMD16<N>

  /// Of a pair from `i` on.
  @inline(__always)
  func applyPair(_ i: Int) {
    let x = E.loadPair(x + i &* E.size), dy = E.loadPair(dy + i &* E.size)
    E.storePair(
      dx + i &* E.size, Pair(first: gradient(x.first, dy.first), second: gradient(x.second, dy.second)))
  }

  /// Of `length` elements from `i` on.
  @inline(__always)
  func apply(_ i: Int, _ length: Int, streams: Bool) {
    let x = E.load(x, i, upTo: length, as: N.self), dy = E.load(dy, i, upTo: length, as: N.self)
    E.store(dx, i, upTo: length, gradient(x, dy), streams: streams)
  }

  /// Of whole vectors, of which each is read before the one before it is written: see `Change`. Returns where they end.
  @inline(__always)
  func applyVectors(from first: Int, _ count: Int, streams: Bool) -> Int {
    if first &+ 16 > count { return first }
    let last = (count &- first) & ~15 &+ first &- 16
    var i = first, x0 = E.load(x, i, as: N.self), dy0 = E.load(dy, i, as: N.self)
    while i < last {
      let nextX = E.load(x, i &+ 16, as: N.self), nextDy = E.load(dy, i &+ 16, as: N.self)
      E.store(dx, i, gradient(x0, dy0), streams: streams)
      x0 = nextX
      dy0 = nextDy
      i &+= 16
    }
    E.store(dx, last, gradient(x0, dy0), streams: streams)
    return last &+ 16
  }

  @inline(__always)
  private func gradient(_ x: SIMD16<N>, _ dy: SIMD16<N>) -> SIMD16<N> {
    lanes.terms.apply(dy, scale, D.direction(lanes.row.apply(x), x, quantity))
  }
}

/// A row of elements that have a gamma each, and the sums for the gradients of those.
private struct GradientRow<E: Element> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  let dx: UnsafeMutableRawPointer?
  let lanes: GradientLanes<N>

  @inline(__always)
  init(_ start: GradientStart, _ standard: nk_standard, _ gradient: nk_gradient) {
    x = start.x
    dy = start.dy
    dx = start.dx
    lanes = GradientLanes(standard, gradient)
  }

  /// Element `i` of the row that is so many bytes behind this one.
  @inline(__always)
  func prefetch(_ i: Int, _ ahead: (x: Int, dy: Int)) {
    nk_prefetch(x + (ahead.x &+ i &* E.size))
    nk_prefetch(dy + (ahead.dy &+ i &* E.size))
  }

  /// The gradient of elements i to i + 15, or `count` of them, which are added to the sums of their parameters.
  @inline(__always)
  func gradient(_ i: Int, _ count: Int, _ gammas: SIMD16<N>, _ recent: inout RecentSums<N>) -> SIMD16<N> {
    gradient(count, E.load(x, i, upTo: count, as: N.self), E.load(dy, i, upTo: count, as: N.self), gammas, &recent)
  }

  /// The same of elements that are loaded.
  @inline(__always)
  func gradient(
    _ count: Int, _ x: SIMD16<N>, _ dy: SIMD16<N>, _ gammas: SIMD16<N>, _ recent: inout RecentSums<N>
  ) -> SIMD16<N> {
    let z = lanes.row.apply(x), zero = N.splat(0)
    if count == 16 { recent.add(dy, z) } else { recent.add(N.fill(dy, count, zero), N.fill(z, count, zero)) }
    return lanes.terms.apply(dy * gammas, lanes.factor, z)
  }
}

/// Recent sums for the gradients of sixteen parameters.
private struct RecentSums<N: Arithmetic> {
  private var dgamma = N.splat(0), dbeta = N.splat(0)

  @inline(__always) init() {}

  @inline(__always)
  init(_ sums: ParameterSums<N>, _ i: Int) {
    dgamma = N.load(UnsafeRawPointer(sums.recentGamma), i)
    dbeta = N.load(UnsafeRawPointer(sums.recentBeta), i)
  }

  @inline(__always)
  mutating func add(_ dy: SIMD16<N>, _ z: SIMD16<N>) {
    dgamma = N.fma(dy, z, dgamma)
    dbeta = dbeta + dy
  }

  @inline(__always)
  func put(_ sums: ParameterSums<N>, _ i: Int) {
    N.store(UnsafeMutableRawPointer(sums.recentGamma), i, dgamma)
    N.store(UnsafeMutableRawPointer(sums.recentBeta), i, dbeta)
  }
}

/// Four such rows, which share what is loaded for their parameters.
private struct FourGradientRows<E: Element> {
  typealias N = E.Natural
  let rows: (GradientRow<E>, GradientRow<E>, GradientRow<E>, GradientRow<E>)
  let dx: (UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer, UnsafeMutableRawPointer)
  let gammas: UnsafeRawPointer
  let sums: ParameterSums<N>

  /// A processor takes what it reads for what it has just written where these lie at the same place in a page. dx often
  /// lies some lines behind x, but for whole pages: then the last vectors come first.
  @inline(__always)
  func apply(_ length: Int) {
    let whole = length & ~15, isBehind = (Int(bitPattern: dx.0) &- Int(bitPattern: rows.0.x)) & 4095 < 2048
    var i = isBehind ? whole &- 16 : 0
    for _ in 0..<whole / 16 {
      apply(i, 16)
      i &+= isBehind ? -16 : 16
    }
    if whole < length { apply(whole, length &- whole) }
  }

  @inline(__always)
  private func apply(_ i: Int, _ count: Int) {
    let gamma: SIMD16<N> = N.load(gammas, i)
    var recent = RecentSums(sums, i)
    let gradient0 = rows.0.gradient(i, count, gamma, &recent), gradient1 = rows.1.gradient(i, count, gamma, &recent)
    let gradient2 = rows.2.gradient(i, count, gamma, &recent), gradient3 = rows.3.gradient(i, count, gamma, &recent)
    recent.put(sums, i)
    E.store(dx.0, i, upTo: count, gradient0)
    E.store(dx.1, i, upTo: count, gradient1)
    E.store(dx.2, i, upTo: count, gradient2)
    E.store(dx.3, i, upTo: count, gradient3)
  }
}

extension nk_job {
  /// The gradient of one piece of set `s`, which starts at `x`, `dy` and `dx`.
  @inline(never)
  func applyGradient<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ s: Int, _ piece: Int, _ start: GradientStart, _ standard: nk_standard,
    _ gradient: nk_gradient, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let isUniform = Int(parameter_form) == NK_ONE_PER_SET
    var spans = 0
    let gamma = isUniform ? weight(firstParameter(s), as: N.self) : 0
    forRuns(of: piece) { f, first, count in
      let offset = reducedOffset(f)
      let x = start.x + (offset.x &+ first) &* E.size, dy = start.dy + (offset.y &+ first) &* E.size
      let dx = start.dx.map { $0 + (offset.dx &+ first) &* E.size }
      if isUniform {
        if let dx {
          applyUniformGradient(
            E.self, D.self, x, dy, dx, count, standard, gradient, gamma: gamma,
            reach: reach(standard), streams: streams != 0)
        }
        return
      }
      forSpans(from: element(s, f) &+ first, count) { done, length, index in
        if Int(parameter_form) == NK_ELEMENTS {
          let span = GradientStart(x: x + done &* E.size, dy: dy + done &* E.size, dx: dx.map { $0 + done &* E.size })
          let row = GradientRow<E>(span, standard, gradient)
          applyElements(row, 0, length, index, sums)
          spans &+= 1
          if spans % recentRows == 0 { sums?.join(index, length) }
        } else if let dx {
          applyUniformGradient(
            E.self, AlongValue.self, x + done &* E.size, dy + done &* E.size, dx + done &* E.size, length, standard,
            gradient, gamma: weight(index, as: N.self), reach: 0, streams: streams != 0)
        }
      }
    }
    if spans > 1 { sums?.join(0, Int(parameters)) }
  }

  /// Elements `begin ..< end` of a row whose first element has parameter `parameter`.
  @inline(never)
  private func applyElements<E: Element>(
    _ row: GradientRow<E>, _ begin: Int, _ end: Int, _ parameter: Int, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    var i = begin
    if let sums, let dx = row.dx {
      if streams != 0 {
        let first = min(i &+ E.elementsBeforeLine(dx + i &* E.size), end)
        if i < first { applySeldom(row, i, first, parameter, sums) }
        i = applyVectors(row, first, end, parameter, dx, sums, streams: true)
      } else {
        i = applyVectors(row, i, end, parameter, dx, sums, streams: false)
      }
    }
    if i < end { applySeldom(row, i, end, parameter, sums) }
  }

  /// Whole vectors of them. Returns where they end.
  @inline(__always)
  private func applyVectors<E: Element>(
    _ row: GradientRow<E>, _ begin: Int, _ end: Int, _ parameter: Int, _ dx: UnsafeMutableRawPointer,
    _ sums: ParameterSums<E.Natural>, streams: Bool
  ) -> Int {
    let gammas = UnsafeRawPointer(self.gammas + parameter &* MemoryLayout<E.Natural>.stride)
    var i = begin
    while i &+ 16 <= end {
      var recent = RecentSums(sums, parameter &+ i)
      E.store(dx, i, row.gradient(i, 16, E.Natural.load(gammas, i), &recent), streams: streams)
      recent.put(sums, parameter &+ i)
      i &+= 16
    }
    return i
  }

  /// The same where not all is wanted, and for parts of vectors.
  @inline(never) @_optimize(size)
  private func applySeldom<E: Element>(
    _ row: GradientRow<E>, _ begin: Int, _ end: Int, _ parameter: Int, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let gammas = UnsafeRawPointer(self.gammas + parameter &* MemoryLayout<N>.stride)
    forFewVectors(end &- begin) { j, count in
      let i = begin &+ j
      var recent = RecentSums<N>()
      if let sums { recent = RecentSums(sums, parameter &+ i) }
      let gradient = row.gradient(i, count, N.load(gammas, i), &recent)
      if let dx = row.dx { E.store(dx, i, upTo: count, gradient) }
      if let sums { recent.put(sums, parameter &+ i) }
    }
  }

  /// The gradients of four rows. To the sums of parameters, rows are added in their order, however many are passed at
  /// once.
  @inline(never)
  func applyFourGradients<E: Element>(
    _: E.Type, _ scratch: GradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    typealias N = E.Natural
    let gammas = UnsafeRawPointer(self.gammas!)
    if let sums, hasWideRegisters && streams == 0, let dx0 = scratch.starts[0].dx, let dx1 = scratch.starts[1].dx,
      let dx2 = scratch.starts[2].dx, let dx3 = scratch.starts[3].dx {
      let rows = (
        gradientRow(E.self, scratch, 0), gradientRow(E.self, scratch, 1), gradientRow(E.self, scratch, 2),
        gradientRow(E.self, scratch, 3)
      )
      return FourGradientRows(rows: rows, dx: (dx0, dx1, dx2, dx3), gammas: gammas, sums: sums).apply(Int(run))
    }
    var i = 0
    if let sums {
      let streams = self.streams != 0
      // What is read next comes from memory then, and is brought near.
      let first = scratch.starts[0], second = scratch.starts[1]
      let ahead = (x: 4 &* (second.x - first.x), dy: 4 &* (second.dy - first.dy))
      for k in stride(from: 0, to: 4, by: 2) {
        guard let dx0 = scratch.starts[k].dx, let dx1 = scratch.starts[k &+ 1].dx else { break }
        let row0 = gradientRow(E.self, scratch, k), row1 = gradientRow(E.self, scratch, k &+ 1)
        let head = streams ? E.elementsBeforeLine(dx0) : 0
        let streamsSecond = streams && E.elementsBeforeLine(dx1) == head
        if streams {
          bringJointNear(dx0 + 4 &* (dx1 - dx0))
          bringJointNear(dx0 + 5 &* (dx1 - dx0))
        }
        let whole = hasWideRegisters && head == 0 && streamsSecond == streams
          ? applyVectors(row0, row1, dx0, dx1, gammas, sums, ahead) : 0
        forVectors(from: whole, head: head, Int(run)) { i, count in
          if _slowPath(streams) {
            row0.prefetch(i, ahead)
            row1.prefetch(i, ahead)
          }
          let gamma: SIMD16<N> = N.load(gammas, i)
          var recent = RecentSums(sums, i)
          // Both are loaded before one is stored: rows may begin at the same place in a page, and a processor takes
          // what is loaded there for what was just stored.
          let gradient0 = row0.gradient(i, count, gamma, &recent), gradient1 = row1.gradient(i, count, gamma, &recent)
          recent.put(sums, i)
          E.store(dx0, i, upTo: count, gradient0, streams: streams)
          E.store(dx1, i, upTo: count, gradient1, streams: streamsSecond)
        }
        i = Int(run)
      }
    }
    // Rows of which not all is wanted: in stretches whose sums stay in the first cache.
    while i < Int(run) {
      let end = min(i &+ 512, Int(run))
      for k in 0..<4 { applyElements(gradientRow(E.self, scratch, k), i, end, 0, sums) }
      i = end
    }
  }

  /// Whole vectors of two rows, of which each is read before the one before it is written: see `Change`. Returns where
  /// they end.
  @inline(__always)
  private func applyVectors<E: Element>(
    _ row0: GradientRow<E>, _ row1: GradientRow<E>, _ dx0: UnsafeMutableRawPointer, _ dx1: UnsafeMutableRawPointer,
    _ gammas: UnsafeRawPointer, _ sums: ParameterSums<E.Natural>, _ ahead: (x: Int, dy: Int)
  ) -> Int {
    typealias N = E.Natural
    let last = Int(run) &- 16, streams = streams != 0
    if last < 0 { return 0 }
    var x0 = E.load(row0.x, 0, as: N.self), dy0 = E.load(row0.dy, 0, as: N.self)
    var x1 = E.load(row1.x, 0, as: N.self), dy1 = E.load(row1.dy, 0, as: N.self)
    var i = 0
    while i <= last {
      if _slowPath(streams) {
        row0.prefetch(i, ahead)
        row1.prefetch(i, ahead)
      }
      let gamma: SIMD16<N> = N.load(gammas, i)
      var recent = RecentSums(sums, i)
      let gradient0 = row0.gradient(16, x0, dy0, gamma, &recent), gradient1 = row1.gradient(16, x1, dy1, gamma, &recent)
      recent.put(sums, i)
      let next = min(i &+ 16, last)
      x0 = E.load(row0.x, next, as: N.self)
      dy0 = E.load(row0.dy, next, as: N.self)
      x1 = E.load(row1.x, next, as: N.self)
      dy1 = E.load(row1.dy, next, as: N.self)
      E.store(dx0, i, gradient0, streams: streams)
      E.store(dx1, i, gradient1, streams: streams)
      i &+= 16
    }
    return i
  }

  @inline(__always)
  private func gradientRow<E: Element>(_: E.Type, _ scratch: GradientScratch, _ k: Int) -> GradientRow<E> {
    GradientRow<E>(scratch.starts[k], scratch.standards[k], scratch.gradients[k])
  }
}
