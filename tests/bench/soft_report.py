"""The table of tests/bench/soft: medians, minima, ratios and geometric means from collected figures.

Knows the groups and which tests are in them; runs nothing but the list of tests.
"""
import math
import os
import platform
import statistics
import subprocess

GROUPS = ["boot", "integer", "fp", "language", "os", "shell", "memory", "smp"]
TITLES = {"boot": "Boot", "integer": "Integer", "fp": "FP and SIMD", "language": "Languages", "os": "OS rates",
          "shell": "Shell and build", "memory": "Memory", "smp": "Two CPUs"}
BOOT_TESTS = [f"boot-{what}-{cpus}cpu" for cpus in (1, 2) for what in ("prompt", "off", "cputime")]
_programs = set()


def tests_load(tree):
    """[(group, test)] in the order in which the guest runs them."""
    bench = os.path.join(tree, "bench")
    said = subprocess.run([os.path.join(bench, "bench"), "list", "dir=" + bench], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    tests = [("boot", t) for t in BOOT_TESTS]
    tests += [tuple(line.split()[1:3]) for line in said.splitlines() if line.startswith("L ")]
    with open(os.path.join(bench, "programs"), encoding="ascii") as f:
        _programs.update(line.split()[1] for line in f if line.strip() and line[0] != "#")
    return tests


def merge(results, fresh):
    """Takes over what was measured now, test by test, and keeps the rest."""
    for name, data in fresh.items():
        old = results.setdefault(name, {"values": {}, "checks": {}, "failed": {}})
        for test in list(data["values"]) + list(data["failed"]):
            for part in ("values", "checks", "failed"):
                old[part].pop(test, None)
        for part in ("values", "checks", "failed"):
            old[part].update(data[part])
        old.pop("clock", None)
        if "clock" in data:
            old["clock"] = data["clock"]


def about(o, guest, former):
    """What the figures depend on."""
    def first_line(command):
        try:
            return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.split("\n")[0]
        except OSError:
            return "none"

    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    now = {"cpu": f"{cpu[0]}, {len(cpu)} CPUs", "kernel": platform.release(), "guest": guest["KVER"]}
    if not o.report:
        if not o.only or "tcg" in o.only:
            now["qemu"] = first_line([o.qemu, "--version"]) if o.qemu else "none"
        if not o.only or "mobo" in o.only:
            now["mobo"] = " ".join([first_line([o.mobo, "--version"])] + o.override)
    return {**former, **now}


def seconds(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def figures(data, test):
    values = data and data["values"].get(test)
    return (statistics.median(values), min(values)) if values else None


def best_tcg(results, test):
    """TCG at its best setting for this test: (median, min, setting)."""
    have = [(figures(d, test), name) for name, d in results.items() if name.startswith("tcg")]
    have = [(f, name) for f, name in have if f]
    return min(have)[0] if have else None


def geomean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def cell(value):
    return f"{seconds(value[0])} ({seconds(value[1])})" if value else "-"


def ratio(a, b):
    """The ratio of medians and the ratio of minima."""
    return (a[0] / b[0], a[1] / b[1]) if a and b else None


def ratio_cell(r):
    return f"{r[0]:.2f} ({r[1]:.2f})" if r else "-"


def table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]

    def line(row):
        return "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"

    rule = "|" + "|".join(("-" * (w + 1) + ("-" if i == 0 else ":")) for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule] + [line(r) for r in rows[1:]])


class Summary:
    """Geometric means over sets of tests."""

    HEAD = ["group", "tests", "TCG/mobo", "mobo/native", "TCG/native", "below TCG"]

    def __init__(self):
        self.rows = [self.HEAD]

    def add(self, title, names, results):
        per = [(figures(results.get("native"), t), best_tcg(results, t), figures(results.get("mobo"), t)) for t in names]
        gain = [ratio(t, m) for _, t, m in per if t and m]
        own = [ratio(m, n) for n, _, m in per if n and m]
        slow = [ratio(t, n) for n, t, _ in per if n and t]

        def means(ratios):
            return ratio_cell(tuple(geomean([r[i] for r in ratios]) for i in (0, 1))) if ratios else "-"

        below = [t for t, (_, tcg, mobo) in zip(names, per) if tcg and mobo and tcg[0] < mobo[0]]
        self.rows.append([title, f"{len(gain)} of {len(names)}", means(gain), means(own), means(slow),
                          str(len(below)) if gain else "-"])


def wrong_results(results, tests):
    out = []
    for _, test in tests:
        checks = {name: d["checks"][test] for name, d in results.items() if test in d["checks"]}
        right = checks.get("native") or checks.get("tcg-noerms") or next(iter(checks.values()), None)
        out += [f"{test}: {name} computes {c}, not {right}" for name, c in checks.items() if c != right]
    return out


def scaling(results):
    """How much faster two CPUs are than one."""
    rows = []
    for name, data in sorted(results.items()):
        one, two = figures(data, "make-j1"), figures(data, "make-j2")
        cpu, both = figures(data, "sysbench-cpu"), figures(data, "sysbench-cpu-2")
        if (one and two) or (cpu and both):
            rows.append([name, ratio_cell(ratio(one, two)), ratio_cell(ratio((2 * cpu[0], 2 * cpu[1]), both) if cpu and both else None)])
    return [["machine", "make -j1 / -j2", "sysbench cpu, 1 / 2 threads"]] + rows if rows else []


def notes(results, tests):
    order = {t: i for i, (_, t) in enumerate(tests)}
    out = []
    for name, data in sorted(results.items()):
        for test, why in sorted(data["failed"].items(), key=lambda p: order.get(p[0], 0)):
            out.append(f"* {name} gave no figure for {test}: {why}")
        if "clock" in data:
            out.append(f"* {name}: {data['clock']}")
    return out


def report(info, results, tests):
    """The text and the list of wrong results."""
    parts = [f"Host: {info['cpu']}, Linux {info['kernel']}. Guest kernel: {info['guest']}. {info.get('qemu', 'no QEMU')}. "
             f"{info.get('mobo', 'no mobo')}. {info.get('rounds', '?')} rounds.",
             "Times are medians (minima) per operation. TCG is the better of its settings, test by test. TCG/mobo says how "
             "many times faster than TCG mobo is, mobo/native how many times slower than the host."]
    summary = Summary()
    details = []
    for group in GROUPS:
        names = [t for g, t in tests if g == group and any(t in d["values"] or t in d["failed"] for d in results.values())]
        if not names:
            continue
        counted = [t for t in names if not t.startswith("boot-cputime")]
        summary.add(TITLES[group], counted, results)
        micro = [t for t in counted if t not in _programs]
        if group in ("integer", "smp") and 0 < len(micro) < len(counted):
            summary.add(TITLES[group] + ", own loops", micro, results)
        rows = [["test", "native", "TCG", "mobo", "TCG/mobo", "mobo/native"]]
        for t in names:
            native, tcg, mobo = figures(results.get("native"), t), best_tcg(results, t), figures(results.get("mobo"), t)
            rows.append([t, cell(native), cell(tcg), cell(mobo), ratio_cell(ratio(tcg, mobo)), ratio_cell(ratio(mobo, native))])
        details.append(f"### {TITLES[group]}\n\n" + table(rows))
    if len(summary.rows) == 1:
        return "There are no figures.\n", []
    parts.append(table(summary.rows))
    scale = scaling(results)
    if scale:
        parts.append("Two CPUs against one, times faster:\n\n" + table(scale))
    wrong = wrong_results(results, tests)
    said = ["* WRONG " + w for w in wrong] + notes(results, tests)
    parts.append("\n".join(said) if said else "Every test gave a figure on every machine, and the same result.")
    return "\n\n".join(parts + details) + "\n", wrong
