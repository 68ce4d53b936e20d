// The header's choices, checked.

import CNormKit
import NormKitFloor

/// How data and parameters are stored.
struct Types {
  let data: Int32
  let parameter: Int32

  init(_ data: Int32, _ parameter: Int32) throws(Refusal) {
    let isHalf = data == Int32(NORMKIT_F16) || data == Int32(NORMKIT_BF16)
    try require(isHalf || data == Int32(NORMKIT_F32) || data == Int32(NORMKIT_F64), NORMKIT_ERROR_DTYPE)
    try require(
      parameter == data || isHalf && parameter == Int32(NORMKIT_F32), NORMKIT_ERROR_PARAMETER_DTYPE)
    self.data = data
    self.parameter = parameter
  }

  /// For functions without parameters.
  init(_ data: Int32) throws(Refusal) { try self.init(data, data) }

  /// Bytes of an element of x and y, of gamma and beta, and of statistics.
  var dataSize: Int { size(data) }
  var parameterSize: Int { size(parameter) }
  var statisticsSize: Int { data == Int32(NORMKIT_F64) ? 8 : 4 }

  /// Whether data are f32 or f64, and not halves.
  var isWhole: Bool { data == Int32(NORMKIT_F32) || data == Int32(NORMKIT_F64) }

  /// Entry `index` of an array of statistics; such arrays need not be aligned.
  func get(_ p: UnsafeRawPointer, _ index: Int) -> Double {
    if statisticsSize == 8 { return p.loadUnaligned(fromByteOffset: index &* 8, as: Double.self) }
    return Double(p.loadUnaligned(fromByteOffset: index &* 4, as: Float.self))
  }

  /// Writes such an entry, if the array is wanted.
  func put(_ value: Double, to p: UnsafeMutableRawPointer?, _ index: Int) {
    guard let p else { return }
    if statisticsSize == 8 {
      p.storeBytes(of: value, toByteOffset: index &* 8, as: Double.self)
    } else {
      p.storeBytes(of: Float(value), toByteOffset: index &* 4, as: Float.self)
    }
  }
}

/// Bytes of an element.
func size(_ dtype: Int32) -> Int {
  switch Int(dtype) {
  case NORMKIT_F64: 8
  case NORMKIT_F32: 4
  case NORMKIT_I8, NORMKIT_U8: 1
  default: 2
  }
}

/// An extent: not negative, and not larger than what can be addressed, also where another extent is 0, for there may
/// be a gradient of as many parameters to write.
@inline(__always)
func extent(_ value: Int64, _ status: Int) throws(Refusal) -> Int {
  try require(value >= 0, status)
  return try product(Int(value), 1)
}

func requireEpsilon(_ epsilon: Double) throws(Refusal) {
  try require(epsilon >= 0 && epsilon < .infinity, NORMKIT_ERROR_EPSILON)
}

/// The largest number of bytes that a buffer may span. Behind the boundary, products of sizes with small numbers
/// cannot overflow.
private let largestSpan = Int(1) << 60

/// The product of two sizes, in elements of at most eight bytes.
@inline(__always)
func product(_ a: Int, _ b: Int) throws(Refusal) -> Int {
  let (value, overflow) = a.multipliedReportingOverflow(by: b)
  try require(!overflow && value <= largestSpan / 8, NORMKIT_ERROR_TOO_LARGE)
  return value
}
