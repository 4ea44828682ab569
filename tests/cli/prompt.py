"""prompt.py — the coordinator's prompt, as a person at a terminal and as a pipe meet it.

What: line editing, the history file, Ctrl-C, the slash commands, several turns of one dialog; and
      the same commands through a pipe, where neither prompt text nor escape codes may appear.
How:  real coordinators with --local workers; a pseudo-terminal (terminal.py) for the person.
"""

import contextlib
import os
import re
import stat
import sys
import tempfile

import cli
import harness
from cli import PATIENCE, require
from terminal import CTRL_C, CTRL_D, Terminal

CTRL_A, BACKSPACE, UP = b"\x01", b"\x7f", b"\x1b[A"


@contextlib.contextmanager
def prompt(*arguments, state=None):
    """A coordinator that waits at its prompt; its workers must be gone at the end."""
    with tempfile.TemporaryDirectory() as own_state:
        env = harness.environment(TERM="xterm", LANG="C.UTF-8", XDG_STATE_HOME=state or own_state)
        command = [cli.BIN / "bitnet-coordinator", "--model", cli.tiny("bpe"), "--local", 2,
                   "--worker-threads", 1, "-n", 8, *arguments]
        with Terminal(command, env) as terminal:
            terminal.expect("Ctrl-C stops an answer.", 60 * PATIENCE)
            terminal.expect_prompt(10 * PATIENCE)
            below = cli.descendants(terminal.process.pid)
            require(len(below) == 2, f"{below} below the coordinator, not two workers")
            yield terminal
            left = [pid for pid in below
                    if cli.process_table().get(pid, (0, "", "Z"))[2] != "Z"]
            require(not left, f"workers {left} are left")


def ask(terminal, line):
    """Types a line; what came until the next prompt, without the echo of the line."""
    terminal.line(line)
    terminal.expect("\n", 10 * PATIENCE)
    terminal.taken -= 1  # a command may say nothing: the prompt follows its own echo
    text = terminal.expect_prompt(15 * PATIENCE).decode(errors="replace")
    return text.replace("\r", "")[1:] + "\n"


def leave(terminal, code=0):
    terminal.line("/quit")
    require(terminal.wait(30 * PATIENCE) == code, f"left with {terminal.process.returncode}")


def check_editing():
    with prompt() as terminal:
        terminal.send(b"worlx" + BACKSPACE + b"d" + CTRL_A + b"/set system ")
        ask(terminal, "")
        require(re.search(r"system +world\n", ask(terminal, "/set")), "Ctrl-A, backspace")
        terminal.send(UP + UP)  # back to the line that was edited
        ask(terminal, " again")
        require(re.search(r"system +world again\n", ask(terminal, "/set")), "arrow up")
        ask(terminal, "/set system wörld €")
        require("wörld €" in ask(terminal, "/set"), "characters of several bytes")
        leave(terminal)


def check_history():
    with tempfile.TemporaryDirectory() as state:
        with prompt(state=state) as terminal:
            ask(terminal, "/set seed 77")
            leave(terminal)
        path = os.path.join(state, "bitnet", "history")
        mode = stat.S_IMODE(os.stat(path).st_mode)
        require(mode == 0o600, f"the history has mode {mode:o}")
        with prompt(state=state) as terminal:
            terminal.send(UP)  # /quit
            terminal.send(UP)  # /set seed 77
            ask(terminal, "")
            require(re.search(r"seed +77\n", ask(terminal, "/set")), "history of before")
            leave(terminal)
        require(os.listdir(os.path.join(state, "bitnet")) == ["history"], "stray files")


def check_interrupts():
    with prompt("--ignore-eos") as terminal:
        require(ask(terminal, "Hello") != "", "an answer")
        ask(terminal, "/set n-tokens 0")
        terminal.line("Tell me more")
        terminal.expect("\n")
        terminal.send(CTRL_C)
        terminal.expect("(stopped; Ctrl-C again leaves)", 20 * PATIENCE)
        terminal.expect_prompt()
        ask(terminal, "/set n-tokens 8")
        require(ask(terminal, "And now?").strip() != "", "an answer after one was stopped")
        terminal.send(b"half a line")
        terminal.send(CTRL_C)
        terminal.expect("(Ctrl-C again leaves)")
        terminal.expect_prompt()
        require(ask(terminal, "/nosuch").count("half") == 0, "Ctrl-C throws the line away")
        terminal.send(CTRL_C)
        require(terminal.wait(30 * PATIENCE) == 130, f"exit {terminal.process.returncode}")


def check_interrupted_answer_then_leaving():
    with prompt("--ignore-eos") as terminal:
        ask(terminal, "/set n-tokens 0")
        terminal.line("Tell me more")
        terminal.expect("\n")
        terminal.send(CTRL_C)
        terminal.expect("(stopped")
        terminal.expect_prompt()
        terminal.send(CTRL_C)
        require(terminal.wait(30 * PATIENCE) == 130, f"exit {terminal.process.returncode}")


def check_commands():
    with prompt("--ignore-eos") as terminal:
        text = ask(terminal, "/help")
        for name in ("/help", "/stats", "/workers", "/reset", "/set", "/quit"):
            require(name in text, f"{name} is not in /help")
        require("there is no command '/nosuch'" in ask(terminal, "/nosuch"), "unknown command")
        require("/help" in ask(terminal, "/" + 63 * "x"), "unknown command of 64 bytes")
        ask(terminal, "Hello")
        text = ask(terminal, "/stats")
        require(re.search(r"context: \d+ of 4096 tokens", text), text)
        require(re.search(r"answer 8 tokens at [\d.]+ tok/s", text), text)
        text = ask(terminal, "/workers")
        require("link zmq" in text and text.count("(vm" if "(vm" in text else "pid ") >= 4, text)
        require("is not a number" in ask(terminal, "/set top-p much"), "/set of a word")
        require("there is no 'colour'" in ask(terminal, "/set colour red"), "/set of nothing")
        for line in ("/set temperature 0.25", "/set temperature"):
            require("0.25" in ask(terminal, line), f"{line} says what holds")
        require(re.search(r"temperature +0\.25\n", ask(terminal, "/set")), "/set")
        terminal.send(CTRL_D)
        require(terminal.wait(30 * PATIENCE) == 0, f"exit {terminal.process.returncode}")


def context_used(text):
    return int(re.search(r"context: (\d+) of", text).group(1))


def check_turns():
    """A second question continues the first; /reset forgets; the same dialog is answered alike."""
    with prompt("--ignore-eos", "--seed", 5) as terminal:
        first = ask(terminal, "Hello")
        used = context_used(ask(terminal, "/stats"))
        second = ask(terminal, "Hello")
        more = context_used(ask(terminal, "/stats"))
        require(more > used + 8, f"{used} tokens, then {more}: the dialog did not grow")
        require(second != first, "the second answer knows nothing of the first")
        ask(terminal, "/reset")
        require(context_used(ask(terminal, "/stats")) == 0, "/reset")
        require(ask(terminal, "Hello") == first, "the same question after /reset")
        require(ask(terminal, "Hello") == second, "the same second question after /reset")
        leave(terminal)


def check_pipe():
    arguments = ["--model", cli.tiny("bpe"), "--local", 2, "--worker-threads", 1, "-n", 8,
                 "--ignore-eos", "--seed", 5]
    lines = b"Hello\n/reset\nHello\n\n/nosuch\nunfinished line"
    done = cli.coordinator(*arguments, stdin=lines)
    require(b"\x1b" not in done.stdout, f"escape codes on stdout: {done.stdout!r}")
    require(b"\x1b" not in done.stderr, "escape codes on stderr")
    answers = done.stdout.decode().split("\n")
    require(answers[-1] == "" and answers[0] == answers[1] != "", f"{answers}")
    require(len(answers) == 4 and answers[2] != "", f"three answers, each with its line: {answers}")
    require(not done.stdout.startswith(b">"), "prompt text in a pipe")
    require(b"there is no command '/nosuch'" in done.stderr, "an unknown command in a pipe")
    done = cli.coordinator(*arguments, stdin=b"/help\n/quit\nnever asked\n")
    require(done.stdout.count(b"\n") == 6, f"/help and nothing else: {done.stdout!r}")


def main():
    return cli.run_cases([check_editing, check_history, check_interrupts,
                          check_interrupted_answer_then_leaving, check_commands, check_turns,
                          check_pipe])


if __name__ == "__main__":
    sys.exit(main())
