"""run_text.py — `run`: only the answer on stdout, as it is made, and the same one every time.

What: streams and what is on them; --stop inside and across tokens; seeds, temperature 0 against the
      logits of `eval`; -n; text that arrives while more is being made, never half a character.
How:  real coordinators with --local workers on a tiny model with a vocabulary of many scripts.
"""

import json
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import time

import cli
import harness
from cli import PATIENCE, require

SUMMARY = (r"prompt \d+ tokens at [\d.]+ tok/s, answer (\d+) tokens at [\d.]+ tok/s, "
           r"first token after [\d.]+ s, (\d+) stages?, link (\w+)")


def run(*arguments, local=1, prompt="Hello, wörld", **more):
    return cli.coordinator("run", "--model", cli.tiny("bpe"), "--local", local,
                           "--worker-threads", 1, "--prompt", prompt, "--ignore-eos", *arguments,
                           **more)


def run_tokens(*arguments, **more):
    """The answer's text and its ids."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "ids.json")
        done = run("--tokens-out", path, *arguments, **more)
        return done.stdout, harness.read_json(path)


def check_streams():
    for local, link in ((1, "self"), (2, "zmq")):
        done = run("-n", 20, local=local)
        summary = re.findall(SUMMARY, done.stderr.decode())
        require(summary == [("20", str(local), link)], f"summary {summary}")
        text, ids = run_tokens("-n", 20, local=local)
        require(len(ids) == 20, f"{len(ids)} tokens, not 20")
        require(text == done.stdout, "another answer with --tokens-out")
        require(text == cli.detokenize(cli.tiny("bpe"), ids), "stdout is not the answer alone")
        require(b"\x1b" not in done.stdout + done.stderr, "escape codes without a terminal")
    quiet = run("-n", 20, "--log-level", "error")
    require(quiet.stdout == done.stdout, "the answer depends on the log level")


def check_seed():
    answers = {seed: run_tokens("-n", 24, "--seed", seed)[1] for seed in (5, 6)}
    require(answers[5] != answers[6], "two seeds, one answer")
    for local in (1, 2):
        require(run_tokens("-n", 24, "--seed", 5, local=local)[1] == answers[5],
                f"seed 5 over {local} stages gives another answer")


def check_greedy():
    """Temperature 0 takes the largest of the logits that `eval` shows, the lowest id of equals."""
    ids = [run_tokens("-n", 12, "--temperature", 0, "--seed", seed)[1] for seed in (1, 2)]
    require(ids[0] == ids[1], "temperature 0 depends on the seed")
    model = cli.tiny("bpe")
    prompt = cli.tokenize(model, "Hello, wörld", "--bos")
    vocab = json.loads(cli.program("bitnet-model", "inspect", "--json", model).stdout)["model"][
        "vocab"]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "logits")
        cli.coordinator("eval", "--model", model, "--local", 1, "--logits-out", path, "--tokens",
                        ",".join(map(str, prompt + ids[0])))
        with open(path, "rb") as file:
            logits = file.read()
    for i, token in enumerate(ids[0]):
        row = struct.unpack_from(f"<{vocab}f", logits, 4 * vocab * (len(prompt) - 1 + i))
        require(row.index(max(row)) == token, f"token {i} is {token}, not {row.index(max(row))}")


def check_stop():
    model = cli.tiny("bpe")
    arguments = ["-n", 60, "--seed", 9, "--temperature", 1.5]
    text, ids = run_tokens(*arguments)
    whole = text.decode()
    # A text that begins in one token and ends in another: the end of one, the start of the next.
    across = None
    for i in range(5, len(ids) - 1):
        pieces = [cli.detokenize(model, ids[:i + k]).decode(errors="replace") for k in range(3)]
        one, two = pieces[1][len(pieces[0]):], pieces[2][len(pieces[1]):]
        is_plain = "\ufffd" not in one + two and pieces[2] == pieces[0] + one + two
        if is_plain and len(one) > 1 and len(two) > 1:
            across = one[1:] + two[:-1]
            break
    require(across is not None, "no pair of plain tokens in the answer")
    for stop in (across, whole[10], "no such text anywhere"):
        wanted = whole.split(stop)[0]
        stopped = run(*arguments, "--stop", stop)
        require(stopped.stdout.decode() == wanted, f"stop {stop!r}: {stopped.stdout!r}")
        both = run(*arguments, "--stop", "nothing of this", "--stop", stop)
        require(both.stdout == stopped.stdout, f"two stops, {stop!r} the second")


def check_stream():
    """Text comes while more is being made, in whole characters."""
    command = [str(cli.BIN / "bitnet-coordinator"), "run", "--model", str(cli.tiny("bpe")),
               "--local", "2", "--worker-threads", "1", "--prompt", "Hello", "--ignore-eos", "-n",
               "3000", "--temperature", "2", "--top-p", "1", "--min-p", "0", "--top-k", "0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, env=harness.environment())
    parts, descriptor = [], process.stdout.fileno()
    deadline = time.monotonic() + 100 * PATIENCE
    try:
        while time.monotonic() < deadline:
            if not select.select([descriptor], [], [], 1.0)[0]:
                continue
            data = os.read(descriptor, 1 << 16)
            if not data:
                break
            parts.append((time.monotonic(), data))
        require(process.wait(20 * PATIENCE) == 0, f"exit {process.returncode}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    for _, data in parts:
        data.decode()  # half a character would not decode
    began, ended = parts[0][0], parts[-1][0]
    total = sum(len(data) for _, data in parts)
    early = sum(len(data) for when, data in parts if when <= (began + ended) / 2)
    require(len(parts) > 50, f"all the text came in {len(parts)} parts")
    require(early > total / 10, f"{early} of {total} bytes in the first half of the time")
    require(any(byte > 0x7f for _, data in parts for byte in data), "no character of several bytes")


def check_closed_stdout():
    """A reader that leaves ends the run: no hang, no signal, a reason on stderr."""
    command = [str(cli.BIN / "bitnet-coordinator"), "run", "--model", str(cli.tiny("bpe")),
               "--local", "1", "--prompt", "Hello", "--ignore-eos", "-n", "4000"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=harness.environment())
    try:
        os.read(process.stdout.fileno(), 1)
        process.stdout.close()
        error = process.stderr.read()
        require(process.wait(30 * PATIENCE) == 1, f"exit {process.returncode}")
        require(b"cannot write standard output" in error, error.decode())
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def main():
    return cli.run_cases([check_streams, check_seed, check_greedy, check_stop, check_stream,
                          check_closed_stdout])


if __name__ == "__main__":
    sys.exit(main())
