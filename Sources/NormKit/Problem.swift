// A method over a shape, as an engine describes it, without buffers.

import CNormKit
import NormKitFloor

struct Problem: ~Copyable {
  var request: Request
  var view: View
  let sets: Int

  var elements: Int { request.runs.elements }

  /// The job, ready but for its buffers.
  consuming func job() -> nk_job {
    if elements > 0 {
      view.enter(&request.job)
      request.job.cut()
    }
    return request.job
  }
}

extension normkit_description {
  /// What the description says of method and sizes, checked.
  func problem() throws(Refusal) -> Problem {
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    var problem = try methodProblem(types)
    problem.request.job.rectifies = rectifies ? 1 : 0
    return problem
  }

  private func methodProblem(_ types: Types) throws(Refusal) -> Problem {
    switch Int(method) {
    case NORMKIT_LAYER_NORM, NORMKIT_RMS_NORM: return try rowsProblem(types)
    case NORMKIT_WEIGHT_NORM, NORMKIT_SCALE_SHIFT: return try slicesProblem(types)
    case NORMKIT_NORMALIZE, NORMKIT_LP_NORMALIZE: return try axesProblem(types)
    case NORMKIT_LAYER_NORM_CHANNELS: return try channelsProblem(types, layout: Int32(NORMKIT_CHANNELS_FIRST))
    default: return try channelsProblem(types, layout: layout)
    }
  }

  private var strides: RowStrides { RowStrides(x_stride, y_stride) }

  private func rowsProblem(_ types: Types) throws(Refusal) -> Problem {
    let rows = try extent(rows, NORMKIT_ERROR_ROWS), size = try extent(size, NORMKIT_ERROR_SIZE)
    let runs = try Runs(length: size, count: rows, strides)
    var request = Request(types, runs, x: nil, y: nil)
    request.parameters(nil, nil, size, segment: 1)
    request.job.epsilon = epsilon
    if Int(method) == NORMKIT_RMS_NORM {
      try requireFlag(one_plus_gamma, NORMKIT_ERROR_ONE_PLUS_GAMMA)
      request.job.useMeanSquare(onePlusGamma: one_plus_gamma)
    }
    return Problem(request: request, view: runs.rowsView(), sets: rows)
  }

  private func channelsProblem(_ types: Types, layout: Int32) throws(Refusal) -> Problem {
    let data = try Channels(layout, samples, channels, positions, strides)
    var request = Request(types, data.runs, x: nil, y: nil)
    request.parameters(nil, nil, data.channels, segment: data.segment)
    request.job.epsilon = epsilon
    switch Int(method) {
    case NORMKIT_LAYER_NORM_CHANNELS:
      return Problem(request: request, view: data.positionsView(), sets: data.samples &* data.positions)
    case NORMKIT_INSTANCE_NORM, NORMKIT_GROUP_NORM:
      let groups = Int(method) == NORMKIT_INSTANCE_NORM ? data.channels : try data.groupCount(groups)
      return Problem(request: request, view: data.groupsView(groups), sets: try product(data.samples, groups))
    case NORMKIT_BATCH_NORM_INFERENCE:
      request.job.useGivenVariance()
    default:
      try requireRunning(momentum, running_variance_rule)
      try require(data.samples &* data.positions != 1 || data.channels == 0, NORMKIT_ERROR_ONE_VALUE)
      request.job.useMomentum(momentum, running_variance_rule)
    }
    return Problem(request: request, view: data.channelsView(), sets: data.channels)
  }

  private func slicesProblem(_ types: Types) throws(Refusal) -> Problem {
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let slices = try extent(slices, NORMKIT_ERROR_SLICES)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    var request = Request(types, try contiguousRuns(outer, slices, inner), x: nil, y: nil)
    request.parameters(nil, nil, slices, segment: inner)
    if Int(method) == NORMKIT_WEIGHT_NORM {
      request.job.useNorm(try normStatistic(norm), rule: NK_ADDED, epsilon: epsilon)
    } else {
      request.job.useGivenVariance()
    }
    return Problem(request: request, view: slicesView(outer, slices, inner), sets: slices)
  }

  private func axesProblem(_ types: Types) throws(Refusal) -> Problem {
    let tensor = try axisTensor()
    var request = Request(types, try tensor.runs(), x: nil, y: nil)
    if Int(method) == NORMKIT_LP_NORMALIZE {
      request.job.useNorm(try normStatistic(norm), rule: NK_FLOOR, epsilon: epsilon)
    } else {
      request.job.rule = try epsilonRule(epsilon_rule)
      request.job.epsilon = epsilon
    }
    let sets = tensor.sets
    return Problem(request: request, view: tensor.takeView(), sets: sets)
  }

  private func axisTensor() throws(Refusal) -> AxisTensor {
    try withUnsafePointer(to: shape) { (shape) throws(Refusal) in
      try withUnsafePointer(to: axes) { (axes) throws(Refusal) in
        try AxisTensor(
          rank, UnsafeRawPointer(shape).assumingMemoryBound(to: Int64.self), axis_count,
          UnsafeRawPointer(axes).assumingMemoryBound(to: Int32.self))
      }
    }
  }
}
