#!/usr/bin/env python3
"""huggingface_test.py
What: for every published architecture, a tiny model gives the logits that Hugging Face's own code
      gives, token by token, and gives the same bits from two stages in scalar code; so does its
      folder, where there is one, with the bits of the GGUF, except where it holds master weights,
      whose scale is rounded to their type.
How:  `eval --tokens` of huggingface/NAME.gguf beside huggingface/NAME.logits, which
      make_huggingface.py wrote: the cosine of every token's logits is at least 0.999. (Activations
      that lie on the edge between two codes fall to either side in two right programs, which is
      about 1 % of the range of such small models.) One other token must break it.
"""
import math
import operator
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))

import cli  # noqa: E402

COSINE_MIN = 0.999
MASTERS = ("1bitllm-xl", "2b-4t-bf16")
FIXTURES = HERE / "huggingface"


def evaluate(model, tokens, n_stages=1, isa="auto"):
    """The logits as floats, all positions behind each other."""
    out = cli.work_dir() / f"huggingface.{model.name}.f32"
    cli.coordinator("eval", "--model", model, "--local", n_stages, "--tokens",
                    ",".join(map(str, tokens)), "--logits-out", out, "--worker-isa", isa)
    data = out.read_bytes()
    out.unlink()
    return struct.unpack(f"<{len(data) // 4}f", data)


def dot(a, b):
    return sum(map(operator.mul, a, b))


def cosines(ours, theirs, n_tokens):
    cli.require(len(ours) == len(theirs), f"{len(ours)} logits, not {len(theirs)}")
    n = len(ours) // n_tokens
    for at in range(0, len(ours), n):
        a, b = ours[at:at + n], theirs[at:at + n]
        yield dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def check(name):
    tokens = [int(t) for t in (FIXTURES / f"{name}.tokens").read_text().split(",")]
    data = (FIXTURES / f"{name}.logits").read_bytes()
    theirs = struct.unpack(f"<{len(data) // 4}f", data)
    ours = evaluate(FIXTURES / f"{name}.gguf", tokens)
    found = list(cosines(ours, theirs, len(tokens)))
    print(f"{name}: cosine at least {min(found):.6f} (token {found.index(min(found))})")
    cli.require(min(found) >= COSINE_MIN, f"{name} departs from Hugging Face")
    other = evaluate(FIXTURES / f"{name}.gguf", tokens, n_stages=2, isa="scalar")
    cli.require(other == ours, f"{name}: other bits from two stages in scalar code")
    if (FIXTURES / name).is_dir():
        folder = evaluate(FIXTURES / name, tokens)
        least = min(cosines(folder, theirs, len(tokens)))
        print(f"{name}: its folder {least:.6f}, {'equal' if folder == ours else 'other'} bits")
        cli.require(least >= COSINE_MIN, f"the folder of {name} departs from Hugging Face")
        cli.require(folder == ours or name in MASTERS, f"the folder of {name} differs")
    tokens[1] ^= 1
    other = list(cosines(evaluate(FIXTURES / f"{name}.gguf", tokens), theirs, len(tokens)))
    cli.require(other[1] < COSINE_MIN, f"{name}: another token was not noticed")


def main():
    names = sorted(path.stem for path in FIXTURES.glob("*.logits"))
    cli.require(names, f"no fixtures in {FIXTURES}")
    for name in names:
        check(name)


if __name__ == "__main__":
    main()
