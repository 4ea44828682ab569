#!/usr/bin/env bash
# From a fresh checkout to a prompt that four workers answer:
#
#   ./deploy/quickstart.sh                      opens the coordinator's prompt
#   ./deploy/quickstart.sh "Tell me a story."   answers once and exits
#
# Installs what is missing, builds, starts `mpirun -np 4 bitnet-worker` and the coordinator, and
# stops everything again at the end. The model is the small one in model/demo, trained on made-up
# stories and sums; BITNET_MODEL names another. Run it as often as you like: what is there already
# is not done twice.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/release
state=$root/build/quickstart
workers=${BITNET_QUICKSTART_WORKERS:-4}

case "${1:-}" in
-h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    echo
    echo "Environment: BITNET_MODEL (a GGUF file or a folder; default model/demo/demo.gguf),"
    echo "BITNET_QUICKSTART_WORKERS (default 4)."
    exit 0
    ;;
esac
if [ $# -gt 1 ]; then
    echo "quickstart.sh: at most one PROMPT; put it in quotes" >&2
    exit 2
fi

say() { printf 'quickstart: %s\n' "$*" >&2; }

model=${BITNET_MODEL:-}
if [ -n "$model" ] && [ ! -r "$model" ]; then
    say "BITNET_MODEL=$model: there is no such file, or it cannot be read"
    exit 1
fi

"$root/deploy/install-deps.sh" build

if [ -x "$build/bin/bitnet-coordinator" ]; then
    say "building (build/release)"
else
    say "building (build/release): half a minute or so, the first time"
fi
mkdir -p "$state"
# Two at once build one after the other.
if command -v flock >/dev/null; then
    exec 9>"$state/lock"
    flock 9
fi
if ! { cmake -S "$root" --preset release && cmake --build "$build" --target \
    bitnet-model bitnet-worker bitnet-coordinator; } >"$state/build.log" 2>&1; then
    tail -n 30 "$state/build.log" >&2
    say "the build failed; the whole log is build/quickstart/build.log"
    exit 1
fi

if [ -z "$model" ]; then
    model=$root/model/demo/demo.gguf
    say "the model is model/demo: small, trained on made-up stories and sums"
fi
exec 9>&-

free_port() {
    local port
    for port in $(seq 7070 7169); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    say "no free port between 7070 and 7169"
    return 1
}

port=$(free_port)
export BITNET_COORDINATOR=tcp://127.0.0.1:$port
export BITNET_MODEL=$model
# More ranks than cores is right here, and root is common in containers: OpenMPI wants to be told.
export OMPI_MCA_rmaps_base_oversubscribe=1
if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

job=
ends_within() { # tenths of a second
    for _ in $(seq "$1"); do
        kill -0 "$job" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}
stop_workers() {
    local status=$? patience=0
    trap '' INT TERM HUP
    trap - EXIT
    # Workers leave by themselves when the coordinator says farewell; mpirun ends after them.
    case "$status" in 0 | 130) patience=30 ;; esac
    if [ -n "$job" ] && ! ends_within "$patience"; then
        kill -TERM "$job" 2>/dev/null || true
        ends_within 50 || kill -KILL "-$job" 2>/dev/null || true
    fi
    exit "$status"
}
trap stop_workers EXIT
trap 'exit 143' TERM HUP
# Ctrl-C belongs to the coordinator: one stops an answer, a second leaves.
trap : INT

say "starting mpirun -np $workers bitnet-worker (log: build/quickstart/workers-$port.log)"
setsid mpirun -np "$workers" --bind-to none "$build/bin/bitnet-worker" \
    </dev/null >"$state/workers-$port.log" 2>&1 &
job=$!

status=0
if [ $# -eq 1 ]; then
    "$build/bin/bitnet-coordinator" run --listen "$BITNET_COORDINATOR" --workers "$workers" \
        --prompt "$1" || status=$?
else
    "$build/bin/bitnet-coordinator" --listen "$BITNET_COORDINATOR" --workers "$workers" || status=$?
fi
if [ "$status" -ne 0 ] && [ "$status" -ne 130 ] && [ -s "$state/workers-$port.log" ]; then
    say "the coordinator ended with $status; the last lines of the workers:"
    tail -n 15 "$state/workers-$port.log" >&2
fi
exit "$status"
