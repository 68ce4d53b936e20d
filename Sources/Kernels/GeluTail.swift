// The tail of GELU for negative arguments, t N(-t) for the normal distribution function N and t = -x >= 0.
//
// When the decay is taken away from N(-t), R(t) = N(-t) exp(t^2 / 2) is left, which is smooth and falls slowly: there
// are polynomials for it. Their constants are from Tests/measure/activation_polynomials.py.

import NormKitFloor

/// One polynomial for each half octave of t + 1, of which there are eight.
private struct Pieces {
  private let piece: SIMD16<Float>
  /// t from the center of its piece.
  private(set) var u: SIMD16<Float>

  /// `centers` and all coefficients are in the order of the last three bits of the number of a half octave.
  @inline(__always)
  init(_ t: SIMD16<Float>, centers: SIMD8<Float>) {
    piece = changed(t + Float.splat(1)) { nk_half_octave_f32(&$0) }
    u = t
    u -= coefficient(centers)
  }

  @inline(__always)
  func coefficient(_ ofPieces: SIMD8<Float>) -> SIMD16<Float> {
    changed(piece) { nk_look_up_f32(&$0, ofPieces) }
  }

  /// The next coefficient of a polynomial.
  @inline(__always)
  func then(_ value: SIMD16<Float>, _ ofPieces: SIMD8<Float>) -> SIMD16<Float> {
    Float.fma(value, u, coefficient(ofPieces))
  }
}

extension Float {
  @inline(__always)
  static func geluTail(_ t: SIMD16<Float>, _ less1: SIMD16<Float>) -> SIMD16<Float> {
    let pieces = Pieces(t, centers: SIMD8(
      0x1.7fp+0, 0x1.41p+1, 0x1.fdp+1, 0x1.818p+2,
      0x1.1ep+3, 0x1.99999ap+3, 0x1.fp-3, 0x1.7dp-1))
    var slope = pieces.coefficient(SIMD8(
      -0x1.b7704p-14, -0x1.f1746ap-17, -0x1.73cb5ep-20, -0x1.d4d59cp-24,
      -0x1.ce29b2p-28, -0x1.0013f6p-31, -0x1.00e652p-9, -0x1.247884p-11))
    slope = pieces.then(slope, SIMD8(
      0x1.93cac2p-12, 0x1.090138p-14, 0x1.063336p-17, 0x1.981248p-21,
      0x1.28e3e6p-24, 0x1.ad1476p-28, 0x1.7a38c6p-8, 0x1.d50b7ap-10))
    slope = pieces.then(slope, SIMD8(
      -0x1.4e3d58p-10, -0x1.0ac42p-12, -0x1.43a294p-15, -0x1.574706p-18,
      -0x1.4a7262p-21, -0x1.587468p-24, -0x1.f43d92p-7, -0x1.57c18ep-8))
    slope = pieces.then(slope, SIMD8(
      0x1.0edc5cp-8, 0x1.0811dp-10, 0x1.9cefd6p-13, 0x1.276e34p-15,
      0x1.89716p-18, 0x1.1d40cp-20, 0x1.35fd8ep-5, 0x1.db86f6p-7))
    slope = pieces.then(slope, SIMD8(
      -0x1.9b9c6p-7, -0x1.f201dep-9, -0x1.001b8cp-10, -0x1.f2d10ap-13,
      -0x1.d2542ap-15, -0x1.d60f7p-17, -0x1.5e1d94p-4, -0x1.2f4a24p-5))
    slope = pieces.then(slope, SIMD8(
      0x1.21745ep-5, 0x1.bc4b9cp-7, 0x1.3250bcp-8, 0x1.9c84f8p-10,
      0x1.10d43cp-11, 0x1.80f75ep-13, 0x1.606998p-3, 0x1.5e9f3cp-4))
    slope = pieces.then(slope, SIMD8(
      -0x1.72e126p-4, -0x1.73eda2p-5, -0x1.6089b8p-6, -0x1.4dfaaep-7,
      -0x1.3bb99ep-8, -0x1.397b26p-9, -0x1.31430ep-2, -0x1.65ec62p-3))
    let (r, rLow) = fmaInParts(slope, pieces.u, pieces.coefficient(SIMD8(
      0x1.a6297ep-3, 0x1.20b7ecp-3, 0x1.84c2dcp-4, 0x1.085aa4p-4,
      0x1.693feep-5, 0x1.fb95b4p-6, 0x1.aa57dp-2, 0x1.347bdp-2)))
    let rest = fma(r, less1, rLow)
    if hasFMA { return fma(t, r, multiply(t, rest)) }
    let (tail, tailLow) = product(t, r)
    return tail + fma(t, rest, tailLow)
  }

  /// R within 2^-18.
  @inline(__always)
  static func geluRemains(_ t: SIMD16<Float>) -> SIMD16<Float> {
    let pieces = Pieces(t, centers: SIMD8(
      0x1.81p+0, 0x1.3fp+1, 0x1.ffp+1, 0x1.7fp+2,
      0x1.22p+3, 0x1.992666p+3, 0x1.08p-2, 0x1.81p-1))
    var r = pieces.coefficient(SIMD8(
      -0x1.541ddp-10, -0x1.12f3c8p-12, -0x1.4a93a6p-15, -0x1.690978p-18,
      -0x1.51f4f8p-21, -0x1.620e9ap-24, -0x1.ef5a5cp-7, -0x1.5622ep-8))
    r = pieces.then(r, SIMD8(
      0x1.14f034p-8, 0x1.13a7eep-10, 0x1.ae9ddap-13, 0x1.39d09ap-15,
      0x1.8a30dp-18, 0x1.26f29cp-20, 0x1.30a6cp-5, 0x1.da451ap-7))
    r = pieces.then(r, SIMD8(
      -0x1.974a64p-7, -0x1.fa66cep-9, -0x1.f9b2e4p-11, -0x1.fe90ep-13,
      -0x1.b93da6p-15, -0x1.d80a4cp-17, -0x1.5483d6p-4, -0x1.2b96dcp-5))
    r = pieces.then(r, SIMD8(
      0x1.1ef238p-5, 0x1.c21b5p-7, 0x1.2f0e02p-8, 0x1.a3cc0ep-10,
      0x1.05e19cp-11, 0x1.82218ep-13, 0x1.584b44p-3, 0x1.5b12dcp-4))
    r = pieces.then(r, SIMD8(
      -0x1.70a0a6p-4, -0x1.776cp-5, -0x1.5e27c4p-6, -0x1.520b14p-7,
      -0x1.335f52p-8, -0x1.3a28a6p-9, -0x1.2bd1b4p-2, -0x1.6332aep-3))
    return pieces.then(r, SIMD8(
      0x1.a4b7d6p-3, 0x1.222d9cp-3, 0x1.8363c2p-4, 0x1.09feacp-4,
      0x1.64622p-5, 0x1.fc22f4p-6, 0x1.a59db4p-2, 0x1.331742p-2))
  }
}

extension Double {
  /// By one series: R(t) is S(v) / (t + c) with v = t / (t + c). v is rounded, and the tail v S(v) changes (1 - v)
  /// times as much as v.
  @inline(__always)
  static func geluTail(_ t: SIMD16<Double>, _ less1: SIMD16<Double>) -> SIMD16<Double> {
    let c = splat(4)
    let d = t + c, dLow = t - (d - c)
    let inverse = divide(splat(1), d)
    let v = t * inverse
    let rest = fma(negate(v), dLow, fma(negate(v), d, t))
    let (s, sLow) = geluSeries(v - splat(0x1.b8p-2))
    let (tail, tailLow) = product(v, s)
    let low = fma(rest * inverse, s - tail, fma(v, sLow, tailLow))
    return tail + fma(tail, less1, fma(low, less1, low))
  }

  /// S in two parts; u is v from the center.
  @inline(__always)
  private static func geluSeries(_ u: SIMD16<Double>) -> (SIMD16<Double>, SIMD16<Double>) {
    // The higher powers as two series in u^2, which take half of the time.
    let square = u * u
    var even = line(square, 0x1.b0d8b483176e5p-7, -0x1.aa73cbee632cep-8)
    even = fma(even, square, splat(-0x1.bf54f7b040151p-7))
    even = fma(even, square, splat(0x1.be0599b4ec1edp-8))
    even = fma(even, square, splat(0x1.9afe4bd860239p-8))
    even = fma(even, square, splat(-0x1.9e179bbe5ec2bp-6))
    even = fma(even, square, splat(0x1.b2af09533107dp-5))
    even = fma(even, square, splat(-0x1.93054de7e058cp-4))
    even = fma(even, square, splat(0x1.5a62714d61b1p-3))
    even = fma(even, square, splat(-0x1.0374275baf40dp-3))
    even = fma(even, square, splat(-0x1.c62fbc6caece6p+0))
    var odd = line(square, -0x1.d3bf6dab1b71dp-10, 0x1.ec46c31ee715p-11)
    odd = fma(odd, square, splat(0x1.bf82f155c04f4p-8))
    odd = fma(odd, square, splat(-0x1.04cc2d7ca3bdcp-6))
    odd = fma(odd, square, splat(0x1.9a72f08063a76p-6))
    odd = fma(odd, square, splat(-0x1.05f9de4f56edbp-5))
    odd = fma(odd, square, splat(0x1.39a52046e8952p-5))
    odd = fma(odd, square, splat(-0x1.ac06303e25306p-5))
    odd = fma(odd, square, splat(0x1.ac61931542effp-4))
    odd = fma(odd, square, splat(-0x1.44f190017c613p-2))
    odd = fma(odd, square, splat(0x1.083e5adbd28dfp+0))
    let high = fma(fma(odd, u, even), u, splat(0x1.e48947cf43d5bp+0))
    let (slope, slopeLow) = fmaInParts(high, u, splat(-0x1.7501e2731946ep+0))
    let (s, sLow) = fmaInParts(slope, u, splat(0x1.b2ac13c7eba48p-1))
    return (s, fma(slopeLow, u, sLow))
  }
}
