// How a plan is cut into blocks that stay in cache from the first step to the last: small problems of their own.

import CNormKit
import NormKitFloor

/// Bytes of a block, in the type of computation, if it can be cut so small.
private let blockBytes = 48 * 1024
/// Positions that a block has at least if their statistics are given, because coefficients are computed for each block,
/// as long as it is no larger than this.
private let leastGiven = 64
private let mostGivenBytes = 192 * 1024

/// The blocks of a plan: `together` items of its cut in each, or what is left of a stretch.
struct Blocks {
  let cut: BlockCut
  let together: Int

  /// A full block, and the last one of a stretch.
  let job: nk_job
  let lastJob: nk_job

  /// Whether x with what is added to it is formed first, because it is stored; it is what x is from there on.
  let formsSum: Bool
  /// Whether x is brought to the type of computation, and what was not added yet is, before it is normalized.
  let gathers: Bool
  /// Whether something comes after the normalization. Without it, y is what the normalization writes.
  let hasAfter: Bool
  /// The activation that comes after it as a step of its own.
  let activation: Int32
  /// Whether the block is of halves, whose only step after it can be ReLU, and not of the type of computation.
  let isOfHalves: Bool
  /// Whether the block stands in the workspace, and not in y.
  let usesWorkspace: Bool
  /// Whether y and sum are so large that they are better written past the caches.
  let streams: Bool
  /// Whether the normalization brings near what the next block reads, and not what comes after it.
  let fetchesAhead: Bool
  /// Bytes of gamma and of beta in the type of computation, if they have to be converted; of a block in the workspace;
  /// and of all that a part needs, with the sum of a block that is written past the caches.
  let parameterBytes: Int
  let workBytes: Int
  let partBytes: Int

  var blocksOfStretch: Int { (cut.inner - 1) / together + 1 }
  var count: Int { cut.outer * blocksOfStretch }

  /// - whole: the request for all of it.
  init(_ d: normkit_description, _ whole: borrowing Request) throws(Refusal) {
    let runs = whole.runs
    let elementSize = size(d.natural), isHalf = size(d.dtype) == 2
    formsSum = d.has(NORMKIT_STORE_SUM)
    gathers = !formsSum && d.isSum || d.activation_before != 0 || isHalf && d.isConvertedAfter
    isOfHalves = isHalf && !gathers

    var small = d
    small.dtype = gathers ? d.natural : d.dtype
    activation = small.ownActivationAfter
    hasAfter = d.isChangedAfter || activation != Int32(NORMKIT_IDENTITY) || d.output_dtype != small.dtype
    // Each of more tensors may be as large as if there were two: whoever runs a plan again finds some in cache.
    let areTwo = !d.has(NORMKIT_ADD_RESIDUAL) && !d.has(NORMKIT_ADD_RESIDUAL_AFTER) && !formsSum
    streams = runs.elements * size(d.dtype) >= streamingBytes(areTwo: areTwo) / 2
    usesWorkspace = d.output_dtype != d.natural || d.has(NORMKIT_ADD_RESIDUAL_AFTER) || streams

    cut = d.cut(runs)
    let itemBytes = max(1, cut.item * elementSize)
    let least = cut.isOfGiven ? max(1, min(leastGiven, mostGivenBytes / itemBytes)) : 1
    let fitting = max(least, blockBytes / itemBytes)
    together = cut.isWhole ? cut.inner : min(cut.inner, fitting >= 8 ? fitting & ~7 : fitting >= 4 ? 4 : fitting)

    let converts = gathers && size(d.parameter_dtype) == 2
    if converts { small.parameter_dtype = d.natural }
    // Rows of the block: in the workspace without gaps, elsewhere as they are.
    let workStride = usesWorkspace ? 0 : d.y_stride
    let sumStride = streams ? 0 : d.sum_stride
    small.x_stride = cut.cutsRuns ? 0 : gathers ? workStride : formsSum ? sumStride : d.x_stride
    small.y_stride = cut.cutsRuns ? 0 : hasAfter ? workStride : d.y_stride
    job = try small.withItems(together, cut).problem().job()
    let last = cut.inner - (cut.inner - 1) / together * together
    lastJob = try small.withItems(last, cut).problem().job()

    parameterBytes = converts ? roundedUp(Int(whole.job.parameters) * elementSize) : 0
    fetchesAhead = streams && d.isOfRows && size(d.dtype) == size(small.dtype) && (!hasAfter || isOfHalves)
    let blockElements = together * cut.item
    workBytes = usesWorkspace && (gathers || hasAfter) ? roundedUp(blockElements * elementSize) : 0
    let sumBytes = formsSum && streams ? roundedUp(blockElements * size(d.dtype)) : 0
    partBytes = 2 * parameterBytes + workBytes + sumBytes
  }
}

func roundedUp(_ bytes: Int) -> Int { (bytes + lineBytes - 1) & ~(lineBytes - 1) }

/// Where blocks may be cut: `outer` stretches of `inner` items.
struct BlockCut {
  let outer, inner: Int
  /// Elements of an item: a whole run, or, if runs are cut, a part of one.
  let item: Int
  let cutsRuns: Bool
  /// Whether a block has to have all items of a stretch.
  let isWhole: Bool
  /// Whether items are positions whose statistics are given.
  let isOfGiven: Bool
  /// Statistics of a stretch, and from one item to the next; parameters from one item to the next.
  let setsOfStretch, setsOfItem, parametersOfItem: Int

  init(
    outer: Int, inner: Int, item: Int, cutsRuns: Bool = false, isWhole: Bool = false, isOfGiven: Bool = false,
    setsOfStretch: Int = 0, setsOfItem: Int = 0, parametersOfItem: Int = 0
  ) {
    self.outer = outer
    self.inner = max(1, inner)
    self.item = item
    self.cutsRuns = cutsRuns
    self.isWhole = isWhole
    self.isOfGiven = isOfGiven
    self.setsOfStretch = setsOfStretch
    self.setsOfItem = setsOfItem
    self.parametersOfItem = parametersOfItem
  }
}

extension normkit_description {
  /// Rows, or positions of samples in channels last, are whole runs. In channels first a sample is a run, which is cut
  /// between sets. Statistics over several runs, or over channels of all positions, need the whole sample.
  fileprivate func cut(_ runs: Runs) -> BlockCut {
    let isAdaptive = has(NORMKIT_SCALE_SHIFT_SAMPLES)
    if isOfRows {
      let outer = isAdaptive ? Int(rows / rows_per_sample) : 1, inner = Int(rows) / max(1, outer)
      return BlockCut(outer: outer, inner: inner, item: runs.length, setsOfStretch: inner, setsOfItem: 1)
    }
    let isGiven = Int(method) == NORMKIT_BATCH_NORM_INFERENCE
    let isFirst = Int(method) == NORMKIT_LAYER_NORM_CHANNELS || Int(layout) == NORMKIT_CHANNELS_FIRST
    let samples = Int(samples), channels = Int(channels), positions = Int(positions)
    if isGiven && (!isFirst || positions == 1) {
      let outer = isAdaptive ? samples : 1
      return BlockCut(outer: outer, inner: samples * positions / max(1, outer), item: channels, isOfGiven: true)
    }
    if Int(method) == NORMKIT_LAYER_NORM_CHANNELS {
      return BlockCut(
        outer: samples, inner: channels, item: positions, cutsRuns: true, isWhole: true, setsOfStretch: positions,
        parametersOfItem: 1)
    }
    let sets = Int(method) == NORMKIT_GROUP_NORM ? Int(groups) : channels
    if !isFirst {
      return BlockCut(outer: samples, inner: positions, item: channels, isWhole: true, setsOfStretch: sets)
    }
    let channelsPerSet = channels / max(1, sets)
    return BlockCut(
      outer: samples, inner: sets, item: channelsPerSet * positions, cutsRuns: true, setsOfStretch: sets,
      setsOfItem: 1, parametersOfItem: channelsPerSet)
  }

  /// The problem of one block.
  fileprivate func withItems(_ count: Int, _ cut: BlockCut) -> normkit_description {
    var d = self
    if isOfRows {
      d.rows = Int64(count)
    } else if cut.cutsRuns {
      d.samples = 1
      d.channels = Int64(count * cut.parametersOfItem)
      d.groups = Int64(count)
    } else {
      // Positions; where there is but one, samples are.
      d.layout = Int32(NORMKIT_CHANNELS_LAST)
      d.samples = 1
      d.positions = Int64(count)
    }
    return d
  }
}
