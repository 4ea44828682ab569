#!/usr/bin/env python3
"""Tiny random models of every published architecture, and what Hugging Face makes of them.

    make_huggingface.py DIR [NAME …]

writes for each a folder as its publisher lays it out (config.json, model.safetensors with the
published names, dtypes and scale sense, tokenizer files), NAME.gguf as its publisher's converter
writes it (by the writer of make_models.py, which shares nothing with the C code), NAME.tokens, and
NAME.logits: the logits of transformers in float32 after every token, from the same folder
(little-endian f32 [tokens][vocab]). What is committed in huggingface/ was made by it; of the
folders, the small ones, of which each has something of its own.

Needs numpy, torch, transformers, accelerate, safetensors and tokenizers; nothing else in the
project does.

1bitLLM's own model class is remote code that transformers does not have: Bitnet1bit below says it
again in plain torch.
"""
import json
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import make_models as gguf

N_TOKENS = 32
Q2_0 = 42
LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
           r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (r"[^\r\n\p{L}\p{N}]?%s*%s+|[^\r\n\p{L}\p{N}]?%s+%s*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+" % (UPPER, LOWER, UPPER, LOWER))


def pack_q2_0(codes, scales, group):
    """Rows of blocks: an f16 scale, then `group` codes (trit + 1), four a byte, lowest first."""
    q = codes.reshape(-1, group // 4, 4).astype(np.uint8)
    out = np.empty(len(q), dtype=[("d", "<f2"), ("q", "u1", group // 4)])
    out["d"] = scales.reshape(-1)
    out["q"] = q[:, :, 0] | q[:, :, 1] << 2 | q[:, :, 2] << 4 | q[:, :, 3] << 6
    return out.tobytes()


def absmean(w):
    """WeightQuant of transformers: trits and scale of a float tensor, in float32."""
    w = w.float()
    s = 1.0 / w.abs().mean().clamp_(min=1e-5)
    return (w * s).round().clamp(-1, 1), float(1.0 / s)


class Linear:
    """Trits [rows][cols] with one scale, or with one per row and `group` columns (then f16)."""

    def __init__(self, rng, rows, cols, how, group=0, is_cut_by_columns=False):
        self.group, self.how = group, how
        size = 1.0 / np.sqrt(0.6 * cols)
        if how == "master-f16" or how == "master-bf16":
            dtype = torch.float16 if how == "master-f16" else torch.bfloat16
            self.master = torch.tensor(rng.standard_normal((rows, cols)) * size).to(dtype)
            trits, self.scale = absmean(self.master)
            self.trits = trits.numpy().astype(np.int8)
            return
        self.trits = rng.choice(3, size=(rows, cols), p=[0.3, 0.4, 0.3]).astype(np.int8) - 1
        if how == "shards":  # trained on two devices: a scale for each one's part
            scales = size * rng.uniform(0.5, 1.5, 2)
            self.group = cols // 2 if is_cut_by_columns else cols
            self.scale = (np.tile(scales, (rows, 1)) if is_cut_by_columns else
                          np.repeat(scales, rows // 2)[:, None]).astype(np.float16)
            return
        if group:
            self.scale = (size * rng.uniform(0.5, 1.5, (rows, cols // group))).astype(np.float16)
            return
        scale = torch.tensor(float(rng.uniform(0.8, 1.2) * size)).to(torch.bfloat16)
        # "divide": what is stored is one over the scale.
        self.stored = (1.0 / scale.float()).to(torch.bfloat16) if how == "divide" else scale
        self.scale = float(1.0 / self.stored.float() if how == "divide" else self.stored.float())

    def floats(self):
        scale = np.repeat(self.scale, self.group, axis=1) if self.group else self.scale
        return torch.tensor(self.trits * scale).to(torch.float16)

    def save(self, tensors, name):
        if self.how.startswith("master"):
            tensors[name + ".weight"] = self.master
        elif self.group:
            tensors[name + ".weight"] = self.floats()
        else:
            code = (self.trits + 1).reshape(4, -1, self.trits.shape[1]).astype(np.uint8)
            packed = code[0] | code[1] << 2 | code[2] << 4 | code[3] << 6
            tensors[name + ".weight"] = torch.tensor(packed)
            tensors[name + ".weight_scale"] = self.stored.reshape(1)

    def write(self, w, name, n_heads=0):
        rows, cols = self.trits.shape
        trits = self.trits
        if n_heads:  # half-split rows of each head become interleaved pairs
            trits = trits.reshape(n_heads, 2, -1, cols).swapaxes(1, 2).reshape(rows, cols)
        if self.how == "shards":
            floats = self.floats().numpy()
            if n_heads:
                floats = floats.reshape(n_heads, 2, -1, cols).swapaxes(1, 2)
            w.tensor(name + ".weight", [cols, rows], gguf.F16, floats.tobytes())
        elif self.group:
            data = pack_q2_0(trits + 1, self.scale, self.group)
            w.tensor(name + ".weight", [cols, rows], Q2_0, data)
        else:
            w.tensor(name + ".weight", [cols, rows], gguf.I2_S, gguf.pack_i2_s(trits, self.scale))


PARTS = (("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"),
         ("self_attn.v_proj", "attn_v"), ("self_attn.o_proj", "attn_output"),
         ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"))


class Fixture:
    """`how`: the sense of the stored scale ("multiply", "divide"), "master-f16" or "master-bf16"
    weights, "float" (ternary times group scales) or "shards" (ternary times the scale of a
    device's part: rows, but columns of attn_output and ffn_down)."""

    def __init__(self, seed, arch, how, hidden, ffn, heads, kv_heads, **options):
        self.seed, self.arch, self.how, self.hidden, self.ffn = seed, arch, how, hidden, ffn
        self.heads, self.kv_heads, self.vocab = heads, kv_heads, options.pop("vocab", 288)
        self.layers = options.pop("layers", 2)
        self.head_size = options.pop("head_size", hidden // heads)
        self.base, self.eps = options.pop("base", 500000.0), options.pop("eps", 1e-5)
        self.context = options.pop("context", 4096)
        self.is_tied = options.pop("tied", True)
        self.act = options.pop("act", "silu")
        self.norms = options.pop("norms", {})  # Hugging Face's name to GGUF's
        self.is_1bitllm = options.pop("is_1bitllm", False)
        self.group = options.pop("group", 0)
        self.yarn = options.pop("yarn", None)
        self.pre = options.pop("pre", None)  # None: SentencePiece; "": no key
        self.keys = options.pop("keys", {})
        self.config = options.pop("config")
        self.has_head_duplicate = options.pop("has_head_duplicate", False)
        assert not options, options

    def make(self):
        rng = np.random.default_rng(self.seed)
        q, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        sizes = ((q, self.hidden), (kv, self.hidden), (kv, self.hidden), (self.hidden, q),
                 (self.ffn, self.hidden), (self.ffn, self.hidden), (self.hidden, self.ffn))
        widths = {"attn_norm": self.hidden, "ffn_norm": self.hidden, "attn_sub_norm": q,
                  "ffn_sub_norm": self.ffn, "attn_q_norm": self.head_size,
                  "attn_k_norm": self.head_size}

        def norm(n):
            return torch.tensor(1 + 0.25 * rng.standard_normal(n)).to(torch.bfloat16)

        self.linears = [[Linear(rng, *size, self.how, self.group, i in (3, 6))
                         for i, size in enumerate(sizes)] for _ in range(self.layers)]
        self.layer_norms = [{g: norm(widths[g]) for g in self.norms.values()}
                            for _ in range(self.layers)]
        self.output_norm = norm(self.hidden)
        self.dense = []
        for _ in range(1 if self.is_tied else 2):
            if self.group:
                self.dense.append(Linear(rng, self.vocab, self.hidden, self.how, self.group))
            else:
                rows = rng.standard_normal((self.vocab, self.hidden))
                rows *= 0.5 + rng.random((self.vocab, 1))
                self.dense.append(torch.tensor(rows).to(torch.bfloat16))

    def tensors(self):
        out = {}
        for name, dense in zip(("model.embed_tokens", "lm_head"), self.dense):
            if self.group:
                dense.save(out, name)
            else:
                out[name + ".weight"] = dense.half() if self.is_1bitllm else dense
        out["model.norm.weight"] = self.output_norm
        for i in range(self.layers):
            p = "model.layers.%d." % i
            for (name, _), linear in zip(PARTS, self.linears[i]):
                linear.save(out, p + name)
            for name, as_gguf in self.norms.items():
                out[p + name + ".weight"] = self.layer_norms[i][as_gguf]
        return out

    def write_folder(self, path):
        os.makedirs(path, exist_ok=True)
        save_file(self.tensors(), os.path.join(path, "model.safetensors"), {"format": "pt"})
        config = {
            "vocab_size": self.vocab, "hidden_size": self.hidden, "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_size,
            "hidden_act": self.act, "max_position_embeddings": self.context,
            "rms_norm_eps": self.eps, "rope_theta": self.base, "tie_word_embeddings": self.is_tied,
            "attention_bias": False, "bos_token_id": 1 if self.pre is None else self.vocab - 2,
            "eos_token_id": 2 if self.pre is None else self.vocab - 1,
        }
        if self.is_1bitllm:
            del config["head_dim"]
        if self.yarn:
            config["rope_scaling"] = {"rope_type": "yarn", "factor": self.yarn[0],
                                      "original_max_position_embeddings": self.yarn[1]}
        config.update(self.config)
        write_json(path, "config.json", config)
        write_json(path, "generation_config.json",
                   {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]})
        self.write_tokenizer(path)

    def write_tokenizer(self, path):
        keys = Keys()
        (gguf.spm_vocabulary if self.pre is None else gguf.bpe_vocabulary)(keys, self.vocab)
        tokens = keys.values["tokenizer.ggml.tokens"]
        if self.pre is None:
            with open(os.path.join(path, "tokenizer.model"), "wb") as file:
                file.write(sentencepiece_model(keys.values))
            special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        else:
            write_json(path, "tokenizer.json", tokenizer_json(keys.values, self.pre))
            special = {"bos_token": tokens[-2], "eos_token": tokens[-1]}
        write_json(path, "tokenizer_config.json", {
            "add_bos_token": self.pre is None, "clean_up_tokenization_spaces": False,
            "model_max_length": self.context, **special,
            "tokenizer_class": "LlamaTokenizer" if self.pre is None else "PreTrainedTokenizerFast"})

    def write_gguf(self, path):
        w, a = gguf.Writer(3), self.arch
        is_llama = a == "llama"
        w.key("general.architecture", gguf.STRING, a)
        w.key("general.type", gguf.STRING, "model")
        w.key("general.name", gguf.STRING, "random ternary test model")
        file_type = 41 if self.group else 1 if self.how == "shards" else gguf.FILE_TYPE_I2_S
        w.key("general.file_type", gguf.U32, file_type)
        w.key("general.quantization_version", gguf.U32, 2)
        for name, value in (("vocab_size", self.vocab), ("context_length", self.context),
                            ("embedding_length", self.hidden), ("block_count", self.layers),
                            ("feed_forward_length", self.ffn),
                            ("rope.dimension_count", self.head_size),
                            ("attention.head_count", self.heads),
                            ("attention.head_count_kv", self.kv_heads)):
            w.key("%s.%s" % (a, name), gguf.U32, value)
        w.key(a + ".attention.layer_norm_rms_epsilon", gguf.FLOAT, self.eps)
        w.key(a + ".rope.freq_base", gguf.FLOAT, self.base)
        for name, (kind, value) in self.keys.items():
            w.key("%s.%s" % (a, name), kind, value)
        if self.yarn:
            w.key(a + ".rope.scaling.type", gguf.STRING, "yarn")
            w.key(a + ".rope.scaling.factor", gguf.FLOAT, self.yarn[0])
            w.key(a + ".rope.scaling.original_context_length", gguf.U32, self.yarn[1])
        (gguf.spm_vocabulary if self.pre is None else gguf.bpe_vocabulary)(w, self.vocab)
        if self.pre is not None:
            set_pre(w, self.pre)
        dense = dict(zip(("token_embd", "output"), self.dense))
        if self.has_head_duplicate:
            dense["output"] = self.dense[0]
        for name, rows in dense.items():
            if self.group:
                rows.write(w, name)
            else:
                w.tensor(name + ".weight", [self.hidden, self.vocab], gguf.F16,
                         rows.half().numpy().tobytes())

        def f32(t):
            return t.float().numpy().astype("<f4").tobytes()

        w.tensor("output_norm.weight", [self.hidden], gguf.F32, f32(self.output_norm))
        for i in range(self.layers):
            p = "blk.%d." % i
            for (_, name), linear in zip(PARTS, self.linears[i]):
                heads = {"attn_q": self.heads, "attn_k": self.kv_heads}.get(name, 0)
                linear.write(w, p + name, heads if is_llama else 0)
            for name, values in self.layer_norms[i].items():
                w.tensor(p + name + ".weight", list(values.shape), gguf.F32, f32(values))
        w.write(path)

    def logits(self, path, tokens):
        ids = torch.tensor([tokens])
        with torch.no_grad():
            if self.is_1bitllm:
                return Bitnet1bit(self)(ids[0])
            model = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, attn_implementation="eager", device_map="cpu")
            torch.nn.Module.float(model)  # what a quantised checkpoint keeps in half precision
            for module in model.modules():
                if type(module).__name__ == "BitLinear":
                    module.dtype = torch.float32
            return model(ids).logits[0]


class Keys:
    """Takes the keys of a vocabulary as a gguf.Writer does."""

    def __init__(self):
        self.values = {}

    def key(self, name, _kind, value):
        self.values[name] = value

    def array(self, name, _kind, values):
        self.values[name] = values


def set_pre(writer, pre):
    """Puts another value, or none, in place of tokenizer.ggml.pre."""
    name = gguf.string("tokenizer.ggml.pre")
    writer.keys = [key for key in writer.keys if not key.startswith(name)]
    if pre:
        writer.key("tokenizer.ggml.pre", gguf.STRING, pre)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def pieces_of(pre):
    """How each publisher's tokenizer.json cuts a text before it merges."""
    from tokenizers import Regex, pre_tokenizers

    def split(pattern):
        return pre_tokenizers.Split(Regex(pattern), "isolated")

    def byte_level(use_regex):
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)

    if pre == "olmo":
        return byte_level(True)
    return pre_tokenizers.Sequence({
        "falcon3": [pre_tokenizers.Punctuation("contiguous"), byte_level(True), split("[0-9]")],
        "falcon_e": [pre_tokenizers.Punctuation("contiguous"), split(CASED), split("[0-9]"),
                     byte_level(False)],
        "qwen2": [split(QWEN_2), byte_level(False)],
    }.get(pre, [split(LLAMA_3), byte_level(False)]))


def tokenizer_json(keys, pre):
    """Byte-level BPE as the `tokenizers` library writes it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    tokens = keys["tokenizer.ggml.tokens"]
    vocab = {token: i for i, token in enumerate(tokens[:-2])}
    merges = [tuple(merge.split(" ")) for merge in keys["tokenizer.ggml.merges"]]
    ignore_merges = pre in ("", "llama-bpe")
    tokenizer = Tokenizer(models.BPE(vocab, merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pieces_of(pre)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in tokens[-2:]])
    return json.loads(tokenizer.to_str())


def sentencepiece_model(keys):
    """The ModelProto that SentencePiece writes: pieces of text, score and type; BPE; byte
    fallback."""
    def varint(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def field(number, body):
        return varint(number << 3 | 2) + varint(len(body)) + body

    out = b""
    for text, score, kind in zip(keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.scores"],
                                 keys["tokenizer.ggml.token_type"]):
        piece = field(1, text.encode()) + b"\x15" + np.float32(score).tobytes()
        if kind != 1:
            piece += b"\x18" + varint(kind)
        out += field(1, piece)
    trainer = b"\x18\x02" + b"\x98\x02\x01"  # model_type BPE; byte_fallback
    normalizer = b"\x18\x01" + b"\x20\x00"  # add_dummy_prefix; remove_extra_whitespaces off
    return out + field(2, trainer) + field(3, normalizer)


class Bitnet1bit:
    """1bitLLM's BitnetForCausalLM: Llama with a norm before o_proj and one before down_proj, all
    linear layers quantised on the way (absmean weights, absmax int8 activations)."""

    def __init__(self, fixture):
        self.f = fixture
        self.t = {name: value.float() for name, value in fixture.tensors().items()}

    def norm(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.f.eps) * self.t[name]

    def linear(self, x, name):
        trits, scale = absmean(self.t[name])
        s = 127.0 / x.abs().max(dim=-1, keepdim=True).values.clamp_(min=1e-5)
        return torch.nn.functional.linear((x * s).round().clamp(-128, 127) / s, trits * scale)

    def rope(self, x):
        """x: heads × tokens × head size; pairs (i, i + half)."""
        half = self.f.head_size // 2
        inverse = 1.0 / self.f.base ** (torch.arange(half).float() / half)
        angle = torch.arange(x.shape[1]).float()[:, None] * inverse
        a, b = x[..., :half], x[..., half:]
        c, s = angle.cos(), angle.sin()
        return torch.cat([a * c - b * s, b * c + a * s], -1)

    def attention(self, x, p):
        def split(y):
            return y.view(len(x), -1, self.f.head_size).transpose(0, 1)

        q, k, v = (split(self.linear(x, p + "self_attn.%s_proj.weight" % n)) for n in "qkv")
        score = self.rope(q) @ self.rope(k).transpose(1, 2) / self.f.head_size ** 0.5
        score = score + torch.full((len(x), len(x)), -torch.inf).triu(1)
        out = (score.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
        out = self.norm(out, p + "self_attn.inner_attn_ln.weight")
        return self.linear(out, p + "self_attn.o_proj.weight")

    def __call__(self, ids):
        x = self.t["model.embed_tokens.weight"][ids]
        for i in range(self.f.layers):
            p = "model.layers.%d." % i
            x = x + self.attention(self.norm(x, p + "input_layernorm.weight"), p)
            h = self.norm(x, p + "post_attention_layernorm.weight")
            gate = torch.nn.functional.silu(self.linear(h, p + "mlp.gate_proj.weight"))
            h = gate * self.linear(h, p + "mlp.up_proj.weight")
            h = self.norm(h, p + "mlp.ffn_layernorm.weight")
            x = x + self.linear(h, p + "mlp.down_proj.weight")
        return self.norm(x, "model.norm.weight") @ self.t["model.embed_tokens.weight"].T


PLAIN = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
SUB_NORMS = {**PLAIN, "self_attn.attn_sub_norm": "attn_sub_norm", "mlp.ffn_sub_norm": "ffn_sub_norm"}
SUB_NORMS_1BIT = {**PLAIN, "self_attn.inner_attn_ln": "attn_sub_norm",
                  "mlp.ffn_layernorm": "ffn_sub_norm"}
QK_NORMS = {**PLAIN, "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}

CONFIG_1BIT = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "input_bits": 8,
               "weight_bits": 1, "rope_scaling": None, "pad_token_id": None,
               "torch_dtype": "float16"}
KEYS_1BIT = {"rope.scaling.type": (gguf.STRING, "linear"), "rope.scaling.factor": (gguf.FLOAT, 1.0)}


def quantized(architecture, model_type, linear_class, mode="offline"):
    quantization = {"quant_method": "bitnet", "modules_to_not_convert": None}
    if linear_class:
        quantization.update({"linear_class": linear_class, "quantization_mode": mode})
    return {"architectures": [architecture], "model_type": model_type,
            "torch_dtype": "bfloat16", "quantization_config": quantization}


def onebit(seed, *shape, **options):
    return Fixture(seed, "bitnet", "master-f16", *shape, base=10000.0, context=2048, layers=1,
                   norms=SUB_NORMS_1BIT, is_1bitllm=True, keys=KEYS_1BIT, config=CONFIG_1BIT,
                   **options)


QWEN_3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "float16",
          "use_sliding_window": False, "sliding_window": None}
BITNET = ("BitNetForCausalLM", "bitnet", "autobitlinear")

# Shapes are tiny, but keep what is peculiar: head sizes 96, 100 and 256, an FFN that is no
# multiple of 128, shared heads, tied and untied heads.
FIXTURES = {
    "1bitllm-large": onebit(31, 192, 256, 2, 2),
    "1bitllm-xl": onebit(32, 128, 340, 2, 2),
    "1bitllm-3b": onebit(33, 400, 328, 4, 4),
    "2b-4t": Fixture(34, "bitnet-b1.58", "multiply", 128, 256, 2, 1, act="relu2", norms=SUB_NORMS,
                     pre="", config=quantized(*BITNET)),
    "2b-4t-pre": Fixture(35, "bitnet-b1.58", "multiply", 128, 256, 4, 1, act="relu2",
                         norms=SUB_NORMS, pre="llama-bpe", config=quantized(*BITNET)),
    "2b-4t-bf16": Fixture(36, "bitnet-25", "master-bf16", 128, 256, 2, 1, act="relu2", layers=1,
                          norms=SUB_NORMS, pre="", has_head_duplicate=True,
                          config=quantized(*BITNET, "online")),
    "llama3-8b": Fixture(37, "llama", "divide", 128, 384, 4, 2, norms=PLAIN, tied=False,
                         context=8192, pre="llama-bpe",
                         config=quantized("LlamaForCausalLM", "llama", None)),
    "falcon3": Fixture(38, "llama", "divide", 128, 256, 2, 1, norms=PLAIN, tied=False, layers=1,
                       head_size=256, base=1000042.0, eps=1e-6, context=8192, pre="falcon3",
                       keys={"attention.key_length": (gguf.U32, 256),
                             "attention.value_length": (gguf.U32, 256)},
                       config=quantized("LlamaForCausalLM", "llama", None)),
    "falcon-e": Fixture(39, "llama", "multiply", 128, 256, 2, 1, norms=PLAIN, tied=False, layers=1,
                        head_size=128, base=1000042.0, eps=1e-6, context=8192, pre="falcon_e",
                        config=quantized("LlamaForCausalLM", "llama", "autobitlinear")),
    "trilm": Fixture(42, "llama", "shards", 128, 128, 2, 2, norms=PLAIN, tied=False, layers=1,
                     base=10000.0, context=2048, pre="olmo",
                     config={"architectures": ["LlamaForCausalLM"], "model_type": "llama",
                             "torch_dtype": "float16"}),
    "bonsai": Fixture(40, "qwen3", "float", 256, 384, 2, 1, norms=QK_NORMS, group=128, layers=1,
                      base=1e6, eps=1e-6, context=256, yarn=(4.0, 64), pre="qwen2",
                      config=QWEN_3,
                      keys={"attention.key_length": (gguf.U32, 128),
                            "attention.value_length": (gguf.U32, 128)}),
    "bonsai-g64": Fixture(41, "qwen3", "float", 128, 320, 2, 1, norms=QK_NORMS, group=64,
                          tied=False, layers=1, base=1e6, eps=1e-6, context=256, pre="qwen2",
                          config=QWEN_3),
}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    torch.set_num_threads(1)
    for name in sys.argv[2:] or FIXTURES:
        fixture, path = FIXTURES[name], os.path.join(folder, name)
        fixture.make()
        fixture.write_folder(path)
        fixture.write_gguf(path + ".gguf")
        tokens = gguf.tokens_for(name, fixture, N_TOKENS)
        logits = fixture.logits(path, tokens).float().numpy().astype("<f4")
        logits.tofile(path + ".logits")
        with open(path + ".tokens", "w", encoding="ascii") as file:
            file.write(",".join(map(str, tokens)) + "\n")
        print("%-14s %7d bytes of GGUF, logits %.3f … %.3f" % (
            name, os.path.getsize(path + ".gguf"), logits.min(), logits.max()))


if __name__ == "__main__":
    main()
