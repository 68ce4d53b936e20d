// Working memory for one block of columns: an entry per lane, eight bytes each.

import NormKitFloor

struct ColumnScratch {
  let base: UnsafeMutableRawPointer

  @inline(__always)
  private func array<T>(_ index: Int, _: T.Type) -> UnsafeMutablePointer<T> {
    (base + index &* Int(NK_ARRAY_BYTES)).assumingMemoryBound(to: T.self)
  }

  /// Sums of the pieces so far, and of the piece at hand.
  @inline(__always) var first: UnsafeMutablePointer<Double> { array(0, Double.self) }
  @inline(__always) var second: UnsafeMutablePointer<Double> { array(1, Double.self) }
  @inline(__always) var pieceFirst: UnsafeMutablePointer<Double> { array(2, Double.self) }
  @inline(__always) var pieceSecond: UnsafeMutablePointer<Double> { array(3, Double.self) }

  /// What elements are shifted by before they are summed, in the type of computation.
  @inline(__always) func shift<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(4, A.self) }

  /// Sums of the chunk of rows at hand, in the type of computation; what is applied comes later.
  @inline(__always) func chunkFirst<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(5, A.self) }
  @inline(__always) func chunkSecond<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(6, A.self) }

  /// y = (mean - x) * scale + offset, in the type of computation.
  @inline(__always) func coefficients<A: Arithmetic>(_: A.Type) -> Coefficients<A> {
    Coefficients(mean: array(5, A.self), scale: array(6, A.self), offset: array(7, A.self))
  }
  /// The same in Double, for lanes whose factor the type of computation cannot apply; `wide` marks them with 1.
  @inline(__always) var wideCoefficients: Coefficients<Double> {
    Coefficients(mean: array(8, Double.self), scale: array(9, Double.self), offset: array(10, Double.self))
  }
  @inline(__always) var wide: UnsafeMutablePointer<Float> { array(11, Float.self) }

  /// gamma and beta of the rows at hand, where they change from row to row.
  @inline(__always) var rowGammas: UnsafeMutablePointer<Double> { array(12, Double.self) }
  @inline(__always) var rowBetas: UnsafeMutablePointer<Double> { rowGammas + Int(NK_BLOCK_LANES) / 2 }

  /// What standardizes each set of the block, and whether it is known yet.
  @inline(__always) var standards: UnsafeMutablePointer<nk_standard> { array(13, nk_standard.self) }
  @inline(__always) var isFinished: UnsafeMutablePointer<Bool> { array(17, Bool.self) }

  struct Coefficients<A: Arithmetic> {
    let mean, scale, offset: UnsafeMutablePointer<A>

    /// Repeats those of `width` lanes, so that there are `times` as many.
    @inline(never)
    func repeated(_ width: Int, _ times: Int) {
      var filled = width
      while filled < width &* times {
        let count = min(filled, width &* times &- filled)
        copy(mean, to: mean + filled, count: count)
        copy(scale, to: scale + filled, count: count)
        copy(offset, to: offset + filled, count: count)
        filled &+= count
      }
    }

    /// Brings those of `width` lanes to the order that `E` has.
    @inline(__always)
    func arrange<E: Element>(_: E.Type, _ width: Int) {
      E.arrange(mean, width)
      E.arrange(scale, width)
      E.arrange(offset, width)
    }
  }
}
