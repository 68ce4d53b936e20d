#!/bin/bash
# What is said about normalization, claim by claim, as experiments: writes a page with figures, numbers and verdicts.
#
#   scripts/article.sh                          all experiments, to .build/article/article.html
#   scripts/article.sh [OPTION...] [NAME...]    see bindings/python/examples/article/README.md
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh demo
output=$PWD/.build/article
cd bindings/python/examples
PYTHONPATH=.. exec ../../../.venv/bin/python -m article --output "$output" "$@"
