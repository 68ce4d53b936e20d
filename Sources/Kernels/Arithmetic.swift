// The type that sums are formed in: Float, or Double where Float cannot hold them.

import NormKitFloor

// Ordinary Swift, in which debug builds are made, wants the coding that comes with SIMDScalar to be named; Embedded
// Swift has none.
#if hasFeature(Embedded)
  typealias Coding = Any
#else
  typealias Coding = Codable
#endif

protocol Arithmetic: ActivationArithmetic {
  static func splat(_ value: Self) -> SIMD16<Self>
  static func add(_ a: SIMD16<Self>, _ b: SIMD16<Self>) -> SIMD16<Self>
  static func subtract(_ a: SIMD16<Self>, _ b: SIMD16<Self>) -> SIMD16<Self>
  static func multiply(_ a: SIMD16<Self>, _ b: SIMD16<Self>) -> SIMD16<Self>
  /// a * b + c, rounded once (twice on x86-64-v2).
  static func fma(_ a: SIMD16<Self>, _ b: SIMD16<Self>, _ c: SIMD16<Self>) -> SIMD16<Self>
  static func magnitude(_ v: SIMD16<Self>) -> SIMD16<Self>
  /// Lane by lane the larger of two magnitudes; NaN wins.
  static func larger(_ a: SIMD16<Self>, _ b: SIMD16<Self>) -> SIMD16<Self>
  /// 1 or -1 with the sign of each lane, 0 for zeros, NaN for NaN.
  static func sign(_ v: SIMD16<Self>) -> SIMD16<Self>
  /// 1 where the magnitude of `v` is at least `magnitude`, 0 elsewhere.
  static func reaches(_ v: SIMD16<Self>, _ magnitude: SIMD16<Self>) -> SIMD16<Self>
  static func sum(_ v: SIMD16<Self>) -> Self
  static func widen(_ v: SIMD16<Self>) -> SIMD16<Double>
  static func narrow(_ v: SIMD16<Double>) -> SIMD16<Self>
  /// The first `count` lanes of `v`, then lanes of `fill`.
  static func fill(_ v: SIMD16<Self>, _ count: Int, _ fill: SIMD16<Self>) -> SIMD16<Self>
  /// Brings sixteen values to the order of lanes that `MixedBF16` has.
  static func mix(_ values: UnsafeMutablePointer<Self>)
  /// The same for thirty-two values and those of a pair.
  static func mixPair(_ values: UnsafeMutablePointer<Self>)
  /// Brings the lanes of a pair of `MixedBF16` back to the order of elements.
  static func unmix(_ first: inout SIMD16<Self>, _ second: inout SIMD16<Self>)
  static func load(_ p: UnsafeRawPointer, _ index: Int) -> SIMD16<Self>
  static func store(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: SIMD16<Self>)
  static func narrow(_ value: Double) -> Self
  static func widen(_ value: Self) -> Double

  /// Mean squares below this may have lost digits to underflow, so that sums have to be formed in Double.
  static var leastMeanSquare: Double { get }
  /// Factors outside of this range cannot be applied in this type without overflow.
  static var factors: ClosedRange<Double> { get }
}

/// A vector after a change.
@inline(__always)
func changed<A: Arithmetic>(_ v: SIMD16<A>, _ change: (inout SIMD16<A>) -> Void) -> SIMD16<A> {
  var v = v
  change(&v)
  return v
}

extension Float: Arithmetic {
  @inline(__always) static func splat(_ value: Float) -> SIMD16<Float> { SIMD16(repeating: value) }
  @inline(__always) static func add(_ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
    changed(a) { nk_add_f32(&$0, b) }
  }
  @inline(__always) static func subtract(_ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
    changed(a) { nk_subtract_f32(&$0, b) }
  }
  @inline(__always) static func multiply(_ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
    changed(a) { nk_multiply_f32(&$0, b) }
  }
  @inline(__always) static func fma(_ a: SIMD16<Float>, _ b: SIMD16<Float>, _ c: SIMD16<Float>) -> SIMD16<Float> {
    hasFMA ? c.addingProduct(a, b) : add(multiply(a, b), c)
  }
  @inline(__always) static func magnitude(_ v: SIMD16<Float>) -> SIMD16<Float> { changed(v) { nk_abs_f32(&$0) } }
  @inline(__always) static func larger(_ a: SIMD16<Float>, _ b: SIMD16<Float>) -> SIMD16<Float> {
    changed(a) { nk_max_f32(&$0, b) }
  }
  @inline(__always) static func sign(_ v: SIMD16<Float>) -> SIMD16<Float> { changed(v) { nk_sign_f32(&$0) } }
  @inline(__always) static func reaches(_ v: SIMD16<Float>, _ magnitude: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_reaches_f32(&$0, magnitude) }
  }
  @inline(__always) static func sum(_ v: SIMD16<Float>) -> Float { nk_sum_f32(v) }
  @inline(__always) static func widen(_ v: SIMD16<Float>) -> SIMD16<Double> {
    changed(SIMD16<Double>()) { nk_widen(v, &$0) }
  }
  @inline(__always) static func narrow(_ v: SIMD16<Double>) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_narrow(v, &$0) }
  }
  @inline(__always) static func fill(_ v: SIMD16<Float>, _ count: Int, _ fill: SIMD16<Float>) -> SIMD16<Float> {
    changed(v) { nk_fill_f32(&$0, Int64(count), fill) }
  }
  @inline(__always) static func mix(_ values: UnsafeMutablePointer<Float>) { nk_mix_f32(values) }
  @inline(__always) static func mixPair(_ values: UnsafeMutablePointer<Float>) { nk_mix_two_f32(values) }
  @inline(__always) static func unmix(_ first: inout SIMD16<Float>, _ second: inout SIMD16<Float>) {
    nk_unmix_f32(&first, &second)
  }
  @inline(__always) static func load(_ p: UnsafeRawPointer, _ index: Int) -> SIMD16<Float> {
    p.loadUnaligned(fromByteOffset: index &* 4, as: SIMD16<Float>.self)
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: SIMD16<Float>) {
    p.storeBytes(of: v, toByteOffset: index &* 4, as: SIMD16<Float>.self)
  }
  @inline(__always) static func narrow(_ value: Double) -> Float { Float(value) }
  @inline(__always) static func widen(_ value: Float) -> Double { Double(value) }
  @inline(__always) static var leastMeanSquare: Double { 0x1p-96 }
  @inline(__always) static var factors: ClosedRange<Double> { 0x1p-100...0x1p100 }
}

extension Double: Arithmetic {
  @inline(__always) static func splat(_ value: Double) -> SIMD16<Double> { SIMD16(repeating: value) }
  @inline(__always) static func add(_ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
    changed(a) { nk_add_f64(&$0, b) }
  }
  @inline(__always) static func subtract(_ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
    changed(a) { nk_subtract_f64(&$0, b) }
  }
  @inline(__always) static func multiply(_ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
    changed(a) { nk_multiply_f64(&$0, b) }
  }
  @inline(__always) static func fma(_ a: SIMD16<Double>, _ b: SIMD16<Double>, _ c: SIMD16<Double>) -> SIMD16<Double> {
    hasFMA ? c.addingProduct(a, b) : add(multiply(a, b), c)
  }
  @inline(__always) static func magnitude(_ v: SIMD16<Double>) -> SIMD16<Double> { changed(v) { nk_abs_f64(&$0) } }
  @inline(__always) static func larger(_ a: SIMD16<Double>, _ b: SIMD16<Double>) -> SIMD16<Double> {
    changed(a) { nk_max_f64(&$0, b) }
  }
  @inline(__always) static func sign(_ v: SIMD16<Double>) -> SIMD16<Double> { changed(v) { nk_sign_f64(&$0) } }
  @inline(__always) static func reaches(_ v: SIMD16<Double>, _ magnitude: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_reaches_f64(&$0, magnitude) }
  }
  @inline(__always) static func sum(_ v: SIMD16<Double>) -> Double { nk_sum_f64(v) }
  @inline(__always) static func widen(_ v: SIMD16<Double>) -> SIMD16<Double> { v }
  @inline(__always) static func narrow(_ v: SIMD16<Double>) -> SIMD16<Double> { v }
  @inline(__always) static func fill(_ v: SIMD16<Double>, _ count: Int, _ fill: SIMD16<Double>) -> SIMD16<Double> {
    changed(v) { nk_fill_f64(&$0, Int64(count), fill) }
  }
  @inline(__always) static func mix(_ values: UnsafeMutablePointer<Double>) { nk_mix_f64(values) }
  @inline(__always) static func mixPair(_ values: UnsafeMutablePointer<Double>) { nk_mix_two_f64(values) }
  @inline(__always) static func unmix(_ first: inout SIMD16<Double>, _ second: inout SIMD16<Double>) {
    nk_unmix_f64(&first, &second)
  }
  @inline(__always) static func load(_ p: UnsafeRawPointer, _ index: Int) -> SIMD16<Double> {
    p.loadUnaligned(fromByteOffset: index &* 8, as: SIMD16<Double>.self)
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: SIMD16<Double>) {
    p.storeBytes(of: v, toByteOffset: index &* 8, as: SIMD16<Double>.self)
  }
  @inline(__always) static func narrow(_ value: Double) -> Double { value }
  @inline(__always) static func widen(_ value: Double) -> Double { value }
  @inline(__always) static var leastMeanSquare: Double { 0 }
  @inline(__always) static var factors: ClosedRange<Double> { 0...Double.infinity }
}

/// Not constants in the eyes of the compiler, which would warn of branches that are not taken.
@inline(__always) var hasWideRegisters: Bool { Int32(truncatingIfNeeded: NK_WIDE_REGISTERS) == 1 }
@inline(__always) var hasFourVectors: Bool { Int32(truncatingIfNeeded: NK_FOUR_VECTORS) == 1 }
@inline(__always) var hasFMA: Bool { Int32(truncatingIfNeeded: NK_HAS_FMA) == 1 }

extension Arithmetic {
  /// Adds lanes to sums in Double. In narrow registers this is much code, and called.
  @inline(__always)
  static func add(_ lanes: SIMD16<Self>, to sums: inout SIMD16<Double>) {
    if hasWideRegisters { sums = sums + widen(lanes) } else { addByCall(lanes, to: &sums) }
  }

  @inline(never)
  private static func addByCall(_ lanes: SIMD16<Self>, to sums: inout SIMD16<Double>) { sums = sums + widen(lanes) }

  /// The same for sums in memory.
  @inline(__always)
  static func add(_ lanes: SIMD16<Self>, to sums: UnsafeMutablePointer<Double>, _ index: Int) {
    let p = UnsafeMutableRawPointer(sums)
    var total = Double.load(p, index)
    add(lanes, to: &total)
    Double.store(p, index, total)
  }
}

// The operators of kernels: one vector instruction each, and not the standard library's loop over lanes.

@inline(__always) func + <A: Arithmetic>(a: SIMD16<A>, b: SIMD16<A>) -> SIMD16<A> { A.add(a, b) }
@inline(__always) func - <A: Arithmetic>(a: SIMD16<A>, b: SIMD16<A>) -> SIMD16<A> { A.subtract(a, b) }
@inline(__always) func * <A: Arithmetic>(a: SIMD16<A>, b: SIMD16<A>) -> SIMD16<A> { A.multiply(a, b) }
