// Statistics that are merged: moments of channels, from data in pieces and from several machines.

import CNormKit
import NormKitFloor

@_cdecl("normkit_moments_accumulate") @implementation
public func normkit_moments_accumulate(
  _ dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64, _ positions: Int64,
  _ x: UnsafeRawPointer!, _ x_stride: Int64, _ moments: UnsafeMutablePointer<normkit_channel_moments>!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    let data = try Channels(layout, samples, channels, positions, RowStrides(x_stride, x_stride))
    try require(x != nil || data.runs.elements == 0, NORMKIT_ERROR_X_NULL)
    let moments = try kernelMoments(moments, data.channels)
    var request = Request(types, data.runs, x: x, y: nil)
    request.job.moments = UnsafeMutablePointer(mutating: moments)
    var view = data.channelsView()
    try request.run(&view, sets: data.channels)
  }
}

@_cdecl("normkit_moments_merge") @implementation
public func normkit_moments_merge(
  _ channels: Int64, _ moments: UnsafeMutablePointer<normkit_channel_moments>!,
  _ other: UnsafePointer<normkit_channel_moments>!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let channels = try channelCount(channels)
    let into = try kernelMoments(moments, channels), from = try kernelMoments(other, channels)
    let bytes = channels &* MemoryLayout<nk_moments>.stride
    try require(!Span(into, length: bytes).overlaps(Span(from, length: bytes)), NORMKIT_ERROR_MOMENTS_OVERLAP)
    guard let into, let from else { return }
    for c in 0..<channels { nk_merge(UnsafeMutablePointer(mutating: into) + c, from[c]) }
  }
}

@_cdecl("normkit_moments_finish") @implementation
public func normkit_moments_finish(
  _ dtype: Int32, _ channels: Int64, _ moments: UnsafePointer<normkit_channel_moments>!, _ correction: Int64,
  _ epsilon: Double, _ mean: UnsafeMutableRawPointer!, _ variance: UnsafeMutableRawPointer!,
  _ rstd: UnsafeMutableRawPointer!
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    try require(types.isWhole, NORMKIT_ERROR_DTYPE)
    try requireEpsilon(epsilon)
    try require(correction >= 0, NORMKIT_ERROR_CORRECTION)
    let channels = try channelCount(channels)
    let moments = try kernelMoments(moments, channels)
    let bytes = channels &* types.dataSize
    try requireDisjoint { buffers in
      buffers.append(Span(mean, length: bytes), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(Span(variance, length: bytes), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(Span(rstd, length: bytes), NORMKIT_ERROR_STATISTICS_OVERLAP)
      buffers.append(Span(moments, length: channels &* MemoryLayout<nk_moments>.stride))
    }
    guard let moments else { return }
    for c in 0..<channels {
      try require(moments[c].count > 0, NORMKIT_ERROR_EMPTY_SET)
      try require(Double(correction) < moments[c].count, NORMKIT_ERROR_CORRECTION)
    }
    for c in 0..<channels {
      let m = moments[c]
      let root = nk_sqrt(m.m2 / m.count + epsilon)
      types.put(m.mean, to: mean, c)
      types.put(m.m2 / (m.count - Double(correction)), to: variance, c)
      types.put(root == 0 ? 0 : 1 / root, to: rstd, c)
    }
  }
}

/// A number of channels whose moments can be addressed.
private func channelCount(_ channels: Int64) throws(Refusal) -> Int {
  let count = try extent(channels, NORMKIT_ERROR_CHANNELS)
  _ = try product(count, MemoryLayout<nk_moments>.stride / MemoryLayout<Double>.stride)
  return count
}

/// Moments as the kernels see them, checked.
func kernelMoments(
  _ moments: UnsafePointer<normkit_channel_moments>?, _ channels: Int
) throws(Refusal) -> UnsafePointer<nk_moments>? {
  try require(moments != nil || channels == 0, NORMKIT_ERROR_MOMENTS_NULL)
  guard let moments else { return nil }
  for c in 0..<channels { try require(moments[c].count >= 0 && moments[c].count < .infinity, NORMKIT_ERROR_MOMENTS) }
  return UnsafeRawPointer(moments).assumingMemoryBound(to: nk_moments.self)
}
