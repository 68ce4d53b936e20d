// Whether what is written goes past the caches.

import CNormKit
import NormKitFloor

/// Bytes of neighbours from which on it pays although they do not begin and end where cache lines do.
let leastUnaligned = 512

/// Bytes of a set that is joined with its neighbours to whole lines, if they do not begin and end where lines do.
/// Longer ones have few such ends, and joining what is shorter takes longer than memory does.
private let joinedBytes = 256...2048

/// Columns: rows that are worth passing several at a time.
private let manyRows: Int64 = 128

/// Bytes of all tensors, of which there are two or more, from which on what is written is better not kept in cache.
func streamingBytes(areTwo: Bool) -> Int {
  let half = Int(nk_streaming_bytes())
  return areTwo ? half / 8 * 9 : half
}

extension nk_job {
  /// Chooses how y (backward dx) is written. `bytes`: its size. Stores past the caches save reading what is
  /// overwritten; they pay where the tensors are so large that the next reader would hardly find them in cache, which
  /// comes a little later for two than for the three of a backward pass. Several threads share the way to memory, but
  /// each has its own to the caches: they use it for half as much again. How a plan that does more is cut into blocks
  /// does not depend on them.
  mutating func chooseStreams(bytes: Int, elementSize: Int, threads: Int32) {
    let tensors = gradient != Int32(NK_FORWARD) ? 3 : 2, most = streamingBytes(areTwo: tensors == 2)
    is_large = bytes >= (threads == 1 ? most : most / 2 * 3) / tensors ? 1 : 0
    if is_large != 0 { passCaches(elementSize) }
  }

  /// Writes past the caches if that can be done.
  mutating func passCaches(_ elementSize: Int) {
    let isBackward = gradient != Int32(NK_FORWARD)
    guard let target = isBackward ? dx : y else { return }
    // In place, what is overwritten has just been read.
    let isInPlace = x == UnsafeRawPointer(target) || isBackward && dy == UnsafeRawPointer(target)
    guard !isInPlace && Int(bitPattern: target) % elementSize == 0 else { return }
    let isAligned = Int(bitPattern: target) % lineBytes == 0 && hasAlignedSteps(elementSize, isBackward)
    let isLong = mayBeginAnywhere(isBackward, elementSize) && neighbours &* elementSize >= leastUnaligned
    if isAligned {
      streams = Int32(NK_STREAMS)
    } else if areJoined(elementSize, isBackward) {
      streams = Int32(NK_STREAMS_JOINED)
    } else if isLong {
      streams = Int32(NK_STREAMS)
    }
  }

  /// Whether sets are runs that lie in what is written without gaps, and so short that it pays to join them.
  private func areJoined(_ elementSize: Int, _ isBackward: Bool) -> Bool {
    if Int(statistic) == NK_ABSOLUTE_SUM || Int(statistic) == NK_MAXIMUM { return false }
    if isBackward && (Int(parameter_form) != NK_ONE_PER_SET || elementSize == 2) { return false }
    let step = isBackward ? kept.axis.0.dx_stride : kept.axis.0.y_stride
    return Int(family) == NK_RUNS && reduced.extent == 1 && lanes == 1 && kept.count == 1 && step == run
      && joinedBytes.contains(Int(run) &* elementSize)
  }

  /// Whether all that is written in one go begins and ends where cache lines do, if the tensor does.
  private func hasAlignedSteps(_ elementSize: Int, _ isBackward: Bool) -> Bool {
    guard kept.isAligned(elementSize, isBackward) else { return false }
    if areDense && !isBackward && rowsOfLines(elementSize) &* Int(lanes &* run) <= Int(NK_BLOCK_LANES) { return true }
    guard reduced.isAligned(elementSize, isBackward) else { return false }
    let inner = Int(family) == NK_COLUMNS ? Int(block) : lanes > 1 ? Int(run) : 0
    return inner &* elementSize % lineBytes == 0 && stretch &* elementSize % lineBytes == 0
  }

  /// Whether the kernel stores what comes before the first whole line, and behind the last, in another way. It does not
  /// where sums of lanes are formed with what is written, which would depend on where lines begin then, and where lanes
  /// are in an order that goes with their index. Rows of halves would be written by half lines.
  private func mayBeginAnywhere(_ isBackward: Bool, _ elementSize: Int) -> Bool {
    if Int(family) == NK_COLUMNS && (dtype == Int32(NORMKIT_BF16) || areDense && !isBackward) { return false }
    return !isBackward || Int(parameter_form) != NK_ROWS && (Int(parameter_form) != NK_ELEMENTS || elementSize > 2)
  }

  /// Columns: whether many rows of lanes that have the same parameters follow each other without a gap. Then several
  /// short ones are passed as one; and, where lines begin elsewhere, stores in the order of memory are as good as
  /// stores past the caches.
  private var areDense: Bool {
    let width = lanes &* run, areAlike = gamma == nil && beta == nil || segment != width
    return Int(family) == NK_COLUMNS && blocks == 1 && areAlike && reduced.count <= 1 && reduced.extent >= manyRows
      && reduced.axis.0.x_stride == width && reduced.axis.0.y_stride == width
  }

  /// Columns: how many rows that follow each other are whole lines and whole vectors. `mostTogether` in
  /// ColumnApply.swift has to pass so many as one, or a multiple, and pieces that threads share to have a multiple of
  /// that.
  private func rowsOfLines(_ elementSize: Int) -> Int {
    max(1, max(16, lineBytes / elementSize) >> (lanes &* run).trailingZeroBitCount)
  }

  /// Neighbouring elements that are written in one go.
  private var neighbours: Int {
    Int(family) == NK_COLUMNS ? min(Int(block), Int(lanes &* run)) : stretch > 0 ? stretch : Int(run)
  }

  /// Neighbouring elements of a run that are written in one go, because they have one parameter or are all that there
  /// are; 0 if runs are written as a whole.
  private var stretch: Int {
    guard Int(family) == NK_RUNS && (gamma != nil || beta != nil || isBackwardOfParameters) else { return 0 }
    let length = Int(segment == 1 ? parameters : segment)
    return length < Int(run) ? length : 0
  }

  private var isBackwardOfParameters: Bool { gradient != Int32(NK_FORWARD) && parameters > 1 }
}

extension nk_axes {
  /// Whether every step in what is written is a multiple of a cache line.
  fileprivate func isAligned(_ elementSize: Int, _ isBackward: Bool) -> Bool {
    (count < 1 || axis.0.isAligned(elementSize, isBackward)) && (count < 2 || axis.1.isAligned(elementSize, isBackward))
      && (count < 3 || axis.2.isAligned(elementSize, isBackward))
      && (count < 4 || axis.3.isAligned(elementSize, isBackward))
  }
}

extension nk_axis {
  fileprivate func isAligned(_ elementSize: Int, _ isBackward: Bool) -> Bool {
    Int(isBackward ? dx_stride : y_stride) &* elementSize % lineBytes == 0
  }
}
