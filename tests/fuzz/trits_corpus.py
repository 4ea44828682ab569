#!/usr/bin/env python3
"""Writes the seeds of corpus/trits: trits_corpus.py DIRECTORY

One right tensor of each type (all weights +scale, or a few zeros) and one of noise.
"""
import pathlib
import random
import struct
import sys

TYPES = ["i2_s", "tl1", "tl2", "tq1_0", "tq2_0", "q2_0", "q2_0_128", "pq2_0", "ptq1_0", "iq1_bn",
         "iq2_bn", "iq2_bn_r4", "hf", "f32", "f16", "bf16", "master_f32", "master_f16",
         "master_bf16"]
HALF = struct.pack("<e", 0.25)
FLOAT = struct.pack("<f", 0.25)


def plus(n, base=3):
    """A byte of n codes 2: stretched base 3, or two bits each."""
    if base == 4:
        return bytes([0xaa])
    return bytes([((3 ** n - 1) * 3 ** (5 - n) * 256 + 242) // 243])


def right_bytes(name, rows, cols):
    n = rows * cols
    trits = [1, 0, -1, 1]
    floats = [trits[i % 4] * 0.25 for i in range(n)]
    blocks = {
        "i2_s": lambda: b"\xaa" * (n // 4) + FLOAT + bytes(28),
        "tl1": lambda: b"\x88" * (n // 4) + FLOAT + bytes(28),
        "tq1_0": lambda: (plus(5) * 48 + plus(4) * 4 + HALF) * (n // 256),
        "tq2_0": lambda: (b"\xaa" * 64 + HALF) * (n // 256),
        "q2_0": lambda: (HALF + b"\xaa" * 16) * (n // 64),
        "q2_0_128": lambda: (HALF + b"\xaa" * 32) * (n // 128),
        "pq2_0": lambda: (HALF + b"\xaa" * 32) * (n // 128),
        "ptq1_0": lambda: (plus(5) * 24 + plus(4) * 2 + HALF) * (n // 128),
        "iq1_bn": lambda: (HALF + (plus(5) * 12 + bytes([(80 * 256 + 242) // 243])) *
                           (cols // 64)) * rows,
        "iq2_bn": lambda: (FLOAT + b"\xaa" * (cols // 4)) * rows,
        "iq2_bn_r4": lambda: (FLOAT * 4 + b"\xaa" * cols) * (rows // 4),
        "hf": lambda: b"\xaa" * ((rows + 3) // 4 * cols),
    }
    if name in blocks:
        return blocks[name]()
    if name == "tl2":  # 32 rows, 288 columns in three blocks of 96
        codes = b"\xdd" * (n // 6)
        whole = ((cols - 256) * rows // 3 * 5 // 8 + 256 * rows // 2 * 4 // 8 + 31) // 32 * 32
        return (codes + bytes(n // 24)).ljust(whole, b"\0") + FLOAT + bytes(28)
    if name.endswith("f32"):
        return struct.pack(f"<{n}f", *floats)
    if name.endswith("bf16"):
        return b"".join(struct.pack("<f", x)[2:] for x in floats)
    return struct.pack(f"<{n}e", *floats)


def head(name, rows, cols, order=3):
    """Type, rows − 1, columns − 1, whether columns are rounded up, scale, order, tile."""
    tile = 3 * 16 if name == "tl2" else 0
    if name == "tl1":
        tile = 7 * 16  # 192 columns
    low, high = (cols - 1) % 256, (cols - 1) // 256
    return bytes([TYPES.index(name), rows - 1, low, high, 1, 20, order, tile])


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    noise = random.Random(1)
    for name in TYPES:
        rows = 32 if name.startswith("tl") else 4
        cols = {"tl1": 192, "tl2": 288}.get(name, 256)
        seed = head(name, rows, cols) + right_bytes(name, rows, cols)
        (directory / name).write_bytes(seed)
        (directory / f"{name}.noise").write_bytes(seed[:8] + noise.randbytes(600))
    seed = head("hf", 8, 64, order=4) + right_bytes("hf", 8, 64)
    (directory / "hf.heads").write_bytes(seed)


if __name__ == "__main__":
    main()
