// Running the blocks of a plan: what comes before the normalization, the normalization, what comes after.

import CNormKit
import NormKitFloor

struct BlockRun {
  private let plan: UnsafePointer<Plan>
  private let blocks: UnsafePointer<Blocks>
  private let operands: UnsafePointer<normkit_operands>
  private let gamma: UnsafeRawPointer?
  private let beta: UnsafeRawPointer?
  private let memory: UnsafeMutableRawPointer?

  /// Bytes of a parameter as the kernels see it.
  private let parameterSize: Int

  /// - part: which part of the workspace is this one's.
  init(
    _ plan: UnsafePointer<Plan>, _ blocks: UnsafePointer<Blocks>, _ operands: UnsafePointer<normkit_operands>, part: Int
  ) {
    self.plan = plan
    self.blocks = blocks
    self.operands = operands
    let parameterBytes = blocks.pointee.parameterBytes, partBytes = blocks.pointee.partBytes
    let start = partBytes == 0 ? nil : aligned(operands.pointee.workspace) + part * partBytes
    memory = start.map { $0 + 2 * parameterBytes }
    if let start, parameterBytes > 0 {
      parameterSize = size(plan.pointee.description.natural)
      gamma = plan.pointee.convert(operands.pointee.gamma, to: start)
      beta = plan.pointee.convert(operands.pointee.beta, to: start + parameterBytes)
    } else {
      parameterSize = size(plan.pointee.description.parameter_dtype)
      gamma = UnsafeRawPointer(operands.pointee.gamma)
      beta = UnsafeRawPointer(operands.pointee.beta)
    }
  }

  func run(_ range: Range<Int>) {
    for block in range { run(block, isLast: block + 1 == range.upperBound) }
  }

  // Fields are read where they are: a block may be small beside what a copy of all of them takes.
  private var d: normkit_description { @inline(__always) get { plan.pointee.description } }
  private var o: normkit_operands { @inline(__always) get { operands.pointee } }

  private func run(_ block: Int, isLast: Bool) {
    let place = Place(blocks, plan.pointee.runs.length, block)
    let parameter = place.first * blocks.pointee.cut.parametersOfItem
    let set = place.stretch * blocks.pointee.cut.setsOfStretch + place.first * blocks.pointee.cut.setsOfItem

    let y = o.y + place.offset(d.y_stride) * size(d.output_dtype)
    let work = memory.flatMap { blocks.pointee.usesWorkspace ? $0 : nil } ?? y
    let workStep = blocks.pointee.usesWorkspace ? place.length : place.step(d.y_stride)
    let following = Place(blocks, plan.pointee.runs.length, block + 1)
    let next = isLast ? nil : following.start(o.x, d.x_stride, d.dtype)
    let stages = Stages(plan, blocks, place, work: work, step: workStep, ahead: next)

    var job = place.count == blocks.pointee.together ? blocks.pointee.job : blocks.pointee.lastJob
    job.x = UnsafeRawPointer(o.x + place.offset(d.x_stride) * size(d.dtype))
    var step = place.step(d.x_stride)
    if blocks.pointee.formsSum { (job.x, step) = formSum(place, job.x, step, parameter, ahead: next) }
    if blocks.pointee.gathers {
      stages.add(NK_GATHER, blocks.pointee.formsSum ? nil : o, to: job.x, step: step, parameter)
      stages.activate(d.activation_before)
      job.x = UnsafeRawPointer(work)
    }

    job.y = blocks.pointee.hasAfter ? work : y
    job.gamma = gamma.map { $0 + parameter * parameterSize }
    job.beta = beta.map { $0 + parameter * parameterSize }
    if blocks.pointee.streams && !blocks.pointee.hasAfter {
      job.passCaches(size(d.output_dtype))
      // What was formed just now is in cache.
      job.is_large = blocks.pointee.gathers || blocks.pointee.formsSum ? 0 : 1
    }
    if blocks.pointee.fetchesAhead && !isLast {
      // Where a sum is stored, x was brought near with that.
      let read = blocks.pointee.formsSum ? following.start(o.residual, d.residual_stride, d.dtype) : next
      if let read { job.ahead = Int64(Int(bitPattern: read) - Int(bitPattern: job.x)) }
    }
    plan.pointee.placeStatistics(o, in: &job, set: set, parameter: parameter)
    nk_call(plan.pointee.kernel, &job, Int32(NK_WHOLE), 0, job.units)

    if d.has(NORMKIT_SCALE_SHIFT_SAMPLES) {
      let first = place.stretch * plan.pointee.parameters + parameter
      stages.affine(o.sample_scale, o.sample_shift, first, onePlus: d.one_plus_sample_scale)
    }
    // The activation may be the last step, and write y.
    let endsInActivation = blocks.pointee.usesWorkspace && !d.isOfIntegers && !d.has(NORMKIT_ADD_RESIDUAL_AFTER)
    if endsInActivation && blocks.pointee.activation != Int32(NORMKIT_IDENTITY) {
      stages.activate(blocks.pointee.activation, to: o.y, step: d.y_stride)
      return
    }
    stages.activate(blocks.pointee.activation)
    if d.has(NORMKIT_ADD_RESIDUAL_AFTER) {
      stages.add(o.residual_after, step: d.residual_after_stride)
    }
    if blocks.pointee.hasAfter && blocks.pointee.usesWorkspace { stages.storeOutput(o, row: set) }
  }

  /// Forms x with what is added to it in `sum`, or, if that is written past the caches, in the workspace, too. Returns
  /// where it is to be read, and elements from row to row.
  private func formSum(
    _ place: Place, _ x: UnsafeRawPointer?, _ step: Int, _ parameter: Int, ahead: UnsafeRawPointer?
  ) -> (UnsafeRawPointer?, Int) {
    var sum = o.sum + place.offset(d.sum_stride) * size(d.dtype), sumStep = place.step(d.sum_stride)
    var destination: UnsafeMutableRawPointer?
    if let memory, blocks.pointee.streams {
      sum = memory + blocks.pointee.workBytes
      sumStep = place.length
      destination = o.sum
    }
    Stages(plan, blocks, place, work: sum, step: sumStep, ahead: ahead)
      .add(NK_FORM, o, to: x, step: step, parameter, destination: destination)
    return (UnsafeRawPointer(sum), sumStep)
  }
}

/// Where a block lies: rows of neighbouring elements.
private struct Place {
  /// Which stretch it is of, and its first item there; how many items it has.
  let stretch, first, count: Int
  let rows, length: Int
  private let run, index, element: Int
  private let cutsRuns: Bool

  /// - run: elements of a run of memory.
  init(_ blocks: UnsafePointer<Blocks>, _ run: Int, _ block: Int) {
    let cut = blocks.pointee.cut, blocksOfStretch = blocks.pointee.blocksOfStretch
    stretch = block / blocksOfStretch
    first = block % blocksOfStretch * blocks.pointee.together
    count = min(blocks.pointee.together, cut.inner - first)
    cutsRuns = cut.cutsRuns
    rows = cutsRuns ? 1 : count
    length = cutsRuns ? count * cut.item : cut.item
    self.run = run
    index = stretch * cut.inner + first
    element = first * cut.item
  }

  /// Elements from one row to the next.
  func step(_ stride: Int64) -> Int { stride == 0 ? run : Int(stride) }

  /// Where the block begins in a buffer.
  func start(_ buffer: UnsafeRawPointer?, _ stride: Int64, _ dtype: Int32) -> UnsafeRawPointer? {
    buffer.map { $0 + offset(stride) * size(dtype) }
  }

  /// Elements from the start of a buffer to the block.
  func offset(_ stride: Int64) -> Int {
    cutsRuns ? stretch * step(stride) + element : index * step(stride)
  }
}

/// Stages over one block.
private struct Stages {
  private let plan: UnsafePointer<Plan>
  private let blocks: UnsafePointer<Blocks>
  private let place: Place
  private let work: UnsafeMutableRawPointer
  private let workStep: Int
  private let ahead: UnsafeRawPointer?

  /// - ahead: where x of the next block begins.
  init(
    _ plan: UnsafePointer<Plan>, _ blocks: UnsafePointer<Blocks>, _ place: Place, work: UnsafeMutableRawPointer,
    step: Int, ahead: UnsafeRawPointer? = nil
  ) {
    self.ahead = ahead
    self.plan = plan
    self.blocks = blocks
    self.place = place
    self.work = work
    workStep = step
  }

  private var d: normkit_description { @inline(__always) get { plan.pointee.description } }

  private func stage(_ operation: Int, _ dtype: Int32) -> nk_stage {
    var stage = nk_stage()
    stage.operation = Int32(operation)
    stage.is_double = size(d.natural) == 8 ? 1 : 0
    stage.rows = Int64(place.rows)
    stage.length = Int64(place.length)
    stage.work = work
    stage.work_step = Int64(workStep)
    stage.dtype = dtype
    return stage
  }

  /// work = x + residual + bias, what of them the plan has; without operands, work = x. `x` is that of the block.
  /// - operation: NK_GATHER, or NK_FORM with a buffer that the sum goes to as well, if any.
  func add(
    _ operation: Int, _ o: normkit_operands?, to x: UnsafeRawPointer?, step: Int, _ parameter: Int,
    destination: UnsafeMutableRawPointer? = nil
  ) {
    var stage = stage(operation, d.dtype)
    stage.source = x
    stage.source_step = Int64(step)
    if let o, d.has(NORMKIT_ADD_RESIDUAL) {
      stage.other = UnsafeRawPointer(o.residual + place.offset(d.residual_stride) * size(d.dtype))
      stage.other_step = Int64(place.step(d.residual_stride))
    }
    if let o, d.has(NORMKIT_ADD_BIAS) {
      stage.bias = UnsafeRawPointer(o.bias + parameter * size(d.parameter_dtype))
      stage.bias_dtype = d.parameter_dtype
      stage.segment = segment
    }
    write(&stage, to: destination, step: d.sum_stride, d.dtype)
  }

  /// work = work + other, a buffer of elements.
  func add(_ other: UnsafeRawPointer?, step: Int64) {
    let dtype = d.dtype
    var stage = stage(NK_GATHER, dtype)
    stage.other = other.map { $0 + place.offset(step) * size(dtype) }
    stage.other_step = Int64(place.step(step))
    write(&stage, to: nil, step: 0, dtype)
  }

  /// Neighbours that share a parameter.
  private var segment: Int64 { blocks.pointee.cut.cutsRuns ? d.positions : 1 }

  /// work = work * scale + shift, parameters from number `parameter` on.
  func affine(_ scale: UnsafeRawPointer?, _ shift: UnsafeRawPointer?, _ parameter: Int, onePlus: Int32 = 0) {
    let dtype = d.parameter_dtype
    var stage = stage(NK_AFFINE, dtype)
    stage.source = scale.map { $0 + parameter * size(dtype) }
    stage.other = shift.map { $0 + parameter * size(dtype) }
    stage.segment = segment
    stage.one_plus_scale = onePlus
    run(&stage)
  }

  /// work = activation(work), or, with a destination, y = activation(work).
  func activate(_ activation: Int32, to destination: UnsafeMutableRawPointer? = nil, step: Int64 = 0) {
    guard activation != Int32(NORMKIT_IDENTITY) else { return }
    var stage = stage(blocks.pointee.isOfHalves ? NK_RECTIFY : NK_ACTIVATE, d.output_dtype)
    stage.activation = activation
    stage.slope = d.slope
    write(&stage, to: destination, step: step, d.output_dtype)
  }

  /// destination = work, in another type or place.
  func store(_ destination: UnsafeMutableRawPointer?, step: Int64, _ dtype: Int32) {
    var stage = stage(NK_STORE, dtype)
    write(&stage, to: destination, step: step, dtype)
  }

  /// Runs a stage that writes to a buffer of elements.
  private func write(_ stage: inout nk_stage, to destination: UnsafeMutableRawPointer?, step: Int64, _ dtype: Int32) {
    stage.destination = destination.map { $0 + place.offset(step) * size(dtype) }
    stage.destination_step = Int64(place.step(step))
    if destination != nil && blocks.pointee.streams { lookAhead(&stage) }
    joinRows(of: &stage)
    if destination != nil && blocks.pointee.streams { stage.streams = canStream(stage, dtype) ? 1 : 0 }
    run(&stage)
  }

  /// Rows without gaps become one, for stages to which all elements are alike.
  private func joinRows(of stage: inout nk_stage) {
    guard stage.bias == nil && stage.work_step == stage.length
      && (stage.source == nil || stage.source_step == stage.length)
      && (stage.other == nil || stage.other_step == stage.length)
      && (stage.destination == nil || stage.destination_step == stage.length)
      && (stage.ahead == nil || stage.ahead_step == stage.length * stage.ahead_size)
    else { return }
    stage.length *= stage.rows
    stage.destination_step = stage.length
    stage.rows = 1
  }

  /// Has x of the next block brought near.
  private func lookAhead(_ stage: inout nk_stage) {
    if blocks.pointee.fetchesAhead && !blocks.pointee.formsSum { return }
    stage.ahead = ahead
    stage.ahead_step = Int64(place.step(d.x_stride) * size(d.dtype))
    stage.ahead_size = Int64(size(d.dtype))
  }

  /// Whether rows are not written where they have just been read, begin where elements may, and are long enough; or,
  /// with a bias for each of several stretches, these, and otherwise rows, are whole cache lines.
  private func canStream(_ stage: nk_stage, _ dtype: Int32) -> Bool {
    let bytes = size(dtype), destination = UnsafeRawPointer(stage.destination), start = Int(bitPattern: destination)
    if destination == stage.source || destination == stage.other { return false }
    let isCut = stage.bias != nil && stage.segment != 1
    let stretch = Int(isCut ? stage.segment : stage.length) * bytes
    let isAligned = (start | stretch | Int(stage.destination_step) * bytes) % lineBytes == 0
    return isAligned || !isCut && start % bytes == 0 && stretch >= leastUnaligned
  }

  /// y, from the workspace. `row`: the first row of the block.
  func storeOutput(_ o: normkit_operands, row: Int) {
    guard d.isOfIntegers else { return store(o.y, step: d.y_stride, d.output_dtype) }
    let isUnsigned = Int(d.output_dtype) == NORMKIT_U8
    var stage = stage(isUnsigned ? NK_STORE_U8 : NK_STORE_I8, 0)
    if d.has(NORMKIT_SCALE_PER_ROW) {
      stage.operation = Int32(NK_STORE_ROWS)
      stage.scales = o.row_scales + row
    } else {
      stage.scale = o.output_scale
      stage.zero_point = o.zero_point
    }
    stage.destination = o.y + place.offset(d.y_stride)
    stage.destination_step = Int64(place.step(d.y_stride))
    lookAhead(&stage)
    run(&stage)
  }

  private func run(_ stage: inout nk_stage) { plan.pointee.run(&stage) }
}

extension Plan {
  fileprivate func run(_ stage: inout nk_stage) {
    let kernel = kernel
    withUnsafePointer(to: stage) { stage in
      // Nothing else is read of a job with a stage.
      withUnsafeTemporaryAllocation(of: nk_job.self, capacity: 1) { job in
        guard let job = job.baseAddress else { return }
        job.pointee.stage = stage
        nk_call(kernel, job, Int32(NK_STAGE), 0, 1)
      }
    }
  }

  /// Parameters in the type of computation, which are written to `memory`. nil stays nil.
  fileprivate func convert(_ values: UnsafeRawPointer?, to memory: UnsafeMutableRawPointer) -> UnsafeRawPointer? {
    guard let values else { return nil }
    var stage = nk_stage()
    stage.operation = Int32(NK_GATHER)
    stage.rows = 1
    stage.length = Int64(parameters)
    stage.work = memory
    stage.dtype = description.parameter_dtype
    stage.source = values
    run(&stage)
    return UnsafeRawPointer(memory)
  }
}
