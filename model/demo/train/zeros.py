"""zeros.py: the share of FFN activations that are exactly zero: python zeros.py RUN held-out.txt

Counted per layer in what ffn_down's sub-norm reads, relu2(gate) * up.
The exact forward pass of network.py over windows of 512 tokens, BOS first, as `bitnet-coordinator
eval --perplexity` cuts them; prints a JSON array, one share per layer.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

import corpus
import export


@torch.no_grad()
def main():
    run, text = Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    network = export.load(run)
    network.set_exact(True)
    for layer in network.layers:
        layer.ffn_zeros = [0, 0]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    room = network.shape.context - 1
    for i in range(0, len(ids), room):
        network(torch.tensor([[corpus.BOS, *ids[i : i + room]]]))
    shares = [zeros / n for zeros, n in (layer.ffn_zeros for layer in network.layers)]
    print(json.dumps([round(share, 4) for share in shares]))


if __name__ == "__main__":
    main()
