// How the statistic that a set is divided by changes with one of the set's elements.

import NormKitFloor

protocol Derivative {
  /// Whether activations are normalized so, which have scale and shift of every form and are worth wide loops. Norms of
  /// weights have one scale per set.
  static var isFrequent: Bool { get }
  /// The direction of one element's derivative. `value` is the element, `z` the element standardized, `quantity` the
  /// statistic.
  static func direction<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A>
  /// What has to be summed over the set beside h and h * z.
  static func beside<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A>
}

/// Deviations, mean squares and the norm L2 change along z. The sum of z is 0, but for what a given mean has lost by
/// rounding.
enum AlongValue: Derivative {
  @inline(__always) static var isFrequent: Bool { true }
  @inline(__always)
  static func direction<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A> { z }
  @inline(__always)
  static func beside<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A> { z }
}

/// The norm L1 changes with the sign, of all elements. So does the norm MAX with its largest elements, which are
/// counted and share the change; no other element reaches the quantity.
enum AlongSign: Derivative {
  @inline(__always) static var isFrequent: Bool { false }
  @inline(__always)
  static func direction<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A> {
    A.sign(value) * A.reaches(value, quantity)
  }
  @inline(__always)
  static func beside<A: Arithmetic>(_ z: SIMD16<A>, _ value: SIMD16<A>, _ quantity: SIMD16<A>) -> SIMD16<A> {
    A.reaches(value, quantity)
  }
}

extension nk_job {
  /// The quantity as a derivative takes it: for the norm L1, what all elements reach.
  @inline(__always)
  func reach(_ standard: nk_standard) -> Double {
    Int(statistic) == NK_ABSOLUTE_SUM ? 0 : standard.quantity
  }
}
