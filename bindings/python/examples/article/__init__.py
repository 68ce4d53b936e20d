"""The claims of an explanation of normalization, each of them an experiment on NormKit itself.

    cd bindings/python/examples
    python -m article --output results

The package sets up what all its modules need: the path to normkit in a checkout where it is not installed, and one
thread for NumPy's matrix products. These are small here, where threads cost more than they bring, and two
experiments run side by side.
"""

import sys
from pathlib import Path

import numpy  # noqa: F401  # loads the library that the limit is for
from threadpoolctl import threadpool_limits

threadpool_limits(1, "blas")
sys.path.append(str(Path(__file__).resolve().parents[2]))
