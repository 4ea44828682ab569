"""ratios.py — the speed of whole clusters against what the machine can do, in one run.

    python3 tests/bench/ratios.py MODEL [--rounds 3]

Prints, for a model of the 2b-4t shape (bitnet-model synth m.gguf --shape 2b-4t --vocab 128256):
decode against the measured read bandwidth ÷ the bytes the kernels walk; prefill of 512 tokens
against the measured vpdpbusd peak; two stages of one thread against one stage of two threads on
the same eight sequences. Machine and programs are measured alternately, and medians compared, so
that a noisy machine disturbs both alike. Not a test: times are never asserted.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys

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
    outcome = harness.run(layout, ["bench", "--prompt-tokens", prompt, "--generate", generate,
                                   "--sequences", sequences, "--json", *more], model, timeout=600)
    if outcome.code != 0:
        sys.exit(outcome.stderr + outcome.worker_log)
    return json.loads(outcome.stdout)


def walked(model):
    done = subprocess.run([str(harness.BIN / "bitnet-model"), "inspect", str(model), "--json"],
                          capture_output=True, text=True, check=True, env=harness.environment())
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    facts = walked(options.model)
    bytes_per_token = facts["model"]["bytes_per_token"]
    macs_per_token = facts["model"]["ternary_macs_per_token"]

    one = Layout(stages=1, threads=2, isa=("avx512",))
    two = Layout(stages=2, threads=1, isa=("avx512",))
    rows = {name: [] for name in ("read GB/s", "vpdpbusd GMAC/s", "decode tok/s", "prefill tok/s",
                                  "1 stage, 8 seq tok/s", "2 stages, 8 seq tok/s",
                                  "decode share", "prefill share", "pipeline share")}
    for _ in range(options.rounds):
        bandwidth, peak = machine()
        single = bench(one, options.model, 16, 48, 1)
        prompt = bench(one, options.model, 512, 2, 1)
        both = bench(one, options.model, 8, 32, 8)
        pipe = bench(two, options.model, 8, 32, 8)
        values = {
            "read GB/s": bandwidth,
            "vpdpbusd GMAC/s": peak,
            "decode tok/s": single["decode_tokens_per_s"],
            "prefill tok/s": prompt["prefill_tokens_per_s"],
            "1 stage, 8 seq tok/s": both["decode_tokens_per_s"],
            "2 stages, 8 seq tok/s": pipe["decode_tokens_per_s"],
            "decode share": single["decode_tokens_per_s"] * bytes_per_token / (bandwidth * 1e9),
            "prefill share": prompt["prefill_tokens_per_s"] * macs_per_token / (peak * 1e9),
            "pipeline share": pipe["decode_tokens_per_s"] / both["decode_tokens_per_s"],
        }
        for name, value in values.items():
            rows[name].append(value)
        print("  ".join(f"{name} {value:.3g}" for name, value in values.items()), file=sys.stderr)
    print(f"model {options.model.name}: {bytes_per_token / 1e9:.3f} GB walked per decoded token, "
          f"{macs_per_token / 1e9:.3f} G multiply-adds per token")
    for name, values in rows.items():
        print(f"{name:24s} median {statistics.median(values):8.3f}   "
              f"min {min(values):8.3f}   max {max(values):8.3f}")


if __name__ == "__main__":
    os.environ.setdefault("BN_BIN_DIR", "build/release/bin")
    main()
