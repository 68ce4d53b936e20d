// gamma and beta where they are those of rows of lanes, as in layer normalization over channels.

import NormKitFloor

/// gamma and beta that all lanes of a row have.
struct RowParameters {
  let gamma, beta: Double

  @inline(__always)
  func apply<A: Arithmetic>(_ y: SIMD16<A>) -> SIMD16<A> {
    A.fma(y, A.splat(A.narrow(gamma)), A.splat(A.narrow(beta)))
  }
}

/// Whether rows have parameters of their own. A type, so that loops do not ask.
protocol RowForm {
  /// Those of the row that is `k` rows behind the first whose parameters were gathered.
  static func parameters(_ scratch: ColumnScratch, _ k: Int) -> RowParameters
  static func apply<A: Arithmetic>(_ parameters: RowParameters, _ y: SIMD16<A>) -> SIMD16<A>
}

enum WithParameters: RowForm {
  @inline(__always)
  static func parameters(_ scratch: ColumnScratch, _ k: Int) -> RowParameters {
    RowParameters(gamma: scratch.rowGammas[k], beta: scratch.rowBetas[k])
  }
  @inline(__always)
  static func apply<A: Arithmetic>(_ parameters: RowParameters, _ y: SIMD16<A>) -> SIMD16<A> { parameters.apply(y) }
}

enum LikeOthers: RowForm {
  @inline(__always)
  static func parameters(_ scratch: ColumnScratch, _ k: Int) -> RowParameters { RowParameters(gamma: 1, beta: 0) }
  @inline(__always)
  static func apply<A: Arithmetic>(_ parameters: RowParameters, _ y: SIMD16<A>) -> SIMD16<A> { y }
}
