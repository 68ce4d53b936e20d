import NormKitFloor

@_cdecl("nk_run_x86_64_v4")
public func export(
  _ job: UnsafePointer<nk_job>, _ phase: Int32, _ begin: Int64, _ end: Int64, _ scratch: UnsafeMutableRawPointer
) {
  runJob(job, phase, begin, end, scratch)
}
