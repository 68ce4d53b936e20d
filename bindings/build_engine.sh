#!/bin/sh
# Builds the library for an engine beside the library that it calls, from all C files of the engine's folder. Nothing of
# the engine is needed. What each build.sh here calls.
#
#   bindings/build_engine.sh ENGINE FOLDER [FLAG...]     the folder of libnormkit.so; .build/release if FOLDER is empty
#
# What is built finds libnormkit.so in its own folder, or uses the one that the process has loaded before, from wherever.
set -eu
engine=$1 folder=$2
shift 2
[ -z "$folder" ] || folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/.."
if [ -z "$folder" ]; then
    folder=$PWD/.build/release
    [ -f "$folder/libnormkit.so" ] || swift build -c release --product normkit --quiet
fi

${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -shared -Iinclude \
    bindings/"$engine"/*.c -o "$folder/libnormkit_$engine.so" \
    -L"$folder" -l:libnormkit.so "$@" -Wl,-rpath,'$ORIGIN' -Wl,--no-undefined
soname=libnormkit.so.$(sed -n 's/^#define NORMKIT_VERSION_MAJOR //p' include/normkit.h)
[ -e "$folder/$soname" ] || ln -s libnormkit.so "$folder/$soname"
echo "built $folder/libnormkit_$engine.so"
