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
    // The last vector may share elements with the one before it, and is read before those are written in place.
    let rest = E.load(x, last, as: N.self)
    var i = 0
    while E.prefersPairs && i &+ 32 <= last {
      E.storePair(y + i &* E.size, applyPair(E.loadPair(x + i &* E.size), i))
      i &+= 32
    }
    while i < last {
      E.store(y, i, apply(E.load(x, i, as: N.self), i, 16))
      i &+= 16
    }
    E.store(y, last, apply(rest, last, 16))
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
    while E.prefersPairs && i < lines.end {
      E.streamPair(y + i &* E.size, applyPair(E.loadPair(x + i &* E.size), i))
      i &+= 32
    }
    while i < lines.end {
      E.store(y, i, apply(E.load(x, i, as: E.Natural.self), i, 16), streams: true)
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
