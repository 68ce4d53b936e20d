// Which buffers overlap.

import CNormKit
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

  @Test func anOutputMayBeExactlyTheInput() throws {
    let memory = try #require(UnsafeMutableRawPointer(bitPattern: 4096))
    let types = try Types(Int32(NORMKIT_F32))
    let runs = try Runs(length: 4, count: 3, xStride: 0, yStride: 0)
    var buffers = try Buffers(types, runs, x: memory, y: memory)
    #expect(throws: Refusal.self) { try buffers.parameters(UnsafeRawPointer(memory + 44), 4) }
    #expect(throws: Refusal.self) { _ = try Buffers(types, runs, x: memory, y: memory + 4) }
    let wider = try Runs(length: 4, count: 3, xStride: 0, yStride: 8)
    #expect(throws: Refusal.self) { _ = try Buffers(types, wider, x: memory, y: memory) }
  }
}
