"""endings.py — signals, full pipes and files that change: everything ends, at once and in order.

What: SIGTERM, SIGINT and SIGHUP at workers and coordinators before joining, while loading, while
      answering and at rest, alone and under mpirun; a stdout that nobody reads; a stopped answer
      and the next question; a model that shrinks while it is loaded or is replaced before; memory
      that does not suffice.
How:  the real programs with deadlines; afterwards none of their processes is left.
"""

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

import harness
from deaths import Scene, answer_arguments
from harness import Layout, require

DIRECTORY = harness.work_dir()
COORDINATOR = str(harness.BIN / "bitnet-coordinator")
WORKER = str(harness.BIN / "bitnet-worker")
SOON = 3.0  # from a signal to the exit
SLOW = 4.0 if os.environ.get("BN_SANITIZE") else 1.0


def small():
    return harness.synth(DIRECTORY / "endings.gguf", "--shape", "tiny", "--seed", 33)


def big():
    return harness.synth(DIRECTORY / "endings-big.gguf", "--shape", "1B", "--seed", 33)


def wait_exit(process, since, name, story=lambda: ""):
    try:
        code = process.wait(timeout=SOON * SLOW + 8)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{name}: does not end\n{story()}") from None
    took = time.monotonic() - since
    require(took < SOON * SLOW, f"{name}: took {took:.1f} s to end\n{story()}")
    return code


def reach(scene, moment):
    if moment == "joining":
        scene.wait_for(scene.err, r"listening")
    elif moment == "loading":
        scene.wait_for(scene.err, r"(?i)stage +worker")
    elif moment == "ready" or moment == "reading":
        scene.wait_for(scene.err, r"(?i) ready:")
    else:
        deadline = time.monotonic() + 60
        while not scene.text(scene.out):
            require(scene.coordinator.poll() is None and time.monotonic() < deadline,
                    f"no answer\n{scene.story()}")
            time.sleep(0.01)


# A chunk so long that one layer takes many seconds.
LONG_STEP = ["eval", "--tokens", ",".join(["7"] * 1500), "--prefill-chunk", "1500",
             "--logits-out", os.devnull]


def worker_in_a_long_step(transport):
    """SIGTERM ends it although it computes for many seconds more."""
    with Scene(LONG_STEP, big(), transport=transport) as scene:
        scene.wait_for(scene.err, r"(?i) ready:")
        time.sleep(0.5)
        pid = scene.worker_pids()[0]
        since = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        while pathlib.Path(f"/proc/{pid}/cmdline").exists() and \
                pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
            require(time.monotonic() - since < SOON * SLOW, f"it computes on\n{scene.story()}")
            time.sleep(0.02)
        require(scene.coordinator.wait(timeout=20) == 1, f"exit\n{scene.story()}")
        require(re.search(rf"pid {pid}\b", scene.text(scene.err)), f"not named\n{scene.story()}")


def coordinator_of_a_long_step(transport):
    """The farewell is heard, and obeyed after the matrix product under way."""
    with Scene(LONG_STEP, big(), transport=transport) as scene:
        scene.wait_for(scene.err, r"(?i) ready:")
        time.sleep(0.5)
        since = time.monotonic()
        os.kill(scene.coordinator.pid, signal.SIGTERM)
        require(scene.coordinator.wait(timeout=20) == 143, f"exit\n{scene.story()}")
        for worker in scene.workers:
            worker.wait(timeout=35)
        require(time.monotonic() - since < 35, "late")


def a_worker_beside_a_stopped_one(transport):
    """Its neighbour is stopped and the coordinator killed: it still leaves after --rejoin."""
    with Scene(answer_arguments(), small(), transport=transport,
               worker_args=("--rejoin", "1")) as scene:
        reach(scene, "answering")
        stopped, other = scene.worker_pids()
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(0.1)
        os.killpg(scene.coordinator.pid, signal.SIGKILL)
        scene.coordinator.wait()
        since = time.monotonic()
        for worker in scene.workers:
            if worker.pid != stopped and transport == "zmq":
                require(worker.wait(timeout=12) == 1, f"exit code\n{scene.story()}")
        while transport == "mpi" and pathlib.Path(f"/proc/{other}/status").exists() and \
                "zombie" not in pathlib.Path(f"/proc/{other}/status").read_text():
            require(time.monotonic() - since < 12, f"it stays\n{scene.story()}")
            time.sleep(0.05)
        require(time.monotonic() - since < 6 * SLOW, f"late\n{scene.story()}")


def coordinator_is_told(sig, moment, transport):
    """It leaves with 128 + signal; its workers hear a farewell and leave with 0."""
    started = 1 if moment == "joining" else 2
    arguments = answer_arguments()
    if moment == "loading":  # some gigabytes of KV cache, so that reserving takes its time
        arguments = [*arguments, "--context", "30000"]
    if moment == "reading":
        arguments = ["eval", "--tokens", ",".join(["7"] * 1500), "--logits-out", os.devnull]
    with Scene(arguments, big() if moment in ("loading", "reading") else small(), start=started,
               transport="zmq" if moment == "joining" else transport) as scene:
        reach(scene, moment)
        if moment == "joining":
            scene.wait_for(scene.err, "has joined")
        since = time.monotonic()
        os.kill(scene.coordinator.pid, sig)
        code = wait_exit(scene.coordinator, since, "the coordinator", scene.story)
        require(code == 128 + sig, f"the coordinator left with {code}\n{scene.story()}")
        for worker in scene.workers:
            code = wait_exit(worker, since, "a worker", scene.story)
            require(code == 0, f"a worker left with {code}\n{scene.story()}")
        require(" error " not in scene.text(scene.log), f"a worker complains\n{scene.story()}")


def worker_is_told(sig, moment, transport):
    """It says goodbye and leaves; the coordinator names it."""
    arguments = [*answer_arguments(), *(["--context", "30000"] if moment == "loading" else [])]
    with Scene(arguments, big() if moment == "loading" else small(), transport=transport) as scene:
        reach(scene, moment)
        if transport == "mpi":
            since = time.monotonic()
            os.kill(scene.workers[0].pid, sig)  # mpirun tells its ranks
        else:
            pid = scene.worker_pids()[1]
            since = time.monotonic()
            os.kill(pid, sig)
            victim = next(w for w in scene.workers if w.pid == pid)
            wait_exit(victim, since, "the worker", scene.story)
        code = scene.coordinator.wait(timeout=20)
        require(time.monotonic() - since < 5 * SLOW, f"noticed late\n{scene.story()}")
        require(code == 1, f"the coordinator left with {code}\n{scene.story()}")
        if transport == "zmq":
            require(re.search(rf"pid {pid}\b", scene.text(scene.err)), f"not named\n{scene.story()}")
        for worker in scene.workers:
            wait_exit(worker, time.monotonic(), "another worker", scene.story)


def a_worker_that_has_not_joined():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        for url in (f"tcp://127.0.0.1:{harness.free_port()}", "tcp://no-such-host.invalid:7070"):
            process = subprocess.Popen([WORKER, "--coordinator", url, "--threads", "1"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=harness.environment())
            time.sleep(1.0)
            since = time.monotonic()
            process.send_signal(sig)
            require(wait_exit(process, since, f"{url} {sig}") == 0, "exit code")


def nobody_reads_the_answer():
    """A full pipe holds the answer back; a signal ends that, with and without workers."""
    for kills_worker in (False, True):
        read, write = os.pipe()
        fcntl.fcntl(write, 1031, 4096)  # F_SETPIPE_SZ
        with tempfile.TemporaryFile() as err:
            process = subprocess.Popen(
                [COORDINATOR, *answer_arguments(), "--local", "2", "--worker-threads", "1",
                 "--model", str(small()), "--listen", f"tcp://127.0.0.1:{harness.free_port()}"],
                stdin=subprocess.DEVNULL, stdout=write, stderr=err, env=harness.environment())
            os.close(write)
            try:
                time.sleep(3 * SLOW)
                require(process.poll() is None, "it ended by itself")
                children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True,
                                          text=True, check=False).stdout.split()
                require(len(children) == 2, f"{children} are its workers")
                if kills_worker:
                    os.kill(int(children[0]), signal.SIGKILL)
                    time.sleep(1)
                since = time.monotonic()
                process.send_signal(signal.SIGTERM)
                code = wait_exit(process, since, f"the coordinator (worker killed: {kills_worker})")
                require(code == 143, f"it left with {code}")
            finally:
                process.kill()
                process.wait()
                os.close(read)
            for pid in children:
                require(not pathlib.Path(f"/proc/{pid}").exists(), f"worker {pid} is left")


def local_workers_die_with_it():
    """The coordinator is killed while its --local workers load, answer, or wait."""
    for model, seconds in ((big(), 0.4), (small(), 0.8)):
        process = subprocess.Popen(
            [COORDINATOR, *answer_arguments(), "--local", "2", "--worker-threads", "1", "--context",
             "20000", "--model", str(model), "--listen", f"tcp://127.0.0.1:{harness.free_port()}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=harness.environment())
        children, deadline = [], time.monotonic() + 20
        while len(children) < 2 and time.monotonic() < deadline:
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True,
                                      text=True, check=False).stdout.split()
        time.sleep(seconds * SLOW)
        process.kill()
        process.wait()
        require(len(children) == 2, f"{children} are its workers")
        since = time.monotonic()
        while any(pathlib.Path(f"/proc/{pid}/exe").exists() for pid in children):
            require(time.monotonic() - since < SOON * SLOW, "local workers survive")
            time.sleep(0.05)


class Prompt:
    """The interactive prompt on a terminal of its own."""

    def __init__(self, *more):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 400, 0, 0))
        self.process = subprocess.Popen(
            [COORDINATOR, "--model", str(small()), "--local", "2", "--worker-threads", "1",
             "--ignore-eos", "--context", "3000", *more, "--listen",
             f"tcp://127.0.0.1:{harness.free_port()}"],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True,
            env=harness.environment(TERM="dumb"), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = b""

    def read_until(self, pattern, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen, re.S):
            require(time.monotonic() < deadline, f"never saw {pattern!r}: {self.seen[-600:]!r}")
            with contextlib.suppress(OSError):
                import select
                if select.select([self.master], [], [], 0.2)[0]:
                    self.seen += os.read(self.master, 65536)
        text, self.seen = self.seen, b""
        return text

    def type(self, text):
        os.write(self.master, text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def a_stopped_answer_leaves_no_trace():
    """Ctrl-C in the middle of an answer; the next question gets the answer of a fresh cluster."""
    hot = ("--temperature", "30", "--top-k", "0", "--seed", "3", "-n")

    def ask(prompt, text):
        prompt.type(text + b"\n")
        got = prompt.read_until(rb"> $")
        return got.rsplit(text, 1)[1].strip()  # the terminal may echo it twice

    with Prompt(*hot, "60") as fresh:
        fresh.read_until(rb"> $")
        wanted = ask(fresh, b"what now")
    require(len(wanted) > 40, f"no answer: {wanted!r}")
    with Prompt(*hot, "100000") as prompt:
        prompt.read_until(rb"> $")
        for delay in (0.0, 0.01, 0.05, 0.3):
            prompt.type(b"tell me more " * 20 + b"\n")
            time.sleep(0.1 + delay)
            prompt.type(b"\x03")
            prompt.read_until(rb"stopped.*> $")
            prompt.type(b"/reset\n")
            prompt.read_until(rb"> $")
        prompt.type(b"/set n-tokens 60\n")
        prompt.read_until(rb"> $")
        got = ask(prompt, b"what now")
        require(got == wanted, f"after the stops: {got!r}\nfresh: {wanted!r}")
        since = time.monotonic()
        prompt.type(b"\x03")
        prompt.read_until(rb"again")
        prompt.type(b"\x03")
        code = wait_exit(prompt.process, since, "the prompt after two Ctrl-C")
        require(code == 130, f"it left with {code}")


def a_job_with_too_few_ranks():
    """Two ranks where three workers are wanted: both are named, and mpirun ends."""
    with Scene(["eval", "--tokens", "1", "--logits-out", os.devnull, "--join-timeout", "5"], small(),
               stages=3, start=2, transport="mpi") as scene:
        code = scene.coordinator.wait(timeout=30)
        text = scene.text(scene.err)
        require(code == 1 and re.search(r"2 of 3 workers.*rank 0 .*rank 1 ", text),
                f"exit {code}\n{scene.story()}")
        wait_exit(scene.workers[0], time.monotonic(), "mpirun", scene.story)


def a_job_that_has_not_joined():
    with tempfile.TemporaryFile() as log:
        url = f"tcp://127.0.0.1:{harness.free_port()}"
        jobs = harness.start_workers(Layout(stages=2, transport="mpi"), url, log)
        time.sleep(2)
        since = time.monotonic()
        jobs[0].send_signal(signal.SIGTERM)
        try:
            wait_exit(jobs[0], since, "mpirun")
        finally:
            harness.stop(jobs, patience=0)


def pages_come_back():
    """After answers, a stopped one and /reset no page of the KV cache is held anywhere."""
    stats = DIRECTORY / "endings-stats.json"
    stats.unlink(missing_ok=True)
    with Prompt("-n", "100000", "--stats-out", str(stats)) as prompt:
        prompt.read_until(rb"> $")
        prompt.type(b"tell me more " * 20 + b"\n")
        time.sleep(0.3)
        prompt.type(b"\x03")
        prompt.read_until(rb"stopped.*> $")
        prompt.type(b"/reset\n")
        prompt.read_until(rb"> $")
        time.sleep(0.3)
        prompt.type(b"/quit\n")
        require(prompt.process.wait(timeout=10) == 0, "exit code")
    for worker in harness.read_json(stats)["workers"]:
        require(worker["kv_pages_used"] == 0, f"pages are held: {worker}")


def load_and_disturb(name, disturb, *arguments, worker_args=()):
    """A worker on its own copy of the big model; `disturb(path)` once it has joined."""
    path = DIRECTORY / f"endings-{name}.gguf"
    shutil.copy(big(), path)
    with Scene(["eval", "--tokens", "1", "--logits-out", os.devnull, *arguments], big(), stages=2,
               start=1, worker_args=("--model", str(path), *worker_args)) as scene:
        scene.wait_for(scene.err, r"has joined")
        disturb(path)
        with open(os.devnull, "wb") as null:
            last = subprocess.Popen([WORKER, "--coordinator", scene.url, "--threads", "1"],
                                    stdin=subprocess.DEVNULL, stdout=null, stderr=null,
                                    env=harness.environment())
        code = scene.coordinator.wait(timeout=90)
        text = scene.text(scene.err) + scene.text(scene.log)
        harness.stop([last])
    path.unlink()
    return code, text


def a_model_that_shrinks_before_loading():
    code, text = load_and_disturb("shrinks", lambda path: os.truncate(path, 40 << 20))
    require(code == 1 and "endings-shrinks.gguf" in text, f"exit {code}\n{text[-2500:]}")


def a_model_that_is_replaced():
    """Another model in place of the one that was shown: refused by name when it is opened again."""
    other = harness.synth(DIRECTORY / "endings-other.gguf", "--shape", "1B", "--seed", 34)

    def replace(path):
        shutil.copy(other, str(path) + ".new")
        os.rename(str(path) + ".new", path)

    code, text = load_and_disturb("replaced", replace, "--activation", "silu")
    require(code == 1 and re.search(r"endings-replaced.gguf.*(changed|replaced|another)", text),
            f"exit {code}\n{text[-2500:]}")


def kept_workers_take_another_model():
    """A worker without --model serves coordinators of different models, and of the same again."""
    models = [small(), harness.synth(DIRECTORY / "endings-small2.gguf", "--shape", "tiny", "--seed", 34)]
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    with tempfile.NamedTemporaryFile() as log:
        workers = harness.start_workers(Layout(stages=2), url, log)
        try:
            for turn, model in enumerate((models[0], models[1], models[1], models[0])):
                done = subprocess.run(
                    [COORDINATOR, "eval", "--tokens", "1,2", "--logits-out", os.devnull, "--workers",
                     "2", "--keep-workers", "--model", str(model), "--listen", url,
                     "--join-timeout", "15"], stdin=subprocess.DEVNULL, capture_output=True,
                    env=harness.environment(), timeout=60, check=False)
                require(done.returncode == 0, f"turn {turn}: exit {done.returncode}\n"
                        f"{done.stderr.decode()[-1500:]}\n{pathlib.Path(log.name).read_text()[-1500:]}")
        finally:
            harness.stop(workers, patience=0)


def a_coordinator_that_sleeps_while_joining():
    """Stopped for longer than silence is borne, it goes on: the workers join again."""
    with Scene(["eval", "--tokens", "1,2,3", "--logits-out", os.devnull], small(), stages=2,
               start=1) as scene:
        scene.wait_for(scene.err, "has joined")
        os.kill(scene.coordinator.pid, signal.SIGSTOP)
        time.sleep(4.5)
        os.kill(scene.coordinator.pid, signal.SIGCONT)
        scene.workers += harness.start_workers(Layout(stages=1), scene.url, scene.log)
        code = scene.coordinator.wait(timeout=40)
        require(code == 0, f"exit {code}\n{scene.story()}")


def memory_that_does_not_suffice():
    outcome = harness.run(Layout(stages=2, worker_args=("--memory", "3M")),
                          ["eval", "--tokens", "1,2", "--logits-out", os.devnull, "--context", "4096"],
                          small())
    require(outcome.code == 1 and re.search(r"\d+ bytes are missing", outcome.stderr), "3M", outcome)


def main():
    transports = ["zmq"] + (["mpi"] if harness.has_mpi() else [])
    cases = [(case.__name__, case) for case in
             (a_worker_that_has_not_joined, nobody_reads_the_answer, local_workers_die_with_it,
              a_stopped_answer_leaves_no_trace,
              pages_come_back,              a_model_that_shrinks_before_loading, a_model_that_is_replaced,
              kept_workers_take_another_model, a_coordinator_that_sleeps_while_joining,
              memory_that_does_not_suffice)]
    if harness.has_mpi():
        cases += [(c.__name__, c) for c in (a_job_with_too_few_ranks, a_job_that_has_not_joined)]
    for case in (a_worker_beside_a_stopped_one, worker_in_a_long_step, coordinator_of_a_long_step):
        cases += [(f"{case.__name__} {t}", lambda c=case, t=t: c(t)) for t in transports]
    cases += [(f"coordinator {sig.name} {moment} {transport}",
               lambda s=sig, m=moment, t=transport: coordinator_is_told(s, m, t))
              for sig, moment in ((signal.SIGTERM, "joining"), (signal.SIGINT, "loading"),
                                  (signal.SIGTERM, "loading"), (signal.SIGHUP, "reading"),
                                  (signal.SIGTERM, "answering"), (signal.SIGINT, "answering"),
                                  (signal.SIGHUP, "ready"))
              for transport in transports if not (moment == "joining" and transport == "mpi")]
    cases += [(f"worker {sig.name} {moment} {transport}",
               lambda s=sig, m=moment, t=transport: worker_is_told(s, m, t))
              for sig, moment in ((signal.SIGTERM, "loading"), (signal.SIGINT, "loading"),
                                  (signal.SIGTERM, "answering"), (signal.SIGHUP, "answering"))
              for transport in transports if not (sig == signal.SIGHUP and transport == "mpi")]
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    failures = 0
    for name, case in cases:
        if chosen not in name:
            continue
        began = time.monotonic()
        try:
            case()
            print(f"ok   {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures += 1
            print(f"FAIL {name}: {error}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
