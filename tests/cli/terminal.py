"""terminal.py — a program on a pseudo-terminal, as a person would use it.

send() types, expect() reads until a text appears or a deadline passes. What the program writes to
stderr arrives on the same terminal, unless stderr says otherwise. close() ends it whatever happens.
"""

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

CTRL_C = b"\x03"
CTRL_D = b"\x04"


class Terminal:
    def __init__(self, command, env, rows=24, columns=100, cwd=None, stderr=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def own_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([str(word) for word in command], stdin=slave, stdout=slave,
                                        stderr=slave if stderr is None else stderr, env=env,
                                        cwd=cwd, preexec_fn=own_terminal)
        os.close(slave)
        self.seen = b""  # everything
        self.taken = 0  # how much of it expect() has passed

    def send(self, data):
        os.write(self.master, data)

    def line(self, text):
        self.send(text.encode() + b"\r")

    def _read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], max(seconds, 0))
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError as error:  # the other side is closed
            if error.errno != errno.EIO:
                raise
            data = b""
        self.seen += data
        return data != b""

    def expect(self, text, timeout=30.0):
        """What came before `text` and after the last call; fails with what came instead."""
        text = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + timeout
        while True:
            at = self.seen.find(text, self.taken)
            if at >= 0:
                before = self.seen[self.taken:at]
                self.taken = at + len(text)
                return before
            is_open = self._read(deadline - time.monotonic())
            if not is_open or time.monotonic() >= deadline:
                if self.seen.find(text, self.taken) >= 0:
                    continue
                why = "not within %.0f s" % timeout if is_open else "not before the program ended"
                raise AssertionError(f"{text!r} did not come, {why}; instead:\n"
                                     f"{self.seen[self.taken:].decode(errors='replace')}")

    def expect_prompt(self, timeout=30.0, text="\n> "):
        """What comes until the prompt, once the editor listens: it shows the prompt first, and
        what is typed before it listens is echoed twice."""
        before = self.expect(text, timeout)
        deadline = time.monotonic() + timeout
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            if time.monotonic() >= deadline:
                raise AssertionError("the line editor does not listen")
            time.sleep(0.002)
        return before

    def rest(self, timeout=30.0):
        """What comes until the program has closed the terminal."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                raise AssertionError("the program did not end; so far:\n"
                                     f"{self.seen[self.taken:].decode(errors='replace')}")
        before, self.taken = self.seen[self.taken:], len(self.seen)
        return before

    def wait(self, timeout=30.0):
        """The exit code; reads on meanwhile, so that the program is never stuck writing."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            if time.monotonic() >= deadline:
                raise AssertionError("the program did not end; so far:\n"
                                     f"{self.seen[self.taken:].decode(errors='replace')}")
            if not self._read(0.05):
                time.sleep(0.02)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        os.close(self.master)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
