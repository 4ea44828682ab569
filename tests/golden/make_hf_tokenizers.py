#!/usr/bin/env python3
"""Makes small tokenizer folders of every kind and writes what independent tokenizers make of text.

Writes hf/KIND/ beside itself: tokenizer.json (or tokenizer.model), tokenizer_config.json and, for
two of them, the other small files of a Hugging Face folder; hf/KIND/ids.txt with the ids of each
string of hf/strings.txt, line by line (a text has a | behind it; escapes as in tokenizer_ids.txt).
The merges are trained without any cutting, so that a wrong cut shows. tokenizer.json is read back
by `tokenizers`, tokenizer.model by `sentencepiece`. Needs what make_vocabularies.py needs.
"""

import io
import json
import os
import random
import shutil

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

import make_vocabularies as made

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hf")
N_STRINGS = 260
N_BYTE_LEVEL = 800
N_SPM = 700
N_SENTENCEPIECE = 900
CONTROL = made.CONTROL
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN_2 = made.LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")


# Where kinds differ that agree on everything else: text behind special tokens, spelt bytes that
# count as numbers, whole pieces that merging alone does not reach.
MORE = ["x</s>y z", "<s>hello</s> world", "perch\u00f2 la citt\u00e0 \u00f3 \u00bc", "\u0cb2\u0cb3 caff\u00e8\u00b2",
        "<|eot_id|>User: why?<|end_of_text|>", "O'BRIEN's iPhone McDonald\u01c5emal \u4e2dA\u4e2d\u0301B a/b//\n/c"]


def split(expression):
    return pre_tokenizers.Split(Regex(expression), "isolated")


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


PUNCTUATION = pre_tokenizers.Punctuation("contiguous")
# kind: (ignore_merges, parts)
BYTE_LEVEL = {
    "llama-bpe": (True, [split(made.LLAMA_3), byte_level(False)]),
    "smaug-bpe": (False, [split(made.LLAMA_3), byte_level(False)]),
    "qwen2": (False, [split(QWEN_2), byte_level(False)]),
    "gpt-2": (False, [byte_level(True)]),
    "smollm": (False, [pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "falcon3": (False, [PUNCTUATION, byte_level(True), split("[0-9]")]),
    "falcon3-spelt": (False, [PUNCTUATION, byte_level(True),
                              pre_tokenizers.Digits(individual_digits=True)]),
    "falcon-e": (False, [PUNCTUATION, split(CASED), split("[0-9]"), byte_level(False)]),
}


def save(kind, tokenizer, config, strings, others=()):
    folder = os.path.join(HERE, kind)
    os.makedirs(folder)
    path = os.path.join(folder, "tokenizer.json")
    tokenizer.save(path, pretty=False)
    reference = Tokenizer.from_file(path)
    if kind == "qwen2":  # we tokenise text as it is written
        reference.normalizer = normalizers.Sequence([])
    write_rest(folder, config, others, [reference.encode(text, add_special_tokens=False).ids
                                        for text in strings])


def write_rest(folder, config, others, rows):
    for name, value in [("tokenizer_config.json", config), *others]:
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as out:
            json.dump(value, out, indent=1, ensure_ascii=False)
            out.write("\n")
    with open(os.path.join(folder, "ids.txt"), "w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(" ".join(map(str, row)) + "\n")


def make_byte_level(lines, strings):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = byte_level(False)
    trained.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=N_BYTE_LEVEL, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=12, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    model["vocab"]["\u0120world"] = len(model["vocab"])  # no merges lead there
    for kind, (ignore_merges, parts) in BYTE_LEVEL.items():
        tokenizer = Tokenizer(models.BPE(
            vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]],
            ignore_merges=ignore_merges))
        tokenizer.pre_tokenizer = (parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts))
        tokenizer.decoder = decoders.ByteLevel()
        if kind == "qwen2":
            tokenizer.normalizer = normalizers.NFC()
        tokenizer.add_tokens([AddedToken(made.USER_DEFINED, normalized=False)])
        tokenizer.add_special_tokens(CONTROL)
        bos = CONTROL[0] if kind == "llama-bpe" else None
        if bos is not None:
            tokenizer.post_processor = processors.Sequence([
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single=f"{bos} $A",
                                              special_tokens=[(bos, tokenizer.token_to_id(bos))])])
        others = [("generation_config.json",
                   {"bos_token_id": tokenizer.token_to_id(CONTROL[0]),
                    "eos_token_id": [tokenizer.token_to_id(CONTROL[1]),
                                     tokenizer.token_to_id(CONTROL[4])]})]
        config = {"bos_token": bos, "eos_token": CONTROL[1], "unk_token": None,
                  "chat_template": "{{ messages[0].content }}",
                  "tokenizer_class": "PreTrainedTokenizerFast"}
        save(kind, tokenizer, config, strings, others if kind == "llama-bpe" else ())


def spm_tokenizer(vocab, merges, normalizer, pre_tokenizer):
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


REPLACE = normalizers.Replace(" ", "\u2581")
PREPEND = normalizers.Sequence([normalizers.Prepend("\u2581"), REPLACE])
SPM_CONFIG = {"add_bos_token": True, "bos_token": {"content": "<s>"}, "eos_token": "</s>",
              "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}


def make_trained_spm(lines, strings):
    """One merge a token, as `tokenizers` trains them: their order tells more than scores could."""
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.normalizer = PREPEND
    trained.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=N_SPM, special_tokens=["<unk>", "<s>", "</s>"] + byte_tokens,
        limit_alphabet=120, max_token_length=10, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    kinds = {
        "spm-each": (PREPEND, None),
        "spm-none": (REPLACE, None),
        "spm-first": (None, pre_tokenizers.Metaspace("\u2581", prepend_scheme="first", split=False)),
        "spm-always": (None, pre_tokenizers.Metaspace("\u2581", prepend_scheme="always", split=False)),
    }
    for kind, (normalizer, pre_tokenizer) in kinds.items():
        tokenizer = spm_tokenizer(model["vocab"], merges, normalizer, pre_tokenizer)
        save(kind, tokenizer, SPM_CONFIG, strings)


def make_sentencepiece(lines, strings):
    """The file itself, and a tokenizer.json with every pair that makes a token, as converted ones."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line.replace("\n", " ") for line in lines), model_writer=model,
        model_type="bpe", vocab_size=N_SENTENCEPIECE, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, character_coverage=0.98, num_threads=1, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    folder = os.path.join(HERE, "spm-model")
    os.makedirs(folder)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as out:
        out.write(model.getvalue())
    n = processor.get_piece_size()
    write_rest(folder, SPM_CONFIG, [("added_tokens.json", {"<pad>": n})],
               [processor.encode(text) for text in strings])

    vocab = {processor.id_to_piece(i): i for i in range(n)}
    merges = []
    for i in range(n):
        piece = processor.id_to_piece(i)
        if processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i):
            continue
        found = [(piece[:at], piece[at:]) for at in range(1, len(piece))
                 if piece[:at] in vocab and piece[at:] in vocab]
        merges += sorted(((processor.get_score(i), pair) for pair in found),
                         key=lambda x: (vocab[x[1][0]], vocab[x[1][1]]))
    merges = [pair for _, pair in sorted(merges, key=lambda x: -x[0])]
    save("spm-complete", spm_tokenizer(vocab, merges, PREPEND, None), SPM_CONFIG, strings)


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    os.makedirs(HERE)
    lines = made.training_lines(random.Random(3))
    strings = made.strings(random.Random(2))[:N_STRINGS - len(MORE)] + MORE
    with open(os.path.join(HERE, "strings.txt"), "w", encoding="utf-8", newline="\n") as out:
        for text in strings:
            out.write(made.escaped(text) + "|\n")
    make_byte_level(lines, strings)
    make_trained_spm(lines, strings)
    make_sentencepiece(lines, strings)


if __name__ == "__main__":
    main()
