#!/bin/bash
# The whole test suite. Every step is run, also after one has failed; the last line counts them.
#
#   scripts/test.sh            all steps
#   scripts/test.sh c tools    these steps only (the names are those of the functions below)
#
# Two steps run at a time, for few of them keep two cores busy all along. What a step prints goes to
# .build/test/STEP.log; once it has ended, here stand its last line and its time, and all of it if it failed.
set -uo pipefail
cd "$(dirname "$0")/.."
unset NORMKIT_ISA NORMKIT_THREADS NORMKIT_LIBRARY
export PYTHONPATH=$PWD/bindings/python PYTHONDONTWRITEBYTECODE=1
# The threads of other libraries spin while they wait, which takes a core away from another test.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# Tests in as many processes as there are cores; NORMKIT_TEST_PROFILE=thorough makes the random ones long. Each
# process has tests that follow each other, which often share what they need, and takes over others at the end.
pytest() { .venv/bin/python -m pytest -q -p no:cacheprovider -n auto --dist worksteal "$@"; }

setup() { scripts/setup.sh; }
c() { Tests/c/run.sh; }
old_processors() { Tests/c/run.sh old; }
arm64() { Tests/tools/arm64.sh; }
tools() { pytest Tests/tools; }
instructions() { pytest Tests/instructions; }
python() { pytest Tests/python; }

isa() { .venv/bin/python -c 'import normkit; print(normkit.instruction_set())'; }

# What depends on the instruction set, on another than the processor's best, which the step "python" runs on. Further
# arguments choose among the tests.
numerics() {
    if [ "$(isa)" = "$1" ]; then
        echo "skipped: on this processor, $1 is what the step \"python\" runs on"
    elif [ "$(NORMKIT_ISA=$1 isa)" != "$1" ]; then
        echo "skipped: this processor has no $1"
    else
        NORMKIT_ISA=$1 pytest Tests/python/test_{numerics*,gradients*,merging,weights,guards,plans_activations}.py "${@:2}"
    fi
}
# Where this is not the best, it differs from that in how it rounds to bfloat16.
numerics_v4() { numerics x86-64-v4 -k bf16; }
numerics_v3() { numerics x86-64-v3; }
numerics_v2() { numerics x86-64-v2; }

doctests() { pytest --doctest-modules bindings/python/normkit; }

# The Swift suite, with each sanitizer. A run with none would find nothing that these do not.
swift_suite() { swift test --quiet --disable-xctest --sanitize="$1" --scratch-path ".build-$1"; }
address_sanitizer() { swift_suite address; }
thread_sanitizer() { swift_suite thread; }
fuzz() { Tests/fuzz/run.sh 60; }

# The long ones first, so that the last to end does not end alone.
steps=(setup python fuzz address_sanitizer thread_sanitizer numerics_v4 numerics_v3 numerics_v2
    c old_processors arm64 tools instructions doctests)
[ $# -eq 0 ] || steps=("$@")
for step in "${steps[@]}"; do
    declare -F "$step" > /dev/null || { echo "test.sh: there is no step \"$step\"" >&2; exit 2; }
done

passed=0 failed=0
declare -A running=() started=()    # by process id: the step and when it began

# Waits until one of the running steps has ended, and says how.
finish_one() {
    local pid status=0 step log
    wait -n -p pid "${!running[@]}" || status=$?
    step=${running[$pid]} log=.build/test/${running[$pid]}.log
    if [ "$status" = 0 ]; then
        passed=$((passed + 1)) result=ok
    else
        failed=$((failed + 1)) result=FAILED
        sed "s/^/    /" "$log"
    fi
    printf '%-18s %-6s %4d s  %s\n' "$step" "$result" $((SECONDS - started[$pid])) \
        "$(grep -v '^\s*$' "$log" | tail -n 1)"
    unset "running[$pid]"
}

# Whoever ends this script ends the whole process group, with the steps that are running.
trap 'trap - TERM; kill 0' INT TERM
mkdir -p .build/test
for step in "${steps[@]}"; do
    [ ${#running[@]} -lt 2 ] || finish_one
    "$step" > ".build/test/$step.log" 2>&1 < /dev/null &
    running[$!]=$step started[$!]=$SECONDS
    [ "$step" != setup ] || finish_one  # the others need what it installs and builds
done
while [ ${#running[@]} -gt 0 ]; do finish_one; done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
