"""bad_input.py — bad models, bad layouts, bad peers: a clear error, the right exit code, no hang.

What: damaged model files, workers that do not fit together, ports, keys, disks and pipes.
How:  each case runs the real programs with a deadline and checks exit code and the words of the
      error: it must name the file, tensor, node, field or option at fault.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import harness
from harness import Layout, require

DIRECTORY = harness.work_dir()
COORDINATOR = str(harness.BIN / "bitnet-coordinator")
WORKER = str(harness.BIN / "bitnet-worker")
MODEL_TOOL = str(harness.BIN / "bitnet-model")


def call(command, timeout=60, **more):
    more.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=harness.environment(**more.pop("env", {})), timeout=timeout,
                          check=False, **more)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def expect(name, got, code, *patterns):
    status, out, err = got
    codes = code if isinstance(code, tuple) else (code,)
    require(status in codes, f"{name}: exit {status}, not {code}\n{out[-500:]}\n{err[-2500:]}")
    for pattern in patterns:
        require(re.search(pattern, out + err, re.I | re.S),
                f"{name}: the error does not say {pattern!r}\n{err[-2500:]}")


def evaluate(model, *more, timeout=60):
    return call([COORDINATOR, "eval", "--local", 1, "--worker-threads", 1, "--tokens", "1,2,3",
                 "--logits-out", DIRECTORY / "bad-logits.bin", "--model", model,
                 "--listen", f"tcp://127.0.0.1:{harness.free_port()}", *more], timeout=timeout)


def small_model():
    return harness.synth(DIRECTORY / "bad-base.gguf", "--shape", "tiny", "--seed", 9)


def tensors(model):
    status, out, err = call([MODEL_TOOL, "inspect", model, "--tensors", "--json"])
    require(status == 0, f"inspect failed: {err}")
    import json
    return {t["name"]: t for t in json.loads(out)["tensors"]}


def damaged(name, change):
    path = DIRECTORY / f"bad-{name}.gguf"
    data = bytearray(small_model().read_bytes())
    result = change(data)
    path.write_bytes(result if result is not None else data)
    return path


def damaged_models():
    """Every kind of damage, refused by inspect or by loading, with the tensor or field named."""
    table = tensors(small_model())
    q = table["blk.1.attn_q.weight"]
    norm = table["blk.2.attn_norm.weight"]
    codes = q["offset"]
    scale = codes + q["dims"][0] * q["dims"][1] // 4

    def put(at, raw):
        def change(data):
            data[at:at + len(raw)] = raw
        return change

    cases = {
        "magic": (put(0, b"GGUX"), ("bad-magic",)),
        "version-1": (put(4, struct.pack("<I", 1)), ("version",)),
        "version-swapped": (put(4, struct.pack(">I", 3)), ("endian|version",)),
        "tensor-count": (put(8, struct.pack("<Q", 1 << 60)), ("tensor",)),
        "key-count": (put(16, struct.pack("<Q", 1 << 60)), ("key",)),
        "empty": (lambda data: b"", ("bad-empty",)),
        "truncated-header": (lambda data: data[:100], ("bad-truncated-header",)),
        "truncated-data": (lambda data: data[:len(data) // 2], ("tensor|blk",)),
        "code-3": (put(codes + 40, b"\xff"), ("blk.1.attn_q.weight",)),
        "scale-nan": (put(scale, struct.pack("<f", float("nan"))), ("blk.1.attn_q.weight", "scale")),
        "scale-zero": (put(scale, struct.pack("<f", 0.0)), ("blk.1.attn_q.weight", "scale")),
        "scale-negative": (put(scale, struct.pack("<f", -1.0)), ("blk.1.attn_q.weight", "scale")),
        "norm-infinite": (put(norm["offset"] + 8, struct.pack("<f", float("inf"))),
                          ("blk.2.attn_norm.weight",)),
    }
    for name, (change, patterns) in cases.items():
        expect(name, evaluate(damaged(name, change)), 1, f"bad-{name}", *patterns)
    expect("missing", evaluate(DIRECTORY / "no-such.gguf"), (1, 2), "no-such.gguf")
    expect("a directory", evaluate(DIRECTORY), (1, 2), re.escape(str(DIRECTORY)))


def no_tokenizer():
    model = damaged("no-tokenizer", lambda data: data.replace(b"tokenizer.ggml.model",
                                                              b"tokenizer.ggml.xodel"))
    expect("eval without tokenizer", evaluate(model), 0)
    got = call([COORDINATOR, "run", "--local", 1, "--prompt", "x", "--model", model,
                "--listen", f"tcp://127.0.0.1:{harness.free_port()}"])
    expect("run without tokenizer", got, 1, "tokenizer.ggml.model", "bad-no-tokenizer")


def different_models():
    a = small_model()
    b = harness.synth(DIRECTORY / "bad-other.gguf", "--shape", "tiny", "--seed", 10)
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    with open(os.devnull, "wb") as null:
        worker = subprocess.Popen([WORKER, "--coordinator", url, "--model", str(b)],
                                  stdout=null, stderr=subprocess.PIPE, env=harness.environment())
        got = call([COORDINATOR, "eval", "--tokens", "1", "--logits-out", DIRECTORY / "x.bin",
                    "--workers", 1, "--model", a, "--listen", url, "--join-timeout", 4])
        _, err = worker.communicate(timeout=20)
    expect("coordinator, other model", got, 1, "bad-other.gguf|model")
    require(worker.returncode == 1, f"the refused worker left with {worker.returncode}")
    require(b"bad-base.gguf" in err and b"bad-other.gguf" in err,
            f"the refusal does not name both sides: {err.decode()}")


def too_few_workers():
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    began = time.monotonic()
    got = call([COORDINATOR, "eval", "--tokens", "1", "--logits-out", DIRECTORY / "x.bin",
                "--workers", 3, "--model", small_model(), "--listen", url, "--join-timeout", 2])
    expect("too few workers", got, 1, r"no worker has joined|0 of 3")
    require(time.monotonic() - began < 15, "took too long")


def too_many_stages():
    layout = Layout(stages=6)
    outcome = harness.run(layout, ["eval", "--tokens", "1,2", "--logits-out", DIRECTORY / "x.bin"],
                          small_model())
    require(outcome.code in (1, 2) and re.search(r"6|stages|layers", outcome.stderr),
            "six stages of four layers", outcome)


def does_not_fit():
    layout = Layout(worker_args=("--memory", "8M"))
    outcome = harness.run(layout, ["eval", "--tokens", "1,2", "--context", 4096, "--slots", 64,
                                   "--logits-out", DIRECTORY / "x.bin"], small_model())
    require(outcome.code == 1, f"exit {outcome.code}", outcome)
    require(re.search(r"(MiB|GiB|bytes)", outcome.stderr) and re.search(r"missing|short|lack|more",
                                                                       outcome.stderr),
            "the missing bytes are not named", outcome)


def prompt_too_long():
    """Said before any worker is waited for: nobody joins here."""
    began = time.monotonic()
    got = call([COORDINATOR, "run", "--prompt-tokens", "1,2,3,4,5,6,7,8", "--context", 8,
                "--model", small_model(), "--listen", f"tcp://127.0.0.1:{harness.free_port()}"])
    expect("prompt too long", got, 1, "8 tokens", "--context")
    require(time.monotonic() - began < 15, "said only after waiting for workers")


def wrong_layers():
    for layers in ("1", "9,9", "x", "2,2,0,0"):
        outcome = harness.run(Layout(stages=2), ["eval", "--tokens", "1", "--layers", layers,
                                                 "--logits-out", DIRECTORY / "x.bin"], small_model())
        require(outcome.code in (1, 2) and "layers" in outcome.stderr, f"--layers {layers}", outcome)


def port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        got = call([COORDINATOR, "eval", "--tokens", "1", "--logits-out", DIRECTORY / "x.bin",
                    "--model", small_model(), "--listen", url])
    expect("port in use", got, (1, 2), re.escape(url), "in use|--listen")


def not_loopback():
    got = call([COORDINATOR, "eval", "--tokens", "1", "--logits-out", DIRECTORY / "x.bin",
                "--model", small_model(), "--listen", "tcp://0.0.0.0:0"])
    expect("open port without key", got, (1, 2), "--cluster-key", "--insecure")


def wrong_key():
    for name in ("a.key", "b.key"):
        path = DIRECTORY / name
        path.unlink(missing_ok=True)
        expect("keygen", call([COORDINATOR, "keygen", path]), 0)
        require(path.stat().st_mode & 0o777 == 0o600, "the key file is open to others")
        expect("keygen over a key", call([COORDINATOR, "keygen", path]), (1, 2), re.escape(str(path)))
    port = harness.free_port()
    url = f"tcp://127.0.0.1:{port}"
    coordinator = subprocess.Popen(
        [COORDINATOR, "eval", "--tokens", "1", "--logits-out", str(DIRECTORY / "x.bin"), "--workers",
         "1", "--model", str(small_model()), "--listen", url, "--join-timeout", "9",
         "--cluster-key", str(DIRECTORY / "a.key")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=harness.environment())
    try:
        got = call([WORKER, "--coordinator", url, "--join-timeout", 6,
                    "--cluster-key", DIRECTORY / "b.key"])
        expect("wrong key", got, 1, "key")
        got = call([WORKER, "--coordinator", url, "--join-timeout", 6])
        expect("no key", got, 1, re.escape(url))
    finally:
        coordinator.kill()
        coordinator.communicate()
    os.chmod(DIRECTORY / "a.key", 0o644)
    got = call([WORKER, "--coordinator", url, "--join-timeout", 1, "--cluster-key", DIRECTORY / "a.key"])
    expect("key that others can read", got, (1, 2), "a.key", "600|mode|read")


def right_key():
    path = DIRECTORY / "right.key"
    path.unlink(missing_ok=True)
    expect("keygen", call([COORDINATOR, "keygen", path]), 0)
    outcome = harness.run(Layout(stages=2, worker_args=("--cluster-key", str(path))),
                          ["eval", "--tokens", "1,2,3", "--logits-out", DIRECTORY / "x.bin",
                           "--cluster-key", path], small_model())
    require(outcome.code == 0, "a cluster with a key", outcome)


def full_disk():
    got = call([MODEL_TOOL, "synth", "/dev/full", "--shape", "tiny"])
    expect("synth on a full disk", got, 1, "/dev/full")
    outcome = harness.run(Layout(), ["eval", "--tokens", "1,2", "--logits-out", "/dev/full"],
                          small_model())
    require(outcome.code == 1 and "/dev/full" in outcome.stderr, "logits on a full disk", outcome)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([MODEL_TOOL, "inspect", str(small_model())], stdout=full,
                              stderr=subprocess.PIPE, env=harness.environment(), check=False)
    require(done.returncode == 1, f"inspect on a full stdout: exit {done.returncode}")


def closed_stdout():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([COORDINATOR, "run", "--local", "1", "--prompt", "x", "-n", "2000",
                           "--ignore-eos", "--model", str(small_model()),
                           "--listen", f"tcp://127.0.0.1:{harness.free_port()}"],
                          stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE,
                          env=harness.environment(), timeout=60, check=False)
    os.close(write)
    require(done.returncode == 1, f"stdout closed: exit {done.returncode}: {done.stderr.decode()[-800:]}")


def garbage_at_the_port():
    """Strangers that talk nonsense neither stop nor change an answer."""
    stop = threading.Event()

    def disturb(url):
        port = int(url.rsplit(":", 1)[1])
        seed = 1
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as stranger:
                    seed = (seed * 6364136223846793005 + 1) % (1 << 64)
                    stranger.sendall(seed.to_bytes(8, "little") * 200)
            except OSError:
                pass
            time.sleep(0.02)

    expect("reference", evaluate(small_model()), 0)
    wanted = (DIRECTORY / "bad-logits.bin").read_bytes()
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    thread = threading.Thread(target=disturb, args=(url,))
    thread.start()
    try:
        got = call([COORDINATOR, "eval", "--local", 2, "--worker-threads", 1, "--tokens", "1,2,3",
                    "--logits-out", DIRECTORY / "bad-logits2.bin", "--model", small_model(),
                    "--listen", url])
    finally:
        stop.set()
        thread.join()
    expect("garbage", got, 0)
    require((DIRECTORY / "bad-logits2.bin").read_bytes() == wanted, "another answer under garbage")


def no_coordinator():
    """A worker that cannot join says why, and leaves in time."""
    with socket.socket() as other:  # something that is not a coordinator
        other.bind(("127.0.0.1", 0))
        other.listen()
        answering = threading.Thread(target=lambda: [c[0].sendall(b"HTTP/1.1 400 no\r\n\r\n") or
                                                     c[0].close() for c in [other.accept()]],
                                     daemon=True)
        answering.start()
        cases = {
            f"tcp://127.0.0.1:{harness.free_port()}": "refused",
            "tcp://no-such-host.invalid:7070": "unknown|name|resolve",
            f"tcp://127.0.0.1:{other.getsockname()[1]}": "not a coordinator|handshake",
        }
        for url, pattern in cases.items():
            began = time.monotonic()
            got = call([WORKER, "--coordinator", url, "--join-timeout", 6])
            expect(url, got, 1, re.escape(url), pattern)
            require(time.monotonic() - began < 12, f"{url}: left late")


def shrinking_file():
    path = DIRECTORY / "bad-shrinks.gguf"
    shutil.copy(small_model(), path)
    process = subprocess.Popen(
        [COORDINATOR, "run", "--local", "1", "--prompt-tokens", "1", "-n", "100000", "--ignore-eos",
         "--context", "100001", "--model", str(path), "--listen",
         f"tcp://127.0.0.1:{harness.free_port()}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=harness.environment())
    try:
        require(process.stdout.read(1), "nothing was generated")
        os.truncate(path, 4096)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    err = err.decode(errors="replace")
    require(process.returncode == 1, f"exit {process.returncode}\n{err[-1500:]}")
    require("bad-shrinks.gguf" in err, f"the file is not named\n{err[-1500:]}")


def usage():
    cases = [
        ([COORDINATOR, "no-such-command"], "no-such-command"),
        ([COORDINATOR, "run", "--no-such-option"], "no-such-option"),
        ([COORDINATOR, "run", "--temperature", "warm"], "temperature"),
        ([COORDINATOR, "run", "-n", "-3"], "-3"),
        ([COORDINATOR, "eval"], "--tokens|--perplexity|--model"),
        ([WORKER, "--threads", "0x"], "threads"),
        ([WORKER, "--isa", "mmx"], "mmx"),
        ([WORKER, "stray"], "stray"),
        ([MODEL_TOOL], "inspect"),
        ([MODEL_TOOL, "synth"], "OUT|shape"),
        ([MODEL_TOOL, "synth", DIRECTORY / "x.gguf", "--shape", "17T"], "17T"),
    ]
    for command, pattern in cases:
        expect(" ".join(map(str, command)), call(command), 2, pattern)
    for program in (COORDINATOR, WORKER, MODEL_TOOL):
        for option in ("--help", "--version"):
            status, out, err = call([program, option])
            require(status == 0 and out and not err, f"{program} {option}: exit {status} {err}")


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    cases = [usage, damaged_models, no_tokenizer, different_models, too_few_workers, too_many_stages,
             does_not_fit, prompt_too_long, wrong_layers, port_in_use, not_loopback, wrong_key,
             right_key, full_disk, closed_stdout, garbage_at_the_port, no_coordinator,
             shrinking_file]
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    failures = 0
    for case in cases:
        if wanted not in case.__name__:
            continue
        began = time.monotonic()
        try:
            case()
            print(f"ok   {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures += 1
            print(f"FAIL {case.__name__}: {error}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
