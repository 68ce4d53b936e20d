// A block of columns: neighbouring lanes of one outer kept step.

import NormKitFloor

struct ColumnBlock {
  let unit, outer, lane, width, firstSet, sets: Int

  /// Block `unit`. It has whole sets, unless nothing is summed.
  @inline(__always)
  init(_ job: nk_job, _ unit: Int) {
    let run = Int(job.run)
    self.unit = unit
    outer = unit / Int(job.blocks)
    lane = (unit &- outer &* Int(job.blocks)) &* Int(job.block)
    width = min(Int(job.block), Int(job.lanes) &* run &- lane)
    firstSet = outer &* Int(job.lanes) &+ lane / run
    sets = (lane &+ width &- 1) / run &- lane / run &+ 1
  }
}
