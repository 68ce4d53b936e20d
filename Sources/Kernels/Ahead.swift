// What is read next, brought near where the processor does not foresee it.

import NormKitFloor

/// Bytes of rows, and of runs, that are brought near before they are needed where they come from memory: the processor
/// foresees where shorter ones and longer ones go on. And how far ahead.
private let fetchedBytes = 512...12288, bytesAhead = 16384

/// How many rows of so many bytes before it is needed one is brought near, or 0: not at all.
@inline(__always)
func rowsAhead(bytes: Int) -> Int { fetchedBytes.contains(bytes) ? max(1, bytesAhead / bytes) : 0 }

/// Brings neighbours near, all at once, because it costs memory time to change between reading and writing.
@inline(never)
func bringNear(_ start: UnsafeRawPointer, bytes: Int) {
  var i = 0 &- Int(bitPattern: start) & 63
  while i < bytes {
    nk_prefetch(start + i)
    i &+= 64
  }
}

extension nk_job {
  /// Brings `count` rows of `bytes` bytes near, every `step`-th from reduced step `f` on, if there are that many. `x`,
  /// `dy`: where the first step is.
  @inline(never)
  func bringRowsNear(
    _ x: UnsafeRawPointer, _ dy: UnsafeRawPointer?, elementSize: Int, from f: Int, _ count: Int, by step: Int = 1,
    bytes: Int
  ) {
    guard f &+ (count &- 1) &* step < Int(reduced.extent) else { return }
    for k in 0..<count {
      let offset = reducedOffset(f &+ k &* step)
      bringNear(x + offset.x &* elementSize, bytes: bytes)
      if let dy { bringNear(dy + offset.y &* elementSize, bytes: bytes) }
    }
  }

  /// Brings the run near that is some way behind that of reduced step `f`, if it is worth it.
  @inline(never)
  func bringRunNear(_ x: UnsafeRawPointer, _ dy: UnsafeRawPointer?, elementSize: Int, behind f: Int) {
    let bytes = Int(run) &* elementSize, ahead = rowsAhead(bytes: bytes)
    if ahead > 0 { bringRowsNear(x, dy, elementSize: elementSize, from: f &+ ahead, 1, bytes: bytes) }
  }
}
