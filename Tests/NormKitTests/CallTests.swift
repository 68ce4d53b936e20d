// The exported functions from Swift, small and large, alone and at once: what the sanitizers watch.

import CNormKit
import Testing

@testable import NormKit

/// Layer normalization of rows in Double.
func reference(_ x: [Float], size: Int) -> [Double] {
  stride(from: 0, to: x.count, by: size).flatMap { start -> [Double] in
    let row = x[start..<start + size].map(Double.init)
    let mean = row.reduce(0, +) / Double(size)
    let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(size)
    return row.map { ($0 - mean) / (variance + 1e-5).squareRoot() }
  }
}

func values(_ count: Int, seed: UInt64) -> [Float] {
  var choices = Choices(state: seed)
  return (0..<count).map { _ in Float.random(in: -1...1, using: &choices) }
}

func layerNorm(_ x: [Float], size: Int) -> [Float] {
  var y = [Float](repeating: 0, count: x.count)
  let status = normkit_layer_norm(
    Int32(NORMKIT_F32), Int32(NORMKIT_F32), Int64(x.count / size), Int64(size), x, 0, nil, nil, 1e-5, &y, 0, nil, nil)
  #expect(status == NORMKIT_OK)
  return y
}

@Suite(.serialized) struct CallTests {
  @Test(arguments: [1, 2, 7, 15, 16, 17, 63, 64, 65, 100, 257, 1023, 1025])
  func rowsOfAnyLength(_ size: Int) {
    let x = values(3 * size, seed: UInt64(size))
    for (found, wanted) in zip(layerNorm(x, size: size), reference(x, size: size)) {
      #expect(abs(Double(found) - wanted) < 2e-6)
    }
  }

  /// Few large sets, which threads share, and many small ones, which they divide: the same bits for any number.
  @Test(arguments: [(1, 700_001), (3, 400_000), (4000, 200)])
  func threadsDoNotChangeBits(_ rows: Int, _ size: Int) {
    defer { _ = normkit_set_thread_count(1) }
    let x = values(rows * size, seed: 3)
    let alone = layerNorm(x, size: size)
    for count in [2, 7] {
      #expect(normkit_set_thread_count(Int32(count)) == NORMKIT_OK)
      #expect(layerNorm(x, size: size) == alone)
    }
  }

  /// Columns, shared by blocks and by rows, with running statistics.
  @Test(arguments: [(30_000, 24), (300, 2000)])
  func threadsDoNotChangeColumns(_ samples: Int, _ channels: Int) {
    defer { _ = normkit_set_thread_count(1) }
    let x = values(samples * channels, seed: 4)
    func batchNorm() -> [Float] {
      var y = x, mean = [Float](repeating: 0, count: channels), variance = mean
      let status = normkit_batch_norm_training(
        Int32(NORMKIT_F32), Int32(NORMKIT_F32), Int32(NORMKIT_CHANNELS_LAST), Int64(samples), Int64(channels), 1, x, 0,
        nil, nil, 1e-5, &mean, &variance, Int32(NORMKIT_RUNNING_UNBIASED), 0.5, &y, 0, nil, nil)
      #expect(status == NORMKIT_OK)
      return y + mean + variance
    }
    let alone = batchNorm()
    #expect(normkit_set_thread_count(5) == NORMKIT_OK)
    #expect(batchNorm() == alone)
  }

  /// Backward in both layouts: strips with sums of their own, units that threads share, and scattered runs.
  @Test(arguments: [
    (NORMKIT_CHANNELS_LAST, 30_000, 24, 1), (NORMKIT_CHANNELS_LAST, 300, 2000, 1), (NORMKIT_CHANNELS_FIRST, 4, 3, 60_000),
    (NORMKIT_CHANNELS_FIRST, 300, 50, 50),
  ])
  func threadsDoNotChangeGradients(_ layout: Int, _ samples: Int, _ channels: Int, _ positions: Int) {
    defer { _ = normkit_set_thread_count(1) }
    let x = values(samples * channels * positions, seed: 6), dy = values(x.count, seed: 7)
    let gamma = values(channels, seed: 8)
    func gradients() -> [Float] {
      var dx = x, dgamma = gamma, dbeta = gamma, dxOfGroups = x, dgammaOfGroups = gamma, dbetaOfGroups = gamma
      let f32 = Int32(NORMKIT_F32), n = Int64(samples), c = Int64(channels), l = Int64(positions)
      let batch = normkit_batch_norm_training_backward(
        f32, f32, Int32(layout), n, c, l, x, 0, dy, 0, gamma, nil, nil, 1e-5, &dx, 0, &dgamma, &dbeta, 0)
      let groups = normkit_group_norm_backward(
        f32, f32, Int32(layout), n, c, l, 1, x, 0, dy, 0, gamma, nil, nil, 1e-5, &dxOfGroups, 0, &dgammaOfGroups,
        &dbetaOfGroups, 0)
      #expect(batch == NORMKIT_OK && groups == NORMKIT_OK)
      return dx + dgamma + dbeta + dxOfGroups + dgammaOfGroups + dbetaOfGroups
    }
    let alone = gradients()
    #expect(normkit_set_thread_count(5) == NORMKIT_OK)
    #expect(gradients() == alone)
  }

  /// Large calls from several threads: one has the helpers, the others do without.
  @Test func callersDoNotDisturbEachOther() async {
    defer { _ = normkit_set_thread_count(1) }
    #expect(normkit_set_thread_count(3) == NORMKIT_OK)
    let x = values(600_000, seed: 5)
    let alone = layerNorm(x, size: 1500)
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 { group.addTask { (0..<5).allSatisfy { _ in layerNorm(x, size: 1500) == alone } } }
      for await same in group { #expect(same) }
    }
  }

  @Test func refusalsHaveSentences() {
    #expect(normkit_set_thread_count(0) == NORMKIT_ERROR_THREAD_COUNT)
    for status in -1...100 {
      let sentence = String(cString: normkit_status_string(Int32(status)))
      #expect(!sentence.isEmpty)
    }
  }
}
