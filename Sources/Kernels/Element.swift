// How an element is stored. A new dtype is a new type here, and a case in Entry.swift.

import NormKitFloor

protocol Element {
  /// The type that its sums are formed in, and that its statistics have.
  associatedtype Natural: Arithmetic
  /// The same elements in lanes of another order, if one is cheaper: for what is done to all lanes alike.
  associatedtype Mixed: Element = Self where Mixed.Natural == Natural
  static var size: Int { get }
  static func load(_ p: UnsafeRawPointer) -> SIMD16<Natural>
  static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Natural>)
  /// Past the caches, to a multiple of 64 bytes, of 32 for halves.
  static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Natural>)
  /// The first `count` lanes, 0 < count <= 16; the others are 0. Reads no byte of them.
  static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Natural>
  /// Writes the first `count` lanes, 0 < count <= 16, and no byte of the others.
  static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Natural>)
  /// Element `index`.
  static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double
  /// Thirty-two elements that are 1, and that are -0.
  static var ones: UnsafeRawPointer { get }
  static var negativeZeros: UnsafeRawPointer { get }
  /// Whether thirty-two elements are cheaper to take together, in the order of `loadPair`.
  static var prefersPairs: Bool { get }
  static func loadPair(_ p: UnsafeRawPointer) -> Pair<Natural>
  static func storePair(_ p: UnsafeMutableRawPointer, _ v: Pair<Natural>)
  /// Past the caches, to a multiple of 64 bytes, also of halves.
  static func streamPair(_ p: UnsafeMutableRawPointer, _ v: Pair<Natural>)
  /// Brings values of `count` elements to the order in which `load` gives these, sixteen at a time, or `loadPair`.
  static func arrange<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ count: Int)
}

/// The lanes of thirty-two elements.
struct Pair<A: Arithmetic> {
  var first, second: SIMD16<A>
}

extension Element {
  @inline(__always) static var prefersPairs: Bool { false }
  @inline(__always) static func loadPair(_ p: UnsafeRawPointer) -> Pair<Natural> {
    Pair(first: load(p), second: load(p + 16 &* size))
  }
  @inline(__always) static func storePair(_ p: UnsafeMutableRawPointer, _ v: Pair<Natural>) {
    store(p, v.first)
    store(p + 16 &* size, v.second)
  }
  @inline(__always) static func streamPair(_ p: UnsafeMutableRawPointer, _ v: Pair<Natural>) {
    stream(p, v.first)
    stream(p + 16 &* size, v.second)
  }
  @inline(__always) static func arrange<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ count: Int) {}

  /// What is at least `least`, as y has to be; see `nk_job.rectifies`. Halves, of which pairs are, never are.
  @inline(__always)
  static func rectified(_ y: SIMD16<Natural>, _ least: Natural) -> SIMD16<Natural> {
    size < 4 ? y : Natural.atLeast(y, Natural.splat(least))
  }

  /// Sixteen elements from `index` on, as the type `A` of a computation.
  @inline(__always)
  static func load<A: Arithmetic>(_ p: UnsafeRawPointer, _ index: Int, as: A.Type) -> SIMD16<A> {
    A.narrow(Natural.widen(load(p + index &* size)))
  }

  @inline(__always)
  static func load<A: Arithmetic>(_ p: UnsafeRawPointer, _ index: Int, count: Int, as: A.Type) -> SIMD16<A> {
    A.narrow(Natural.widen(load(p + index &* size, count: count)))
  }

  @inline(__always)
  static func store<A: Arithmetic>(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: SIMD16<A>) {
    store(p + index &* size, Natural.narrow(A.widen(v)))
  }

  @inline(__always)
  static func store<A: Arithmetic>(_ p: UnsafeMutableRawPointer, _ index: Int, count: Int, _ v: SIMD16<A>) {
    store(p + index &* size, count: count, Natural.narrow(A.widen(v)))
  }

  /// Sixteen elements from `index` on, past the caches if `streams`.
  @inline(__always)
  static func store(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: SIMD16<Natural>, streams: Bool) {
    if _slowPath(streams) { stream(p + index &* size, v) } else { store(p + index &* size, v) }
  }

  @inline(__always)
  static func storePair(_ p: UnsafeMutableRawPointer, _ index: Int, _ v: Pair<Natural>, streams: Bool) {
    if _slowPath(streams) { streamPair(p + index &* size, v) } else { storePair(p + index &* size, v) }
  }

  /// The first `count` of sixteen elements from `index` on, which may be all; the other lanes are 0.
  @inline(__always)
  static func load<A: Arithmetic>(_ p: UnsafeRawPointer, _ index: Int, upTo count: Int, as: A.Type) -> SIMD16<A> {
    count == 16 ? load(p, index, as: A.self) : load(p, index, count: count, as: A.self)
  }

  @inline(__always)
  static func store<A: Arithmetic>(_ p: UnsafeMutableRawPointer, _ index: Int, upTo count: Int, _ v: SIMD16<A>) {
    if count == 16 { store(p, index, v) } else { store(p, index, count: count, v) }
  }

  @inline(__always)
  static func store(
    _ p: UnsafeMutableRawPointer, _ index: Int, upTo count: Int, _ v: SIMD16<Natural>, streams: Bool
  ) {
    if count == 16 { store(p, index, v, streams: streams) } else { store(p, index, count: count, v) }
  }
}

enum F32: Element {
  typealias Natural = Float
  @inline(__always) static var size: Int { 4 }
  @inline(__always) static var ones: UnsafeRawPointer { nk_ones_f32() }
  @inline(__always) static var negativeZeros: UnsafeRawPointer { nk_zeros_f32() }
  @inline(__always) static func load(_ p: UnsafeRawPointer) -> SIMD16<Float> { Float.load(p, 0) }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { Float.store(p, 0, v) }
  @inline(__always) static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_stream_f32(p, v) }
  @inline(__always) static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_part_f32(p, Int64(count), &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Float>) {
    nk_store_part_f32(p, Int64(count), v)
  }
  @inline(__always) static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double {
    Double(p.loadUnaligned(fromByteOffset: index &* size, as: Float.self))
  }
}

enum F64: Element {
  typealias Natural = Double
  @inline(__always) static var size: Int { 8 }
  @inline(__always) static var ones: UnsafeRawPointer { nk_ones_f64() }
  @inline(__always) static var negativeZeros: UnsafeRawPointer { nk_zeros_f64() }
  @inline(__always) static func load(_ p: UnsafeRawPointer) -> SIMD16<Double> { Double.load(p, 0) }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Double>) { Double.store(p, 0, v) }
  @inline(__always) static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Double>) { nk_stream_f64(p, v) }
  @inline(__always) static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Double> {
    changed(SIMD16<Double>()) { nk_load_part_f64(p, Int64(count), &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Double>) {
    nk_store_part_f64(p, Int64(count), v)
  }
  @inline(__always) static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double {
    p.loadUnaligned(fromByteOffset: index &* size, as: Double.self)
  }
}

enum F16: Element {
  typealias Natural = Float
  @inline(__always) static var size: Int { 2 }
  @inline(__always) static var ones: UnsafeRawPointer { nk_ones_f16() }
  @inline(__always) static var negativeZeros: UnsafeRawPointer { nk_zeros_f16() }
  @inline(__always) static func load(_ p: UnsafeRawPointer) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_f16(p, &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_store_f16(p, v) }
  @inline(__always) static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_stream_f16(p, v) }
  @inline(__always) static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_part_f16(p, Int64(count), &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Float>) {
    nk_store_part_f16(p, Int64(count), v)
  }
  @inline(__always) static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double {
    Double(nk_value_f16(p + index &* size))
  }
}

enum BF16: Element {
  typealias Natural = Float
  typealias Mixed = MixedBF16
  @inline(__always) static var size: Int { 2 }
  @inline(__always) static var ones: UnsafeRawPointer { nk_ones_bf16() }
  @inline(__always) static var negativeZeros: UnsafeRawPointer { nk_zeros_bf16() }
  @inline(__always) static func load(_ p: UnsafeRawPointer) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_bf16(p, &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_store_bf16(p, v) }
  @inline(__always) static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_stream_bf16(p, v) }
  @inline(__always) static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_part_bf16(p, Int64(count), &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Float>) {
    nk_store_part_bf16(p, Int64(count), v)
  }
  // Rounded together, by one instruction where there is one, and stored as a whole line.
  @inline(__always) static var prefersPairs: Bool { hasWideRegisters }
  @inline(__always) static func storePair(_ p: UnsafeMutableRawPointer, _ v: Pair<Float>) {
    nk_store_pair_bf16(p, v.first, v.second)
  }
  @inline(__always) static func streamPair(_ p: UnsafeMutableRawPointer, _ v: Pair<Float>) {
    nk_stream_pair_bf16(p, v.first, v.second)
  }
  @inline(__always) static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double {
    Double(Float(bitPattern: UInt32(p.loadUnaligned(fromByteOffset: index &* size, as: UInt16.self)) << 16))
  }
}

/// BF16 with the elements of even indices first, then those of odd ones: of a vector, or of a pair of them where
/// registers are wide.
enum MixedBF16: Element {
  typealias Natural = Float
  @inline(__always) static var size: Int { 2 }
  @inline(__always) static var ones: UnsafeRawPointer { BF16.ones }
  @inline(__always) static var negativeZeros: UnsafeRawPointer { BF16.negativeZeros }
  @inline(__always) static func load(_ p: UnsafeRawPointer) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_mixed_bf16(p, &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_store_mixed_bf16(p, v) }
  @inline(__always) static func stream(_ p: UnsafeMutableRawPointer, _ v: SIMD16<Float>) { nk_stream_mixed_bf16(p, v) }
  @inline(__always) static func load(_ p: UnsafeRawPointer, count: Int) -> SIMD16<Float> {
    changed(SIMD16<Float>()) { nk_load_part_mixed_bf16(p, Int64(count), &$0) }
  }
  @inline(__always) static func store(_ p: UnsafeMutableRawPointer, count: Int, _ v: SIMD16<Float>) {
    nk_store_part_mixed_bf16(p, Int64(count), v)
  }
  @inline(__always) static func value(_ p: UnsafeRawPointer, _ index: Int) -> Double { BF16.value(p, index) }
  @inline(__always) static var prefersPairs: Bool { hasWideRegisters }
  @inline(__always) static func loadPair(_ p: UnsafeRawPointer) -> Pair<Float> {
    guard prefersPairs else { return Pair(first: load(p), second: load(p + 16 &* size)) }
    var pair = Pair(first: SIMD16<Float>(), second: SIMD16<Float>())
    nk_load_two_bf16(p, &pair.first, &pair.second)
    return pair
  }
  @inline(__always) static func storePair(_ p: UnsafeMutableRawPointer, _ v: Pair<Float>) {
    nk_store_two_bf16(p, v.first, v.second)
  }
  @inline(__always) static func streamPair(_ p: UnsafeMutableRawPointer, _ v: Pair<Float>) {
    nk_stream_two_bf16(p, v.first, v.second)
  }
  @inline(__always)
  static func arrange<A: Arithmetic>(_ values: UnsafeMutablePointer<A>, _ count: Int) {
    var i = 0
    if prefersPairs {
      while i &+ 32 <= count {
        A.mixPair(values + i)
        i &+= 32
      }
      return
    }
    while i < count {
      A.mix(values + i)
      i &+= 16
    }
  }
}
