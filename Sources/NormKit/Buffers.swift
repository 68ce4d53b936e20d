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

/// The buffers of one call. Outputs are given with the status that an overlap has.
struct Buffers {
  private struct Buffer {
    var span: Span
    var status: Int
  }

  private var buffers = InlineArray<10, Buffer>(repeating: Buffer(span: Span(nil, length: 0), status: 0))
  private var count = 0
  private let types: Types
  private let x: Span

  /// x, and y, which may be exactly x. A run is `length` elements; strides count elements.
  init(
    _ types: Types, x: UnsafeRawPointer?, xStride: Int, y: UnsafeMutableRawPointer?, yStride: Int, length: Int, count: Int
  ) {
    self.types = types
    let bytes = types.dataSize
    self.x = Span(x, length: length &* bytes, count: count, stride: xStride &* bytes)
    append(Span(y, length: length &* bytes, count: count, stride: yStride &* bytes), NORMKIT_ERROR_Y_OVERLAP)
  }

  private mutating func append(_ span: Span, _ status: Int) {
    guard span.count > 0 else { return }
    buffers[count] = Buffer(span: span, status: status)
    count += 1
  }

  /// gamma, beta and their like: inputs of `parameters` entries.
  mutating func parameters(_ p: UnsafeRawPointer?, _ entries: Int) {
    append(Span(p, length: entries &* types.parameterSize), NORMKIT_OK)
  }

  /// Statistics that are inputs.
  mutating func given(_ p: UnsafeRawPointer?, _ entries: Int) {
    append(Span(p, length: entries &* types.statisticsSize), NORMKIT_OK)
  }

  /// Statistics that are outputs.
  mutating func statistics(
    _ p: UnsafeMutableRawPointer?, _ entries: Int, _ status: Int = NORMKIT_ERROR_STATISTICS_OVERLAP
  ) {
    append(Span(p, length: entries &* types.statisticsSize), status)
  }

  /// Refuses the call if an output overlaps another buffer.
  func check() throws(Refusal) {
    for i in 0..<count {
      let output = buffers[i]
      guard output.status != NORMKIT_OK else { continue }
      let mayBeX = output.status == NORMKIT_ERROR_Y_OVERLAP && output.span.isSame(as: x)
      try require(mayBeX || !output.span.overlaps(x), output.status)
      for j in 0..<count where j != i {
        try require(!output.span.overlaps(buffers[j].span), output.status)
      }
    }
  }
}
