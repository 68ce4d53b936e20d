// Vectors of a run or of a row of lanes.

import NormKitFloor

extension Element {
  /// Elements from `p` on before the first from which `line` of them, a multiple of sixteen, can be stored past the
  /// caches. They are stored as usual, as are those behind the last such, and none is stored twice: a line that is in
  /// cache would have to be written back first.
  @inline(__always)
  static func elementsBeforeLine(_ p: UnsafeMutableRawPointer, of line: Int = 16) -> Int {
    ((0 &- Int(bitPattern: p)) & (line &* size &- 1)) / size
  }
}

/// What of `count` elements at `y` is written past the caches: those from `first` to `end - 1`, which are whole lines and
/// whole vectors, or none.
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
