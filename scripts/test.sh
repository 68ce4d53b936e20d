#!/bin/bash
# The whole test suite. Every step is run, also after one has failed; the last line counts them.
#
#   scripts/test.sh            all steps
#   scripts/test.sh c tools    these steps only (the names are those of the functions below)
#
# What a step prints goes to .build/test/STEP.log; here stand its last line and its time, and all of it if it fails.
set -uo pipefail
cd "$(dirname "$0")/.."
unset NORMKIT_ISA NORMKIT_THREADS NORMKIT_LIBRARY
export PYTHONPATH=$PWD/bindings/python PYTHONDONTWRITEBYTECODE=1

# Tests in as many processes as there are cores; NORMKIT_TEST_PROFILE=thorough makes the random ones long.
pytest() { .venv/bin/python -m pytest -q -p no:cacheprovider -n auto "$@"; }

setup() { scripts/setup.sh; }
swift_suite() { swift test --quiet --disable-xctest; }
c() { Tests/c/run.sh; }
old_processors() { Tests/c/run.sh old; }
arm64() { Tests/tools/arm64.sh; }
tools() { pytest Tests/tools; }
python() { pytest Tests/python; }

# What depends on the instruction set, on one that is not the best of this processor.
numerics() {
    if [ "$(NORMKIT_ISA=$1 .venv/bin/python -c 'import normkit; print(normkit.instruction_set())')" != "$1" ]; then
        echo "skipped: this processor has no $1"
        return
    fi
    NORMKIT_ISA=$1 pytest Tests/python/test_{numerics,gradients}*.py Tests/python/test_{merging,weights,guards}.py
}
numerics_v3() { numerics x86-64-v3; }
numerics_v2() { numerics x86-64-v2; }

doctests() { pytest --doctest-modules bindings/python/normkit; }
types() { .venv/bin/mypy --strict --cache-dir .build/mypy bindings/python/normkit; }
address_sanitizer() { swift test --quiet --disable-xctest --sanitize=address --scratch-path .build-address; }
thread_sanitizer() { swift test --quiet --disable-xctest --sanitize=thread --scratch-path .build-thread; }
fuzz() { Tests/fuzz/run.sh 60; }

steps=(setup swift_suite c old_processors arm64 tools python numerics_v3 numerics_v2 doctests types
    address_sanitizer thread_sanitizer fuzz)
[ $# -eq 0 ] || steps=("$@")
for step in "${steps[@]}"; do
    declare -F "$step" > /dev/null || { echo "test.sh: there is no step \"$step\"" >&2; exit 2; }
done

mkdir -p .build/test
passed=0 failed=0
for step in "${steps[@]}"; do
    start=$SECONDS log=.build/test/$step.log
    if "$step" > "$log" 2>&1 < /dev/null; then
        passed=$((passed + 1))
        result=ok
    else
        failed=$((failed + 1))
        result=FAILED
        sed "s/^/    /" "$log"
    fi
    printf '%-18s %-6s %4d s  %s\n' "$step" "$result" $((SECONDS - start)) "$(grep -v '^\s*$' "$log" | tail -n 1)"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
