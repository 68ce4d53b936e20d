// Which outputs are written past the caches: large ones, of which every piece begins at a cache line.

import NormKitFloor
import Testing

@testable import NormKit

@Suite struct StreamTests {
  /// Whether y, `behind` bytes behind the begin of a cache line, is streamed. The tensor is contiguous, in f32.
  func streams(
    kept: Int, rows: Int, lanes: Int, run: Int, behind: Int = 0, bytes: Int = 1 << 30, segment: Int = .max,
    inPlace: Bool = false
  ) -> Bool {
    var view = View()
    view.keep(kept, step: Steps(rows * lanes * run))
    view.reduce(rows, step: Steps(lanes * run))
    view.keep(lanes, step: Steps(run))
    view.reduce(run, step: Steps(1))
    let y = UnsafeMutableRawPointer(bitPattern: 4096 + behind), x = UnsafeMutableRawPointer(bitPattern: 1 << 40)
    var job = nk_job()
    job.statistic = Int32(NK_MOMENTS)
    job.x = UnsafeRawPointer(inPlace ? y : x)
    job.y = y
    job.gamma = UnsafeRawPointer(x)
    job.segment = Int64(segment)
    job.parameters = 4
    view.enter(&job)
    job.cut()
    job.chooseStreams(bytes: bytes, elementSize: 4)
    return job.streams != 0
  }

  @Test func largeOutputsAtLines() {
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1040))
    #expect(streams(kept: 2, rows: 1000, lanes: 64, run: 1))
    #expect(streams(kept: 1, rows: 8, lanes: 64, run: 128))
    #expect(streams(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1024))
  }

  @Test func othersAreStored() {
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, bytes: 4000))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 4))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, inPlace: true))
  }

  @Test func everyPieceBeginsAtALine() {
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1041))
    #expect(!streams(kept: 1, rows: 8, lanes: 64, run: 65))
    #expect(!streams(kept: 2, rows: 1000, lanes: 65, run: 1))
    #expect(!streams(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1000))
  }
}
