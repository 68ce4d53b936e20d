// Plans: a description, checked once and cut once.

import CNormKit
import NormKitFloor

/// What is fixed before a plan runs.
struct Plan {
  /// The description, with what was left to its defaults filled in.
  let description: normkit_description
  let types: Types
  let kernel: nk_kernel
  let elements: Int
  let sets: Int

  /// Memory of x: runs of neighbours, of `length` elements each.
  let runs: Runs
  /// Parameters that gamma and beta have.
  let parameters: Int

  /// The whole problem.
  let job: nk_job
  /// How it is cut into blocks, if something is done beside the normalization.
  let blocks: UnsafePointer<Blocks>?

  /// - description: completed, and checked but for its sizes.
  private init(
    _ description: normkit_description, _ problem: consuming Problem, _ kernel: @escaping nk_kernel,
    _ blocks: UnsafePointer<Blocks>?
  ) {
    self.description = description
    self.kernel = kernel
    self.blocks = blocks
    types = problem.request.types
    elements = problem.elements
    sets = problem.sets
    runs = problem.request.runs
    parameters = Int(problem.request.job.parameters)
    job = problem.job()
  }

  /// A plan in memory of its own, its blocks behind it.
  static func make(_ given: normkit_description) throws(Refusal) -> UnsafeMutableRawPointer {
    guard let kernel = nk_chosen_isa().pointee.kernel else { throw Refusal(NORMKIT_ERROR_PROCESSOR) }
    let description = try given.completed()
    let problem = try description.problem()
    try description.requireStrides(problem.request.runs)
    let cut = try description.isFused ? Blocks(description, problem.request) : nil
    let start = roundedUp(MemoryLayout<Plan>.size)
    guard let memory = nk_allocate(Int64(start + MemoryLayout<Blocks>.size)) else {
      throw Refusal(NORMKIT_ERROR_MEMORY)
    }
    let blocks = cut.map { UnsafePointer((memory + start).initializeMemory(as: Blocks.self, to: $0)) }
    memory.initializeMemory(as: Plan.self, to: Plan(description, problem, kernel, blocks))
    return memory
  }

  /// Whether parts share units, because there are too few to go round: in three phases if something is summed.
  var isShared: Bool {
    blocks == nil && elements > 0 && job.pieces > 1 && job.units < 8 && job.units &* job.pieces >= 4
  }

  var phases: Int { isShared && job.formsStandards ? 3 : 1 }

  /// What the threads of a run in three phases hand to each other.
  var shared: SharedLayout { SharedLayout(job, entrySize: MemoryLayout<nk_sums>.stride) }

  /// Into how many parts a run can be cut.
  var mostParts: Int {
    guard elements > 0 else { return 1 }
    if let blocks { return blocks.pointee.count }
    return Int(isShared ? job.units &* job.pieces : job.units)
  }

  /// What a run takes, in elements that are normalized and nothing else; can be multiplied by the size of an element.
  var work: Int {
    let cost = 1 &+ costOf(description.activation_before) &+ costOf(description.ownActivationAfter)
    return min(elements, Int.max / 128) &* cost
  }

  /// Bytes of workspace, with what it takes to begin at a cache line.
  func workspace(parts: Int) -> Int {
    if elements == 0 { return 0 }
    if let blocks {
      let partBytes = blocks.pointee.partBytes
      return partBytes == 0 ? 0 : min(parts, blocks.pointee.count) * partBytes + lineBytes
    }
    return phases > 1 && parts > 1 ? shared.bytes + lineBytes : 0
  }
}

let lineBytes = 64

/// Elements to normalize that it takes to be worth a thread that is awake.
private let elementsPerPart = 16384

/// How many elements are normalized while an activation function is applied to one.
private func costOf(_ activation: Int32) -> Int {
  switch Int(activation) {
  case NORMKIT_IDENTITY: 0
  case NORMKIT_RELU, NORMKIT_LEAKY_RELU, NORMKIT_HARD_SWISH: 1
  default: 4
  }
}

@_cdecl("normkit_plan_create") @implementation
public func normkit_plan_create(
  _ description: UnsafePointer<normkit_description>!, _ plan: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
  plan?.pointee = nil
  return statusOf { () throws(Refusal) in
    try require(plan != nil, NORMKIT_ERROR_PLAN_NULL)
    guard let description, Int(description.pointee.struct_size) == MemoryLayout<normkit_description>.size else {
      throw Refusal(NORMKIT_ERROR_DESCRIPTION)
    }
    plan?.pointee = OpaquePointer(try Plan.make(description.pointee))
  }
}

@_cdecl("normkit_plan_destroy") @implementation
public func normkit_plan_destroy(_ plan: OpaquePointer!) { nk_free(UnsafeMutableRawPointer(plan)) }

@_cdecl("normkit_plan_most_parts") @implementation
public func normkit_plan_most_parts(_ plan: OpaquePointer!) -> Int32 {
  guard let plan else { return 1 }
  return Int32(clamping: planned(plan).pointee.mostParts)
}

@_cdecl("normkit_plan_useful_parts") @implementation
public func normkit_plan_useful_parts(_ plan: OpaquePointer!, _ threads: Int32) -> Int32 {
  guard let plan else { return 1 }
  let planned = planned(plan), worth = planned.pointee.work / elementsPerPart
  return max(1, Int32(clamping: min(min(Int(threads), planned.pointee.mostParts), worth)))
}

@_cdecl("normkit_plan_phases") @implementation
public func normkit_plan_phases(_ plan: OpaquePointer!) -> Int32 {
  guard let plan else { return 1 }
  return Int32(planned(plan).pointee.phases)
}

@_cdecl("normkit_plan_workspace") @implementation
public func normkit_plan_workspace(_ plan: OpaquePointer!, _ parts: Int32) -> Int64 {
  guard let plan, parts >= 1 else { return -1 }
  return Int64(planned(plan).pointee.workspace(parts: Int(parts)))
}

func planned(_ plan: OpaquePointer) -> UnsafePointer<Plan> {
  UnsafeRawPointer(plan).assumingMemoryBound(to: Plan.self)
}
