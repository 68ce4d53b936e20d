// What standardizes, scales and shifts each lane of a block of columns: from that of sets and from parameters.

import NormKitFloor

extension nk_job {
  /// Whether gamma and beta are the same for all lanes of a row and change from row to row (layer normalization
  /// over channels), and not one per lane.
  @inline(__always)
  var changesByRow: Bool { (gamma != nil || beta != nil) && segment == lanes &* run }

  /// Spreads what standardizes each set over its lanes, together with parameters that lanes have of their own.
  /// Returns whether a lane needs Double.
  @inline(__always)
  func spread<E: Element>(_: E.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch) -> Bool {
    hasParameters(of: E.self)
      ? spread(E.Natural.self, E.self, lane, width, scratch) : spread(E.Natural.self, F32.self, lane, width, scratch)
  }

  @inline(never)
  private func spread<N: Arithmetic, P: Element>(
    _: N.Type, _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch
  ) -> Bool {
    let anyWide = N.self == Float.self && haveNeighbouringParameters(lane, width)
      ? spreadLanes(P.self, lane, width, scratch) : spreadStretches(N.self, P.self, lane, width, scratch)
    if anyWide { spreadInDouble(N.self, P.self, lane, width, scratch) }
    return anyWide
  }

  /// Stretch by stretch, of whatever length.
  @inline(never)
  private func spreadStretches<N: Arithmetic, P: Element>(
    _: N.Type, _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch
  ) -> Bool {
    let coefficients = scratch.coefficients(N.self)
    var anyWide = false
    forStretches(P.self, lane, width, scratch) { lanes, standard, scale, beta in
      anyWide = anyWide || needsDouble(standard.factor, in: N.self) || needsDouble(scale, in: N.self)
      fill(coefficients.mean, lanes, N.narrow(standard.mean))
      fill(coefficients.scale, lanes, N.narrow(-scale))
      fill(coefficients.offset, lanes, N.narrow(standard.offset(scale: scale, beta: beta)))
    }
    return anyWide
  }

  /// Whether neighbouring lanes of a block have neighbouring parameters, or none.
  @inline(__always)
  private func haveNeighbouringParameters(_ lane: Int, _ width: Int) -> Bool {
    !haveOwnParameters || areParametersNeighbours(from: lane, width)
  }

  /// Whether gamma and beta are those of lanes.
  @inline(__always)
  private var haveOwnParameters: Bool { (gamma != nil || beta != nil) && !changesByRow }

  /// Sixteen lanes at a time, which have neighbouring parameters or none, in Float.
  @inline(never)
  private func spreadLanes<P: Element>(_: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch) -> Bool {
    // Until a lane needs it, the memory for coefficients in Double is free.
    let standards = scratch.wideCoefficients, coefficients = scratch.coefficients(Float.self)
    spreadStandards(lane, width, scratch, mean: standards.mean, factor: standards.scale, residue: standards.offset)
    let parameter = haveOwnParameters ? lane % Int(parameters) : 0
    let gamma = haveOwnParameters ? self.gamma.map { $0 + parameter &* P.size } : nil
    let beta = haveOwnParameters ? self.beta.map { $0 + parameter &* P.size } : nil
    let gammaOffset = Double.splat(Double(one_plus_gamma)), range = Float.factors
    var anyWide = false
    var j = 0
    while j < width {
      let count = min(16, width &- j)
      var scale = Double.load(standards.scale, j)
      anyWide = anyWide || nk_leave(&scale, range.lowerBound, range.upperBound)
      if let gamma {
        scale = scale * (P.load(gamma, j, upTo: count, as: Double.self) + gammaOffset)
        anyWide = anyWide || nk_leave(&scale, range.lowerBound, range.upperBound)
      }
      var offset = Double.splat(0)
      if let beta { offset = P.load(beta, j, upTo: count, as: Double.self) }
      offset = offset - Double.load(standards.offset, j) * scale
      Float.store(coefficients.mean, j, Float.narrow(Double.load(standards.mean, j)))
      Float.store(coefficients.scale, j, Float.narrow(Double.splat(0) - scale))
      Float.store(coefficients.offset, j, Float.narrow(offset + Double.splat(0)))
      j &+= 16
    }
    return anyWide
  }

  /// What standardizes each lane, and zeros to a whole number of vectors.
  @inline(__always)
  private func spreadStandards(
    _ lane: Int, _ width: Int, _ scratch: ColumnScratch, mean: UnsafeMutablePointer<Double>,
    factor: UnsafeMutablePointer<Double>, residue: UnsafeMutablePointer<Double>
  ) {
    var j = 0
    while run == 1 && j &+ 4 <= width {
      let zero = SIMD4<Double>(repeating: 0)
      var columns = (mean: zero, residue: zero, factor: zero, quantity: zero)
      nk_transpose(scratch.standards + j, &columns)
      UnsafeMutableRawPointer(mean + j).storeBytes(of: columns.mean, as: SIMD4<Double>.self)
      UnsafeMutableRawPointer(factor + j).storeBytes(of: columns.factor, as: SIMD4<Double>.self)
      UnsafeMutableRawPointer(residue + j).storeBytes(of: columns.residue, as: SIMD4<Double>.self)
      j &+= 4
    }
    var set = j, left = run == 1 ? 1 : Int(run) &- lane % Int(run)
    for j in j..<width {
      mean[j] = scratch.standards[set].mean
      factor[j] = scratch.standards[set].factor
      residue[j] = scratch.standards[set].residue
      left &-= 1
      if left == 0 {
        set &+= 1
        left = Int(run)
      }
    }
    for j in width..<(width &+ 15) & ~15 {
      mean[j] = 0
      factor[j] = 0
      residue[j] = 0
    }
  }

  @inline(never) @_optimize(size)
  private func spreadInDouble<N: Arithmetic, P: Element>(
    _: N.Type, _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch
  ) {
    let wide = scratch.wideCoefficients
    forStretches(P.self, lane, width, scratch) { lanes, standard, scale, beta in
      let isWide = needsDouble(standard.factor, in: N.self) || needsDouble(scale, in: N.self)
      fillByCall(wide.mean, lanes, standard.mean)
      fillByCall(wide.scale, lanes, -scale)
      fillByCall(wide.offset, lanes, standard.offset(scale: scale, beta: beta))
      fillByCall(scratch.wide, lanes, isWide ? 1 : 0)
    }
  }

  /// Stretches of a block's lanes that are of one set and have one parameter: their scale, which is the factor times
  /// gamma, and beta. The block's first lane is lane `lane` of its row.
  @inline(__always)
  private func forStretches<P: Element>(
    _: P.Type, _ lane: Int, _ width: Int, _ scratch: ColumnScratch,
    _ body: (_ lanes: Range<Int>, _ standard: nk_standard, _ scale: Double, _ beta: Double) -> Void
  ) {
    let run = Int(run), ownParameters = haveOwnParameters
    let segment = ownParameters ? Int(segment) : Int.max
    var set = 0, inSet = lane % run, parameter = lane / segment % Int(parameters), inSegment = lane % segment
    var j = 0
    while j < width {
      let standard = scratch.standards[set]
      let length = min(min(run &- inSet, segment &- inSegment), width &- j)
      let gamma = ownParameters ? gammaValue(P.self, parameter) : 1
      body(j..<j &+ length, standard, standard.factor * gamma, ownParameters ? betaValue(P.self, parameter) : 0)
      j &+= length
      inSet &+= length
      inSegment &+= length
      if inSet == run {
        set &+= 1
        inSet = 0
      }
      if inSegment == segment {
        parameter = parameter &+ 1 == Int(parameters) ? 0 : parameter &+ 1
        inSegment = 0
      }
    }
  }

  /// May write up to fifteen entries behind those lanes, which come next.
  @inline(__always)
  private func fill<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ lanes: Range<Int>, _ value: A) {
    var j = lanes.lowerBound
    if lanes.upperBound &- j < 8 {
      for j in lanes { values[j] = value }
      return
    }
    while j < lanes.upperBound {
      A.store(values, j, A.splat(value))
      j &+= 16
    }
  }

  @inline(never)
  private func fillByCall<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ lanes: Range<Int>, _ value: A) {
    fill(values, lanes, value)
  }

  /// gamma and beta of rows `begin ..< end`, a chunk at most, into the scratch memory.
  @inline(__always)
  func gatherRowParameters<E: Element>(
    of: E.Type, _ outer: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    hasParameters(of: E.self)
      ? gatherRowParameters(E.self, outer, begin, end, scratch)
      : gatherRowParameters(F32.self, outer, begin, end, scratch)
  }

  @inline(never)
  private func gatherRowParameters<P: Element>(
    _: P.Type, _ outer: Int, _ begin: Int, _ end: Int, _ scratch: ColumnScratch
  ) {
    let gammas = scratch.rowGammas, betas = scratch.rowBetas
    var index = (outer &* Int(reduced.extent) &+ begin) % Int(parameters)
    for k in 0..<end &- begin {
      gammas[k] = gammaValue(P.self, index)
      betas[k] = betaValue(P.self, index)
      index = index &+ 1 == Int(parameters) ? 0 : index &+ 1
    }
  }
}
