"""real_shape.py — the 2B-4T shape with the Llama-3 vocabulary, over one, two and four ranks.

What: `synth --shape 2b-4t`, mpirun -np 1, 2, 4: the plan gives 30 | 30, 0 | 10, 10, 10, 0 layers;
      each worker's memory is its own share, promised and measured within 15 %; the same answer on
      each, streamed as it is made.
How:  real clusters; layers from --stats-out, memory from there and from what was printed. Only in
      a full run (BN_FULL=1), with the tiktoken file of the shared data and 6 GiB of memory.
"""

import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time

import cli
import harness
from cli import require
from harness import Layout

PLANS = {1: [30], 2: [30, 0], 4: [10, 10, 10, 0]}
MEMORY_NEEDED = 6 << 30
TOLERANCE = 0.15
TOKENS = 24


def vocabulary():
    shared = pathlib.Path(os.environ.get("BN_SHARED", cli.SOURCE.parent / "shared"))
    found = sorted(shared.glob("data/tokenizer/**/*llama*3*tiktoken*")) or sorted(
        shared.glob("data/tokenizer/**/*.tiktoken*"))
    return found[0] if found else None


def available_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return 1024 * int(re.search(r"^MemAvailable:\s+(\d+)", file.read(), re.M).group(1))


def model(directory):
    path = os.environ.get("BN_REAL_SHAPE_MODEL")
    if path:
        return pathlib.Path(path)
    return harness.synth(pathlib.Path(directory) / "2b-4t.gguf", "--shape", "2b-4t",
                         "--vocab-from", vocabulary(), "--seed", 1)


def stream(command, env):
    """Runs to the end; (when, bytes) of each part of stdout, and stderr."""
    with tempfile.TemporaryFile() as error:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=error, env=env)
        parts, deadline = [], time.monotonic() + 300
        try:
            while time.monotonic() < deadline:
                if not select.select([process.stdout], [], [], 1.0)[0]:
                    continue
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                parts.append((time.monotonic(), data))
            code = process.wait(30)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        error.seek(0)
        text = error.read().decode(errors="replace")
    require(code == 0, f"exit {code}:\n{text[-3000:]}")
    return parts, text


def ask(path, stages, directory):
    stats = pathlib.Path(directory) / "stats.json"
    stats.unlink(missing_ok=True)
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    command = [str(cli.BIN / "bitnet-coordinator"), "run", "--model", str(path), "--listen", url,
               "--workers", str(stages), "--prompt", "Why is the sky blue?", "-n", str(TOKENS),
               "--ignore-eos", "--seed", "1", "--stats-out", str(stats)]
    with tempfile.TemporaryFile() as log:
        layout = Layout(stages=stages, transport="mpi", isa=("auto",),
                        threads=max(1, len(os.sched_getaffinity(0)) // stages))
        workers = harness.start_workers(layout, url, log)
        try:
            parts, text = stream(command, harness.environment())
        finally:
            codes = harness.stop(workers)
    require(set(codes) == {0}, f"workers ended with {codes}")
    return parts, text, harness.read_json(stats)


def check_memory(stages, text, stats):
    print(f"{stages} stages: promised, reserved, resident")
    printed = re.findall(r"^stage \d+ .*$", text, re.M)
    require(len(printed) == stages, f"memory of {len(printed)} stages is printed:\n{text}")
    for worker, line in zip(stats["workers"], printed):
        promised = worker["weights_bytes"] + worker["kv_bytes"] + worker["buffers_bytes"]
        resident, peak = worker["resident_bytes"], worker["resident_peak_bytes"]
        print(f"  {line}\n    after the answer {resident / 2**20:.1f} MiB "
              f"({100 * (resident / promised - 1):+.1f} %), at most {peak / 2**20:.1f} MiB",
              flush=True)
        require(abs(resident - promised) <= TOLERANCE * promised,
                f"{promised} bytes promised, {resident} resident")
        # Rows of the embedding are looked up in the mapped file: pages that the kernel may drop.
        require(peak <= 2 * TOLERANCE * promised + promised, f"{promised} promised, {peak} at most")


def check_layouts():
    answers = {}
    with tempfile.TemporaryDirectory(dir=cli.work_dir()) as directory:
        path = model(directory)
        for stages, plan in PLANS.items():
            parts, text, stats = ask(path, stages, directory)
            layers = [worker["layer_end"] - worker["layer_begin"] for worker in stats["workers"]]
            require(layers == plan, f"{stages} stages hold {layers} layers, not {plan}")
            check_memory(stages, text, stats)
            require(len(parts) >= TOKENS // 3, f"{TOKENS} tokens came in {len(parts)} parts")
            span = parts[-1][0] - parts[0][0]
            first_half = [data for when, data in parts if when <= parts[0][0] + span / 2]
            require(len(first_half) >= 3, f"{len(first_half)} parts in the first half of the time")
            answers[stages] = b"".join(data for _, data in parts)
            print("  " + re.search(r"^prompt \d+ tokens.*$", text, re.M).group(0), flush=True)
    require(len(set(answers.values())) == 1, f"not one answer: {answers}")


def main():
    why = None
    if os.environ.get("BN_FULL") != "1":
        why = "only in a full run (BN_FULL=1)"
    elif not os.environ.get("BN_REAL_SHAPE_MODEL") and vocabulary() is None:
        why = "no tiktoken file in the shared data (BN_SHARED)"
    elif available_memory() < MEMORY_NEEDED:
        why = "less than 6 GiB of memory are available"
    elif not cli.has_mpi():
        why = "no MPI"
    if why:
        print(f"skipped: {why}")
        return cli.SKIP
    return cli.run_cases([check_layouts])


if __name__ == "__main__":
    sys.exit(main())
