#!/usr/bin/python3
"""recipe_test.py
What: the committed golden models and logits are what their recipe makes.
How:  runs make_models.py into a temporary folder and compares bytes; runs reference.py and
      compares logits (to 1e-6 of their range: numpy's exp and sums differ between versions).
      Without numpy: skipped, out loud.
"""
import os
import sys
import tempfile

try:
    import numpy as np
except ModuleNotFoundError:
    print("skipped: python3-numpy is not installed")
    sys.exit(77)

import make_models
import reference

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models")


def read_golden(path):
    tokens, rows = [], {}
    with open(path, encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] == "tokens":
                tokens = [int(w) for w in words[2:]]
            elif words[0] == "position":
                bits = np.array([int(w, 16) for w in words[2:]], np.uint32)
                rows[int(words[1])] = bits.view(np.float32)
    return tokens, rows


def main():
    bad = 0
    for name, (model, n_tokens) in make_models.GOLDEN.items():
        committed = os.path.join(HERE, name + ".gguf")
        with tempfile.NamedTemporaryFile(suffix=".gguf") as made:
            model.write(made.name)
            with open(made.name, "rb") as a, open(committed, "rb") as b:
                same_bytes = a.read() == b.read()
        tokens, rows = read_golden(os.path.join(HERE, name + ".golden"))
        same_tokens = tokens == make_models.tokens_for(name, model, n_tokens)
        evaluated, worst = reference.Model(committed, False), 0.0
        for position, token in enumerate(tokens):
            _, logits = evaluated.step(token, position)
            if position in rows:
                worst = max(worst, np.abs(logits - rows[position]).max() / np.ptp(logits))
        ok = same_bytes and same_tokens and worst < 1e-6
        print("%s: bytes %s, tokens %s, logits within %.1e of their range" % (
            name, "equal" if same_bytes else "DIFFER", "equal" if same_tokens else "DIFFER", worst))
        bad += not ok
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
