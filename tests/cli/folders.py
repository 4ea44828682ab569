"""folders.py — Hugging Face folders as --model, and what convert makes of them.

What: every kind of folder gives the logits of the GGUF that `convert` writes of it, bit for bit,
      over one stage and two, in one file and in shards; a worker reads the weights of its own
      layers only; what is wrong with a folder is said by name. In a full run (BN_FULL=1) a packed
      folder of the 2B-4T shape converts at 300 MB/s, or as fast as its bytes can be copied here,
      in less than 1 GB.
How:  random folders of tests/golden/hf_folder.py; logits as files; a weight changed in one place
      must change them; code 3 in the last layer must trouble the last worker alone.
"""

import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import cli
from cli import require

sys.path.insert(0, str(cli.SOURCE / "tests" / "golden"))
import hf_folder  # noqa: E402

TOKENS = "1,2,3,200,5,319,0,17"
RATE_MIN = 300e6
MEMORY_MAX = 1000 << 20
DISK_NEEDED = 4 << 30


def logits(model, directory, *arguments):
    path = pathlib.Path(directory) / "logits"
    cli.coordinator("eval", "--model", model, "--worker-threads", 1, "--tokens", TOKENS,
                    "--logits-out", path, *arguments)
    return path.read_bytes()


def convert(folder, out, *arguments):
    done = cli.program("bitnet-model", "convert", folder, out, *arguments)
    require(done.returncode == 0, done.stderr.decode())
    return out


def place_of(folder, name):
    """Path, offset and bytes of a tensor of a folder of one file."""
    path = pathlib.Path(folder) / "model.safetensors"
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        begin, end = json.loads(file.read(n))[name]["data_offsets"]
    return path, 8 + n + begin, end - begin


def change_byte(folder, name, at, value):
    path, offset, _ = place_of(folder, name)
    with open(path, "r+b") as file:
        file.seek(offset + at)
        file.write(bytes([value]))


def check_logits():
    seen = set()
    for kind in hf_folder.KINDS:
        with tempfile.TemporaryDirectory() as directory:
            folder = os.path.join(directory, "model")
            hf_folder.write(kind, folder)
            first = logits(folder, directory, "--local", 1)
            require(logits(folder, directory, "--local", 2) == first, f"{kind}: two stages differ")
            # Scales of groups have no ternary type that all programs read.
            type_name = "f16" if kind == "bonsai" else "i2_s"
            gguf = convert(folder, os.path.join(directory, "model.gguf"), "--type", type_name)
            for stages in (1, 2):
                require(logits(gguf, directory, "--local", stages) == first,
                        f"{kind}: the GGUF over {stages} stages differs")
            require(first not in seen, f"{kind}: the logits of another kind")
            seen.add(first)


def check_shards():
    with tempfile.TemporaryDirectory() as directory:
        one, three = os.path.join(directory, "one"), os.path.join(directory, "three")
        hf_folder.write("llama-1.58", one)
        hf_folder.write("llama-1.58", three, shards=3)
        first = logits(one, directory, "--local", 1)
        require(logits(three, directory, "--local", 2) == first, "shards differ from one file")
        shard = os.path.join(three, "model-00002-of-00003.safetensors")
        os.rename(shard, shard + ".away")
        done = cli.coordinator("eval", "--model", three, "--local", 1, "--tokens", "1", code=1)
        require(b"model-00002-of-00003.safetensors is missing" in done.stderr, done.stderr.decode())


def check_that_a_weight_matters():
    with tempfile.TemporaryDirectory() as directory:
        folder = os.path.join(directory, "model")
        hf_folder.write("2b-4t", folder)
        first = logits(folder, directory, "--local", 1)
        name = "model.layers.1.mlp.up_proj.weight"
        path, offset, _ = place_of(folder, name)
        with open(path, "rb") as file:
            file.seek(offset + 77)
            old = file.read(1)[0]
        change_byte(folder, name, 77, old ^ (1 if old & 3 == 0 else old & 3))
        require(logits(folder, directory, "--local", 1) != first, "another weight, the same logits")


def check_own_layers():
    with tempfile.TemporaryDirectory() as directory:
        folder = os.path.join(directory, "model")
        hf_folder.write("2b-4t", folder)
        change_byte(folder, "model.layers.2.mlp.down_proj.weight", 5, 0xff)
        done = cli.coordinator("eval", "--model", folder, "--local", 2, "--layers", "2,1",
                               "--worker-threads", 1, "--tokens", "1,2", code=1)
        said = done.stderr.decode()
        require("blk.2.ffn_down.weight: element 5 has an unused code" in said, said)
        require(re.search(r"worker 1\b.*blk\.2\.ffn_down", said) and
                not re.search(r"worker 0\b.*blk\.2\.ffn_down", said), said)


def check_refusals():
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory) / "model"
        hf_folder.write("2b-4t", folder)
        weights, config = folder / "model.safetensors", folder / "config.json"
        kept = weights.read_bytes(), config.read_text()
        for change, words in (
                (lambda: weights.write_bytes(kept[0][:-100]), "model.safetensors: the file is cut"),
                (lambda: config.write_text(kept[1].replace('"intermediate_size": 256',
                                                           '"intermediate_size": 512')),
                 "config.json says [128, 128] (intermediate_size ÷ 4, hidden_size)"),
                (lambda: config.write_text(kept[1].replace('"relu2"', '"gelu"')),
                 'config.json: key hidden_act is "gelu"'),
                (weights.unlink, "holds neither model.safetensors nor"),
                (config.unlink, "is a directory without config.json")):
            weights.write_bytes(kept[0])
            config.write_text(kept[1])
            change()
            for command in (("bitnet-model", "inspect", folder),
                            ("bitnet-model", "convert", folder, folder / "out.gguf"),
                            ("bitnet-coordinator", "eval", "--local", "1", "--tokens", "1",
                             "--model", folder)):
                done = cli.program(*command)
                require(done.returncode == 1, f"{command} ended with {done.returncode}")
                require(words in done.stderr.decode(), f"{command}: {done.stderr.decode()}")


def copy_rate(path, to):
    began = time.monotonic()
    with open(path, "rb") as source, open(to, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return os.path.getsize(path) / (time.monotonic() - began)


def check_speed():
    if os.environ.get("BN_FULL") != "1":
        print("skipped: the speed of convert is measured in a full run (BN_FULL=1)")
        return
    with tempfile.TemporaryDirectory() as directory:
        free = shutil.disk_usage(directory).free
        require(free >= DISK_NEEDED, f"{free} bytes free in {directory}; 4 GiB are needed")
        folder, out = os.path.join(directory, "model"), os.path.join(directory, "out.gguf")
        hf_folder.write("2b-4t", folder, shape=hf_folder.B2_4T)
        weights = os.path.join(folder, "model.safetensors")
        disk = copy_rate(weights, out)
        os.unlink(out)
        process = subprocess.Popen([str(cli.BIN / "bitnet-model"), "convert", folder, out],
                                   stdout=subprocess.DEVNULL)
        began = time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        rate = os.path.getsize(weights) / (time.monotonic() - began)
        require(process.returncode == 0, f"convert ended with {process.returncode}")
        print(f"convert: {rate / 1e6:.0f} MB/s (a copy: {disk / 1e6:.0f} MB/s), "
              f"peak {usage.ru_maxrss / 1024:.0f} MiB")
        require(usage.ru_maxrss * 1024 < MEMORY_MAX, f"peak {usage.ru_maxrss} KiB")
        if os.environ.get("BN_SANITIZE"):
            return
        require(rate >= min(RATE_MIN, 0.8 * disk), f"{rate / 1e6:.0f} MB/s")


def main():
    return cli.run_cases([check_logits, check_shards, check_that_a_weight_matters,
                          check_own_layers, check_refusals, check_speed])


if __name__ == "__main__":
    sys.exit(main())
