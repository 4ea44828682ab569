#!/usr/bin/env python3
"""Writes the seeds of corpus/hf_folder and corpus/safetensors anew: folders of one tiny layer."""

import json
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))
import hf_folder  # noqa: E402

TINY = dict(num_hidden_layers=1, hidden_size=8, intermediate_size=16, num_attention_heads=2,
            num_key_value_heads=1, vocab_size=8, max_position_embeddings=64, rms_norm_eps=1e-5,
            rope_theta=10000.0)
DATA_BYTES = 3328  # of hf_folder_fuzz.c; a last tensor of bytes fills the rest
SEPARATOR = b"\x1e"
PLACE = ["model.layers.0.self_attn.rotary_emb.inv_freq"]


def header_of(path):
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(n)), file.read()


def padded(header):
    """The header with a tensor that nobody reads behind the others, aligned."""
    end = max(t["data_offsets"][1] for name, t in header.items() if name != "__metadata__")
    assert end <= DATA_BYTES, end
    if end < DATA_BYTES:
        header[PLACE[0]] = dict(dtype="U8", shape=[DATA_BYTES - end],
                                data_offsets=[end, DATA_BYTES])
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def write(folder, name, data):
    path = os.path.join(HERE, "corpus", folder)
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, name), "wb") as file:
        file.write(data)


def main():
    for kind in hf_folder.KINDS:
        with tempfile.TemporaryDirectory() as directory:
            if kind == "bonsai":
                continue  # groups of 128 need a larger layer; its config is below
            hf_folder.write(kind, directory, shape=TINY)
            with open(os.path.join(directory, "config.json"), "rb") as file:
                config = file.read()
            weights = os.path.join(directory, "model.safetensors")
            header, data = header_of(weights)
            text = padded(dict(header))
            write("hf_folder", kind, config + SEPARATOR + text)
            if kind == "2b-4t":
                names = json.dumps({"weight_map": {
                    name: "model-1.safetensors" for name in json.loads(text)
                    if name != "__metadata__"}}).encode()
                write("hf_folder", "sharded", config + SEPARATOR + text + SEPARATOR + names)
                with open(weights, "rb") as file:
                    write("safetensors", "whole-file", file.read())
                write("safetensors", "header", json.dumps(header).encode() + SEPARATOR + data)
    config = json.dumps({**TINY, **hf_folder.KINDS["bonsai"][0]}).encode()
    write("hf_folder", "config-bonsai", config)


if __name__ == "__main__":
    main()
