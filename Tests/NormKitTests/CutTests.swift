// The cuts of a job: every element of every set is in exactly one piece, and they depend on the shape alone.

import NormKitFloor
import Testing

@testable import NormKit

@Suite struct CutTests {
  func job(kept: Int, rows: Int, lanes: Int, run: Int) -> nk_job {
    var view = View()
    view.keep(kept, step: Steps(rows * lanes * run))
    view.reduce(rows, step: Steps(lanes * run))
    view.keep(lanes, step: Steps(run))
    view.reduce(run, step: Steps(1))
    var job = nk_job()
    job.statistic = Int32(NK_MOMENTS)
    view.enter(&job)
    job.cut()
    return job
  }

  @Test(arguments: [
    [1, 1, 1, 1], [3, 1, 1, 65_536], [1, 1, 1, 65_537], [2, 1, 1, 1_000_003], [1, 7, 5, 100], [1, 700, 5, 100],
    [1, 3, 2, 200_000], [1, 50_000, 64, 1], [4, 300, 1000, 1], [2, 100, 32, 49], [1, 2, 3, 63], [1, 1_000_000, 3, 1],
  ])
  func piecesCoverTheSet(_ extents: [Int]) {
    let job = job(kept: extents[0], rows: extents[1], lanes: extents[2], run: extents[3])
    let rows = Int(job.reduced.extent), run = Int(job.run), length = Int(job.piece_length)
    #expect(job.pieces >= 1)
    if Int(job.family) == NK_COLUMNS {
      #expect(length * Int(job.pieces) >= rows && length * (Int(job.pieces) - 1) < rows)
      #expect(Int(job.block) % run == 0 && Int(job.block) <= Int(NK_BLOCK_LANES))
      let width = Int(job.lanes) * run
      #expect(Int(job.block * job.blocks) >= width && Int(job.block * (job.blocks - 1)) < width)
      #expect(job.units == job.kept.extent * job.blocks)
    } else if job.run_pieces > 1 {
      let perRun = Int(job.run_pieces)
      #expect(length * perRun >= run && length * (perRun - 1) < run)
      #expect(Int(job.pieces) == rows * perRun)
    } else {
      #expect(length * Int(job.pieces) >= rows && length * (Int(job.pieces) - 1) < rows)
    }
  }
}
