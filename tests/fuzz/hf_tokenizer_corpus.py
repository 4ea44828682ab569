#!/usr/bin/env python3
"""Writes the seeds of corpus/hf_tokenizer anew: small folders, their files joined by the byte 0x1E."""

import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "hf_tokenizer")
MARK = "\u2581"


def tokenizer(model, pre, normalizer=None, added=(), post=None):
    return json.dumps({"added_tokens": list(added), "normalizer": normalizer, "pre_tokenizer": pre,
                       "post_processor": post, "model": model}, ensure_ascii=False).encode()


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


BYTES = [chr(b) for b in range(0x21, 0x7f)] + ["\u0120", "\u010a"]
VOCAB = {text: i for i, text in enumerate(BYTES)}
VOCAB |= {"He": 96, "ll": 97, "Hell": 98, "\u0120w": 99}
MODEL = {"type": "BPE", "vocab": VOCAB,
         "merges": ["H e", ["l", "l"], "He ll", "\u0120 w"]}
ADDED = [{"id": 100, "content": "<s>", "special": True}, {"id": 101, "content": "<t>", "special": False}]
TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
SPM = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True,
       "vocab": {"<unk>": 0, "<0x0A>": 1, MARK: 2, "H": 3, "e": 4, "He": 5, MARK + "He": 6},
       "merges": ["H e", MARK + " He"]}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": MARK}, REPLACE]}
QWEN_2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def piece(text, score=0.0, kind=1):
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + bytes([0x18, kind]))


SENTENCEPIECE = (piece("<unk>", kind=2) + piece("<s>", kind=3) + piece("<0x0A>", kind=6) + piece("H") +
                 piece("e") + piece("He", -1.0) + field(2, b"\x18\x02") + field(3, b"\x20\x00"))

SEEDS = {
    "byte-level": [tokenizer(MODEL, BYTE_LEVEL, added=ADDED, post=TEMPLATE),
                   b'{"bos_token":"<s>","eos_token":{"content":"e"},"add_bos_token":true,"chat_template":"x"}',
                   b'{"eos_token_id":[1,100],"bos_token_id":2}'],
    "qwen2": [tokenizer(MODEL, {"type": "Sequence", "pretokenizers": [
        split(QWEN_2), {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]},
        {"type": "NFC"})],
    "spm": [tokenizer(SPM, None, PREPEND), b'{"unk_token":"<unk>"}', b'{"eos_token_id":5}'],
    "spm-ranks": [tokenizer(dict(SPM, merges=["H e"]), {
        "type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False})],
    "model": [SENTENCEPIECE, b'{"added_tokens_decoder":{"7":{"content":"<pad>","special":true}},"pad_token":"<pad>"}'],
    "unigram": [tokenizer({"type": "Unigram", "vocab": [["a", -1.0]]}, None)],
    "deep": [b'{"model":' + b"[" * 80],
}


def main():
    os.makedirs(HERE, exist_ok=True)
    for name, parts in SEEDS.items():
        with open(os.path.join(HERE, name), "wb") as out:
            out.write(b"\x1e".join(parts))


if __name__ == "__main__":
    main()
