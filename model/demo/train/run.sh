#!/usr/bin/env bash
# Makes model/demo again, all of it: ./model/demo/train/run.sh RUN_DIR
#
# Trains into RUN_DIR (a second run goes on from its last checkpoint), exports the Hugging Face
# folder, converts it, writes the held-out files, and measures. Wants python3 (PYTHON names another)
# with the packages of requirements.txt, and our programs (BN_BIN_DIR, default build/release/bin).
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: run.sh RUN_DIR" >&2
    exit 2
fi
run=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
demo=$(dirname "$here")
bin=${BN_BIN_DIR:-$demo/../../build/release/bin}
python=${PYTHON:-python3}

# Large blocks are kept, not given back to the system and taken again at each step.
export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
"$python" "$here/train.py" --out "$run" --seed 1
"$python" "$here/export.py" "$run" "$demo"
cp "$run/train.log" "$here/train.log"
"$python" "$here/make_heldout.py" "$demo"
"$bin/bitnet-model" convert "$demo" "$demo/demo.gguf" --head f16
zeros=$("$python" "$here/zeros.py" "$run" "$demo/held-out.txt")
"$python" "$demo/measure.py" "$bin" --zeros "$zeros"
"$python" "$demo/compare_transformers.py" "$bin" "$demo/demo.gguf"
