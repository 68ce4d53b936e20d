// Where an index over nested axes stands in memory.

import NormKitFloor

struct Offset {
  var x: Int
  var y: Int
  var dx: Int
}

extension nk_job {
  /// Offsets, in elements, of an outer kept step. Nearly always there is one axis; more are decoded digit by digit.
  @inline(__always)
  func keptOffset(_ index: Int) -> Offset {
    if kept.count > 1 { return decodeKept(index) }
    return kept.axis.0.offset(index)
  }

  /// Whether one set begins as far from the next as any other.
  @inline(__always) var areEvenlySpaced: Bool { lanes == 1 && kept.count <= 1 }

  /// The same for an outer reduced step.
  @inline(__always)
  func reducedOffset(_ index: Int) -> Offset {
    if reduced.count > 1 { return decodeReduced(index) }
    return reduced.axis.0.offset(index)
  }

  /// How far one outer reduced step is from the next, but for where an outer axis goes on.
  @inline(__always) var reducedStep: Offset { reduced.innermost.offset(1) }

  /// How many outer reduced steps from `index` on are that far from each other, at least.
  @inline(__always)
  func evenSteps(from index: Int) -> Int {
    if reduced.count <= 1 { return Int(reduced.extent) &- index }
    let inner = Int(reduced.innermost.extent)
    return inner &- index % inner
  }

  /// Where the elements of set `s` begin.
  @inline(__always)
  func setOffset(_ s: Int) -> Offset {
    let outer = lanes == 1 ? s : s / Int(lanes), inner = (s &- outer &* Int(lanes)) &* Int(run)
    let offset = keptOffset(outer)
    return Offset(x: offset.x &+ inner, y: offset.y &+ inner, dx: offset.dx &+ inner)
  }

  @inline(never) private func decodeKept(_ index: Int) -> Offset { kept.decode(index) }
  @inline(never) private func decodeReduced(_ index: Int) -> Offset { reduced.decode(index) }
}

extension nk_axes {
  /// The last axis, whose index changes fastest.
  @inline(__always)
  fileprivate var innermost: nk_axis { count > 3 ? axis.3 : count > 2 ? axis.2 : count > 1 ? axis.1 : axis.0 }

  @inline(__always)
  fileprivate func decode(_ index: Int) -> Offset {
    var rest = index
    var offset = Offset(x: 0, y: 0, dx: 0)
    if count > 3 { axis.3.take(&rest, &offset) }
    if count > 2 { axis.2.take(&rest, &offset) }
    axis.1.take(&rest, &offset)
    axis.0.take(&rest, &offset)
    return offset
  }
}

extension nk_axis {
  @inline(__always)
  fileprivate func offset(_ index: Int) -> Offset {
    Offset(x: index &* Int(x_stride), y: index &* Int(y_stride), dx: index &* Int(dx_stride))
  }

  /// Takes the last digit off `index`.
  @inline(__always)
  fileprivate func take(_ index: inout Int, _ offset: inout Offset) {
    let digit = index % Int(extent)
    index = index / Int(extent)
    offset.x &+= digit &* Int(x_stride)
    offset.y &+= digit &* Int(y_stride)
    offset.dx &+= digit &* Int(dx_stride)
  }
}
