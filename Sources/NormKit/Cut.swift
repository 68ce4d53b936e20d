// How a job is cut into units and pieces. The cuts depend on the shape alone: sums are formed the same way, and have
// the same bits, however many threads share the work.

import NormKitFloor

/// Elements per piece of a set: large enough to pay for a task, small enough for several threads to share one set.
private let pieceElements = 65536

/// Columns: rows per piece at least, of which each has a multiple, and pieces per block at most.
private let pieceRows = 256
private let mostPieces = 64

/// Columns of which nothing is summed: bytes of a piece, about, and what its rows are a multiple of, so that it begins
/// where cache lines do. `rowsOfLines` in Streams.swift divides that.
private let givenBytes = 65536
private let givenRows = 64

extension nk_job {
  mutating func cut() {
    let rows = Int(reduced.extent), run = Int(run), lanes = Int(lanes)
    count = Double(rows) * Double(run)
    inverse_count = 1 / count
    run_pieces = 1
    if Int(family) == NK_RUNS {
      units = kept.extent &* Int64(lanes)
      if run > pieceElements {
        run_pieces = Int64((run &- 1) / pieceElements &+ 1)
        piece_length = Int64(pieceElements)
        pieces = Int64(rows) &* run_pieces
      } else {
        piece_length = Int64(max(1, pieceElements / run))
        pieces = (Int64(rows) &- 1) / piece_length &+ 1
      }
    } else {
      // Lanes are independent of each other: how many of them a block has does not change their sums. Where there are
      // no sums, blocks need not have whole sets, and begin where cache lines do.
      let isGiven = Int(statistic) == NK_GIVEN && Int(gradient) == NK_FORWARD
      let sets = setsPerBlock(run, lineLanes: lineBytes / size(dtype))
      block = isGiven && run > 1 ? Int64(NK_BLOCK_LANES) : Int64(run &* sets)
      blocks = (Int64(lanes &* run) &- 1) / block &+ 1
      units = kept.extent &* blocks
      if !isGiven {
        piece_length = Int64(((rows &- 1) / mostPieces / pieceRows &+ 1) &* pieceRows)
      } else if run > 1 {
        piece_length = Int64(rows)
      } else {
        let bytes = min(Int(block), lanes) &* size(dtype)
        piece_length = Int64(max(1, givenBytes / (bytes &* givenRows)) &* givenRows)
      }
      pieces = (Int64(rows) &- 1) / piece_length &+ 1
    }
  }
}

/// Sets of `run` neighbouring lanes in one block of columns: as many as fit, in whole cache lines if that costs less
/// than half of them, or else in whole vectors if it can be.
private func setsPerBlock(_ run: Int, lineLanes: Int) -> Int {
  let most = max(1, Int(NK_BLOCK_LANES) / run)
  func largest(of lanes: Int, least: Int) -> Int? {
    var sets = most
    while sets > least && sets * run % lanes != 0 { sets -= 1 }
    return sets * run % lanes == 0 ? sets : nil
  }
  return largest(of: lineLanes, least: most / 2 + 1) ?? largest(of: 16, least: 1) ?? most
}
