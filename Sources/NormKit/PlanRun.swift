// Running a plan: as one part, part by part, through an engine's parallel loop, or on NormKit's own threads.

import CNormKit
import NormKitFloor

@_cdecl("normkit_plan_run") @implementation
public func normkit_plan_run(_ plan: OpaquePointer!, _ operands: UnsafePointer<normkit_operands>!) -> Int32 {
  statusOf { () throws(Refusal) in
    let run = try PlannedRun(plan, operands, parts: 1)
    run.allPhases(part: 0)
  }
}

@_cdecl("normkit_plan_run_part") @implementation
public func normkit_plan_run_part(
  _ plan: OpaquePointer!, _ operands: UnsafePointer<normkit_operands>!, _ phase: Int32, _ part: Int32, _ parts: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let run = try PlannedRun(plan, operands, parts: parts)
    try require(part >= 0 && part < parts && phase >= 0 && Int(phase) < run.phases, NORMKIT_ERROR_PARTS)
    run.part(Int(part), phase: Int(phase))
  }
}

@_cdecl("normkit_plan_run_parallel") @implementation
public func normkit_plan_run_parallel(
  _ plan: OpaquePointer!, _ operands: UnsafePointer<normkit_operands>!, _ parts: Int32,
  _ parallel_for: normkit_parallel_for!, _ context: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    var run = try PlannedRun(plan, operands, parts: parts)
    guard let parallel_for else { throw Refusal(NORMKIT_ERROR_PARALLEL_NULL) }
    guard run.parts > 1 else { return run.allPhases(part: 0) }
    for phase in 0..<run.phases {
      run.phase = phase
      withUnsafeMutablePointer(to: &run) { run in
        parallel_for(
          context, run.pointee.parts,
          { run, i in
            guard let run = run?.assumingMemoryBound(to: PlannedRun.self) else { return }
            run.pointee.part(i, phase: run.pointee.phase)
          }, run)
      }
    }
  }
}

@_cdecl("normkit_plan_run_threads") @implementation
public func normkit_plan_run_threads(_ plan: OpaquePointer!, _ operands: UnsafePointer<normkit_operands>!) -> Int32 {
  statusOf { () throws(Refusal) in
    var run = try PlannedRun(plan, operands, parts: nk_thread_count())
    let bytes = run.plan.pointee.work &* run.plan.pointee.types.statisticsSize
    run.parts = min(run.parts, threadsWorth(bytes: bytes))
    guard run.parts > 1 else { return run.allPhases(part: 0) }
    for phase in 0..<run.phases {
      run.phase = phase
      withUnsafePointer(to: run) { run in
        // The threads hand on what they are given, which is a job in all other calls.
        nk_parallel(
          { run, _, begin, end, _ in
            guard let run else { return }
            let planned = UnsafeRawPointer(run).assumingMemoryBound(to: PlannedRun.self)
            for part in begin..<end { planned.pointee.part(Int(part), phase: planned.pointee.phase) }
          },
          UnsafeRawPointer(run).assumingMemoryBound(to: nk_job.self), 0, Int64(run.pointee.parts), 1,
          Int32(truncatingIfNeeded: run.pointee.parts))
      }
    }
  }
}

/// A plan with checked operands, cut into parts.
struct PlannedRun {
  let plan: UnsafePointer<Plan>
  let operands: UnsafePointer<normkit_operands>
  var parts: Int
  var phase = 0

  init(_ plan: OpaquePointer?, _ operands: UnsafePointer<normkit_operands>?, parts: Int32) throws(Refusal) {
    guard let plan else { throw Refusal(NORMKIT_ERROR_PLAN_NULL) }
    guard let operands, Int(operands.pointee.struct_size) == MemoryLayout<normkit_operands>.size else {
      throw Refusal(NORMKIT_ERROR_OPERANDS)
    }
    try require(parts >= 1, NORMKIT_ERROR_PARTS)
    self.plan = planned(plan)
    self.operands = operands
    self.parts = min(Int(parts), self.plan.pointee.mostParts)
    try self.plan.pointee.check(operands.pointee, parts: Int(parts))
  }

  var phases: Int { plan.pointee.phases }

  func allPhases(part: Int) {
    for phase in 0..<phases { self.part(part, phase: phase) }
  }

  /// Part `part` of one phase. Parts that there is no work for do nothing.
  @inline(never)
  func part(_ part: Int, phase: Int) {
    guard part < parts else { return }
    guard plan.pointee.elements > 0 else { return plan.pointee.zeroNorms(operands.pointee, part) }
    if let blocks = plan.pointee.blocks {
      BlockRun(plan, blocks, operands, part: part).run(share(part, of: blocks.pointee.count))
    } else {
      whole(part, phase)
    }
  }

  private func share(_ part: Int, of count: Int) -> Range<Int> {
    // Neighbouring parts differ by one unit at most.
    let each = count / parts, more = count % parts
    let begin = part * each + min(part, more)
    return begin..<begin + each + (part < more ? 1 : 0)
  }

  /// A part of a problem that has nothing beside its normalization.
  private func whole(_ part: Int, _ phase: Int) {
    let o = operands.pointee
    var job = plan.pointee.job
    job.x = o.x
    job.y = o.y
    (job.gamma, job.beta) = plan.pointee.scaleAndShift(o)
    plan.pointee.placeStatistics(o, in: &job, set: 0, parameter: 0)
    let elementSize = plan.pointee.types.dataSize
    job.chooseStreams(
      bytes: plan.pointee.elements &* elementSize, elementSize: elementSize, threads: Int32(truncatingIfNeeded: parts))
    var tasks = Int(job.units), kernelPhase = NK_WHOLE
    if plan.pointee.isShared && parts > 1 {
      if job.formsStandards {
        let memory = aligned(o.workspace)
        job.sums = memory.assumingMemoryBound(to: nk_sums.self)
        job.standards = (memory + plan.pointee.shared.pieceBytes).assumingMemoryBound(to: nk_standard.self)
      }
      kernelPhase = phase == 2 || !job.formsStandards ? NK_APPLY : phase == 0 ? NK_SUMS : NK_FINISH
      if kernelPhase != NK_FINISH { tasks = Int(job.units &* job.pieces) }
    } else if phase > 0 {
      return
    }
    let range = share(part, of: tasks)
    if range.isEmpty { return }
    nk_call(plan.pointee.kernel, &job, Int32(kernelPhase), Int64(range.lowerBound), Int64(range.upperBound))
  }
}

extension Plan {
  /// The norms of sets without elements.
  fileprivate func zeroNorms(_ o: normkit_operands, _ part: Int) {
    guard part == 0, hasNorms, let norms = o.norms else { return }
    zero(norms, count: sets, types)
  }
}

/// Where a workspace begins that may begin anywhere.
func aligned(_ workspace: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
  let address = Int(bitPattern: workspace)
  return workspace + (roundedUp(address) &- address)
}
