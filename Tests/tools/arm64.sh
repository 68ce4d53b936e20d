#!/bin/bash
# The arm64 build: cross-compiled, run under emulation, its output bits compared with those of this processor.
#
#   Tests/tools/arm64.sh
#
# Swift's toolchain brings the embedded standard library for bare-metal arm64, not for Linux on arm64. Both have the
# same calling convention, and the library needs no more of the system than C functions; the C part and the linking
# are done for Linux.
set -euo pipefail
cd "$(dirname "$0")/../.."
unset NORMKIT_ISA NORMKIT_THREADS

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sysroot=/usr/aarch64-linux-gnu
emulator=(qemu-aarch64 -L "$sysroot" -E LD_LIBRARY_PATH="$work")

for source in Sources/NormKitFloor/*.c; do
    clang -target aarch64-linux-gnu -isystem "$sysroot/include" -O2 -fPIC -fvisibility=hidden -Wall -Wextra \
        -I Sources/NormKitFloor/include -c "$source" -o "$work/$(basename "$source" .c).floor.o"
done

# swift_module NAME "OPTIONS" FILES: the module and its object file.
swift_module() {
    local name=$1 options=$2
    shift 2
    # shellcheck disable=SC2086 # options are several words
    swiftc -target aarch64-none-none-elf -enable-experimental-feature Embedded -wmo -parse-as-library \
        -module-name "$name" -I include -I Sources/NormKitFloor/include -I "$work" \
        -Xcc -isystem -Xcc "$sysroot/include" -Xcc -fPIC $options "$@" \
        -emit-module -emit-module-path "$work/$name.swiftmodule" -c -o "$work/$name.o"
    # Of embedded Swift's own definitions only this one is not weak: every module has its own copy.
    aarch64-linux-gnu-objcopy -L '$es16_emptyBoxStorageSi_Sitvp' "$work/$name.o"
}
swift_module KernelsArm64 "-Ounchecked -enforce-exclusivity=unchecked" \
    Sources/Kernels/*.swift Sources/KernelsArm64/*.swift
swift_module NormKit "-O -enable-experimental-feature CImplementation" Sources/NormKit/*.swift

aarch64-linux-gnu-gcc -shared "$work"/*.o -o "$work/libnormkit.so" -Wl,-soname,libnormkit.so.0 -Wl,--no-undefined \
    -Wl,--version-script=include/normkit.map -lm -pthread
ln -s libnormkit.so "$work/libnormkit.so.0"

for program in functions gradients synchronized process bits; do
    aarch64-linux-gnu-gcc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 -Iinclude "Tests/c/$program.c" -o "$work/$program" \
        -L"$work" -lnormkit -lm -pthread
done
for program in functions gradients synchronized process; do "${emulator[@]}" "$work/$program" arm64; done
"${emulator[@]}" "$work/bits" > "$work/arm64.bits"

# The processor at hand needs a fused multiply-add to give the same bits.
bindings/c/install.sh "$work/usr" > /dev/null
gcc -std=c99 -O2 -Iinclude Tests/c/bits.c -o "$work/native" -L"$work/usr/lib" -Wl,-rpath,"$work/usr/lib" -lnormkit -lm
if grep -q -w fma /proc/cpuinfo; then
    "$work/native" | diff - "$work/arm64.bits"
    echo "arm64 gives the same $(wc -l < "$work/arm64.bits") hashes as this processor"
else
    echo "no fused multiply-add here: bits not compared"
fi
