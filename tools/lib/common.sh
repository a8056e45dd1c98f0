# common.sh: what tools/try, tools/test and the test scripts share. Sourced; needs bash and $top.

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }

# packages_need PKG...: installs what is missing, as root or through sudo; says what to do otherwise.
packages_need() {
    local missing=() p
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    local as=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
            die "please install these packages first: apt-get install ${missing[*]}"
        as=(sudo -n)
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    { "${as[@]}" apt-get -q update &&
      "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"
    } >"$log" 2>&1 </dev/null || { cat "$log" >&2; die "apt-get cannot install ${missing[*]}"; }
    rm -f "$log"
}

BUILD_PACKAGES="gcc libc6-dev cmake ninja-build pkg-config libltdl-dev libinih-dev libuv1-dev"
GUEST_PACKAGES="cpio kmod e2fsprogs dpkg xz-utils"
TEST_PACKAGES="$BUILD_PACKAGES $GUEST_PACKAGES libcmocka-dev libzydis-dev clang-14 libclang-rt-14-dev llvm-14 acpica-tools binutils tmux python3 make lz4 zstd"

# build_preset NAME [CMAKE_ARGUMENT...]: configures and builds build/NAME.
build_preset() {
    mkdir -p "$top/build"
    (cd "$top" && cmake --preset "$@" && cmake --build --preset "$1") >"$top/build/$1.log" 2>&1 || { tail -40 "$top/build/$1.log" >&2; die "the $1 build failed: build/$1.log"; }
}
