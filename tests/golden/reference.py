#!/usr/bin/python3
"""A plain double-precision evaluation of a ternary GGUF, the oracle of the golden logits.

Shares nothing with the C code or with make_models.py: own reader, own decoders. One token at a
time, everything in binary64 except the rounding points of docs/NUMERICS.md that change what is
computed: activations quantised to int8 with binary32 arithmetic, keys and values stored as F16.
Queries, probabilities and the head's input are not rounded.

    reference.py MODEL --tokens 1,2,3|@FILE [--bitnet-cpp-rounding] [--logits FILE.bin]
                 [--hidden FILE.bin] [--golden FILE [--positions 0,1,…]]

--logits   f32 little-endian, positions × vocab.
--hidden   f64 little-endian, positions × (layers + 1) × hidden: after the embedding, after
           every layer.
--golden   the text form read by tests/golden: tokens, and the bits of chosen positions' logits.
--bitnet-cpp-rounding  rounds queries, probabilities and the head's input as bitnet.cpp does.
"""
import argparse
import os

import numpy as np

SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "<u1",
           10: "<u8", 11: "<i8", 12: "<f8"}


class Gguf:
    def __init__(self, path):
        self.data, self.at = np.fromfile(path, np.uint8), 0
        if self.take(4) != b"GGUF" or self.number("<u4") not in (2, 3):
            raise SystemExit(path + ": not a GGUF of version 2 or 3")
        n_tensors, n_keys = self.number("<u8"), self.number("<u8")
        self.keys = {}
        for _ in range(n_keys):
            name = self.string()
            self.keys[name] = self.value(self.number("<u4"))
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.string()
            dims = [self.number("<u8") for _ in range(self.number("<u4"))]
            self.tensors[name] = (dims, self.number("<u4"), self.number("<u8"))
        alignment = self.keys.get("general.alignment", 32)
        self.base = (self.at + alignment - 1) // alignment * alignment

    def take(self, n):
        self.at += n
        return self.data[self.at - n:self.at].tobytes()

    def number(self, kind):
        return np.frombuffer(self.take(np.dtype(kind).itemsize), kind)[0].item()

    def string(self):
        return self.take(self.number("<u8")).decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            kind, n = self.number("<u4"), self.number("<u8")
            return [self.value(kind) for _ in range(n)]
        return self.number(SCALARS[kind])

    def bytes_of(self, name):
        dims, kind, offset = self.tensors[name]
        return dims, kind, self.data[self.base + offset:]

    def dense(self, name):
        """The tensor as doubles, rows × columns."""
        dims, kind, raw = self.bytes_of(name)
        n = int(np.prod(dims))
        if kind == 0:
            w = raw[:4 * n].view("<f4")
        elif kind == 1:
            w = raw[:2 * n].view("<f2")
        elif kind == 30:
            w = (raw[:2 * n].view("<u2").astype(np.uint32) << 16).view(np.float32)
        elif kind == 8:
            blocks = raw[:n // 32 * 34].reshape(-1, 34)
            d = blocks[:, :2].copy().view("<f2").astype(np.float64)
            w = d * blocks[:, 2:].view(np.int8)
        elif kind == 14:
            w = q6_k(raw[:n // 256 * 210].reshape(-1, 210))
        elif kind in BLOCKS:
            cols, size, decode = BLOCKS[kind]
            w = decode(raw[:n // cols * size].reshape(-1, size))
        else:
            raise SystemExit("%s: type %d is not a dense type" % (name, kind))
        return w.astype(np.float64).reshape(dims[::-1])

    def ternary(self, name):
        """Trits (int64, rows × columns), scale, post-scale (1 when absent). Where scales differ
        within a tensor, the weights (doubles) and 1 instead of the first two."""
        (cols, rows), kind, raw = self.bytes_of(name + ".weight")
        if kind in BLOCKS:
            return self.dense(name + ".weight"), 1.0, 1.0
        if kind != 36:
            raise SystemExit("%s.weight: type %d is not ternary" % (name, kind))
        n = rows * cols
        index = np.arange(n)
        block, j = index // 128, index % 128
        code = raw[32 * block + j % 32] >> (6 - 2 * (j // 32)).astype(np.uint8) & 3
        scale = raw[n // 4:n // 4 + 4].copy().view("<f4")[0]
        post = np.float32(1)
        if name + ".scale" in self.tensors:
            post = np.float32(self.dense(name + ".scale")[0])
        return code.reshape(rows, cols).astype(np.int64) - 1, float(scale), float(post)


def q6_k(blocks):
    out = np.empty((len(blocks), 256))
    scales = blocks[:, 192:208].view(np.int8).astype(np.float64)
    d = blocks[:, 208:].copy().view("<f2").astype(np.float64)[:, 0]
    for i in range(256):
        half, quarter, l = i // 128, i % 128 // 32, i % 32
        low = blocks[:, 64 * half + 32 * (quarter % 2) + l] >> (4 * (quarter // 2)) & 15
        high = blocks[:, 128 + 32 * half + l] >> (2 * quarter) & 3
        q = low.astype(np.int64) + 16 * high.astype(np.int64) - 32
        out[:, i] = d * scales[:, 8 * half + 2 * quarter + l // 16] * q
    return out


def half(two_bytes):
    return two_bytes.copy().view("<f2").astype(np.float64)


def nibbles(raw):
    return np.concatenate([raw & 15, raw >> 4], axis=1).astype(np.int64)


def q4_0(b):
    return half(b[:, :2]) * (nibbles(b[:, 2:]) - 8)


def q5_0(b):
    high = np.unpackbits(b[:, 2:6], axis=1, bitorder="little").astype(np.int64)
    return half(b[:, :2]) * (nibbles(b[:, 6:]) + 16 * high - 16)


def q4_k(b):
    p, out = b[:, 4:16].astype(np.int64), np.empty((len(b), 256))
    d, dmin = half(b[:, :2])[:, 0], half(b[:, 2:4])[:, 0]
    for i in range(256):
        j, byte = i // 32, b[:, 16 + i // 64 * 32 + i % 32].astype(np.int64)
        scale = p[:, j] & 63 if j < 4 else p[:, j + 4] & 15 | p[:, j - 4] >> 6 << 4
        least = p[:, j + 4] & 63 if j < 4 else p[:, j + 4] >> 4 | p[:, j] >> 6 << 4
        out[:, i] = d * scale * (byte >> (4 if j % 2 else 0) & 15) - dmin * least
    return out


def q2_0(b):
    code = b[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    return half(b[:, :2]) * (code.reshape(len(b), -1).astype(np.int64) - 1)


def tq2_0(b):
    i = np.arange(256)
    code = b[:, i // 128 * 32 + i % 32] >> (i % 128 // 32 * 2).astype(np.uint8) & 3
    return half(b[:, 64:]) * (code.astype(np.int64) - 1)


def base_3(part, n_digits):
    """ceil(number * 256 / 243) of five digits, the most significant first; then the next byte's
    stand beside: all first digits, all second ones."""
    number = part.astype(np.int64) * 243 // 256
    return np.concatenate([number // 3 ** (4 - n) % 3 - 1 for n in range(n_digits)], axis=1)


def tq1_0(b):
    return half(b[:, 52:]) * np.concatenate(
        [base_3(b[:, :32], 5), base_3(b[:, 32:48], 5), base_3(b[:, 48:52], 4)], axis=1)


def ptq1_0(b):
    return half(b[:, 26:]) * np.concatenate(
        [base_3(b[:, :16], 5), base_3(b[:, 16:24], 5), base_3(b[:, 24:26], 4)], axis=1)


# type: columns and bytes of a block, values of blocks
BLOCKS = {2: (32, 18, q4_0), 6: (32, 22, q5_0), 12: (256, 144, q4_k), 34: (256, 54, tq1_0),
          35: (256, 66, tq2_0), 42: (64, 18, q2_0), 142: (128, 34, q2_0), 143: (128, 28, ptq1_0)}


def f16(x):
    return np.clip(x, -65504, 65504).astype(np.float32).astype(np.float16).astype(np.float64)


def quantize(x):
    """int8 per token with binary32 arithmetic, as the contract says."""
    x = x.astype(np.float32)
    s = np.float32(127) / max(np.float32(1e-5), np.abs(x).max())
    return np.clip(np.rint(x * s), -128, 127).astype(np.int64), float(s)


def quantize_groups(x, group):
    """Every `group` columns for themselves; the codes divided by the scale of their group."""
    out = np.empty(len(x))
    for begin in range(0, len(x), group):
        q, s = quantize(x[begin:begin + group])
        out[begin:begin + group] = q / s
    return out, 1.0


def activations_q8_0(x):
    blocks = x.astype(np.float32).reshape(-1, 32)
    d = np.abs(blocks).max(axis=1) / np.float32(127)
    inverse = np.divide(np.float32(1), d, where=d > 0, out=np.zeros_like(d))
    scaled = blocks * inverse[:, None]
    q = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    return (d.astype(np.float16).astype(np.float64)[:, None] * q).reshape(-1)


def activations_q8_k(x):
    blocks = x.astype(np.float32).reshape(-1, 256)
    largest = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)]
    scale = np.float32(-127) / largest
    q = np.minimum(np.rint(blocks * scale[:, None]), 127)
    return (q / scale[:, None].astype(np.float64)).reshape(-1)


class Model:
    def __init__(self, path, bitnet_cpp):
        g = Gguf(path)
        self.bitnet_cpp = bitnet_cpp
        self.arch = g.keys["general.architecture"]

        def key(name, default=None):
            value = g.keys.get(self.arch + "." + name, default)
            if value is None:
                raise SystemExit("%s: key %s.%s is missing" % (path, self.arch, name))
            return value

        self.hidden, self.n_layers = key("embedding_length"), key("block_count")
        self.heads = key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv", self.heads)
        self.head_size = key("attention.key_length",
                             key("rope.dimension_count", self.hidden // self.heads))
        self.eps = key("attention.layer_norm_rms_epsilon")
        inverse = float(key("rope.freq_base", 10000.0)) ** (
            -np.arange(0, self.head_size, 2) / self.head_size)
        if "rope_freqs.weight" in g.tensors:
            inverse = inverse / g.dense("rope_freqs.weight")
        self.magnitude = 1.0
        if key("rope.scaling.type", "none") == "yarn":
            inverse = self.yarn(inverse, key)
        self.inverse = inverse
        self.is_neox = self.arch != "llama"
        act = "relu2" if self.arch in ("bitnet-b1.58", "bitnet-25") else "silu"
        self.act = key("hidden_act", act)
        self.embedding = g.dense("token_embd.weight")
        head = "output.weight" if "output.weight" in g.tensors else "token_embd.weight"
        self.head, self.head_type = g.dense(head), g.tensors[head][1]
        self.output_norm = g.dense("output_norm.weight")
        self.layers = [self.read_layer(g, "blk.%d." % i) for i in range(self.n_layers)]

    def read_layer(self, g, p):
        layer = {n: g.ternary(p + n) for n in ("attn_q", "attn_k", "attn_v", "attn_output",
                                               "ffn_gate", "ffn_up", "ffn_down")}
        for n in ("attn_norm", "ffn_norm", "attn_sub_norm", "ffn_sub_norm", "attn_q_norm",
                  "attn_k_norm"):
            layer[n] = g.dense(p + n + ".weight") if p + n + ".weight" in g.tensors else None
        layer["k"], layer["v"] = [], []
        return layer

    def yarn(self, inverse, key):
        """Pairs that turn more than 32 times in the original context keep their frequency."""
        factor, context = key("rope.scaling.factor"), key("rope.scaling.original_context_length")
        log_base = np.log(float(key("rope.freq_base")))
        low, high = (self.head_size * np.log(context / (turns * 2 * np.pi)) / (2 * log_base)
                     for turns in (32.0, 1.0))
        low, high = max(np.floor(low), 0), min(np.ceil(high), self.head_size - 1)
        ramp = np.clip((np.arange(len(inverse)) - low) / max(high - low, 0.001), 0, 1)
        self.magnitude = 0.1 * np.log(factor) + 1
        return inverse / factor * ramp + inverse * (1 - ramp)

    def norm(self, x, w):
        """Of each row of x."""
        if w is None:
            return x
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps) * w

    def rope(self, x, position):
        """x: heads × head_size. NEOX pairs (i, i + half), NORM pairs (2i, 2i + 1)."""
        c = self.magnitude * np.cos(position * self.inverse)
        s = self.magnitude * np.sin(position * self.inverse)
        half, out = self.head_size // 2, np.empty_like(x)
        first = slice(0, half) if self.is_neox else slice(0, None, 2)
        second = slice(half, None) if self.is_neox else slice(1, None, 2)
        out[:, first] = x[:, first] * c - x[:, second] * s
        out[:, second] = x[:, first] * s + x[:, second] * c
        return out

    def attend(self, layer, q):
        k, v = np.array(layer["k"]), np.array(layer["v"])  # positions × kv_heads × head_size
        out = np.empty_like(q)
        for h in range(self.heads):
            j = h // (self.heads // self.kv_heads)
            score = k[:, j] @ q[h] / np.sqrt(self.head_size)
            p = np.exp(score - score.max())
            p /= p.sum()
            out[h] = (f16(p) if self.bitnet_cpp else p) @ v[:, j]
        return out.reshape(-1)

    def run_layer(self, layer, x, position):
        def linear(name, q8):
            trits, scale, post = layer[name]
            return (trits @ q8[0]) / q8[1] * scale * post

        quantized = quantize
        if self.arch == "qwen3":
            def quantized(h):
                return quantize_groups(h, 128)
        h = quantized(self.norm(x, layer["attn_norm"]))
        q, k, v = (linear(n, h).reshape(-1, self.head_size)
                   for n in ("attn_q", "attn_k", "attn_v"))
        q, k = self.norm(q, layer["attn_q_norm"]), self.norm(k, layer["attn_k_norm"])
        q, k = self.rope(q, position), self.rope(k, position)
        layer["k"].append(f16(k))
        layer["v"].append(f16(v))
        o = self.attend(layer, f16(q) if self.bitnet_cpp else q)
        x = x + linear("attn_output", quantized(self.norm(o, layer["attn_sub_norm"])))
        h = quantized(self.norm(x, layer["ffn_norm"]))
        gate, up = linear("ffn_gate", h), linear("ffn_up", h)
        act = gate / (1 + np.exp(-gate)) if self.act == "silu" else np.maximum(gate, 0) ** 2
        return x + linear("ffn_down", quantized(self.norm(act * up, layer["ffn_sub_norm"])))

    def step(self, token, position):
        x = self.embedding[token]
        states = [x]
        for layer in self.layers:
            x = self.run_layer(layer, x, position)
            states.append(x)
        h = self.norm(x, self.output_norm)
        if self.bitnet_cpp:
            h = {0: lambda z: z.astype(np.float32).astype(np.float64), 1: f16,
                 8: activations_q8_0, 14: activations_q8_k}[self.head_type](h)
        return np.array(states), self.head @ h


def write_golden(path, options, tokens, logits):
    positions = [int(p) for p in options.positions.split(",")] if options.positions else range(
        len(tokens))
    with open(path, "w", encoding="ascii") as file:
        file.write("# make_models.py golden D && reference.py D/%s.gguf --tokens @D/%s.tokens"
                   " --golden D/%s.golden%s\n" % (3 * (options.name,) + (
                       " --positions " + options.positions if options.positions else "",)))
        file.write("vocab %d\ntokens %d %s\n" % (logits.shape[1], len(tokens),
                                                 " ".join(map(str, tokens))))
        for p in positions:
            bits = np.ascontiguousarray(logits[p], "<f4").view("<u4")
            file.write("position %d %s\n" % (p, " ".join("%08x" % b for b in bits)))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True)
    for name in ("--logits", "--hidden", "--golden", "--positions"):
        parser.add_argument(name)
    parser.add_argument("--bitnet-cpp-rounding", action="store_true")
    options = parser.parse_args()
    options.name = os.path.basename(options.model).removesuffix(".gguf")
    text = options.tokens
    if text.startswith("@"):
        with open(text[1:], encoding="ascii") as file:
            text = file.read()
    tokens = [int(t) for t in text.split(",")]
    model = Model(options.model, options.bitnet_cpp_rounding)
    results = [model.step(t, i) for i, t in enumerate(tokens)]
    logits = np.array([r[1] for r in results]).astype("<f4")
    if options.logits:
        logits.tofile(options.logits)
    if options.hidden:
        np.array([r[0] for r in results]).astype("<f8").tofile(options.hidden)
    if options.golden:
        write_golden(options.golden, options, tokens, logits)
    print("%s: %d positions, last argmax %d, range %.4f" % (
        os.path.basename(options.model), len(tokens), logits[-1].argmax(),
        float(np.ptp(logits[-1]))))


if __name__ == "__main__":
    main()
