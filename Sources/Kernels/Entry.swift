// The one function that a kernel module exports does nothing but call `runJob`, which chooses the generic code for
// the job's types, statistic and family.

import NormKitFloor

@inline(never)
func runJob(
  _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64, _ scratch: UnsafeMutableRawPointer
) {
  switch (Int(job.pointee.dtype), Int(job.pointee.parameter_dtype)) {
  case (NK_F32, _): runTyped(F32.self, F32.self, job, phase, begin, end, scratch)
  case (NK_F64, _): runTyped(F64.self, F64.self, job, phase, begin, end, scratch)
  case (NK_F16, NK_F16): runTyped(F16.self, F16.self, job, phase, begin, end, scratch)
  case (NK_F16, _): runTyped(F16.self, F32.self, job, phase, begin, end, scratch)
  case (NK_BF16, NK_BF16): runTyped(BF16.self, BF16.self, job, phase, begin, end, scratch)
  default: runTyped(BF16.self, F32.self, job, phase, begin, end, scratch)
  }
}

@inline(never)
private func runTyped<E: Element, P: Element>(
  _: E.Type, _: P.Type, _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64,
  _ scratch: UnsafeMutableRawPointer
) {
  switch Int(job.pointee.statistic) {
  case NK_MOMENTS: runFamily(E.self, P.self, Moments.self, job, phase, begin, end, scratch)
  case NK_ABSOLUTE_SUM: runFamily(E.self, P.self, AbsoluteSum.self, job, phase, begin, end, scratch)
  case NK_MAXIMUM: runFamily(E.self, P.self, Maximum.self, job, phase, begin, end, scratch)
  default: runFamily(E.self, P.self, SquareSum.self, job, phase, begin, end, scratch)
  }
}

@inline(__always)
private func runFamily<E: Element, P: Element, R: Reduction>(
  _: E.Type, _: P.Type, _: R.Type, _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64,
  _ scratch: UnsafeMutableRawPointer
) {
  if Int(job.pointee.family) == NK_RUNS {
    job.pointee.runs(E.self, P.self, R.self, Int(phase), Int(begin), Int(end))
  } else {
    job.pointee.columns(E.self, P.self, R.self, Int(phase), Int(begin), Int(end), scratch)
  }
}
