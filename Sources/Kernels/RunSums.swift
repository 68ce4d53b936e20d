// Sums over runs of neighbouring elements.

import NormKitFloor

/// Elements that are summed in the type of computation before the sums are joined in Double. For Float they are few,
/// some dozens per lane; for Double, which has no wider type, additions within and between chunks are balanced.
@inline(__always)
func chunkLength<A: Arithmetic>(_: A.Type) -> Int { A.self == Double.self || NK_FOUR_VECTORS != 0 ? 1024 : 256 }

/// Runs of fewer elements are not worth what it takes to bring mixed lanes back in order.
private let shortestMixed = 128

/// Sums of a chunk. Two vectors of accumulators hide the latency of additions.
struct ChunkSums<A: Arithmetic, R: Reduction> {
  private var first0 = A.splat(0), first1 = A.splat(0), second0 = A.splat(0), second1 = A.splat(0)

  @inline(__always) init() {}

  @inline(__always) var joinedFirst: SIMD16<A> { R.join(first0, first1) }
  @inline(__always) var joinedSecond: SIMD16<A> { second0 + second1 }

  /// Adds elements `begin ..< end`.
  @inline(__always)
  mutating func add<E: Element>(_: E.Type, _ x: UnsafeRawPointer, _ begin: Int, _ end: Int, _ shifts: SIMD16<A>) {
    var i = begin
    if E.Mixed.self != E.self && R.Change.isFrequent && NK_FOUR_VECTORS != 0 && end &- begin >= shortestMixed {
      i = addMixed(E.Mixed.self, x, begin, end, shifts)
    }
    while NK_FOUR_VECTORS != 0 && i &+ 32 <= end {
      let x0 = E.load(x, i, as: A.self), x1 = E.load(x, i &+ 16, as: A.self)
      R.add(R.shifted(x0, shifts), &first0, &second0)
      R.add(R.shifted(x1, shifts), &first1, &second1)
      i &+= 32
    }
    while i &+ 16 <= end {
      let x0 = E.load(x, i, as: A.self)
      R.add(R.shifted(x0, shifts), &first0, &second0)
      i &+= 16
    }
    if i < end {
      let rest = end &- i
      let loaded = E.load(x, i, count: rest, as: A.self)
      R.add(R.shifted(R.isCentred ? A.fill(loaded, rest, shifts) : loaded, shifts), &first1, &second1)
    }
  }

  /// Adds pairs of vectors from `begin` on, as many as there are before `end`, in an order of lanes that is cheaper and
  /// puts the same elements into each sum. Returns where they end.
  @inline(__always)
  private mutating func addMixed<M: Element>(
    _: M.Type, _ x: UnsafeRawPointer, _ begin: Int, _ end: Int, _ shifts: SIMD16<A>
  ) -> Int {
    var i = begin
    while i &+ 32 <= end {
      let pair = M.loadPair(x + i &* M.size)
      R.add(R.shifted(A.narrow(M.Natural.widen(pair.first)), shifts), &first0, &second0)
      R.add(R.shifted(A.narrow(M.Natural.widen(pair.second)), shifts), &first1, &second1)
      i &+= 32
    }
    A.unmix(&first0, &first1)
    A.unmix(&second0, &second1)
    return i
  }
}

/// Adds `count` neighbouring elements to `sums`.
@inline(__always)
func addRun<E: Element, A: Arithmetic, R: Reduction>(
  _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ count: Int, shift: A, to sums: inout LaneSums
) {
  if A.self != E.Natural.self {
    return addRunInDouble(E.self, R.self, x, count, shift: A.widen(shift), to: &sums)
  }
  let shifts = A.splat(shift)
  var i = 0
  while i < count {
    let end = min(i &+ chunkLength(A.self), count)
    var chunk = ChunkSums<A, R>()
    chunk.add(E.self, x, i, end, shifts)
    sums.first = R.join(sums.first, A.widen(chunk.joinedFirst))
    sums.second = sums.second + A.widen(chunk.joinedSecond)
    i = end
  }
}

/// The same where sums in the type of computation overflow, underflow or cancel. That is rare, and not worth a copy of
/// the arithmetic for each type of elements.
@inline(never) @_optimize(size)
private func addRunInDouble<E: Element, R: Reduction>(
  _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ count: Int, shift: Double, to sums: inout LaneSums
) {
  var i = 0
  while i < count {
    let length = min(16, count &- i)
    var lanes = E.load(x, i, upTo: length, as: Double.self)
    R.addInDouble(&lanes, length, shift: shift, &sums.first, &sums.second)
    i &+= 16
  }
}

extension nk_job {
  /// Sums of one piece of the set that starts at `x`.
  @inline(never)
  func pieceSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, _ piece: Int, shift: A
  ) -> nk_sums {
    var sums = LaneSums()
    forRuns(of: piece) { f, start, count in
      if is_large != 0 && reduced.extent > 1 { bringRunNear(x, nil, elementSize: E.size, behind: f) }
      addRun(E.self, R.self, x + (reducedOffset(f).x &+ start) &* E.size, count, shift: shift, to: &sums)
    }
    return R.collapse(sums)
  }

  /// Sums of the whole set that starts at `x`, its pieces joined in order.
  @inline(__always)
  func setSums<E: Element, A: Arithmetic, R: Reduction>(
    _: E.Type, _: R.Type, _ x: UnsafeRawPointer, shift: A
  ) -> nk_sums {
    var sums = pieceSums(E.self, R.self, x, 0, shift: shift)
    var piece = 1
    while piece < Int(pieces) {
      sums = R.join(sums, pieceSums(E.self, R.self, x, piece, shift: shift))
      piece &+= 1
    }
    return sums
  }

  /// The runs of one piece: which reduced step, the first element in it, and how many elements.
  @inline(__always)
  func forRuns(of piece: Int, _ body: (_ f: Int, _ start: Int, _ count: Int) -> Void) {
    let length = Int(piece_length)
    var f = piece &* length, end = min(f &+ length, Int(reduced.extent)), start = 0, count = Int(run)
    if run_pieces > 1 {
      f = piece / Int(run_pieces)
      end = f &+ 1
      start = piece % Int(run_pieces) &* length
      count = min(length, count &- start)
    }
    while f < end {
      body(f, start, count)
      f &+= 1
    }
  }

  /// Whether runs are so short that four of their elements are sample enough: one that is large among zeros then leaves
  /// the sums reliable. Of longer runs, and of columns, more are taken.
  @inline(__always)
  var isSampledByElements: Bool { run <= 48 }

  /// Where the four elements or vectors of a sample lie in a set, in elements: spread evenly over its runs and over
  /// each run.
  @inline(__always)
  var samplePlaces: (Int, Int, Int, Int) {
    let last = Int(reduced.extent) &- 1, room = Int(run) &- (isSampledByElements ? 1 : 16)
    return (
      0, reducedOffset(last / 3).x &+ room / 3, reducedOffset(last &* 2 / 3).x &+ room &* 2 / 3,
      reducedOffset(last).x &+ room
    )
  }

  /// A value near the mean of the set that starts at `x`: the mean of what is at `places`. A power of two many elements
  /// are added in pairs, so that a constant set gives its constant exactly.
  @inline(__always)
  func sample<E: Element, A: Arithmetic>(
    _: E.Type, _ x: UnsafeRawPointer, _ places: (Int, Int, Int, Int), as: A.Type
  ) -> A {
    isSampledByElements
      ? sampleElements(E.self, x, places, as: A.self) : A.sum(sampleLanes(E.self, x, places)) * 0x1p-6
  }

  @inline(__always)
  func sampleElements<E: Element, A: Arithmetic>(
    _: E.Type, _ x: UnsafeRawPointer, _ places: (Int, Int, Int, Int), as: A.Type
  ) -> A {
    sumElements(E.self, x, places, as: A.self) * 0.25
  }

  /// Four elements, added.
  @inline(__always)
  func sumElements<E: Element, A: Arithmetic>(
    _: E.Type, _ x: UnsafeRawPointer, _ places: (Int, Int, Int, Int), as: A.Type
  ) -> A {
    let first = A.narrow(E.value(x, places.0)) + A.narrow(E.value(x, places.1))
    return first + (A.narrow(E.value(x, places.2)) + A.narrow(E.value(x, places.3)))
  }

  /// Four vectors, or the first `count` lanes of them, added.
  @inline(__always)
  func sampleLanes<E: Element, A: Arithmetic>(
    _: E.Type, _ x: UnsafeRawPointer, _ places: (Int, Int, Int, Int), count: Int = 16
  ) -> SIMD16<A> {
    let first = E.load(x, places.0, upTo: count, as: A.self) + E.load(x, places.1, upTo: count, as: A.self)
    return first + (E.load(x, places.2, upTo: count, as: A.self) + E.load(x, places.3, upTo: count, as: A.self))
  }

  /// What standardizes the set `s` that starts at `x`, from its sums over elements shifted by `shift`.
  @inline(__always)
  func standardOfRuns<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ s: Int, _ x: UnsafeRawPointer, _ sums: nk_sums, _ shift: E.Natural
  ) -> nk_standard {
    typealias N = E.Natural
    if R.isReliable(sums, count, in: N.self) { return finish(s, sums, shift: N.widen(shift), as: N.self) }
    return standardInDouble(E.self, R.self, s, x, near: N.widen(shift) + sums.first / count)
  }

  /// The same where sums in the type of computation overflow, underflow or cancel.
  @inline(never) @_optimize(size)
  private func standardInDouble<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ s: Int, _ x: UnsafeRawPointer, near mean: Double
  ) -> nk_standard {
    var shift = 0.0
    if R.isCentred { shift = mean.isFinite ? mean : sample(E.self, x, samplePlaces, as: Double.self) }
    var sums = setSums(E.self, R.self, x, shift: shift)
    if !R.isReliable(sums, count, in: Double.self) {
      shift += sums.first / count
      sums = setSums(E.self, R.self, x, shift: shift)
    }
    return finish(s, sums, shift: shift, as: E.Natural.self)
  }
}
