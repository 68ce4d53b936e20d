// Backward for jobs whose sets are columns: a block of neighbouring lanes at a time.
//
// What the loops over rows take for z is (x - mean) * factor: the residue of the mean changes it by the same offset in
// all rows, which the sums and the gradient are corrected by.

import NormKitFloor

extension nk_job {
  @inline(__always)
  func columnGradients<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ phase: Int, _ begin: Int, _ end: Int, _ memory: UnsafeMutableRawPointer
  ) {
    let scratch = ColumnGradientScratch(ColumnScratch(base: memory))
    var task = begin
    while task < end {
      if phase == NK_GRADIENT_WHOLE {
        let sums = ParameterSums<E.Natural>(self, strip: task)
        let last = min((task &+ 1) &* Int(strip_units), Int(units))
        var unit = task &* Int(strip_units)
        while unit < last {
          wholeBlock(E.self, R.self, unit, scratch, sums)
          unit &+= 1
        }
      } else {
        partOfBlock(E.self, R.Change.self, phase, task, scratch)
      }
      task &+= 1
    }
  }

  @inline(__always)
  private func start<E: Element>(_: E.Type, _ block: ColumnBlock) -> GradientStart {
    let offset = keptOffset(block.outer)
    return GradientStart(
      x: x + (offset.x &+ block.lane) &* E.size, dy: dy + (offset.y &+ block.lane) &* E.size,
      dx: dx.map { $0 + (offset.dx &+ block.lane) &* E.size })
  }

  @inline(never)
  private func wholeBlock<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ unit: Int, _ scratch: ColumnGradientScratch, _ sums: ParameterSums<E.Natural>?
  ) {
    let block = ColumnBlock(self, unit), start = start(E.self, block)
    standardsOfColumns(
      E.self, R.self, start.x, block.firstSet, block.sets, block.width, scratch.forward, nil)
    spreadStandards(E.Natural.self, block, scratch)
    scratch.sums.clear(width: block.width)
    if needs_gradient_sums != 0 {
      for piece in 0..<Int(pieces) {
        columnGradientSums(
          E.self, R.Change.self, start.x, start.dy, block.outer, block.width, piece, scratch)
        scratch.sums.add(scratch.pieceSums, width: block.width)
      }
    }
    finishGradients(block, scratch, sums)
    spreadStandards(E.Natural.self, block, scratch)
    spreadGradients(E.Natural.self, block, scratch)
    if dx != nil || sums != nil && Int(parameter_form) == NK_ROWS {
      applyColumnGradients(
        E.self, R.Change.self, start, block.outer, block.width, 0, Int(reduced.extent), scratch, sums)
    }
  }

  /// One task of the phases in which several threads share a block.
  @inline(never)
  private func partOfBlock<E: Element, D: Derivative>(
    _: E.Type, _: D.Type, _ phase: Int, _ task: Int, _ scratch: ColumnGradientScratch
  ) {
    let isUnit = phase == NK_GRADIENT_FINISH
    let unit = isUnit ? task : task / Int(pieces), piece = task &- unit &* Int(pieces)
    let block = ColumnBlock(self, unit), start = start(E.self, block), sets = block.sets
    copy(standards + block.firstSet, to: scratch.forward.standards, count: sets)
    switch phase {
    case NK_GRADIENT_SUMS:
      spreadStandards(E.Natural.self, block, scratch)
      columnGradientSums(E.self, D.self, start.x, start.dy, block.outer, block.width, piece, scratch)
      let output = gradient_sums + task &* Int(self.block), sums = scratch.pieceSums
      for j in 0..<block.width {
        output[j] = nk_gradient_sums(h: sums.h[j], hz: sums.hz[j], beside: sums.beside[j])
      }
    case NK_GRADIENT_FINISH:
      let sums = scratch.sums
      sums.clear(width: block.width)
      if needs_gradient_sums != 0 {
        for piece in 0..<Int(pieces) {
          let summed = gradient_sums + (unit &* Int(pieces) &+ piece) &* Int(self.block)
          for j in 0..<block.width {
            sums.h[j] += summed[j].h
            sums.hz[j] += summed[j].hz
            sums.beside[j] += summed[j].beside
          }
        }
      }
      finishGradients(block, scratch, ParameterSums<E.Natural>(self, strip: 0))
      copy(scratch.forward.standards, to: standards + block.firstSet, count: sets)
      copy(scratch.gradients, to: gradients + block.firstSet, count: sets)
    default:
      copy(gradients + block.firstSet, to: scratch.gradients, count: sets)
      spreadStandards(E.Natural.self, block, scratch)
      spreadGradients(E.Natural.self, block, scratch)
      let row = piece &* Int(piece_length), end = min(row &+ Int(piece_length), Int(reduced.extent))
      applyColumnGradients(E.self, D.self, start, block.outer, block.width, row, end, scratch, nil)
    }
  }

  /// Spreads what standardizes each set of the block over its lanes.
  @inline(never)
  private func spreadStandards<N: Arithmetic>(_: N.Type, _ block: ColumnBlock, _ scratch: ColumnGradientScratch) {
    let run = Int(run)
    for m in 0..<block.sets {
      let standard = scratch.forward.standards[m]
      let mean = N.narrow(standard.mean), factor = N.narrow(standard.factor), quantity = N.narrow(reach(standard))
      let offset = N.narrow(standard.offset(scale: standard.factor, beta: 0))
      for j in m &* run..<(m &+ 1) &* run {
        scratch.mean(N.self)[j] = mean
        scratch.factor(N.self)[j] = factor
        scratch.offset(N.self)[j] = offset
        scratch.quantity(N.self)[j] = quantity
      }
    }
  }

  /// Adds what the residues of means give to the sums of the block's lanes.
  @inline(__always)
  private func addOffsets(_ block: ColumnBlock, _ scratch: ColumnGradientScratch) {
    let run = Int(run), sums = scratch.sums, rows = Double(reduced.extent)
    for m in 0..<block.sets {
      let standard = scratch.forward.standards[m], offset = standard.offset(scale: standard.factor, beta: 0)
      if offset == 0 { continue }
      for j in m &* run..<(m &+ 1) &* run {
        sums.hz[j] += offset * sums.h[j]
        sums.beside[j] += offset * rows
      }
    }
  }

  /// Whether the lanes of a set have one parameter.
  @inline(__always)
  private var haveSetsOneParameter: Bool { parameters == 1 || segment % run == 0 }

  /// The gradients of the block's sets from the sums of their lanes, and those of the parameters that lanes have.
  @inline(never)
  private func finishGradients<N: Arithmetic>(
    _ block: ColumnBlock, _ scratch: ColumnGradientScratch, _ parameterSums: ParameterSums<N>?
  ) {
    let run = Int(run), isByLane = Int(parameter_form) == NK_LANES, isBySet = haveSetsOneParameter
    var parameters = LaneParameterIndices(self, block)
    if needs_gradient_sums != 0 { addOffsets(block, scratch) }
    for m in 0..<block.sets {
      var total: nk_gradient_sums
      if isByLane && !isBySet {
        total = finishLanes(m, &parameters, scratch, parameterSums)
      } else {
        total = scratch.sums.total(m &* run, run)
        _ = correct(&total, &scratch.forward.standards[m])
        if isByLane { weigh(&total, parameters.next(run), parameterSums) }
      }
      scratch.gradients[m] = gradient(block.firstSet &+ m, total, &scratch.forward.standards[m], as: N.self)
    }
  }

  /// The sums of set `m` of a block, whose lanes have several parameters: lanes are weighed before they are added, in
  /// the order in which those with one parameter are.
  @inline(__always)
  private func finishLanes<N: Arithmetic>(
    _ m: Int, _ parameters: inout LaneParameterIndices, _ scratch: ColumnGradientScratch,
    _ parameterSums: ParameterSums<N>?
  ) -> nk_gradient_sums {
    let lanes = m &* Int(run)..<(m &+ 1) &* Int(run), sums = scratch.sums, weighed = scratch.chunkSums(Double.self)
    var again = parameters
    for j in lanes {
      let weight = weight(parameters.next(), as: N.self)
      weighed.h[j] = weight * sums.h[j]
      weighed.hz[j] = weight * sums.hz[j]
      weighed.beside[j] = sums.beside[j]
    }
    var total = weighed.total(lanes.lowerBound, lanes.count)
    let error = correct(&total, &scratch.forward.standards[m])
    guard let parameterSums else { return total }
    for j in lanes {
      let parameter = again.next()
      parameterSums.dgamma[parameter] += sums.hz[j] - error * sums.h[j]
      parameterSums.dbeta[parameter] += sums.h[j]
    }
    return total
  }

  /// Spreads the gradient of each set of the block, and gamma times the set's factor, over its lanes.
  @inline(never)
  private func spreadGradients<N: Arithmetic>(_: N.Type, _ block: ColumnBlock, _ scratch: ColumnGradientScratch) {
    let run = Int(run), isByLane = Int(parameter_form) == NK_LANES, isBySet = haveSetsOneParameter
    var parameters = LaneParameterIndices(self, block)
    for m in 0..<block.sets {
      let gradient = scratch.gradients[m], standard = scratch.forward.standards[m], factor = standard.factor
      let offset = standard.offset(scale: factor, beta: 0)
      let shift = N.narrow(offset == 0 ? gradient.shift : gradient.shift + gradient.slope * offset)
      let slope = N.narrow(gradient.slope)
      var weight = isByLane && isBySet ? weight(parameters.next(run), as: N.self) : 1
      for j in m &* run..<(m &+ 1) &* run {
        if isByLane && !isBySet { weight = self.weight(parameters.next(), as: N.self) }
        scratch.shift(N.self)[j] = shift
        scratch.slope(N.self)[j] = slope
        scratch.scale(N.self)[j] = N.narrow(weight * factor)
      }
    }
  }
}

/// Indices of the parameters of a block's lanes, one after another.
private struct LaneParameterIndices {
  private let parameters, segment: Int
  private var index, left: Int

  @inline(__always)
  init(_ job: nk_job, _ block: ColumnBlock) {
    parameters = Int(job.parameters)
    segment = Int(job.segment)
    index = block.lane / segment % parameters
    left = segment &- block.lane % segment
  }

  /// That of the next `count` lanes, which have the same.
  @inline(__always)
  mutating func next(_ count: Int = 1) -> Int {
    if left == 0 {
      left = segment
      index = index &+ 1 == parameters ? 0 : index &+ 1
    }
    left &-= count
    return index
  }
}
