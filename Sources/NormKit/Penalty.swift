// L1 and L2 penalties on weights.

import CNormKit
import NormKitFloor

@_cdecl("normkit_weight_penalty") @implementation
public func normkit_weight_penalty(
  _ dtype: Int32, _ norm: Int32, _ size: Int64, _ w: UnsafeRawPointer!, _ strength: Double,
  _ value: UnsafeMutablePointer<Double>!, _ dw: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype)
    let statistic = try normStatistic(norm)
    try require(statistic != Int32(NK_MAXIMUM), NORMKIT_ERROR_NORM)
    try require(strength >= 0 && strength < .infinity, NORMKIT_ERROR_STRENGTH)
    try requireFlag(accumulate, NORMKIT_ERROR_ACCUMULATE)
    let size = try extent(size, NORMKIT_ERROR_SIZE)
    let runs = try Runs(length: size, count: 1, RowStrides())
    try require(w != nil || size == 0, NORMKIT_ERROR_W_NULL)
    try requireDisjoint { buffers in
      buffers.append(Span(value, length: MemoryLayout<Double>.size), NORMKIT_ERROR_PENALTY_OVERLAP)
      buffers.append(Span(dw, length: size &* types.dataSize), NORMKIT_ERROR_PENALTY_OVERLAP)
      buffers.append(Span(w, length: size &* types.dataSize))
    }
    if let value {
      var request = Request(types, runs, x: w, y: nil)
      request.job.statistic = statistic
      var sums = nk_sums(first: 0, second: 0)
      var view = runs.rowsView()
      try withUnsafeMutablePointer(to: &sums) { (sums) throws(Refusal) in
        request.job.set_sums = sums
        try request.run(&view, sets: 1)
      }
      value.pointee = strength * (statistic == Int32(NK_ABSOLUTE_SUM) ? sums.first : sums.second / 2)
    }
    if let dw {
      if accumulate == 0 { dw.initializeMemory(as: UInt8.self, repeating: 0, count: size &* types.dataSize) }
      var request = Request(types, runs, x: w, dy: dw, dx: dw)
      request.job.statistic = statistic
      request.job.source = Int32(NK_FROM_VARIANCE)
      request.job.gradient = Int32(NK_GRADIENT_GIVEN)
      request.job.slope_scale = -strength
      var view = runs.rowsView()
      try request.runBackward(&view, sets: 1)
    }
  }
}
