// What all exported functions share: collecting a job, checking its buffers, running it.

import CNormKit
import NormKitFloor

/// Row strides as the caller gives them: forward of x and y, backward of x, dy and dx.
struct RowStrides {
  let x, y, dx: Int64
  /// What the call is refused with if the second one is wrong.
  let yStatus: Int

  init(_ x: Int64, _ y: Int64) {
    self.x = x
    self.y = y
    dx = y
    yStatus = NORMKIT_ERROR_Y_STRIDE
  }

  init(_ x: Int64, dy: Int64, dx: Int64) {
    self.x = x
    y = dy
    self.dx = dx
    yStatus = NORMKIT_ERROR_DY_STRIDE
  }

  /// No gaps.
  init() { self.init(0, 0) }
}

/// Strided data as the caller describes it: `count` contiguous runs of `length` elements.
struct Runs {
  let length: Int
  let count: Int
  let step: Steps

  var elements: Int { length &* count }

  /// Checks the strides, of which 0 means no gaps, and that the whole can be addressed.
  init(length: Int, count: Int, _ strides: RowStrides) throws(Refusal) {
    _ = try product(length, count)
    self.length = length
    self.count = count
    step = Steps(
      x: try Runs.stride(strides.x, length, count, NORMKIT_ERROR_X_STRIDE),
      y: try Runs.stride(strides.y, length, count, strides.yStatus),
      dx: try Runs.stride(strides.dx, length, count, NORMKIT_ERROR_DX_STRIDE))
  }

  /// The stride of a buffer of `count` runs of `length` elements, checked.
  @inline(__always)
  static func stride(_ stride: Int64, _ length: Int, _ count: Int, _ status: Int) throws(Refusal) -> Int {
    try require(stride == 0 || stride >= Int64(length), status)
    let stride = stride == 0 ? length : Int(stride)
    _ = try product(stride, count)
    return stride
  }
}

/// Data with channels, in either layout.
struct Channels {
  let samples: Int
  let channels: Int
  let positions: Int
  let isLast: Bool
  let runs: Runs

  init(
    _ layout: Int32, _ samples: Int64, _ channels: Int64, _ positions: Int64, _ strides: RowStrides
  ) throws(Refusal) {
    try require(
      layout == Int32(NORMKIT_CHANNELS_FIRST) || layout == Int32(NORMKIT_CHANNELS_LAST), NORMKIT_ERROR_LAYOUT)
    isLast = layout == Int32(NORMKIT_CHANNELS_LAST)
    self.samples = try extent(samples, NORMKIT_ERROR_SAMPLES)
    self.channels = try extent(channels, NORMKIT_ERROR_CHANNELS)
    self.positions = try extent(positions, NORMKIT_ERROR_POSITIONS)
    let length = isLast ? self.channels : try product(self.channels, self.positions)
    let count = isLast ? try product(self.samples, self.positions) : self.samples
    runs = try Runs(length: length, count: count, strides)
    // With an extent of 0, the product of the other two may still be too large to be a number of statistics.
    _ = try product(self.samples, self.channels)
    _ = try product(self.samples, self.positions)
  }

  var sampleStep: Steps { isLast ? runs.step * positions : runs.step }
  var channelStep: Steps { Steps(isLast ? 1 : positions) }
  var positionStep: Steps { isLast ? runs.step : Steps(1) }

  /// Elements between neighbours that have different parameters.
  var segment: Int { isLast ? 1 : positions }
}

/// One call on its way from the arguments to the kernels.
struct Request: ~Copyable {
  let types: Types
  let runs: Runs
  var job = nk_job()

  /// Backward: where the gradients of parameters go, and whether they are added to what is there.
  var dgamma: UnsafeMutableRawPointer?
  var dbeta: UnsafeMutableRawPointer?
  var channelSums: UnsafeMutablePointer<nk_sums>?
  var accumulates = false

  @inline(__always)
  init(_ types: Types, _ runs: Runs, x: UnsafeRawPointer?, y: UnsafeMutableRawPointer?) {
    self.types = types
    self.runs = runs
    job.dtype = types.data
    job.parameter_dtype = types.parameter
    job.statistic = Int32(NK_MOMENTS)
    job.rule = Int32(NK_INSIDE_SQRT)
    job.spread_kind = Int32(NK_FACTOR)
    job.segment = 1
    job.parameters = 1
    job.x = x
    job.y = y
  }

  /// gamma and beta, `count` of each, which change every `segment` elements; a single one never changes.
  @inline(__always)
  mutating func parameters(_ gamma: UnsafeRawPointer?, _ beta: UnsafeRawPointer?, _ count: Int, segment: Int) {
    job.gamma = gamma
    job.beta = beta
    job.parameters = Int64(count)
    job.segment = count == 1 ? .max : Int64(segment)
  }

  /// Statistics outputs.
  @inline(__always)
  mutating func statistics(_ mean: UnsafeMutableRawPointer?, _ spread: UnsafeMutableRawPointer?) {
    job.mean = mean
    job.spread = spread
  }

  /// Checks the buffers and runs the job over `view`, which has `sets` sets. Without elements there is nothing to do.
  mutating func run(_ view: inout View, sets: Int) throws(Refusal) {
    try requireDisjoint(sets: sets)
    guard let kernel = nk_chosen_isa().pointee.kernel else { throw Refusal(NORMKIT_ERROR_PROCESSOR) }
    guard runs.elements > 0 else { return }
    view.enter(&job)
    job.cut()
    job.chooseStreams(
      bytes: runs.elements &* types.dataSize, elementSize: types.dataSize, threads: nk_thread_count())
    job.execute(bytes: runs.elements &* types.statisticsSize, with: kernel)
  }
}
