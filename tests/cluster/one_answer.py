"""one_answer.py — the same model, prompt and seed give the same bits on every layout.

What: logit bytes at every position of a prompt and the generated tokens, over stages × transport ×
      threads × instruction set × prefill chunk × company of other sequences × way of the head.
      A second model has a scale for every 64 weights and quantises activations in groups of columns.
How:  one reference cell (one stage, scalar, one thread, chunk 1, alone), then a pairwise cover of the
      axes (all 432 cells with --full), a pipeline of mixed instruction sets, and other builds of the
      same source (BN_OTHER_BIN_DIRS: clang, -O0). Each cell proves from the workers' own counters
      that it ran as labelled. Sabotaged workers, one per axis, must turn the comparison red.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys

import harness
from harness import Layout, require

PROMPT_TOKENS = 300
GENERATED = 12
AXES = {
    "stages": (1, 2, 4),
    "transport": ("mpi", "zmq"),
    "threads": (1, 2),
    "isa": ("scalar", "avx2", "avx512"),
    "chunk": (1, 7, 64),
    "company": (0, 3),
    "head": ("full", "screen"),
}


def pairwise_cover(axes, seed=1):
    """A small set of cells in which every pair of values of two axes occurs (greedy)."""
    names = list(axes)
    cells = [dict(zip(names, values)) for values in itertools.product(*axes.values())]
    random.Random(seed).shuffle(cells)

    def pairs(cell):
        return {(a, cell[a], b, cell[b]) for a, b in itertools.combinations(names, 2)}

    missing = set().union(*map(pairs, cells))
    cover = []
    while missing:
        best = max(cells, key=lambda cell: len(pairs(cell) & missing))
        cover.append(best)
        missing -= pairs(best)
    return cover


@dataclasses.dataclass
class Answer:
    logits: str  # hash of the bytes
    tokens: list
    stats: list


def prompt_ids(vocab):
    generator = random.Random(7)
    return ",".join(str(generator.randrange(vocab)) for _ in range(PROMPT_TOKENS))


def ask(layout, model, vocab, chunk, company, directory):
    """Evaluates the prompt, then generates from it, each on a fresh cluster."""
    logits_path, tokens_path = directory / "logits.bin", directory / "tokens.json"
    stats_path = directory / "stats.json"
    shared = ["--prefill-chunk", chunk, "--context", 512, "--companions", company,
              "--link", "auto" if layout.transport == "mpi" else "zmq", "--stats-out", stats_path]
    stats = []
    for path in (logits_path, tokens_path):
        path.unlink(missing_ok=True)
    for arguments in (
            ["eval", "--tokens", prompt_ids(vocab), "--logits-out", logits_path],
            ["run", "--prompt-tokens", prompt_ids(vocab), "-n", GENERATED, "--ignore-eos",
             "--seed", 11, "--temperature", "30", "--top-p", "1", "--min-p", "0",
             "--tokens-out", tokens_path]):
        stats_path.unlink(missing_ok=True)
        outcome = harness.run(layout, arguments + shared, model)
        require(outcome.code == 0, f"{arguments[0]} failed on {layout}", outcome)
        require(set(outcome.workers) == {0}, f"a worker did not leave with 0 on {layout}", outcome)
        stats.append(harness.read_json(stats_path))
    logits = logits_path.read_bytes()
    require(len(logits) == 4 * vocab * PROMPT_TOKENS, f"{len(logits)} bytes of logits")
    tokens = harness.read_json(tokens_path)
    require(len(tokens) == GENERATED, f"{len(tokens)} tokens generated")
    return Answer(hashlib.sha256(logits).hexdigest(), tokens, stats)


def check_head(cell_name, head, evaluated, generated):
    """The last stage computed its logits as labelled; all logits take the whole head anyway."""
    workers = evaluated["workers"][-1], generated["workers"][-1]
    require(workers[0]["head_whole"] >= PROMPT_TOKENS - 1, f"{cell_name}: eval's whole heads")
    for kind in ("head_whole", "head_screened"):
        is_wanted = kind == ("head_screened" if head == "screen" else "head_whole")
        require((workers[1][kind] > 0) == is_wanted, f"{cell_name}: {kind} {workers[1][kind]}")
    for stage in evaluated["workers"][:-1] + generated["workers"][:-1]:
        require(stage["head_whole"] + stage["head_screened"] == 0, f"{cell_name}: a second head")


def check_label(cell_name, layout, chunk, company, stats, n_layers):
    """The cell ran as labelled, by what the workers counted."""
    workers = stats["workers"]
    require(len(workers) == layout.stages, f"{cell_name}: {len(workers)} stages answered")
    covered = 0
    link = "self" if layout.stages == 1 else layout.transport
    for index, worker in enumerate(workers):
        require(worker["stage"] == index, f"{cell_name}: stage order")
        require(worker["layer_begin"] == covered, f"{cell_name}: layers of stage {index}")
        covered = worker["layer_end"]
        require(worker["link"] == link, f"{cell_name}: link {worker['link']}, not {link}")
        if layout.transport == "mpi" or len(layout.isa) == 1:
            require(worker["isa"] == layout.isa_of(index), f"{cell_name}: isa {worker['isa']}")
        require(worker["threads_working"] == layout.threads or covered == worker["layer_begin"],
                f"{cell_name}: {worker['threads_working']} threads worked")
        sent, received = worker["link_bytes_out"], worker["link_bytes_in"]
        require((sent > 0) == (index + 1 < layout.stages), f"{cell_name}: bytes out {sent}")
        require((received > 0) == (index > 0), f"{cell_name}: bytes in {received}")
        require(worker["entries_max"] >= (2 if company else 1), f"{cell_name}: sequences per step")
        require(company or worker["entries_max"] == 1, f"{cell_name}: not alone")
    # Without ranks the stages stand in the order of joining.
    require(sorted(w["isa"] for w in workers) == sorted(map(layout.isa_of, range(layout.stages))),
            f"{cell_name}: isas {[w['isa'] for w in workers]}")
    require(covered == n_layers, f"{cell_name}: {covered} of {n_layers} layers")
    require(company or stats["tokens_max"] == chunk,
            f"{cell_name}: {stats['tokens_max']} tokens in a step")
    in_flight = stats["steps_in_flight_max"]
    require(in_flight >= (2 if layout.stages >= 2 else 1), f"{cell_name}: {in_flight} in flight")


def group_cells(axes):
    """Every value of every axis, in as few cells as the longest axis has values."""
    n_cells = max(len(values) for values in axes.values())
    return [{name: values[i % len(values)] for name, values in axes.items()} for i in range(n_cells)]


def label(cell):
    return " ".join(f"{name}={value}" for name, value in cell.items())


def layout_of(cell, **more):
    isa = cell["isa"] if isinstance(cell["isa"], tuple) else (cell["isa"],)
    return Layout(stages=cell["stages"], transport=cell["transport"], threads=cell["threads"],
                  isa=isa, worker_args=("--head", cell["head"]), **more)


def with_near_ties(plain, family=64):
    """A copy in which the rows of a family differ in last bits only, so that only exact logits tell
    their order: a screen that believes itself fails."""
    model = plain.with_name("near-ties-" + plain.name)
    shutil.copyfile(plain, model)
    done = subprocess.run([str(harness.BIN / "bitnet-model"), "inspect", str(model), "--json",
                           "--tensors"], capture_output=True, text=True, check=True,
                          env=harness.environment())
    tensors = {tensor["name"]: tensor for tensor in json.loads(done.stdout)["tensors"]}
    head = tensors.get("output.weight") or tensors["token_embd.weight"]
    require(head["type"] == "F16", f"head of type {head['type']}")
    n_cols, n_rows = head["dims"]
    generator = random.Random(5)
    with open(model, "r+b") as file:
        for row in range(n_rows):
            file.seek(head["offset"] + row // family * family * 2 * n_cols)
            bits = bytearray(file.read(2 * n_cols))
            for _ in range(8):
                bits[2 * generator.randrange(n_cols)] ^= 1
            file.seek(head["offset"] + row * 2 * n_cols)
            file.write(bits)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", default=os.environ.get("BN_FULL") == "1")
    parser.add_argument("--sabotage-only", action="store_true")
    options = parser.parse_args()
    # Under a sanitizer the cells count; that other builds agree and that the test notices what is
    # broken has been shown by the same run without one.
    is_repeated = os.environ.get("BN_REPEATED") == "1" and not options.full
    other_builds = "" if is_repeated else os.environ.get("BN_OTHER_BIN_DIRS", "")

    isas = harness.isas_here()
    axes = dict(AXES, isa=tuple(isa for isa in AXES["isa"] if isa in isas))
    if not harness.has_mpi():
        axes["transport"] = ("zmq",)
    for name in ("isa", "transport"):
        left_out = set(AXES[name]) - set(axes[name])
        if left_out:
            print(f"skipped here: {name} {sorted(left_out)}")

    directory = harness.work_dir()
    vocab, n_layers = 512, 4
    shape = ["--layers", n_layers, "--hidden", 256, "--ffn", 384, "--heads", 8, "--kv-heads", 2,
             "--vocab", vocab, "--seed", 3]
    plain = with_near_ties(harness.synth(directory / "one-answer.gguf", "--arch", "bitnet-b1.58", *shape))
    groups = with_near_ties(harness.synth(directory / "one-answer-groups.gguf", "--arch", "qwen3",
                                          "--weights", "q2_0", *shape))
    reference_cell = {"stages": 1, "transport": "zmq", "threads": 1, "isa": "scalar", "chunk": 1,
                      "company": 0, "head": "full"}
    references = {}
    for model in (plain, groups):
        references[model] = ask(layout_of(reference_cell), model, vocab, 1, 0, directory)
        print(f"reference of {model.name}: logits {references[model].logits[:16]} "
              f"tokens {references[model].tokens}")

    failures = []

    def compare(name, layout, cell, expect_equal=True, model=plain):
        reference = references[model]
        try:
            answer = ask(layout, model, vocab, cell["chunk"], cell["company"], directory)
            equal = (answer.logits, answer.tokens) == (reference.logits, reference.tokens)
            for stats in answer.stats:
                check_label(name, layout, cell["chunk"], cell["company"], stats, n_layers)
            check_head(name, cell["head"], *answer.stats)
            if equal != expect_equal:
                failures.append(f"{name}: {'differs' if expect_equal else 'is not noticed'}")
            print(f"{'ok  ' if equal == expect_equal else 'FAIL'} {name}", flush=True)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
            print(f"FAIL {name}: {error}", flush=True)

    if not options.sabotage_only:
        cells = ([dict(zip(axes, v)) for v in itertools.product(*axes.values())] if options.full
                 else pairwise_cover(axes))
        print(f"{len(cells)} cells")
        for cell in cells:
            compare(label(cell), layout_of(cell), cell)
        mixed = {"stages": 4, "transport": axes["transport"][0], "threads": 1, "isa": tuple(isas + ["scalar"]),
                 "chunk": 7, "company": 3, "head": "screen"}
        compare("mixed " + label(mixed), layout_of(mixed), mixed)
        for cell in group_cells(axes):
            compare("groups " + label(cell), layout_of(cell), cell, model=groups)
        for other in filter(None, other_builds.split(":")):
            for isa in isas:
                cell = dict(reference_cell, stages=2, isa=isa, chunk=64)
                compare(f"build {other} {label(cell)}", layout_of(cell, bin_dir=pathlib.Path(other)), cell)

    sabotages = {  # what is broken: a cell of the axis that must notice it
        "lane": dict(reference_cell, isa=axes["isa"][-1]),
        "thread": dict(reference_cell, threads=2),
        "chunk": dict(reference_cell, chunk=64),
        "stage": dict(reference_cell, stages=2),
        "link": dict(reference_cell, stages=2, transport=axes["transport"][0]),
        "page": dict(reference_cell, company=3, chunk=7),
        "group": dict(reference_cell, chunk=64),
        "bound": dict(reference_cell, head="screen"),
    }
    if is_repeated:
        print("a repeated run: other builds and sabotages are left to the first")
        sabotages = {}
    for name, cell in sabotages.items():
        layout = layout_of(cell, worker_binary="sabotage-worker", worker_env={"BN_SABOTAGE": name})
        compare(f"sabotage {name} ({label(cell)})", layout, cell, expect_equal=False,
                model=groups if name == "group" else plain)

    print(f"{len(failures)} failures")
    for failure in failures:
        print(f"  {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
