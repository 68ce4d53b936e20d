// What methods differ in beside their view: said once for functions, gradients and plans.

import CNormKit
import NormKitFloor

extension nk_job {
  /// Nothing is formed of x: given mean and variance standardize it, 0 and 1 where they are absent.
  mutating func useGivenVariance() {
    statistic = Int32(NK_GIVEN)
    source = Int32(NK_FROM_VARIANCE)
  }

  /// No mean is subtracted.
  mutating func useMeanSquare(onePlusGamma: Int32) {
    statistic = Int32(NK_MEAN_SQUARE)
    one_plus_gamma = onePlusGamma
  }

  /// A norm divides, which epsilon meets by `rule`.
  mutating func useNorm(_ norm: Int32, rule: Int, epsilon: Double) {
    statistic = norm
    self.rule = Int32(rule)
    spread_kind = Int32(NK_NORM)
    self.epsilon = epsilon
  }

  /// How statistics are folded into running ones.
  mutating func useMomentum(_ momentum: Double, _ runningVarianceRule: Int32) {
    self.momentum = momentum
    running_correction = runningVarianceRule == Int32(NORMKIT_RUNNING_UNBIASED) ? 1 : 0
  }
}

/// Checks the choices of batch normalization in training.
func requireRunning(_ momentum: Double, _ runningVarianceRule: Int32) throws(Refusal) {
  let isUnbiased = runningVarianceRule == Int32(NORMKIT_RUNNING_UNBIASED)
  let isBiased = runningVarianceRule == Int32(NORMKIT_RUNNING_BIASED)
  try require(isUnbiased || isBiased, NORMKIT_ERROR_RUNNING_VARIANCE)
  try require(momentum >= 0 && momentum <= 1, NORMKIT_ERROR_MOMENTUM)
}

extension Channels {
  /// A number of groups that divides the channels.
  func groupCount(_ groups: Int64) throws(Refusal) -> Int {
    try require(groups >= 1 && channels % Int(groups) == 0, NORMKIT_ERROR_GROUPS)
    return Int(groups)
  }
}
