#!/usr/bin/env python3
"""The style as a test: what is not checked will drift.

    tidy.py                     the text rules on the whole tree
    tidy.py --build build/dev   also headers, symbols and sources, as that build made them
    tidy.py --self-test         every rule must report its fixture, and a clean tree nothing

Exit 0 when clean, 1 with one line per violation. A function longer than the limit because it is a
table carries the comment `tidy: table`; a long generated list in a file, `tidy: long file`.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800

# folder: what it may include (docs/ARCHITECTURE.md holds the same table).
INCLUDES = {
    "common": {"common"},
    "proto": {"common", "proto"},
    "kernels": {"kernels"},
    "model": {"common", "kernels", "model"},
    "worker": {"common", "proto", "kernels", "model", "worker"},
    "coordinator": {"common", "proto", "model", "coordinator"},
    "tests": {"common", "proto", "kernels", "model", "worker", "coordinator", "tests"},
}
INCLUDES_BESIDES = {
    "kernels": {"common/status.h"},
    "coordinator": {"kernels/math.h"},  # the sampler's exp and log: the same bits everywhere
}
CODE_FOLDERS = [folder for folder in INCLUDES if folder != "tests"]

# A foreign header: the files that may include it. Tests may include what they test against.
QUARANTINE = [
    (r"zmq.*\.h", r"proto/channel\.c|worker/link_zmq\.c"),
    (r"(.*/)?[\w.]*\.pb-c\.h|protobuf-c/.*", r"proto/wire\.c"),
    (r"mpi\.h", r"worker/link_mpi\.c"),
    (r"nccl.*\.h", r"worker/link_nccl\.c"),
    (r"(cuda|cublas)\w*\.h", r"worker/device_cuda\.c|kernels/cuda/.*"),
    (r"jansson\.h", r"common/json\.c"),
    (r"xxh(ash|3)\.h", r"common/hash\.c"),
    (r"(histedit|editline/.*|readline/.*)(\.h)?", r"coordinator/prompt\.c"),
    (r"utf8proc\.h", r"coordinator/unicode\.c"),
    (r"(\w+intrin|arm_\w+)\.h", r"kernels/(avx2|avx512|neon|sve|float_env)[^/]*\.[ch]"),
    (r"curl/.*|microhttpd\.h", r"common/http\.c"),
]
GENERATED_HEADERS = re.compile(r"bn_commit\.h|(.*/)?\w+\.pb-c\.h")

# Files that are or print a command line's output.
CLI = r".*/main\.c|.*/\w*cli\w*\.c|common/options\w*\.c|.*/command_\w+\.c|coordinator/prompt\.c|model/tool\w*\.c"
CALL = r"(?<![\w.>]){}\s*\("
# (call, where it is at home, what to use)
BANNED = [
    (CALL.format("(?:malloc|calloc|realloc|free|strdup|strndup|v?asprintf|aligned_alloc|posix_memalign)"),
     r"common/alloc\.c", "bn_alloc and its kin"),
    (CALL.format("alloca"), r"", "an arena"),
    (CALL.format("(?:strcpy|stpcpy|strcat|v?sprintf|gets)"), r"", "snprintf or memcpy"),
    (CALL.format("(?:atoi|atol|atoll|atof)"), r"", "strtoull with checks"),
    (CALL.format("(?:rand|srand|random|srandom|drand48)"), r"", "a counter-based generator or bn_hash_random"),
    (CALL.format("(?:strtok|gmtime|localtime|asctime|ctime)"), r"", "the _r form"),
    (CALL.format("assert"), r"", "BN_ASSERT"),
    (CALL.format("(?:exit|quick_exit)"), CLI, "a returned bn_status"),
    # A signal handler and a forked child have no caller to return a status to.
    (CALL.format("_exit"), CLI + r"|worker/map_guard\.c|coordinator/local\.c", "a returned bn_status"),
    (CALL.format("abort"), r"common/(status|alloc)\.c", "BN_ASSERT"),
    (CALL.format("(?:printf|vprintf|puts|putchar)"), CLI, "bn_log, or a file of the command line"),
]
FLOAT_LIBRARY = {name + suffix for suffix in ("", "f", "l") for name in (
    "exp exp2 exp10 expm1 log log2 log10 log1p pow sin cos tan sincos sinh cosh tanh asin acos atan "
    "atan2 cbrt hypot erf tgamma lgamma fmod remainder").split()}

TEXT_SUFFIXES = {".c", ".h", ".cu", ".py", ".sh", ".cmake", ".proto", ".supp"}


class Report:
    def __init__(self):
        self.lines = []

    def add(self, path, line, rule, message):
        self.lines.append((str(path), line, rule, message))

    def rules(self):
        return {rule for _, _, rule, _ in self.lines}

    def show(self):
        for path, line, rule, message in sorted(set(self.lines)):
            print(f"{path}:{line}: {rule}: {message}")


def code_only(text):
    """The C text with comments and the insides of literals blanked, line for line."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        kept = re.sub(r"[^\n]", " ", match.group(0))
        quote = match.group(0)[0]
        return kept if quote == "/" else quote + kept[1:-1] + quote

    return pattern.sub(blank, text)


def functions(lines):
    """(first, last) line indices of each body: braces in the first column, as clang-format sets them."""
    begin = None
    for i, line in enumerate(lines):
        if line.startswith("{"):
            begin = i
        elif line.startswith("}") and begin is not None:
            yield begin, i
            begin = None


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.texts = {}
        for folder in [*INCLUDES, "cmake", "deploy", ".ci"]:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    self.read(path)
        for name in ("CMakeLists.txt",):
            if (self.root / name).is_file():
                self.read(self.root / name)

    def read(self, path):
        name = path.relative_to(self.root).as_posix()
        is_script = path.suffix == "" and path.stat().st_size < 1 << 20 and \
            path.read_bytes()[:2] == b"#!"
        if path.suffix in TEXT_SUFFIXES or path.name == "CMakeLists.txt" or is_script:
            self.texts[name] = path.read_text(encoding="utf-8", errors="replace")

    def named(self, pattern):
        return {name: text for name, text in self.texts.items() if re.fullmatch(pattern, name)}

    def c_files(self):
        return self.named(r"(%s)/.*\.[ch]" % "|".join(INCLUDES))

    def scripts(self):
        return {name: text for name, text in self.texts.items()
                if name.endswith(".sh") or text.startswith(("#!/usr/bin/env bash", "#!/bin/sh"))}


# ---- rules on text ----

def check_lines(tree, report):
    for name, text in tree.texts.items():
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > COLUMNS_MAX and not name.endswith(".py"):
                report.add(name, number, "columns", f"{len(line)} columns, {COLUMNS_MAX} at most")
            if "\t" in line:
                report.add(name, number, "tab", "tab; use spaces")
            if line != line.rstrip():
                report.add(name, number, "trailing", "space at the end of the line")
        if text and not text.endswith("\n"):
            report.add(name, text.count("\n") + 1, "last-line", "no newline at the end of the file")


def check_leftovers(tree, report):
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    for name, text in tree.texts.items():
        for number, line in enumerate(text.split("\n"), 1):
            found = words.search(line)
            if found:
                report.add(name, number, "leftover", f"{found.group(1)}: finish it or open an issue")
            if name.endswith((".c", ".h")) and re.match(r"\s*#\s*if\s+0\b", line):
                report.add(name, number, "leftover", "#if 0: delete dead code")


def check_includes(tree, report):
    for name, text in tree.c_files().items():
        folder = name.split("/")[0]
        for number, line in enumerate(text.split("\n"), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not found:
                continue
            bracket, target = found.groups()
            for foreign, homes in QUARANTINE:
                if folder != "tests" and re.fullmatch(foreign, target) and \
                        not re.fullmatch(homes, name):
                    report.add(name, number, "quarantine", f"{target} belongs in {homes} only")
            if bracket == "<" or GENERATED_HEADERS.fullmatch(target):
                continue
            if "/" not in target or target.startswith("."):
                report.add(name, number, "include-root", f"write {target} from the root")
            elif target.split("/")[0] not in INCLUDES[folder] and \
                    target not in INCLUDES_BESIDES.get(folder, ()):
                report.add(name, number, "include-table", f"{folder}/ may not include {target}")


def check_guards(tree, report):
    for name, text in tree.c_files().items():
        if not name.endswith(".h"):
            continue
        guard = "BN_" + re.sub(r"[^A-Z0-9]", "_", name.upper()[:-2]) + "_H"
        lines = code_only(text).split("\n")
        directives = [line.strip() for line in lines if line.strip()]
        if directives[:2] != [f"#ifndef {guard}", f"#define {guard}"] or directives[-1] != "#endif":
            report.add(name, 1, "guard", f"the guard must be {guard}, around everything")


def check_shape(tree, report):
    for name, text in tree.c_files().items():
        raw = text.split("\n")
        lines = code_only(text).split("\n")
        n_lines = len(raw) - 1
        if n_lines > FILE_LINES_MAX and "tidy: long file" not in text:
            report.add(name, n_lines, "file-length", f"{n_lines} lines, {FILE_LINES_MAX} at most")
        is_helper = name.startswith("tests/") and name.endswith(".c") and "_test." not in name
        if not re.match(r"/\*|//", text) and not is_helper:
            report.add(name, 1, "header-comment", "begin with what the file is and why this way")
        for begin, end in functions(lines):
            length = end - begin - 1
            around = "\n".join(raw[max(0, begin - 12):end])
            if length > FUNCTION_LINES_MAX and "tidy: table" not in around:
                report.add(name, begin + 1, "function-length",
                           f"{length} lines, {FUNCTION_LINES_MAX} at most")
            if name in ("kernels/kernels.c", "worker/link_table.c"):
                continue
            for i in range(begin, end):
                if re.match(r"\s*#\s*(if|ifdef|ifndef|elif|else)\b", lines[i]):
                    report.add(name, i + 1, "if-in-function", "no #if inside a function body")


def check_banned(tree, report):
    for name, text in tree.c_files().items():
        if name.startswith("tests/"):
            continue
        for number, line in enumerate(code_only(text).split("\n"), 1):
            for call, home, instead in BANNED:
                found = re.search(call, line)
                if found and not (home and re.fullmatch(home, name)):
                    report.add(name, number, "banned",
                               f"{found.group(0).rstrip('( ')}: use {instead}")


def check_flags(tree, report):
    for name, text in tree.named(r"(.*/)?(CMakeLists\.txt|[^/]*\.cmake)").items():
        for number, line in enumerate(text.split("\n"), 1):
            line = line.split("#")[0]
            if re.search(r"-ffast-math|-Ofast|-funsafe-math", line):
                report.add(name, number, "flags", "no relaxed arithmetic anywhere")
            if re.search(r"-m(arch|avx|fma|bmi|sse|tune)", line) and \
                    not name.startswith(("kernels/", "tests/kernels/")):
                report.add(name, number, "flags", "processor flags belong to kernels/ only")


def check_listed(tree, report, compiled=()):
    for name in tree.c_files():
        if not name.endswith(".c") or name in compiled:
            continue
        path = pathlib.PurePosixPath(name)
        stem = path.stem[:-5] if path.stem.endswith("_test") else path.stem
        is_listed = False
        for folder in path.parents:
            text = tree.texts.get((folder / "CMakeLists.txt").as_posix(), "")
            below = path.relative_to(folder).as_posix()
            in_loop = "${" in text and re.search(rf"(?<![\w./]){re.escape(stem)}(?![\w.])", text)
            if re.search(rf"(?<![\w./]){re.escape(below)}(?![\w.])", text) or in_loop:
                is_listed = True
        if not is_listed:
            report.add(name, 1, "listed", "no CMakeLists.txt names this file")


# ---- rules that need tools or a build ----

def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace", check=False, **options)


def extra_cflags():
    if not shutil.which("pkg-config"):
        return []
    result = run(["pkg-config", "--cflags", "cmocka"])
    return result.stdout.split() if result.returncode == 0 else []


def check_headers(tree, report, compiler):
    flags = ["-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
             "-fsyntax-only", "-I", str(tree.root), *extra_cflags()]

    def compile_one(name):
        isa = []
        if re.match(r"kernels/(avx2|avx512)", name) and os.uname().machine == "x86_64":
            isa = ["-mavx2", "-mfma", "-mf16c"]
            if "avx512" in name:
                isa += ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"]
        elif re.match(r"kernels/(avx|sse|neon|sve)", name):
            return name, None
        # Included by a file of its own, so that nothing is said about a header as the main file.
        return name, run([compiler, *flags, *isa, "-x", "c", "-"], input=f'#include "{name}"\n')

    headers = [name for name in tree.c_files() if name.endswith(".h")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, result in pool.map(compile_one, headers):
            if result is not None and result.returncode != 0:
                first = next((line for line in result.stdout.split("\n") if "error" in line), "")
                report.add(name, 1, "self-contained", first.strip()[:160])


def symbol_lines(archive, option):
    member = ""
    for line in run(["nm", option, str(archive)]).stdout.split("\n"):
        if line.endswith(":"):
            member = line[:-1]
        fields = line.split()
        if len(fields) >= 2 and not line.endswith(":"):
            yield member, fields[-2], fields[-1]


def check_symbols(build, report):
    for folder in CODE_FOLDERS:
        for archive in sorted((pathlib.Path(build) / folder).glob("libbn_*.a")):
            for member, kind, symbol in symbol_lines(archive, "-g"):
                generated = member.endswith(".pb-c.c.o") and symbol.startswith("bitnet__")
                is_own = symbol.startswith(("bn_", "_")) or generated
                if kind in "TDBRCVWG" and not is_own:
                    report.add(f"{archive.name}({member})", 1, "prefix",
                               f"{symbol}: public names begin with bn_")
                is_exact = folder == "kernels" or member.startswith("sampler")
                if kind == "U" and is_exact and symbol in FLOAT_LIBRARY:
                    report.add(f"{archive.name}({member})", 1, "libm",
                               f"{symbol} differs between libraries: use kernels/math.h")


def check_format(tree, report):
    tool = next((t for t in ("clang-format-14", "clang-format") if shutil.which(t)), None)
    if tool is None or " 14." not in run([tool, "--version"]).stdout:
        print("tidy: clang-format 14 is not here; the format was not checked")
        return
    files = list(tree.c_files())
    result = run([tool, "--dry-run", *files], cwd=tree.root) if files else None
    seen = set()
    for line in result.stdout.split("\n") if result else []:
        found = re.match(r"(.+?):(\d+):\d+: warning: .*\[-Wclang-format-violations\]", line)
        if found and found.group(1) not in seen:
            seen.add(found.group(1))
            report.add(found.group(1), int(found.group(2)), "format", "run clang-format -i")


def check_shell(tree, report):
    if not shutil.which("shellcheck"):
        print("tidy: shellcheck is not here; the scripts were not checked")
        return
    scripts = list(tree.scripts())
    if not scripts:
        return
    result = run(["shellcheck", "--severity=warning", "--format=gcc", *scripts], cwd=tree.root)
    for line in result.stdout.split("\n"):
        found = re.match(r"(.+?):(\d+):\d+: (.*)", line)
        if found:
            report.add(found.group(1), int(found.group(2)), "shell", found.group(3))


TEXT_RULES = [check_lines, check_leftovers, check_includes, check_guards, check_shape, check_banned,
              check_flags]


def check_tree(root, build=None, compiler="cc"):
    report = Report()
    tree = Tree(root)
    compiled = set()
    if build:
        for entry in json.loads((pathlib.Path(build) / "compile_commands.json").read_text()):
            path = pathlib.Path(entry["directory"], entry["file"])
            if path.is_relative_to(tree.root):
                compiled.add(path.relative_to(tree.root).as_posix())
    for rule in TEXT_RULES:
        rule(tree, report)
    check_listed(tree, report, compiled)
    check_format(tree, report)
    check_shell(tree, report)
    check_headers(tree, report, compiler)
    if build:
        check_symbols(build, report)
    return report, len(tree.texts)


# ---- the rules themselves, tested ----

CLEAN = {
    "common/CMakeLists.txt": "bn_library(bn_common SOURCES good.c)\n",
    "common/good.h": "/* good.h */\n#ifndef BN_COMMON_GOOD_H\n#define BN_COMMON_GOOD_H\n\n"
                     "int bn_good(void);\n\n#endif\n",
    "common/good.c": '/* good.c: says "malloc(" and free() in words only. */\n'
                     '#include "common/good.h"\n\n#include <string.h>\n\n'
                     'int bn_good(void)\n{\n    return (int)strlen("exit( printf(");\n}\n',
    "tests/common/CMakeLists.txt": "foreach(noun good)\n  x(${noun}_test.c)\nendforeach()\n",
    "tests/common/good_test.c": '/* good_test.c */\n#include "common/good.h"\n#include <stdlib.h>\n\n'
                                'int main(void)\n{\n    exit(bn_good());\n}\n',
}


def in_function(statement):
    return f"/* x */\nvoid bn_x(void)\n{{\n    {statement}\n}}\n"


# (rule that must report, file, text)
FIXTURES = [
    ("columns", "common/x.c", "/* " + "x" * 100 + " */\n"),
    ("tab", "common/x.c", "/* x */\nint bn_x;\t\n"),
    ("trailing", "deploy/x.sh", "#!/usr/bin/env bash\necho x \n"),
    ("last-line", "common/x.c", "/* x */\nint bn_x;"),
    ("leftover", "common/x.c", "/* TO" "DO: later */\n"),
    ("leftover", "cmake/x.cmake", "# FIX" "ME\n"),
    ("leftover", "common/x.c", "/* x */\n#if 0\n#endif\n"),
    ("include-table", "common/x.c", '/* x */\n#include "worker/kv_cache.h"\n'),
    ("include-table", "kernels/x.c", '/* x */\n#include "common/log.h"\n'),
    ("include-table", "worker/x.c", '/* x */\n#include "coordinator/sampler.h"\n'),
    ("include-table", "coordinator/x.c", '/* x */\n#include "kernels/kernels.h"\n'),
    ("include-root", "worker/x.c", '/* x */\n#include "kv_cache.h"\n'),
    ("include-root", "worker/x.c", '/* x */\n#include "../common/log.h"\n'),
    ("quarantine", "worker/forward.c", "/* x */\n#include <mpi.h>\n"),
    ("quarantine", "worker/link_mpi.c", "/* x */\n#include <zmq.h>\n"),
    ("quarantine", "proto/step.c", '/* x */\n#include "bitnet.pb-c.h"\n'),
    ("quarantine", "kernels/scalar.c", "/* x */\n#include <immintrin.h>\n"),
    ("quarantine", "model/x.c", "/* x */\n#include <jansson.h>\n"),
    ("quarantine", "model/x.c", "/* x */\n#include <xxhash.h>\n"),
    ("quarantine", "coordinator/cli.c", "/* x */\n#include <histedit.h>\n"),
    ("quarantine", "coordinator/cli.c", "/* x */\n#include <utf8proc.h>\n"),
    ("guard", "common/x.h", "/* x */\n#ifndef X_H\n#define X_H\n#endif\n"),
    ("guard", "common/x.h", "/* x */\n#pragma once\nint bn_x;\n"),
    ("file-length", "common/x.c", "/* x */\n" + "\n" * 801),
    ("header-comment", "common/x.c", "int bn_x;\n"),
    ("function-length", "common/x.c", in_function("\n    x();" * 71)),
    ("if-in-function", "common/x.c", in_function("x();\n#ifdef Y\n    y();\n#endif")),
    ("banned", "common/x.c", in_function("char *y = malloc(3);")),
    ("banned", "common/x.c", in_function("free (y);")),
    ("banned", "common/x.c", in_function("strcpy(y, z);")),
    ("banned", "common/x.c", in_function("sprintf(y, z);")),
    ("banned", "common/x.c", in_function("int y = atoi(z);")),
    ("banned", "common/x.c", in_function("int y = rand();")),
    ("banned", "common/x.c", in_function("assert(y);")),
    ("banned", "worker/x.c", in_function("exit(1);")),
    ("banned", "worker/x.c", in_function("abort();")),
    ("banned", "worker/x.c", in_function('printf("x");')),
    ("flags", "worker/CMakeLists.txt", "set(x -march=native)\n"),
    ("flags", "kernels/CMakeLists.txt", "set(x -ffast-math)\n"),
    ("listed", "common/forgotten.c", "/* x */\n"),
    ("self-contained", "common/x.h", "/* x */\n#ifndef BN_COMMON_X_H\n#define BN_COMMON_X_H\n"
                                     "void bn_x(size_t n);\n#endif\n"),
]
ALLOWED = [
    ("worker/link_mpi.c", "/* x */\n#include <mpi.h>\n"),
    ("common/alloc.c", in_function("free(y);")),
    ("worker/main.c", in_function("exit(1);")),
    ("common/x.c", in_function("y->free(z);\n    y.exit(1);")),
    ("common/x.c", in_function("/* tidy: table */" + "\n    x();" * 71)),
    ("common/x.c", in_function("x();" + "\n    x();" * 60)),
    ("coordinator/sampler.c", '/* x */\n#include "kernels/math.h"\n'),
    ("kernels/CMakeLists.txt", "set(x -mavx2)\n"),
]


def text_report(files, with_headers=False):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        report = Report()
        tree = Tree(root)
        for rule in [*TEXT_RULES, check_listed]:
            rule(tree, report)
        if with_headers:
            check_headers(tree, report, "cc")
        return report


def check_symbols_self_test():
    """Two libraries: one with a bare name and one of kernels/ that calls libm."""
    with tempfile.TemporaryDirectory() as root:
        build = pathlib.Path(root)
        sources = {"worker": "int bn_good; int bare;", "kernels":
                   "float expf(float); float bn_k(float x) { return expf(x); }"}
        for folder, text in sources.items():
            (build / folder).mkdir()
            source = build / folder / "x.c"
            source.write_text(text)
            run(["cc", "-c", str(source), "-o", str(source) + ".o"], cwd=root)
            run(["ar", "rc", str(build / folder / f"libbn_{folder}.a"), str(source) + ".o"])
        report = Report()
        check_symbols(build, report)
        return {message.split(":")[0].split(" ")[0] for _, _, _, message in report.lines}


def self_test():
    problems = []
    clean = text_report(CLEAN, with_headers=True)
    if clean.lines:
        problems.append(f"the clean tree was reported: {clean.lines}")
    for rule, name, text in FIXTURES:
        rules = text_report({**CLEAN, name: text}, rule == "self-contained").rules()
        if rule not in rules:
            problems.append(f"{name} {text[:60]!r}: expected {rule}, got {sorted(rules)}")
    for name, text in ALLOWED:
        rules = text_report({**CLEAN, name: text}).rules() - {"listed"}
        if rules:
            problems.append(f"{name} {text[:60]!r}: allowed, but reported {sorted(rules)}")
    if check_symbols_self_test() != {"bare", "expf"}:
        problems.append(f"symbols: {check_symbols_self_test()}")
    for problem in problems:
        print(problem)
    print(f"{len(FIXTURES)} violations, {len(ALLOWED) + 1} allowed cases, {len(problems)} wrong")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--build", help="a build folder with compile_commands.json")
    parser.add_argument("--compiler", default="cc")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    report, n_files = check_tree(pathlib.Path(arguments.root).resolve(), arguments.build,
                                 arguments.compiler)
    report.show()
    print(f"{n_files} files, {len(set(report.lines))} violations")
    return 1 if report.lines else 0


if __name__ == "__main__":
    sys.exit(main())
