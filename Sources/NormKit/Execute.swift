// Running a job: on the calling thread, unless the process asked for more and the work is worth it.

import CNormKit
import NormKitFloor

/// Bytes of data, in the type of computation, that a thread must get before it pays to wake it, and if it is awake.
private let bytesPerThread = 128 * 1024
private let bytesPerThreadAwake = 32 * 1024

/// How many threads so much data is worth.
func threadsWorth(bytes: Int) -> Int {
  let count = Int(nk_thread_count())
  if count == 1 || bytes < 2 * bytesPerThreadAwake { return 1 }
  return max(1, min(count, bytes / (nk_has_thread_awake() ? bytesPerThreadAwake : bytesPerThread)))
}

extension nk_job {
  /// Runs the job. `bytes`: the size of x in the type of computation.
  mutating func execute(bytes: Int, with kernel: nk_kernel) {
    let threads = threadsWorth(bytes: bytes)
    if threads > 1 {
      if isWorthSharing(threads) && share(threads, with: kernel) { return }
      if units > 1 {
        parallel(NK_WHOLE, units, threads, with: kernel)
        return
      }
    }
    nk_call(kernel, &self, Int32(NK_WHOLE), 0, units)
  }

  /// Whether there are too few units to go round evenly, and pieces enough.
  @inline(__always)
  func isWorthSharing(_ threads: Int) -> Bool {
    let areAlike = Int(family) == NK_RUNS || blocks == 1 || lanes &* run % block == 0
    let goRound = units == threads && areAlike
    return threads > 1 && units < 2 * threads && !goRound && units &* pieces >= 2 * threads
  }

  /// Whether what standardizes sets is formed from x, so that pieces of a set have to wait for each other.
  @inline(__always) var formsStandards: Bool { Int(source) == NK_FORMED }

  /// Several threads share one unit. Returns false if there is no memory for it.
  private mutating func share(_ threads: Int, with kernel: nk_kernel) -> Bool {
    if !formsStandards {
      // What is applied is prepared once for each call, which takes as long as a piece: the fewer pieces there are, the
      // fewer calls they are cut into.
      let tasks = units &* pieces
      if y != nil { parallel(NK_APPLY, tasks, threads, callsOfEach: min(8, max(2, tasks / 16)), with: kernel) }
      return true
    }
    guard let memory = SharedMemory(self, entrySize: MemoryLayout<nk_sums>.stride) else { return false }
    defer { memory.free() }
    shareStandards(threads, memory, with: kernel)
    if y != nil { parallel(NK_APPLY, units &* pieces, threads, with: kernel) }
    return true
  }

  /// The same backward.
  mutating func shareGradients(_ threads: Int, with kernel: nk_kernel) -> Bool {
    let entrySize = max(MemoryLayout<nk_sums>.stride, MemoryLayout<nk_gradient_sums>.stride)
    guard let memory = SharedMemory(self, entrySize: entrySize) else { return false }
    defer { memory.free() }
    shareStandards(threads, memory, with: kernel)
    gradient_sums = memory.pieces.assumingMemoryBound(to: nk_gradient_sums.self)
    gradients = memory.gradients.assumingMemoryBound(to: nk_gradient.self)
    if needs_gradient_sums != 0 {
      parallel(NK_GRADIENT_SUMS, units &* pieces, threads, with: kernel)
    }
    parallel(NK_GRADIENT_FINISH, units, threads, with: kernel)
    if dx != nil { parallel(NK_GRADIENT_APPLY, units &* pieces, threads, with: kernel) }
    return true
  }

  /// What standardizes each set, formed by several threads.
  private mutating func shareStandards(_ threads: Int, _ memory: SharedMemory, with kernel: nk_kernel) {
    sums = memory.pieces.assumingMemoryBound(to: nk_sums.self)
    standards = memory.standards.assumingMemoryBound(to: nk_standard.self)
    if formsStandards { parallel(NK_SUMS, units &* pieces, threads, with: kernel) }
    parallel(NK_FINISH, units, threads, with: kernel)
  }

  /// - callsOfEach: how many calls of the kernel each thread is meant to make.
  mutating func parallel(
    _ phase: Int, _ tasks: Int64, _ threads: Int, callsOfEach: Int64 = 4, with kernel: nk_kernel
  ) {
    let grain = max(1, tasks / (Int64(threads) &* callsOfEach))
    nk_parallel(kernel, &self, Int32(phase), tasks, grain, Int32(truncatingIfNeeded: threads))
  }
}

/// Memory for what threads that share units hand to each other: sums of pieces, and results.
struct SharedLayout {
  let pieceBytes, standardBytes, bytes: Int

  /// - entrySize: bytes of the sums of one piece, or of one of its lanes.
  init(_ job: nk_job, entrySize: Int) {
    let sets = Int(job.kept.extent &* job.lanes)
    let entries = Int(job.units &* job.pieces) * (Int(job.family) == NK_RUNS ? 1 : Int(job.block))
    pieceBytes = entries * entrySize
    standardBytes = sets * MemoryLayout<nk_standard>.stride
    bytes = pieceBytes + standardBytes + sets * MemoryLayout<nk_gradient>.stride
  }
}

private struct SharedMemory {
  let pieces, standards, gradients: UnsafeMutableRawPointer

  init?(_ job: nk_job, entrySize: Int) {
    let layout = SharedLayout(job, entrySize: entrySize)
    guard let memory = nk_allocate(Int64(layout.bytes)) else { return nil }
    pieces = memory
    standards = memory + layout.pieceBytes
    gradients = standards + layout.standardBytes
  }

  func free() { nk_free(pieces) }
}
