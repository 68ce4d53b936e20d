#!/bin/sh
# Builds libnormkit_ggml.so, which makes NormKit's plans nodes of ggml graphs.
#
#   bindings/ggml/build.sh [FOLDER]     where it goes: .build/ggml unless given
#
#   GGML             a prefix with ggml's include/ and lib/ or lib64/; the Python package libggml-python unless given
#   PYTHON           the Python that has that package: .venv's or python3 unless given
#   NORMKIT_LIBRARY  the built libnormkit.so; .build/release/libnormkit.so unless given
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$root/.build/ggml}
library=${NORMKIT_LIBRARY:-$root/.build/release/libnormkit.so}

if [ -z "${GGML:-}" ]; then
    python=$root/.venv/bin/python
    [ -x "$python" ] || python=python3
    GGML=$("${PYTHON:-$python}" -c 'import libggml; print(libggml.__path__[0])')
fi
for lib in "$GGML/lib64" "$GGML/lib"; do
    [ -d "$lib" ] && break
done

mkdir -p "$folder"
"${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -Wl,--no-undefined \
    -I"$root/include" -I"$GGML/include" "$root"/bindings/ggml/normkit_ggml.c "$root"/bindings/ggml/layout.c \
    "$library" -L"$lib" -lggml-base -Wl,-rpath-link,"$lib" -o "$folder/libnormkit_ggml.so"
