"""ratios.py — the speed of whole clusters against what the machine can do, in one run.

    python3 tests/bench/ratios.py MODEL [--rounds 3] [--head full] [--plan-for screened]

Prints, for a model of the 2b-4t shape (bitnet-model synth m.gguf --shape 2b-4t --vocab 128256):
decode against the measured read bandwidth ÷ the bytes the kernels walk; prefill of 512 tokens
against the measured vpdpbusd peak; two stages of one thread against one stage of two threads on
the same eight sequences. Machine and programs are measured alternately, and medians compared, so
that a noisy machine disturbs both alike. Bytes walked are those that the run walked: the layers,
and the whole head or its screen and the rows that survived it, by the last stage's own counters.
Not a test: times are never asserted.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))
import harness
from harness import Layout

CHECK_KERNELS = harness.BIN.parent / "tests" / "bin" / "check_kernels"


def machine():
    """(GB/s read, GMAC/s of vpdpbusd) with two threads."""
    done = subprocess.run([str(CHECK_KERNELS), "--machine"], capture_output=True, text=True,
                          check=True, env=harness.environment())
    found = re.search(r"2 threads: read +([\d.]+) GB/s, vpdpbusd +([\d.]+) GMAC/s", done.stdout)
    return float(found[1]), float(found[2])


def bench(layout, model, prompt, generate, sequences, *more):
    with tempfile.TemporaryDirectory() as directory:
        stats = pathlib.Path(directory) / "stats.json"
        outcome = harness.run(layout, ["bench", "--prompt-tokens", prompt, "--generate", generate,
                                       "--sequences", sequences, "--json", "--stats-out", stats,
                                       *more], model, timeout=600)
        if outcome.code != 0:
            sys.exit(outcome.stderr + outcome.worker_log)
        return {**json.loads(outcome.stdout), "last": harness.read_json(stats)["workers"][-1]}


def bytes_of_a_token(facts, last):
    """(GB walked for one token alone, rows that survived the screen for it)"""
    model, screened = facts["model"], last["head_screened"]
    if screened == 0:
        return (model["layer_bytes_per_token"] + model["head_bytes_per_token"]) / 1e9, 0.0
    survivors = last["head_survivors"] / screened
    rows = survivors * model["head_bytes_per_token"] / model["vocab"]
    return (model["layer_bytes_per_token"] + model["head_screen_bytes_per_token"] + rows) / 1e9, survivors


def facts_of(model):
    done = subprocess.run([str(harness.BIN / "bitnet-model"), "inspect", str(model), "--json"],
                          capture_output=True, text=True, check=True, env=harness.environment())
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--head", default="auto", choices=("auto", "full", "screen"))
    parser.add_argument("--plan-for", default="decode", help="how the two stages are cut")
    options = parser.parse_args()
    facts = facts_of(options.model)
    macs_per_token = facts["model"]["ternary_macs_per_token"]

    head = ("--head", options.head)
    one = Layout(stages=1, threads=2, isa=("avx512",), worker_args=head)
    two = Layout(stages=2, threads=1, isa=("avx512",), worker_args=head)
    rows = {name: [] for name in ("read GB/s", "vpdpbusd GMAC/s", "decode tok/s", "prefill tok/s",
                                  "1 stage, 8 seq tok/s", "2 stages, 8 seq tok/s",
                                  "walked GB/token", "surviving rows",
                                  "decode share", "prefill share", "pipeline share")}
    for _ in range(options.rounds):
        bandwidth, peak = machine()
        single = bench(one, options.model, 16, 48, 1)
        prompt = bench(one, options.model, 512, 2, 1)
        both = bench(one, options.model, 8, 32, 8)
        pipe = bench(two, options.model, 8, 32, 8, "--plan-for", options.plan_for)
        walked_gb, survivors = bytes_of_a_token(facts, single["last"])
        values = {
            "read GB/s": bandwidth,
            "vpdpbusd GMAC/s": peak,
            "decode tok/s": single["decode_tokens_per_s"],
            "prefill tok/s": prompt["prefill_tokens_per_s"],
            "1 stage, 8 seq tok/s": both["decode_tokens_per_s"],
            "2 stages, 8 seq tok/s": pipe["decode_tokens_per_s"],
            "walked GB/token": walked_gb,
            "surviving rows": survivors,
            "decode share": single["decode_tokens_per_s"] * walked_gb / bandwidth,
            "prefill share": prompt["prefill_tokens_per_s"] * macs_per_token / (peak * 1e9),
            "pipeline share": pipe["decode_tokens_per_s"] / both["decode_tokens_per_s"],
        }
        for name, value in values.items():
            rows[name].append(value)
        print("  ".join(f"{name} {value:.3g}" for name, value in values.items()), file=sys.stderr)
    print(f"model {options.model.name}: {macs_per_token / 1e9:.3f} G multiply-adds per token, "
          f"--head {options.head}, two stages planned for {options.plan_for}")
    for name, values in rows.items():
        print(f"{name:24s} median {statistics.median(values):8.3f}   "
              f"min {min(values):8.3f}   max {max(values):8.3f}")


if __name__ == "__main__":
    os.environ.setdefault("BN_BIN_DIR", "build/release/bin")
    main()
