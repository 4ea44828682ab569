"""eval_numbers.py — perplexity and long prompts, from the numbers themselves.

What: `eval --perplexity` equals what Python computes, in double, from the bytes of `eval --tokens
      --logits-out`: windows of --context tokens, no overlap, BOS first where the model adds one;
      its raw bits are equal over 1 and 2 stages. The logits of a prompt of 4,096 tokens are equal
      over prefill chunks, instruction sets and stages.
How:  models with and without BOS; the log-sum-exp here is math.fsum over exp(x - max), so the two
      agree to the last digits, not to the last bit: within 1e-12 relative.
"""

import hashlib
import json
import math
import os
import random
import struct
import sys
import tempfile

import cli
import harness
from cli import require

CONTEXT = 48
TEXT = ("The quick brown fox jumps over the lazy dog. Größere Flüsse fließen langsam. "
        "Быстрая лиса. 素早い狐が犬を飛び越える。 0123456789 (a + b) * c == d;\n") * 3
LONG = 1024 if os.environ.get("BN_SANITIZE") else 4096  # scalar attention is slow enough as it is
WITHOUT_BOS = cli.SOURCE / "tests" / "golden" / "models" / "bitnet-silu.gguf"


def inspect(model):
    return json.loads(cli.program("bitnet-model", "inspect", "--json", model).stdout)


def logits_of(model, ids, vocab):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "logits")
        cli.coordinator("eval", "--model", model, "--local", 1, "--logits-out", path, "--tokens",
                        ",".join(map(str, ids)))
        with open(path, "rb") as file:
            data = file.read()
    require(len(data) == 4 * vocab * len(ids), f"{len(data)} bytes for {len(ids)} positions")
    return [struct.unpack_from(f"<{vocab}f", data, 4 * vocab * i) for i in range(len(ids))]


def expected(model, text):
    """Scores in text order, windows."""
    facts = inspect(model)
    vocab, plain = facts["model"]["vocab"], cli.tokenize(model, text)
    # `tokenize --bos` shows which token it is; whether the model adds one, its keys say.
    adds_bos = facts["tokenizer"].get("add_bos", facts["tokenizer"].get("pre") == "llama-bpe")
    bos = cli.tokenize(model, text, "--bos")[:1] if adds_bos else []
    room = CONTEXT - len(bos)
    windows = [bos + plain[i:i + room] for i in range(0, len(plain), room)]
    windows = [window for window in windows if len(window) > 1]
    scores = []
    for window in windows:
        for row, target in zip(logits_of(model, window[:-1], vocab), window[1:]):
            top = max(row)
            scores.append(math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[target])
    return scores, len(windows)


def perplexity(model, path, local):
    done = cli.coordinator("eval", "--model", model, "--local", local, "--worker-threads", 1,
                           "--perplexity", path, "--context", CONTEXT, "--json")
    require(done.stdout.count(b"\n") == 1, "one line of JSON on stdout")
    return json.loads(done.stdout)


def number_of(bits):
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def check_perplexity():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(TEXT)
        for model in (cli.tiny(), cli.tiny("bpe"), WITHOUT_BOS):
            scores, n_windows = expected(model, TEXT)
            require(n_windows >= 3, f"{n_windows} windows")
            found = perplexity(model, path, 1)
            require(found["tokens"] == len(scores), f"{found['tokens']} scored, {len(scores)} due")
            require(found["windows"] == n_windows, f"{found['windows']} windows, {n_windows} due")
            total = 0.0
            for score in scores:
                total += score
            for name, value in (("nll_sum", total), ("perplexity", math.exp(total / len(scores)))):
                bits = number_of(found[name + "_bits"])
                require(bits == found[name], f"{name}: {bits!r} in bits, {found[name]!r} in words")
                require(abs(bits - value) <= 1e-12 * value, f"{model}: {name} {bits!r}, {value!r}")
            require(perplexity(model, path, 2) == found, f"{model}: other bits over 2 stages")


def check_errors():
    model = cli.tiny()
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "empty.txt")
        with open(path, "w", encoding="utf-8"):
            pass
        for arguments, code, words in (
                (["--perplexity", path], 2, "nothing to score"),
                (["--perplexity", path + ".no"], 1, "empty.txt.no"),
                (["--tokens", "1,2,x"], 2, "x"),
                (["--tokens", "1,99999"], 2, "99999"),
                (["--tokens", "1", "--perplexity", path], 2, "--tokens"),
                (["--tokens", "1", "--logits-out", directory], 1, directory)):
            done = cli.coordinator("eval", "--model", model, "--local", 1, *arguments, code=code)
            require(words in done.stderr.decode(), f"{arguments}: {done.stderr.decode()}")
            require(done.stdout == b"", f"{arguments}: {done.stdout!r} on stdout")


def check_long_prompt():
    # As small as a model may be: scalar attention over 4,096 positions takes its time.
    model = cli.tiny(None, "long", "--arch", "bitnet-b1.58", "--layers", 2, "--hidden", 64,
                     "--ffn", 128, "--heads", 2, "--kv-heads", 1, "--vocab", 128, "--no-tokenizer",
                     "--context-length", LONG)
    generator = random.Random(5)
    vocab = inspect(model)["model"]["vocab"]
    ids = ",".join(str(generator.randrange(vocab)) for _ in range(LONG))
    isas = harness.isas_here()
    cells = [(isa, 64, 1) for isa in isas]
    cells += [(isas[-1], 1, 1), (isas[-1], 7, 2), (isas[-1], 0, 1)]
    hashes = {}
    for isa, chunk, local in cells:
        with tempfile.TemporaryDirectory() as directory:
            path, stats = os.path.join(directory, "logits"), os.path.join(directory, "stats")
            cli.coordinator("eval", "--model", model, "--local", local, "--worker-isa", isa,
                            "--worker-threads", 1, "--prefill-chunk", chunk, "--logits-out", path,
                            "--tokens", ids, "--stats-out", stats)
            with open(path, "rb") as file:
                data = file.read()
            counted = harness.read_json(stats)
        require(len(data) == 4 * vocab * LONG, f"{len(data)} bytes")
        require({worker["isa"] for worker in counted["workers"]} == {isa}, f"not {isa}")
        require(chunk == 0 or counted["tokens_max"] == chunk, f"{counted['tokens_max']} at once")
        hashes[isa, chunk, local] = hashlib.sha256(data).hexdigest()
    require(len(set(hashes.values())) == 1, f"not one answer: {hashes}")


def main():
    return cli.run_cases([check_perplexity, check_errors, check_long_prompt])


if __name__ == "__main__":
    sys.exit(main())
