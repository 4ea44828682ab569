#!/usr/bin/env python3
"""Trains two small vocabularies and writes what independent tokenizers make of 500 strings.

Writes beside itself: vocabulary-bpe.gguf, vocabulary-spm.gguf (keys only, no tensors) and
tokenizer_ids.txt, which tokenizer_golden_test.c reads. The text is ours, written or generated
below. Needs, in a virtual environment of its own (not needed to build or test):

    pip install tokenizers==0.23.3 sentencepiece==0.2.3

Same versions, same files. The lines of tokenizer_ids.txt come in fives: the text with a | behind
it (control and invisible characters as \\n \\t \\r \\\\ \\xNN), then the ids of `tokenizers` with
the llama-bpe, gpt-2 and default pre-tokenizers, then the ids of `sentencepiece`.
"""

import io
import json
import os
import random
import struct
import unicodedata

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
N_STRINGS = 500
N_BPE = 2000
N_SPM = 2400
USER_DEFINED = "<tool>"
CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
           "<|eot_id|>"]

LLAMA_3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
PRE_TOKENIZERS = {
    "llama-bpe": [LLAMA_3],
    "gpt-2": [GPT_2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"],
}

SENTENCES = """
The worker holds its layers and hands the numbers to the next one in the row.
A small river runs past the mill, and in spring the water comes up to the second step.
She said that she'd be late, that they're waiting, and that we'll see; it's what I've heard.
Nobody asked why the lamp in the tower was lit at noon, but everyone saw it.
HTTP requests, JSON values and UTF-8 text are parsed once and checked twice.
El perro duerme bajo la mesa mientras los niños juegan en el jardín de atrás.
Où est passé le garçon qui vendait des pommes près de l'église, là-bas à côté du marché ?
Der Zug fährt über die Brücke, und größere Städte ziehen schnell am Fenster vorüber.
A manhã começou com chuva, mas à tarde o céu já não tinha nuvens; não há pressa.
W górach leży śnieg, źródło zamarzło, a łódź czeka na wiosnę przy brzegu jeziora.
Köyün öğretmeni her gün aynı yolu yürür, çünkü ağaçların gölgesini sever.
Příliš mnoho kůňů běželo přes pole, když začala bouřka u řeky.
Buổi sáng ở làng chài, người ta kéo lưới lên và đếm cá dưới ánh mặt trời.
Η γάτα κοιμάται στον ήλιο και ο ψαράς μετράει τα δίχτυα του κάθε πρωί.
Старый мост через реку построили давно, но каждую весну его чинят снова.
Вчора ввечері їхній сусід приніс ґречний хліб і щось розповів про ліс.
Селото има две чешми и една пекарна, в която хлябът е винаги топъл.
Գյուղի ծերունին ամեն առավոտ ջրում է այգին։
მდინარის პირას ბავშვები ქვებს ისვრიან და იცინიან.
القطة تنام تحت الشجرة، والأولاد يلعبون قرب النهر كل صباح.
در باغ کوچک ما درخت انار هر سال میوه می‌دهد.
הילדים רצים אל הים כשהשמש עולה, והכלב אחריהם.
नदी के किनारे एक छोटा गाँव है जहाँ बच्चे रोज़ खेलते हैं।
গ্রামের পথে বিকেলে হাওয়া বয় আর পাখিরা ঘরে ফেরে।
மலையின் அடியில் ஒரு சிறிய வீடு இருக்கிறது.
కొండ మీద చిన్న గుడి ఉంది, దారిలో చెట్లు ఉన్నాయి.
แมวตัวเล็กนอนอยู่ใต้ต้นไม้และฝนเริ่มตกในตอนเย็น
ជនបទនេះមានទន្លេធំមួយហើយមនុស្សចិញ្ចឹមត្រី។
河边有一座小房子，春天的时候门前开满了花。孩子们每天去学校。
河邊有一座小房子，門前開滿了花，鐘聲從遠處傳來。
川のそばに小さな家があり、春になると庭に花が咲く。コーヒーを飲みながら待つ。
강가에 작은 집이 있고 봄이 되면 마당에 꽃이 핀다. 아이들은 학교에 간다.
def add(a, b):\n    return a + b  # sum of two numbers\n
for (int i = 0; i < n; i++) { total += values[i] * 2; }\n
if (x != NULL && y >= 10) {\n\tprintf("%d\\n", x->size);\n}\n
SELECT name, age FROM people WHERE age > 18 ORDER BY name;
https://example.org/path/to/file.html?query=1&page=2#top
1 12 123 1234 12345 3.14159 -42 1,000,000 0xFF 1e-9 2024-01-31 12:59:59
""".strip("\n").split("\n")

EXTRAS = [
    "", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", "\t\n\t", "\r", "a\rb", "\x0b\x0c",
    "\u00a0", "\u3000 \u2003\u2009", "\u2028\u2029", "\u0085", "\u1680", "\u200b\u200c", "\ufeff",
    "\x01\x02\x1f\x7f", "a\x00b", "\u0080\u009f", "    indented", "trailing   ", "a  b   c    d",
    "line one\nline two\r\nline three\n\n\nline four", "tab\tseparated\tvalues\t", " \t \n \t ",
    "don't DON'T Don'T we'LL I'M you'Re they've 'tis 'Twas rock'n'roll 's 'd '", "'\u017f it'\u017f",
    "''s''t'ree'lll", "O'Reilly's", "l'\u00e9t\u00e9 d'o\u00f9 qu'\u00e0",
    "e\u0301 o\u0308 n\u0303 a\u030a\u0323 Z\u0351\u0312a\u0335\u0322l\u0334g\u0337o",
    "\u00e9\u00f6\u00f1\u00e5 \ufb01 \ufb03 \u0132 \u1e9e \u01c5", "\u1100\u1161\u11a8 \ud55c\uae00",
    "\u0e40\u0e01\u0e49\u0e32\u0e2d\u0e35\u0e49", "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f",
    "\u2460\u2461 \u00bd \u00b2\u00b3 \u2163 \u0664\u0665\u0666\u0667 \u0967\u0968\u0969\u096a \uff11\uff12\uff13",
    "1", "12", "123", "1234", "12345678901234567890", "3.14", "1,000,000.00", "1\u00bd2\u00bd3", "x2y22z222w2222",
    "0x1F 0b1010 1e+10", "\u2026\u2014\u2013\u201cquoted\u201d\u2018single\u2019 \u00abguillemets\u00bb",
    "!!! ??? ... --- *** ### $$$ %%% ^^^ &&& ((( ))) [[[ ]]] {{{ }}}", "a+b=c <tag/> x^y ~z |p| `code` $5 <=> !=",
    "@user #tag user@example.org C:\\dir\\file ~/bin/x.sh && echo $HOME", "\\ \\\\ \\n \"'\"",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd ok \u2764\ufe0f",
    "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea", "\U0001f636\u200d\U0001f32b\ufe0f \u2705 3\ufe0f\u20e3", "\U0001f680\U0001f680\U0001f680 go",
    "\U00010348 \U0001d49c\U0001d49e \U00020000\U0002a6d6", "\ue000 \U000f0000 \U0010fffd", "\ufffd\ufffd \ufffe \uffff",
    "\ud7ff \ue001", "\u202eright to left\u202c", "mixed \u0639\u0631\u0628\u064a and \u05e2\u05d1\u05e8\u05d9\u05ea and \u4e2d\u6587",
    "<|eot_id|>", "<|begin_of_text|>system<|end_of_text|>", "<s> </s> <unk> <0x0A> <0xFF>", "\u2581\u2581a \u2581b",
    "\u0120the\u010a", "call <tool> now", "<tool><tool>x", "<tool", "a" * 300, "ab" * 150, " " * 100, "\n" * 60,
    "abc" * 40 + " " + "xyz " * 40, "." * 120, "9" * 100, "\u4e00" * 90, "\U0001f600" * 40, "\u0301" * 30,
]


def words():
    return [word for line in SENTENCES for word in line.replace("\\n", "\n").replace("\\t", "\t").split(" ")]


def training_lines(rng):
    pool = words()
    lines = [line.replace("\\n", "\n").replace("\\t", "\t") for line in SENTENCES] * 8
    for _ in range(4000):
        lines.append(" ".join(rng.choice(pool) for _ in range(rng.randint(3, 14))))
    return lines


def strings(rng):
    """EXTRAS, the sentences, and mixtures of pieces of both, all different."""
    found = list(dict.fromkeys(EXTRAS + [line.replace("\\n", "\n") for line in SENTENCES]))
    pool = words()
    gaps = [" ", " ", " ", "", "  ", "\n", "\t", ", ", "-", "/", ". ", "'", "\u00a0", " \n\n", "\u200d", "..."]
    short = [extra for extra in EXTRAS if 0 < len(extra) < 24]
    while len(found) < N_STRINGS:
        parts = []
        for _ in range(rng.randint(1, 6)):
            kind = rng.random()
            if kind < 0.55:
                parts.append(rng.choice(pool))
            elif kind < 0.75:
                parts.append(rng.choice(short))
            elif kind < 0.9:
                parts.append(str(rng.randint(0, 10 ** rng.randint(1, 12))))
            else:
                parts.append(chr(rng.choice([rng.randint(0x21, 0x7e), rng.randint(0xa1, 0x24f),
                                             rng.randint(0x391, 0x3a1), rng.randint(0x4e00, 0x9fa5),
                                             rng.randint(0xac00, 0xd7a3)])))
            parts.append(rng.choice(gaps))
        text = "".join(parts)
        if text not in found:
            found.append(text)
    return found


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """(type id, bytes) of one value; lists are arrays of their first element's type."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, str):
        return 8, gguf_string(value)
    if isinstance(value[0], str):
        return 9, struct.pack("<IQ", 8, len(value)) + b"".join(map(gguf_string, value))
    if isinstance(value[0], float):
        return 9, struct.pack("<IQ", 6, len(value)) + struct.pack(f"<{len(value)}f", *value)
    return 9, struct.pack("<IQ", 5, len(value)) + struct.pack(f"<{len(value)}i", *value)


def write_gguf(name, keys):
    out = io.BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)))
    for key, value in keys.items():
        kind, data = gguf_value(value)
        out.write(gguf_string(key) + struct.pack("<I", kind) + data)
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(out.getvalue())


def pre_tokenizer(expressions):
    splits = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in expressions]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence(splits + [byte_level])


def make_bpe(lines):
    """One vocabulary, and for each pre-tokenizer the tokenizer that uses it."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizer([LLAMA_3])
    trained.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=N_BPE, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    path = os.path.join("/tmp", f"bn-bpe-{os.getpid()}.json")
    trained.save(path)
    with open(path, encoding="utf-8") as file:
        model = json.load(file)["model"]
    os.remove(path)
    merges = [tuple(merge) for merge in model["merges"]]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    types = [1] * len(tokens)
    user_id = len(tokens)
    tokens += [USER_DEFINED] + CONTROL
    types += [4] + [3] * len(CONTROL)
    write_gguf("vocabulary-bpe.gguf", {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in merges],
        "tokenizer.ggml.bos_token_id": user_id + 1,
        "tokenizer.ggml.eos_token_id": user_id + 2,
    })
    made = {}
    for name, expressions in PRE_TOKENIZERS.items():
        tokenizer = Tokenizer(models.BPE(vocab=model["vocab"], merges=merges,
                                         ignore_merges=name == "llama-bpe"))
        tokenizer.pre_tokenizer = pre_tokenizer(expressions)
        tokenizer.add_tokens([AddedToken(USER_DEFINED, normalized=False)])
        assert tokenizer.token_to_id(USER_DEFINED) == user_id
        made[name] = tokenizer
    return made


def make_spm(lines):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line.replace("\n", " ") for line in lines), model_writer=model,
        model_type="bpe", vocab_size=N_SPM, byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, character_coverage=0.998, num_threads=1,
        minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = range(processor.get_piece_size())

    def kind(i):
        return (2 if processor.is_unknown(i) else 3 if processor.is_control(i) else
                5 if processor.is_unused(i) else 6 if processor.is_byte(i) else 1)

    write_gguf("vocabulary-spm.gguf", {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [processor.id_to_piece(i) for i in ids],
        "tokenizer.ggml.scores": [float(processor.get_score(i)) for i in ids],
        "tokenizer.ggml.token_type": [kind(i) for i in ids],
        "tokenizer.ggml.bos_token_id": processor.bos_id(),
        "tokenizer.ggml.eos_token_id": processor.eos_id(),
        "tokenizer.ggml.unknown_token_id": processor.unk_id(),
    })
    return processor


def escaped(text):
    names = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    out = []
    for char in text:
        hidden = unicodedata.category(char)[0] in "CZM" and char != " "
        plain = "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8")) if hidden else char
        out.append(names.get(char, plain))
    return "".join(out)


def main():
    lines = training_lines(random.Random(1))
    bpe = make_bpe(lines)
    spm = make_spm(lines)
    with open(os.path.join(HERE, "tokenizer_ids.txt"), "w", encoding="utf-8", newline="\n") as out:
        for text in strings(random.Random(2)):
            out.write(escaped(text) + "|\n")
            rows = [bpe[name].encode(text, add_special_tokens=False).ids for name in PRE_TOKENIZERS]
            rows.append(spm.encode(text))
            for row in rows:
                out.write(" ".join(map(str, row)) + "\n")


if __name__ == "__main__":
    main()
