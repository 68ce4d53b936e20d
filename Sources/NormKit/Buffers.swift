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

/// The buffers of a call, in the order in which an overlap is laid to their charge. Forward functions have those of the
/// first two lines.
private enum Buffer: Int {
  case y, mean, spread, runningMean, runningVariance
  case x, gamma, beta, givenMean, givenSpread
  case dy, givenMoments, givenSums, givenOffset, givenSlope
  case dx, dgamma, dbeta, moments, channelSums

  static let forward = Buffer.y.rawValue...Buffer.givenSpread.rawValue
  static let all = Buffer.y.rawValue...Buffer.channelSums.rawValue

  /// What an overlap is refused with if the buffer is an output.
  var status: Int {
    switch self {
    case .y: NORMKIT_ERROR_Y_OVERLAP
    case .mean, .spread: NORMKIT_ERROR_STATISTICS_OVERLAP
    case .runningMean, .runningVariance: NORMKIT_ERROR_RUNNING_OVERLAP
    case .dx: NORMKIT_ERROR_DX_OVERLAP
    case .dgamma, .dbeta: NORMKIT_ERROR_PARAMETER_OVERLAP
    case .moments, .channelSums: NORMKIT_ERROR_MOMENTS_OVERLAP
    default: NORMKIT_OK
    }
  }

  /// Whether an output may lie exactly where `input` does.
  func mayBe(_ input: Buffer) -> Bool { self == .y && input == .x || self == .dx && (input == .x || input == .dy) }
}

extension Request {
  /// Refuses the call if an output overlaps another buffer. y may be exactly x, dx exactly x or dy.
  ///
  /// - sets: how many statistics there are.
  func requireDisjoint(sets: Int) throws(Refusal) {
    let buffers = job.gradient == Int32(NK_FORWARD) && job.source != Int32(NK_FROM_MOMENTS) && job.moments == nil
      ? Buffer.forward : Buffer.all
    for i in buffers {
      guard let output = Buffer(rawValue: i) else { return }
      guard output.status != NORMKIT_OK else { continue }
      let written = span(output, sets)
      guard written.count > 0 else { continue }
      for j in buffers where j != i {
        guard let other = Buffer(rawValue: j) else { return }
        let span = span(other, sets)
        try require(
          output.mayBe(other) && written.isSame(as: span) || !written.overlaps(span), output.status)
      }
    }
  }

  private func span(_ buffer: Buffer, _ sets: Int) -> Span {
    let entries = Int(job.parameters)
    switch buffer {
    case .x: return data(job.x, runs.step.x)
    case .y: return data(job.y, runs.step.y)
    case .dy: return data(job.dy, runs.step.y)
    case .dx: return data(job.dx, runs.step.dx)
    case .gamma: return Span(job.gamma, length: entries &* types.parameterSize)
    case .beta: return Span(job.beta, length: entries &* types.parameterSize)
    case .dgamma: return Span(dgamma, length: entries &* types.statisticsSize)
    case .dbeta: return Span(dbeta, length: entries &* types.statisticsSize)
    case .channelSums: return Span(channelSums, length: entries &* MemoryLayout<nk_sums>.stride)
    case .mean: return statistics(job.mean, sets)
    case .spread: return statistics(job.spread, sets)
    case .runningMean: return statistics(job.running_mean, sets)
    case .runningVariance: return statistics(job.running_variance, sets)
    case .givenMean: return statistics(job.given_mean, sets)
    case .givenSpread: return statistics(job.given_spread, sets)
    case .givenOffset: return statistics(job.given_offset, sets)
    case .givenSlope: return statistics(job.given_slope, sets)
    case .moments: return Span(job.moments, length: sets &* MemoryLayout<nk_moments>.stride)
    case .givenMoments: return Span(job.given_moments, length: sets &* MemoryLayout<nk_moments>.stride)
    case .givenSums: return Span(job.given_sums, length: sets &* MemoryLayout<nk_sums>.stride)
    }
  }

  private func data(_ p: UnsafeRawPointer?, _ stride: Int) -> Span {
    Span(p, length: runs.length &* types.dataSize, count: runs.count, stride: stride &* types.dataSize)
  }

  private func statistics(_ p: UnsafeRawPointer?, _ sets: Int) -> Span { Span(p, length: sets &* types.statisticsSize) }
}
