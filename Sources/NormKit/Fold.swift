// Folding batch normalization into the layer before it.

import CNormKit
import NormKitFloor

@_cdecl("normkit_fold_batch_norm") @implementation
public func normkit_fold_batch_norm(
  _ dtype: Int32, _ outer: Int64, _ channels: Int64, _ inner: Int64, _ weight: UnsafeRawPointer!,
  _ bias: UnsafeRawPointer!, _ gamma: UnsafeRawPointer!, _ beta: UnsafeRawPointer!, _ mean: UnsafeRawPointer!,
  _ variance: UnsafeRawPointer!, _ epsilon: Double, _ folded_weight: UnsafeMutableRawPointer!,
  _ folded_bias: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    try require(types.isWhole, NORMKIT_ERROR_DTYPE)
    try requireEpsilon(epsilon)
    let outer = try extent(outer, NORMKIT_ERROR_OUTER)
    let channels = try extent(channels, NORMKIT_ERROR_CHANNELS)
    let inner = try extent(inner, NORMKIT_ERROR_INNER)
    let runs = try contiguousRuns(outer, channels, inner)
    try require(weight != nil || runs.elements == 0, NORMKIT_ERROR_X_NULL)
    try require(folded_weight != nil || runs.elements == 0, NORMKIT_ERROR_Y_NULL)
    try require(folded_bias != nil || channels == 0, NORMKIT_ERROR_Y_NULL)
    try require(mean != nil || channels == 0, NORMKIT_ERROR_MEAN_NULL)
    try require(variance != nil || channels == 0, NORMKIT_ERROR_VARIANCE_NULL)
    let matrix = runs.elements &* types.dataSize, vector = channels &* types.dataSize
    try requireDisjoint { buffers in
      buffers.append(Span(folded_weight, length: matrix), NORMKIT_ERROR_FOLDED_OVERLAP, .first)
      buffers.append(Span(folded_bias, length: vector), NORMKIT_ERROR_FOLDED_OVERLAP, .second)
      buffers.append(Span(weight, length: matrix), NORMKIT_OK, .first)
      buffers.append(Span(bias, length: vector), NORMKIT_OK, .second)
      buffers.append(Span(gamma, length: vector))
      buffers.append(Span(beta, length: vector))
      buffers.append(Span(mean, length: vector))
      buffers.append(Span(variance, length: vector))
    }

    var request = Request(types, runs, x: weight, y: folded_weight)
    request.parameters(gamma, nil, channels, segment: inner)
    request.job.useGivenVariance()
    request.job.given_spread = UnsafeRawPointer(variance)
    request.job.epsilon = epsilon
    var view = slicesView(outer, channels, inner)
    try request.run(&view, sets: channels)

    for c in 0..<channels {
      let root = nk_sqrt(types.get(variance, c) + epsilon)
      let scale = (gamma == nil ? 1 : types.get(gamma, c)) * (root == 0 ? 0 : 1 / root)
      let centred = (bias == nil ? 0 : types.get(bias, c)) - types.get(mean, c)
      types.put(centred * scale + (beta == nil ? 0 : types.get(beta, c)), to: folded_bias, c)
    }
  }
}
