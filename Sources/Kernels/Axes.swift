// Where an index over nested axes stands in memory.

import NormKitFloor

struct Offset {
  var x: Int
  var y: Int
}

extension nk_axes {
  /// Offsets, in elements, of step `index`. Nearly always there is one axis; more are decoded digit by digit.
  @inline(__always)
  func offset(_ index: Int) -> Offset {
    if count <= 1 { return Offset(x: index &* Int(axis.0.x_stride), y: index &* Int(axis.0.y_stride)) }
    return decode(index)
  }

  @inline(never)
  private func decode(_ index: Int) -> Offset {
    var rest = index
    var offset = Offset(x: 0, y: 0)
    withUnsafePointer(to: axis) { tuple in
      tuple.withMemoryRebound(to: nk_axis.self, capacity: Int(NK_MAX_AXES)) { axes in
        var i = Int(count)
        while i > 0 {
          i &-= 1
          let digit = rest % Int(axes[i].extent)
          rest = rest / Int(axes[i].extent)
          offset.x &+= digit &* Int(axes[i].x_stride)
          offset.y &+= digit &* Int(axes[i].y_stride)
        }
      }
    }
    return offset
  }
}
