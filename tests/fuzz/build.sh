#!/bin/sh
# build.sh OUTDIR: builds each tests/fuzz/NAME.c as OUTDIR/NAME with libFuzzer, ASan and UBSan.
# Comment lines at the top of a target name what it needs, all seen from the top of the tree:
#   // sources: core/ini.c ...
#   // includes: plugins/lib ...   (beside plugin-api and core)
#   // libs: -linih ...
set -eu
out=${1:?usage: build.sh OUTDIR}
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$top"
field() { sed -n "s|^// $1: *||p" "$2"; }
for target in tests/fuzz/*.c; do
    includes="-Iplugin-api -Icore"
    for dir in $(field includes "$target"); do includes="$includes -I$dir"; done
    ${FUZZ_CC:-clang-14} -std=gnu17 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Werror \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
        $includes -o "$out/$(basename "$target" .c)" \
        "$target" $(field sources "$target") $(field libs "$target")
    echo "built $(basename "$target" .c)"
done
