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
    let isInPlace = destination == nil, streams = streams != 0
    let target: UnsafeMutableRawPointer = isInPlace ? work : destination
    let bytes = Int(isInPlace ? work_step : destination_step) &* W.size
    forVectors { row, i, count in
      W.store(target + row &* bytes, i, upTo: count, function.apply(load(W.self, row, i, count)), streams: streams)
    }
    if streams { nk_finish_streams() }
  }
}
