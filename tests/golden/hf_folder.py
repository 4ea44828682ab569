#!/usr/bin/env python3
"""Writes random models as Hugging Face folders: config.json and safetensors, nothing else needed.

    hf_folder.py KIND DIR [--shards N] [--shape 2b-4t] [--seed S]

KIND is a row of KINDS: the configuration and the weights as that publisher lays them out. Written
from the format descriptions alone (docs/FORMAT.md) with the standard library. The weights mean
nothing. `--shape 2b-4t` makes a packed folder of the size of the published model (1.2 GB).
"""
import argparse
import json
import os
import random
import struct

SMALL = dict(num_hidden_layers=3, hidden_size=128, intermediate_size=256, num_attention_heads=4,
             num_key_value_heads=2, vocab_size=320, max_position_embeddings=512,
             rms_norm_eps=1e-5, rope_theta=10000.0)
B2_4T = dict(num_hidden_layers=30, hidden_size=2560, intermediate_size=6912,
             num_attention_heads=20, num_key_value_heads=5, vocab_size=128256,
             max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=500000.0)

PACKED = dict(quant_method="bitnet", modules_to_not_convert=None)
AUTO = dict(PACKED, linear_class="autobitlinear", quantization_mode="offline")
BITNET = dict(architectures=["BitNetForCausalLM"], model_type="bitnet", hidden_act="relu2",
              tie_word_embeddings=True, torch_dtype="bfloat16")
ONE_BIT = dict(architectures=["BitnetForCausalLM"], model_type="llama", hidden_act="silu",
               tie_word_embeddings=True, rope_scaling=None, weight_bits=1, input_bits=8)
LLAMA = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu",
             attention_bias=False, mlp_bias=False, tie_word_embeddings=False, rope_scaling=None)
LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=128)
QWEN3 = dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", hidden_act="silu",
             head_dim=32, attention_bias=False, use_sliding_window=False, sliding_window=None,
             tie_word_embeddings=True, rope_scaling=dict(
                 rope_type="yarn", factor=4.0, original_max_position_embeddings=128))

# name: configuration, weights, dtype of norms and embedding, names of the sub-norms, q and k norms
KINDS = {
    "2b-4t": (dict(BITNET, quantization_config=AUTO), "packed", "BF16", "sub", False),
    "2b-4t-bf16": (dict(BITNET, quantization_config=dict(AUTO, quantization_mode="online")),
                   "BF16", "BF16", "sub", False),
    "1bitllm": (ONE_BIT, "F16", "F16", "ln", False),
    "1bitllm-f32": (ONE_BIT, "F32", "F32", "ln", False),
    "llama-1.58": (dict(LLAMA, quantization_config=PACKED), "packed", "BF16", None, False),
    "llama3-rope": (dict(LLAMA, quantization_config=PACKED, rope_scaling=LLAMA3_ROPE), "packed",
                    "F16", None, False),
    "falcon-e": (dict(LLAMA, quantization_config=AUTO), "packed", "BF16", None, False),
    "bonsai": (QWEN3, "groups", "F16", None, True),
}
SUB_NORMS = {"sub": ("self_attn.attn_sub_norm", "mlp.ffn_sub_norm"),
             "ln": ("self_attn.inner_attn_ln", "mlp.ffn_layernorm"), None: ()}
BYTES = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4}
CODES = bytes(sum((b >> 2 * j & 3) % 3 << 2 * j for j in range(4)) for b in range(256))
CHUNK = 1 << 20


def bf16(value):
    return struct.pack("<I", struct.unpack("<I", struct.pack("<f", value))[0] + 0x8000)[2:]


def floats(dtype, values):
    if dtype == "BF16":
        return b"".join(map(bf16, values))
    return struct.pack("<%d%s" % (len(values), "e" if dtype == "F16" else "f"), *values)


class Source:
    """A tensor as pieces of bytes, so that a large folder needs little memory. Seed and name say
    what is in it, wherever it is written."""

    def __init__(self, seed, name):
        self.random = random.Random("%d %s" % (seed, name))

    def many(self, n, make):
        """n bytes; past the first piece they repeat, which costs as much to read."""
        piece = make(min(n, CHUNK))
        for begin in range(0, n, len(piece)):
            yield piece[:n - begin]

    def packed(self, n):
        return self.many(n, lambda k: self.random.randbytes(k).translate(CODES))

    def embedding(self, dtype, n):
        """Values of some thousandths to hundredths."""
        if dtype == "F32":
            return self.values(dtype, n, lambda: self.random.gauss(0, 0.05))
        high = {"BF16": (0x3c, 0x3d, 0xbc, 0xbd), "F16": (0x24, 0x28, 0xa4, 0xa8)}[dtype]
        table = bytes(high[b & 3] for b in range(256))

        def make(k):
            piece = bytearray(k)
            piece[0::2] = self.random.randbytes(k // 2)
            piece[1::2] = self.random.randbytes(k // 2).translate(table)
            return bytes(piece)

        return self.many(2 * n, make)

    def values(self, dtype, n, one):
        yield floats(dtype, [one() for _ in range(n)])

    def groups(self, dtype, n, group=128):
        """Trits times a scale for each 128."""
        values = []
        for _ in range(n // group):
            scale = self.random.uniform(0.02, 0.08)
            values += [scale * (self.random.randrange(3) - 1) for _ in range(group)]
        yield floats(dtype, values)


def tensors_of(config, weights, dtype, sub_norms, has_qk_norms, seed):
    """(name, dtype, shape, pieces) in the order of the model."""
    hidden, ffn, vocab = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head

    def norm(name, n):
        source = Source(seed, name)
        return name + ".weight", dtype, [n], source.values(
            dtype, n, lambda: source.random.uniform(0.75, 1.25))

    def dense(name):
        return name + ".weight", dtype, [vocab, hidden], Source(seed, name).embedding(
            dtype, vocab * hidden)

    def linear(name, rows, cols):
        source = Source(seed, name)
        if weights == "packed":
            quantization = config["quantization_config"]
            scale = (2.0 / cols) ** 0.5 * source.random.uniform(0.5, 1.0)
            if quantization.get("linear_class") != "autobitlinear":
                scale = 1.0 / scale
            yield name + ".weight", "U8", [rows // 4, cols], source.packed(rows * cols // 4)
            yield name + ".weight_scale", "BF16", [1], iter([bf16(scale)])
        elif weights == "groups":
            yield name + ".weight", dtype, [rows, cols], source.groups(dtype, rows * cols)
        else:
            yield name + ".weight", weights, [rows, cols], source.values(
                weights, rows * cols, lambda: source.random.gauss(0, (1.0 / cols) ** 0.5))

    yield dense("model.embed_tokens")
    for i in range(config["num_hidden_layers"]):
        p = "model.layers.%d." % i
        yield norm(p + "input_layernorm", hidden)
        yield from linear(p + "self_attn.q_proj", q, hidden)
        yield from linear(p + "self_attn.k_proj", kv, hidden)
        yield from linear(p + "self_attn.v_proj", kv, hidden)
        yield from linear(p + "self_attn.o_proj", hidden, q)
        yield norm(p + "post_attention_layernorm", hidden)
        yield from linear(p + "mlp.gate_proj", ffn, hidden)
        yield from linear(p + "mlp.up_proj", ffn, hidden)
        yield from linear(p + "mlp.down_proj", hidden, ffn)
        for name, n in zip(SUB_NORMS[sub_norms], (q, ffn)):
            yield norm(p + name, n)
        if has_qk_norms:
            yield norm(p + "self_attn.q_norm", head)
            yield norm(p + "self_attn.k_norm", head)
    yield norm("model.norm", hidden)
    if not config["tie_word_embeddings"]:
        yield dense("lm_head")


def write_file(path, tensors):
    """Sorted by size of element, so that all are aligned, as the safetensors library does it."""
    tensors = sorted(tensors, key=lambda t: -BYTES[t[1]])
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in tensors:
        n = BYTES[dtype]
        for dim in shape:
            n *= dim
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + n])
        at += n
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _, _, pieces in tensors:
            file.writelines(pieces)
            begin, end = header[name]["data_offsets"]
            assert file.tell() == 8 + len(text) + end, name


def write(kind, directory, shards=1, shape=None, seed=1):
    config, *layout = KINDS[kind]
    config = {**(shape or SMALL), **config}
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump(config, file, indent=2)
    tensors = list(tensors_of(config, *layout, seed))
    if shards == 1:
        write_file(os.path.join(directory, "model.safetensors"), tensors)
        return
    names, per_shard = {}, -(-len(tensors) // shards)
    for i in range(shards):
        name = "model-%05d-of-%05d.safetensors" % (i + 1, shards)
        part = tensors[i * per_shard:(i + 1) * per_shard]
        names.update({tensor[0]: name for tensor in part})
        write_file(os.path.join(directory, name), part)
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": names}, file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("directory")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--shape", choices=["2b-4t"])
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    write(o.kind, o.directory, o.shards, B2_4T if o.shape else None, o.seed)


if __name__ == "__main__":
    main()
