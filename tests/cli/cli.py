"""cli.py — what the tests of the command line share: programs run as a person runs them, small
models made once, and a runner that names each case.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cluster"))

import harness  # noqa: E402
from harness import require  # noqa: E402

BIN = harness.BIN
SKIP = harness.SKIP
SOURCE = pathlib.Path(os.environ.get("BN_SOURCE_DIR", pathlib.Path(__file__).parents[2])).resolve()
VOCABULARY = {kind: SOURCE / "tests" / "golden" / f"vocabulary-{kind}.gguf"
              for kind in ("bpe", "spm")}
# Sanitizers slow everything down; deadlines grow with them, nothing else does.
PATIENCE = 4 if os.environ.get("BN_SANITIZE") else 1


def work_dir():
    path = harness.work_dir() / "cli"
    path.mkdir(parents=True, exist_ok=True)
    return path


def tiny(kind=None, name=None, *arguments):
    """The smallest model, with a printable vocabulary or one of those in tests/golden."""
    more = ["--vocab-from", VOCABULARY[kind]] if kind else []
    path = work_dir() / f"{name or 'tiny'}{'-' + kind if kind else ''}.{os.getpid()}.gguf"
    if not path.exists():
        if not arguments:
            more += ["--shape", "tiny"]
        harness.synth(path, *arguments, *more, "--seed", 3)
    return path


def remove_models():
    for path in work_dir().glob(f"*.{os.getpid()}.gguf"):
        path.unlink()


def program(*arguments, stdin=b"", timeout=120.0, env=None, cwd=None):
    """Runs one program of ours to its end: a CompletedProcess with bytes."""
    command = [str(BIN / arguments[0]), *map(str, arguments[1:])]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout * PATIENCE,
                          env=harness.environment(**(env or {})), cwd=cwd, check=False)
    # Workers of --local write to the same stderr, and nobody asks for their exit codes.
    require(b"Sanitizer" not in done.stderr and b"runtime error: " not in done.stderr,
            f"{arguments}: a sanitizer complains:\n{done.stderr.decode(errors='replace')[-6000:]}")
    return done


def coordinator(*arguments, code=0, **more):
    done = program("bitnet-coordinator", *arguments, **more)
    require(code is None or done.returncode == code,
            f"bitnet-coordinator {' '.join(map(str, arguments))} ended with {done.returncode}, "
            f"not {code}:\n{done.stderr.decode(errors='replace')[-3000:]}")
    return done


def tokenize(model, text, *arguments):
    text = text if isinstance(text, bytes) else text.encode()
    return json.loads(coordinator("tokenize", "--model", model, *arguments, stdin=text).stdout)


def detokenize(model, ids, *arguments):
    return coordinator("detokenize", "--model", model, *arguments,
                       stdin=json.dumps(ids).encode()).stdout


def has_mpi():
    return harness.has_mpi() and b" mpi" in program("bitnet-worker", "--version").stdout


def process_table():
    """pid → (parent, name, state) of all processes."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1:].rsplit(")", 1)
        fields = rest.split()
        found[int(entry.name)] = (int(fields[1]), name, fields[0])
    return found


def descendants(pid):
    """All processes below `pid`, by name; zombies are not counted."""
    table = process_table()
    below, grown = {pid}, True
    while grown:
        more = {child for child, (parent, _, _) in table.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return {child: table[child][1] for child in below - {pid}
            if child in table and table[child][2] != "Z"}


def run_cases(cases):
    """Runs each function, says which failed; exit code 1 if one did."""
    failed = 0
    for case in cases:
        began = time.monotonic()
        try:
            case()
        except Exception:  # the next case may still tell something
            failed += 1
            traceback.print_exc()
            print(f"FAILED  {case.__name__}", flush=True)
        else:
            print(f"ok      {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    remove_models()
    print(f"{len(cases) - failed} of {len(cases)} passed")
    return 1 if failed else 0
