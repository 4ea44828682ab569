"""make_heldout.py: writes OUT/held-out.txt and OUT/questions.jsonl: python make_heldout.py OUT

Other random streams than training and than the checks in its log; the same number of questions of
each kind.
"""

import json
import sys
from pathlib import Path

import heldout

SEED = 2
STORIES = 24
OF_A_KIND = {"story": 15, "sum": 40}


def main():
    out = Path(sys.argv[1])
    (out / "held-out.txt").write_text(heldout.text(SEED, STORIES), encoding="utf-8")
    kept, counts = [], {}
    for group, kind, prompt, answer in heldout.questions(SEED, 12000):
        if counts.get(kind, 0) < OF_A_KIND[group]:
            counts[kind] = counts.get(kind, 0) + 1
            kept.append({"group": group, "kind": kind, "prompt": prompt, "answer": answer})
    lines = "".join(json.dumps(line) + "\n" for line in kept)
    (out / "questions.jsonl").write_text(lines, encoding="utf-8")
    print(counts)


if __name__ == "__main__":
    main()
