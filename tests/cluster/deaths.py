"""deaths.py — whoever dies is named within 5 s, and nothing is left behind.

What: a worker killed (SIGKILL) or stopped (SIGSTOP) before, during and after loading and in the
      middle of an answer, under ZeroMQ and MPI; the coordinator killed, or its terminal closed.
How:  real processes; the clock runs from the signal to the coordinator's exit. The one that died
      must be named by its process id.
"""

import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time

import harness
from harness import Layout, require

NAMED_WITHIN = 5.0


class Scene:
    """A coordinator and its workers whose output can be watched while they run."""

    def __init__(self, arguments, model, stages=2, transport="zmq", start=None, worker_args=()):
        self.url = f"tcp://127.0.0.1:{harness.free_port()}"
        self.log = tempfile.NamedTemporaryFile()
        self.err = tempfile.NamedTemporaryFile()
        self.out = tempfile.NamedTemporaryFile()
        self.layout = Layout(stages=stages, transport=transport, worker_args=tuple(worker_args))
        started = Layout(stages=start if start is not None else stages, transport=transport,
                         worker_args=tuple(worker_args))
        command = [str(harness.BIN / "bitnet-coordinator"), *map(str, arguments),
                   "--model", str(model), "--listen", self.url, "--workers", str(stages)]
        self.coordinator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.out,
                                            stderr=self.err, env=harness.environment(),
                                            start_new_session=True)
        self.workers = harness.start_workers(started, self.url, self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.coordinator.poll() is None:
            os.killpg(self.coordinator.pid, signal.SIGKILL)
            self.coordinator.wait()
        for pid in self.worker_pids():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        harness.stop(self.workers, patience=0.5)

    def text(self, stream):
        return pathlib.Path(stream.name).read_text(errors="replace")

    def worker_pids(self):
        """The worker processes themselves, below mpirun or not."""
        parents = {p.pid for p in self.workers}
        found = set(parents) if self.layout.transport == "zmq" else set()
        if self.layout.transport == "mpi":
            for entry in pathlib.Path("/proc").iterdir():
                if not entry.name.isdigit():
                    continue
                try:
                    status = (entry / "status").read_text()
                except OSError:
                    continue
                parent = int(re.search(r"^PPid:\s+(\d+)", status, re.M).group(1))
                if parent in parents and re.search(r"^Name:\s+bitnet-worker", status, re.M):
                    found.add(int(entry.name))
        return sorted(found)

    def wait_for(self, stream, pattern, seconds=60.0):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if re.search(pattern, self.text(stream)):
                return
            if self.coordinator.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"never saw {pattern!r}\n{self.story()}")

    def story(self):
        return (f"--- coordinator (exit {self.coordinator.poll()}):\n{self.text(self.err)[-2500:]}"
                f"\n--- workers:\n{self.text(self.log)[-2500:]}")

    def expect_named(self, pid, since, code=1):
        try:
            got = self.coordinator.wait(timeout=NAMED_WITHIN + 10.0)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the coordinator never ended\n{self.story()}") from None
        took = time.monotonic() - since
        require(re.search(rf"\bpid {pid}\b", self.text(self.err)), f"pid {pid} is not named\n{self.story()}")
        require(got == code, f"exit {got}, not {code}\n{self.story()}")
        require(took <= NAMED_WITHIN, f"named after {took:.1f} s\n{self.story()}")
        return took


def victim_of(scene, which):
    pids = scene.worker_pids()
    require(len(pids) >= 1, f"no worker process found\n{scene.story()}")
    return pids[which % len(pids)]


def answer_arguments():
    return ["run", "--prompt", "tell me", "-n", "100000", "--ignore-eos", "--context", "100000",
            "--temperature", "0"]


def worker_dies(model, big, sig, moment, transport):
    stages = 2
    if moment == "before":  # one worker has joined, the other has not come yet
        with Scene(answer_arguments(), model, stages=stages, start=1, transport="zmq") as scene:
            scene.wait_for(scene.err, r"joined")
            pid = victim_of(scene, 0)
            since = time.monotonic()
            os.kill(pid, sig)
            scene.wait_for(scene.err, rf"\bpid {pid}\b.*(lost|not been heard|gone)", NAMED_WITHIN + 1)
            took = time.monotonic() - since
            require(took <= NAMED_WITHIN, f"named after {took:.1f} s")
            return took
    use = big if moment == "during" else model
    with Scene(answer_arguments(), use, stages=stages, transport=transport) as scene:
        if moment == "during":
            scene.wait_for(scene.err, r"(?i)stage +worker")
        elif moment == "after":
            scene.wait_for(scene.err, r"(?i)ready")
        else:
            deadline = time.monotonic() + 60
            while not scene.text(scene.out) and time.monotonic() < deadline:
                require(scene.coordinator.poll() is None, f"ended early\n{scene.story()}")
                time.sleep(0.01)
        pid = victim_of(scene, 1)
        since = time.monotonic()
        os.kill(pid, sig)
        took = scene.expect_named(pid, since)
        if moment == "answering":
            require(scene.text(scene.out), "what was generated is gone")
        return took


def coordinator_dies(model, transport):
    """Workers notice, wait --rejoin seconds, and leave with 1."""
    with Scene(answer_arguments(), model, transport=transport, worker_args=("--rejoin", "1")) as scene:
        scene.wait_for(scene.out, r".")
        since = time.monotonic()
        os.killpg(scene.coordinator.pid, signal.SIGKILL)
        scene.coordinator.wait()
        for worker in scene.workers:
            try:
                code = worker.wait(timeout=NAMED_WITHIN + 5)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"a worker stays\n{scene.story()}") from None
            require(code == 1, f"a worker left with {code}\n{scene.story()}")
        return time.monotonic() - since


def terminal_closes(model):
    """The prompt's terminal goes away: coordinator and its own local workers end."""
    master, slave = pty.openpty()
    command = [str(harness.BIN / "bitnet-coordinator"), "--model", str(model), "--local", "2",
               "--listen", f"tcp://127.0.0.1:{harness.free_port()}"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                               env=harness.environment(TERM="dumb"), preexec_fn=lambda: (
                                   os.setsid(), __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0)))
    os.close(slave)
    seen, deadline = b"", time.monotonic() + 60
    while b"> " not in seen and time.monotonic() < deadline:
        seen += os.read(master, 4096)
    require(b"> " in seen, f"no prompt: {seen[-800:]!r}")
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                              check=False).stdout.split()
    require(len(children) == 2, f"{len(children)} local workers")
    since = time.monotonic()
    os.close(master)
    try:
        process.wait(timeout=NAMED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("the coordinator survives its terminal") from None
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in children):
        require(time.monotonic() - since < NAMED_WITHIN, "local workers survive")
        time.sleep(0.05)
    return time.monotonic() - since


def main():
    directory = harness.work_dir()
    model = harness.synth(directory / "deaths.gguf", "--shape", "tiny", "--seed", 5)
    big = harness.synth(directory / "deaths-big.gguf", "--shape", "1B", "--seed", 5)
    transports = ["zmq"] + (["mpi"] if harness.has_mpi() else [])
    cases = [(f"worker {name} {moment} {transport}",
              lambda s=sig, m=moment, t=transport: worker_dies(model, big, s, m, t))
             for name, sig in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP))
             for moment in ("before", "during", "after", "answering")
             for transport in transports if not (moment == "before" and transport == "mpi")]
    cases += [(f"coordinator killed {t}", lambda t=t: coordinator_dies(model, t)) for t in transports]
    cases.append(("terminal closed", lambda: terminal_closes(model)))
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    failures = 0
    for name, case in cases:
        if wanted not in name:
            continue
        try:
            print(f"ok   {name}: {case():.1f} s", flush=True)
        except AssertionError as error:
            failures += 1
            print(f"FAIL {name}: {error}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
