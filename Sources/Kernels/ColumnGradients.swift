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
    // Rows with a parameter of their own ask for the residues, and a given gradient changes factors.
    if Int(parameter_form) == NK_ROWS || Int(gradient) != NK_GRADIENT_FORMED {
      spreadStandards(E.Natural.self, block, scratch)
    }
    spreadGradients(E.Natural.self, block, scratch)
    if dx != nil || sums != nil && Int(parameter_form) == NK_ROWS {
      applyColumnGradients(
        E.self, R.Change.self, start, block.outer, block.width, 0, Int(reduced.extent), scratch, sums)
    }
  }

  /// One task of the phases in which several threads share a block.
  @inline(never) @_optimize(size)
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
    let run = Int(run), isOfFours = NK_FOUR_VECTORS != 0 && N.self == Float.self && run == 1
    var m = 0
    while isOfFours && m &+ 4 <= block.sets {
      spreadFourStandards(m, scratch)
      m &+= 4
    }
    while m < block.sets {
      let standard = scratch.forward.standards[m]
      let mean = N.narrow(standard.mean), factor = N.narrow(standard.factor), quantity = N.narrow(reach(standard))
      let offset = N.narrow(standard.offset(scale: standard.factor, beta: 0))
      for j in m &* run..<(m &+ 1) &* run {
        scratch.mean(N.self)[j] = mean
        scratch.factor(N.self)[j] = factor
        scratch.offset(N.self)[j] = offset
        scratch.quantity(N.self)[j] = quantity
      }
      m &+= 1
    }
  }

  /// The same for four sets of one lane each.
  @inline(__always)
  private func spreadFourStandards(_ m: Int, _ scratch: ColumnGradientScratch) {
    let zero = SIMD4<Double>(repeating: 0)
    var columns = (mean: zero, residue: zero, factor: zero, quantity: zero)
    nk_transpose(scratch.forward.standards + m, &columns)
    var offsets = zero - columns.residue * columns.factor + zero
    nk_put_four_f32(&columns.mean, scratch.mean(Float.self) + m)
    nk_put_four_f32(&columns.factor, scratch.factor(Float.self) + m)
    nk_put_four_f32(&offsets, scratch.offset(Float.self) + m)
    if Int(statistic) == NK_ABSOLUTE_SUM { columns.quantity = zero }
    nk_put_four_f32(&columns.quantity, scratch.quantity(Float.self) + m)
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
    var m = 0
    if isByLane && areLanesSets(block) && canFinishFourGradients(N.self) {
      while m &+ 4 <= block.sets {
        finishFourLanes(m, parameters.index &+ m, scratch, parameterSums)
        m &+= 4
      }
      if m < block.sets { parameters.skip(m) }
    }
    while m < block.sets {
      var total: nk_gradient_sums
      if isByLane && !isBySet {
        total = finishLanes(m, &parameters, scratch, parameterSums)
      } else {
        total = scratch.sums.total(m &* run, run)
        _ = correct(&total, &scratch.forward.standards[m])
        if isByLane { weigh(&total, parameters.next(run), parameterSums) }
      }
      scratch.gradients[m] = gradient(block.firstSet &+ m, total, &scratch.forward.standards[m], as: N.self)
      m &+= 1
    }
  }

  /// Whether each lane is a set, and neighbours have neighbouring parameters.
  @inline(__always)
  private func areLanesSets(_ block: ColumnBlock) -> Bool {
    run == 1 && areParametersNeighbours(from: block.lane, block.width)
  }

  /// The gradients of four such lanes, whose first parameter is `parameter`.
  @inline(__always)
  private func finishFourLanes<N: Arithmetic>(
    _ m: Int, _ parameter: Int, _ scratch: ColumnGradientScratch, _ parameterSums: ParameterSums<N>?
  ) {
    let sums = scratch.sums
    finishFourGradients(
      SIMD4(sums.h, m), SIMD4(sums.hz, m), SIMD4(sums.beside, m), scratch.forward.standards + m, scratch.gradients + m
    ) { h, hz in
      if let parameterSums {
        (SIMD4(parameterSums.dgamma, parameter) + hz).put(parameterSums.dgamma, parameter)
        (SIMD4(parameterSums.dbeta, parameter) + h).put(parameterSums.dbeta, parameter)
      }
      let weights = fourWeights(parameter)
      h *= weights
      hz *= weights
    }
  }

  /// What `weight` is for one parameter, for four. They are Float.
  @inline(__always)
  private func fourWeights(_ parameter: Int) -> SIMD4<Double> {
    var weights = SIMD4<Double>(repeating: 1)
    if let gammas { nk_get_four_f32(gammas + parameter &* F32.size, &weights) }
    return weights * dy_scale
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
    var parameters = LaneParameterIndices(self, block), m = 0
    if isByLane && areLanesSets(block) && NK_FOUR_VECTORS != 0 && N.self == Float.self {
      while m &+ 4 <= block.sets {
        spreadFourGradients(m, parameters.index &+ m, scratch)
        m &+= 4
      }
      if m < block.sets { parameters.skip(m) }
    }
    while m < block.sets {
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
      m &+= 1
    }
  }

  /// The same for four lanes that are sets, whose first parameter is `parameter`.
  @inline(__always)
  private func spreadFourGradients(_ m: Int, _ parameter: Int, _ scratch: ColumnGradientScratch) {
    let zero = SIMD4<Double>(repeating: 0)
    var columns = (mean: zero, residue: zero, factor: zero, quantity: zero), slopes = zero, shifts = zero
    nk_transpose(scratch.forward.standards + m, &columns)
    nk_unpair(scratch.gradients + m, &slopes, &shifts)
    let offsets = zero - columns.residue * columns.factor + zero
    shifts += slopes * offsets
    var scales = fourWeights(parameter) * columns.factor
    nk_put_four_f32(&shifts, scratch.shift(Float.self) + m)
    nk_put_four_f32(&slopes, scratch.slope(Float.self) + m)
    nk_put_four_f32(&scales, scratch.scale(Float.self) + m)
  }
}

extension SIMD4<Double> {
  /// Four numbers from `i` on.
  @inline(__always)
  fileprivate init(_ p: UnsafePointer<Double>, _ i: Int) {
    self = UnsafeRawPointer(p + i).loadUnaligned(as: SIMD4<Double>.self)
  }

  @inline(__always)
  fileprivate func put(_ p: UnsafeMutablePointer<Double>, _ i: Int) {
    UnsafeMutableRawPointer(p + i).storeBytes(of: self, as: SIMD4<Double>.self)
  }
}

/// Indices of the parameters of a block's lanes, one after another.
private struct LaneParameterIndices {
  private let parameters, segment: Int
  /// That of the first lane, until there was a next one.
  private(set) var index: Int
  private var left: Int

  @inline(__always)
  init(_ job: nk_job, _ block: ColumnBlock) {
    parameters = Int(job.parameters)
    segment = Int(job.segment)
    index = block.lane / segment % parameters
    left = segment &- block.lane % segment
  }

  /// Passes `count` lanes that have a parameter each.
  @inline(__always)
  mutating func skip(_ count: Int) {
    for _ in 0..<count { _ = next() }
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
