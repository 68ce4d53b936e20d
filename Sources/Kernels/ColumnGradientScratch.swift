// Working memory for the gradients of one block of columns: an entry per lane, eight bytes each. What standardizes the
// block's sets stays where the forward direction has it.

import NormKitFloor

struct ColumnGradientScratch {
  let forward: ColumnScratch

  @inline(__always) init(_ forward: ColumnScratch) { self.forward = forward }

  @inline(__always)
  private func array<T>(_ index: Int, _: T.Type) -> UnsafeMutablePointer<T> {
    (forward.base + index &* Int(NK_ARRAY_BYTES)).assumingMemoryBound(to: T.self)
  }

  struct Sums<A: Arithmetic> {
    let h, hz, beside: UnsafeMutablePointer<A>

    @inline(__always)
    func clear(width: Int) {
      zero(h, width)
      zero(hz, width)
      zero(beside, width)
    }
  }

  /// Sums of the pieces so far, and of the piece at hand.
  @inline(__always) var sums: Sums<Double> {
    Sums(h: array(0, Double.self), hz: array(1, Double.self), beside: array(2, Double.self))
  }
  @inline(__always) var pieceSums: Sums<Double> {
    Sums(h: array(3, Double.self), hz: array(4, Double.self), beside: array(5, Double.self))
  }

  /// Sums of the chunk of rows at hand, in the type of computation; what is applied comes later.
  @inline(__always) func chunkSums<A: Arithmetic>(_: A.Type) -> Sums<A> {
    Sums(h: array(10, A.self), hz: array(11, A.self), beside: array(12, A.self))
  }

  /// What dy is multiplied by in each row of the chunk at hand: 1, if rows have no parameters of their own. Sets are
  /// finished by now: where `forward` remembers that, there is room.
  @inline(__always) var weights: UnsafeMutablePointer<Double> { array(17, Double.self) }

  /// The gradient of each set, once the sums of pieces are not needed any more.
  @inline(__always) var gradients: UnsafeMutablePointer<nk_gradient> { array(3, nk_gradient.self) }

  /// What standardizes each lane, and its gradient, in the type of computation.
  @inline(__always) func mean<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(6, A.self) }
  @inline(__always) func factor<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(7, A.self) }
  @inline(__always) func offset<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(8, A.self) }
  @inline(__always) func quantity<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(9, A.self) }
  @inline(__always) func scale<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(10, A.self) }
  @inline(__always) func shift<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(11, A.self) }
  @inline(__always) func slope<A: Arithmetic>(_: A.Type) -> UnsafeMutablePointer<A> { array(12, A.self) }

  /// Brings what is applied to `width` lanes to the order that `E` has.
  @inline(__always)
  func arrange<E: Element>(_: E.Type, _ width: Int) {
    typealias N = E.Natural
    E.arrange(mean(N.self), width)
    E.arrange(factor(N.self), width)
    E.arrange(quantity(N.self), width)
    E.arrange(scale(N.self), width)
    E.arrange(shift(N.self), width)
    E.arrange(slope(N.self), width)
  }
}

extension ColumnGradientScratch.Sums<Double> {
  /// Adds those of a chunk or of a piece.
  @inline(__always)
  func add<B: Arithmetic>(_ other: ColumnGradientScratch.Sums<B>, width: Int) {
    var j = 0
    while j < width {
      B.add(B.load(UnsafeRawPointer(other.h), j), to: h, j)
      B.add(B.load(UnsafeRawPointer(other.hz), j), to: hz, j)
      B.add(B.load(UnsafeRawPointer(other.beside), j), to: beside, j)
      j &+= 16
    }
  }

  /// The sums of `count` lanes from `lane` on, added up.
  @inline(__always)
  func total(_ lane: Int, _ count: Int) -> nk_gradient_sums {
    nk_gradient_sums(h: sum(h + lane, count), hz: sum(hz + lane, count), beside: sum(beside + lane, count))
  }

  /// Up to fifteen lanes behind `count` are read, too.
  @inline(__always)
  private func sum(_ lanes: UnsafePointer<Double>, _ count: Int) -> Double {
    if count == 1 { return lanes[0] }
    let p = UnsafeRawPointer(lanes)
    var sum = Double.splat(0), j = 0
    while j < count {
      let v: SIMD16<Double> = Double.load(p, j)
      sum = sum + (j &+ 16 <= count ? v : Double.fill(v, count &- j, Double.splat(0)))
      j &+= 16
    }
    return nk_sum_f64(sum)
  }
}
