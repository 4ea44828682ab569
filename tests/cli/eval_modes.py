"""eval_modes.py — protocols of perplexity, scores of continuations, questions, dumps.

What: `--protocol llama` and `hf` equal what Python computes in double from the bytes of `eval --tokens
      --logits-out` of the windows; `--score` likewise, its boundary rule included; `--questions` says
      what `run` says, one by one; all equal in every bit over stages and over how many run at once.
      `--dump` writes the very residuals: equal over stages, chunks and MPI; its logits are those of
      --logits-out. Bad lines are refused with file and line.
How:  models with and without BOS, byte-level BPE and SPM; the log-sum-exp here is math.fsum, so the
      two agree to 1e-12 relative, not to the last bit.
"""

import json
import math
import os
import pathlib
import struct
import sys
import tempfile

import cli
import harness
from cli import require
from eval_numbers import TEXT, WITHOUT_BOS, inspect, logits_of, number_of

ASCII = "The cat sat on the mat. It had been raining for hours; nobody (at all) came by! " * 4
CONTEXTS = ["The quick brown", "", "a b  ", "naïve\n\n", "0123456789 (a + b)"]
CONTINUATIONS = [" fox", "jumps over", "c", " x.", " * c"]


def bos_of(model):
    facts = inspect(model)["tokenizer"]
    is_usual = facts["model"] == "llama" or facts.get("pre") == "llama-bpe"
    adds_bos = facts.get("add_bos", is_usual)
    return cli.tokenize(model, "x", "--bos")[:1] if adds_bos else []


def models():
    return cli.tiny("bpe"), cli.tiny("spm"), WITHOUT_BOS


def nll_of(model, window, first):
    """Of window[first:], each given all before it."""
    vocab = inspect(model)["model"]["vocab"]
    rows = logits_of(model, window[:-1], vocab)
    scores = []
    for row, target in list(zip(rows, window[1:]))[first - 1:]:
        top = max(row)
        scores.append(math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[target])
    return scores


def bytes_of(model, plain, begin, end):
    """Of the text that tokens [begin, end) stand for; for texts of ASCII."""
    lengths = [len(cli.detokenize(model, plain[:n])) if n else 0 for n in (begin, end)]
    return lengths[1] - lengths[0]


def llama_windows(model, text, context):
    """(window, its first scored token, bytes of what is scored)"""
    bos, plain = bos_of(model), cli.tokenize(model, text)
    tokens = bos + plain
    for begin in range(0, len(tokens) - context + 1, context):
        window = tokens[begin:begin + context]
        window[:len(bos)] = bos
        first = context // 2 + 1
        yield window, first, bytes_of(model, plain, begin + first - len(bos),
                                      begin + context - len(bos))


def hf_windows(model, text, context, stride):
    bos, plain = bos_of(model), cli.tokenize(model, text)
    tokens, end_before = bos + plain, 0
    for begin in range(0, len(tokens), stride):
        end = min(begin + context, len(tokens))
        first = max(end_before - begin, 1)
        if first < end - begin:
            yield tokens[begin:end], first, bytes_of(model, plain, max(begin + first - len(bos), 0),
                                                     end - len(bos))
        end_before = end
        if end == len(tokens):
            return


def perplexity(model, path, local, *arguments):
    done = cli.coordinator("eval", "--model", model, "--local", local, "--worker-threads", 1,
                           "--perplexity", path, "--json", *arguments)
    return json.loads(done.stdout)


def near(found, due, what):
    require(abs(found - due) <= 1e-12 * abs(due), f"{what}: {found!r}, {due!r} is due")


def compare(model, found, windows, what):
    scores, n_bytes = [], 0
    for window, first, n in windows:
        scores += nll_of(model, window, first)
        n_bytes += n
    require(len(windows) >= 3, f"{what}: {len(windows)} windows")
    require(found["windows"] == len(windows), f"{what}: {found['windows']} windows")
    require(found["tokens"] == len(scores), f"{what}: {found['tokens']} of {len(scores)} scored")
    require(found["bytes"] == n_bytes, f"{what}: {found['bytes']} bytes, {n_bytes} due")
    total = 0.0
    for score in scores:
        total += score
    mean = total / len(scores)
    due = {"nll_sum": total, "perplexity": math.exp(mean),
           "bits_per_byte": total / math.log(2) / n_bytes}
    if found["protocol"] == "llama":
        variance = math.fsum(s * s for s in scores) / len(scores) - mean * mean
        error = math.sqrt(variance / (len(scores) - 1)) * math.exp(mean)
        # The difference of two near numbers loses digits.
        require(abs(found["error"] - error) <= 1e-9 * error, f"{what}: error {found['error']}")
        require(number_of(found["error_bits"]) == found["error"], f"{what}: bits of the error")
    for name, value in due.items():
        near(found[name], value, f"{what}: {name}")
        require(number_of(found[name + "_bits"]) == found[name], f"{what}: bits of {name}")
    return scores


def check_llama():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(ASCII)
        for model in models():
            for context in (24, 33):
                found = perplexity(model, path, 1, "--protocol", "llama", "--context", context)
                windows = list(llama_windows(model, ASCII, context))
                scores = compare(model, found, windows, f"{model} llama {context}")
                per_window = context - 1 - context // 2
                require(len(scores) == per_window * len(windows), f"{len(scores)} scored")
            again = perplexity(model, path, 2, "--protocol", "llama", "--context", context)
            require(again == found, f"{model}: other bits over 2 stages")
        done = cli.coordinator("eval", "--model", model, "--local", 1, "--perplexity", path,
                               "--protocol", "llama", "--context", context)
        require(b"+/-" in done.stdout and b"bits per byte" in done.stdout, done.stdout)


def check_hf():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(ASCII)
        for model in models():
            for context, stride in ((48, 0), (40, 13), (32, 32)):
                found = perplexity(model, path, 1, "--protocol", "hf", "--context", context,
                                   "--stride", stride)
                stride = stride or context // 2
                require(found["stride"] == stride, f"stride {found['stride']}")
                windows = list(hf_windows(model, ASCII, context, stride))
                compare(model, found, windows, f"{model} hf {context} {stride}")
                if stride < context and bos_of(model):
                    require(found["bytes"] == len(ASCII), f"{found['bytes']} bytes scored")
            again = perplexity(model, path, 2, "--protocol", "hf", "--context", context,
                               "--stride", stride)
            require(again == found, f"{model}: other bits over 2 stages")


def check_bytes_of_any_text():
    """With BOS in every window each byte of the text is scored, whatever its script."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("  " + TEXT)
        for model in models()[:2]:
            found = perplexity(model, path, 1, "--context", 48)
            require(found["protocol"] == "ours" and bos_of(model), f"{found}")
            due = len(("  " + TEXT).encode())
            require(found["bytes"] == due, f"{found['bytes']} bytes scored of {due}")


def check_fingerprint():
    """Hashes are those of the files: equal for equal ones, and of what differs alone."""
    def fingerprint(model):
        found = perplexity(model, path, 1, "--context", 64)
        return [found[name] for name in ("model", "tokenizer", "numerics")]

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(ASCII)
        bpe, spm = fingerprint(cli.tiny("bpe")), fingerprint(cli.tiny("spm"))
        other = fingerprint(cli.tiny("bpe", "other", "--shape", "tiny", "--layers", 3))
    require(bpe[0] != spm[0] and bpe[1] != spm[1], f"{bpe} {spm}")
    require(bpe[0] != other[0] and bpe[1:] == other[1:], f"{bpe} {other}")
    require(bpe[0] == inspect(cli.tiny("bpe"))["identity"], f"identity is not {bpe[0]}")


# ---- --score -------------------------------------------------------------------------------------

def write_lines(path, objects):
    with open(path, "w", encoding="utf-8") as file:
        for value in objects:
            file.write(json.dumps(value) + "\n")


def score(model, path, *arguments):
    done = cli.coordinator("eval", "--model", model, "--worker-threads", 1, "--score", path,
                           *arguments)
    return done.stdout


def split_tokens(model, context, continuation):
    bare = context.rstrip()
    text = context + continuation
    front = bos_of(model)
    if not bare and not front:
        front = cli.tokenize(model, "x", "--bos")[:1]
    whole = cli.tokenize(model, text)
    return front + whole, len(front) + (len(cli.tokenize(model, bare)) if bare else 0)


def check_score():
    pairs = [(a, b) for a in CONTEXTS for b in CONTINUATIONS]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "pairs.jsonl")
        for model in models():
            kept = [(a, b) for a, b in pairs if split_tokens(model, a, b)[1] <
                    len(split_tokens(model, a, b)[0])]
            require(len(kept) > 15, f"{len(kept)} pairs")
            write_lines(path, [{"context": a, "continuation": b, "more": 1} for a, b in kept])
            text = score(model, path, "--local", 1)
            found = [json.loads(line) for line in text.splitlines()]
            require([one["line"] for one in found] == list(range(1, len(kept) + 1)), "order")
            for one, (context, continuation) in list(zip(found, kept))[::4]:
                tokens, n_context = split_tokens(model, context, continuation)
                what = f"{model}: {context!r} {continuation!r}"
                require(one["tokens"] == tokens[n_context:], f"{what}: {one['tokens']}")
                require(one["n_tokens"] == len(tokens) - n_context, what)
                require(one["n_context_tokens"] == n_context, what)
                scores = nll_of(model, tokens, n_context)
                for found_one, due in zip(one["logprobs"], scores):
                    near(found_one, -due, what)
                total = 0.0
                for logprob in one["logprobs"]:
                    total += logprob
                require(one["logprob"] == total, what)
            for arguments in (["--slots", 1], ["--slots", 3, "--prefill-chunk", 5], ["--slots", 64]):
                for local in (1, 2):
                    again = score(model, path, "--local", local, *arguments)
                    require(again == text, f"{model}: other bits with {arguments} over {local}")


def check_greedy():
    """Greedy is what takes the likeliest token at each place, not only at the first or the last."""
    model = cli.tiny("bpe")
    vocab = inspect(model)["model"]["vocab"]

    def ranked(tokens):
        row = logits_of(model, tokens, vocab)[-1]
        return sorted(range(vocab), key=lambda i: (-row[i], i))

    pairs, due = [], []
    for context in ("The", "one two", "abc", "It was", "x = ", "Hello", "why", "no"):
        tokens = bos_of(model) + cli.tokenize(model, context)
        first = ranked(tokens)
        made = [([token], is_greedy) for token, is_greedy in
                ((first[0], True), (first[1], False), (first[9], False))]
        for token, is_greedy in ((first[0], True), (first[2], False)):
            second = ranked(tokens + [token])
            made += [([token, second[0]], is_greedy), ([token, second[1]], False)]
        for added, is_greedy in made:
            text = cli.detokenize(model, tokens + added)[len(cli.detokenize(model, tokens)):]
            text = text.decode(errors="replace")
            if "\0" not in text and split_tokens(model, context, text) == (tokens + added,
                                                                           len(tokens)):
                pairs.append({"context": context, "continuation": text})
                due.append((len(added), is_greedy))
    require(len(set(due)) == 4, f"{due}")
    due = [is_greedy for _, is_greedy in due]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "pairs.jsonl")
        write_lines(path, pairs)
        found = [json.loads(line)["is_greedy"]
                 for line in score(model, path, "--local", 1).splitlines()]
    require(found == due, f"{found}, {due} are due")


# ---- --questions ---------------------------------------------------------------------------------

def answers_by_run(model, prompts, *arguments):
    texts = []
    for prompt in prompts:
        done = cli.coordinator("run", "--model", model, "--local", 1, "--chat-template", "none",
                               "--prompt", prompt, "--temperature", 0, *arguments)
        texts.append(done.stdout.decode())
    return texts


def check_questions():
    prompts = [f"Question {i}: what is {i} + {i * 7}?" for i in range(12)]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "questions.jsonl")
        for model in (cli.tiny("bpe"), cli.tiny("spm")):
            said = answers_by_run(model, prompts, "-n", 6)
            said[5] = answers_by_run(model, prompts[5:6], "-n", 2)[0]
            lines = [{"prompt": prompt, "answer": f"\n {answer.strip()}\t"}
                     for prompt, answer in zip(prompts, said) if "\0" not in answer]
            require(len(lines) == len(prompts), "a model that says NUL")
            lines[5]["max_tokens"] = 2
            for i in (3, 7):
                lines[i]["answer"] += "x"
            write_lines(path, lines)

            def ask(*arguments):
                return cli.coordinator("eval", "--model", model, "--worker-threads", 1, "-n", 6,
                                       "--questions", path, *arguments).stdout

            found = json.loads(ask("--local", 1, "--json", "--show-wrong"))
            require((found["questions"], found["right"]) == (12, 10), f"{found}")
            require(found["rate"] == 10 / 12 and len(found["model"]) == 32, f"{found}")
            require([one["line"] for one in found["wrong"]] == [4, 8], f"{found['wrong']}")
            require(found["wrong"][0]["said"] == said[3].strip(), f"{found['wrong'][0]}")
            for arguments in (["--slots", 1], ["--slots", 32], ["--prefill-chunk", 3]):
                for local in (1, 2):
                    again = json.loads(ask("--local", local, "--json", "-v", *arguments))
                    require(again == found, f"{arguments} over {local}: {again}")
            text = ask("--local", 1, "--show-wrong").decode()
            require("10 of 12 right (83.33 %)" in text and "line 8 wrong" in text, text)
            require(b"wrong" not in ask("--local", 1), "wrong ones unasked")


def check_question_stops():
    """--stop-newline ends before a newline, --stop before a text; --chat goes through the template."""
    model = cli.tiny("bpe")
    prompt = "Tell me"
    whole = answers_by_run(model, [prompt], "-n", 24)[0]
    cut = next(c for c in whole.strip()[1:] if not c.isspace())
    due = whole[:whole.index(cut, whole.index(whole.strip()[0]) + 1)]
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "questions.jsonl")
        write_lines(path, [{"prompt": prompt, "answer": due}])
        arguments = ["eval", "--model", model, "--local", 1, "--questions", path, "--json", "-n", 24]
        found = json.loads(cli.coordinator(*arguments, "--stop", cut).stdout)
        require(whole.index(cut) < len(due) or found["right"] == 1, f"{due!r}: {found}")
        found = json.loads(cli.coordinator(*arguments, "--stop-newline", "-v").stdout)
        first_line = whole.split("\n")[0].strip()
        said = found["wrong"][0]["said"] if found["wrong"] else due.strip()
        require(said == first_line, f"{said!r}, {first_line!r} is due")
        chat = json.loads(cli.coordinator(*arguments, "--chat", "--chat-template", "none", "-v").stdout)
        said = chat["wrong"][0]["said"] if chat["wrong"] else due.strip()
        require(said == whole.strip(), f"{said!r}, {whole.strip()!r} is due")


# ---- --dump --------------------------------------------------------------------------------------

def read_npy(path):
    """(type, shape, bytes of the numbers)"""
    data = pathlib.Path(path).read_bytes()
    require(data[:8] == b"\x93NUMPY\x01\x00", f"{path}: {data[:8]!r}")
    size, = struct.unpack_from("<H", data, 8)
    require((10 + size) % 64 == 0, f"{path}: a header of {size} bytes")
    facts = eval(data[10:10 + size].decode(), {})  # a dictionary that we wrote
    require(facts["fortran_order"] is False, f"{path}: {facts}")
    return facts["descr"], facts["shape"], data[10 + size:]


def read_dump(directory):
    return {path.name: read_npy(path) for path in sorted(pathlib.Path(directory).iterdir())}


def dump(model, directory, ids, *arguments):
    cli.coordinator("eval", "--model", model, "--tokens", ",".join(map(str, ids)), "--dump",
                    directory, "--worker-threads", 1, *arguments)
    return read_dump(directory)


def check_dump():
    model = cli.tiny("bpe")
    facts = inspect(model)["model"]
    vocab, hidden, layers = facts["vocab"], facts["hidden"], facts["layers"]
    ids = [(7 * i * i + 3) % vocab for i in range(50)]
    with tempfile.TemporaryDirectory() as directory:
        one = dump(model, f"{directory}/one", ids, "--local", 1)
        names = ["layer_%03d.npy" % i for i in range(layers + 1)] + ["logits.npy", "tokens.npy"]
        require(list(one) == names, f"{list(one)}")
        for name in names[:layers + 1]:
            require(one[name][:2] == ("<f4", (len(ids), hidden)), f"{name}: {one[name][:2]}")
            require(len(one[name][2]) == 4 * len(ids) * hidden, name)
        require(one["tokens.npy"] == ("<u4", (len(ids),), struct.pack(f"<{len(ids)}I", *ids)),
                "tokens")
        rows = logits_of(model, ids, vocab)
        require(one["logits.npy"][2] == b"".join(struct.pack(f"<{vocab}f", *row) for row in rows),
                "the logits are not those of --logits-out")
        require(len({one[name][2] for name in names}) == len(names), "two files are the same")
        again = dump(model, f"{directory}/two", ids, "--local", 2, "--prefill-chunk", 7)
        require(again == one, "other bits over 2 stages")
        require(dump(model, f"{directory}/one", ids[:9], "--local", 3)["layer_002.npy"][1] ==
                (9, hidden), "an older dump shines through")
        shorter = read_dump(f"{directory}/one")["layer_004.npy"][2]
        require(one["layer_004.npy"][2].startswith(shorter), "a row depends on later ones")
        text = cli.coordinator("eval", "--model", model, "--local", 1, "--text", "The cat", "--dump",
                               f"{directory}/text")
        require(b"positions" in text.stdout, f"{text.stdout}")
        tokens = bos_of(model) + cli.tokenize(model, "The cat")
        require(read_dump(f"{directory}/text")["tokens.npy"][2] ==
                struct.pack(f"<{len(tokens)}I", *tokens), "tokens of the text")


def check_dump_of_started_workers():
    """Under mpirun the workers are told where they may write; one that is not refuses."""
    model = cli.tiny("bpe")
    ids = list(range(3, 40))
    with tempfile.TemporaryDirectory() as directory:
        due = dump(model, f"{directory}/due", ids, "--local", 1)
        for transport in ("zmq", "mpi") if cli.has_mpi() else ("zmq",):
            target = f"{directory}/{transport}"
            layout = harness.Layout(stages=2, transport=transport,
                                    worker_env={"BITNET_DUMP": target})
            outcome = harness.run(layout, ["eval", "--tokens", ",".join(map(str, ids)), "--dump",
                                           target], model)
            require(outcome.code == 0, "a dump failed", outcome)
            require(read_dump(target) == due, f"{transport}: other bits")
        outcome = harness.run(harness.Layout(stages=2, transport="zmq"),
                              ["eval", "--tokens", "1,2", "--dump", f"{directory}/no"], model)
        require(outcome.code == 1 and "--dump DIR" in outcome.stderr, "not refused", outcome)


# ---- what is wrong -------------------------------------------------------------------------------

def check_errors():
    model = cli.tiny("bpe")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "lines.jsonl")
        good = '{"prompt": "a", "answer": "b", "context": "a", "continuation": "b"}\n'
        cases = [  # (mode, file, exit code, words)
            ("--score", "", 1, "no lines"),
            ("--score", good + "\n" + '{"context": "a"}\n', 1, 'line 3: there is no "continuation"'),
            ("--score", '{"context": 1, "continuation": "b"}', 1, 'line 1: not a text: "context"'),
            ("--score", good + "{\n", 1, "line 2"),
            ("--score", good + "[1]\n", 1, "line 2: an object"),
            ("--score", '{"context": "a", "continuation": ""}', 1, "line 1: the continuation"),
            ("--score", '{"context": "a", "continuation": "\\u0000"}', 1, "line 1"),
            ("--score", good + '{"a":"' + "x" * (1 << 20) + '"}', 1, "line 2 has more than"),
            ("--score", good + '{"context": "' + "a b " * 900 + '", "continuation": "b"}', 2,
             "line 2: "),
            ("--questions", '{"prompt": "a"}', 1, 'line 1: there is no "answer"'),
            ("--questions", good + '{"prompt": "a", "answer": "b", "max_tokens": 0}', 1, "line 2"),
            ("--questions", good + '{"prompt": "a", "answer": "b", "max_tokens": "7"}', 1, "line 2"),
        ]
        for mode, text, code, words in cases:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = cli.coordinator("eval", "--model", model, "--local", 1, mode, path, "--context",
                                   512, code=code)
            said = done.stderr.decode()
            require(words in said, f"{mode} {text[:60]!r}: {said}")
            require(words == "no lines" or path in said, f"{mode}: no file named: {said}")
            require(done.stdout == b"", f"{mode}: {done.stdout!r} on stdout")
        with open(path, "w", encoding="utf-8") as file:
            file.write(ASCII)
        for arguments, code, words in (
                (["--score", path + ".no"], 1, "lines.jsonl.no"),
                (["--perplexity", path, "--protocol", "llama", "--context", 500], 2, "two windows"),
                (["--perplexity", path, "--protocol", "hf", "--context", 64, "--stride", 65], 2,
                 "--stride"),
                (["--perplexity", path, "--stride", 8], 2, "--protocol hf"),
                (["--tokens", "1", "--protocol", "hf"], 2, "--perplexity"),
                (["--perplexity", path, "--chat"], 2, "--questions"),
                (["--perplexity", path, "--dump", directory], 2, "--dump"),
                (["--score", path, "--questions", path], 2, "one of"),
                (["--tokens", "1", "--dump", path], 1, path),
                (["--tokens", "1", "--dump", directory, "--companions", 2], 2, "one sequence")):
            done = cli.coordinator("eval", "--model", model, "--local", 1, *arguments, code=code)
            require(words in done.stderr.decode(), f"{arguments}: {done.stderr.decode()}")


def main():
    return cli.run_cases([check_llama, check_hf, check_bytes_of_any_text, check_fingerprint,
                          check_score, check_greedy, check_questions, check_question_stops,
                          check_dump, check_dump_of_started_workers, check_errors])


if __name__ == "__main__":
    sys.exit(main())
