// Standardizing, scaling and shifting rows of lanes.

import NormKitFloor

/// Rows whose parameters are gathered at once.
private let chunkRows = 32

/// Bytes of what several rows are passed as: four lines, because more were slower, or the width of a tile.
private let joinedBytes = 256, joinedBytesOfPairs = 128

/// Rows of a tile: if they are longer than it is wide, more would push each other out of the first-level cache.
private let tileRows = 8, narrowTileRows = 32

extension nk_job {
  /// How many of `count` rows are passed as one. Rows of few lanes that follow each other without a gap are, as far as
  /// there is room for the coefficients, if possible in whole vectors and lines: `rowsOfLines` in Streams.swift has to
  /// say so, too.
  @inline(__always)
  private func mostTogether<E: Element>(_: E.Type, _ width: Int, _ count: Int) -> Int {
    let axis = reduced.axis.0, isDense = Int(axis.x_stride) == width && Int(axis.y_stride) == width
    guard reduced.count <= 1 && isDense && width == Int(lanes &* run) else { return 1 }
    let whole = max(1, max(16, 64 / E.size) >> width.trailingZeroBitCount)
    // Few rows are not worth it, but what goes past the caches has to begin where lines do.
    let room = Int(NK_BLOCK_LANES) / width
    let bytes = E.Mixed.prefersPairs ? joinedBytesOfPairs : joinedBytes
    let most = min(max(bytes / E.size / width, whole), streams != 0 ? room : min(room, count / 4))
    return max(1, most < whole ? most : most / whole &* whole)
  }

  /// Applies what standardizes the block's sets to rows `begin ..< end`. `lane` is the block's first lane, at which
  /// `x` and `y` point in the first row; `outer` its outer kept step.
  @inline(never)
  func applyColumns<E: Element>(
    _: E.Type, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ outer: Int, _ lane: Int, _ width: Int,
    _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    let most = changesByRow ? 1 : mostTogether(E.self, width, end &- begin)
    var f = begin
    while f < end {
      let anyWide = spread(E.self, lane, width, scratch)
      let together = anyWide ? 1 : min(most, end &- f), count = (end &- f) / together
      if together > 1 { scratch.coefficients(E.Natural.self).repeated(width, together) }
      scratch.arrange(E.Mixed.self, together &* width, anyWide: anyWide)
      let rows = Rows<E.Mixed>(
        job: self, x: x, y: y, width: together &* width, first: f, together: together, scratch: scratch)
      if changesByRow {
        while f < end {
          let chunkEnd = min(f &+ chunkRows, end)
          gatherRowParameters(of: E.self, outer, f, chunkEnd, scratch)
          rows.apply(f &- begin, chunkEnd &- begin, anyWide: anyWide, as: WithParameters.self)
          f = chunkEnd
        }
        return
      }
      rows.apply(0, count, anyWide: anyWide, as: LikeOthers.self)
      f &+= count &* together
    }
  }
}

/// What is brought near while rows of a block are passed: rows of `bytes` bytes that are `ahead` rows behind them, if
/// that is not 0, and what rows of y share with those before them, if they do.
private struct Notice {
  let ahead, bytes: Int
  let joints: Bool

  @inline(__always) var isNeeded: Bool { ahead > 0 || joints }
}

extension nk_job {
  /// Brings that near for `count` rows from `first` on, every `step`-th, which are passed now.
  @inline(never)
  fileprivate func bringNear(
    _ notice: Notice, _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, elementSize: Int, from first: Int,
    _ count: Int, by step: Int
  ) {
    if notice.joints {
      for k in 16..<16 &+ count { bringJointNear(y + reducedOffset(first &+ k &* step).y &* elementSize) }
    }
    if notice.ahead > 0 {
      bringRowsNear(
        x, nil, elementSize: elementSize, from: first &+ notice.ahead &* step, count, by: step, bytes: notice.bytes)
    }
  }
}

/// Rows of one block.
private struct Rows<E: Element> {
  typealias N = E.Natural
  let job: nk_job
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  let width: Int
  /// The first of these rows in the block, and how many of that are passed as one here.
  let first, together: Int
  let scratch: ColumnScratch

  /// Which row of the block row `f` is or begins with.
  @inline(__always)
  func index(_ f: Int) -> Int { first &+ f &* together }

  /// Rows `begin ..< end`, whose parameters are those in the scratch memory if rows have their own.
  @inline(__always)
  func apply<F: RowForm>(_ begin: Int, _ end: Int, anyWide: Bool, as: F.Type) {
    if anyWide { return applyWide(begin, end, byRow: F.self == WithParameters.self) }
    applyRows(begin, end, as: F.self)
  }

  /// Two rows at a time, which share the coefficients that are loaded for them, more in tiles. Stores past the caches,
  /// and what comes from memory, suffer from more at once.
  @inline(never)
  private func applyRows<F: RowForm>(_ begin: Int, _ end: Int, as: F.Type) {
    let bytes = width &* E.size, streams = job.streams != 0
    let fetched = job.is_large != 0 ? rowsAhead(bytes: bytes) : 0
    // What is stored as usual while it comes from memory is best passed in the order of memory.
    let inOrder = fetched > 0 && !streams && Int(job.reduced.axis.0.x_stride) &* together < 2 &* width
    let inPairs = NK_FOUR_VECTORS != 0 && !inOrder
    let step = Int(job.reduced.axis.0.y_stride) &* together &* E.size
    let mayJoin = job.reduced.count > 1 || (Int(bitPattern: y) | step) & 63 != 0
    let joints = NK_FOUR_VECTORS != 0 && streams && mayJoin
    let notice = Notice(ahead: inOrder ? 0 : fetched, bytes: bytes, joints: joints)
    let isTiled = E.prefersPairs && job.is_large == 0
    let most = !inPairs ? 1 : !isTiled ? 2 : bytes <= joinedBytesOfPairs ? narrowTileRows : tileRows
    var f = begin
    while f < end {
      let row0 = Row<E, F>(self, f, begin), row1 = Row<E, F>(self, f &+ 1, begin), head = row0.head
      var count = min(most, end &- f, job.evenSteps(from: index(f)))
      if !E.prefersPairs && count == 2 && row1.head != head { count = 1 }
      if notice.isNeeded { job.bringNear(notice, x, y, elementSize: E.size, from: index(f), count, by: together) }
      if E.prefersPairs {
        let whole = applyTiles(row0, f &- begin, count)
        if whole < width {
          for k in f..<f &+ count { Row<E, F>(self, k, begin).apply(scratch, from: whole, width) }
        }
      } else if count == 2 {
        let whole = hasWideRegisters && !streams ? applyVectors(row0, row1) : 0
        forVectors(from: whole, head: head, width) { j, count in
          let lanes = LaneCoefficients(scratch.coefficients(N.self), j)
          let y0 = row0.apply(lanes, j, count), y1 = row1.apply(lanes, j, count)
          row0.store(j, count, y0)
          row1.store(j, count, y1)
        }
      } else {
        row0.apply(scratch, from: 0, width)
      }
      f &+= count
    }
  }

  /// Whole pairs of lanes of `count` evenly spaced rows from `row` on. Returns where they end. `k`: how many rows are
  /// between that and the one whose parameters are the first in the scratch memory.
  @inline(__always)
  private func applyTiles<F: RowForm>(_ row: Row<E, F>, _ k: Int, _ count: Int) -> Int {
    let step = job.reducedStep, rowBytes = together &* E.size
    let tile = Tile<E, F>(
      x: row.x, y: row.y, xStep: step.x &* rowBytes, yStep: step.y &* rowBytes, k: k, count: count, scratch: scratch,
      streams: row.streams)
    let end = width & ~31
    var j = 0
    while j &+ 64 <= end {
      tile.apply(j, isWide: true)
      j &+= 64
    }
    if j < end { tile.apply(j, isWide: false) }
    return end
  }

  /// Whole vectors of two rows, of which each is read before the one before it is written: see `Change`. Returns where
  /// they end.
  @inline(__always)
  private func applyVectors<F: RowForm>(_ row0: Row<E, F>, _ row1: Row<E, F>) -> Int {
    if width < 16 { return 0 }
    var j = 0, x0 = row0.load(0, 16), x1 = row1.load(0, 16)
    while j &+ 32 <= width {
      let next0 = row0.load(j &+ 16, 16), next1 = row1.load(j &+ 16, 16)
      let lanes = LaneCoefficients(scratch.coefficients(N.self), j)
      row0.store(j, 16, row0.apply(lanes, x0))
      row1.store(j, 16, row1.apply(lanes, x1))
      x0 = next0
      x1 = next1
      j &+= 16
    }
    let lanes = LaneCoefficients(scratch.coefficients(N.self), j)
    row0.store(j, 16, row0.apply(lanes, x0))
    row1.store(j, 16, row1.apply(lanes, x1))
    return j &+ 16
  }

  /// Rows in which some lanes need Double. They get it, and the others what they get elsewhere.
  @inline(never) @_optimize(size)
  private func applyWide(_ begin: Int, _ end: Int, byRow: Bool) {
    for f in begin..<end {
      let row = Row<E, LikeOthers>(self, f, begin)
      let parameters = byRow ? WithParameters.parameters(scratch, f &- begin) : row.parameters
      forFewVectors(width) { j, count in
        var result = row.apply(LaneCoefficients(scratch.coefficients(N.self), j), j, count)
        if byRow { result = parameters.apply(result) }
        var wide = N.widen(row.load(j, count)), chosen = N.widen(result)
        scratch.applyInDouble(j, &wide, parameters, &chosen)
        E.store(row.y, j, upTo: count, E.rectified(N.narrow(chosen), row.least))
      }
    }
  }
}

/// One row.
private struct Row<E: Element, F: RowForm> {
  typealias N = E.Natural
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  let parameters: RowParameters
  let least: N
  let streams: Bool

  /// `first`: the row whose parameters are the first in the scratch memory.
  @inline(__always)
  init(_ rows: Rows<E>, _ f: Int, _ first: Int) {
    let offset = rows.job.reducedOffset(rows.index(f))
    x = rows.x + offset.x &* E.size
    y = rows.y + offset.y &* E.size
    parameters = F.parameters(rows.scratch, f &- first)
    least = rows.job.least(N.self)
    streams = rows.job.streams != 0
  }

  /// Elements before the first line that is stored past the caches. Rows of what prefers pairs begin where lines do.
  @inline(__always) var head: Int { streams && !E.prefersPairs ? E.elementsBeforeLine(y) : 0 }

  @inline(__always)
  func load(_ j: Int, _ count: Int) -> SIMD16<N> { E.load(x, j, upTo: count, as: N.self) }

  @inline(__always)
  func apply(_ lanes: LaneCoefficients<N>, _ j: Int, _ count: Int) -> SIMD16<N> { apply(lanes, load(j, count)) }

  @inline(__always)
  func apply(_ lanes: LaneCoefficients<N>, _ x: SIMD16<N>) -> SIMD16<N> { F.apply(parameters, lanes.apply(x)) }

  /// Applies it to lanes `first ..< width`.
  @inline(__always)
  func apply(_ scratch: ColumnScratch, from first: Int, _ width: Int) {
    forVectors(from: first, head: head, width) { j, count in
      store(j, count, apply(LaneCoefficients(scratch.coefficients(N.self), j), j, count))
    }
  }

  @inline(__always)
  func store(_ j: Int, _ count: Int, _ result: SIMD16<N>) {
    E.store(y, j, upTo: count, E.rectified(result, least), streams: streams)
  }
}

/// Some pairs of lanes of evenly spaced rows. Their coefficients stay in registers: with what thirty-two halves cost
/// otherwise, to load them anew for each row or two would take half as long again.
private struct Tile<E: Element, F: RowForm> {
  typealias N = E.Natural
  let x: UnsafeRawPointer
  let y: UnsafeMutableRawPointer
  /// Bytes from one row to the next.
  let xStep, yStep: Int
  /// Which of the parameters in the scratch memory are those of the first row, and how many rows there are.
  let k, count: Int
  let scratch: ColumnScratch
  let streams: Bool

  /// One pair from lane `j` on, or two. Each row is read before the one before it is written: see `Change`.
  @inline(__always)
  func apply(_ j: Int, isWide: Bool) {
    let coefficients = scratch.coefficients(N.self)
    let lanes0 = LanePair(coefficients, j), lanes1 = isWide ? LanePair(coefficients, j &+ 32) : lanes0
    var x = x + j &* E.size, y = y + j &* E.size
    var pair0 = E.loadPair(x), pair1 = isWide ? E.loadPair(x + 32 &* E.size) : pair0
    var k = k
    let last = k &+ count &- 1
    while true {
      let parameters = F.parameters(scratch, k), (read0, read1) = (pair0, pair1)
      if k < last {
        x += xStep
        pair0 = E.loadPair(x)
        if isWide { pair1 = E.loadPair(x + 32 &* E.size) }
      }
      E.storePair(y, 0, lanes0.apply(read0, parameters, as: F.self), streams: streams)
      if isWide { E.storePair(y, 32, lanes1.apply(read1, parameters, as: F.self), streams: streams) }
      if k == last { return }
      y += yStep
      k &+= 1
    }
  }
}

/// y = (mean - x) * scale + offset, sixteen lanes: the subtraction takes `x` from memory, and `scale` is the factor
/// times gamma, negated.
private struct LaneCoefficients<A: Arithmetic> {
  let mean, scale, offset: SIMD16<A>

  @inline(__always)
  init(_ coefficients: ColumnScratch.Coefficients<A>, _ j: Int) {
    mean = A.load(UnsafeRawPointer(coefficients.mean), j)
    scale = A.load(UnsafeRawPointer(coefficients.scale), j)
    offset = A.load(UnsafeRawPointer(coefficients.offset), j)
  }

  @inline(__always)
  func apply(_ x: SIMD16<A>) -> SIMD16<A> { A.fma(mean - x, scale, offset) }
}

/// Those of a pair.
private struct LanePair<A: Arithmetic> {
  let first, second: LaneCoefficients<A>

  @inline(__always)
  init(_ coefficients: ColumnScratch.Coefficients<A>, _ j: Int) {
    first = LaneCoefficients(coefficients, j)
    second = LaneCoefficients(coefficients, j &+ 16)
  }

  @inline(__always)
  func apply<F: RowForm>(_ x: Pair<A>, _ parameters: RowParameters, as: F.Type) -> Pair<A> {
    Pair(first: F.apply(parameters, first.apply(x.first)), second: F.apply(parameters, second.apply(x.second)))
  }
}

extension ColumnScratch {
  /// Brings what is applied to the order of lanes that `E` has.
  @inline(__always)
  fileprivate func arrange<E: Element>(_: E.Type, _ width: Int, anyWide: Bool) {
    // What needs Double is not taken in pairs.
    if anyWide && E.prefersPairs { return }
    coefficients(E.Natural.self).arrange(E.self, width)
    if anyWide {
      wideCoefficients.arrange(E.self, width)
      E.arrange(wide, width)
    }
  }

  /// Replaces those of sixteen results that need Double. That is rare, and not worth a copy for each type of elements.
  @inline(never) @_optimize(size)
  fileprivate func applyInDouble(
    _ j: Int, _ x: inout SIMD16<Double>, _ parameters: RowParameters, _ results: inout SIMD16<Double>
  ) {
    let wide = parameters.apply(LaneCoefficients<Double>(wideCoefficients, j).apply(x))
    nk_replace_f64(&results, Float.widen(Float.load(UnsafeRawPointer(self.wide), j)), wide)
  }
}
