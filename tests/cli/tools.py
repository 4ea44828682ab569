"""tools.py — the commands around the model: tokenize, detokenize, bench, keygen, options, help.

What: pipes of tokenize and detokenize; bench as text and as JSON; every option as BITNET_…, the
      command line before it; exit codes 0, 1, 2 and what is said; --help and --version of all.
How:  the programs themselves, with what they print and how they end.
"""

import json
import os
import re
import stat
import sys
import tempfile

import cli
import harness
from cli import require

TEXT = "Hello, wörld! 素早い狐 \U0001f98a\n\tтри  spaces   and <s> <|eot_id|>\n"
HELP = [("bitnet-coordinator",), ("bitnet-coordinator", "run"), ("bitnet-coordinator", "eval"),
        ("bitnet-coordinator", "bench"), ("bitnet-coordinator", "tokenize"),
        ("bitnet-coordinator", "detokenize"), ("bitnet-coordinator", "keygen"),
        ("bitnet-worker",), ("bitnet-model",), ("bitnet-model", "convert"),
        ("bitnet-model", "inspect"), ("bitnet-model", "synth")]


def check_tokenize():
    for kind, model in cli.VOCABULARY.items():  # vocabulary-only files
        ids = cli.tokenize(model, TEXT)
        require(all(isinstance(number, int) for number in ids), f"{ids}")
        back = cli.detokenize(model, ids).decode()
        require(back in (TEXT, " " + TEXT), f"{kind}: {back!r}")
        with_bos = cli.tokenize(model, TEXT, "--bos")
        require(with_bos[1:] == ids, f"{kind}: --bos puts one token first")
        require(cli.detokenize(model, with_bos) == cli.detokenize(model, ids), "BOS has no text")
        shown = cli.detokenize(model, with_bos, "--special")
        require(len(shown) > len(TEXT.encode()), f"{kind}: --special shows it: {shown!r}")
        again = cli.tokenize(model, shown, "--special")
        require(again[0] == with_bos[0], f"{kind}: and reads it")
        require(cli.tokenize(model, "") == [], f"{kind}: no text, no tokens")
        require(cli.detokenize(model, []) == b"", f"{kind}: no tokens, no text")
    for bad in (b"1, 2", b"[1, -2]", b"[99999999]", b'["a"]', b""):
        done = cli.coordinator("detokenize", "--model", cli.VOCABULARY["bpe"], stdin=bad, code=None)
        require(done.returncode in (1, 2) and done.stderr, f"{bad!r} ended with {done.returncode}")


def check_bench():
    arguments = ["bench", "--model", cli.tiny(), "--local", 2, "--worker-threads", 1,
                 "--prompt-tokens", 40, "--generate", 12, "--sequences", 4]
    text = cli.coordinator(*arguments).stdout.decode()
    require("2 stages, link zmq, 4 sequences of 40 + 12 tokens" in text, text)
    for name in ("prefill", "decode", "total"):
        require(re.search(rf"^{name} +[\d.]+ tok/s", text, re.M), text)
    require(re.search(r"([\d.]+) tokens per step, ([\d.]+) steps in flight", text), text)
    figures = json.loads(cli.coordinator(*arguments, "--json").stdout)
    require((figures["stages"], figures["sequences"], figures["link"]) == (2, 4, "zmq"), figures)
    for phase, tokens in (("prefill", 4 * 40), ("decode", 4 * 11), ("total", 4 * 52)):
        seconds = figures["prefill_s"] + figures["decode_s"] if phase == "total" else figures[
            phase + "_s"]
        rate = figures[phase + "_tokens_per_s"]
        require(abs(rate * seconds - tokens) < 1e-6 * tokens, f"{phase}: {rate} over {seconds} s")
    require(1 <= figures["decode_tokens_per_step"] <= 4, figures)
    require(figures["steps_in_flight_max"] >= 2, figures)


def check_environment():
    model = cli.tiny("bpe")
    given = cli.coordinator("run", "--model", model, "--local", 1, "--prompt", "Hello",
                            "--ignore-eos", "-n", 6, "--seed", 4, "--temperature", 2).stdout
    env = {"BITNET_MODEL": str(model), "BITNET_LOCAL": "1", "BITNET_PROMPT": "Hello",
           "BITNET_IGNORE_EOS": "1", "BITNET_N_TOKENS": "6", "BITNET_SEED": "4",
           "BITNET_TEMPERATURE": "2"}
    require(cli.coordinator("run", env=env).stdout == given, "all options from the environment")
    env["BITNET_SEED"] = "5"
    require(cli.coordinator("run", env=env).stdout != given, "another seed there")
    require(cli.coordinator("run", "--seed", 4, env=env).stdout == given, "the command line wins")
    done = cli.coordinator("run", env={**env, "BITNET_SEED": "x"}, code=2)
    require(b"BITNET_SEED" in done.stderr, f"the variable is named: {done.stderr.decode()}")
    ids = cli.coordinator("tokenize", env={"BITNET_MODEL": str(model)}, stdin=b"Hello").stdout
    require(json.loads(ids) == cli.tokenize(model, "Hello"), "tokenize by the environment")


def check_exit_codes():
    model = cli.tiny()
    for arguments, code, words in (
            (["bitnet-coordinator", "nosuch"], 2, "unknown command 'nosuch'"),
            (["bitnet-coordinator", "--modle", "x"], 2, "did you mean --model"),
            (["bitnet-coordinator", "run", "--local", 1], 2, "--prompt"),
            (["bitnet-coordinator", "run", "--local", 1, "--prompt", "x"], 2, "BITNET_MODEL"),
            (["bitnet-coordinator", "run", "--local", 1, "--prompt", "x", "--model", "/no/file"],
             1, "/no/file"),
            (["bitnet-coordinator", "run", "--temperature", "hot"], 2, "--temperature"),
            (["bitnet-coordinator", "run", "--link", "tcp"], 2, "auto, mpi, zmq"),
            (["bitnet-coordinator", "run", "--prompt"], 2, "needs a value"),
            (["bitnet-coordinator", "run", "--model", model, "--prompt", "x", "--local", 1,
              "--layers", "1,1"], 2, "--layers"),
            (["bitnet-coordinator", "bench", "--generate", 0], 2, "--generate"),
            (["bitnet-coordinator", "keygen"], 2, "file"),
            (["bitnet-worker", "--threads", "many"], 2, "--threads"),
            (["bitnet-worker", "stray"], 2, "stray"),
            (["bitnet-worker", "--link-ports", "9-1"], 2, "--link-ports"),
            (["bitnet-worker", "--join-timeout", 1, "--coordinator",
              f"tcp://127.0.0.1:{harness.free_port()}"], 1, "--join-timeout"),
            (["bitnet-model"], 2, "COMMAND"),
            (["bitnet-model", "nosuch"], 2, "nosuch"),
            (["bitnet-model", "inspect"], 2, "FILE"),
            (["bitnet-model", "inspect", "/no/file"], 1, "/no/file")):
        done = cli.program(*arguments)
        error = done.stderr.decode()
        require(done.returncode == code, f"{arguments} ended with {done.returncode}:\n{error}")
        require(words in error, f"{arguments} does not say {words!r}:\n{error}")
        require(done.stdout == b"", f"{arguments}: {done.stdout!r} on stdout")


def check_help():
    versions = set()
    for words in HELP:
        done = cli.program(*words, "--help")
        text = done.stdout.decode()
        require(done.returncode == 0 and not done.stderr, f"{words} --help")
        require(text.startswith("usage: " + " ".join(words)), f"{words}: {text[:80]}")
        for line in text.splitlines():
            long = len(line) > 100 and not line.startswith("  bitnet-")  # examples are one line
            require(not long, f"{words}: a line of {len(line)} columns: {line}")
        done = cli.program(*words, "--version")
        require(done.returncode == 0 and not done.stderr, f"{words} --version")
        first, second = done.stdout.decode().splitlines()[:2]
        require(re.fullmatch(r"bitnet-\w+ [\d.]+ \(commit [\w-]+\)", first), first)
        require(re.fullmatch(r"protocol [\d.]+, numerics \d+", second), second)
        versions.add(first.split(" ", 1)[1])
    require(len(versions) == 1, f"{versions}")


def check_keygen():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "cluster.key")
        cli.coordinator("keygen", path)
        require(stat.S_IMODE(os.stat(path).st_mode) == 0o600, "a key that others can read")
        with open(path, "rb") as file:
            key = file.read()
        done = cli.coordinator("keygen", path, code=1)
        require(path in done.stderr.decode(), done.stderr.decode())
        with open(path, "rb") as file:
            require(file.read() == key, "a key was overwritten")
        answers = [cli.coordinator("run", "--model", cli.tiny(), "--local", 2, "--prompt", "x", "-n",
                                   6, *more).stdout for more in ([], ["--cluster-key", path])]
        require(answers[0] == answers[1], "encryption changes the answer")


def check_damaged_weights():
    """A load warns of tensors that are all zeros, by name, and goes on; a check ends with 1."""
    path = cli.tiny(None, "damaged")
    listed = json.loads(cli.program("bitnet-model", "inspect", path, "--json", "--tensors").stdout)
    tensors = {t["name"]: t for t in listed["tensors"]}
    with open(path, "r+b") as file:
        for layer in range(4):
            tensor = tensors[f"blk.{layer}.ffn_up.weight"]
            file.seek(tensor["offset"])
            file.write(b"\x55" * (tensor["bytes"] - 32))
    done = cli.coordinator("eval", "--model", path, "--local", "2", "--tokens", "1,2,3")
    said = done.stderr.decode()
    require("MODEL-DAMAGED" in said, f"no warning:\n{said}")
    for layer in range(4):
        require(f"blk.{layer}.ffn_up.weight (every weight is 0)" in said, f"{layer}:\n{said}")
    checked = cli.program("bitnet-model", "inspect", path, "--check", "--json")
    require(checked.returncode == 1, f"--check ended with {checked.returncode}")
    damaged = [d["tensor"] for d in json.loads(checked.stdout)["check"]["damaged"]]
    require(damaged == [f"blk.{i}.ffn_up.weight" for i in range(4)], f"{damaged}")


def check_unused_codes():
    """A code that stands for nothing is refused wherever it lies, embedding and head too."""
    whole = (cli.SOURCE / "tests" / "golden" / "huggingface" / "bonsai-g64.gguf").read_bytes()
    path = cli.work_dir() / f"unused.{os.getpid()}.gguf"
    path.write_bytes(whole)
    listed = json.loads(cli.program("bitnet-model", "inspect", path, "--json", "--tensors").stdout)
    for tensor in listed["tensors"]:
        if tensor["type"] != "Q2_0":
            continue
        at = tensor["offset"] + 2  # behind the scale of the first block
        path.write_bytes(whole[:at] + bytes([whole[at] | 3]) + whole[at + 1:])
        done = cli.coordinator("eval", "--model", path, "--local", "1", "--tokens", "1,2,3", code=1)
        require(f"tensor {tensor['name']}: element 0 has an unused code" in done.stderr.decode(),
                f"{tensor['name']}:\n{done.stderr.decode()}")
        checked = cli.program("bitnet-model", "inspect", path, "--check")
        require(checked.returncode == 1 and tensor["name"].encode() in checked.stderr,
                f"{tensor['name']} passes --check")


def main():
    return cli.run_cases([check_tokenize, check_bench, check_environment, check_exit_codes,
                          check_help, check_keygen, check_damaged_weights,
                          check_unused_codes])


if __name__ == "__main__":
    sys.exit(main())
