// The one idea: a method is a view of a tensor as axes that are kept and axes that are reduced. What is not known
// here any more is which method it was.

import NormKitFloor

/// How far one step goes in x, in y (backward: dy) and in dx, in elements.
struct Steps {
  var x, y, dx: Int

  init(x: Int, y: Int, dx: Int) {
    self.x = x
    self.y = y
    self.dx = dx
  }

  /// The same in all of them.
  init(_ step: Int) { self.init(x: step, y: step, dx: step) }

  static func * (step: Steps, count: Int) -> Steps {
    Steps(x: step.x &* count, y: step.y &* count, dx: step.dx &* count)
  }

  static func == (a: Steps, b: Steps) -> Bool { a.x == b.x && a.y == b.y && a.dx == b.dx }
}

/// Shorter runs are taken as columns, if there is a choice.
private let shortRun = 64
/// But for sets of so few runs that columns are not worth what is done for each of their lanes: as many as this goes
/// into the length of a run. Runs have ends that are no whole vectors, which take longer in halves.
private let lanesPerRun = 4, lanesPerRunOfWideGradients = 2
private let shortestRun = 16
/// Where nothing is summed: times the rows that the same coefficients serve, 32 of them at most.
private let shortGivenRun = 16
/// Where elements of a run have parameters of their own, longer ones are worth it, too: for so many lanes of each run.
private let lanesForward = 4, lanesBackward = 8

/// Whether a run of which each element has a parameter, and which goes over them several times, had better be rows of
/// lanes: what is done for each lane of columns takes less time than what is done each time.
private func areRows(_ run: Int, of parameters: Int, _ isForward: Bool) -> Bool {
  parameters < run && parameters <= Int(NK_BLOCK_LANES) && run / parameters >= parameters / (isForward ? 1 : 4)
}

/// Axes of a tensor, appended from the outermost to the innermost. Neighbours of the same kind that follow each
/// other without a gap are merged, so that a view has as few axes as possible.
struct View: ~Copyable {
  struct Axis {
    var extent: Int
    var isReduced: Bool
    var step: Steps
  }

  /// Rank 8 at most, and methods have fewer.
  private var axes: InlineArray<8, Axis>
  private var count = 0

  init() { axes = InlineArray(repeating: Axis(extent: 1, isReduced: false, step: Steps(0))) }

  mutating func append(_ extent: Int, isReduced: Bool, step: Steps) {
    if extent == 1 { return }
    if count > 0 {
      let outer = axes[count - 1]
      if outer.isReduced == isReduced && outer.step == step * extent {
        let merged = outer.extent &* extent
        axes[count - 1] = Axis(extent: merged, isReduced: isReduced, step: step)
        return
      }
    }
    axes[count] = Axis(extent: extent, isReduced: isReduced, step: step)
    count += 1
  }

  mutating func keep(_ extent: Int, step: Steps) { append(extent, isReduced: false, step: step) }
  mutating func reduce(_ extent: Int, step: Steps) { append(extent, isReduced: true, step: step) }

  /// The extent of the innermost of `count` axes if it has this kind and lies without gaps over `inner` elements;
  /// then it is taken off.
  private mutating func takeInnermost(_ count: inout Int, isReduced: Bool, over inner: Int) -> Int {
    guard count > 0 else { return 1 }
    let axis = axes[count - 1]
    guard axis.isReduced == isReduced && axis.step == Steps(inner) else { return 1 }
    count -= 1
    return axis.extent
  }

  /// Enters the view into a job in its four-axis form, and chooses how memory is walked.
  ///
  /// Without an outer axis to reduce, sets are runs of neighbouring elements. With one they are runs too if the runs
  /// are long, and columns if not.
  mutating func enter(_ job: inout nk_job) {
    var rest = count
    var run = takeInnermost(&rest, isReduced: true, over: 1)
    var lanes = takeInnermost(&rest, isReduced: false, over: run)
    var kept = nk_axes(), reduced = nk_axes()
    kept.extent = 1
    reduced.extent = 1
    for i in 0..<rest {
      let axis = axes[i]
      if axis.isReduced { reduced.append(axis) } else { kept.append(axis) }
    }
    func keepLanes() {
      kept.append(Axis(extent: lanes, isReduced: false, step: Steps(run)))
      lanes = 1
    }
    let isGiven = job.statistic == Int32(NK_GIVEN), isForward = job.gradient == Int32(NK_FORWARD)
    let isOfElements = job.segment == 1 && job.parameters > 1 && run > 1
    if isOfElements && reduced.extent == 1 && areRows(run, of: Int(job.parameters), isForward) {
      keepLanes()
      let row = Int(job.parameters)
      reduced.append(Axis(extent: run / row, isReduced: true, step: Steps(row)))
      run = row
    }
    let isShort: Bool
    if isGiven && isForward {
      isShort = run < shortGivenRun * Int(min(reduced.extent, 32))
    } else if isOfElements {
      isShort = run <= Int(NK_BLOCK_LANES) && run / (isForward ? lanesForward : lanesBackward) <= reduced.extent
    } else {
      let perRun = isForward || NormKit.size(job.dtype) == 2 ? lanesPerRun : lanesPerRunOfWideGradients
      isShort = run < shortRun && (run < shortestRun || run / perRun < reduced.extent)
    }
    let isColumns = isShort && (reduced.extent > 1 || isGiven && lanes > 1)
    if reduced.extent == 1 && lanes > 1 && !isColumns {
      keepLanes()
    }
    job.kept = kept
    job.reduced = reduced
    job.lanes = Int64(lanes)
    job.run = Int64(run)
    job.family = Int32(isColumns ? NK_COLUMNS : NK_RUNS)
  }
}

extension nk_axes {
  /// Appends an axis on the inner side.
  fileprivate mutating func append(_ axis: View.Axis) {
    let entry = nk_axis(
      extent: Int64(axis.extent), x_stride: Int64(axis.step.x), y_stride: Int64(axis.step.y),
      dx_stride: Int64(axis.step.dx))
    switch count {
    case 0: self.axis.0 = entry
    case 1: self.axis.1 = entry
    case 2: self.axis.2 = entry
    default: self.axis.3 = entry
    }
    count += 1
    extent &*= entry.extent
  }
}
