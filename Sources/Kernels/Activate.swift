// Activations, applied to a block where it is.

import NormKitFloor

extension nk_stage {
  @inline(never)
  func activate<W: Element>(_: W.Type) {
    switch Int(activation) {
    case NK_RELU: forActivation(W.self) { W.Natural.larger($0, $0) }
    default: return
    }
  }

  @inline(__always)
  private func forActivation<W: Element>(_: W.Type, _ body: (SIMD16<W.Natural>) -> SIMD16<W.Natural>) {
    forVectors { row, i, count in store(W.self, row, i, count, body(load(W.self, row, i, count))) }
  }
}
