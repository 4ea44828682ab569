"""zmtp.py — just enough of ZeroMQ's wire protocol to be a rude peer, and a proxy that listens.

A Peer speaks ZMTP 3.0 with the NULL mechanism over one TCP connection, as DEALER or ROUTER, and
sends whatever bytes it is told to. fields() and parse() write and read protobuf without a schema.
A Tap stands between two programs, records what passes and may change it.
"""

import contextlib
import socket
import struct
import threading
import time

GREETING = (b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31))
MORE, LONG, COMMAND = 1, 2, 4


def frame(body, flags=0):
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def split_frames(data):
    """[(flags, body)] of the whole frames in data, and what is left over."""
    frames = []
    while True:
        if len(data) < 2:
            return frames, data
        head = 9 if data[0] & LONG else 2
        if len(data) < head:
            return frames, data
        size = struct.unpack(">Q", data[1:9])[0] if data[0] & LONG else data[1]
        if len(data) < head + size:
            return frames, data
        frames.append((data[0], data[head:head + size]))
        data = data[head + size:]


def varint(value):
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def fields(items):
    """Protobuf bytes of {number: int | bytes | str | ('fixed64', int) | float | dict}."""
    out = b""
    for number, value in items.items():
        if isinstance(value, dict):
            value = fields(value)
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        elif isinstance(value, tuple):
            out += varint(number << 3 | 1) + struct.pack("<Q", value[1])
        elif isinstance(value, float):
            out += varint(number << 3 | 1) + struct.pack("<d", value)
        else:
            out += varint(number << 3) + varint(int(value))
    return out


def parse(data):
    """{number: last value} of protobuf bytes; lengths give bytes."""
    found, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            found[tag >> 3] = number()
        elif tag & 7 == 2:
            size = number()
            found[tag >> 3] = data[at:at + size]
            at += size
        else:
            size = 8 if tag & 7 == 1 else 4
            found[tag >> 3] = int.from_bytes(data[at:at + size], "little")
            at += size
    return found


class Peer:
    def __init__(self, connection, kind=b"DEALER"):
        self.connection = connection
        self.rest = b""
        self.parts = []
        connection.settimeout(5)
        connection.sendall(GREETING)
        while len(self.rest) < 64:
            self.fill()
        self.rest = self.rest[64:]
        connection.sendall(frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
                                 + b"\x08Identity" + bytes(4), COMMAND))

    @classmethod
    def connect(cls, url, kind=b"DEALER"):
        host, port = url.removeprefix("tcp://").rsplit(":", 1)
        return cls(socket.create_connection((host, int(port)), timeout=5), kind)

    def fill(self):
        more = self.connection.recv(65536)
        if not more:
            raise ConnectionError("the other side has closed")
        self.rest += more

    def send(self, *parts):
        self.connection.sendall(b"".join(frame(part, MORE if i + 1 < len(parts) else 0)
                                         for i, part in enumerate(parts)))

    def receive(self, seconds=5.0):
        """The next message as a list of parts; None when the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            frames, self.rest = split_frames(self.rest)
            for i, (flags, body) in enumerate(frames):
                if flags & COMMAND:
                    if body.startswith(b"\x04PING"):
                        self.connection.sendall(frame(b"\x04PONG" + body[7:], COMMAND))
                    continue
                self.parts.append(body)
                if not flags & MORE:
                    message, self.parts = self.parts, []
                    left = b"".join(frame(b, f & ~LONG) for f, b in frames[i + 1:])
                    self.rest = left + self.rest
                    return message
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.connection.settimeout(left)
            try:
                self.fill()
            except TimeoutError:
                return None
            finally:
                self.connection.settimeout(5)

    def close(self):
        self.connection.close()


class Tap:
    """A proxy on a port of its own: bytes from the connecting side pass through `up`, bytes to it
    through `down`; each gets (bytes) and gives what goes on, or None to cut the connection."""

    def __init__(self, target=None, up=None, down=None):
        self.target = target
        self.up = up or (lambda data: data)
        self.down = down or (lambda data: data)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"tcp://127.0.0.1:{self.port}"
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self.sockets += [near, far]
            for source, sink, change in ((near, far, self.up), (far, near, self.down)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(source, sink, change), daemon=True).start()

    @staticmethod
    def pump(source, sink, change):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                data = change(data)
                if data is None:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        for end in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                end.close()
