#!/bin/bash
# The C side: the header in every language version, every symbol, the test programs, the installation.
#
#   Tests/c/run.sh           all of it, on the instruction sets that this processor has
#   Tests/c/run.sh old       the same library on emulated older processors
set -euo pipefail
cd "$(dirname "$0")/../.."
unset NORMKIT_ISA NORMKIT_THREADS

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict=(-pedantic -Wall -Wextra -Werror -Iinclude)
link=(-L"$work/usr/lib" -Wl,-rpath,"$work/usr/lib" -lnormkit -lm -pthread)

bindings/c/install.sh "$work/usr" > /dev/null

# What is right or wrong on each instruction set; its name is their argument.
tests=(functions gradients synchronized plans)

for program in "${tests[@]}" process bits plan_bits; do
    gcc -std=c99 -D_POSIX_C_SOURCE=200809L -O2 "${strict[@]}" "Tests/c/$program.c" -o "$work/$program" "${link[@]}"
done

# All hash lines, from programs that this command runs.
bits_of() { "$@" "$work/bits" && "$@" "$work/plan_bits"; }

# The hash lines of one instruction set, or nothing where this processor does not have it.
native_bits() {
    if NORMKIT_ISA=$1 "$work/functions" "$1" > /dev/null 2>&1; then bits_of env "NORMKIT_ISA=$1"; fi
}

if [ "${1:-}" = old ]; then
    # Haswell without what the emulator does not have, and says so.
    for pair in Nehalem:x86-64-v2 Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-rtm,-invpcid:x86-64-v3; do
        processor=${pair%:*} isa=${pair#*:}
        emulator=(qemu-x86_64 -cpu "$processor")
        echo "${processor%%,*}"
        for program in "${tests[@]}"; do "${emulator[@]}" "$work/$program" "$isa"; done
        "${emulator[@]}" "$work/process"
        bits_of "${emulator[@]}" > "$work/emulated"
        native_bits "$isa" > "$work/native"
        [ ! -s "$work/native" ] || diff "$work/native" "$work/emulated"
    done
    exit
fi

echo "header"
echo "#include <normkit.h>" > "$work/header.c"
for compiler in gcc clang; do
    for standard in c99 c11; do
        "$compiler" -x c -std="$standard" "${strict[@]}" -fsyntax-only "$work/header.c"
    done
    for standard in c++11 c++17 c++20; do
        "$compiler" -x c++ -std="$standard" "${strict[@]}" -fsyntax-only "$work/header.c"
    done
done

echo "every symbol"
.venv/bin/python Tests/tools/product.py every_symbol > "$work/every_symbol.c"
gcc -std=c99 "${strict[@]}" "$work/every_symbol.c" -o "$work/every_symbol" \
    -L"$work/usr/lib" -Wl,-rpath,"$work/usr/lib" -lnormkit
"$work/every_symbol"

tested=0
for isa in x86-64-v4-bf16 x86-64-v4 x86-64-v3 x86-64-v2; do
    native_bits "$isa" > "$work/$isa.bits"
    [ -s "$work/$isa.bits" ] || { echo "this processor has no $isa"; continue; }
    tested=$((tested + 1))
    for program in "${tests[@]}"; do NORMKIT_ISA=$isa "$work/$program" "$isa"; done
    { NORMKIT_ISA=$isa "$work/bits" 3 && NORMKIT_ISA=$isa "$work/plan_bits" 3; } | diff "$work/$isa.bits" -
done
[ "$tested" -gt 0 ]
"$work/process"

# The same bits on every instruction set with a fused multiply-add.
for isa in x86-64-v4-bf16 x86-64-v4; do
    if [ -s "$work/$isa.bits" ]; then diff "$work/$isa.bits" "$work/x86-64-v3.bits"; fi
done

echo "installation"
Tests/c/install.sh "$work/elsewhere"
