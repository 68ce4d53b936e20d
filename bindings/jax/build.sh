#!/bin/sh
# Builds libnormkit_jax.so, which makes NormKit's functions calls that XLA compiles into its programs.
#
#   bindings/jax/build.sh [FOLDER]      where it goes: .build/jax unless given
#
#   PYTHON           the Python that has jax, for its header: .venv's or python3 unless given
#   NORMKIT_LIBRARY  the built libnormkit.so; .build/release/libnormkit.so unless given
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$root/.build/jax}
library=${NORMKIT_LIBRARY:-$root/.build/release/libnormkit.so}

python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
include=$("${PYTHON:-$python}" -c 'import jax; print(jax.ffi.include_dir())')

mkdir -p "$folder"
cd "$root/bindings/jax"
# XLA's header is none of ours: its warnings are not asked for.
"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -Wl,--no-undefined \
    -I"$root/include" -isystem "$include" call.c pool.c forward.c backward.c "$library" -pthread \
    -o "$folder/libnormkit_jax.so"
