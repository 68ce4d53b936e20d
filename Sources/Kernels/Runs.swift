// Jobs whose sets are runs of neighbouring elements: one set after another, each while it is in cache.

import NormKitFloor

extension nk_job {
  @inline(__always)
  func runs<E: Element, R: Reduction>(_: E.Type, _: R.Type, _ phase: Int, _ begin: Int, _ end: Int) {
    var task = begin
    while task < end {
      let whole = phase == NK_WHOLE || phase == NK_FINISH
      let s = whole ? task : task / Int(pieces), piece = whole ? 0 : task &- s &* Int(pieces)
      let outer = lanes == 1 ? s : s / Int(lanes)
      let start = kept.offset(outer), inner = (s &- outer &* Int(lanes)) &* Int(run)
      let x = self.x! + (start.x &+ inner) &* E.size
      let y = self.y.map { $0 + (start.y &+ inner) &* E.size }
      switch phase {
      case NK_SUMS:
        let shift: E.Natural = R.isCentred ? sample(E.self, x, as: E.Natural.self) : 0
        sums[task] = pieceSums(E.self, R.self, x, piece, shift: shift)
      case NK_FINISH:
        standards[s] = standard(E.self, R.self, s, x, sums + s &* Int(pieces))
      case NK_APPLY:
        if let y { applyRuns(E.self, s, piece, x, y, standards[s]) }
      default:
        let standard = standard(E.self, R.self, s, x, nil)
        if let y {
          var piece = 0
          while piece < Int(pieces) {
            applyRuns(E.self, s, piece, x, y, standard)
            piece &+= 1
          }
        }
      }
      task &+= 1
    }
  }

  @inline(__always)
  private func standard<E: Element, R: Reduction>(
    _: E.Type, _: R.Type, _ s: Int, _ x: UnsafeRawPointer, _ summed: UnsafePointer<nk_sums>?
  ) -> nk_standard {
    if Int(statistic) == NK_GIVEN { return given(s, as: E.Natural.self) }
    return standardOfRuns(E.self, R.self, s, x, summed)
  }
}
