// gamma and beta: how a parameter meets the lanes.

import NormKitFloor

extension nk_job {
  /// Whether parameters are of the type of elements, which is `E`. Beside halves they may be F32 instead.
  @inline(__always)
  func hasParameters<E: Element>(of: E.Type) -> Bool { E.self == F64.self || parameter_dtype == dtype }

  /// gamma of parameter `index`, or 1.
  @inline(__always)
  func gammaValue<P: Element>(_: P.Type, _ index: Int) -> Double {
    guard let gamma else { return 1 }
    return one_plus_gamma != 0 ? 1 + P.value(gamma, index) : P.value(gamma, index)
  }

  /// beta of parameter `index`, or 0.
  @inline(__always)
  func betaValue<P: Element>(_: P.Type, _ index: Int) -> Double {
    guard let beta else { return 0 }
    return P.value(beta, index)
  }
}

extension nk_job {
  /// What y is at least. Of halves it is nothing, which `Element.rectified` knows.
  @inline(__always)
  func least<A: Arithmetic>(_: A.Type) -> A { rectifies != 0 ? 0 : -A.infinity }
}

/// Scale and shift of lanes that have a parameter each: `load` fetches the lanes' parameters from memory, whole
/// vectors or the part of one.
protocol LaneParameters {
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A>
  var inAnyForm: AnyForm { get }
}

extension LaneParameters {
  /// Scales and shifts a pair of lanes whose parameters are elements `i` to `i + 31`.
  @inline(__always)
  func applyPair<P: Element, A: Arithmetic>(_: P.Type, _ z: Pair<A>, _ i: Int) -> Pair<A> {
    Pair(
      first: apply(z.first) { A.narrow(P.Natural.widen(P.loadPair($0 + i &* P.size).first)) },
      second: apply(z.second) { A.narrow(P.Natural.widen(P.loadPair($0 + i &* P.size).second)) })
  }
}

struct Scale: LaneParameters {
  let gamma: UnsafeRawPointer
  @inline(__always) var inAnyForm: AnyForm { AnyForm(gamma: gamma, beta: nil, isOnePlus: false) }
  @inline(__always)
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A> {
    z * load(gamma)
  }
}

struct Shift: LaneParameters {
  let beta: UnsafeRawPointer
  @inline(__always) var inAnyForm: AnyForm { AnyForm(gamma: nil, beta: beta, isOnePlus: false) }
  @inline(__always)
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A> {
    z + load(beta)
  }
}

struct ScaleShift: LaneParameters {
  let gamma, beta: UnsafeRawPointer
  @inline(__always) var inAnyForm: AnyForm { AnyForm(gamma: gamma, beta: beta, isOnePlus: false) }
  @inline(__always)
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A> {
    A.fma(z, load(gamma), load(beta))
  }
}

/// Multiplies by 1 + gamma; beta may be absent.
struct OnePlusScale: LaneParameters {
  let gamma: UnsafeRawPointer
  let beta: UnsafeRawPointer?
  @inline(__always) var inAnyForm: AnyForm { AnyForm(gamma: gamma, beta: beta, isOnePlus: true) }
  @inline(__always)
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A> {
    let scale = load(gamma) + A.splat(1)
    guard let beta else { return z * scale }
    return A.fma(z, scale, load(beta))
  }
}

/// Any of these, for what is not done often enough for a copy each.
struct AnyForm: LaneParameters {
  let gamma, beta: UnsafeRawPointer?
  let isOnePlus: Bool
  @inline(__always) var inAnyForm: AnyForm { self }

  @inline(__always)
  func apply<A: Arithmetic>(_ z: SIMD16<A>, _ load: (UnsafeRawPointer) -> SIMD16<A>) -> SIMD16<A> {
    if let gamma {
      if isOnePlus { return OnePlusScale(gamma: gamma, beta: beta).apply(z, load) }
      guard let beta else { return Scale(gamma: gamma).apply(z, load) }
      return ScaleShift(gamma: gamma, beta: beta).apply(z, load)
    }
    guard let beta else { return z }
    return Shift(beta: beta).apply(z, load)
  }
}

/// What is done with scale and shift once their form is known.
protocol ParameterUser {
  func use<L: LaneParameters>(_ parameters: L)
}

extension nk_job {
  /// Hands the form that scale and shift have, for the parameters from `start` on, to `user`. At least one of gamma
  /// and beta is there.
  @inline(__always)
  func chooseParameters<P: Element, U: ParameterUser>(_: P.Type, from start: Int, for user: U) {
    let beta = beta.map { $0 + start &* P.size }
    if !hasFourVectors {
      // What is done with four registers for a vector leaves room to ask for the form each time, which is less code.
      return user.use(AnyForm(gamma: gamma.map { $0 + start &* P.size }, beta: beta, isOnePlus: one_plus_gamma != 0))
    }
    if let gamma = gamma.map({ $0 + start &* P.size }) {
      if one_plus_gamma != 0 {
        user.use(OnePlusScale(gamma: gamma, beta: beta))
      } else if let beta {
        user.use(ScaleShift(gamma: gamma, beta: beta))
      } else {
        user.use(Scale(gamma: gamma))
      }
    } else if let beta {
      user.use(Shift(beta: beta))
    }
  }
}

extension nk_job {
  /// Index in the contiguous tensor of the first element of set `s` in its reduced step `f`.
  @inline(__always)
  func element(_ s: Int, _ f: Int) -> Int {
    let outer = lanes == 1 ? s : s / Int(lanes), lane = s &- outer &* Int(lanes)
    return ((outer &* Int(reduced.extent) &+ f) &* Int(lanes) &+ lane) &* Int(run)
  }

  /// Index of the parameter of the first element of set `s`.
  @inline(__always)
  func firstParameter(_ s: Int) -> Int {
    if parameters == 1 { return 0 }
    return element(s, 0) / Int(segment) % Int(parameters)
  }

  /// The same for set `s`, all of which has one parameter, after that of the set before it.
  @inline(__always)
  func nextParameter(_ previous: Int, _ s: Int) -> Int {
    if segment != run { return firstParameter(s) }
    return previous &+ 1 == Int(parameters) ? 0 : previous &+ 1
  }

  /// Whether `count` lanes from number `lane` on have a parameter each, which are neighbours.
  @inline(__always)
  func areParametersNeighbours(from lane: Int, _ count: Int) -> Bool {
    segment == 1 && lane % Int(parameters) &+ count <= Int(parameters)
  }

  /// Stretches of `count` elements from index `first` on that have one parameter, or, where neighbours have different
  /// ones, neighbouring parameters.
  @inline(__always)
  func forSpans(from first: Int, _ count: Int, _ body: (_ done: Int, _ length: Int, _ parameter: Int) -> Void) {
    let segment = Int(segment), parameters = Int(parameters)
    var parameter = 0, inSegment = first
    if segment == 1 {
      parameter = first < parameters ? first : first % parameters
      inSegment = 0
    } else if first >= segment {
      inSegment = first % segment
      parameter = first / segment % parameters
    }
    var done = 0
    while done < count {
      let length = min(segment == 1 ? parameters &- parameter : segment &- inSegment, count &- done)
      body(done, length, parameter)
      parameter = segment == 1 || parameter &+ 1 == parameters ? 0 : parameter &+ 1
      inSegment = 0
      done &+= length
    }
  }
}
