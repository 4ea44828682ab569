#!/usr/bin/python3
"""Writes small random ternary GGUF models: the golden models, or larger ones for other programs.

Independent of the C code on purpose: container, I2_S, Q8_0, Q6_K and the llama row permutation are
written here from the format descriptions alone (docs/FORMAT.md), with numpy and the standard
library. Random weights mean nothing as language; the logits only have to be right.

    make_models.py golden DIR      the models committed in tests/golden/models
    make_models.py oracle DIR      larger ones, of shapes that bitnet.cpp can run
"""
import os
import struct
import sys

import numpy as np

F32, F16, Q4_0, Q5_0, Q8_0, Q4_K, Q6_K, BF16 = 0, 1, 2, 6, 8, 12, 14, 30
TQ1_0, TQ2_0, I2_S, Q2_0, PQ2_0, PTQ1_0 = 34, 35, 36, 42, 142, 143
U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
FILE_TYPE_I2_S = 40


# --- tensor data -------------------------------------------------------------------------------

def pack_i2_s(trits, scale):
    """128 elements in 32 bytes over the flattened tensor; element j: byte j%32, bits 6-2*(j//32)."""
    code = (trits.reshape(-1, 4, 32) + 1).astype(np.uint8)
    packed = (code[:, 0] << 6) | (code[:, 1] << 4) | (code[:, 2] << 2) | code[:, 3]
    return packed.tobytes() + struct.pack("<f", scale) + bytes(28)


def pack_bf16(w):
    bits = np.ascontiguousarray(w, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def pack_q8_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    d = (np.abs(blocks).max(axis=1) / 127).astype(np.float16)
    q = np.rint(blocks / np.maximum(d.astype(np.float32), 1e-8)[:, None]).clip(-127, 127)
    out = np.empty(len(blocks), dtype=[("d", "<f2"), ("q", "i1", 32)])
    out["d"], out["q"] = d, q
    return out.tobytes()


def pack_q6_k(w):
    blocks = w.reshape(-1, 16, 16).astype(np.float32)
    largest = np.abs(blocks).max(axis=2)
    d = (largest.max(axis=1) / (31 * 127)).astype(np.float16)
    scale = np.rint(largest / 31 / d.astype(np.float32)[:, None]).clip(1, 127)
    q = np.rint(blocks / (scale * d.astype(np.float32)[:, None])[:, :, None]).clip(-32, 31) + 32
    q = q.reshape(-1, 2, 4, 32).astype(np.uint8)  # block, half, quarter of the half, l
    low = np.concatenate([q[:, :, 0] & 15 | (q[:, :, 2] & 15) << 4,
                          q[:, :, 1] & 15 | (q[:, :, 3] & 15) << 4], axis=2)
    high = q[:, :, 0] >> 4 | q[:, :, 1] >> 4 << 2 | q[:, :, 2] >> 4 << 4 | q[:, :, 3] >> 4 << 6
    out = np.empty(len(blocks), dtype=[("ql", "u1", 128), ("qh", "u1", 64), ("sc", "i1", 16),
                                       ("d", "<f2")])
    out["ql"], out["qh"] = low.reshape(-1, 128), high.reshape(-1, 64)
    out["sc"], out["d"] = scale, d
    return out.tobytes()


def pack_q4_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    d = (np.abs(blocks).max(axis=1) / 7).astype(np.float16)
    q = (np.rint(blocks / d.astype(np.float32)[:, None]).clip(-8, 7) + 8).astype(np.uint8)
    out = np.empty(len(blocks), dtype=[("d", "<f2"), ("q", "u1", 16)])
    out["d"], out["q"] = d, q[:, :16] | q[:, 16:] << 4
    return out.tobytes()


def pack_q5_0(w):
    blocks = w.reshape(-1, 32).astype(np.float32)
    d = (np.abs(blocks).max(axis=1) / 15).astype(np.float16)
    q = (np.rint(blocks / d.astype(np.float32)[:, None]).clip(-16, 15) + 16).astype(np.uint32)
    out = np.empty(len(blocks), dtype=[("d", "<f2"), ("high", "<u4"), ("q", "u1", 16)])
    out["high"] = ((q >> 4) << np.arange(32, dtype=np.uint32)).sum(axis=1)
    out["d"], out["q"] = d, q[:, :16] & 15 | (q[:, 16:] & 15) << 4
    return out.tobytes()


def pack_q4_k(w):
    runs = w.reshape(-1, 8, 32).astype(np.float32)
    low, high = np.minimum(runs.min(axis=2), 0), runs.max(axis=2)
    step, least = (high - low) / 15, -low
    d, dmin = ((x.max(axis=1) / 63).astype(np.float16) for x in (step, least))
    scale = np.rint(step / d.astype(np.float32)[:, None]).clip(1, 63).astype(np.uint8)
    least = np.rint(least / dmin.astype(np.float32)[:, None]).clip(0, 63).astype(np.uint8)
    q = np.rint((runs + (dmin[:, None] * least.astype(np.float32))[:, :, None])
                / (d[:, None] * scale.astype(np.float32))[:, :, None]).clip(0, 15).astype(np.uint8)
    out = np.empty(len(runs), dtype=[("d", "<f2"), ("dmin", "<f2"), ("p", "u1", 12),
                                     ("q", "u1", 128)])
    out["d"], out["dmin"] = d, dmin
    out["p"][:, 0:4] = scale[:, :4] | (scale[:, 4:] >> 4) << 6
    out["p"][:, 4:8] = least[:, :4] | (least[:, 4:] >> 4) << 6
    out["p"][:, 8:12] = scale[:, 4:] & 15 | (least[:, 4:] & 15) << 4
    out["q"] = (q[:, 0::2] | q[:, 1::2] << 4).reshape(-1, 128)
    return out.tobytes()


# Ternary blocks: columns of a block, its fields with "d" and "q", and codes (trit + 1) to bytes.
def bytes_q2_0(code):
    quads = code.reshape(len(code), -1, 4)
    return quads[:, :, 0] | quads[:, :, 1] << 2 | quads[:, :, 2] << 4 | quads[:, :, 3] << 6


def bytes_tq2_0(code):
    planes = code.reshape(-1, 2, 4, 32)
    packed = planes[:, :, 0] | planes[:, :, 1] << 2 | planes[:, :, 2] << 4 | planes[:, :, 3] << 6
    return packed.reshape(-1, 64)


def base_3(digits):
    """blocks x digits x bytes: the first digit is the most significant of five."""
    number = np.zeros((digits.shape[0], digits.shape[2]), np.uint32)
    for n in range(5):
        number = 3 * number + (digits[:, n] if n < digits.shape[1] else 0)
    return ((number * 256 + 242) // 243).astype(np.uint8)


def bytes_tq1_0(code):
    return np.concatenate([base_3(code[:, :160].reshape(-1, 5, 32)),
                           base_3(code[:, 160:240].reshape(-1, 5, 16)),
                           base_3(code[:, 240:].reshape(-1, 4, 4))], axis=1)


def bytes_ptq1_0(code):
    return np.concatenate([base_3(code[:, :80].reshape(-1, 5, 16)),
                           base_3(code[:, 80:120].reshape(-1, 5, 8)),
                           base_3(code[:, 120:].reshape(-1, 4, 2))], axis=1)


TERNARY = {Q2_0: (64, [("d", "<f2"), ("q", "u1", 16)], bytes_q2_0),
           PQ2_0: (128, [("d", "<f2"), ("q", "u1", 32)], bytes_q2_0),
           TQ2_0: (256, [("q", "u1", 64), ("d", "<f2")], bytes_tq2_0),
           TQ1_0: (256, [("q", "u1", 52), ("d", "<f2")], bytes_tq1_0),
           PTQ1_0: (128, [("q", "u1", 26), ("d", "<f2")], bytes_ptq1_0)}


def pack_ternary(kind, trits, scales):
    """A scale for every block."""
    cols, fields, to_bytes = TERNARY[kind]
    code = (trits.reshape(-1, cols) + 1).astype(np.uint8)
    out = np.empty(len(code), dtype=fields)
    out["d"], out["q"] = scales.astype(np.float16), to_bytes(code)
    return out.tobytes()


PACK = {F32: lambda w: w.astype("<f4").tobytes(), F16: lambda w: w.astype("<f2").tobytes(),
        BF16: pack_bf16, Q8_0: pack_q8_0, Q6_K: pack_q6_k, Q4_0: pack_q4_0, Q5_0: pack_q5_0,
        Q4_K: pack_q4_k}


# --- container ---------------------------------------------------------------------------------

def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    if kind == STRING:
        return string(value)
    return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], value)


def pad(n):
    return -n % ALIGNMENT


class Writer:
    def __init__(self, version):
        self.version, self.keys, self.tensors = version, [], []

    def key(self, name, kind, value):
        self.keys.append(string(name) + struct.pack("<I", kind) + scalar(kind, value))

    def array(self, name, kind, values):
        head = string(name) + struct.pack("<IIQ", ARRAY, kind, len(values))
        self.keys.append(head + b"".join(scalar(kind, v) for v in values))

    def tensor(self, name, dims, kind, data):
        """dims[0] is the contiguous one."""
        self.tensors.append((name, dims, kind, data))

    def write(self, path):
        table, offset = b"", 0
        for name, dims, kind, data in self.tensors:
            table += string(name) + struct.pack("<I", len(dims))
            table += b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, offset)
            offset += len(data) + pad(len(data))
        head = b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.keys))
        head += b"".join(self.keys) + table
        with open(path, "wb") as file:
            file.write(head + bytes(pad(len(head))))
            for _, _, _, data in self.tensors:
                file.write(data + bytes(pad(len(data))))


# --- vocabulary --------------------------------------------------------------------------------

def byte_letters():
    """GPT-2's printable stand-in for every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters, extra = {b: chr(b) for b in kept}, 0
    for b in range(256):
        if b not in letters:
            letters[b] = chr(256 + extra)
            extra += 1
    return [letters[b] for b in range(256)]


def bpe_vocabulary(w, size):
    letters = byte_letters()
    tokens, merges = list(letters), []
    for first in "etaoinshrdlu":
        for second in "etaoinshrdlu":
            if len(tokens) < size - 2:
                tokens.append(first + second)
                merges.append(first + " " + second)
    while len(tokens) < size - 2:
        tokens.append("<unused%d>" % len(tokens))
    tokens += ["<|begin|>", "<|end|>"]
    w.key("tokenizer.ggml.model", STRING, "gpt2")
    w.key("tokenizer.ggml.pre", STRING, "gpt-2")
    w.array("tokenizer.ggml.tokens", STRING, tokens)
    w.array("tokenizer.ggml.token_type", I32, [1] * (size - 2) + [3, 3])
    w.array("tokenizer.ggml.merges", STRING, merges)
    w.key("tokenizer.ggml.bos_token_id", U32, size - 2)
    w.key("tokenizer.ggml.eos_token_id", U32, size - 1)
    w.key("tokenizer.ggml.add_bos_token", BOOL, False)


def spm_vocabulary(w, size):
    tokens, kinds = ["<unk>", "<s>", "</s>"], [2, 3, 3]
    tokens += ["<0x%02X>" % b for b in range(256)]
    kinds += [6] * 256
    letters = "\u2581etaoinshrdlucmfwypvbgk"
    pieces = list(letters) + [a + b for a in letters for b in letters]
    pieces += ["<unused%d>" % i for i in range(size)]
    pieces = pieces[:size - len(tokens)]
    kinds += [1] * len(pieces)
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces))]
    w.key("tokenizer.ggml.model", STRING, "llama")
    w.array("tokenizer.ggml.tokens", STRING, tokens + pieces)
    w.array("tokenizer.ggml.scores", FLOAT, scores)
    w.array("tokenizer.ggml.token_type", I32, kinds)
    w.key("tokenizer.ggml.bos_token_id", U32, 1)
    w.key("tokenizer.ggml.eos_token_id", U32, 2)
    w.key("tokenizer.ggml.unknown_token_id", U32, 0)


# --- models ------------------------------------------------------------------------------------

class Model:
    def __init__(self, seed, arch, layers, hidden, ffn, heads, kv_heads, vocab, **options):
        self.rng = np.random.default_rng(seed)
        self.arch, self.layers, self.hidden, self.ffn = arch, layers, hidden, ffn
        self.heads, self.kv_heads, self.vocab = heads, kv_heads, vocab
        self.head_size = options.pop("head_size", hidden // heads)
        self.embedding = options.pop("embedding", F16)
        self.head = options.pop("head", None)  # None: tied
        self.base = options.pop("base", 10000.0)
        self.eps = options.pop("eps", 1e-5)
        self.post_scale = options.pop("post_scale", False)
        self.rope_freqs = options.pop("rope_freqs", False)
        self.version = options.pop("version", 3)
        self.hidden_act = options.pop("hidden_act", None)
        self.yarn = options.pop("yarn", None)  # factor, original context
        self.weights = options.pop("weights", I2_S)
        assert not options, options
        self.is_llama = arch == "llama"
        self.has_sub_norms = arch.startswith("bitnet")

    def norm(self, w, name, n):
        w.tensor(name, [n], F32, PACK[F32](1 + 0.25 * self.rng.standard_normal(n)))

    def linear(self, w, name, rows, cols, permuted_heads=0):
        """Trits of a mixed density, scaled so that outputs stay near 1."""
        trits = self.rng.choice(3, size=(rows, cols), p=[0.3, 0.4, 0.3]).astype(np.int8) - 1
        if permuted_heads:  # half-split rows of each head become interleaved pairs
            trits = trits.reshape(permuted_heads, 2, -1, cols).swapaxes(1, 2).reshape(rows, cols)
        scale = float(self.rng.uniform(0.8, 1.2) / np.sqrt(0.6 * cols))
        if self.weights == I2_S:
            data = pack_i2_s(trits, scale)
        else:  # a scale for each block
            n = trits.size // TERNARY[self.weights][0]
            data = pack_ternary(self.weights, trits, scale * self.rng.uniform(0.5, 1.5, n))
        w.tensor(name + ".weight", [cols, rows], self.weights, data)
        if self.post_scale:
            w.tensor(name + ".scale", [1], F32, PACK[F32](self.rng.uniform(0.7, 1.3, 1)))

    def dense(self, w, name, kind):
        if kind in TERNARY:
            trits = self.rng.integers(-1, 2, (self.vocab, self.hidden))
            scales = self.rng.uniform(0.5, 1.5, trits.size // TERNARY[kind][0])
            w.tensor(name, [self.hidden, self.vocab], kind, pack_ternary(kind, trits, scales))
            return
        rows = self.rng.standard_normal((self.vocab, self.hidden))
        rows *= 0.5 + self.rng.random((self.vocab, 1))
        w.tensor(name, [self.hidden, self.vocab], kind, PACK[kind](rows))

    def metadata(self, w):
        a = self.arch
        w.key("general.architecture", STRING, a)
        w.key("general.name", STRING, "random ternary test model")
        w.key("general.file_type", U32, FILE_TYPE_I2_S)
        w.key("general.quantization_version", U32, 2)
        for name, value in (("vocab_size", self.vocab), ("context_length", 1024),
                            ("embedding_length", self.hidden), ("block_count", self.layers),
                            ("feed_forward_length", self.ffn),
                            ("rope.dimension_count", self.head_size),
                            ("attention.head_count", self.heads),
                            ("attention.head_count_kv", self.kv_heads)):
            w.key("%s.%s" % (a, name), U32, value)
        w.key(a + ".attention.layer_norm_rms_epsilon", FLOAT, self.eps)
        w.key(a + ".rope.freq_base", FLOAT, self.base)
        if a == "bitnet":
            w.key(a + ".rope.scaling.type", STRING, "linear")
            w.key(a + ".rope.scaling.factor", FLOAT, 1.0)
        if self.yarn:
            w.key(a + ".rope.scaling.type", STRING, "yarn")
            w.key(a + ".rope.scaling.factor", FLOAT, self.yarn[0])
            w.key(a + ".rope.scaling.original_context_length", U32, self.yarn[1])
        if self.hidden_act:
            w.key(a + ".hidden_act", STRING, self.hidden_act)
        (spm_vocabulary if self.is_llama else bpe_vocabulary)(w, self.vocab)

    def layer(self, w, p):
        attention, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        permute = self.is_llama
        self.norm(w, p + "attn_norm.weight", self.hidden)
        self.linear(w, p + "attn_q", attention, self.hidden, self.heads if permute else 0)
        self.linear(w, p + "attn_k", kv, self.hidden, self.kv_heads if permute else 0)
        self.linear(w, p + "attn_v", kv, self.hidden)
        if self.arch == "qwen3":
            self.norm(w, p + "attn_q_norm.weight", self.head_size)
            self.norm(w, p + "attn_k_norm.weight", self.head_size)
        if self.has_sub_norms:
            self.norm(w, p + "attn_sub_norm.weight", attention)
        self.linear(w, p + "attn_output", self.hidden, attention)
        self.norm(w, p + "ffn_norm.weight", self.hidden)
        self.linear(w, p + "ffn_gate", self.ffn, self.hidden)
        self.linear(w, p + "ffn_up", self.ffn, self.hidden)
        if self.has_sub_norms:
            self.norm(w, p + "ffn_sub_norm.weight", self.ffn)
        self.linear(w, p + "ffn_down", self.hidden, self.ffn)

    def write(self, path):
        w = Writer(self.version)
        self.metadata(w)
        self.dense(w, "token_embd.weight", self.embedding)
        self.norm(w, "output_norm.weight", self.hidden)
        if self.head is not None:
            self.dense(w, "output.weight", self.head)
        if self.rope_freqs:
            factors = np.linspace(1, 8, self.head_size // 2) ** 1.5
            w.tensor("rope_freqs.weight", [self.head_size // 2], F32, PACK[F32](factors))
        for i in range(self.layers):
            self.layer(w, "blk.%d." % i)
        w.write(path)


# name: (model, tokens evaluated). The golden ones are small enough to commit; between them they
# hold every architecture, head type and layout that the reader and the forward pass tell apart.
GOLDEN = {
    "bitnet-silu": (Model(1, "bitnet", 3, 128, 256, 2, 1, 288, version=2), 12),
    "b158-relu2-straddling": (Model(2, "bitnet-b1.58", 2, 192, 320, 2, 2, 288, base=5e5,
                                    post_scale=True), 12),
    "bitnet25-relu2-bf16": (Model(3, "bitnet-25", 2, 128, 384, 2, 1, 288, base=5e5,
                                  embedding=BF16, head=BF16), 12),
    "llama-freqs-q8": (Model(4, "llama", 2, 128, 256, 2, 1, 288, base=5e5, rope_freqs=True,
                             head=Q8_0), 12),
    "llama-q6k-gqa": (Model(5, "llama", 1, 256, 128, 4, 1, 288, embedding=Q8_0, head=Q6_K), 12),
    "qwen3-yarn": (Model(7, "qwen3", 2, 128, 256, 4, 2, 288, head_size=64, base=1e6, eps=1e-6,
                         yarn=(4.0, 64)), 96),
    "bitnet-tq2-groups": (Model(8, "bitnet", 2, 256, 512, 4, 2, 288, weights=TQ2_0,
                                embedding=Q4_0, head=Q5_0), 12),
    "qwen3-q2-groups": (Model(9, "qwen3", 2, 128, 384, 4, 2, 288, head_size=64, base=1e6, eps=1e-6,
                              weights=Q2_0, embedding=PQ2_0), 12),
    "llama-tq1-groups": (Model(10, "llama", 1, 256, 256, 4, 2, 288, weights=TQ1_0,
                               embedding=PTQ1_0, head=Q4_K), 12),
    "bitnet-long": (Model(6, "bitnet", 1, 128, 128, 2, 1, 288, hidden_act="relu2"), 270),
}

ORACLE = {
    "bitnet-small": (Model(11, "bitnet", 2, 256, 512, 4, 2, 320), 32),
    "bitnet-hd128": (Model(12, "bitnet", 4, 512, 1024, 4, 1, 512), 32),
    "bitnet-scale": (Model(13, "bitnet", 3, 256, 768, 4, 4, 384, post_scale=True), 32),
    "bitnet-long": (Model(14, "bitnet", 2, 256, 512, 4, 2, 320), 300),
    "bitnet-deep": (Model(15, "bitnet", 12, 256, 512, 4, 2, 320), 24),
    "b158-relu2": (Model(16, "bitnet-b1.58", 3, 512, 1024, 4, 2, 384, base=5e5), 32),
    "bitnet25-relu2": (Model(17, "bitnet-25", 2, 256, 512, 2, 1, 384, base=5e5), 32),
    "llama-f16": (Model(18, "llama", 3, 256, 768, 4, 2, 512, head=F16), 32),
    "llama-freqs": (Model(19, "llama", 3, 512, 768, 4, 1, 512, base=5e5, rope_freqs=True,
                          head=F16, eps=1e-6), 48),
    "llama-tied": (Model(20, "llama", 2, 256, 512, 2, 1, 320, base=1000042.0), 32),
    "llama-q6k": (Model(21, "llama", 2, 512, 768, 8, 2, 512, head=Q6_K), 32),
    "llama-q8": (Model(22, "llama", 2, 256, 768, 4, 2, 512, head=Q8_0), 32),
    "llama-embd-q6k": (Model(23, "llama", 2, 256, 512, 4, 2, 320, embedding=Q6_K, head=F16), 32),
    "llama-hd256": (Model(24, "llama", 2, 512, 768, 2, 1, 320, head=F16), 32),
    "bitnet-embd-q8": (Model(25, "bitnet", 2, 256, 512, 4, 2, 320, embedding=Q8_0), 32),
    "llama-f32": (Model(26, "llama", 2, 256, 512, 4, 2, 320, embedding=F32, head=F32), 32),
}


def tokens_for(name, model, n):
    rng = np.random.default_rng(list(name.encode()))
    return rng.integers(0, model.vocab, n).tolist()


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("golden", "oracle"):
        sys.exit(__doc__)
    models = GOLDEN if sys.argv[1] == "golden" else ORACLE
    os.makedirs(sys.argv[2], exist_ok=True)
    for name, (model, n_tokens) in models.items():
        path = os.path.join(sys.argv[2], name)
        model.write(path + ".gguf")
        with open(path + ".tokens", "w", encoding="ascii") as file:
            file.write(",".join(map(str, tokens_for(name, model, n_tokens))) + "\n")
        print("%8d %s.gguf" % (os.path.getsize(path + ".gguf"), path))


if __name__ == "__main__":
    main()
