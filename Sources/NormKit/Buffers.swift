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

/// The buffers of a job, in the order in which an overlap is laid to their charge.
private enum Buffer: Int {
  case y, mean, spread, runningMean, runningVariance
  case x, gamma, beta, givenMean, givenVariance

  /// What an overlap is refused with if the buffer is an output.
  var status: Int {
    switch self {
    case .y: NORMKIT_ERROR_Y_OVERLAP
    case .mean, .spread: NORMKIT_ERROR_STATISTICS_OVERLAP
    case .runningMean, .runningVariance: NORMKIT_ERROR_RUNNING_OVERLAP
    default: NORMKIT_OK
    }
  }
}

extension nk_job {
  /// Refuses the call if an output overlaps another buffer. y may be exactly x.
  ///
  /// - sets: how many statistics there are.
  func requireDisjoint(_ runs: Runs, _ types: Types, sets: Int) throws(Refusal) {
    for i in 0...Buffer.runningVariance.rawValue {
      guard let output = Buffer(rawValue: i) else { return }
      let written = span(output, runs, types, sets)
      guard written.count > 0 else { continue }
      for j in 0...Buffer.givenVariance.rawValue where j != i {
        guard let other = Buffer(rawValue: j) else { return }
        let span = span(other, runs, types, sets)
        let isInPlace = output == .y && other == .x && written.isSame(as: span)
        try require(isInPlace || !written.overlaps(span), output.status)
      }
    }
  }

  private func span(_ buffer: Buffer, _ runs: Runs, _ types: Types, _ sets: Int) -> Span {
    let bytes = types.dataSize
    let statistics = sets &* types.statisticsSize
    let entries = Int(parameters)
    switch buffer {
    case .x: return Span(x, length: runs.length &* bytes, count: runs.count, stride: runs.xStride &* bytes)
    case .y: return Span(y, length: runs.length &* bytes, count: runs.count, stride: runs.yStride &* bytes)
    case .gamma: return Span(gamma, length: entries &* types.parameterSize)
    case .beta: return Span(beta, length: entries &* types.parameterSize)
    case .mean: return Span(mean, length: statistics)
    case .spread: return Span(spread, length: statistics)
    case .runningMean: return Span(running_mean, length: statistics)
    case .runningVariance: return Span(running_variance, length: statistics)
    case .givenMean: return Span(given_mean, length: entries &* types.statisticsSize)
    case .givenVariance: return Span(given_variance, length: entries &* types.statisticsSize)
    }
  }
}
