#!/bin/bash
# The demonstration: builds the library and runs it in two real networks, from Python and from C. Every number is
# checked; the first wrong one ends it with an error.
#
#   scripts/demo.sh     needs Swift 6.3, and Internet access for the packages that scripts/setup.sh installs
set -euo pipefail
cd "$(dirname "$0")/.."

# NumPy's matrix products: waiting threads of OpenBLAS spin, which makes them many times slower on a busy machine.
export OPENBLAS_NUM_THREADS=1

part=setup
work=$(mktemp -d)
finish() {
    status=$?
    rm -rf "$work"
    [ $status = 0 ] || echo "demo: FAILED in the part \"$part\" (exit status $status)" >&2
}
trap finish EXIT

begin() {
    part=$1
    echo
    echo "==== $part"
}

scripts/setup.sh demo
ready=$SECONDS

begin "1. Sentence search: all-MiniLM-L6-v2, 13 layer normalizations"
.venv/bin/python bindings/python/examples/sentence_encoder.py

begin "2. Direction of text: 35 batch normalizations"
.venv/bin/python bindings/python/examples/text_direction.py --save "$work/batch_norm"

begin "3. From C: the first batch normalization of part 2 once more"
bindings/c/install.sh "$work" > "$work/log"
cc -std=c99 -O2 -Wall bindings/c/example.c -o "$work/example" \
    -I"$work/include" -L"$work/lib" -Wl,-rpath,"$work/lib" -lnormkit -lm
"$work/example" "$work/batch_norm"

echo
echo "All numbers are right. Setup and build: $ready s, the demonstration: $((SECONDS - ready)) s."
