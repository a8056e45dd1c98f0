# lib.sh: boots a Debian kernel with a script and judges how it ended. Sourced by the runners here.
set -u
. "$top/tools/lib/common.sh"
. "$top/tools/lib/debian.sh"
. "$top/tools/lib/initramfs.sh"
work=$top/build/boot
mobo=${MOBO:-$top/build/release/bin/mobo}
mkdir -p "$work"

# guest_make NAME SUITE ARCH META SCRIPT [FILE...]: sets KERNEL and INITRD.
guest_make() {
    local name=$1 suite=$2 arch=$3 meta=$4 script=$5
    shift 5
    # One preparation at a time: runners share the package folders.
    exec 8>"$work/lock"
    flock 8
    debian_kernel "$suite" "$arch" "$meta" && debian_busybox "$arch" || { flock -u 8; return 1; }
    local d
    d=$(mktemp -d)
    cp "$script" "$d/script"
    chmod +x "$d/script"
    INITRD=$work/$name.initrd
    initramfs_make "$INITRD" "$BUSYBOX" "$KROOT" "$KVER" "$d/script" "$@"
    local rc=$?
    rm -rf "$d"
    flock -u 8
    return $rc
}

# guest_run NAME SECONDS EXIT_CODE [OVERRIDE...]: runs the machine; true if it ended with the code.
# The console is in $work/NAME.log; LINE is set to the reason on failure.
guest_run() {
    local name=$1 limit=$2 want=$3 code
    shift 3
    disk_make "$work/$name.img" 32 || { LINE="no disk"; return 1; }
    timeout -k 10 "$limit" "$mobo" run "$top/machines/debian.ini" boot.kernel="$KERNEL" \
        boot.initrd="$INITRD" disk0.path="$work/$name.img" "$@" >"$work/$name.log" 2>"$work/$name.err" </dev/null
    code=$?
    sed -i 's/\r$//' "$work/$name.log"
    [ $code = "$want" ] && return 0
    LINE="exit code $code, not $want (124: no end in $limit s)"
    return 1
}

# guest_says NAME REGEX...: every expression matches a line of the console.
guest_says() {
    local name=$1 re
    shift
    for re; do
        grep -qE "$re" "$work/$name.log" || { LINE="the console has no line like: $re"; return 1; }
    done
}

failed() {
    echo "FAIL $1: $LINE"
    tail -n 25 "$work/$1.log" "$work/$1.err" 2>/dev/null
    rc=1
}
