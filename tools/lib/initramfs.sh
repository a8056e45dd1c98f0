# initramfs.sh: a small initramfs of busybox and the modules a mobo guest needs. Sourced after
# common.sh.

INITRAMFS_MODULES="virtio_mmio virtio_blk virtio_console virtio_rng ext4"

# initramfs_make OUT BUSYBOX KROOT KVER [FILE...]: FILEs go to / of the image.
initramfs_make() {
    local out=$1 busybox=$2 kroot=$3 kver=$4 d m f
    shift 4
    d=$(mktemp -d) || return 1
    mkdir -p "$d"/{bin,dev,proc,sys,mnt,tmp,etc,root,modules}
    cp "$busybox" "$d/bin/busybox"
    ln -s busybox "$d/bin/sh"
    : >"$d/modules/order"
    for m in $INITRAMFS_MODULES; do
        modprobe -d "$kroot" -S "$kver" --show-depends "$m" 2>/dev/null |
            awk '$1 == "insmod" {print $2}' | while read -r f; do
            grep -qxF "$(basename "$f")" "$d/modules/order" && continue
            cp "$f" "$d/modules/"
            basename "$f" >>"$d/modules/order"
        done
    done
    # Kernels since 6.x ship compressed modules; busybox's insmod wants them plain.
    for f in "$d"/modules/*.xz; do
        [ -e "$f" ] && xz -d "$f"
    done
    sed -i 's/\.xz$//' "$d/modules/order"
    cp "$top/tools/lib/guest-init" "$d/init"
    chmod +x "$d/init"
    for f in "$@"; do
        cp "$f" "$d/"
    done
    (cd "$d" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) | gzip -1 >"$out.new" && mv "$out.new" "$out"
    local rc=$?
    rm -rf "$d"
    return $rc
}

# disk_make OUT MiB: a small ext4 disk with one file on it.
disk_make() {
    local d
    d=$(mktemp -d) || return 1
    echo "This disk is $(basename "$1")." >"$d/hello.txt"
    rm -f "$1"
    truncate -s "$2M" "$1" && mke2fs -q -t ext4 -L mobo -d "$d" "$1"
    local rc=$?
    rm -rf "$d"
    return $rc
}
