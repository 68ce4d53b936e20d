// One backward call on its way from the arguments to the kernels.

import CNormKit
import NormKitFloor

/// A strip of units with its own sums has this many elements at least; so many per parameter; and so many strips there
/// are at most.
private let stripElements = 65536
private let elementsPerParameter = 8
private let mostStrips = 32

extension Request {
  /// A backward call. What dx is made of: the forward function's input, and the gradient of its output.
  @inline(__always)
  init(_ types: Types, _ runs: Runs, x: UnsafeRawPointer?, dy: UnsafeRawPointer?, dx: UnsafeMutableRawPointer?) {
    self.init(types, runs, x: x, y: nil)
    job.gradient = Int32(NK_GRADIENT_FORMED)
    job.dy = dy
    job.dx = dx
    job.dy_scale = 1
  }

  /// Where the gradients of gamma and beta go.
  @inline(__always)
  mutating func gradients(
    _ dgamma: UnsafeMutableRawPointer?, _ dbeta: UnsafeMutableRawPointer?, _ accumulate: Int32
  ) {
    self.dgamma = dgamma
    self.dbeta = dbeta
    accumulates = accumulate == 1
  }

  /// What the forward function has saved: both or none.
  @inline(__always)
  mutating func saved(_ mean: UnsafeRawPointer?, _ rstd: UnsafeRawPointer?) throws(Refusal) {
    try require((mean == nil) == (rstd == nil), NORMKIT_ERROR_SAVED_NULL)
    saved(mean, rstd, NK_FROM_FACTOR)
  }

  @inline(__always)
  mutating func saved(_ mean: UnsafeRawPointer?, _ spread: UnsafeRawPointer?, _ source: Int) {
    guard spread != nil else { return }
    job.given_mean = mean
    job.given_spread = spread
    job.source = Int32(source)
  }

  private var wantsParameters: Bool { dgamma != nil || dbeta != nil || channelSums != nil }

  /// Checks the buffers and runs the job over `view`, which has `sets` sets.
  mutating func runBackward(_ view: inout View, sets: Int) throws(Refusal) {
    try requireDisjoint(sets: sets)
    guard let kernel = nk_chosen_isa().pointee.kernel else { throw Refusal(NORMKIT_ERROR_PROCESSOR) }
    guard job.dx != nil || wantsParameters else { return }
    guard runs.elements > 0 else { return writeParameters(nil) }
    let parameters = Int(job.parameters)
    view.enter(&job)
    if job.gamma == nil && !wantsParameters {
      job.parameters = 1
      job.segment = .max
    }
    job.cut()
    job.chooseParameterForm()
    job.chooseStreams(
      bytes: runs.elements &* types.dataSize, elementSize: types.dataSize, threads: nk_thread_count())
    job.room = Int64(Int(job.parameters) + Int(NK_MARGIN))
    let threads = threadsWorth(bytes: 2 * runs.elements &* types.statisticsSize)
    let isOwn = hasOwnParameters(sets), isShared = job.isWorthSharing(threads) && isOwn
    cutIntoStrips(isShared ? 1 : threads, haveSums: !isOwn)

    let needsGammas = job.gamma != nil || Int(job.parameter_form) == NK_ELEMENTS
    let copies = !wantsParameters ? 0 : isOwn ? 1 : threads > 1 || job.strips == 1 ? Int(job.strips) : 2
    let memory = GradientMemory(gammas: needsGammas ? Int(job.parameters) : 0, sums: copies * doublesOfStrip)
    defer { memory.free() }
    guard memory.isComplete else { throw Refusal(NORMKIT_ERROR_MEMORY) }
    if needsGammas {
      job.gammas = memory.gammas
      nk_call(kernel, &job, Int32(NK_PREPARE), 0, 1)
    }
    job.parameter_sums = memory.sums
    let isOfSums = Int(job.gradient) == NK_GRADIENT_FORMED && Int(job.statistic) != NK_GIVEN
    job.needs_gradient_sums = wantsParameters || isOfSums ? 1 : 0
    let isDone = isShared && job.shareGradients(threads, with: kernel)
    if !isDone { runStrips(threads, isOwn ? nil : memory.sums, with: kernel) }
    job.parameters = Int64(parameters)
    writeParameters(memory.sums)
  }

  /// Cuts units into strips. Those that have sums for parameters each form them on their own, so that the cuts depend
  /// on the shape alone.
  private mutating func cutIntoStrips(_ threads: Int, haveSums: Bool) {
    let least = max(stripElements, elementsPerParameter * Int(job.parameters))
    let most = haveSums ? min(mostStrips, runs.elements / least) : threads == 1 ? 1 : threads * 8
    job.strip_units = (job.units - 1) / Int64(max(1, most)) + 1
    job.strips = (job.units - 1) / job.strip_units + 1
  }

  /// Numbers in the sums of one strip.
  private var doublesOfStrip: Int {
    let isByElement = Int(job.parameter_form) == NK_ELEMENTS || Int(job.parameter_form) == NK_SEGMENTS
    return Int(job.room) * Int(isByElement ? NK_PARAMETER_SUMS : NK_DBETA + 1)
  }

  /// Runs strip by strip: on several threads, or in turns that share one buffer for the sums of a strip, which is added
  /// to the first. `sums` is nil if there are none, or all units add to the same.
  private mutating func runStrips(_ threads: Int, _ sums: UnsafeMutablePointer<Double>?, with kernel: nk_kernel) {
    let stride = doublesOfStrip
    if threads > 1 && job.strips > 1 {
      job.sums_stride = sums == nil ? 0 : Int64(stride)
      job.parallel(NK_GRADIENT_WHOLE, job.strips, threads, with: kernel)
      guard let sums else { return }
      for strip in 1..<Int(job.strips) { addSums(sums + strip * stride, to: sums) }
    } else if let sums, job.strips > 1 {
      job.parameter_sums = sums + stride
      for strip in 0..<job.strips {
        UnsafeMutableRawPointer(sums + stride).initializeMemory(as: UInt8.self, repeating: 0, count: stride * 8)
        nk_call(kernel, &job, Int32(NK_GRADIENT_WHOLE), strip, strip + 1)
        addSums(sums + stride, to: sums)
      }
    } else {
      nk_call(kernel, &job, Int32(NK_GRADIENT_WHOLE), 0, job.strips)
    }
  }

  /// Whether no two units add to the gradient of the same parameter. Several threads may then share a unit, too, and
  /// all units the sums.
  private func hasOwnParameters(_ sets: Int) -> Bool {
    if !wantsParameters { return true }
    switch Int(job.parameter_form) {
    case NK_ONE_PER_SET: return Int(job.parameters) == sets
    case NK_LANES:
      return job.kept.extent == 1 && job.segment <= job.run && job.parameters * job.segment == job.lanes * job.run
    default: return false
    }
  }

  /// Adds the sums of one strip to those of the strips before it.
  private func addSums(_ strip: UnsafePointer<Double>, to total: UnsafeMutablePointer<Double>) {
    for i in 0..<(Int(NK_DBETA) + 1) * Int(job.room) { total[i] += strip[i] }
  }

  /// Writes the gradients of parameters from their sums, which are 0 if there are none.
  private func writeParameters(_ sums: UnsafePointer<Double>?) {
    let room = Int(job.room), dgammas = sums.map { $0 + NK_DGAMMA * room }, dbetas = sums.map { $0 + NK_DBETA * room }
    if types.statisticsSize == 8 {
      write(dgammas, to: dgamma, as: Double.self)
      write(dbetas, to: dbeta, as: Double.self)
    } else {
      write(dgammas, to: dgamma, as: Float.self)
      write(dbetas, to: dbeta, as: Float.self)
    }
    guard let channelSums else { return }
    for i in 0..<Int(job.parameters) {
      channelSums[i] = nk_sums(first: dbetas.map { $0[i] } ?? 0, second: dgammas.map { $0[i] } ?? 0)
    }
  }

  @inline(__always)
  private func write<N: BinaryFloatingPoint>(
    _ sums: UnsafePointer<Double>?, to output: UnsafeMutableRawPointer?, as: N.Type
  ) {
    guard let output else { return }
    for i in 0..<Int(job.parameters) {
      let offset = i &* MemoryLayout<N>.size
      let before = accumulates ? Double(output.loadUnaligned(fromByteOffset: offset, as: N.self)) : 0
      output.storeBytes(of: N(before + (sums.map { $0[i] } ?? 0)), toByteOffset: offset, as: N.self)
    }
  }
}

extension Channels {
  /// What backward functions over data with channels have in common.
  @inline(__always)
  func backward(
    _ types: Types, _ x: UnsafeRawPointer?, _ dy: UnsafeRawPointer?, _ gamma: UnsafeRawPointer?, _ epsilon: Double,
    _ dx: UnsafeMutableRawPointer?, _ dgamma: UnsafeMutableRawPointer?, _ dbeta: UnsafeMutableRawPointer?,
    _ accumulate: Int32
  ) throws(Refusal) -> Request {
    try requireFlag(accumulate, NORMKIT_ERROR_ACCUMULATE)
    try requireGradientData(runs.elements, x, dy)
    var request = Request(types, runs, x: x, dy: dy, dx: dx)
    request.parameters(gamma, nil, channels, segment: segment)
    request.gradients(dgamma, dbeta, accumulate)
    request.job.epsilon = epsilon
    return request
  }
}

extension nk_job {
  /// How parameters lie over the sets.
  fileprivate mutating func chooseParameterForm() {
    let form: Int
    if Int(family) == NK_COLUMNS {
      form = parameters > 1 && segment == lanes &* run ? NK_ROWS : NK_LANES
    } else if segment % run == 0 || segment == .max {
      form = NK_ONE_PER_SET
    } else {
      form = segment == 1 ? NK_ELEMENTS : NK_SEGMENTS
    }
    parameter_form = Int32(form)
  }
}

/// Memory of a backward call: gamma in the type of computation, and the sums for the gradients of parameters, zeroed.
private struct GradientMemory {
  let gammas: UnsafeMutableRawPointer?
  let sums: UnsafeMutablePointer<Double>?
  let isComplete: Bool

  /// - gammas: how many; 0 for none. sums: how many numbers.
  init(gammas count: Int, sums doubles: Int) {
    let gammas = count == 0 ? nil : nk_allocate(Int64((count + Int(NK_MARGIN)) * 8))
    let sums = doubles == 0 ? nil : nk_allocate_zeros(Int64(doubles * 8))
    self.gammas = gammas
    self.sums = sums?.assumingMemoryBound(to: Double.self)
    isComplete = (gammas != nil || count == 0) && (sums != nil || doubles == 0)
  }

  func free() {
    nk_free(gammas)
    nk_free(sums)
  }
}
