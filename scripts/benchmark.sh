#!/bin/bash
# Compares the speed of NormKit with that of PyTorch, oneDNN, ONNX Runtime, OpenVINO and JAX, and with a plain copy.
# Tables, pictures and all numbers go to the folder benchmark. Tests/benchmark/README.md says what is measured.
#
#   scripts/benchmark.sh                    everything (about 30 minutes); the machine should have nothing else to do
#   scripts/benchmark.sh --quick            fewer rounds, and no sweep over sizes (about 8 minutes)
#   scripts/benchmark.sh layer backward     only rows whose title has all of the words
#   scripts/benchmark.sh --random 200       so many rows of random shapes, which nobody has tuned for (--seed: others)
#   scripts/benchmark.sh --help             the other options
#
# NORMKIT_LIBRARY names the library; by default it is .build/release/libnormkit.so, which is built if it isn't there.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv-benchmark/bin/python requirements=Tests/benchmark/requirements.txt

if [ -z "${NORMKIT_LIBRARY:-}" ] && [ ! -e .build/release/libnormkit.so ]; then
    scripts/setup.sh demo
fi
command -v cc > /dev/null || { echo "benchmark: there is no C compiler (scripts/setup.sh installs one)" >&2; exit 1; }

# A copy of what was installed tells the next run that nothing has to be done.
if ! cmp -s $requirements .venv-benchmark/installed.txt; then
    echo "benchmark: installing the other systems into .venv-benchmark"
    [ -x $python ] || python3 -m venv .venv-benchmark
    # PyTorch's build without CUDA is not on PyPI, but PyTorch's own index has it.
    install=("$python" -m pip install -q --disable-pip-version-check -r $requirements)
    "${install[@]}" 2> /dev/null || "${install[@]}" --extra-index-url https://download.pytorch.org/whl/cpu
    cp $requirements .venv-benchmark/installed.txt
fi

# Large pages for everyone's memory, not only for arrays of NumPy; no messages about processors without accelerators.
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1 JAX_PLATFORMS=cpu OPENBLAS_NUM_THREADS=1
unset NORMKIT_THREADS OMP_NUM_THREADS
export PYTHONPATH=$PWD/Tests:$PWD/Tests/python PYTHONDONTWRITEBYTECODE=1
exec $python -m benchmark "$@"
