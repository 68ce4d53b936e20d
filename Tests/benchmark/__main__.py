"""Compare NormKit with the other systems; scripts/benchmark.sh calls this. See README.md."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from . import allocator, machine, memory, pictures, report, systems
from .compare import compare
from .problem import Problem
from .rows import ROWS, SWEEP, Row
from .sampling import sample
from .timing import FULL, QUICK

ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/benchmark.sh", description=__doc__.partition(";")[0])
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only rows whose title has all of the words: layer, backward, bf16, 512×768 …",
    )
    parser.add_argument("--random", type=int, metavar="ROWS", help="so many rows of random shapes instead of the others")
    parser.add_argument("--seed", type=int, default=0, help="of the random shapes (default: 0)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no sweep over sizes")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "benchmark", help="a folder (default: benchmark, at the root)"
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="measure nothing: tables and pictures from results.json in the output folder",
    )
    return parser.parse_args()


def chosen_rows(chosen: argparse.Namespace) -> dict[str, list[Row]]:
    """What is measured, by the name under which it is saved."""
    rows = ROWS if chosen.random is None else sample(chosen.random, chosen.seed)
    sweep = () if chosen.quick or chosen.random is not None else SWEEP
    return {name: [row for row in of if row.has(chosen.words)] for name, of in (("results", rows), ("sweep", sweep))}


def measure(chosen: argparse.Namespace, path: Path) -> dict:
    """The results, which are saved after each row: whatever a system does to the process, they are not lost."""
    allocator.keep_memory()
    loaded, missing = systems.load()
    for line in missing:
        print(line)
    if "NormKit" not in loaded:
        raise SystemExit("There is nothing to compare with.")
    effort, others = QUICK if chosen.quick else FULL, machine.Others()
    measured: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": {name: system.version() for name, system in loaded.items()},
        "missing": missing,
        "effort": asdict(effort),
        "results": [],
        "sweep": [],
        "memory": [],
    }
    for name, rows in chosen_rows(chosen).items():
        for row in tqdm(rows, desc=name, disable=None):
            problem = Problem(row)
            for threads in sorted({1, systems.ALL_THREADS}):
                measured[name] += map(asdict, compare(problem, threads, loaded, effort))
            measured["machine"]["share of other processes"] = others.share()
            save(measured, path)
    measured["memory"] = memory.backward(chosen.words)
    save(measured, path)
    return measured


def save(measured: dict, path: Path) -> None:
    path.write_text(json.dumps(measured, indent=1, ensure_ascii=False))


def main() -> None:
    chosen = arguments()
    path = chosen.output / "results.json"
    if chosen.redraw:
        measured = json.loads(path.read_text())
    else:
        if not chosen_rows(chosen)["results"]:
            raise SystemExit(f"No row has all of the words: {' '.join(chosen.words)}")
        chosen.output.mkdir(parents=True, exist_ok=True)
        measured = measure(chosen, path)
    (chosen.output / "table.md").write_text(report.markdown(measured))
    pictures.draw(measured, chosen.output)
    for line in report.failures(measured):
        print(line)
    print(report.busy(measured["machine"]["share of other processes"]))
    print(report.worst(report.comparisons(measured["results"])))
    print(f"Tables, pictures and all numbers: {chosen.output}")


if __name__ == "__main__":
    main()
