// Vectors of a run or of a row of lanes.

import NormKitFloor

extension Element {
  /// Elements from `p` on before the first from which `line` of them, a multiple of sixteen, lie in as few lines as
  /// they can, and can be stored past the caches. Those before are stored as usual then, as are those behind the last
  /// such, and none is stored twice: a line that is in cache would have to be written back first.
  @inline(__always)
  static func elementsBeforeLine(_ p: UnsafeMutableRawPointer, of line: Int = 16) -> Int {
    ((0 &- Int(bitPattern: p)) & (line &* size &- 1)) / size
  }
}

/// What of `count` elements at `y` is written past the caches: those from `first` to `end - 1`, which are whole lines
/// and whole vectors, or none.
struct StreamedLines {
  let first, end: Int

  @inline(__always) static var none: StreamedLines { StreamedLines(first: 0, end: 0) }

  @inline(__always)
  static func of<E: Element>(_: E.Type, _ y: UnsafeMutableRawPointer, _ count: Int) -> StreamedLines {
    // Of halves, a vector is half a line.
    let line = max(16, 64 / E.size), first = min(E.elementsBeforeLine(y, of: line), count)
    return StreamedLines(first: first, end: first &+ (count &- first) & (0 &- line))
  }

  @inline(__always)
  func have(_ i: Int) -> Bool { UInt(bitPattern: i &- first) < UInt(bitPattern: end &- first) }
}

/// Has the line brought near that the run at `y`, which will be written past the caches, shares with the one before it,
/// if it does: it is stored to as usual, and all stores behind that would wait until it has come from memory.
@inline(__always)
func bringJointNear(_ y: UnsafeMutableRawPointer) {
  if Int(bitPattern: y) & 63 != 0 { nk_prefetch_to_write(y) }
}

/// What is written without gaps, in stretches that begin and end within cache lines, past the caches: they are joined
/// in a buffer, because a line that is written in two steps takes longer than ten in one. Only the ends of it all are
/// stored as usual.
struct JoinedLines {
  private let buffer: UnsafeMutableRawPointer
  /// Where what is in the buffer goes, from the start of a line on; the part of the buffer that is filled.
  private var line: UnsafeMutableRawPointer
  private var filled: Range<Int>

  /// - buffer: aligned to 64, with room for the longest stretch and two lines.
  @inline(__always)
  init(_ y: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer) {
    let start = Int(bitPattern: y) & 63
    self.buffer = buffer
    line = y - start
    filled = start..<start
  }

  /// Where in the buffer the next stretch is to be put.
  @inline(__always) var end: UnsafeMutableRawPointer { buffer + filled.upperBound }

  /// Takes a stretch of so many bytes that was put there.
  @inline(never)
  mutating func append(_ bytes: Int) {
    let end = filled.upperBound &+ bytes, whole = end & ~63
    var i = 0
    if filled.lowerBound > 0 && whole > 0 {
      (line + filled.lowerBound).copyMemory(from: buffer + filled.lowerBound, byteCount: 64 &- filled.lowerBound)
      i = 64
    }
    while i < whole {
      F32.store(line + i, 0, F32.load(buffer + i, 0, as: Float.self), streams: true)
      i &+= 64
    }
    filled = (whole > 0 ? 0 : filled.lowerBound)..<end &- whole
    line += whole
    F32.store(buffer, 0, F32.load(buffer + whole, 0, as: Float.self))
  }

  /// Writes what is left of a line.
  @inline(__always)
  func finish() {
    (line + filled.lowerBound).copyMemory(from: buffer + filled.lowerBound, byteCount: filled.count)
  }
}

/// Vectors of `count` elements: where each starts, and how many elements it has.
@inline(__always)
func forVectors(from first: Int = 0, _ count: Int, _ body: (_ i: Int, _ length: Int) -> Void) {
  if !hasFourVectors { return forFewVectors(from: first, count, body) }
  var i = first
  while i &+ 16 <= count {
    body(i, 16)
    i &+= 16
  }
  if i < count { body(i, count &- i) }
}

/// The same with one body for whole vectors and parts of them: for what is seldom done, or much code.
@inline(__always)
func forFewVectors(from first: Int = 0, _ count: Int, _ body: (_ i: Int, _ length: Int) -> Void) {
  var i = first
  while i < count {
    body(i, min(16, count &- i))
    i &+= 16
  }
}

/// The same where the first has `head` elements, fewer than sixteen, or is whole if that is 0. What has no head is
/// passed quicker without asking.
@inline(__always)
func forVectors(from first: Int = 0, head: Int, _ count: Int, _ body: (_ i: Int, _ length: Int) -> Void) {
  var i = first, part = min(head, count &- first)
  while true {
    if part > 0 {
      body(i, part)
      i &+= part
    }
    let end = i &+ (count &- i) & ~15
    while i < end {
      body(i, 16)
      i &+= 16
    }
    part = count &- i
    if part == 0 { return }
  }
}

/// Rows that are passed as one, which is always one where there is no room for several vectors.
@inline(__always)
func forRows(_ count: Int, _ body: (_ k: Int) -> Void) {
  if !hasFourVectors { return body(0) }
  for k in 0..<count { body(k) }
}
