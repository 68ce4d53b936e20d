"""Run the experiments, and write a page about them.

    python -m article                          all of them
    python -m article batch_size smoothness    these two
    python -m article --list                   what there is

The folder gets article.html, which needs no other file, and the numbers of each experiment, NAME.json.
"""

import argparse
import json
import os
import time
from pathlib import Path

from tqdm import tqdm

import normkit

from . import page
from .runner import MODULES, experiment, run_all

def print_result(name, result, seconds):
    """The verdict and all tables."""
    tqdm.write(f"\n{name}: {result.verdict.upper()} ({seconds:.0f} s of one core)\n  {result.line}")
    for picture in result.pictures:
        if picture.table:
            tqdm.write(f"\n  {picture.title}")
            for line in page.text_table(picture.table):
                tqdm.write(f"    {line}")


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m article", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments to run; all if none is named")
    parser.add_argument("--fast", action="store_true", help="small versions, a few seconds each")
    parser.add_argument("--output", type=Path, default=Path("article_results"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="experiments at a time")
    parser.add_argument("--list", action="store_true", help="print the names and claims")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in MODULES]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]!r}; there are {', '.join(MODULES)}")
    names = [name for name in MODULES if name in options.names or not options.names]
    experiments = {name: experiment(name) for name in names}
    if options.list:
        for name, one in experiments.items():
            print(f"{name}\n    {one.claim}")
        return

    start = time.perf_counter()
    library = f"NormKit {normkit.version()}, {normkit.instruction_set()}"
    print(library)
    options.output.mkdir(parents=True, exist_ok=True)
    results = {}
    for name, (result, seconds) in run_all(names, options.fast, options.jobs):
        results[name] = result, seconds
        print_result(name, result, seconds)
        numbers = {"name": name, "claim": experiments[name].claim, "processor seconds": seconds, **result.as_json()}
        (options.output / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    done = [(experiments[name], *results[name]) for name in names]
    seconds = time.perf_counter() - start
    path = options.output / "article.html"
    path.write_text(page.document(done, library, seconds, options.fast))
    print(f"\n{len(done)} experiments, {seconds:.0f} s: {path}")


if __name__ == "__main__":
    main()
