// Which bytes a call reads and writes, and whether an output overlaps another buffer.

import CNormKit
import NormKitFloor

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
    guard distance < bytes && 0 &- distance < other.bytes else { return false }
    // Runs of two slices of one larger buffer may lie between each other.
    guard count > 1 && other.count > 1 && stride == other.stride else { return true }
    let phase = ((distance % stride) + stride) % stride
    return phase < length || stride - phase < other.length
  }

  func isSame(as other: Span) -> Bool {
    start == other.start && length == other.length && count == other.count && (count <= 1 || stride == other.stride)
  }
}

/// Inputs that an output may lie over exactly.
struct InPlace {
  fileprivate let bits: Int

  static let none = InPlace(bits: 0), first = InPlace(bits: 1), second = InPlace(bits: 2), either = InPlace(bits: 3)
  static let third = InPlace(bits: 4), any = InPlace(bits: 7)
}

/// A buffer of a call, and what an overlap is refused with: NORMKIT_OK for inputs. `place` is which input it is, or
/// which ones it may lie over exactly.
struct Buffer {
  let span: Span
  let status: Int
  let place: InPlace

  fileprivate func mayBe(_ input: Buffer) -> Bool {
    input.status == NORMKIT_OK && place.bits & input.place.bits != 0 && span.isSame(as: input.span)
  }
}

/// The buffers that a call has, outputs first, in the order in which an overlap is laid to their charge.
struct Buffers {
  fileprivate static let capacity = 20
  private let memory: UnsafeMutableBufferPointer<Buffer>
  private var count = 0, outputs = 0

  fileprivate init(_ memory: UnsafeMutableBufferPointer<Buffer>) { self.memory = memory }

  /// Outputs have a status, and come before all inputs.
  @inline(__always)
  mutating func append(_ span: Span, _ status: Int = NORMKIT_OK, _ place: InPlace = .none) {
    guard span.count > 0 && count < Buffers.capacity else { return }
    memory.initializeElement(at: count, to: Buffer(span: span, status: status, place: place))
    count += 1
    if status != NORMKIT_OK { outputs = count }
  }

  fileprivate func requireDisjoint() throws(Refusal) {
    for i in 0..<outputs {
      let output = memory[i]
      for j in i + 1..<count where output.span.overlaps(memory[j].span) {
        try require(output.mayBe(memory[j]), output.status)
      }
    }
  }
}

/// Refuses the call if one of the outputs that `collect` appends overlaps another buffer.
@inline(__always)
func requireDisjoint(_ collect: (inout Buffers) -> Void) throws(Refusal) {
  try withUnsafeTemporaryAllocation(of: Buffer.self, capacity: Buffers.capacity) { (memory) throws(Refusal) in
    var buffers = Buffers(memory)
    collect(&buffers)
    try buffers.requireDisjoint()
  }
}

extension Request {
  /// Refuses the call if an output overlaps another buffer. y may be exactly x, dx exactly x or dy.
  ///
  /// - sets: how many statistics there are.
  func requireDisjoint(sets: Int) throws(Refusal) {
    try NormKit.requireDisjoint { buffers in
      let entries = Int(job.parameters)
      buffers.append(data(job.y, runs.step.y), NORMKIT_ERROR_Y_OVERLAP, .first)
      buffers.append(statistics(job.mean, sets), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(statistics(job.spread, sets), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(statistics(job.running_mean, sets), NORMKIT_ERROR_RUNNING_OVERLAP)
      buffers.append(statistics(job.running_variance, sets), NORMKIT_ERROR_RUNNING_OVERLAP)
      buffers.append(Span(job.moments, length: sets &* momentsSize), NORMKIT_ERROR_MOMENTS_OVERLAP)
      if job.gradient != Int32(NK_FORWARD) {
        buffers.append(data(job.dx, runs.step.dx), NORMKIT_ERROR_DX_OVERLAP, .either)
        buffers.append(statistics(dgamma, entries), NORMKIT_ERROR_PARAMETER_OVERLAP)
        buffers.append(statistics(dbeta, entries), NORMKIT_ERROR_PARAMETER_OVERLAP)
        buffers.append(Span(channelSums, length: sets &* sumsSize), NORMKIT_ERROR_MOMENTS_OVERLAP)
        buffers.append(data(job.dy, runs.step.y), NORMKIT_OK, .second)
        buffers.append(Span(job.given_sums, length: sets &* sumsSize))
        buffers.append(statistics(job.given_offset, sets))
        buffers.append(statistics(job.given_slope, sets))
      }
      buffers.append(data(job.x, runs.step.x), NORMKIT_OK, .first)
      buffers.append(Span(job.gamma, length: entries &* types.parameterSize))
      buffers.append(Span(job.beta, length: entries &* types.parameterSize))
      buffers.append(statistics(job.given_mean, sets))
      buffers.append(statistics(job.given_spread, sets))
      buffers.append(Span(job.given_moments, length: sets &* momentsSize))
    }
  }

  private var momentsSize: Int { MemoryLayout<nk_moments>.stride }
  private var sumsSize: Int { MemoryLayout<nk_sums>.stride }

  @inline(__always)
  private func data(_ p: UnsafeRawPointer?, _ stride: Int) -> Span {
    Span(p, length: runs.length &* types.dataSize, count: runs.count, stride: stride &* types.dataSize)
  }

  @inline(__always)
  private func statistics(_ p: UnsafeRawPointer?, _ count: Int) -> Span {
    Span(p, length: count &* types.statisticsSize)
  }
}
