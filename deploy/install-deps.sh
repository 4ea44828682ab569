#!/usr/bin/env bash
# The one list of packages that BitNet Cluster is built and tested with.
#
#   ./deploy/install-deps.sh [build|test]...          installs what is missing (apt)
#   ./deploy/install-deps.sh --check [build|test]...  changes nothing; says what is missing, by its
#                                                     apt, dnf, Spack and conda names, and exits 1
#
# Without a group, both. Only apt needs root. What lies in a prefix outside /usr counts as there:
# set PATH and PKG_CONFIG_PATH, or CMAKE_PREFIX_PATH. When nothing is missing, nothing is done.
set -euo pipefail

# group | apt | dnf | Spack | conda | probe: tool:NAME, pc:PKG-CONFIG-MODULE or clang-rt
# "a/b" under apt means: a, or b where this release has no a.
clang_runtime=libclang-rt-14-dev/libclang-rt-dev/libclang-common-14-dev
packages=(
    "build build-essential     gcc                 gcc        c-compiler   tool:cc"
    "build cmake               cmake               cmake      cmake        tool:cmake"
    "build ninja-build         ninja-build         ninja      ninja        tool:ninja"
    "build pkg-config/pkgconf  pkgconf-pkg-config  pkgconf    pkg-config   tool:pkg-config"
    "build git                 git                 git        git          tool:git"
    "build libzmq3-dev         zeromq-devel        libzmq     zeromq       pc:libzmq"
    "build libprotobuf-c-dev   protobuf-c-devel    protobuf-c protobuf-c   pc:libprotobuf-c"
    "build protobuf-c-compiler protobuf-c-compiler protobuf-c protobuf-c   tool:protoc-c"
    "build protobuf-compiler   protobuf-compiler   protobuf   libprotobuf  tool:protoc"
    "build libopenmpi-dev      openmpi-devel       openmpi    openmpi      tool:mpicc"
    "build openmpi-bin         openmpi             openmpi    openmpi      tool:mpirun"
    "build libedit-dev         libedit-devel       libedit    libedit      pc:libedit"
    "build libjansson-dev      jansson-devel       jansson    jansson      pc:jansson"
    "build libxxhash-dev       xxhash-devel        xxhash     xxhash       pc:libxxhash"
    "build libutf8proc-dev     utf8proc-devel      utf8proc   libutf8proc  pc:libutf8proc"
    "build libcmocka-dev       libcmocka-devel     cmocka     cmocka       pc:cmocka"
    "test  clang               clang               llvm       clang        tool:clang"
    "test  $clang_runtime      compiler-rt         llvm       compiler-rt  clang-rt"
    "test  clang-format        clang-tools-extra   llvm       clang-format tool:clang-format"
    "test  python3             python3             python     python       tool:python3"
)

usage() { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
say() { printf 'install-deps: %s\n' "$*" >&2; }

# Tools and libraries in the prefixes that CMake is told about are found here, too.
IFS=':;' read -r -a prefixes <<<"${CMAKE_PREFIX_PATH:-}"
for prefix in "${prefixes[@]+"${prefixes[@]}"}"; do
    [ -n "$prefix" ] || continue
    PATH=$prefix/bin:$PATH
    for folder in lib lib64 share; do
        PKG_CONFIG_PATH=$prefix/$folder/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
    done
done
export PATH PKG_CONFIG_PATH

clang_has_runtime() {
    local runtime
    command -v clang >/dev/null || return 1
    for runtime in libclang_rt.asan.a "libclang_rt.asan-$(uname -m).a"; do
        [ ! -f "$(clang -print-file-name="$runtime" 2>/dev/null)" ] || return 0
        [ ! -f "$(clang -print-runtime-dir 2>/dev/null)/$runtime" ] || return 0
    done
    return 1
}

dpkg_has() {
    command -v dpkg-query >/dev/null || return 1
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# is_there APT-NAMES PROBE
is_there() {
    local name names
    IFS=/ read -r -a names <<<"$1"
    for name in "${names[@]}"; do
        if dpkg_has "$name"; then return 0; fi
    done
    case "$2" in
    tool:*) command -v "${2#tool:}" >/dev/null ;;
    pc:*) command -v pkg-config >/dev/null && pkg-config --exists "${2#pc:}" ;;
    clang-rt) clang_has_runtime ;;
    esac
}

# The first of "a/b/c" that this release's apt knows; the first of all when it knows none.
apt_name() {
    local name names
    IFS=/ read -r -a names <<<"$1"
    if command -v apt-cache >/dev/null; then
        for name in "${names[@]}"; do
            if apt-cache show "$name" >/dev/null 2>&1; then
                echo "$name"
                return
            fi
        done
    fi
    echo "${names[0]}"
}

is_check=false
groups=()
for argument in "$@"; do
    case "$argument" in
    --check) is_check=true ;;
    build | test) groups+=("$argument") ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        say "unknown argument '$argument' (--check, build or test)"
        exit 2
        ;;
    esac
done
[ ${#groups[@]} -gt 0 ] || groups=(build test)

missing=()
for package in "${packages[@]}"; do
    read -r group apt dnf spack conda probe <<<"$package"
    case " ${groups[*]} " in *" $group "*) ;; *) continue ;; esac
    if ! is_there "$apt" "$probe"; then missing+=("$apt $dnf $spack $conda"); fi
done

if [ ${#missing[@]} -eq 0 ]; then
    if $is_check; then say "nothing is missing"; fi
    exit 0
fi

# Each name once, in order.
names() {
    local column=$1 line fields seen=" " result=()
    for line in "${missing[@]}"; do
        read -r -a fields <<<"$line"
        case "$seen" in *" ${fields[column]} "*) continue ;; esac
        seen+="${fields[column]} "
        result+=("${fields[column]}")
    done
    echo "${result[*]}"
}

print_missing() {
    local line apt dnf spack conda
    printf '%-22s %-22s %-12s %s\n' apt dnf Spack conda
    for line in "${missing[@]}"; do
        read -r apt dnf spack conda <<<"$line"
        printf '%-22s %-22s %-12s %s\n' "${apt%%/*}" "$dnf" "$spack" "$conda"
    done
    echo
    echo "  apt-get install $(names 0 | sed 's,/[^ ]*,,g')"
    echo "  dnf install $(names 1)"
    echo "  spack install $(names 2)"
    echo "  conda install -c conda-forge $(names 3)"
}

if $is_check; then
    say "missing:"
    print_missing
    exit 1
fi

if ! command -v apt-get >/dev/null; then
    say "missing, and there is no apt-get here; install these by one of:"
    print_missing >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=(sudo)
    else
        say "missing; run this as root, or install into a prefix of your own:"
        print_missing >&2
        exit 1
    fi
fi

say "installing: $(names 0 | sed 's,/[^ ]*,,g')"
apt=("${as_root[@]+"${as_root[@]}"}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
"${apt[@]}" update
wanted=()
for package in $(names 0); do
    wanted+=("$(apt_name "$package")")
done
"${apt[@]}" install --no-install-recommends "${wanted[@]}"
