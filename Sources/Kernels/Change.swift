// What becomes of a run of neighbouring elements.

import NormKitFloor

/// What becomes of elements of a run. It has a type of its own because the compiler would call a closure.
protocol Change {
  associatedtype E: Element
  /// Of sixteen elements, or of the first `length`. `i` is the index of the first.
  func apply(_ lanes: SIMD16<E.Natural>, _ i: Int, _ length: Int) -> SIMD16<E.Natural>
  /// Of a pair, if elements prefer pairs.
  func applyPair(_ lanes: Pair<E.Natural>, _ i: Int) -> Pair<E.Natural>
  /// Applies it to `count` elements from `i` on, sixteen at most: by a call, because that is rare and much code.
  /// What is called applies `applyLanes`.
  func applyPart(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int)
}

extension Change {
  /// Applies it to a run of elements.
  @inline(__always)
  func apply(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, streams: Bool) {
    typealias N = E.Natural
    let last = count &- 16
    if _slowPath(streams || last < 0) { return applyInParts(x, y, count, streams: streams) }
    // What comes next is read before this is written. The last vector may share elements with the one before it; and y
    // often lies a line behind x, but for whole pages, where a processor would take what is read for what was written.
    var i = applyPairs(x, y, from: 0, to: last, streams: false)
    var lanes = E.load(x, i, as: N.self)
    // Behind the first vector, none is written to two lines at once, which takes twice as long. What comes third is
    // read only after the first was written, and has to begin behind it.
    var step = hasWideRegisters && i == 0 && last >= 16 ? E.elementsBeforeLine(y) : 0
    while i < last {
      // Each turn has one step: to the first line, then sixteen elements as often as they fit, then what is left to
      // the last vector.
      let rest = last &- i
      if step == 0 { step = min(16, rest) }
      let end = i &+ (step == 16 ? rest & ~15 : step)
      repeat {
        let next = i &+ step, read = E.load(x, next, as: N.self)
        E.store(y, i, apply(lanes, i, 16))
        lanes = read
        i = next
      } while i < end
      step = 0
    }
    E.store(y, last, apply(lanes, last, 16))
  }

  /// Applies it to the whole pairs from `first` to `end - 1`, if elements prefer pairs. Returns where they end.
  @inline(__always)
  private func applyPairs(
    _ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, from first: Int, to end: Int, streams: Bool
  ) -> Int {
    if !E.prefersPairs || first &+ 32 > end { return first }
    let last = (end &- first) & ~31 &+ first &- 32
    var i = first, pair = E.loadPair(x + i &* E.size)
    while i <= last {
      let next = E.loadPair(x + min(i &+ 32, last) &* E.size)
      E.storePair(y, i, applyPair(pair, i), streams: streams)
      pair = next
      i &+= 32
    }
    return i
  }

  /// Applies it to a run that is written past the caches, or to fewer than sixteen elements.
  @inline(__always)
  private func applyInParts(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ count: Int, streams: Bool) {
    // As `forVectors` with a head does, which costs runs that are not streamed several instructions each. What is left
    // of a line at either end is stored as usual.
    let lines = streams ? StreamedLines.of(E.self, y, count) : .none
    var i = 0
    while i < lines.first {
      let part = (lines.first &- i &- 1) & 15 &+ 1
      applyPart(x, y, i, part)
      i &+= part
    }
    i = applyPairs(x, y, from: i, to: lines.end, streams: true)
    if i < lines.end {
      var lanes = E.load(x, i, as: E.Natural.self)
      while i < lines.end &- 16 {
        let next = E.load(x, i &+ 16, as: E.Natural.self)
        E.store(y, i, apply(lanes, i, 16), streams: true)
        lanes = next
        i &+= 16
      }
      E.store(y, i, apply(lanes, i, 16), streams: true)
      i &+= 16
    }
    while i < count {
      let part = min(16, count &- i)
      applyPart(x, y, i, part)
      i &+= part
    }
  }

  /// Applies it to the first `count` lanes of a vector.
  @inline(__always)
  func applyLanes(_ x: UnsafeRawPointer, _ y: UnsafeMutableRawPointer, _ i: Int, _ count: Int) {
    E.store(y, i, count: count, apply(E.load(x, i, count: count, as: E.Natural.self), i, count))
  }
}
