// Running a job: on the calling thread, unless the process asked for more and the work is worth it.

import CNormKit
import NormKitFloor

/// Bytes of data that a thread must get before it pays to wake it.
private let bytesPerThread = 512 * 1024

extension nk_job {
  /// Runs the job. `bytes`: the size of x.
  mutating func execute(bytes: Int, with kernel: nk_kernel) {
    let threads = bytes < 2 * bytesPerThread ? 1 : min(Int(nk_thread_count()), bytes / bytesPerThread)
    if threads > 1 {
      if units < 2 * threads && units &* pieces >= 2 * threads && share(threads, with: kernel) { return }
      if units > 1 {
        parallel(NK_WHOLE, units, threads, with: kernel)
        return
      }
    }
    nk_call(kernel, &self, Int32(NK_WHOLE), 0, units)
  }

  /// There are too few units to go round: several threads share one. Returns false if there is no memory for it.
  private mutating func share(_ threads: Int, with kernel: nk_kernel) -> Bool {
    let tasks = units &* pieces
    let sumsPerPiece = Int(family) == NK_RUNS ? 1 : Int(block)
    let sums = nk_allocate(tasks &* Int64(sumsPerPiece &* MemoryLayout<nk_sums>.stride))
    let standards = nk_allocate(kept.extent &* lanes &* Int64(MemoryLayout<nk_standard>.stride))
    defer {
      nk_free(sums)
      nk_free(standards)
    }
    guard let sums, let standards else { return false }
    self.sums = sums.assumingMemoryBound(to: nk_sums.self)
    self.standards = standards.assumingMemoryBound(to: nk_standard.self)
    if Int(statistic) != NK_GIVEN { parallel(NK_SUMS, tasks, threads, with: kernel) }
    parallel(NK_FINISH, units, threads, with: kernel)
    if y != nil { parallel(NK_APPLY, tasks, threads, with: kernel) }
    return true
  }

  private mutating func parallel(_ phase: Int, _ tasks: Int64, _ threads: Int, with kernel: nk_kernel) {
    let grain = max(1, tasks / Int64(threads &* 8))
    nk_parallel(kernel, &self, Int32(phase), tasks, grain, Int32(truncatingIfNeeded: threads))
  }
}
