// Which buffers overlap.

import CNormKit
import NormKitFloor
import Testing

@testable import NormKit

@Suite struct BufferTests {
  /// A span of `count` runs of `length` bytes at a made-up address.
  func span(_ start: Int, _ length: Int, _ count: Int = 1, _ stride: Int = 0) -> Span {
    Span(UnsafeRawPointer(bitPattern: 4096 + start), length: length, count: count, stride: stride)
  }

  /// Against the bytes themselves, for every small placement of two strided buffers with one stride.
  @Test func stridedSpans() {
    for stride in 1...7 {
      for length in 1...stride {
        for other in 1...stride {
          for start in -20...20 {
            for count in 1...3 {
              let a = span(100, length, count, stride), b = span(100 + start, other, 3, stride)
              let shared = !bytes(100, length, count, stride).isDisjoint(with: bytes(100 + start, other, 3, stride))
              let far = count > 1
              if far || shared { #expect(a.overlaps(b) == shared && b.overlaps(a) == shared) }
            }
          }
        }
      }
    }
  }

  func bytes(_ start: Int, _ length: Int, _ count: Int, _ stride: Int) -> Set<Int> {
    Set((0..<count).flatMap { i in (0..<length).map { start + i * stride + $0 } })
  }

  @Test func emptySpansOverlapNothing() {
    #expect(!span(0, 0).overlaps(span(0, 8)))
    #expect(!Span(nil, length: 8).overlaps(span(0, 8)))
  }

  /// Whether a job with these addresses is refused: x and y are three runs of four f32.
  func isRefused(x: Int, y: Int, gamma: Int? = nil, mean: Int? = nil, yStride: Int64 = 0) throws -> Bool {
    let runs = try Runs(length: 4, count: 3, RowStrides(0, yStride))
    var request = Request(
      try Types(Int32(NORMKIT_F32)), runs, x: UnsafeRawPointer(bitPattern: x),
      y: UnsafeMutableRawPointer(bitPattern: y))
    request.parameters(gamma.flatMap { UnsafeRawPointer(bitPattern: $0) }, nil, 4, segment: 1)
    request.statistics(mean.flatMap { UnsafeMutableRawPointer(bitPattern: $0) }, nil)
    do {
      try request.requireDisjoint(sets: 3)
      return false
    } catch { return true }
  }

  /// The same backward: which of x, dy and dx lie where.
  func isRefused(x: Int, dy: Int, dx: Int, dgamma: Int? = nil) throws -> Bool {
    let runs = try Runs(length: 4, count: 3, RowStrides())
    var request = Request(
      try Types(Int32(NORMKIT_F32)), runs, x: UnsafeRawPointer(bitPattern: x), dy: UnsafeRawPointer(bitPattern: dy),
      dx: UnsafeMutableRawPointer(bitPattern: dx))
    request.parameters(nil, nil, 4, segment: 1)
    request.gradients(dgamma.flatMap { UnsafeMutableRawPointer(bitPattern: $0) }, nil, 0)
    do {
      try request.requireDisjoint(sets: 3)
      return false
    } catch { return true }
  }

  @Test func aGradientMayBeExactlyAnInput() throws {
    #expect(try !isRefused(x: 4096, dy: 8192, dx: 12288))
    #expect(try !isRefused(x: 4096, dy: 8192, dx: 4096))
    #expect(try !isRefused(x: 4096, dy: 8192, dx: 8192))
    #expect(try !isRefused(x: 4096, dy: 4096, dx: 4096))
    #expect(try isRefused(x: 4096, dy: 8192, dx: 8196))
    #expect(try isRefused(x: 4096, dy: 4100, dx: 4096))
    #expect(try isRefused(x: 4096, dy: 8192, dx: 12288, dgamma: 12288 + 44))
    #expect(try isRefused(x: 4096, dy: 8192, dx: 12288, dgamma: 8192))
  }

  @Test func anOutputMayBeExactlyTheInput() throws {
    #expect(try !isRefused(x: 4096, y: 4096))
    #expect(try isRefused(x: 4096, y: 4100))
    #expect(try isRefused(x: 4096, y: 4096, yStride: 8))
    #expect(try !isRefused(x: 4096, y: 8192, gamma: 4096))
    #expect(try isRefused(x: 4096, y: 8192, gamma: 8192 + 44))
    #expect(try isRefused(x: 4096, y: 8192, mean: 4096 + 44))
    #expect(try isRefused(x: 4096, y: 8192, gamma: 512, mean: 512 + 12))
    #expect(try !isRefused(x: 4096, y: 8192, gamma: 512, mean: 512 + 16))
  }
}
