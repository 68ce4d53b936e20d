// The one function that a kernel module exports does nothing but call `runJob`, which chooses the generic code for
// the job's types, statistic and family.

import NormKitFloor

@inline(never)
func runJob(
  _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64, _ scratch: UnsafeMutableRawPointer
) {
  if Int(phase) == NK_STAGE { return job.pointee.stage.pointee.run() }
  switch Int(job.pointee.dtype) {
  case NK_F32: runTyped(F32.self, job, phase, begin, end, scratch)
  case NK_F64: runTyped(F64.self, job, phase, begin, end, scratch)
  case NK_F16: runTyped(F16.self, job, phase, begin, end, scratch)
  default: runTyped(BF16.self, job, phase, begin, end, scratch)
  }
  if job.pointee.streams != 0 { nk_finish_streams() }
}

@inline(__always)
private func runTyped<E: Element>(
  _: E.Type, _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64,
  _ scratch: UnsafeMutableRawPointer
) {
  if Int(phase) == NK_PREPARE { return job.pointee.prepareGammas(E.self) }
  switch Int(job.pointee.statistic) {
  case NK_MOMENTS: runFamily(E.self, Moments.self, job, phase, begin, end, scratch)
  case NK_ABSOLUTE_SUM: runFamily(E.self, AbsoluteSum.self, job, phase, begin, end, scratch)
  case NK_MAXIMUM: runFamily(E.self, Maximum.self, job, phase, begin, end, scratch)
  default: runFamily(E.self, SquareSum.self, job, phase, begin, end, scratch)
  }
}

@inline(never)
private func runFamily<E: Element, R: Reduction>(
  _: E.Type, _: R.Type, _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64,
  _ scratch: UnsafeMutableRawPointer
) {
  let isRuns = Int(job.pointee.family) == NK_RUNS
  if phase >= NK_GRADIENT_WHOLE {
    if isRuns {
      job.pointee.runGradients(E.self, R.self, Int(phase), Int(begin), Int(end), scratch)
    } else {
      job.pointee.columnGradients(E.self, R.self, Int(phase), Int(begin), Int(end), scratch)
    }
  } else if isRuns {
    job.pointee.runs(E.self, R.self, Int(phase), Int(begin), Int(end), scratch)
  } else {
    job.pointee.columns(E.self, R.self, Int(phase), Int(begin), Int(end), scratch)
  }
}
