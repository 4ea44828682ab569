"""demo_model.py — the trained model in model/demo does what its README says.

What: held-out questions answered right, as many as stated; held-out perplexity in the stated bits
      over stages and instruction sets; the folder converts to the very file beside it; logits
      within the agreed distance of Hugging Face transformers' (reference.json, made in float32 by
      compare_transformers.py).
How:  model/demo/figures.json holds what is stated. Sanitizers get the first questions only.
"""

import base64
import json
import math
import os
import struct
import sys
import tempfile

import cli
import harness
from cli import require

DEMO = cli.SOURCE / "model" / "demo"
MODEL = DEMO / "demo.gguf"
FIGURES = json.loads((DEMO / "figures.json").read_text())
REFERENCE = json.loads((DEMO / "reference.json").read_text())
# Int8 roundings that fall on the other side are common in a model this small: its README says how
# far two float32 runs of the same library part that differ in the type of keys and values alone.
COSINE_MIN = 0.98
OTHER_SHARE_MAX = 0.01
PERPLEXITY_MAX = 0.005


def evaluate(*arguments):
    done = cli.coordinator("eval", "--model", MODEL, "--json", *arguments, timeout=300)
    return json.loads(done.stdout)


def check_questions():
    stated = FIGURES["questions"]
    if os.environ.get("BN_SANITIZE"):
        lines = (DEMO / "questions.jsonl").read_text().splitlines(keepends=True)[:40]
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "some.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(lines)
            found = evaluate("--local", 1, "--questions", path, "--chat")
        require(found["right"] >= 0.75 * len(lines), found)
        return
    found = evaluate("--local", 2, "--questions", DEMO / "questions.jsonl", "--chat")
    require((found["right"], found["questions"]) == (stated["right"], stated["of"]),
            f"{found} for {stated}")


def check_perplexity():
    stated = FIGURES["perplexity"]
    runs = [("--local", stages, "--worker-isa", "auto") for stages in (1, 2, 3)]
    if not os.environ.get("BN_SANITIZE"):
        runs += [("--local", 1, "--worker-isa", isa) for isa in harness.isas_here()]
    for run in runs:
        found = evaluate("--perplexity", DEMO / "held-out.txt", *run)
        require({key: found[key] for key in stated} == stated, f"{run}: {found} for {stated}")


def check_perplexity_of_formats():
    """The folder itself, and every type of file that these shapes fit."""
    stated = FIGURES["perplexity"]["perplexity_bits"]
    with tempfile.TemporaryDirectory() as directory:
        models = [DEMO]
        for kind in ("tq1_0", "tq2_0", "f16"):
            models.append(os.path.join(directory, f"{kind}.gguf"))
            done = cli.program("bitnet-model", "convert", DEMO, models[-1], "--type", kind)
            require(done.returncode == 0, done.stderr.decode(errors="replace"))
        for model in models:
            done = cli.coordinator("eval", "--model", model, "--json", "--local", 1,
                                   "--perplexity", DEMO / "held-out.txt", timeout=300)
            found = json.loads(done.stdout)["perplexity_bits"]
            require(found == stated, f"{model}: {found} for {stated}")


def check_folder_is_the_file():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "converted.gguf")
        done = cli.program("bitnet-model", "convert", DEMO, path, "--head", "f16")
        require(done.returncode == 0, done.stderr.decode(errors="replace"))
        with open(path, "rb") as file:
            require(file.read() == MODEL.read_bytes(), "model/demo converts to another demo.gguf")


def logits_of(ids):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "logits")
        evaluate("--local", 1, "--logits-out", path, "--tokens", ",".join(map(str, ids)))
        with open(path, "rb") as file:
            data = file.read()
    vocab = len(data) // (4 * len(ids))
    return [struct.unpack_from(f"<{vocab}f", data, 4 * vocab * i) for i in range(len(ids))]


def cosine(a, b):
    return sum(map(float.__mul__, a, b)) / math.sqrt(
        sum(x * x for x in a) * sum(x * x for x in b))


def check_reference():
    n_other, n, nll = 0, 0, 0.0
    for window in REFERENCE["windows"]:
        ids = window["ids"]
        rows = logits_of(ids)
        for i, row in enumerate(rows):
            top = max(row)
            if row.index(top) != window["likeliest"][i]:
                n_other += 1
                gap = window["gap"][i]
                require(gap <= 2 * REFERENCE["largest_difference"],
                        f"token {row.index(top)} for {window['likeliest'][i]}, gap {gap}")
            if i + 1 < len(ids):
                nll += math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[ids[i + 1]]
        for i, text in window["logits_f16"].items():
            theirs = struct.unpack(f"<{len(rows[0])}e", base64.b64decode(text))
            require(cosine(rows[int(i)], theirs) >= COSINE_MIN, f"position {i} of {ids[:5]}…")
        n += len(ids)
    require(n >= 2000, f"{n} tokens")
    require(n_other <= OTHER_SHARE_MAX * n, f"{n_other} of {n} tokens differ")
    perplexity = math.exp(nll / REFERENCE["tokens"])
    require(abs(perplexity / REFERENCE["perplexity"] - 1) <= PERPLEXITY_MAX,
            f"perplexity {perplexity} for {REFERENCE['perplexity']}")


def check_tokenizer():
    """The reference's ids are ours: transformers' tokenizer and this one read the text alike."""
    text = (DEMO / "held-out.txt").read_text()
    theirs = [i for window in REFERENCE["windows"] for i in window["ids"][1:]]
    require(cli.tokenize(MODEL, text) == theirs, "held-out.txt is tokenised otherwise")


if __name__ == "__main__":
    sys.exit(cli.run_cases([check_tokenizer, check_questions, check_perplexity,
                            check_perplexity_of_formats, check_folder_is_the_file,
                            check_reference]))
