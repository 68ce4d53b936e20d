// Activations, applied to a block where it is.

import NormKitFloor

extension nk_stage {
  @inline(never)
  func activate<W: Element>(_: W.Type) {
    switch Int(activation) {
    case NK_RELU: apply(Relu(), W.self)
    case NK_LEAKY_RELU: apply(LeakyRelu(alpha: slope), W.self)
    case NK_GELU: apply(Gelu(), W.self)
    case NK_GELU_TANH: apply(GeluTanh(), W.self)
    case NK_SILU: apply(Silu(), W.self)
    case NK_SIGMOID: apply(Sigmoid(), W.self)
    case NK_TANH: apply(Tanh(), W.self)
    default: apply(HardSwish(), W.self)
    }
  }

  /// In place, or to `destination` where there is one, in the same type.
  @inline(__always)
  private func apply<F: Activation, W: Element>(_ function: F, _: W.Type) {
    let isInPlace = destination == nil, target: UnsafeMutableRawPointer = isInPlace ? work : destination
    let bytes = Int(isInPlace ? work_step : destination_step) &* W.size
    forVectors(written: W.self) { row, i, streams in
      W.store(target + row &* bytes, i, function.apply(load(W.self, row, i, 16)), streams: streams)
    } part: { row, i, count in
      activatePart(row, i, count, elementSize: W.size)
    }
  }

  /// Fewer than sixteen elements, by another run over a copy of them, because functions are much code. elementSize: of
  /// what is written.
  @inline(never)
  private func activatePart(_ row: Int, _ i: Int, _ count: Int, elementSize: Int) {
    guard let work else { return }
    let workSize = is_double != 0 ? F64.size : F32.size
    let from = work + (row &* Int(work_step) &+ i) &* workSize
    let to = destination.map { $0 + (row &* Int(destination_step) &+ i) &* elementSize } ?? from
    var memory = (SIMD16<Double>(), SIMD16<Double>())
    withUnsafeMutableBytes(of: &memory) { memory in
      guard let copy = memory.baseAddress else { return }
      let result = destination == nil ? copy : copy + 16 &* F64.size
      copy.copyMemory(from: from, byteCount: count &* workSize)
      var part = self
      part.rows = 1
      part.length = 16
      part.work = copy
      part.destination = destination == nil ? nil : result
      part.streams = 0
      part.run()
      to.copyMemory(from: result, byteCount: count &* elementSize)
    }
  }

  /// From Float to `destination` of halves.
  @inline(never)
  func activateToHalves() {
    if !hasFMA { return activateInTwoSteps() }
    switch Int(activation) {
    case NK_GELU: applyToHalves { HalfActivation.gelu($0) }
    case NK_GELU_TANH: applyToHalves { HalfActivation.geluTanh($0) }
    case NK_SILU: applyToHalves { HalfActivation.silu($0) }
    case NK_TANH: applyToHalves { HalfActivation.tanh($0) }
    case NK_HARD_SWISH: applyToHalves { HardSwish().apply($0) }
    default: activateInTwoSteps()
    }
  }

  /// The same in place, and then stored: for functions that seldom come last, and without fma, where all are much code.
  @inline(never)
  private func activateInTwoSteps() {
    var step = self
    step.destination = nil
    step.streams = 0
    step.ahead = nil
    step.activate(F32.self)
    step = self
    step.operation = Int32(NK_STORE)
    step.run()
  }

  @inline(__always)
  private func applyToHalves(_ function: (SIMD16<Float>) -> SIMD16<Float>) {
    guard let destination else { return }
    let bytes = Int(destination_step) &* F16.size, isBF16 = Int(dtype) == NK_BF16
    forVectors(written: F16.self) { row, i, streams in
      let v = function(load(F32.self, row, i, 16))
      if isBF16 {
        BF16.store(destination + row &* bytes, i, v, streams: streams)
      } else {
        F16.store(destination + row &* bytes, i, v, streams: streams)
      }
    } part: { row, i, count in
      activatePart(row, i, count, elementSize: F16.size)
    }
  }

  /// ReLU of halves, which are not brought to Float for that.
  @inline(never)
  func rectifyHalves() {
    guard let source = work else { return }
    let isInPlace = destination == nil, target: UnsafeMutableRawPointer = isInPlace ? work : destination
    let sourceBytes = Int(work_step) &* F16.size, bytes = isInPlace ? sourceBytes : Int(destination_step) &* F16.size
    let infinity: Int16 = Int(dtype) == NK_BF16 ? -0x80 : -0x400
    var row = 0
    while row < Int(rows) {
      let lines = streamedLines(F16.self, row)
      let x = UnsafeRawPointer(source) + row &* sourceBytes, y = target + row &* bytes
      nk_rectify_halves(x, y, 0, Int64(lines.first), infinity)
      var i = lines.first
      while i < lines.end {
        nk_stream_rectified(x + i &* F16.size, y + i &* F16.size, infinity)
        bringNear(row, i)
        i &+= 32
      }
      nk_rectify_halves(x, y, Int64(i), length, infinity)
      row &+= 1
    }
    if streams != 0 { nk_finish_streams() }
  }
}
