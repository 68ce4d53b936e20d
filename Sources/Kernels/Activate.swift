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
    let rows = Int(rows), length = Int(length), streams = streams != 0
    let isInPlace = destination == nil
    var source = UnsafeRawPointer(work!), target: UnsafeMutableRawPointer = isInPlace ? work : destination
    let sourceStep = Int(work_step) &* W.size
    let targetStep = isInPlace ? sourceStep : Int(destination_step) &* W.size
    var row = 0
    while row < rows {
      var i = 0
      while i < length {
        let count = min(16, length &- i)
        let v = function.apply(W.load(source, i, upTo: count, as: W.Natural.self))
        W.store(target, i, upTo: count, v, streams: streams)
        if streams { bringNear(row, i) }
        i &+= 16
      }
      source += sourceStep
      target += targetStep
      row &+= 1
    }
    if streams { nk_finish_streams() }
  }

  /// From Float to `destination` of halves.
  @inline(never)
  func activateToHalves() {
    if !hasFMA { return activateInTwoSteps() }
    switch Int(activation) {
    case NK_RELU: applyToHalves { Relu().apply($0) }
    case NK_GELU: applyToHalves { HalfActivation.gelu($0) }
    case NK_GELU_TANH: applyToHalves { HalfActivation.geluTanh($0) }
    case NK_SILU: applyToHalves { HalfActivation.silu($0) }
    case NK_TANH: applyToHalves { HalfActivation.tanh($0) }
    case NK_HARD_SWISH: applyToHalves { HardSwish().apply($0) }
    default: activateInTwoSteps()
    }
  }

  /// The same in place, and then stored: for functions that seldom follow a normalization, and without fma, where all are
  /// much code.
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
    let bytes = Int(destination_step) &* F16.size, streams = streams != 0, isBF16 = Int(dtype) == NK_BF16
    forVectors { row, i, count in
      let v = function(load(F32.self, row, i, count))
      if isBF16 {
        BF16.store(destination + row &* bytes, i, upTo: count, v, streams: streams)
      } else {
        F16.store(destination + row &* bytes, i, upTo: count, v, streams: streams)
      }
      if streams { bringNear(row, i) }
    }
    if streams { nk_finish_streams() }
  }
}
