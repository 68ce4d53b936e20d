"""Program: run fixed problems with the instruction set of NORMKIT_ISA and print a JSON object with

digest: from each method and dtype to a hash of all its output bits;
too_far: the problems whose error is above the limit.
"""

import hashlib
import json
from collections import defaultdict

from .catalogue import digest_problems
from .execute import execute
from .limits import limit
from .measure import errors

# References of large problems are slow; their bits are compared, their errors are test_numerics' business.
_LARGEST_CHECKED = 50_000


def main() -> None:
    hashes = defaultdict(hashlib.sha256)
    too_far = []
    for problem in digest_problems():
        run = execute(problem)
        assert run.status == 0, f"status {run.status} for {problem}"
        for name in sorted(run.outputs):
            hashes[f"{problem.method} {problem.dtype}"].update(run.outputs[name].tobytes())
        if problem.view.size <= _LARGEST_CHECKED:
            too_far += [f"{name} of {problem}: {units:.3g} units" for name, units in errors(problem, run).items()
                        if units > limit(problem, name)]
    print(json.dumps({"digest": {name: h.hexdigest() for name, h in hashes.items()}, "too_far": too_far}))


if __name__ == "__main__":
    main()
