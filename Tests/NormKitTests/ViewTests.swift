// The four-axis view on its own: its index sets against those that a brute-force walk over the tensor finds.

import NormKitFloor
import Testing

@testable import NormKit

/// A small deterministic source of choices.
struct Choices: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state ^ (state >> 29)
  }
}

/// A tensor with any strides, and which of its axes are reduced.
struct Tensor: CustomStringConvertible {
  var shape: [Int]
  var strides: [Int]
  var isReduced: [Bool]

  var description: String { "shape \(shape) strides \(strides) reduced \(isReduced)" }

  /// The view of the tensor, with an output that lies `spread` times as wide.
  func view(spread: Int = 1) -> View {
    var view = View()
    for i in shape.indices {
      let step = Steps(x: strides[i], y: strides[i] * spread, dx: strides[i] * spread)
      view.append(shape[i], isReduced: isReduced[i], step: step)
    }
    return view
  }

  /// The sets, in the order of the kept axes; each the memory offsets of its elements.
  var sets: [Set<Int>] {
    var sets: [Int: Set<Int>] = [:]
    let count = shape.reduce(1, *)
    for index in 0..<count {
      var rest = index, offset = 0, digits = [Int](repeating: 0, count: shape.count)
      for axis in shape.indices.reversed() {
        digits[axis] = rest % shape[axis]
        rest /= shape[axis]
        offset += digits[axis] * strides[axis]
      }
      var set = 0
      for axis in shape.indices where !isReduced[axis] { set = set * shape[axis] + digits[axis] }
      sets[set, default: []].insert(offset)
    }
    return sets.keys.sorted().map { sets[$0]! }
  }
}

/// Offset of a step over nested axes, digit by digit.
func offset(_ axes: nk_axes, _ index: Int) -> (x: Int, y: Int) {
  var rest = index, x = 0, y = 0
  let all = [axes.axis.0, axes.axis.1, axes.axis.2, axes.axis.3]
  for i in (0..<Int(axes.count)).reversed() {
    let digit = rest % Int(all[i].extent)
    rest /= Int(all[i].extent)
    x += digit * Int(all[i].x_stride)
    y += digit * Int(all[i].y_stride)
  }
  return (x, y)
}

/// The sets of a job in its four-axis form.
func sets(of job: nk_job) -> [Set<Int>] {
  (0..<Int(job.kept.extent)).flatMap { o in
    (0..<Int(job.lanes)).map { m in
      var set = Set<Int>()
      for f in 0..<Int(job.reduced.extent) {
        for r in 0..<Int(job.run) {
          let kept = offset(job.kept, o), reduced = offset(job.reduced, f)
          set.insert(kept.x + reduced.x + m * Int(job.run) + r)
        }
      }
      return set
    }
  }
}

@Suite struct ViewTests {
  /// Checks the view of a tensor, with an output that lies as the tensor does and with one that does not.
  func check(_ tensor: Tensor) {
    for spread in 1...2 {
      var job = nk_job()
      job.statistic = Int32(NK_MOMENTS)
      var view = tensor.view(spread: spread)
      view.enter(&job)
      #expect(sets(of: job) == tensor.sets, "\(tensor)")
      #expect(job.lanes == 1 || job.reduced.extent > 1, "one row is not reduced downwards: \(tensor)")
      #expect(Int(job.family) == NK_RUNS || job.run < 64, "\(tensor)")
    }
  }

  /// Every subset of axes of every shape with extents 1, 2, 3 up to rank 4.
  @Test func everySubsetOfAxes() {
    for rank in 0...4 {
      for code in 0..<power(3, rank) {
        let shape = (0..<rank).map { code / power(3, $0) % 3 + 1 }
        for subset in 0..<(1 << rank) {
          let isReduced = (0..<rank).map { subset >> $0 & 1 == 1 }
          check(Tensor(shape: shape, strides: contiguous(shape), isReduced: isReduced))
        }
      }
    }
  }

  /// Kept and reduced axes in turn, eight of them, in both phases: the longest lists of axes there are.
  @Test func rankEight() {
    let shape = [2, 3, 2, 2, 3, 2, 2, 2]
    for phase in 0...1 {
      let isReduced = shape.indices.map { $0 % 2 == phase }
      check(Tensor(shape: shape, strides: contiguous(shape), isReduced: isReduced))
    }
  }

  /// Rows, samples and positions with gaps between them.
  @Test func stridedTensors() {
    var choices = Choices(state: 7)
    for _ in 0..<300 {
      let shape = (0..<3).map { _ in Int.random(in: 1...5, using: &choices) }
      let gap = Int.random(in: 0...3, using: &choices)
      // A gap after each run of the axes behind `cut`.
      let cut = Int.random(in: 0...2, using: &choices)
      var strides = contiguous(shape)
      strides[cut] += gap
      for i in (0..<cut).reversed() { strides[i] = strides[i + 1] * shape[i + 1] }
      let isReduced = (0..<3).map { _ in Bool.random(using: &choices) }
      check(Tensor(shape: shape, strides: strides, isReduced: isReduced))
    }
  }

  /// What the methods become, as the design's table says.
  @Test func methods() {
    // Batch, channels first: 1 · N · C · L, in runs if L is long, or N small.
    check4(shape: [8, 32, 784], reduced: [0, 2], outer: 1, rows: 8, lanes: 32, run: 784, family: NK_RUNS)
    check4(shape: [16, 32, 49], reduced: [0, 2], outer: 1, rows: 16, lanes: 32, run: 49, family: NK_COLUMNS)
    check4(shape: [8, 32, 49], reduced: [0, 2], outer: 1, rows: 8, lanes: 32, run: 49, family: NK_RUNS)
    check4(shape: [2, 32, 9], reduced: [0, 2], outer: 1, rows: 2, lanes: 32, run: 9, family: NK_COLUMNS)
    // Batch, channels last: 1 · N·L · C · 1.
    check4(shape: [8, 784, 32], reduced: [0, 1], outer: 1, rows: 6272, lanes: 32, run: 1, family: NK_COLUMNS)
    // Layer over the last axis, and over a whole sample.
    check4(shape: [6, 5, 40], reduced: [2], outer: 30, rows: 1, lanes: 1, run: 40, family: NK_RUNS)
    check4(shape: [6, 5, 40], reduced: [1, 2], outer: 6, rows: 1, lanes: 1, run: 200, family: NK_RUNS)
    // Layer over channels, channels first: N · C · L · 1.
    check4(shape: [6, 5, 40], reduced: [1], outer: 6, rows: 5, lanes: 40, run: 1, family: NK_COLUMNS)
    // Group, channels last: N · L · G · D.
    check4(shape: [2, 9, 4, 3], reduced: [1, 3], outer: 2, rows: 9, lanes: 4, run: 3, family: NK_COLUMNS)
  }

  /// Where the elements of a run have a parameter each, groups are columns if they have many rows of them.
  @Test func parametersOfElements() {
    check4(
      shape: [2, 64, 4, 80], reduced: [1, 3], parameters: 320, outer: 2, rows: 64, lanes: 4, run: 80,
      family: NK_COLUMNS)
    check4(
      shape: [2, 9, 4, 80], reduced: [1, 3], parameters: 320, outer: 2, rows: 9, lanes: 4, run: 80, family: NK_RUNS)
    check4(
      shape: [2, 999, 2, 520], reduced: [1, 3], parameters: 1040, outer: 2, rows: 999, lanes: 2, run: 520,
      family: NK_RUNS)
    // One group: its run goes over the parameters again and again.
    check4(
      shape: [6, 50, 40], reduced: [1, 2], parameters: 40, outer: 6, rows: 50, lanes: 1, run: 40, family: NK_COLUMNS)
    check4(
      shape: [6, 30, 40], reduced: [1, 2], parameters: 40, outer: 6, rows: 1, lanes: 1, run: 1200, family: NK_RUNS)
  }

  func check4(
    shape: [Int], reduced: [Int], parameters: Int = 1, outer: Int, rows: Int, lanes: Int, run: Int, family: Int
  ) {
    let tensor = Tensor(
      shape: shape, strides: contiguous(shape), isReduced: shape.indices.map { reduced.contains($0) })
    var job = nk_job()
    job.statistic = Int32(NK_MOMENTS)
    job.segment = 1
    job.parameters = Int64(parameters)
    var view = tensor.view()
    view.enter(&job)
    #expect(sets(of: job) == tensor.sets)
    #expect(Int(job.kept.extent) == outer)
    #expect(Int(job.reduced.extent) == rows)
    #expect(Int(job.lanes) == lanes)
    #expect(Int(job.run) == run)
    #expect(Int(job.family) == family)
  }

  func contiguous(_ shape: [Int]) -> [Int] {
    shape.indices.map { shape[($0 + 1)...].reduce(1, *) }
  }

  func power(_ base: Int, _ exponent: Int) -> Int { (0..<exponent).reduce(1) { value, _ in value * base } }
}
