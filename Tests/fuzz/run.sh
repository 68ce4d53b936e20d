#!/bin/bash
# Fuzzes the functions with libFuzzer and AddressSanitizer, the library itself instrumented with both.
#
#   Tests/fuzz/run.sh [SECONDS]         the committed corpus, then new inputs, for so long in all (60 unless given)
#   Tests/fuzz/run.sh replay FILE...    these inputs only
set -euo pipefail
cd "$(dirname "$0")/../.."
unset NORMKIT_ISA NORMKIT_THREADS

build=.build-fuzz
mkdir -p "$build"
swift build -c release --target NormKit --scratch-path "$build" --sanitize=address \
    -Xswiftc -sanitize-coverage=edge,inline-8bit-counters,pc-table > "$build/build.log" 2>&1 ||
    { cat "$build/build.log" >&2; exit 1; }
# The objects, not the shared library: that one may leave nothing undefined, and the sanitizers are in the program.
clang -std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=fuzzer,address -fuse-ld=lld -Iinclude Tests/fuzz/*.c \
    "$build"/release/{NormKit,NormKitFloor,Kernels*}.build/*.o -o "$build/fuzz" -lm -pthread

if [ "${1:-}" = replay ]; then
    shift
    exec "$build/fuzz" "$@"
fi
mkdir -p "$build/corpus" "$build/findings"

# Each instruction set has loads and stores of its own. One that this processor lacks is replaced by one it has.
for isa in x86-64-v4-bf16 x86-64-v4 x86-64-v3 x86-64-v2; do
    NORMKIT_ISA=$isa "$build/fuzz" "$build/corpus" Tests/fuzz/corpus -max_total_time=$((${1:-60} / 4)) -max_len=96 \
        -timeout=20 -artifact_prefix="$build/findings/" -print_final_stats=1 2> "$build/fuzz.log" ||
        { tail -n 60 "$build/fuzz.log" >&2; exit 1; }
    echo "$isa: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/fuzz.log") inputs"
done
