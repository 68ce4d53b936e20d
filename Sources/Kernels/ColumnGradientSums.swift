// Backward, sums down columns: every lane is summed on its own. Some rows at a time pass the block, whose sums stay in
// cache. The residue of the mean is taken into account when the sums are finished: see ColumnGradients.swift.

import NormKitFloor

/// Rows that are summed in the type of computation before the sums are joined in Double.
private let chunkRows = 32

/// Lanes of which all rows of a chunk are passed at once, if rows have no more: what a processor has registers for. Of
/// wider rows, four are, because memory is best read in its order.
let narrowLanes = 64

/// Sixteen lanes from `j` on: what standardizes them, and their sums over the rows of a chunk so far.
private struct ColumnLanes<E: Element, D: Derivative, F: RowForm> {
  typealias N = E.Natural
  let scratch: ColumnGradientScratch
  let j: Int
  let mean, factor, quantity: SIMD16<N>
  var h, hz, beside: SIMD16<N>

  @inline(__always)
  init(_ scratch: ColumnGradientScratch, _ j: Int) {
    self.scratch = scratch
    self.j = j
    mean = N.load(UnsafeRawPointer(scratch.mean(N.self)), j)
    factor = N.load(UnsafeRawPointer(scratch.factor(N.self)), j)
    quantity = N.load(UnsafeRawPointer(scratch.quantity(N.self)), j)
    let sums = scratch.chunkSums(N.self)
    h = N.load(UnsafeRawPointer(sums.h), j)
    hz = N.load(UnsafeRawPointer(sums.hz), j)
    beside = N.load(UnsafeRawPointer(sums.beside), j)
  }

  /// Adds those of one row. `weight`: what its dy is multiplied by, if rows have a parameter each.
  @inline(__always)
  mutating func add(_ value: SIMD16<N>, _ dy: SIMD16<N>, _ weight: SIMD16<N>) {
    let z = (value - mean) * factor, h = F.self == WithParameters.self ? dy * weight : dy
    self.h = self.h + h
    hz = N.fma(h, z, hz)
    beside = beside + D.beside(z, value, quantity)
  }

  @inline(__always)
  func keep() {
    let sums = scratch.chunkSums(N.self)
    N.store(sums.h, j, h)
    N.store(sums.hz, j, hz)
    N.store(sums.beside, j, beside)
  }
}

/// Evenly spaced rows of a block.
private struct Rows<E: Element, D: Derivative, F: RowForm> {
  typealias N = E.Natural
  let x, dy: UnsafeRawPointer
  /// Bytes from one row to the next.
  let xStep, dyStep: Int
  /// Which of the weights in the scratch memory is that of the first row, if rows have one each; and how many rows.
  let k, count: Int
  let scratch: ColumnGradientScratch

  /// Whether there are registers for sixty-four lanes of all rows.
  @inline(__always)
  static var areKept: Bool { hasWideRegisters && D.isFrequent && N.self == Float.self && F.self == LikeOthers.self }

  /// Adds all lanes.
  @inline(__always)
  func add(_ width: Int) {
    var j = 0
    while hasFourVectors && E.size < 8 && D.isFrequent && count == 4 && j &+ 16 <= width {
      addFour(j)
      j &+= 16
    }
    if Self.areKept && j == 0 && width == narrowLanes {
      addAll()
      j = narrowLanes
    }
    forVectors(from: j, width) { j, length in
      var lanes = ColumnLanes<E, D, F>(scratch, j)
      forRows(count) { k in add(k, j, length, &lanes) }
      lanes.keep()
    }
  }

  /// Adds `length` lanes from `j` on, sixteen at most, of row `k`.
  @inline(__always)
  private func add(_ k: Int, _ j: Int, _ length: Int, _ lanes: inout ColumnLanes<E, D, F>) {
    let x = x + k &* xStep, dy = dy + k &* dyStep
    lanes.add(E.load(x, j, upTo: length, as: N.self), E.load(dy, j, upTo: length, as: N.self), weight(k))
  }

  /// Adds sixteen lanes from `j` on of four rows.
  @inline(__always)
  private func addFour(_ j: Int) {
    var lanes = ColumnLanes<E, D, F>(scratch, j)
    add(0, j, 16, &lanes)
    add(1, j, 16, &lanes)
    add(2, j, 16, &lanes)
    add(3, j, 16, &lanes)
    lanes.keep()
  }

  /// Adds sixty-four lanes, which are all that there are.
  @inline(__always)
  private func addAll() {
    var lanes0 = ColumnLanes<E, D, F>(scratch, 0), lanes1 = ColumnLanes<E, D, F>(scratch, 16)
    var lanes2 = ColumnLanes<E, D, F>(scratch, 32), lanes3 = ColumnLanes<E, D, F>(scratch, 48)
    var x = x, dy = dy
    let weight = weight(0)
    for _ in 0..<count {
      lanes0.add(E.load(x, 0, as: N.self), E.load(dy, 0, as: N.self), weight)
      lanes1.add(E.load(x, 16, as: N.self), E.load(dy, 16, as: N.self), weight)
      lanes2.add(E.load(x, 32, as: N.self), E.load(dy, 32, as: N.self), weight)
      lanes3.add(E.load(x, 48, as: N.self), E.load(dy, 48, as: N.self), weight)
      x += xStep
      dy += dyStep
    }
    lanes0.keep()
    lanes1.keep()
    lanes2.keep()
    lanes3.keep()
  }

  /// What dy of row `k` is multiplied by.
  @inline(__always)
  private func weight(_ k: Int) -> SIMD16<N> {
    guard F.self == WithParameters.self else { return N.splat(1) }
    return N.splat(N.narrow(scratch.weights[self.k &+ k]))
  }
}

extension nk_job {
  /// Sums of one piece of a block, whose first lane is at `x` and `dy` in the first row of outer kept step `outer`,
  /// into the scratch memory's piece sums.
  @inline(never)
  func columnGradientSums<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ outer: Int, _ width: Int, _ piece: Int,
    _ scratch: ColumnGradientScratch
  ) {
    scratch.pieceSums.clear(width: width)
    let begin = piece &* Int(piece_length), end = min(begin &+ Int(piece_length), Int(reduced.extent))
    // A loop without weights is worth its code where it is often used and does not wait for memory alone.
    if hasFourVectors && E.size < 8 && !weighs(D.self) {
      addGradientRows(E.self, D.self, LikeOthers.self, x, dy, outer, width, begin, end, scratch)
    } else {
      addGradientRows(E.self, D.self, WithParameters.self, x, dy, outer, width, begin, end, scratch)
    }
  }

  /// Whether rows have a parameter each.
  @inline(__always)
  private func weighs<D: Derivative>(_: D.Type) -> Bool { D.isFrequent && Int(parameter_form) == NK_ROWS }

  /// Adds rows `begin ..< end` to the piece sums.
  @inline(never)
  private func addGradientRows<E: Element, D: Derivative, F: RowForm>(
    _: E.Type, _: D.Type, _: F.Type, _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer, _ outer: Int, _ width: Int,
    _ begin: Int, _ end: Int, _ scratch: ColumnGradientScratch
  ) {
    typealias N = E.Natural
    let bytes = width &* E.size, ahead = is_large != 0 ? rowsAhead(bytes: bytes) : 0
    let isNarrow = hasWideRegisters && blocks == 1 && width <= narrowLanes
    let most = !D.isFrequent || NK_FOUR_VECTORS == 0 ? 1 : isNarrow ? chunkRows : 4, step = reducedStep
    var f = begin
    while f < end {
      let chunkBegin = f, chunkEnd = min(f &+ chunkRows, end)
      scratch.chunkSums(N.self).clear(width: width)
      if F.self == WithParameters.self {
        for k in f..<chunkEnd {
          scratch.weights[k &- f] = weighs(D.self) ? weight(rowParameter(outer, k), as: N.self) : 1
        }
      }
      while f < chunkEnd {
        let count = min(most, chunkEnd &- f, evenSteps(from: f))
        let offset = reducedOffset(f)
        if ahead > 0 { bringRowsNear(x, dy, elementSize: E.size, from: f &+ ahead, count, bytes: bytes) }
        Rows<E, D, F>(
          x: x + offset.x &* E.size, dy: dy + offset.y &* E.size, xStep: step.x &* E.size, dyStep: step.y &* E.size,
          k: f &- chunkBegin, count: count, scratch: scratch
        ).add(width)
        f &+= count
      }
      scratch.pieceSums.add(scratch.chunkSums(N.self), width: width)
    }
  }

  /// Index of the parameter that all lanes of row `f` have.
  @inline(__always)
  func rowParameter(_ outer: Int, _ f: Int) -> Int { (outer &* Int(reduced.extent) &+ f) % Int(parameters) }
}
