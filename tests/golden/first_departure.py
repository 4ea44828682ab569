#!/usr/bin/env python3
"""Names the first layer where a run of ours departs from a Hugging Face run.

    bitnet-coordinator eval --model m.gguf --local 1 --text "Once upon a time" --dump DIR
    first_departure.py DIR FOLDER [--threshold 0.05]

DIR is such a dump; FOLDER the model as a Hugging Face folder (config.json, safetensors), which
transformers runs in float32 on the dump's tokens. Printed for the embedding, after every layer and
for the logits: the RMS of the difference over the RMS of theirs, the worst position's, and by how
much it grew. The first line above the threshold is named: exit 1; 0 when there is none.

What grows slowly is noise: an activation on the edge between two int8 codes falls to either side in
two right programs, and our keys and values are F16. What jumps is a mistake in that layer.

Needs numpy, torch, transformers, accelerate and safetensors.
"""
import argparse
import json
import os
import pathlib
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling would take longer than running

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    if "BitnetForCausalLM" in config.get("architectures", ()):
        sys.exit("%s: 1bitLLM's models are remote code, which transformers does not have; "
                 "make_huggingface.py says it again for the tiny ones" % folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu",
                                                 attn_implementation="eager")
    torch.nn.Module.float(model)  # what a quantised checkpoint keeps in half precision
    for module in model.modules():
        if type(module).__name__ == "BitLinear":
            module.dtype = torch.float32
    return model.eval()


def reference(folder, tokens):
    """Embedding, the residual after every layer, logits: each [positions][n]. By hooks, because
    the last of output_hidden_states has the final norm behind it."""
    model, found = load(folder), []

    def keep(module, arguments, output):
        found.append((output[0] if isinstance(output, tuple) else output)[0])

    decoder = model.get_decoder()
    decoder.embed_tokens.register_forward_hook(keep)
    for layer in decoder.layers:
        layer.register_forward_hook(keep)
    with torch.no_grad():
        found.append(model(torch.tensor([tokens.astype(np.int64)])).logits[0])
    return [one.float().numpy().astype(np.float64) for one in found]


def names_of(n):
    return ["embedding"] + ["layer %d" % i for i in range(n - 2)] + ["logits"]


def read_dump(folder, n):
    """The same n arrays from a dump."""
    paths = [folder / ("layer_%03d.npy" % i) for i in range(n - 1)] + [folder / "logits.npy"]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        sys.exit("%s has no %s: dumps of several hosts must be gathered first" % (
            folder, ", ".join(missing)))
    return [np.load(path).astype(np.float64) for path in paths]


def departures(ours, theirs):
    """(of all, of the worst position, which) for each pair of arrays."""
    for name, a, b in zip(names_of(len(theirs)), ours, theirs):
        if a.shape != b.shape:
            sys.exit("%s is %s here and %s there: not the same model or tokens" % (
                name, a.shape, b.shape))
        rows = np.sqrt(np.mean((a - b) ** 2, axis=1) / np.mean(b * b, axis=1))
        yield np.sqrt(np.mean((a - b) ** 2) / np.mean(b * b)), rows.max(), int(rows.argmax())


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("dump", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threshold", type=float, default=0.05)
    options = parser.parse_args()
    tokens = np.load(options.dump / "tokens.npy")
    theirs = reference(options.folder, tokens)
    ours = read_dump(options.dump, len(theirs))
    first, before = None, None
    print("%-10s %12s %14s %9s" % ("after", "relative RMS", "worst position", "growth"))
    for name, (whole, worst, at) in zip(names_of(len(theirs)), departures(ours, theirs)):
        growth = "%9.2f" % (whole / before) if before else "%9s" % "-"
        is_off = not whole <= options.threshold  # NaN is off, too
        print("%-10s %12.3e %8.1e @%-4d %s%s" % (name, whole, worst, at, growth,
                                                  "  <" if is_off else ""))
        if is_off and first is None:
            first = name
        before = whole
    if first is None:
        print("no departure: all within %g" % options.threshold)
        return 0
    print("the first to depart by more than %g: %s" % (options.threshold, first))
    return 1


if __name__ == "__main__":
    sys.exit(main())
