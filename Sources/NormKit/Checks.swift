// Small checks and steps that several methods share.

import CNormKit
import NormKitFloor

/// x and y have to be there if there is an element.
@inline(__always)
func requireData(_ elements: Int, _ x: UnsafeRawPointer?, _ y: UnsafeMutableRawPointer?) throws(Refusal) {
  try require(x != nil || elements == 0, NORMKIT_ERROR_X_NULL)
  try require(y != nil || elements == 0, NORMKIT_ERROR_Y_NULL)
}

/// The same backward. x may be absent where nothing depends on it.
@inline(__always)
func requireGradientData(
  _ elements: Int, _ x: UnsafeRawPointer?, _ dy: UnsafeRawPointer?, needsX: Bool = true
) throws(Refusal) {
  try require(x != nil || elements == 0 || !needsX, NORMKIT_ERROR_X_NULL)
  try require(dy != nil || elements == 0, NORMKIT_ERROR_DY_NULL)
}

/// A choice between no, 0, and yes, 1.
@inline(__always)
func requireFlag(_ flag: Int32, _ status: Int) throws(Refusal) { try require(flag == 0 || flag == 1, status) }

/// What is summed for one of the header's norms.
func normStatistic(_ norm: Int32) throws(Refusal) -> Int32 {
  switch Int(norm) {
  case NORMKIT_L1: return Int32(NK_ABSOLUTE_SUM)
  case NORMKIT_L2: return Int32(NK_SQUARE_SUM)
  case NORMKIT_MAX: return Int32(NK_MAXIMUM)
  default: throw Refusal(NORMKIT_ERROR_NORM)
  }
}

/// How epsilon meets the variance, by one of the header's rules.
func epsilonRule(_ rule: Int32) throws(Refusal) -> Int32 {
  switch Int(rule) {
  case NORMKIT_EPSILON_INSIDE_SQRT: return Int32(NK_INSIDE_SQRT)
  case NORMKIT_EPSILON_OUTSIDE_SQRT: return Int32(NK_ADDED)
  default: throw Refusal(NORMKIT_ERROR_EPSILON_RULE)
  }
}

/// The norms of sets that have no elements.
func zero(_ norms: UnsafeMutableRawPointer, count: Int, _ types: Types) {
  for i in 0..<count &* types.statisticsSize { norms.storeBytes(of: 0, toByteOffset: i, as: UInt8.self) }
}
