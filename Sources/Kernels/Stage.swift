// What is done beside a normalization, to a block of elements that is in cache.

import NormKitFloor

extension nk_stage {
  @inline(never)
  func run() {
    if is_double != 0 {
      run(F64.self, F64.self)
    } else if Int(operation) == NK_ACTIVATE {
      if destination == nil || Int(dtype) == NK_F32 { activate(F32.self) } else { activateToHalves() }
    } else if Int(operation) == NK_RECTIFY {
      rectifyHalves()
    } else if Int(operation) >= NK_STORE_I8 {
      storeIntegers()
    } else {
      switch Int(dtype) {
      case NK_F32: run(F32.self, F32.self)
      case NK_F16: run(F16.self, F32.self)
      default: run(BF16.self, F32.self)
      }
    }
  }

  /// E: how what is met is stored; W: how the block is.
  @inline(never)
  private func run<E: Element, W: Element>(_: E.Type, _: W.Type) {
    switch Int(operation) {
    case NK_GATHER: gather(E.self, W.self)
    case NK_FORM: gather(E.self, E.self)
    case NK_AFFINE: affine(E.self, W.self)
    case NK_ACTIVATE: activate(W.self)
    default:
      store(E.self, W.self)
    }
  }

  @inline(__always)
  private func store<E: Element, W: Element>(_: E.Type, _: W.Type) {
    guard let destination else { return }
    let bytes = Int(destination_step) &* E.size
    forVectors(written: E.self) { row, i, streams in
      let v = E.Natural.narrow(W.Natural.widen(load(W.self, row, i, 16)))
      E.store(destination + row &* bytes, i, v, streams: streams)
    } part: { row, i, count in
      E.store(destination + row &* bytes, i, count: count, load(W.self, row, i, count))
    }
  }

  @inline(never)
  private func gather<E: Element, W: Element>(_: E.Type, _: W.Type) {
    let source = source ?? (E.self == W.self ? UnsafeRawPointer(work) : nil)
    let sourceBytes = Int(self.source == nil ? work_step : source_step) &* E.size
    let otherBytes = Int(other_step) &* E.size
    var row = 0
    while row < Int(rows) {
      let lines = streamedLines(E.self, row), part = streams != 0 ? lines.first..<lines.end : 0..<Int(length)
      var i = part.lowerBound
      if i > 0 { gatherRest(E.self, W.self, row, 0..<i) }
      // Where two vectors fill the registers, whole ones are gathered as parts are, and not past the caches.
      if hasFourVectors && bias == nil, let source, let other {
        let x = source + row &* sourceBytes, added = other + row &* otherBytes
        if E.self == W.self {
          i = addVectors(E.Mixed.self, E.Mixed.self, row, x, added, part)
        } else {
          i = addVectors(E.self, W.self, row, x, added, part)
        }
      } else if hasFourVectors && (bias == nil || segment == 1) {
        i = gatherVectors(E.self, W.self, row, part)
      }
      if i < Int(length) { gatherRest(E.self, W.self, row, i..<Int(length)) }
      row &+= 1
    }
    if streams != 0 { nk_finish_streams() }
  }

  /// Adds the whole vectors of a part of two rows. Returns where they end.
  @inline(__always)
  private func addVectors<E: Element, W: Element>(
    _: E.Type, _: W.Type, _ row: Int, _ x: UnsafeRawPointer, _ added: UnsafeRawPointer, _ part: Range<Int>
  ) -> Int {
    typealias A = W.Natural
    var i = part.lowerBound
    if E.self == W.self {
      while W.prefersPairs && i &+ 32 <= part.upperBound {
        let a = W.loadPair(x + i &* W.size), b = W.loadPair(added + i &* W.size)
        putPair(W.self, row, i, Pair(first: a.first + b.first, second: a.second + b.second))
        i &+= 32
      }
    }
    if i &+ 16 > part.upperBound { return i }
    // What comes next is read before this is written: see `Change`.
    var sum = E.load(x, i, as: A.self) + E.load(added, i, as: A.self)
    while i &+ 32 <= part.upperBound {
      let next = E.load(x, i &+ 16, as: A.self) + E.load(added, i &+ 16, as: A.self)
      put(E.self, W.self, row, i, sum)
      sum = next
      i &+= 16
    }
    put(E.self, W.self, row, i, sum)
    return i &+ 16
  }

  /// Gathers the whole vectors of a part of a row, with a bias that each element has of its own. Returns where they
  /// end.
  @inline(__always)
  private func gatherVectors<E: Element, W: Element>(_: E.Type, _: W.Type, _ row: Int, _ part: Range<Int>) -> Int {
    let x = source.map { $0 + row &* Int(source_step) &* E.size }
    let added = other.map { $0 + row &* Int(other_step) &* E.size }
    var i = part.lowerBound
    while i &+ 16 <= part.upperBound {
      var v: SIMD16<W.Natural>
      if let x { v = E.load(x, i, as: W.Natural.self) } else { v = load(W.self, row, i, 16) }
      if let added { v = v + E.load(added, i, as: W.Natural.self) }
      if let bias { v = v + loadBias(E.self, bias, i, 16) }
      put(E.self, W.self, row, i, v)
      i &+= 16
    }
    return i
  }

  /// Whether the bias is of the type of elements. Beside halves it may be F32.
  @inline(__always)
  private func isBiasOf<E: Element>(_: E.Type) -> Bool { E.size > 2 || bias_dtype == dtype }

  /// The bias of `count` elements from `i` on.
  @inline(__always)
  private func loadBias<E: Element, A: Arithmetic>(
    _: E.Type, _ bias: UnsafeRawPointer, _ i: Int, _ count: Int
  ) -> SIMD16<A> {
    isBiasOf(E.self)
      ? E.load(bias, i, upTo: count, as: A.self) : F32.load(bias, i, upTo: count, as: A.self)
  }

  /// A part of a row, or, with a bias for each of several stretches, all of it, with any of what can be added: what is
  /// not done often enough for a copy each.
  @inline(never)
  private func gatherRest<E: Element, W: Element>(_: E.Type, _: W.Type, _ row: Int, _ part: Range<Int>) {
    typealias A = W.Natural
    let stretch = bias == nil || segment == 1 ? Int(length) : Int(segment)
    forStretches(of: stretch, in: part) { parameter in
      guard let bias, segment != 1 else { return A.splat(0) }
      return A.splat(A.narrow(isBiasOf(E.self) ? E.value(bias, parameter) : F32.value(bias, parameter)))
    } body: { value, i, count in
      var v: SIMD16<A>, added = value
      if let source {
        v = E.load(source + row &* Int(source_step) &* E.size, i, upTo: count, as: A.self)
      } else {
        v = load(W.self, row, i, count)
      }
      if let other { v = v + E.load(other + row &* Int(other_step) &* E.size, i, upTo: count, as: A.self) }
      if let bias, segment == 1 {
        added = loadBias(E.self, bias, i, count)
      }
      v = bias == nil ? v : v + added
      store(W.self, row, i, count, v)
      if E.self == W.self, let destination {
        // Parts of a row are what is not whole lines; stretches, all of a row, are such lines, if any are written so.
        let streams = streams != 0 && stretch != Int(length)
        W.store(destination + row &* Int(destination_step) &* W.size, i, upTo: count, v, streams: streams)
        bringNear(row, i)
      }
    }
  }

  /// Stores what is gathered, and writes it to `destination`, too, which only a sum as it is stored may have.
  @inline(__always)
  private func put<E: Element, W: Element>(_: E.Type, _: W.Type, _ row: Int, _ i: Int, _ v: SIMD16<W.Natural>) {
    store(W.self, row, i, 16, v)
    guard E.self == W.self, let destination else { return }
    W.store(destination + row &* Int(destination_step) &* W.size, i, v, streams: streams != 0)
    bringNear(row, i)
  }

  @inline(__always)
  private func putPair<W: Element>(_: W.Type, _ row: Int, _ i: Int, _ v: Pair<W.Natural>) {
    W.storePair(work + row &* Int(work_step) &* W.size, i, v, streams: false)
    guard let destination else { return }
    W.storePair(destination + row &* Int(destination_step) &* W.size, i, v, streams: streams != 0)
    bringNear(row, i)
  }

  @inline(__always)
  private func affine<P: Element, W: Element>(_: P.Type, _: W.Type) {
    typealias A = W.Natural
    let offset = A.splat(one_plus_scale != 0 && source != nil ? 1 : 0)
    if segment == 1 {
      forVectors { row, i, count in
        var scale = A.splat(1), shift = A.splat(0)
        if let source { scale = P.load(source, i, upTo: count, as: A.self) + offset }
        if let other { shift = P.load(other, i, upTo: count, as: A.self) }
        store(W.self, row, i, count, A.fma(load(W.self, row, i, count), scale, shift))
      }
    } else {
      forStretches(of: Int(segment), in: 0..<Int(length)) { parameter in
        (
          scale: A.splat(source.map { A.narrow(P.value($0, parameter)) } ?? 1) + offset,
          shift: A.splat(other.map { A.narrow(P.value($0, parameter)) } ?? 0)
        )
      } body: { values, i, count in
        store(W.self, 0, i, count, A.fma(load(W.self, 0, i, count), values.scale, values.shift))
      }
    }
  }

  /// Integers are made of Float alone.
  @inline(never)
  private func storeIntegers() {
    guard let destination else { return }
    let isUnsigned = Int(operation) == NK_STORE_U8
    let low: Float = isUnsigned ? 0 : -128, high: Float = isUnsigned ? 255 : 127
    var one = self
    one.rows = 1
    var row = 0
    while row < Int(rows) {
      one.work = work + row &* Int(work_step) &* F32.size
      var scale = Float(self.scale)
      if let scales, Int(operation) == NK_STORE_ROWS {
        scale = one.largest() / 127
        UnsafeMutableRawPointer(scales).storeBytes(of: scale, toByteOffset: row &* F32.size, as: Float.self)
      }
      let bytes = destination + row &* Int(destination_step), zero = Float(zero_point)
      one.forManyVectors { _, i, count in
        let v = one.load(F32.self, 0, i, count)
        nk_store_bytes(bytes + i, Int64(count), changed(v) { nk_quantize(&$0, scale, zero, low, high) })
        bringNear(row, i)
      }
      row &+= 1
    }
  }

  /// The largest magnitude of a row.
  @inline(__always)
  private func largest() -> Float {
    var largest = Float.splat(0)
    forVectors { _, i, count in largest = Float.larger(largest, Float.magnitude(load(F32.self, 0, i, count))) }
    return Float(nk_largest_f64(Float.widen(largest)))
  }

  // MARK: Rows of vectors

  /// Every sixteen elements of each row: `body` gets the row, the index of the first and how many they are. It is there
  /// once, for whole vectors and parts of them.
  @inline(__always)
  func forVectors(_ body: (_ row: Int, _ i: Int, _ count: Int) -> Void) {
    let rows = Int(rows), length = Int(length)
    var row = 0
    while row < rows {
      var i = 0
      while i < length {
        body(row, i, min(16, length &- i))
        i &+= 16
      }
      row &+= 1
    }
  }

  /// Every sixteen elements of each row that is written, with whether they go past the caches, and what is fewer, where
  /// rows end and where such lines begin. What is read next is brought near meanwhile.
  @inline(__always)
  func forVectors<E: Element>(
    written: E.Type, _ whole: (_ row: Int, _ i: Int, _ streams: Bool) -> Void,
    part: (_ row: Int, _ i: Int, _ count: Int) -> Void
  ) {
    let rows = Int(rows), length = Int(length)
    var row = 0
    while row < rows {
      let lines = streamedLines(E.self, row)
      var i = lines.first & 15
      if i > 0 { part(row, 0, i) }
      while i &+ 16 <= length {
        let streams = lines.have(i)
        whole(row, i, streams)
        if streams { bringNear(row, i) }
        i &+= 16
      }
      if i < length { part(row, i, length &- i) }
      row &+= 1
    }
    if streams != 0 { nk_finish_streams() }
  }

  /// What of a row is written past the caches. What two rows share is brought near before it is written.
  @inline(__always)
  func streamedLines<E: Element>(_: E.Type, _ row: Int) -> StreamedLines {
    guard streams != 0, let destination else { return .none }
    let bytes = Int(destination_step) &* E.size, y = destination + row &* bytes
    bringJointNear(y + 2 &* bytes)
    return .of(E.self, y, Int(length))
  }

  /// Every sixteen elements, or what is left, of each stretch of one row that has a parameter of its own. `part`: all
  /// of the row, or a part of it if that is one stretch.
  @inline(__always)
  private func forStretches<Values>(
    of stretch: Int, in part: Range<Int>, values: (_ parameter: Int) -> Values,
    body: (_ values: Values, _ i: Int, _ count: Int) -> Void
  ) {
    var parameter = 0, i = part.lowerBound
    while i < part.upperBound {
      let values = values(parameter), end = min((parameter &+ 1) &* stretch, part.upperBound)
      while i < end {
        let count = min(16, end &- i)
        body(values, i, count)
        i &+= count
      }
      parameter &+= 1
    }
  }

  /// `forVectors` with a copy of the body for whole vectors, where that is a few instructions.
  @inline(__always)
  private func forManyVectors(_ body: (_ row: Int, _ i: Int, _ count: Int) -> Void) {
    if !hasFourVectors { return forVectors(body) }
    let rows = Int(rows), length = Int(length)
    var row = 0
    while row < rows {
      var i = 0
      while i &+ 16 <= length {
        body(row, i, 16)
        i &+= 16
      }
      if i < length { body(row, i, length &- i) }
      row &+= 1
    }
  }

  /// Reading goes on while writing waits for memory.
  @inline(__always)
  func bringNear(_ row: Int, _ i: Int) {
    guard let ahead else { return }
    let offset = row &* Int(ahead_step) &+ i &* Int(ahead_size)
    nk_bring_near(ahead + offset)
  }

  @inline(__always)
  func load<W: Element>(_: W.Type, _ row: Int, _ i: Int, _ count: Int) -> SIMD16<W.Natural> {
    W.load(work + row &* Int(work_step) &* W.size, i, upTo: count, as: W.Natural.self)
  }

  @inline(__always)
  func store<W: Element>(_: W.Type, _ row: Int, _ i: Int, _ count: Int, _ v: SIMD16<W.Natural>) {
    W.store(work + row &* Int(work_step) &* W.size, i, upTo: count, v)
  }
}
