"""quickstart.py — deploy/quickstart.sh as a newcomer types it, on a tree that is built.

What: a PROMPT is answered on stdout by the model in model/demo; the prompt opens on a terminal and
      /quit, Ctrl-C and a closed terminal end it; no process and no port is left, and a second run
      works like the first.
How:  the script itself, without any BITNET_ variable. It uses build/release; without mpirun or
      such a build it is skipped.
"""

import os
import subprocess
import sys
import tempfile

import cli
import harness
from cli import require
from terminal import CTRL_C, Terminal

PROMPT, ANSWER = "Hello!", b"Hello! I can tell small stories and do small sums."
SCRIPT = cli.SOURCE / "deploy" / "quickstart.sh"


def leftovers():
    build = str(cli.SOURCE / "build" / "release" / "bin")
    table = cli.process_table()
    found = []
    for pid, (_, name, state) in table.items():
        if state == "Z" or name not in ("bitnet-worker", "bitnet-coordinat", "mpirun"):
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if build in words and "--coordinator" not in words:  # not those of other tests
            found.append(f"{pid}: {words}")
    return found


def check_prompt_argument():
    answers = []
    for _ in range(2):
        done = subprocess.run([str(SCRIPT), PROMPT], capture_output=True, timeout=300, check=False,
                              env=harness.environment(), stdin=subprocess.DEVNULL)
        error = done.stderr.decode(errors="replace")
        require(done.returncode == 0, f"exit {done.returncode}:\n{error[-3000:]}")
        require("4 stages, link mpi" in error, error[-3000:])
        require("model/demo" in error and "made-up stories" in error, "the model is not named")
        answers.append(done.stdout)
        require(not leftovers(), f"left behind: {leftovers()}")
    require(answers == [ANSWER, ANSWER], f"answered {answers}")


def check_terminal():
    with tempfile.TemporaryDirectory() as state:
        env = harness.environment(TERM="xterm", XDG_STATE_HOME=state)
        for ending in ("quit", "interrupts"):
            with Terminal([SCRIPT], env) as terminal:
                terminal.expect("Ctrl-C stops an answer.", 300)
                terminal.expect_prompt()
                terminal.line("/workers")
                terminal.expect("link mpi")
                terminal.expect_prompt()
                if ending == "quit":
                    terminal.line("/quit")
                else:
                    terminal.send(CTRL_C)
                    terminal.expect("(Ctrl-C again leaves)")
                    terminal.send(CTRL_C)
                wanted = 0 if ending == "quit" else 130
                require(terminal.wait(30) == wanted, f"{ending}: {terminal.process.returncode}")
            require(not leftovers(), f"{ending}: left behind: {leftovers()}")


def check_hang_up():
    with tempfile.TemporaryDirectory() as state:
        terminal = Terminal([SCRIPT], harness.environment(TERM="xterm", XDG_STATE_HOME=state))
        try:
            terminal.expect("Ctrl-C stops an answer.", 300)
        except AssertionError:
            terminal.close()
            raise
        os.close(terminal.master)
        try:
            terminal.process.wait(30)
        finally:
            terminal.process.kill()
            terminal.process.wait()
        require(not leftovers(), f"left behind: {leftovers()}")


def main():
    built = cli.SOURCE / "build" / "release" / "bin" / "bitnet-worker"
    if not harness.has_mpi() or not built.exists() or os.environ.get("BN_SANITIZE"):
        print("skipped: it needs mpirun and the build in build/release")
        return cli.SKIP
    return cli.run_cases([check_prompt_argument, check_terminal, check_hang_up])


if __name__ == "__main__":
    sys.exit(main())
