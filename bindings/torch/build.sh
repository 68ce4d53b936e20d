#!/bin/sh
# Builds the kernels for PyTorch's dispatcher beside the library that they call. Nothing of PyTorch is needed.
#
#   bindings/torch/build.sh [FOLDER]     the folder of libnormkit.so; .build/release unless given
exec "$(dirname "$0")/../build_engine.sh" torch "${1:-}" -ldl
