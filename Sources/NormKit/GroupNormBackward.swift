// Backward of group and instance normalization.

import CNormKit
import NormKitFloor

@_cdecl("normkit_instance_norm_backward") @implementation
public func normkit_instance_norm_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!, _ dy_stride: Int64,
  _ gamma: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!, _ epsilon: Double,
  _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    let data = try Channels(layout, samples, channels, positions, strides)
    var request = try data.backward(types, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate)
    try request.saved(mean, rstd)
    var view = data.groupsView(data.channels)
    try request.runBackward(&view, sets: try product(data.samples, data.channels))
  }
}

@_cdecl("normkit_group_norm_backward") @implementation
public func normkit_group_norm_backward(
  _ dtype: Int32, _ parameter_dtype: Int32, _ layout: Int32, _ samples: Int64, _ channels: Int64,
  _ positions: Int64, _ groups: Int64, _ x: UnsafeRawPointer!, _ x_stride: Int64, _ dy: UnsafeRawPointer!,
  _ dy_stride: Int64, _ gamma: UnsafeRawPointer!, _ mean: UnsafeRawPointer!, _ rstd: UnsafeRawPointer!,
  _ epsilon: Double, _ dx: UnsafeMutableRawPointer!, _ dx_stride: Int64, _ dgamma: UnsafeMutableRawPointer!,
  _ dbeta: UnsafeMutableRawPointer!, _ accumulate: Int32
) -> Int32 {
  statusOf { () throws(Refusal) in
    let types = try Types(dtype, parameter_dtype)
    try requireEpsilon(epsilon)
    let strides = RowStrides(x_stride, dy: dy_stride, dx: dx_stride)
    let data = try Channels(layout, samples, channels, positions, strides)
    let groups = try data.groupCount(groups)
    var request = try data.backward(types, x, dy, gamma, epsilon, dx, dgamma, dbeta, accumulate)
    try request.saved(mean, rstd)
    var view = data.groupsView(groups)
    try request.runBackward(&view, sets: try product(data.samples, groups))
  }
}
