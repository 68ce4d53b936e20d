// Activation functions whose results are rounded to halves, to 8 or 11 binary digits: these are within 2^-16 of the
// exact ones, so that numbers in one part do, and shorter series. As in Activation.swift, the smooth ones are max(x, 0)
// minus a tail that has to be right, as a fraction of itself, until it underflows.

import NormKitFloor

enum HalfActivation {
  @inline(__always)
  static func silu(_ x: SIMD16<Float>) -> SIMD16<Float> {
    let t = Float.atMost(Float.magnitude(x), Float.splat(Float.logisticEnd))
    return withoutTail(x, logistic(t, t))
  }

  @inline(__always)
  static func geluTanh(_ x: SIMD16<Float>) -> SIMD16<Float> {
    let t = Float.atMost(Float.magnitude(x), Float.splat(Float.geluTanhEnd))
    let slope = Float.fma(t * t, Float.splat(Float.geluCubic), Float.splat(Float.geluLinear + Float.geluLinearLow))
    return withoutTail(x, logistic(t, t * slope))
  }

  @inline(__always)
  static func tanh(_ x: SIMD16<Float>) -> SIMD16<Float> {
    let t = Float.atMost(Float.magnitude(x), Float.splat(Float.tanhEnd))
    let e = FallingExponential(t + t)
    let scale = e.scale * Float.splat(Float.unit)
    // m = 1 - exp(-2 t); the result is m / (2 - m).
    let m = Float.fma(scale, e.below1, Float.splat(1) - scale)
    return Float.copySign(Float.divide(m, Float.splat(2) - m), x)
  }

  /// As in GeluTail.swift, with R in one part.
  @inline(__always)
  static func gelu(_ x: SIMD16<Float>) -> SIMD16<Float> {
    let t = Float.atMost(Float.magnitude(x), Float.splat(Float.geluEnd))
    let e = FallingExponential(t * t * Float.splat(0.5))
    return withoutTail(x, t * Float.geluRemains(t) * e.value)
  }

  /// t / (1 + exp(u)) / unit.
  @inline(__always)
  private static func logistic(_ t: SIMD16<Float>, _ u: SIMD16<Float>) -> SIMD16<Float> {
    let power = FallingExponential(u).value
    return Float.divide(t, Float.fma(power, Float.splat(Float.unit), Float.splat(1))) * power
  }
}

/// exp(-u) = scale * unit * (1 - below1), u >= 0, with a scale as in `Exponential`.
private struct FallingExponential {
  let scale, below1: SIMD16<Float>

  @inline(__always)
  init(_ u: SIMD16<Float>) {
    let shifted = Float.fma(u, Float.splat(-0x1.715476p+0), Float.splat(Float.rounder))
    let count = shifted - Float.splat(Float.rounder)
    scale = Float.exponent(shifted)
    let r = Float.fma(count, Float.splat(Float.ln2 + Float.ln2Low), u)
    let square = r * r
    let high = Float.fma(r, Float.splat(0x1.106222p-7), Float.splat(-0x1.572adcp-5))
    let low = Float.fma(r, Float.splat(0x1.5557bp-3), Float.splat(-0x1.fffdfap-2))
    below1 = Float.fma(square, Float.fma(square, high, low), r)
  }

  /// exp(-u) / unit.
  @inline(__always) var value: SIMD16<Float> { Float.fma(scale, Float.negate(below1), scale) }
}
