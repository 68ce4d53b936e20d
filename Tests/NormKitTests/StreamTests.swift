// Which outputs are written past the caches: large ones, in long pieces or in pieces that are whole cache lines.

import CNormKit
import NormKitFloor
import Testing

@testable import NormKit

@Suite struct StreamTests {
  /// How y, `behind` bytes behind the begin of a cache line, is written. The tensor is contiguous, in f32.
  func way(
    kept: Int, rows: Int, lanes: Int, run: Int, behind: Int = 0, bytes: Int = 1 << 30, segment: Int = .max,
    inPlace: Bool = false, dtype: Int = NORMKIT_F32, statistic: Int = NK_MOMENTS, gradientForm: Int? = nil
  ) -> Int {
    var view = View()
    view.keep(kept, step: Steps(rows * lanes * run))
    view.reduce(rows, step: Steps(lanes * run))
    view.keep(lanes, step: Steps(run))
    view.reduce(run, step: Steps(1))
    let y = UnsafeMutableRawPointer(bitPattern: 4096 + behind), x = UnsafeMutableRawPointer(bitPattern: 1 << 40)
    var job = nk_job()
    job.statistic = Int32(statistic)
    job.x = UnsafeRawPointer(inPlace ? y : x)
    job.y = y
    job.gamma = UnsafeRawPointer(x)
    job.segment = Int64(segment)
    job.parameters = 4
    job.dtype = Int32(dtype)
    view.enter(&job)
    job.cut()
    if let gradientForm {
      job.gradient = Int32(NK_GRADIENT_FORMED)
      job.parameter_form = Int32(gradientForm)
      job.dx = y
    }
    job.chooseStreams(bytes: bytes, elementSize: dtype == NORMKIT_F32 ? 4 : 2, threads: 1)
    return Int(job.streams)
  }

  @Test func largeOutputsAtLines() {
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040) == NK_STREAMS)
    #expect(way(kept: 2, rows: 1000, lanes: 64, run: 1) == NK_STREAMS)
    #expect(way(kept: 1, rows: 8, lanes: 64, run: 128) == NK_STREAMS)
    #expect(way(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1024) == NK_STREAMS)
  }

  @Test func longPiecesAnywhere() {
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1041) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 4) == NK_STREAMS)
    #expect(way(kept: 2, rows: 1000, lanes: 650, run: 1) == NK_STREAMS)
    #expect(way(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1000) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1041, gradientForm: NK_ONE_PER_SET) == NK_STREAMS)
  }

  @Test func rowsOfLanesWithoutGaps() {
    // Four rows, or one, are whole lines; sixteen are more than are passed as one.
    #expect(way(kept: 2, rows: 1000, lanes: 100, run: 1) == NK_STREAMS)
    #expect(way(kept: 2, rows: 1000, lanes: 100, run: 1, behind: 4) == NK_STREAMS_NOT)
    #expect(way(kept: 2, rows: 1000, lanes: 256, run: 1, behind: 4) == NK_STREAMS_NOT)
    #expect(way(kept: 2, rows: 1024, lanes: 101, run: 1) == NK_STREAMS_NOT)
    #expect(way(kept: 1, rows: 1000, lanes: 40, run: 1, dtype: NORMKIT_BF16) == NK_STREAMS)
    #expect(way(kept: 1, rows: 1000, lanes: 100, run: 1, dtype: NORMKIT_BF16) == NK_STREAMS_NOT)
    #expect(way(kept: 2, rows: 1000, lanes: 100, run: 1, gradientForm: NK_LANES) == NK_STREAMS_NOT)
  }

  @Test func shortSetsAreJoined() {
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 64, behind: 4) == NK_STREAMS_JOINED)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 65) == NK_STREAMS_JOINED)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 513) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 60) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 120, dtype: NORMKIT_BF16) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 65, statistic: NK_MAXIMUM) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 65, gradientForm: NK_ONE_PER_SET) == NK_STREAMS_JOINED)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 65, gradientForm: NK_ELEMENTS) == NK_STREAMS_NOT)
    #expect(
      way(kept: 1000, rows: 1, lanes: 1, run: 130, dtype: NORMKIT_BF16, gradientForm: NK_ONE_PER_SET) == NK_STREAMS_NOT)
  }

  @Test func shortPiecesAtLinesOnly() {
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 16) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 16, behind: 4) == NK_STREAMS_NOT)
    #expect(way(kept: 1, rows: 8, lanes: 64, run: 65) == NK_STREAMS_NOT)
    #expect(way(kept: 2, rows: 1000, lanes: 65, run: 1) == NK_STREAMS_NOT)
    #expect(way(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 100) == NK_STREAMS_NOT)
  }

  @Test func othersAreStored() {
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, bytes: 4000) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 2) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, inPlace: true) == NK_STREAMS_NOT)
  }

  @Test func whereKernelsNeedLines() {
    #expect(way(kept: 2, rows: 1000, lanes: 1024, run: 1, dtype: NORMKIT_BF16) == NK_STREAMS)
    #expect(way(kept: 2, rows: 1000, lanes: 1024, run: 1, behind: 2, dtype: NORMKIT_BF16) == NK_STREAMS_NOT)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, gradientForm: NK_ELEMENTS) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 4, gradientForm: NK_ELEMENTS) == NK_STREAMS)
    #expect(way(kept: 1000, rows: 1, lanes: 1, run: 1024, dtype: NORMKIT_BF16, gradientForm: NK_ELEMENTS) == NK_STREAMS)
    #expect(
      way(kept: 1000, rows: 1, lanes: 1, run: 1024, behind: 2, dtype: NORMKIT_BF16, gradientForm: NK_ELEMENTS)
        == NK_STREAMS_NOT)
    #expect(way(kept: 2, rows: 1000, lanes: 1024, run: 1, behind: 4, gradientForm: NK_ROWS) == NK_STREAMS_NOT)
  }
}
