// Activation functions of sixteen lanes, within 2 units in the last place; those of results that are halves are in
// HalfActivation.swift.
//
// They are made of additions, multiplications, divisions, operations on bits and tables alone, so that their bits are
// the same on every processor that has fma. All but the simplest ones come down to exp of a number that is not
// positive: with t = |x|, SiLU and both forms of GELU are max(x, 0) minus a tail that is positive and falls to 0 as t
// grows. The tail alone is the result for negative x, and has to be right in its last places until it underflows.

import NormKitFloor

protocol Activation {
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A>
}

struct Relu: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> { A.whereNegative(x, A.splat(0)) }
}

/// alpha * x for negative x.
struct LeakyRelu: Activation {
  let alpha: Double
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> { A.whereNegative(x, x * A.splat(A.narrow(alpha))) }
}

/// x * min(max(x + 3, 0), 6) / 6.
struct HardSwish: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let x = A.atLeast(x, A.splat(-3))
    return x * A.divide(A.atMost(x + A.splat(3), A.splat(6)), A.splat(6))
  }
}

/// 1 / (1 + exp(-x)).
struct Sigmoid: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let t = A.atMost(A.magnitude(x), A.splat(A.logisticEnd))
    let tail = logistic(A.splat(1), A.negate(t), A.splat(0))
    return A.magnitude(A.fma(tail, A.splat(-A.unit), A.step(x)))
  }
}

/// x / (1 + exp(-x)).
struct Silu: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let t = A.atMost(A.magnitude(x), A.splat(A.logisticEnd))
    return withoutTail(x, logistic(t, A.negate(t), A.splat(0)))
  }
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), which is x / (1 + exp(-x (a + b x^2))).
struct GeluTanh: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let t = A.atMost(A.magnitude(x), A.splat(A.geluTanhEnd))
    // Every digit of the exponent counts, so that it is computed in two parts.
    let (square, squareLow) = product(t, t)
    let a = A.splat(A.geluLinear), b = A.splat(A.geluCubic)
    let sum = A.fma(b, square, a)
    var sumLow = A.fma(A.splat(A.geluCubicLow), square, A.splat(A.geluLinearLow))
    sumLow = A.fma(b, squareLow, sumLow) + lostBySum(b, square, a, sum)
    let (exponent, exponentLow) = product(A.negate(t), sum)
    return withoutTail(x, logistic(t, exponent, exponentLow - t * sumLow))
  }
}

struct Tanh: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let t = A.atMost(A.magnitude(x), A.splat(A.tanhEnd))
    let e = Exponential(t * A.splat(-2), A.splat(0))
    let scale = e.scale * A.splat(A.unit)
    // m = exp(-2 t) - 1 and d = 2 + m, each in two parts; the result is -m / d.
    let beside = scale - A.splat(1)
    let m = A.fma(scale, e.less1, beside), mLow = A.fma(scale, e.less1, beside - m)
    let d = m + A.splat(2), dLow = m - (d - A.splat(2))
    let inverse = A.divide(A.splat(1), d)
    let q = m * inverse
    let rest = A.fma(A.splat(1) - q, mLow, A.fma(A.negate(q), dLow, A.fma(A.negate(q), d, m)))
    return A.copySign(A.fma(rest, inverse, q), x)
  }
}

/// x times the normal distribution function.
struct Gelu: Activation {
  @inline(__always)
  func apply<A: Arithmetic>(_ x: SIMD16<A>) -> SIMD16<A> {
    let t = A.atMost(A.magnitude(x), A.splat(A.geluEnd))
    let (square, squareLow) = product(t, t)
    let e = Exponential(square * A.splat(-0.5), squareLow * A.splat(-0.5))
    return withoutTail(x, A.multiply(A.geluTail(t, e.less1), e.scale))
  }
}

/// max(x, 0) minus a tail, which was multiplied by 1 / unit. The zero is -0 for negative x: so is the result then where
/// the tail underflows.
@inline(__always)
func withoutTail<A: Arithmetic>(_ x: SIMD16<A>, _ tail: SIMD16<A>) -> SIMD16<A> {
  A.fma(tail, A.splat(-A.unit), A.whereNegative(x, A.splat(-0.0)))
}

/// t * e / (1 + e) / unit for e = exp(v + vLow), v <= 0.
@inline(__always)
private func logistic<A: Arithmetic>(_ t: SIMD16<A>, _ v: SIMD16<A>, _ vLow: SIMD16<A>) -> SIMD16<A> {
  var result = t
  if hasFMA { formLogistic(&result, v, vLow) } else { formLogisticByCall(&result, v, vLow) }
  return result
}

/// Without fma, a vector is four or eight registers, and all of this much code.
@inline(never)
private func formLogisticByCall<A: Arithmetic>(_ t: inout SIMD16<A>, _ v: SIMD16<A>, _ vLow: SIMD16<A>) {
  formLogistic(&t, v, vLow)
}

@inline(__always)
private func formLogistic<A: Arithmetic>(_ t: inout SIMD16<A>, _ v: SIMD16<A>, _ vLow: SIMD16<A>) {
  let e = Exponential(v, vLow)
  let scale = e.scale * A.splat(A.unit)
  let power = A.fma(scale, e.less1, scale)
  let d = power + A.splat(1), dLow = power - (d - A.splat(1))
  let inverse = A.divide(A.splat(1), d)
  let q = t * inverse
  let rest = A.fma(A.negate(q), dLow, A.fma(A.negate(q), d, t))
  t = e.times(q, rest * inverse)
}

/// a * b in two parts, the rounded product and what it lost.
@inline(__always)
func product<A: Arithmetic>(_ a: SIMD16<A>, _ b: SIMD16<A>) -> (SIMD16<A>, SIMD16<A>) {
  let high = a * b
  return (high, A.productError(a, b, high))
}

/// a * b + c - sum.
@inline(__always)
private func lostBySum<A: Arithmetic>(
  _ a: SIMD16<A>, _ b: SIMD16<A>, _ c: SIMD16<A>, _ sum: SIMD16<A>
) -> SIMD16<A> {
  if hasFMA { return A.fma(a, b, c - sum) }
  let (high, low) = product(a, b)
  return c - sum + high + low
}

/// exp(v + vLow) = scale * unit * (1 + less1), v <= 0. The scale is a power of two, and larger by 1 / unit than it
/// would have to be, so that results that underflow are rounded once, by a multiplication with `unit`.
private struct Exponential<A: Arithmetic> {
  private(set) var scale, less1: SIMD16<A>

  @inline(__always)
  init(_ v: SIMD16<A>, _ vLow: SIMD16<A>) {
    scale = v
    less1 = vLow
    if hasFMA { form() } else { formByCall() }
  }

  @inline(never)
  private mutating func formByCall() { form() }

  /// `scale` and `less1` from v and vLow, which stand in their places.
  @inline(__always)
  private mutating func form() {
    let v = scale, vLow = less1
    // Numbers of the size of `rounder` are whole; its last digits are the exponent of 1 / unit.
    let shifted = A.fma(v, A.splat(0x1.71547652b82fep+0), A.splat(A.rounder))
    let count = A.splat(A.rounder) - shifted
    scale = A.exponent(shifted)
    let r = A.fma(count, A.splat(A.ln2), v) + A.fma(count, A.splat(A.ln2Low), vLow)
    let square = r * r
    less1 = A.fma(square, A.exponentialSeries(r, square), r)
  }

  /// (a + aLow) * exp(v + vLow) / unit.
  @inline(__always)
  func times(_ a: SIMD16<A>, _ aLow: SIMD16<A>) -> SIMD16<A> {
    (a + A.fma(a, less1, A.fma(aLow, less1, aLow))) * scale
  }
}

/// The constants of these functions, and what they need of instructions.
protocol ActivationArithmetic: SIMDScalar, BinaryFloatingPoint, Coding {
  static func divide(_ a: SIMD16<Self>, _ b: SIMD16<Self>) -> SIMD16<Self>
  /// The smaller, or the larger. NaN in `v` stays NaN.
  static func atMost(_ v: SIMD16<Self>, _ limit: SIMD16<Self>) -> SIMD16<Self>
  static func atLeast(_ v: SIMD16<Self>, _ limit: SIMD16<Self>) -> SIMD16<Self>
  /// `other` where `v` is less than 0, else `v`.
  static func whereNegative(_ v: SIMD16<Self>, _ other: SIMD16<Self>) -> SIMD16<Self>
  /// 0 where `v` is less than 0, else 1.
  static func step(_ v: SIMD16<Self>) -> SIMD16<Self>
  static func negate(_ v: SIMD16<Self>) -> SIMD16<Self>
  static func copySign(_ v: SIMD16<Self>, _ signs: SIMD16<Self>) -> SIMD16<Self>
  /// The power of two whose exponent field is the last bits of `v`.
  static func exponent(_ v: SIMD16<Self>) -> SIMD16<Self>
  /// a * b - product.
  static func productError(_ a: SIMD16<Self>, _ b: SIMD16<Self>, _ product: SIMD16<Self>) -> SIMD16<Self>

  static var unit: Self { get }
  static var rounder: Self { get }
  /// ln 2 in two parts. The first has few digits, so that multiples of it are exact.
  static var ln2: Self { get }
  static var ln2Low: Self { get }
  /// (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2, with r^2 given.
  static func exponentialSeries(_ r: SIMD16<Self>, _ square: SIMD16<Self>) -> SIMD16<Self>

  /// a = 2 sqrt(2 / pi) and b = 0.044715 a, each in two parts. The first part of a has few digits, so that it can be
  /// taken from sums again.
  static var geluLinear: Self { get }
  static var geluLinearLow: Self { get }
  static var geluCubic: Self { get }
  static var geluCubicLow: Self { get }

  /// t N(-t) exp(t^2 / 2) (1 + less1), of the normal distribution function N; see GeluTail.swift.
  static func geluTail(_ t: SIMD16<Self>, _ less1: SIMD16<Self>) -> SIMD16<Self>

  /// Where tails have become 0, tanh 1.
  static var logisticEnd: Self { get }
  static var geluTanhEnd: Self { get }
  static var geluEnd: Self { get }
  static var tanhEnd: Self { get }
}

extension ActivationArithmetic where Self: Arithmetic {
  /// a + b * x.
  @inline(__always)
  static func line(_ x: SIMD16<Self>, _ a: Self, _ b: Self) -> SIMD16<Self> { fma(splat(b), x, splat(a)) }

  /// a * x + c in two parts, the rounded sum and what it lost.
  @inline(__always)
  static func fmaInParts(_ a: SIMD16<Self>, _ x: SIMD16<Self>, _ c: SIMD16<Self>) -> (SIMD16<Self>, SIMD16<Self>) {
    let high = fma(a, x, c)
    return (high, fma(a, x, c - high))
  }
}

extension Float: ActivationArithmetic {
  @inline(__always) static func divide(_ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
    changed(a) { $0 /= b }
  }
  @inline(__always) static func atMost(_ v: SIMD16<Float>, _ limit: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_at_most_f32(&$0, limit) }
  }
  @inline(__always) static func atLeast(_ v: SIMD16<Float>, _ limit: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_at_least_f32(&$0, limit) }
  }
  @inline(__always) static func whereNegative(_ v: SIMD16<Float>, _ other: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_where_negative_f32(&$0, other) }
  }
  @inline(__always) static func step(_ v: SIMD16<Float>) -> SIMD16<Float> { changed(v) { nk_step_f32(&$0) } }
  @inline(__always) static func negate(_ v: SIMD16<Float>) -> SIMD16<Float> { changed(v) { nk_negate_f32(&$0) } }
  @inline(__always) static func copySign(_ v: SIMD16<Float>, _ signs: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_copy_sign_f32(&$0, signs) }
  }
  @inline(__always) static func exponent(_ v: SIMD16<Float>) -> SIMD16<Float> { changed(v) { nk_exponent_f32(&$0) } }
  @inline(__always)
  static func productError(_ a: SIMD16<Float>, _ b: SIMD16<Float>, _ product: SIMD16<Float>) -> SIMD16<Float> {
    hasFMA ? fma(a, b, negate(product)) : changed(product) { nk_product_error_f32(&$0, a, b) }
  }

  @inline(__always) static var unit: Float { 0x1p-64 }
  @inline(__always) static var rounder: Float { 0x1.8p23 + 64 + 127 }
  @inline(__always) static var ln2: Float { 0x1.62e4p-1 }
  @inline(__always) static var ln2Low: Float { 0x1.7f7d1cp-20 }
  @inline(__always)
  static func exponentialSeries(_ r: SIMD16<Float>, _ square: SIMD16<Float>) -> SIMD16<Float> {
    let high = fma(splat(0x1.6bebfcp-10), square, line(r, 0x1.555674p-5, 0x1.122776p-7))
    return fma(high, square, line(r, 0x1.fffffep-2, 0x1.5554bp-3))
  }

  @inline(__always) static var geluLinear: Float { 0x1.98845p+0 }
  @inline(__always) static var geluLinearLow: Float { 0x1.9ea1b2p-23 }
  @inline(__always) static var geluCubic: Float { 0x1.2444f2p-4 }
  @inline(__always) static var geluCubicLow: Float { 0x1.49b16ap-29 }

  @inline(__always) static var logisticEnd: Float { 110 }
  @inline(__always) static var geluTanhEnd: Float { 11 }
  @inline(__always) static var geluEnd: Float { 14.5 }
  @inline(__always) static var tanhEnd: Float { 10 }
}

extension Double: ActivationArithmetic {
  @inline(__always) static func divide(_ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
    changed(a) { $0 /= b }
  }
  @inline(__always) static func atMost(_ v: SIMD16<Double>, _ limit: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_at_most_f64(&$0, limit) }
  }
  @inline(__always) static func atLeast(_ v: SIMD16<Double>, _ limit: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_at_least_f64(&$0, limit) }
  }
  @inline(__always) static func whereNegative(_ v: SIMD16<Double>, _ other: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_where_negative_f64(&$0, other) }
  }
  @inline(__always) static func step(_ v: SIMD16<Double>) -> SIMD16<Double> { changed(v) { nk_step_f64(&$0) } }
  @inline(__always) static func negate(_ v: SIMD16<Double>) -> SIMD16<Double> { changed(v) { nk_negate_f64(&$0) } }
  @inline(__always) static func copySign(_ v: SIMD16<Double>, _ signs: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_copy_sign_f64(&$0, signs) }
  }
  @inline(__always) static func exponent(_ v: SIMD16<Double>) -> SIMD16<Double> { changed(v) { nk_exponent_f64(&$0) } }
  @inline(__always)
  static func productError(_ a: SIMD16<Double>, _ b: SIMD16<Double>, _ product: SIMD16<Double>) -> SIMD16<Double> {
    hasFMA ? fma(a, b, negate(product)) : changed(product) { nk_product_error_f64(&$0, a, b) }
  }

  @inline(__always) static var unit: Double { 0x1p-128 }
  @inline(__always) static var rounder: Double { 0x1.8p52 + 128 + 1023 }
  @inline(__always) static var ln2: Double { 0x1.62e42fefa3p-1 }
  @inline(__always) static var ln2Low: Double { 0x1.3de6af278ece6p-42 }
  @inline(__always)
  static func exponentialSeries(_ r: SIMD16<Double>, _ square: SIMD16<Double>) -> SIMD16<Double> {
    let low = fma(line(r, 0x1.555555555553fp-5, 0x1.111111110f6dap-7), square, line(r, 0x1p-1, 0x1.5555555555559p-3))
    let middle = fma(
      line(r, 0x1.a01a017bbf19cp-16, 0x1.71ddf87f2a0efp-19), square,
      line(r, 0x1.6c16c16c1f08cp-10, 0x1.a01a01afd3b58p-13))
    let high = fma(splat(0x1.1ee872259901p-29), square, line(r, 0x1.27e5363b9fcf6p-22, 0x1.af5e744bf9eb1p-26))
    let fourth = square * square
    return fma(fma(high, fourth, middle), fourth, low)
  }

  @inline(__always) static var geluLinear: Double { 0x1.9884533d4364p+0 }
  @inline(__always) static var geluLinearLow: Double { 0x1.08d0fcb3c500cp-48 }
  @inline(__always) static var geluCubic: Double { 0x1.2444f2a4d8b4bp-4 }
  @inline(__always) static var geluCubicLow: Double { -0x1.6c843a29d1c7p-61 }

  @inline(__always) static var logisticEnd: Double { 760 }
  @inline(__always) static var geluTanhEnd: Double { 22 }
  @inline(__always) static var geluEnd: Double { 38.7 }
  @inline(__always) static var tanhEnd: Double { 20 }
}
