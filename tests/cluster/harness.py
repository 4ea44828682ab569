"""harness.py — real coordinators and workers for the cluster tests.

A Layout says how a cluster is put together (stages, transport, threads, instruction sets …);
run() starts the workers and one coordinator command on it, waits with a deadline, and gives back
what the command wrote. Nothing is left running, whatever happens.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

BIN = pathlib.Path(os.environ.get("BN_BIN_DIR", "build/release/bin")).resolve()
SKIP = 77


@dataclasses.dataclass
class Layout:
    stages: int = 1
    transport: str = "zmq"  # or "mpi"
    threads: int = 1
    isa: tuple = ("scalar",)  # one for all, or one per stage
    worker_binary: str = "bitnet-worker"
    bin_dir: pathlib.Path = BIN
    worker_env: dict = dataclasses.field(default_factory=dict)
    worker_args: tuple = ()

    def isa_of(self, stage):
        return self.isa[stage % len(self.isa)]


@dataclasses.dataclass
class Outcome:
    code: int
    stdout: bytes
    stderr: str
    seconds: float
    workers: list  # exit codes
    worker_log: str


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BITNET_")}
    env["OMPI_MCA_rmaps_base_oversubscribe"] = "1"
    if os.geteuid() == 0:
        env["OMPI_ALLOW_RUN_AS_ROOT"] = "1"
        env["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    env.update(more)
    return env


def start_workers(layout, url, log, model=None):
    """Starts the workers in process groups of their own; returns the Popen list."""
    binary = shutil.which(layout.worker_binary, path=str(layout.bin_dir)) or layout.worker_binary
    common = ["--coordinator", url, "--threads", str(layout.threads), "--join-timeout", "60",
              *layout.worker_args]
    if model is not None:
        common += ["--model", str(model)]
    env = environment(**layout.worker_env)

    def spawn(command):
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
                                start_new_session=True)

    if layout.transport == "mpi":
        command = ["mpirun", "--bind-to", "none"]
        for stage in range(layout.stages):
            if stage:
                command.append(":")
            command += ["-np", "1", binary, *common, "--isa", layout.isa_of(stage)]
        return [spawn(command)]
    return [spawn([binary, *common, "--link", "zmq", "--isa", layout.isa_of(stage)])
            for stage in range(layout.stages)]


def stop(processes, patience=8.0):
    """Waits, then terminates, then kills whole process groups; returns exit codes."""
    deadline = time.monotonic() + patience
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None and step is not None:
                try:
                    os.killpg(process.pid, step)
                except ProcessLookupError:
                    pass
        while time.monotonic() < deadline and any(p.poll() is None for p in processes):
            time.sleep(0.02)
        deadline = time.monotonic() + 3.0
    for process in processes:
        try:  # ranks that outlived their mpirun
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    return [process.wait() for process in processes]


def run(layout, arguments, model, timeout=120.0, stdin=b"", worker_model=None, during=None):
    """Runs `bitnet-coordinator arguments…` on a fresh cluster of `layout`.

    `during(processes, coordinator)` is called once, right after everything has been started, and
    may disturb it. Workers get no --model unless worker_model says so: the coordinator tells them.
    """
    url = f"tcp://127.0.0.1:{free_port()}"
    command = [str(pathlib.Path(layout.bin_dir) / "bitnet-coordinator"), *map(str, arguments),
               "--model", str(model), "--listen", url, "--workers", str(layout.stages)]
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        workers = start_workers(layout, url, log, worker_model)
        coordinator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=environment(),
                                       start_new_session=True)
        codes = []
        try:
            if during is not None:
                during(workers, coordinator)
            out, err = coordinator.communicate(stdin, timeout=timeout)
            code = coordinator.returncode
        except subprocess.TimeoutExpired:
            os.killpg(coordinator.pid, signal.SIGKILL)
            out, err = coordinator.communicate()
            code = -999
        finally:
            codes = stop(workers)
            if coordinator.poll() is None:
                os.killpg(coordinator.pid, signal.SIGKILL)
                coordinator.wait()
        log.seek(0)
        worker_log = log.read().decode(errors="replace")
    return Outcome(code, out, err.decode(errors="replace"), time.monotonic() - began, codes,
                   worker_log)


def require(condition, message, outcome=None):
    if condition:
        return
    if outcome is not None:
        message += f"\n--- coordinator (exit {outcome.code}):\n{outcome.stderr[-3000:]}"
        message += f"\n--- workers (exit {outcome.workers}):\n{outcome.worker_log[-3000:]}"
    raise AssertionError(message)


def processor_flags():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
        for line in info:
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def isas_here():
    flags = processor_flags()
    found = ["scalar"]
    if {"avx2", "fma", "f16c"} <= flags:
        found.append("avx2")
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags:
        found.append("avx512")
    return found


def has_mpi():
    """A launcher is here, and this build can use it."""
    if shutil.which("mpirun") is None:
        return False
    version = subprocess.run([str(BIN / "bitnet-worker"), "--version"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False).stdout
    return b" mpi (" in version


def synth(path, *arguments):
    """Makes a model once; the name carries everything that made it."""
    path = pathlib.Path(path)
    if not path.exists():
        part = path.with_suffix(".part")
        subprocess.run([str(BIN / "bitnet-model"), "synth", str(part), *map(str, arguments)],
                       check=True, env=environment(), stderr=subprocess.DEVNULL)
        part.rename(path)
    return path


def work_dir():
    path = pathlib.Path(os.environ.get("BN_WORK_DIR", BIN.parent / "cluster-test"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
