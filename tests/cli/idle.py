"""idle.py — a loaded cluster that waits for a prompt uses no processor.

What: four workers and the coordinator at its prompt, after an answer, use under 2 % of one core in
      all; over MPI (whose calls would spin) and over ZeroMQ.
How:  the processor time of all their threads, from /proc, over five seconds.
"""

import os
import pathlib
import sys
import tempfile
import time

import cli
import harness
from cli import PATIENCE, require
from harness import Layout
from terminal import Terminal

SECONDS = 5.0
SHARE_MAX = 0.02
STAGES = 4


def processor_s(pid):
    """Of all threads, to the nanosecond where the kernel tells, else in ticks."""
    total = 0.0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((thread / "schedstat").read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            fields = (thread / "stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def workers_of(processes):
    found = {}
    for process in processes:
        for pid, name in {process.pid: cli.process_table()[process.pid][1],
                          **cli.descendants(process.pid)}.items():
            if name == "bitnet-worker":
                found[pid] = name
    return sorted(found)


def check(transport):
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as state:
        layout = Layout(stages=STAGES, transport=transport, isa=("auto",))
        workers = harness.start_workers(layout, url, log)
        command = [cli.BIN / "bitnet-coordinator", "--model", cli.tiny(), "--workers", STAGES,
                   "--listen", url, "-n", 8, "--ignore-eos"]
        env = harness.environment(TERM="xterm", XDG_STATE_HOME=state)
        try:
            with Terminal(command, env) as terminal:
                terminal.expect("Ctrl-C stops an answer.", 60 * PATIENCE)
                terminal.expect_prompt(10 * PATIENCE)
                require(f"link {transport}".encode() in terminal.seen, "another link")
                terminal.line("Hello")
                terminal.expect("\n")
                terminal.expect_prompt(30 * PATIENCE)
                time.sleep(1.0)  # the last words of the answer
                pids = [terminal.process.pid, *workers_of(workers)]
                require(len(pids) == 1 + STAGES, f"{len(pids) - 1} workers, not {STAGES}")
                before, began = [processor_s(pid) for pid in pids], time.monotonic()
                time.sleep(SECONDS)
                used = [processor_s(pid) - then for pid, then in zip(pids, before)]
                share = sum(used) / (time.monotonic() - began)
                print(f"{transport}: {100 * share:.2f} % of a core (coordinator and workers: "
                      f"{', '.join(f'{1000 * s:.1f} ms' for s in used)})", flush=True)
                require(share < SHARE_MAX, f"{100 * share:.2f} % of a core while idle")
                terminal.line("again")  # and it wakes
                terminal.expect_prompt(30 * PATIENCE)
                terminal.line("/quit")
                require(terminal.wait(30 * PATIENCE) == 0, f"exit {terminal.process.returncode}")
        finally:
            codes = harness.stop(workers)
        require(set(codes) == {0}, f"workers ended with {codes}")


def check_zmq():
    check("zmq")


def check_mpi():
    check("mpi")


def main():
    return cli.run_cases([check_zmq] + ([check_mpi] if cli.has_mpi() else []))


if __name__ == "__main__":
    sys.exit(main())
