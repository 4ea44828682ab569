"""hostile.py — peers that lie, repeat, stammer or come from another version.

What: workers and coordinators of another protocol or numerics version, the same worker twice, a
      second MPI job; garbage, truncated, replayed and endless messages at the control port and at
      a data port of a cluster that is answering.
How:  the real programs on one side and, on the other, bytes written by hand (zmtp.py). A tap
      between two workers records the frames that are then replayed. A disturbed answer must be
      the undisturbed one, bit for bit; a refusal must name both sides.
"""

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import Layout, require
from zmtp import COMMAND, GREETING, Peer, Tap, fields, frame, parse, split_frames

DIRECTORY = harness.work_dir()
COORDINATOR = str(harness.BIN / "bitnet-coordinator")
WORKER = str(harness.BIN / "bitnet-worker")
PATIENCE = 20.0

# The numbers of proto/bitnet.proto that are needed here.
MAJOR, MINOR, HELLO, WELCOME, ASSIGN, CONNECT, HEARTBEAT, STEP, RESULT = 1, 2, 16, 17, 18, 21, 23, 26, 27


def model():
    return harness.synth(DIRECTORY / "hostile.gguf", "--shape", "tiny", "--seed", 21)


def hello(major=1, **changes):
    values = {"numerics": 1, "incarnation": 7, "rank": None, "n_ranks": 0, "pid": 4711}
    values.update(changes)
    more = values.pop("more", {})
    body = {1: values["numerics"], 2: "rude", 3: ("fixed64", values["incarnation"]),
            4: ("fixed64", 1), 8: "rude-node", 9: values["pid"], 10: 1 << 34, 11: 1, 12: 1,
            13: "scalar", 14: 1e9, 15: 1e9}
    if values["rank"] is not None:
        body.update({5: 1, 6: values["rank"], 7: values["n_ranks"], 16: 1})
    body.update(more)
    return fields({MAJOR: major, MINOR: 0, HELLO: body})


def at_once(check, cases):
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        list(pool.map(check, cases))


class Coordinator:
    """A coordinator that waits for workers, and what it says."""

    def __init__(self, *arguments, workers=2):
        self.url = f"tcp://127.0.0.1:{harness.free_port()}"
        self.err = tempfile.NamedTemporaryFile(mode="r+", errors="replace")
        self.process = subprocess.Popen(
            [COORDINATOR, *(arguments or ("eval", "--tokens", "1,2", "--logits-out", "/dev/null")),
             "--model", str(model()), "--listen", self.url, "--workers", str(workers)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.err,
            env=harness.environment(), start_new_session=True)
        self.wait_for("listening")

    def text(self):
        with open(self.err.name, errors="replace") as file:
            return file.read()

    def wait_for(self, pattern, seconds=PATIENCE):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text(), re.S):
            require(time.monotonic() < deadline and self.process.poll() is None,
                    f"the coordinator never said {pattern!r}:\n{self.text()[-2000:]}")
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def greeted(url, *message):
    """Says hello; (accepted, reason, the open peer)."""
    peer = Peer.connect(url)
    peer.send(*message)
    answer = peer.receive(PATIENCE)
    require(answer is not None, "no answer to a hello")
    envelope = parse(answer[0])
    require(WELCOME in envelope, f"answered by something else than a welcome: {envelope}")
    welcome = parse(envelope[WELCOME])
    return welcome.get(1, 0) == 1, welcome.get(3, b"").decode(), peer


def workers_of_other_versions():
    with Coordinator() as coordinator:
        for name, message, words in (
                ("protocol 2", hello(major=2), ("protocol 1", "2.0", "same version")),
                ("numerics 99", hello(numerics=99), ("contract 1", "99", "same version"))):
            accepted, reason, peer = greeted(coordinator.url, message)
            peer.close()
            require(not accepted, f"{name} was let in")
            for word in words:
                require(word in reason, f"{name}: the refusal does not say {word!r}: {reason}")
            coordinator.wait_for(r"rude-node.*" + re.escape(words[1]))


def the_same_worker_twice():
    with Coordinator(workers=3) as coordinator:
        accepted, reason, first = greeted(coordinator.url, hello(incarnation=5))
        require(accepted, f"the first was refused: {reason}")
        accepted, reason, second = greeted(coordinator.url, hello(incarnation=5))
        require(not accepted and "twice" in reason, f"the same incarnation again: {reason!r}")
        require("4711" in reason, f"the first is not named: {reason}")
        second.close()
        accepted, _, third = greeted(coordinator.url, hello(incarnation=6))
        require(accepted, "another worker was refused")
        first.close()
        third.close()


def a_second_mpi_job():
    with Coordinator(workers=4) as coordinator:
        accepted, _, first = greeted(coordinator.url, hello(incarnation=1, rank=0, n_ranks=4))
        require(accepted, "rank 0 of 4 was refused")
        for name, message in (("the same rank", hello(incarnation=2, rank=0, n_ranks=4)),
                              ("a job of another size", hello(incarnation=3, rank=1, n_ranks=2))):
            accepted, reason, peer = greeted(coordinator.url, message)
            peer.close()
            require(not accepted and "second MPI job" in reason, f"{name}: {reason!r}")
        first.close()


def a_job_that_is_too_large():
    with Coordinator(workers=0) as coordinator:
        accepted, reason, peer = greeted(coordinator.url, hello(rank=3, n_ranks=5000))
        peer.close()
        require(not accepted and "5000" in reason, f"5000 ranks: {accepted} {reason!r}")


def workers_of_absurd_size():
    """No bandwidth, no memory, all memory, too many threads: a plan, or an error; never a crash."""
    identity = identity_of_model()

    def one(case):
        name, more = case
        with Coordinator(workers=2) as coordinator:
            peers = [Peer.connect(coordinator.url) for _ in range(2)]
            with contextlib.suppress(OSError, ConnectionError):
                for number, peer in enumerate(peers):
                    peer.send(hello(incarnation=number, more={17: 1, 18: "/m", 19: identity[0],
                                                              20: identity[1], **more}))
                for peer in peers:
                    peer.receive(0.5)
                time.sleep(0.5)
            code = coordinator.process.poll()
            require(code in (None, 1, 2), f"{name}: exit {code}\n{coordinator.text()[-1500:]}")
            planned = [line for line in coordinator.text().splitlines() if "MALFORMED" not in line]
            require(not re.search(r"\b(inf|nan)\b", "\n".join(planned)),
                    f"{name}: {coordinator.text()[-1500:]}")

    at_once(one, (("no bandwidth", {14: 0.0, 15: 0.0}), ("tiny bandwidth", {14: 5e-324, 15: 5e-324}),
                  ("all bandwidth", {14: 1.7e308, 15: 1.7e308}), ("no memory", {10: 0}),
                  ("all memory", {10: (1 << 64) - 1}), ("threads", {11: 65536, 12: 65536}),
                  ("not a number", {14: float("nan")}), ("negative", {14: -1.0}),
                  ("long names", {8: "n" * 511, 13: "i" * 511, 2: "b" * 511}),
                  ("control characters", {8: "a\nb\x1b[31m", 13: "\x00x"})))


def identity_of_model():
    """The model's identity as the coordinator tells it when it refuses another one."""
    with Coordinator(workers=1) as coordinator:
        _, reason, peer = greeted(coordinator.url, hello(more={17: 1, 18: "/m", 19: ("fixed64", 1),
                                                               20: ("fixed64", 2)}))
        peer.close()
    text = re.search(r"\(([0-9a-f]{32})\) at the coordinator", reason).group(1)
    high, low = int(text[:16], 16), int(text[16:], 16)
    return ("fixed64", low), ("fixed64", high)


def hellos_without_end():
    """Thousands of refused hellos are answered, but do not fill the log."""
    with Coordinator(workers=3) as coordinator:
        peer = Peer.connect(coordinator.url)
        for _ in range(2000):
            peer.send(hello(major=2))
        n = 0
        while n < 2000 and peer.receive(PATIENCE) is not None:
            n += 1
        require(n == 2000, f"{n} answers")
        lines = coordinator.text().count("WORKER-REFUSED")
        require(0 < lines < 100, f"{lines} lines for 2000 hellos")
        peer.close()


class FakeCoordinator:
    """Takes one connection after another and answers each hello with `answer`."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ConnectionError):
                peer = Peer(connection, b"ROUTER")
                while True:
                    if peer.receive(60) is not None and self.answer is not None:
                        peer.send(*self.answer)


def join(url, seconds=7):
    began = time.monotonic()
    done = subprocess.run([WORKER, "--coordinator", url, "--threads", "1", "--join-timeout",
                           str(seconds)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=harness.environment(), timeout=60, check=False)
    return done.returncode, done.stderr.decode(errors="replace"), time.monotonic() - began


def coordinators_of_other_versions():
    """A refusal is passed on; anything else of another version is said in the notices."""
    refusal = fields({MAJOR: 9, WELCOME: {1: 0, 3: "this coordinator speaks protocol 9"}})
    code, err, seconds = join(FakeCoordinator([refusal]).url)
    require(code == 1 and "speaks protocol 9" in err and seconds < 6, f"a refusal of 9: {code} {err}")

    def others(case):
        name, answer = case
        code, err, _ = join(FakeCoordinator([answer]).url)
        require(code == 1, f"{name}: exit {code}\n{err}")
        require(re.search(r"JOIN-WAITING.*protocol 9.*version", err),
                f"{name}: the notice does not say which version came back\n{err}")

    at_once(others, [("a welcome of 9", fields({MAJOR: 9, WELCOME: {1: 1}})),
                     ("a step of 9", fields({MAJOR: 9, STEP: b"abc"}))])


def coordinators_that_are_none():
    def none(case):
        name, answer = case
        code, err, seconds = join(FakeCoordinator(answer).url)
        require(code == 1 and seconds < 15, f"{name}: exit {code} after {seconds:.1f} s\n{err}")
        require("not joined" in err, f"{name}: no notice\n{err}")

    at_once(none, [("garbage", [b"\xff" * 40]), ("silence", None), ("an empty message", [b""]),
                   ("three parts", [b"a", b"b", b"c"])])


# ---- a cluster that answers while it is disturbed ------------------------------------------------

ASK = ("run", "--prompt-tokens", ",".join(str(i % 200 + 3) for i in range(90)), "-n", "400",
       "--ignore-eos", "--seed", "4", "--temperature", "30", "--prefill-chunk", "7", "--link", "zmq")


class Tapped:
    """Two workers whose control connections, and the link between them, run through taps."""

    def __init__(self, change_link=None):
        self.control = Tap(down=self.redirect)
        self.link = Tap(up=self.record)
        self.link_url = None
        self.seen = b""
        self.change_link = change_link
        self.lock = threading.Lock()

    def redirect(self, data):
        """In a Connect the next stage's URL becomes the tap's: ports of five digits both."""
        at = data.find(b"tcp://127.0.0.1:")
        if at >= 0:
            port = int(data[at + 16:at + 21])
            if self.link.target is None and port != self.control.port:
                self.link.target = port
                data = data[:at + 16] + b"%05d" % self.link.port + data[at + 21:]
        return data

    def record(self, data):
        with self.lock:
            self.seen += data
        return self.change_link(self, data) if self.change_link else data

    def frames(self):
        with self.lock:
            seen = self.seen
        if len(seen) < 64:
            return []
        return [body for flags, body in split_frames(seen[64:])[0] if not flags & COMMAND]

    def close(self):
        self.control.close()
        self.link.close()


def answer(disturb=None, change_link=None, timeout=90.0):
    """Runs ASK on two tapped workers; (code, tokens, stderr, worker log)."""
    out = DIRECTORY / "hostile-tokens.json"
    out.unlink(missing_ok=True)
    tapped = Tapped(change_link)
    url = f"tcp://127.0.0.1:{harness.free_port()}"
    tapped.control.target = int(url.rsplit(":", 1)[1])
    with tempfile.TemporaryFile() as log:
        coordinator = subprocess.Popen(
            [COORDINATOR, *ASK, "--model", str(model()), "--listen", url, "--workers", "2",
             "--tokens-out", str(out)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=harness.environment(), start_new_session=True)
        workers = harness.start_workers(Layout(stages=2), tapped.control.url, log)
        stop = threading.Event()
        thread = threading.Thread(target=disturb, args=(url, tapped, stop)) if disturb else None
        if thread:
            thread.start()
        try:
            _, err = coordinator.communicate(timeout=timeout)
        finally:
            stop.set()
            if coordinator.poll() is None:
                coordinator.kill()
                coordinator.wait()
            if thread:
                thread.join()
            harness.stop(workers)
            tapped.close()
        log.seek(0)
        worker_log = log.read().decode(errors="replace")
    tokens = harness.read_json(out) if out.exists() else []
    return coordinator.returncode, tokens, err.decode(errors="replace"), worker_log


WANTED = []


def wanted():
    if not WANTED:
        code, tokens, err, _ = answer()
        require(code == 0 and len(tokens) == 400, f"undisturbed: exit {code}\n{err}")
        WANTED.extend(tokens)
    return WANTED


def expect_same(name, got):
    code, tokens, err, log = got
    require(code == 0, f"{name}: exit {code}\n{err[-2000:]}\n--- workers:\n{log[-2000:]}")
    require(tokens == wanted(), f"{name}: another answer")


def wait_until(condition, stop, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not condition() and not stop.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)


def strangers_at_the_data_port():
    """Replays with the right secret, cut frames, steps out of nowhere, garbage, half greetings."""
    rounds = [0]

    def disturb(_, tapped, stop):
        wait_until(lambda: len(tapped.frames()) > 8, stop)
        while not stop.is_set():
            frames = tapped.frames()
            url = f"tcp://127.0.0.1:{tapped.link.target}"
            probe, step = frames[0], next(f for f in frames if f[6] == 3)
            for parts in ((probe,), (probe, b"x"), (step, b"\0" * 1024), (step,), (probe[:40],),
                          (b"",), (b"\xff" * 70000,), (probe, probe, probe, probe),
                          tuple(frames[1:9])):
                with contextlib.suppress(OSError, ConnectionError, StopIteration):
                    peer = Peer.connect(url)
                    peer.send(*parts)
                    answered = peer.receive(0.02)
                    require(answered is None or parts[0][:4] == b"BNLK", f"a stranger got {answered}")
                    peer.close()
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", tapped.link.target), timeout=1) as raw:
                    raw.sendall(GREETING[:20])
                with socket.create_connection(("127.0.0.1", tapped.link.target), timeout=1) as raw:
                    raw.sendall(os.urandom(500))
            rounds[0] += 1

    got = answer(disturb)
    expect_same("strangers at the data port", got)
    require(rounds[0] > 0, "nothing was disturbed")
    require("foreign frame" in got[3], f"the strangers were not noticed\n{got[3][-1500:]}")


def a_link_that_is_cut_in_a_frame():
    """Half a frame, then the end: both sides of the link are named, nothing hangs."""
    def cut(tapped, data):
        if len(tapped.frames()) < 40:
            return data
        threading.Timer(0.05, tapped.link.close).start()
        return data[:len(data) // 2]

    began = time.monotonic()
    code, tokens, err, log = answer(change_link=cut)
    require(code == 1 and time.monotonic() - began < 40, f"exit {code}\n{err[-1500:]}")
    require(re.search(r"link from .*pid \d+.* to ", err + log), f"the link is not named\n{err}\n{log}")
    del tokens


def a_link_that_repeats():
    """A frame twice on the neighbour's own connection is a failure that names both."""
    state = {"buffer": b"", "done": False}

    def repeat(tapped, data):
        state["buffer"] += data
        frames, rest = split_frames(state["buffer"][64:]) if len(state["buffer"]) > 64 else ([], b"")
        steps = [f for f in frames if not f[0] & COMMAND]
        if state["done"] or rest or len(steps) < 41 or steps[-1][0] & 1:
            return data
        state["done"] = True
        return data + b"".join(frame(body, flags & 1) for flags, body in steps[-2:])

    code, _, err, log = answer(change_link=repeat)
    require(state["done"], "nothing was repeated")
    require(code == 1 and re.search(r"a repeat", err + log), f"exit {code}\n{err[-1500:]}\n{log[-1500:]}")


def strangers_at_the_control_port():
    """Sound frames with senseless bodies, and messages that only members may send."""
    result = fields({MAJOR: 1, RESULT: {1: 1, 2: 1}})
    goodbye = fields({MAJOR: 1, 33: {1: "bye"}})
    failure = fields({MAJOR: 1, 32: {1: 1, 2: 5, 3: "boom"}})
    messages = [(result,), (goodbye,), (failure,), (b"",), (b"\xff" * 100,), (result, b"raw" * 100),
                (b"a",) * 9, (os.urandom(60000),), (b"\0" * (5 << 20),),
                (fields({MAJOR: 1, HEARTBEAT: {1: 1, 2: 3}}),),
                (fields({MAJOR: 7, HELLO: {1: 1}}),), (hello(incarnation=99),),
                (fields({MAJOR: 1, STEP: {1: 1, 2: 1, 3: b"\x01" * 5000}}),)]

    def disturb(url, _, stop):
        while not stop.is_set():
            for message in messages:
                with contextlib.suppress(OSError, ConnectionError):
                    peer = Peer.connect(url)
                    peer.send(*message)
                    peer.receive(0.01)
                    peer.close()

    # The stranger's sound hello must not take a place: the cluster is complete before it comes.
    def later(url, tapped, stop):
        wait_until(lambda: len(tapped.frames()) > 4, stop)
        disturb(url, tapped, stop)

    expect_same("strangers at the control port", answer(later))


def slow_strangers():
    """Hundreds of connections that never finish their greeting."""
    def disturb(url, _, stop):
        port, sockets = int(url.rsplit(":", 1)[1]), []
        while not stop.is_set():
            with contextlib.suppress(OSError):
                if len(sockets) < 300:
                    sockets.append(socket.create_connection(("127.0.0.1", port), timeout=1))
            for stranger in sockets[::10]:
                with contextlib.suppress(OSError):
                    stranger.send(b"\xff")
            time.sleep(0.005)
        for stranger in sockets:
            stranger.close()

    expect_same("slow strangers", answer(disturb))


def listening(pids):
    """Addresses on which these processes listen for TCP, as in /proc/net/tcp and tcp6."""
    inodes = set()
    for pid in pids:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = re.match(r"socket:\[(\d+)\]", os.readlink(entry.path))
                if found:
                    inodes.add(found.group(1))
    addresses = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}", encoding="ascii") as file:
            for line in list(file)[1:]:
                part = line.split()
                if part[3] == "0A" and part[9] in inodes:
                    addresses.append(part[1].split(":")[0])
    return addresses


def nothing_listens_everywhere():
    """Asked to, the coordinator listens on all addresses, and warns; data sockets never do."""
    port = harness.free_port()
    with tempfile.NamedTemporaryFile(mode="r+") as err, tempfile.TemporaryFile() as log:
        coordinator = subprocess.Popen(
            [COORDINATOR, *ASK, "-n", "0", "--context", "100000", "--model", str(model()), "--listen",
             f"tcp://0.0.0.0:{port}", "--insecure", "--workers", "2"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=err, env=harness.environment(), start_new_session=True)
        workers = harness.start_workers(Layout(stages=2), f"tcp://127.0.0.1:{port}", log)
        try:
            deadline = time.monotonic() + PATIENCE
            while " ready:" not in open(err.name, encoding="utf-8").read():
                require(time.monotonic() < deadline, "never ready")
                time.sleep(0.02)
            found = listening([worker.pid for worker in workers])
            require(found == ["0100007F"], f"the workers listen on {found}")
            require("00000000" in listening([coordinator.pid]), "the coordinator does not listen")
            require("CHANNEL-INSECURE" in open(err.name, encoding="utf-8").read(), "no warning")
        finally:
            coordinator.kill()
            coordinator.wait()
            harness.stop(workers, patience=0)


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    cases = [workers_of_other_versions, the_same_worker_twice, a_second_mpi_job,
             a_job_that_is_too_large, hellos_without_end,
             workers_of_absurd_size, coordinators_of_other_versions, coordinators_that_are_none,
             strangers_at_the_data_port, a_link_that_is_cut_in_a_frame, a_link_that_repeats,
             strangers_at_the_control_port, slow_strangers, nothing_listens_everywhere]
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    failures = 0
    for case in cases:
        if chosen not in case.__name__:
            continue
        began = time.monotonic()
        try:
            case()
            print(f"ok   {case.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            failures += 1
            print(f"FAIL {case.__name__}: {error}", flush=True)
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
