#!/usr/bin/env python3
"""first_departure_test.py
What: our residuals are those of transformers, layer by layer, for tiny BitNet and Llama models; a
      spoiled layer is named, and so is a spoiled embedding.
How:  make_huggingface.py writes folder and GGUF; `eval --dump` of the GGUF, over one and two stages,
      goes to first_departure.py; then trits of one layer of the GGUF are turned over. Skipped
      without torch and transformers.
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "cli"))

import cli  # noqa: E402

try:
    import make_huggingface
    import make_models as gguf
    import reference
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(cli.SKIP)

NAMES = ("2b-4t", "2b-4t-bf16", "llama3-8b")


def depart(dump, folder):
    done = subprocess.run([sys.executable, HERE / "first_departure.py", dump, folder],
                          capture_output=True, text=True, check=False)
    print(done.stdout, flush=True)
    cli.require(done.returncode in (0, 1), done.stderr[-2000:])
    return done.returncode, done.stdout.splitlines()[-1]


def dump(model, tokens, directory, stages):
    cli.coordinator("eval", "--model", model, "--local", stages, "--worker-threads", 1, "--tokens",
                    ",".join(map(str, tokens)), "--dump", directory)
    return directory


def spoil(path, tensor, target):
    """Turns the first half of the tensor's bytes over."""
    data = bytearray(path.read_bytes())
    file = reference.Gguf(str(path))
    dims, kind, offset = file.tensors[tensor]
    n = dims[0] * dims[1] // 8 if kind == gguf.I2_S else dims[0] * dims[1]
    begin = file.base + offset
    # Trits 0, 1, 2 stay trits when their order is turned; halves stay finite by their sign bit.
    data[begin:begin + n] = (data[begin:begin + n][::-1] if kind == gguf.I2_S else
                             bytes(b ^ (0x80 * (i % 2)) for i, b in
                                   enumerate(data[begin:begin + n])))
    target.write_bytes(data)
    return target


def check(name, directory):
    fixture = make_huggingface.FIXTURES[name]
    folder = directory / name
    fixture.make()
    fixture.write_folder(str(folder))
    fixture.write_gguf(f"{folder}.gguf")
    tokens = gguf.tokens_for(name, fixture, make_huggingface.N_TOKENS)
    for stages in (1, 2) if fixture.layers > 1 else (1,):
        code, said = depart(dump(f"{folder}.gguf", tokens, f"{folder}.{stages}", stages), folder)
        cli.require(code == 0, f"{name}: {said}")
    spoiled = [(f"blk.{fixture.layers - 1}.ffn_down.weight", f"layer {fixture.layers - 1}"),
               ("blk.0.attn_output.weight", "layer 0"), ("token_embd.weight", "embedding")]
    for tensor, due in spoiled:
        wrong = spoil(pathlib.Path(f"{folder}.gguf"), tensor, directory / "wrong.gguf")
        code, said = depart(dump(wrong, tokens, directory / "wrong", 1), folder)
        cli.require(code == 1 and said.endswith(f": {due}"), f"{name}, {tensor} spoiled: {said}")


def main():
    with tempfile.TemporaryDirectory() as directory:
        for name in NAMES:
            check(name, pathlib.Path(directory))
    return 0


if __name__ == "__main__":
    sys.exit(main())
