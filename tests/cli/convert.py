"""convert.py — bitnet-model convert as people use it.

What: a model converted and converted back is the same file, from a GGUF and from every folder of
      tests/golden/huggingface; all types give one answer; the report; a signal and a full disk
      leave nothing; refusals name what is wrong.
How:  the program itself; a limit on the size of files plays the full disk.
"""
import filecmp
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import cli
import harness
from cli import require

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "golden" / "huggingface"
TYPES = ("i2_s", "tq1_0", "tq2_0", "f16")


def place(name):
    return cli.work_dir() / f"convert-{name}.{os.getpid()}.gguf"


def convert(*arguments, code=0):
    done = cli.program("bitnet-model", "convert", *arguments)
    require(done.returncode == code, f"convert {' '.join(map(str, arguments))} ended with "
                                     f"{done.returncode}:\n{done.stderr.decode()}")
    return (done.stdout if code == 0 else done.stderr).decode()


def logits(model):
    out = cli.work_dir() / f"convert.{os.getpid()}.f32"
    cli.coordinator("eval", "--model", model, "--local", "1", "--tokens", "1,5,9,2",
                    "--logits-out", out)
    data = out.read_bytes()
    out.unlink()
    return data


def check_round_trips():
    model, first, second = cli.tiny("bpe"), place("a"), place("b")
    for name in TYPES:
        said = convert(model, first, "--type", name)
        require(f"28 ternary matrices as {name}" in said, said)
        convert(first, second)
        require(filecmp.cmp(model, second, shallow=False), f"{name} and back is another file")
    require(logits(model) == logits(second), "another answer")


def check_answers():
    """Every type gives the same logits in every bit; TL1 and TL2 in a shape that has them."""
    large = cli.tiny(None, "large", "--arch", "bitnet", "--layers", 1, "--hidden", 1536, "--ffn",
                     4096, "--heads", 16, "--vocab", 300)
    expected, out = logits(large), place("a")
    for name in (*TYPES, "tl1", "tl2"):
        convert(large, out, "--type", name)
        require(logits(out) == expected, f"{name} gives another answer")


def check_folders():
    """A folder and the GGUF made of it hold the same trits, whatever the types in between."""
    first, second, third = place("a"), place("b"), place("c")
    for config in sorted(FIXTURES.glob("*/config.json")):
        folder = config.parent
        done = cli.program("bitnet-model", "convert", folder, first)
        if b"which I2_S cannot hold; use --type f16" in done.stderr:
            convert(folder, first, "--type", "f16")
            convert(first, second, "--type", "f16")
        else:
            require(done.returncode == 0, f"{folder}:\n{done.stderr.decode()}")
            convert(first, third, "--type", "f16")
            convert(third, second)
        require(filecmp.cmp(first, second, shallow=False), f"{folder}: and back is another file")


def check_published_kinds():
    """The tiny model of each published architecture answers as before when its weights are F16."""
    out = place("a")
    for model in sorted(FIXTURES.glob("*.gguf")):
        convert(model, out, "--type", "f16")
        require(logits(out) == logits(model), f"{model.name} gives another answer in F16")


def check_report():
    report = cli.work_dir() / f"convert.{os.getpid()}.json"
    convert(cli.tiny("bpe"), place("a"), "--type", "tq2_0", "--head", "q8_0", "--report", report)
    said = json.loads(report.read_text())
    report.unlink()
    require((said["type"], said["ternary_tensors"], said["deviation"]) == ("TQ2_0", 28, 0), said)
    kinds = {t["name"]: t for t in said["tensors"]}
    require(kinds["token_embd.weight"]["to"] == "Q8_0", kinds["token_embd.weight"])
    one = kinds["blk.2.attn_q.weight"]
    require((one["from"], one["to"], one["rule"]) == ("I2_S", "TQ2_0", "stored"), one)
    require(one["minus"] + one["zero"] + one["plus"] == one["columns"] * one["rows"], one)
    require(abs(one["zeros"] - one["zero"] / (one["columns"] * one["rows"])) < 1e-9, one)
    require(0 < one["scale"] < 1 and one["scale_tensor"] == one["scale"], one)


def check_signals():
    """Ctrl-C in the middle, as soon as there is a middle."""
    model = cli.tiny(None, "long", "--shape", "125M", "--no-tokenizer")
    out = place("interrupted")
    partial = pathlib.Path(f"{out}.partial")
    command = [str(cli.BIN / "bitnet-model"), "convert", str(model), str(out), "--type", "f16",
               "--threads", "1"]
    for number in (signal.SIGINT, signal.SIGTERM):
        for _ in range(20):  # until it was not over before the signal came
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env=harness.environment()) as process:
                deadline = time.monotonic() + 60
                while not partial.exists() and process.poll() is None:
                    require(time.monotonic() < deadline, "no file is begun")
                    time.sleep(0.001)
                process.send_signal(number)
                code = process.wait(60)
            require(not partial.exists(), f"signal {number} leaves {partial}")
            if code != 0:
                break
            out.unlink()
        require(code == 128 + number, f"signal {number} ends with {code}")
        require(not out.exists(), f"signal {number} leaves {out}")


def check_full_disk():
    out = place("full")
    command = [str(cli.BIN / "bitnet-model"), "convert", str(cli.tiny("bpe")), str(out)]
    done = subprocess.run(command, capture_output=True, env=harness.environment(), check=False,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                (300000, 300000)))
    require(done.returncode == 1, f"a full disk ends with {done.returncode}")
    require(str(out) in done.stderr.decode(), done.stderr.decode())
    require(not out.exists() and not pathlib.Path(f"{out}.partial").exists(), "a file is left")


def check_refusals():
    model, out = cli.tiny("bpe"), place("refused")
    require("no kernel for this shape" in convert(model, out, "--type", "tl2", code=1), "tl2")
    require("needs rows and columns" in convert(
        model, out, "--type", "tl1", "--tile", "256x256:0,64,32", code=1), "an empty tile")
    require("No such file" in convert("/no/model", out, code=1), "an absent model")
    require("give OUT another name" in convert(model, model, code=2), "IN is OUT")
    require(not out.exists(), "a file is left")


def main():
    return cli.run_cases([check_round_trips, check_answers, check_folders, check_published_kinds,
                          check_report, check_signals, check_full_disk, check_refusals])


if __name__ == "__main__":
    sys.exit(main())
