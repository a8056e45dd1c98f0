# debian.sh: kernels and tools out of Debian's archive, unpacked, never installed. Works without root:
# apt keeps its lists in a folder of our own. Sourced after common.sh.

DEBIAN_CACHE=${DEBIAN_CACHE:-$top/build/debian}

# The archive that this machine's apt is configured with.
debian_uri() {
    local uri
    uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '/^URIs:/ && $2 ~ /\/debian\/?$/ {print $2; exit}')
    [ -n "$uri" ] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk '/^deb / {for (i = 2; i <= NF; i++) if ($i ~ /:\/\/.*\/debian\/?$/) {print $i; exit}}')
    [ -n "$uri" ] || die "no Debian archive in /etc/apt/sources.list*"
    echo "$uri"
}

# debian_apt SUITE ARCH COMMAND ARGS...: apt-get or apt-cache against one suite and architecture.
debian_apt() {
    local suite=$1 arch=$2 cmd=$3 d=$DEBIAN_CACHE/$1-$2
    shift 3
    mkdir -p "$d/lists/partial" "$d/cache/archives/partial" "$d/none"
    [ -f "$d/sources.list" ] ||
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_uri) $suite main" >"$d/sources.list"
    [ -f "$d/status" ] || : >"$d/status"
    "$cmd" -q -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Acquire::Languages=none \
        -o Dir::Etc::SourceList="$d/sources.list" -o Dir::Etc::SourceParts="$d/none" \
        -o Dir::State::Lists="$d/lists" -o Dir::State::status="$d/status" -o Dir::Cache="$d/cache" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# debian_update SUITE ARCH: fetches the lists once a day.
debian_update() {
    local d=$DEBIAN_CACHE/$1-$2
    [ -n "$(find "$d/updated" -mtime -1 2>/dev/null)" ] && return 0
    debian_apt "$1" "$2" apt-get update >"$DEBIAN_CACHE/apt.log" 2>&1 && : >"$d/updated" && return 0
    tail -5 "$DEBIAN_CACHE/apt.log" >&2
    return 1
}

# debian_get SUITE ARCH PKG: unpacks the package below the suite's root folder, once.
debian_get() {
    local suite=$1 arch=$2 pkg=$3 d=$DEBIAN_CACHE/$1-$2
    [ -f "$d/have-$pkg" ] && return 0
    (cd "$d" && rm -f "${pkg}"_*.deb && debian_apt "$suite" "$arch" apt-get download "$pkg" >>"$DEBIAN_CACHE/apt.log" 2>&1 &&
        mkdir -p root && dpkg -x "${pkg}"_*.deb root && rm -f "${pkg}"_*.deb && : >"have-$pkg")
}

# debian_kernel SUITE ARCH META: unpacks the kernel that META depends on and sets
#   KERNEL   the bzImage       KVER   its release       KROOT   the folder with lib/modules
debian_kernel() {
    local suite=$1 arch=$2 meta=$3 d=$DEBIAN_CACHE/$1-$2 image part
    mkdir -p "$DEBIAN_CACHE"
    debian_update "$suite" "$arch" || return 1
    image=$(debian_apt "$suite" "$arch" apt-cache depends "$meta" 2>/dev/null |
        awk '/Depends: linux-image-/ {print $2; exit}')
    [ -n "$image" ] || { say "no kernel $meta in $suite $arch"; return 1; }
    KVER=${image#linux-image-}
    KVER=${KVER%-unsigned}
    # Since 7.0 the image package is empty and depends on a binary and a module package.
    for part in "$image" $(debian_apt "$suite" "$arch" apt-cache depends "$image" |
        awk '/Depends: linux-(binary|modules)-/ {print $2}'); do
        debian_get "$suite" "$arch" "$part" || { say "apt cannot fetch $part from $suite"; return 1; }
    done
    KROOT=$d/root
    [ -d "$KROOT/lib/modules/$KVER" ] || KROOT=$d/root/usr
    KERNEL=$d/root/boot/vmlinuz-$KVER
    [ -f "$KERNEL" ] || KERNEL=$KROOT/lib/modules/$KVER/vmlinuz
    [ -f "$KERNEL" ] || { say "no kernel image in $image"; return 1; }
    # depmod wants BASE/lib/modules, whichever side of usr-merge the package is on.
    [ -f "$KROOT/lib/modules/$KVER/modules.dep" ] || depmod -b "$KROOT" "$KVER" 2>/dev/null
}

# debian_busybox ARCH: sets BUSYBOX to a static busybox of the oldest suite that all guests can run.
debian_busybox() {
    local arch=$1
    mkdir -p "$DEBIAN_CACHE"
    debian_update bookworm "$arch" && debian_get bookworm "$arch" busybox-static || return 1
    BUSYBOX=$DEBIAN_CACHE/bookworm-$arch/root/bin/busybox
    [ -f "$BUSYBOX" ] || BUSYBOX=$DEBIAN_CACHE/bookworm-$arch/root/usr/bin/busybox
    [ -f "$BUSYBOX" ]
}

# debian_module SUITE ARCH KVER SRCDIR OUT.ko: builds an out-of-tree module with the suite's headers,
# which are unpacked beside the kernel and told where they are.
debian_module() {
    local suite=$1 arch=$2 kver=$3 src=$4 out=$5 root=$DEBIAN_CACHE/$1-$2/root pkg w f
    for pkg in "linux-headers-$kver" $(debian_apt "$suite" "$arch" apt-cache depends "linux-headers-$kver" |
        awk '/Depends: linux-(headers|kbuild)-/ {print $2}'); do
        debian_get "$suite" "$arch" "$pkg" || return 1
    done
    for f in "$root/usr/src"/linux-headers-*/Makefile; do
        sed -i "s,include /usr/src,include $root/usr/src," "$f"
    done
    # The absolute links of the package point into the machine's own /usr: turn them to ours.
    find "$root/usr/src" "$root/lib/modules" -maxdepth 3 -type l -lname '/usr/*' | while read -r f; do
        ln -sfn "$root$(readlink "$f")" "$f"
    done
    w=$(mktemp -d) && cp "$src"/*.c "$src"/Makefile "$w" &&
        make -s -C "$root/usr/src/linux-headers-$kver" M="$w" modules >"$out.log" 2>&1 &&
        cp "$w"/*.ko "$out"
    local rc=$?
    rm -rf "$w"
    [ $rc = 0 ] || tail -20 "$out.log" >&2
    return $rc
}

# debian_tree SUITE ARCH ROOT PKG...: unpacks the packages and all they depend on below ROOT, once; the
# cache keeps nothing of it. ROOT becomes a usr-merged tree without configuration, good for running
# programs from. Prints nothing; the list of packages is in ROOT.packages.
debian_tree() {
    local suite=$1 arch=$2 root=$3 d=$DEBIAN_CACHE/$1-$2 deb part
    shift 3
    [ "$(cat "$root.wanted" 2>/dev/null)" = "$*" ] && return 0
    mkdir -p "$DEBIAN_CACHE"
    debian_update "$suite" "$arch" || return 1
    rm -rf "$root"
    mkdir -p "$root"
    # Nothing is installed in the eyes of this apt, so all dependencies are in the list.
    debian_apt "$suite" "$arch" apt-get install -y --no-install-recommends --print-uris "$@" 2>>"$DEBIAN_CACHE/apt.log" |
        awk '/^.http/ {print $2}' | sed 's/_.*//' | LC_ALL=C sort -u >"$root.packages"
    [ -s "$root.packages" ] || { say "apt finds no way to have $*"; return 1; }
    for part in bin sbin lib lib64; do
        mkdir -p "$root/usr/$part"
        ln -s "usr/$part" "$root/$part"
    done
    mkdir -p "$root.debs"
    (cd "$root.debs" && debian_apt "$suite" "$arch" apt-get download $(cat "$root.packages") >>"$DEBIAN_CACHE/apt.log" 2>&1) ||
        { say "apt cannot fetch the packages for $root"; return 1; }
    for deb in "$root.debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$root" || return 1
    done
    rm -rf "$root.debs"
    echo "$*" >"$root.wanted"
}
