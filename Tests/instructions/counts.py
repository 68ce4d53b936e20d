"""Instructions that each call of calls.c takes inside of the library, counted by callgrind (valgrind's).

    .venv/bin/python Tests/instructions/counts.py             prints them beside the recorded ones
    .venv/bin/python Tests/instructions/counts.py --record    writes the record, counts.csv, anew

Counts do not vary as times do: from run to run they are the same to within a few dozen instructions. Valgrind
knows no AVX-512, so that there are none for x86-64-v4.
"""

import argparse
import csv
import os
import re
import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
LIBRARY = Path(os.environ.get("NORMKIT_LIBRARY", ROOT / ".build" / "release" / "libnormkit.so"))
RECORD = FOLDER / "counts.csv"
ISAS = ["x86-64-v3", "x86-64-v2"]
ANOTHER_ISA = 2     # exit status of calls.c


def count(isa: str) -> dict[str, int]:
    """Instructions by the name of the call, on one instruction set; none where this processor lacks it."""
    with tempfile.TemporaryDirectory() as folder:
        calls, counted = Path(folder, "calls"), Path(folder, "counted")
        subprocess.run(
            ["gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "include", "-o", calls,
             FOLDER / "calls.c", "-L", LIBRARY.parent, f"-Wl,-rpath,{LIBRARY.parent}", "-lnormkit"],
            check=True,
        )  # fmt: skip
        environment = os.environ | {"NORMKIT_ISA": isa}
        native = subprocess.run([calls, isa], env=environment, check=False)
        if native.returncode == ANOTHER_ISA:
            return {}
        native.check_returncode()
        subprocess.run(
            ["valgrind", "-q", "--tool=callgrind", "--collect-atstart=no", "--combine-dumps=yes",
             f"--callgrind-out-file={counted}", calls, isa],
            env=environment, check=True,
        )  # fmt: skip
        text = counted.read_text()
    parts = re.findall(r"^desc: Trigger: Client Request: (.+?)$.*?^totals: (\d+)$", text, re.M | re.S)
    return {name: int(total) for name, total in parts}


def recorded() -> dict[str, dict[str, int]]:
    """The record: by instruction set, then by the name of the call."""
    with RECORD.open(newline="") as file:
        lines = list(csv.DictReader(file))
    return {isa: {line["call"]: int(line[isa]) for line in lines} for isa in ISAS}


def record() -> None:
    counts = {isa: count(isa) for isa in ISAS}
    if missing := [isa for isa in ISAS if not counts[isa]]:
        raise SystemExit(f"counts.py: this processor has no {', '.join(missing)}")
    with RECORD.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["call", *ISAS])
        writer.writerows([call, *(counts[isa][call] for isa in ISAS)] for call in counts[ISAS[0]])


def change(call: str, old: int, new: int) -> str:
    """One line about a call."""
    return f"{call:45} {old:9} -> {new:9}  ratio {new / old:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write counts.csv anew")
    if parser.parse_args().record:
        record()
        return
    for isa, old in recorded().items():
        print(isa)
        for call, new in count(isa).items():
            print(change(call, old[call], new) if call in old else f"{call:45} {new:9} (not recorded)")


if __name__ == "__main__":
    main()
