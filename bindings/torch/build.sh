#!/bin/sh
# Builds the kernels for PyTorch's dispatcher beside the library that they call. Nothing of PyTorch is needed.
#
#   bindings/torch/build.sh [FOLDER]     the folder of libnormkit.so; .build/release unless given
#
# They find libnormkit.so in their own folder, or use the one that the process has loaded before, from wherever.
set -eu
folder=${1:-}
[ -z "$folder" ] || folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/../.."
if [ -z "$folder" ]; then
    folder=$PWD/.build/release
    [ -f "$folder/libnormkit.so" ] || swift build -c release --product normkit --quiet
fi

${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -fvisibility=hidden -shared -Iinclude \
    bindings/torch/normkit_torch.c -o "$folder/libnormkit_torch.so" \
    -L"$folder" -l:libnormkit.so -ldl -Wl,-rpath,'$ORIGIN' -Wl,--no-undefined
soname=libnormkit.so.$(sed -n 's/^#define NORMKIT_VERSION_MAJOR //p' include/normkit.h)
[ -e "$folder/$soname" ] || ln -s libnormkit.so "$folder/$soname"
echo "built $folder/libnormkit_torch.so"
