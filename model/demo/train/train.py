"""train.py: trains the demo model on one CPU thread: python train.py --out DIR [--steps N]

Makes the tokenizer if DIR has none, then trains; a checkpoint is written every few minutes and a
second run goes on from it. The rate rises for 200 steps and then falls linearly to zero.
The figures of each check are of the exact forward pass: held-out loss per token, and the share of
held-out questions whose greedy answer is right.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import corpus
import heldout
from network import Network, Shape

HERE = Path(__file__).resolve().parent
SHARD_ROWS = 384
WARM_UP = 200


def rate(step, steps, peak):
    return peak * min((step + 1) / WARM_UP, (steps - step) / (steps - WARM_UP))


def batches(seed, step, tokenizer, length, options):
    """From any step on, always the same rows at the same step."""
    rows = options.rows
    per_shard = SHARD_ROWS // rows
    while True:
        index, at = divmod(step, per_shard)
        kinds = corpus.FIRST if step < options.drills_until else corpus.KINDS
        # New words are mostly chance, so early they only hide what can be learned; but a model
        # that never counts them in full tells stories without new people.
        new = corpus.NEW if step < options.steps * 5 // 6 else 1.0
        ids, weights = corpus.shard(seed, index, tokenizer, SHARD_ROWS, length + 1, kinds, new)
        ids, weights = torch.tensor(ids), torch.tensor(weights)
        for i in range(at, per_shard):
            yield ids[i * rows : (i + 1) * rows], weights[i * rows : (i + 1) * rows]
            step += 1


def loss_of(network, ids, weights):
    logits = network(ids[:, :-1])
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    w = weights[:, 1:].flatten()
    return (losses * w).sum() / w.sum()


def batched(dialogs, size):
    """Of like length, padded at the end, where causal attention does not see it."""
    dialogs = sorted(dialogs, key=lambda d: len(d[0]))
    for i in range(0, len(dialogs), size):
        part = dialogs[i : i + size]
        longest = len(part[-1][0])
        ids = [d[0] + [corpus.PAD] * (longest - len(d[0])) for d in part]
        yield part, torch.tensor(ids)


@torch.no_grad()
def answered(network, tokenizer, asked):
    """{group: {kind: [right, all]}}: every token of the answer and its end is the likeliest."""
    dialogs = []
    for group, kind, prompt, answer in asked:
        ids, begin = heldout.dialog(tokenizer, prompt, answer)
        dialogs.append((ids, begin, group, kind))
    counts = {}
    for part, ids in batched(dialogs, 16):
        best = network(ids[:, :-1]).argmax(-1)
        for row, (own, begin, group, kind) in enumerate(part):
            right = best[row, begin - 1 : len(own) - 1].tolist() == own[begin:]
            cell = counts.setdefault(group, {}).setdefault(kind, [0, 0])
            cell[0] += right
            cell[1] += 1
    return counts


@torch.no_grad()
def held_out_loss(network, tokenizer, text):
    """Nats per token over windows of the context, each begun by BOS, stories kept whole."""
    total, n = 0.0, 0
    for story in text.split("\n\n"):
        ids = torch.tensor([tokenizer.encode(story.strip()).ids])
        total += float(F.cross_entropy(network(ids[:, :-1])[0], ids[0, 1:], reduction="sum"))
        n += ids.shape[1] - 1
    return total / n


def check(network, tokenizer):
    network.set_exact(True)
    loss = held_out_loss(network, tokenizer, heldout.text(1, 40))
    counts = answered(network, tokenizer, heldout.questions(1, 400))
    network.set_exact(False)
    words = [f"held-out loss {loss:.4f}"]
    for group, kinds in counts.items():
        right, n = (sum(c[i] for c in kinds.values()) for i in (0, 1))
        words.append(f"{group} questions {right}/{n}")
    words.append("wrong: " + ", ".join(
        f"{kind} {n - right}/{n}" for kinds in counts.values()
        for kind, (right, n) in sorted(kinds.items()) if right < n))
    return "; ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rows", type=int, default=6, help="sequences of 512 tokens per step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--drills-until", type=int, default=1500, metavar="STEP",
                        help="until here mostly finding and repeating words (drills.py)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)

    vocabulary = options.out / "tokenizer.json"
    if not vocabulary.exists():
        subprocess.run([sys.executable, HERE / "train_tokenizer.py", vocabulary], check=True)
    tokenizer = Tokenizer.from_file(str(vocabulary))
    shape = Shape(vocab=tokenizer.get_vocab_size())
    network = Network(shape)
    matrices = [p for p in network.parameters() if p.dim() == 2]
    vectors = [p for p in network.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95), fused=True)

    log = open(options.out / "train.log", "a", encoding="utf-8")

    def say(text):
        print(text, file=log, flush=True)

    first, saved = 0, options.out / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        say(f"goes on from step {first}, --steps {options.steps}")
    else:
        n = sum(p.numel() for p in network.parameters())
        say(f"seed {options.seed}, {n} parameters, {shape.as_dict()}, torch {torch.__version__}, "
            f"{options.threads} thread, --steps {options.steps} --rows {options.rows} "
            f"--rate {options.rate}")

    fast_loss = torch.compile(loss_of)
    source = batches(options.seed, first, tokenizer, shape.context, options)
    begin, mean = time.monotonic(), []
    for step in range(first, options.steps):
        is_falling = step >= options.steps * 2 // 3
        optimizer.param_groups[0]["weight_decay"] = 0.0 if is_falling else 0.1
        for group in optimizer.param_groups:
            group["lr"] = rate(step, options.steps, options.rate)
        loss = fast_loss(network, *next(source))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        mean.append(loss.item())
        done = step + 1
        if done % 50 == 0:
            speed = len(mean) * options.rows * shape.context / (time.monotonic() - begin)
            say(f"step {done} loss {sum(mean) / len(mean):.4f} rate {group['lr']:.5f} "
                f"{speed:.0f} tokens/s")
            begin, mean = time.monotonic(), []
        if done % 250 == 0 or done == options.steps:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(),
                     "step": done}
            torch.save(state, options.out / "checkpoint.part")
            os.replace(options.out / "checkpoint.part", saved)
        if done % 500 == 0 or done == options.steps:
            say(f"step {done} {check(network, tokenizer)}")
            begin, mean = time.monotonic(), []


if __name__ == "__main__":
    main()
