// What is summed over a set S. A reduction says how sixteen lanes enter the sums and how sums are joined.

import NormKitFloor

/// Sums in sixteen lanes of Double: chunks that were summed in the type of computation are joined here.
struct LaneSums {
  var first = Double.splat(0)
  var second = Double.splat(0)
}

protocol Reduction {
  /// How what is made of the sums changes with one element.
  associatedtype Change: Derivative
  /// What gives the same sums where the shift is 0, without a subtraction.
  associatedtype Unshifted: Reduction = Self
  /// Whether elements are shifted by a value near their mean before they are summed.
  static var isCentred: Bool { get }
  /// Adds `d`, which `shifted` made.
  static func add<A: Arithmetic>(_ d: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>)
  /// The same for four at once, added to each other before they are added to the sums: the shorter the chain of
  /// additions, the smaller the error. One after the other where that is not said.
  static func add<A: Arithmetic>(
    _ d: (SIMD16<A>, SIMD16<A>, SIMD16<A>, SIMD16<A>), _ first: inout SIMD16<A>, _ second: inout SIMD16<A>)
  static func join<A: Arithmetic>(_ a: SIMD16<A>, _ b: SIMD16<A>) -> SIMD16<A>
  static func collapse(_ lanes: SIMD16<Double>) -> Double
  static func join(_ a: Double, _ b: Double) -> Double
  /// Whether sums formed in `A` have lost nothing to overflow, underflow or cancellation.
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool
  /// Whether four sums formed in Float are.
  static func areReliable(_ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>, _ count: Double) -> Bool
}

extension Reduction {
  /// What is summed of sixteen elements: if they are shifted, how far they are below the shift. So the subtraction
  /// takes them from memory, which has to be its second operand.
  @inline(__always)
  static func shifted<A: Arithmetic>(_ x: SIMD16<A>, _ shifts: SIMD16<A>) -> SIMD16<A> { isCentred ? shifts - x : x }

  /// Joins lanes to sums in Double.
  @inline(__always)
  static func add<A: Arithmetic>(_ lanes: SIMD16<A>, to sums: inout SIMD16<Double>) {
    if hasWideRegisters { sums = join(sums, A.widen(lanes)) } else { addByCall(lanes, to: &sums) }
  }

  @inline(never)
  private static func addByCall<A: Arithmetic>(_ lanes: SIMD16<A>, to sums: inout SIMD16<Double>) {
    sums = join(sums, A.widen(lanes))
  }

  /// Adds the first `count` of sixteen elements to sums in Double.
  @inline(never)
  static func addInDouble(
    _ lanes: inout SIMD16<Double>, _ count: Int, shift: Double, _ first: inout SIMD16<Double>,
    _ second: inout SIMD16<Double>
  ) {
    let shifts = Double.splat(shift)
    add(shifted(count == 16 || !isCentred ? lanes : Double.fill(lanes, count, shifts), shifts), &first, &second)
  }

  @inline(__always)
  static func add<A: Arithmetic>(
    _ d: (SIMD16<A>, SIMD16<A>, SIMD16<A>, SIMD16<A>), _ first: inout SIMD16<A>, _ second: inout SIMD16<A>
  ) {
    add(d.0, &first, &second)
    add(d.1, &first, &second)
    add(d.2, &first, &second)
    add(d.3, &first, &second)
  }
  @inline(__always)
  static func areReliable(_ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>, _ count: Double) -> Bool { false }
  @inline(__always) static var isCentred: Bool { false }
  @inline(__always) static func join<A: Arithmetic>(_ a: SIMD16<A>, _ b: SIMD16<A>) -> SIMD16<A> { a + b }
  @inline(__always) static func collapse(_ lanes: SIMD16<Double>) -> Double { nk_sum_f64(lanes) }
  @inline(__always) static func join(_ a: Double, _ b: Double) -> Double { a + b }
  @inline(__always) static func join(_ a: nk_sums, _ b: nk_sums) -> nk_sums {
    nk_sums(first: join(a.first, b.first), second: a.second + b.second)
  }
  @inline(__always) static func collapse(_ sums: LaneSums) -> nk_sums {
    nk_sums(first: collapse(sums.first), second: nk_sum_f64(sums.second))
  }
}

/// Sums of x - shift and of its square. They give mean and variance in one sweep; they cancel only if the
/// shift was far from the mean, which shows afterwards.
enum Moments: Reduction {
  typealias Change = AlongValue
  typealias Unshifted = UnshiftedMoments
  @inline(__always) static var isCentred: Bool { true }
  @inline(__always)
  static func add<A: Arithmetic>(_ d: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>) {
    first = first - d
    second = A.fma(d, d, second)
  }
  @inline(__always)
  static func add<A: Arithmetic>(
    _ d: (SIMD16<A>, SIMD16<A>, SIMD16<A>, SIMD16<A>), _ first: inout SIMD16<A>, _ second: inout SIMD16<A>
  ) {
    first = first - ((d.0 + d.1) + (d.2 + d.3))
    SquareSum.add(d, &first, &second)
  }
  @inline(__always)
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool {
    guard SquareSum.isReliable(sums, count, in: A.self) else { return false }
    // second <= 6 * (second - first * first / count), without a division; NaN is not for Double to mend.
    return !(6 * sums.first * sums.first > 5 * count * sums.second)
  }
  @inline(__always)
  static func areReliable(_ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>, _ count: Double) -> Bool {
    var lost = 6 * firsts * firsts, kept = 5 * count * seconds
    return SquareSum.areReliable(firsts, seconds, count) && !nk_exceed(&lost, &kept)
  }
}

/// Sums of x and of its square, for `Moments` whose shift is 0. It only forms sums: whether they are reliable is asked
/// of `Moments`.
enum UnshiftedMoments: Reduction {
  typealias Change = AlongValue
  @inline(__always)
  static func add<A: Arithmetic>(_ x: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>) {
    first = first + x
    second = A.fma(x, x, second)
  }
  @inline(__always)
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool {
    Moments.isReliable(sums, count, in: A.self)
  }
}

/// Sum of x * x.
enum SquareSum: Reduction {
  typealias Change = AlongValue
  @inline(__always)
  static func add<A: Arithmetic>(_ d: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>) {
    second = A.fma(d, d, second)
  }
  @inline(__always)
  static func add<A: Arithmetic>(
    _ d: (SIMD16<A>, SIMD16<A>, SIMD16<A>, SIMD16<A>), _ first: inout SIMD16<A>, _ second: inout SIMD16<A>
  ) {
    second = second + (A.fma(d.1, d.1, d.0 * d.0) + A.fma(d.3, d.3, d.2 * d.2))
  }
  @inline(__always)
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool {
    A.self == Double.self || (sums.second >= A.leastMeanSquare * count && sums.second < .infinity)
  }
  @inline(__always)
  static func areReliable(_ firsts: SIMD4<Double>, _ seconds: SIMD4<Double>, _ count: Double) -> Bool {
    var seconds = seconds
    return nk_are_between(&seconds, Float.leastMeanSquare * count)
  }
}

/// Sum of |x|.
enum AbsoluteSum: Reduction {
  typealias Change = AlongSign
  @inline(__always)
  static func add<A: Arithmetic>(_ d: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>) {
    first = first + A.magnitude(d)
  }
  @inline(__always)
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool {
    A.self == Double.self || sums.first < .infinity
  }
}

/// Largest |x|.
enum Maximum: Reduction {
  typealias Change = AlongSign
  @inline(__always)
  static func add<A: Arithmetic>(_ d: SIMD16<A>, _ first: inout SIMD16<A>, _ second: inout SIMD16<A>) {
    first = A.larger(first, A.magnitude(d))
  }
  @inline(__always) static func join<A: Arithmetic>(_ a: SIMD16<A>, _ b: SIMD16<A>) -> SIMD16<A> { A.larger(a, b) }
  @inline(__always) static func collapse(_ lanes: SIMD16<Double>) -> Double { nk_largest_f64(lanes) }
  @inline(__always) static func join(_ a: Double, _ b: Double) -> Double { a.bitPattern > b.bitPattern ? a : b }
  @inline(__always)
  static func isReliable<A: Arithmetic>(_ sums: nk_sums, _ count: Double, in: A.Type) -> Bool { true }
}
