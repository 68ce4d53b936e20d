// Which outputs are written past the caches: large ones, in long pieces or in pieces that are whole cache lines.

import CNormKit
import NormKitFloor
import Testing

@testable import NormKit

@Suite struct StreamTests {
  /// Whether y, `behind` bytes behind the begin of a cache line, is streamed. The tensor is contiguous, in f32.
  func streams(
    kept: Int, rows: Int, lanes: Int, run: Int, behind: Int = 0, bytes: Int = 1 << 30, segment: Int = .max,
    inPlace: Bool = false, dtype: Int = NORMKIT_F32, gradientForm: Int? = nil
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
    job.dtype = Int32(dtype)
    view.enter(&job)
    job.cut()
    if let gradientForm {
      job.gradient = Int32(NK_GRADIENT_FORMED)
      job.parameter_form = Int32(gradientForm)
      job.dx = y
    }
    job.chooseStreams(bytes: bytes, elementSize: dtype == NORMKIT_F32 ? 4 : 2)
    return job.streams != 0
  }

  @Test func largeOutputsAtLines() {
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1040))
    #expect(streams(kept: 2, rows: 1000, lanes: 64, run: 1))
    #expect(streams(kept: 1, rows: 8, lanes: 64, run: 128))
    #expect(streams(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1024))
  }

  @Test func longPiecesAnywhere() {
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1041))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 4))
    #expect(streams(kept: 2, rows: 1000, lanes: 130, run: 1))
    #expect(streams(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 1000))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1041, gradientForm: NK_ONE_PER_SET))
  }

  @Test func shortSetsAreJoined() {
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 64, behind: 4))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 65))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 60))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 120, dtype: NORMKIT_BF16))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 65, gradientForm: NK_ONE_PER_SET))
  }

  @Test func shortPiecesAtLinesOnly() {
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 16))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 16, behind: 4))
    #expect(!streams(kept: 1, rows: 8, lanes: 64, run: 65))
    #expect(!streams(kept: 2, rows: 1000, lanes: 65, run: 1))
    #expect(!streams(kept: 10, rows: 1, lanes: 1, run: 4096, segment: 100))
  }

  @Test func othersAreStored() {
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, bytes: 4000))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 2))
    #expect(!streams(kept: 1000, rows: 1, lanes: 1, run: 1040, inPlace: true))
  }

  @Test func whereKernelsNeedLines() {
    #expect(streams(kept: 2, rows: 1000, lanes: 1024, run: 1, dtype: NORMKIT_BF16))
    #expect(!streams(kept: 2, rows: 1000, lanes: 1024, run: 1, behind: 2, dtype: NORMKIT_BF16))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1040, gradientForm: NK_ELEMENTS))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1040, behind: 4, gradientForm: NK_ELEMENTS))
    #expect(streams(kept: 1000, rows: 1, lanes: 1, run: 1024, dtype: NORMKIT_BF16, gradientForm: NK_ELEMENTS))
    #expect(
      !streams(kept: 1000, rows: 1, lanes: 1, run: 1024, behind: 2, dtype: NORMKIT_BF16, gradientForm: NK_ELEMENTS))
    #expect(!streams(kept: 2, rows: 1000, lanes: 1024, run: 1, behind: 4, gradientForm: NK_ROWS))
  }
}
