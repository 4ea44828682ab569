#!/usr/bin/env python3
"""Writes the seeds of corpus/tokenizer anew: texts, and vocabularies of a few tokens as GGUF."""

import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "tokenizer")

TEXTS = [
    b"The worker's 12345 numbers, they're <tool> here.\n\n\tAnd  there\xe2\x80\x83too! ",
    "Où est ζεστός хлеб العربية हिन्दी ภาษาไทย 中文 日本語 한국어 👩‍👧 e\u0301".encode(),
    b"\xff\xfe\xc3(\xe2\x82\xf0\x9f\x98 \xed\xa0\x80 \xf4\x90\x80\x80 \x00\x01\x7f",
    b"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><s></s><unk><0x0A>",
    b"a" * 200 + b" " * 200 + b"\n" * 100 + b"9" * 100,
]


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def key(name, kind, data):
    return string(name) + struct.pack("<I", kind) + data


def array(kind, items, pack):
    return struct.pack("<IQ", kind, len(items)) + b"".join(map(pack, items))


def vocabulary(model, tokens, types, merges):
    keys = [
        key("tokenizer.ggml.model", 8, string(model)),
        key("tokenizer.ggml.tokens", 9, array(8, tokens, string)),
        key("tokenizer.ggml.token_type", 9, array(5, types, lambda t: struct.pack("<i", t))),
        key("tokenizer.ggml.scores", 9, array(6, tokens, lambda t: struct.pack("<f", -len(t)))),
        key("tokenizer.ggml.merges", 9, array(8, merges, string)),
        key("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 0)),
        key("tokenizer.ggml.add_bos_token", 7, b"\1"),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys)


def main():
    os.makedirs(HERE, exist_ok=True)
    letters = list("Helo wrd")
    bpe = ["<s>", "<t>", "<|eot_id|>"] + list("Helowrd") + ["Ġ", "Ã", "©", "ll", "He", "Hell", "Ġw"]
    spm = ["<unk>", "<s>", "<t>", "<0xC3>", "<0xFF>", "▁"] + letters[:4] + ["ll", "He", "Hell", "▁w"]
    seeds = TEXTS + [
        vocabulary("gpt2", bpe, [3, 4, 3] + [1] * (len(bpe) - 3), ["l l", "H e", "He ll", "Ġ w"]),
        vocabulary("llama", spm, [2, 3, 4, 6, 6] + [1] * (len(spm) - 5), ["l l"]),
    ]
    for i, seed in enumerate(seeds):
        with open(os.path.join(HERE, f"{i + 1:02}"), "wb") as file:
            file.write(seed)


if __name__ == "__main__":
    main()
