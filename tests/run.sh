#!/usr/bin/env bash
# Installs what is missing, builds and runs every test:
#
#   ./tests/run.sh           the ordinary run, under 20 minutes on two cores
#   ./tests/run.sh --full    also what does not fit into that
#
# Stages: the gcc and clang builds without a warning, and one at -O0; every test through ctest; the
# unit tests as compiled by clang; ASan+UBSan; TSan (without MPI). All stages run, also after a
# failure. The last lines give the time per suite and stage and what passed and failed; exit 1 if
# anything did.
set -uo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

full=0
case "${1:-}" in
"") ;;
--full) full=1 ;;
-h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
*)
    echo "run.sh: unknown argument '$1' (only --full)" >&2
    exit 2
    ;;
esac

# More ranks than cores is what the tests want, and root is common in containers.
export OMPI_MCA_rmaps_base_oversubscribe=1
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export BN_FULL=$full
export BN_OTHER_BIN_DIRS=$root/build/clang/bin:$root/build/O0/bin

jobs=2
logs=$root/build/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log
passed=0 failed=0 skipped=0
began=$SECONDS
stage_times=()
failures=()
run_presets=()

# stage NAME COMMAND...: runs, prints and remembers the time; a failing command is a failure.
stage() {
    local name=$1 start=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if "$@"; then
        stage_times+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
    else
        stage_times+=("$(printf '%6d s  %s  FAILED' $((SECONDS - start)) "$name")")
        return 1
    fi
}

# build PRESET [cmake arguments]
build() {
    local preset=$1 log=$logs/build-$1.log
    shift
    if cmake --preset "$preset" "$@" >"$log" 2>&1 &&
        nice cmake --build "build/$preset" -j "$jobs" >>"$log" 2>&1; then
        grep -c '^\[' "$log" | sed 's/$/ steps/'
        return 0
    fi
    grep -nE 'error|warning|FAILED|CMake Error' -A 4 "$log" | head -60
    echo "build/$preset failed; the whole log: $log"
    failed=$((failed + 1))
    failures+=("build $preset")
    return 1
}

# count NAME: adds ctest's figures to the sums.
count() {
    local log=$logs/ctest-$1.log name
    # Test lines read "1/9 Test  #3: name ....   Passed    0.01 sec", with ***Failed and the like.
    passed=$((passed + $(grep -cE '^ *[0-9]+/[0-9]+ Test +#.* Passed ' "$log")))
    skipped=$((skipped + $(grep -cE '^ *[0-9]+/[0-9]+ Test +#.*\*\*\*Skipped' "$log")))
    while read -r name; do
        failed=$((failed + 1))
        failures+=("$1: $name")
    done < <(awk '/^ *[0-9]+\/[0-9]+ Test +#/ && !/ Passed / && !/\*\*\*Skipped/ {
        sub(/^.*#[0-9]+: /, ""); print $1 }' "$log")
}

# suites NAME: ctest's own seconds per label; the folders of tests/ are labels.
suites() {
    awk '/^Total Test time/ { on = 0 }
        on && NF > 3 { printf "%9.1f s  %-14s %4d tests\n", $3, $1, substr($5, 2) }
        /^Label Time Summary/ { on = 1 }' "$logs/ctest-$1.log" | sort -rn
}

# run_tests PRESET [ctest arguments]
run_tests() {
    local preset=$1 before=$failed log=$logs/ctest-$1.log
    shift
    BN_BIN_DIR=$root/build/$preset/bin ctest --test-dir "build/$preset" --output-on-failure \
        --no-tests=error -j "$jobs" "$@" 2>&1 | tee "$log"
    local status=${PIPESTATUS[0]}
    count "$preset"
    # A failure of ctest that no test explains (none found, a crash of its own) counts as well.
    if [ "$status" != 0 ] && [ "$failed" = "$before" ]; then
        failed=$((failed + 1))
        failures+=("$preset: ctest itself, exit $status")
    fi
    run_presets+=("$preset")
    [ "$failed" = "$before" ]
}

stage "dependencies" ./deploy/install-deps.sh || exit 1

# What an ordinary run leaves out of the repeated stages. --full leaves out only timings and the
# style, which is the same under every compiler.
if [ $full = 1 ]; then
    few=(-LE '^(tidy|bench)$')
    many=(-LE '^(tidy|bench)$')
    threads=("${many[@]}")
else
    few=(-LE '^(tidy|bench|long|cluster|cli|mpi|serial)$')
    many=(-LE '^(tidy|bench|long)$')
    threads=(-LE '^(tidy|bench|long|cli)$')
fi

stage "build: clang" build clang
clang_is_built=$?
stage "build: gcc -O0" build O0
if stage "build: gcc" build release -DBN_WERROR=ON; then stage "tests" run_tests release; fi
if [ $clang_is_built = 0 ]; then stage "tests, compiled by clang" run_tests clang "${few[@]}"; fi
if stage "build: ASan+UBSan" build asan; then
    BN_REPEATED=1 stage "tests, ASan+UBSan" run_tests asan "${many[@]}"
fi
if stage "build: TSan" build tsan; then
    BN_REPEATED=1 stage "tests, TSan" run_tests tsan "${threads[@]}"
fi

for preset in "${run_presets[@]+"${run_presets[@]}"}"; do
    printf '\n=== seconds per suite (%s)\n' "$preset"
    suites "$preset"
done
printf '\n=== seconds per stage\n'
printf '%s\n' "${stage_times[@]}"
printf '%6d s  in all\n' $((SECONDS - began))
if [ ${#failures[@]} -gt 0 ]; then
    printf '\n=== failed\n'
    printf '  %s\n' "${failures[@]}"
fi
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
