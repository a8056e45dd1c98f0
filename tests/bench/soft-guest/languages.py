# The Python loops of tests/bench/soft: languages.py fib|nbody|json. They print what the machine
# must have computed, never a time.
import sys


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def nbody(steps):
    """Three bodies under their own gravity, in the plane."""
    bodies = [[0.0, 0.0, 0.0, 0.0, 10.0], [4.8, -1.1, 0.6, 2.8, 0.04], [8.3, 4.1, -1.0, 1.8, 0.01]]
    for _ in range(steps):
        for i, a in enumerate(bodies):
            for b in bodies[i + 1:]:
                dx, dy = a[0] - b[0], a[1] - b[1]
                pull = 0.001 / (dx * dx + dy * dy) ** 1.5
                a[2] -= dx * b[4] * pull
                a[3] -= dy * b[4] * pull
                b[2] += dx * a[4] * pull
                b[3] += dy * a[4] * pull
        for a in bodies:
            a[0] += a[2] * 0.001
            a[1] += a[3] * 0.001
    return " ".join("%.6f" % a[0] for a in bodies)


def json_turns(count):
    import json
    data = {"items": [{"name": "item %d" % i, "value": i * 1.5, "tags": ["a", "b", str(i)]} for i in range(200)]}
    text = ""
    for _ in range(count):
        text = json.dumps(data, sort_keys=True)
        data = json.loads(text)
    return len(text)


print({"fib": lambda: fib(19), "nbody": lambda: nbody(3000), "json": lambda: json_turns(20)}[sys.argv[1]]())
