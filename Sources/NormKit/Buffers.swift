// Which bytes a call reads and writes, and whether an output overlaps another buffer.

import CNormKit

/// Memory that a buffer covers: `count` runs of `length` bytes, `stride` bytes from one start to the next.
struct Span {
  let start: UInt
  let length: Int
  let count: Int
  let stride: Int

  init(_ p: UnsafeRawPointer?, length: Int, count: Int = 1, stride: Int = 0) {
    start = UInt(bitPattern: p)
    self.length = length
    self.count = p == nil || length == 0 ? 0 : count
    self.stride = stride
  }

  private var bytes: Int { (count - 1) * stride + length }

  func overlaps(_ other: Span) -> Bool {
    guard count > 0 && other.count > 0 else { return false }
    let distance = Int(bitPattern: other.start &- start)
    guard distance < bytes && -distance < other.bytes else { return false }
    // Runs of two slices of one larger buffer may lie between each other.
    guard count > 1 && other.count > 1 && stride == other.stride else { return true }
    let phase = ((distance % stride) + stride) % stride
    return phase < length || stride - phase < other.length
  }

  func isSame(as other: Span) -> Bool {
    start == other.start && length == other.length && count == other.count && (count <= 1 || stride == other.stride)
  }
}

/// The buffers of one call. Each is checked against those before it.
struct Buffers {
  private struct Buffer {
    var span: Span
    /// What an overlap is refused with if the buffer is an output; NORMKIT_OK for an input.
    var status: Int
  }

  private var buffers = InlineArray<10, Buffer>(repeating: Buffer(span: Span(nil, length: 0), status: NORMKIT_OK))
  private var count = 0
  private let types: Types

  /// x, and y, which may be exactly x.
  init(
    _ types: Types, _ runs: Runs, x: UnsafeRawPointer?, y: UnsafeMutableRawPointer?
  ) throws(Refusal) {
    self.types = types
    let bytes = types.dataSize
    let x = Span(x, length: runs.length &* bytes, count: runs.count, stride: runs.xStride &* bytes)
    let y = Span(y, length: runs.length &* bytes, count: runs.count, stride: runs.yStride &* bytes)
    if !y.isSame(as: x) { try append(x, NORMKIT_OK) }
    try append(y, NORMKIT_ERROR_Y_OVERLAP)
  }

  private mutating func append(_ span: Span, _ status: Int) throws(Refusal) {
    guard span.count > 0 else { return }
    for i in 0..<count {
      let other = buffers[i].status
      guard (status != NORMKIT_OK || other != NORMKIT_OK) && span.overlaps(buffers[i].span) else { continue }
      throw Refusal(other != NORMKIT_OK ? other : status)
    }
    buffers[count] = Buffer(span: span, status: status)
    count += 1
  }

  /// gamma, beta and their like: inputs of `entries` parameters.
  mutating func parameters(_ p: UnsafeRawPointer?, _ entries: Int) throws(Refusal) {
    try append(Span(p, length: entries &* types.parameterSize), NORMKIT_OK)
  }

  /// Statistics that are inputs.
  mutating func given(_ p: UnsafeRawPointer?, _ entries: Int) throws(Refusal) {
    try append(Span(p, length: entries &* types.statisticsSize), NORMKIT_OK)
  }

  /// Statistics that are outputs.
  mutating func statistics(
    _ p: UnsafeMutableRawPointer?, _ entries: Int, _ status: Int = NORMKIT_ERROR_STATISTICS_OVERLAP
  ) throws(Refusal) {
    try append(Span(p, length: entries &* types.statisticsSize), status)
  }
}
