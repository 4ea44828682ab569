"""convert_speed.py — a packed Hugging Face folder of the 2B-4T shape becomes a GGUF file.

What: at least 300 MB/s of what is read, or the rate at which the disk takes a copy of the same
      bytes; less than 1 GB of memory; every layer in its place.
How:  a folder of random codes in two files with an index, 1.2 GB; peak memory as the kernel counts
      it. Only in a full run (BN_FULL=1), with 4 GiB of disk.
"""
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import cli
import harness
from cli import require

HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB = 2560, 6912, 30, 20, 5, 128256
RATE_MIN = 300e6
MEMORY_MAX = 1e9
DISK_NEEDED = 4 << 30
CHUNK = 1 << 24
# Bytes without code 3: a field 11 becomes 01.
NO_CODE_3 = bytes(b ^ ((b & b >> 1 & 0x55) << 1) for b in range(256))
# bf16 from 2^-7 to 0.5: the upper byte of each.
SMALL = bytes(0x3c + b % 3 for b in range(256))


def tensors():
    """(name, dtype, shape) of all tensors, layer by layer."""
    kv = HIDDEN // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", "BF16", [VOCAB, HIDDEN]
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, rows, cols in (
                ("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", kv, HIDDEN),
                ("self_attn.v_proj", kv, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
                ("mlp.gate_proj", FFN, HIDDEN), ("mlp.up_proj", FFN, HIDDEN),
                ("mlp.down_proj", HIDDEN, FFN)):
            yield f"{layer}{name}.weight", "U8", [rows // 4, cols]
            yield f"{layer}{name}.weight_scale", "BF16", [1]
        for name, n in (("input_layernorm", HIDDEN), ("post_attention_layernorm", HIDDEN),
                        ("self_attn.attn_sub_norm", HIDDEN), ("mlp.ffn_sub_norm", FFN)):
            yield f"{layer}{name}.weight", "BF16", [n]
    yield "model.norm.weight", "BF16", [HIDDEN]


def size(dtype, shape):
    n = 1 if dtype == "U8" else 2
    for dim in shape:
        n *= dim
    return n


def write_file(path, rows, codes, values):
    header, at = {}, 0
    for name, dtype, shape in rows:
        end = at + size(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, dtype, shape in rows:
            left, source = size(dtype, shape), codes if dtype == "U8" else values
            while left > 0:
                file.write(source[:left])
                left -= min(left, len(source))
    return at


def write_folder(folder):
    noise = random.Random(1).randbytes(CHUNK)
    codes = noise.translate(NO_CODE_3)
    values = bytearray(noise)
    values[1::2] = noise[1::2].translate(SMALL)
    rows = list(tensors())
    half, total, index = len(rows) // 2, 0, {}
    for number, part in ((1, rows[:half]), (2, rows[half:])):
        name = f"model-{number:05}-of-00002.safetensors"
        total += write_file(folder / name, part, codes, bytes(values))
        index.update({row[0]: name for row in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": total}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "vocab_size": VOCAB,
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_act": "relu2",
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1,
        "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear",
                                "quantization_mode": "offline"}}))
    # The smallest vocabulary that a folder may have; ids past it have no text.
    source = cli.SOURCE / "tests" / "golden" / "hf" / "llama-bpe"
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(source / name, folder / name)
    return total


def timed(command):
    """(seconds, peak bytes) of a command that succeeds."""
    began = time.monotonic()
    with subprocess.Popen(command, env=harness.environment(), stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    require(process.returncode == 0, f"{command} ended with {process.returncode}")
    return time.monotonic() - began, 1024 * usage.ru_maxrss


def check_speed_and_memory(directory):
    folder, out = directory / "folder", directory / "out.gguf"
    folder.mkdir()
    total = write_folder(folder)
    parts = sorted(folder.glob("*.safetensors"))
    os.sync()
    copying, _ = timed(["cp", *map(str, parts), str(directory)])
    for part in parts:
        (directory / part.name).unlink()
    seconds, peak = timed([str(cli.BIN / "bitnet-model"), "convert", str(folder), str(out)])
    print(f"{total / 1e6:.0f} MB in {seconds:.2f} s: {total / seconds / 1e6:.0f} MB/s; a copy "
          f"takes {copying:.2f} s; peak {peak / 1e6:.0f} MB")
    require(seconds <= max(total / RATE_MIN, 1.25 * copying), "too slow")
    require(peak < MEMORY_MAX, "too much memory")
    listed = json.loads(cli.program("bitnet-model", "inspect", out, "--json", "--tensors").stdout)
    n = sum(tensor["type"] == "I2_S" for tensor in listed["tensors"])
    require(n == 7 * LAYERS, f"{n} ternary matrices")


def main():
    if os.environ.get("BN_FULL") != "1":
        print("skipped: only in a full run (BN_FULL=1)")
        return cli.SKIP
    if shutil.disk_usage(tempfile.gettempdir()).free < DISK_NEEDED:
        print("skipped: less than 4 GiB of disk in the temporary folder")
        return cli.SKIP
    with tempfile.TemporaryDirectory() as directory:
        check_speed_and_memory(pathlib.Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
