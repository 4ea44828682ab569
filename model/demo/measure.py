"""measure.py: the figures of the demo model, by our own coordinator: python measure.py BIN_DIR

Held-out perplexity over held-out.txt and the share of right answers to questions.jsonl, by kind
(greedy, exact match); writes figures.json, which tests/cli/demo_model.py asserts. The share of FFN
zeros per layer is taken from train/zeros.py's output when given: --zeros '[…]'.
"""

import argparse
import json
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


def evaluate(bin_dir, *arguments):
    command = [Path(bin_dir) / "bitnet-coordinator", "eval", "--model", HERE / "demo.gguf",
               "--local", "1", "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("--zeros", type=json.loads)
    options = parser.parse_args()
    path = HERE / "figures.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    score = evaluate(options.bin_dir, "--perplexity", HERE / "held-out.txt")
    figures["perplexity"] = {
        key: score[key] for key in ("perplexity", "perplexity_bits", "nll_sum_bits", "tokens")}

    lines = (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    answers = evaluate(options.bin_dir, "--questions", HERE / "questions.jsonl", "--chat",
                       "--show-wrong")
    wrong = {entry["line"] for entry in answers["wrong"]}
    kinds, groups = {}, {}
    for line, question in enumerate(asked, start=1):
        for table, key in ((kinds, question["kind"]), (groups, question["group"])):
            cell = table.setdefault(key, [0, 0])
            cell[0] += line not in wrong
            cell[1] += 1
    figures["questions"] = {"right": answers["right"], "of": answers["questions"],
                            "groups": groups, "kinds": dict(sorted(kinds.items()))}
    if options.zeros is not None:
        figures["ffn_zeros"] = options.zeros
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
