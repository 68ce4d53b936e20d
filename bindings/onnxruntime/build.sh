#!/bin/sh
# Builds the library of operators for ONNX Runtime beside the library that it calls.
#
#   bindings/onnxruntime/build.sh [FOLDER]     the folder of libnormkit.so; .build/release unless given
exec "$(dirname "$0")/../build_engine.sh" onnxruntime "${1:-}"
