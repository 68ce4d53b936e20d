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

/// gamma and beta of elements that have their own. In place of one that is absent stands what changes nothing, not even
/// the sign of a zero.
struct ElementParameters<P: Element> {
  typealias N = P.Natural
  private let gamma, beta: UnsafeRawPointer
  /// Bytes from those of one element to those of the next: none where the same stand for all.
  private let gammaStep, betaStep: Int
  /// What is added to gamma.
  private let offset: N

  /// Those from `start` on.
  @inline(__always)
  fileprivate init(_ job: nk_job, from start: Int) {
    gamma = job.gamma.map { $0 + start &* P.size } ?? P.ones
    beta = job.beta.map { $0 + start &* P.size } ?? P.negativeZeros
    gammaStep = job.gamma == nil ? 0 : P.size
    betaStep = job.beta == nil ? 0 : P.size
    offset = job.gamma != nil && job.one_plus_gamma != 0 ? 1 : -0.0
  }

  /// Those of `count` elements from `i` on, sixteen at most.
  @inline(__always)
  func lanes<A: Arithmetic, F: ParameterForm>(_ i: Int, _ count: Int) -> ScaleShift<A, F> {
    lanes(P.load(gamma(F.self, i), 0, upTo: count, as: N.self)) {
      P.load(beta(F.self, i), 0, upTo: count, as: N.self)
    }
  }

  /// Those of elements `i` to `i + 31`, in the order of a pair.
  @inline(__always)
  func pair<A: Arithmetic, F: ParameterForm>(_ i: Int) -> ScaleShiftPair<A, F> {
    let gammas = P.loadPair(gamma(F.self, i))
    return ScaleShiftPair(
      first: lanes(gammas.first) { P.loadPair(beta(F.self, i)).first },
      second: lanes(gammas.second) { P.loadPair(beta(F.self, i)).second })
  }

  @inline(__always)
  private func gamma<F: ParameterForm>(_: F.Type, _ i: Int) -> UnsafeRawPointer {
    gamma + i &* (F.isAny ? gammaStep : P.size)
  }

  @inline(__always)
  private func beta<F: ParameterForm>(_: F.Type, _ i: Int) -> UnsafeRawPointer {
    beta + i &* (F.isAny ? betaStep : P.size)
  }

  @inline(__always)
  private func lanes<A: Arithmetic, F: ParameterForm>(
    _ gammas: SIMD16<N>, _ betas: () -> SIMD16<N>
  ) -> ScaleShift<A, F> {
    ScaleShift(
      scale: A.narrow(N.widen(F.isAny ? gammas + N.splat(offset) : gammas)),
      shift: F.isShifted ? A.narrow(N.widen(betas())) : SIMD16<A>())
  }
}

/// What there is of gamma and beta. A loop is for one form.
protocol ParameterForm {
  static var isShifted: Bool { get }
  static var isAny: Bool { get }
}
enum Scaled: ParameterForm {
  @inline(__always) static var isShifted: Bool { false }
  @inline(__always) static var isAny: Bool { false }
}
enum ScaledAndShifted: ParameterForm {
  @inline(__always) static var isShifted: Bool { true }
  @inline(__always) static var isAny: Bool { false }
}
/// With or without gamma, which may be added to 1.
enum AnyScaled: ParameterForm {
  @inline(__always) static var isShifted: Bool { false }
  @inline(__always) static var isAny: Bool { true }
}
enum AnyForm: ParameterForm {
  @inline(__always) static var isShifted: Bool { true }
  @inline(__always) static var isAny: Bool { true }
}

/// What is done with sixteen lanes that are standardized.
struct ScaleShift<A: Arithmetic, F: ParameterForm> {
  fileprivate let scale, shift: SIMD16<A>

  @inline(__always)
  func apply(_ z: SIMD16<A>) -> SIMD16<A> { F.isShifted ? A.fma(z, scale, shift) : z * scale }
}

/// The same with those of a pair.
struct ScaleShiftPair<A: Arithmetic, F: ParameterForm> {
  fileprivate let first, second: ScaleShift<A, F>

  @inline(__always)
  func apply(_ z: Pair<A>) -> Pair<A> { Pair(first: first.apply(z.first), second: second.apply(z.second)) }
}

/// What is done with parameters once their form is known.
protocol ParameterUser {
  associatedtype P: Element
  /// Whether what any gamma takes, an addition more, is worth loops for a gamma that is there and taken as it is.
  static var hasOwnForms: Bool { get }
  func use<F: ParameterForm>(_ parameters: ElementParameters<P>, _: F.Type)
}

extension nk_job {
  /// Hands the parameters from `start` on to `user`.
  @inline(__always)
  func useParameters<U: ParameterUser>(from start: Int, for user: U) {
    let parameters = ElementParameters<U.P>(self, from: start)
    if !U.hasOwnForms {
      if beta == nil { user.use(parameters, AnyScaled.self) } else { user.use(parameters, AnyForm.self) }
    } else if gamma == nil || one_plus_gamma != 0 {
      user.use(parameters, AnyForm.self)
    } else if beta == nil {
      user.use(parameters, Scaled.self)
    } else {
      user.use(parameters, ScaledAndShifted.self)
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
