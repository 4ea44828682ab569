"""compare_transformers.py: our logits beside those of Hugging Face transformers, in float32.

    python compare_transformers.py BIN_DIR MODEL.gguf

Teacher-forced over held-out.txt in windows of 512 tokens with BOS first. Wants of each token:
cosine >= 0.999; the same likeliest token wherever the reference's top two lie further apart than
twice the largest difference of any logit, all others listed and at most 0.5 %; perplexity within
0.5 %. Writes the reference's outputs to reference.json, small enough to be compared with in the
ordinary tests: its likeliest token, gap and negative log-likelihood of each position, and all
logits of a few positions as float16. Needs train/requirements.txt; exit 1 when something is not as
it should be.
"""

import base64
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
WINDOW = 512
KEPT_EVERY = 128  # positions whose logits are kept whole


def windows_of(tokenizer, bos):
    text = (HERE / "held-out.txt").read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False)
    room = WINDOW - 1
    return [[bos, *ids[i : i + room]] for i in range(0, len(ids), room)]


def our_logits(bin_dir, model, ids, vocab):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "logits"
        subprocess.run(
            [Path(bin_dir) / "bitnet-coordinator", "eval", "--model", model, "--local", "1",
             "--tokens", ",".join(map(str, ids)), "--logits-out", path],
            check=True, capture_output=True)
        return torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32).view(-1, vocab)


def kept_logits(row):
    return base64.b64encode(struct.pack(f"<{len(row)}e", *row.tolist())).decode()


@torch.no_grad()
def main():
    bin_dir, gguf = sys.argv[1:3]
    tokenizer = AutoTokenizer.from_pretrained(HERE)
    model = AutoModelForCausalLM.from_pretrained(HERE, dtype=torch.float32).eval()
    windows = windows_of(tokenizer, model.config.bos_token_id)
    cosines, largest, positions, nll = [], 0.0, [], [0.0, 0.0]
    reference = {"windows": []}
    for ids in windows:
        theirs = model(torch.tensor([ids])).logits[0]
        ours = our_logits(bin_dir, gguf, ids, theirs.shape[1])
        cosines.append(torch.nn.functional.cosine_similarity(ours, theirs, dim=-1))
        largest = max(largest, float((ours - theirs).abs().max()))
        top = theirs.topk(2, dim=-1)
        gaps, best = top.values[:, 0] - top.values[:, 1], top.indices[:, 0]
        losses = []
        for side, logits in enumerate((ours, theirs)):
            losses = torch.nn.functional.cross_entropy(
                logits[:-1].double(), torch.tensor(ids[1:]), reduction="none")
            nll[side] += float(losses.sum())
        positions += list(zip(ours.argmax(-1).tolist(), best.tolist(), gaps.tolist()))
        reference["windows"].append({
            "ids": ids, "likeliest": best.tolist(), "gap": [round(g, 5) for g in gaps.tolist()],
            "nll": [round(x, 6) for x in losses.tolist()],
            "logits_f16": {str(i): kept_logits(theirs[i])
                           for i in range(KEPT_EVERY - 1, len(ids), KEPT_EVERY)}})
    scored = sum(len(ids) - 1 for ids in windows)
    ours_ppl, theirs_ppl = (float(torch.tensor(x / scored, dtype=torch.float64).exp()) for x in nll)
    other = [p for p in positions if p[0] != p[1]]
    wrong = [p for p in other if p[2] > 2 * largest]
    cosine = float(torch.cat(cosines).min())
    result = {
        "positions": len(positions), "cosine_min": cosine, "largest_difference": largest,
        "other_greedy_token": [{"ours": a, "theirs": b, "gap": gap} for a, b, gap in other],
        "perplexity": {"ours": ours_ppl, "transformers": theirs_ppl}}
    reference.update(largest_difference=largest, perplexity=theirs_ppl, tokens=scored,
                     compared=result)
    (HERE / "reference.json").write_text(json.dumps(reference) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    is_right = (cosine >= 0.999 and not wrong and len(other) <= 0.005 * len(positions)
                and abs(ours_ppl / theirs_ppl - 1) <= 0.005 and len(positions) >= 2000)
    print("as it should be" if is_right else "NOT as it should be")
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
