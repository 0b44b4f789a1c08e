"""How the tables are measured and printed."""

import random
import statistics
import subprocess
import sys
import time

TABLES = {}


def table(function):
    TABLES[function.__name__.replace("_", "-")] = function
    return function


def in_turn(what, rounds):
    """Nanoseconds of each, `rounds` times, one after the other."""
    taken = {name: [] for name in what}
    for _ in range(rounds):
        for name in shuffled(what):
            began = time.perf_counter_ns()
            what[name]()
            taken[name].append(time.perf_counter_ns() - began)
    return taken


def shuffled(names):
    return random.sample(list(names), len(names))


def run(command, **otherwise):
    return subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **otherwise)


def ratio(times, base, unit=1):
    if not times:
        return "wrong answers"
    told = f"{statistics.median(times) / unit:,.1f}" if unit > 1 else f"{statistics.median(times):,.0f}"
    return told if not base else f"{told} ({statistics.median(times) / statistics.median(base):.2f})"


def spread(times):
    ordered = sorted(times)
    return [f"{ordered[len(ordered) * part // 100] / 1e6:.2f}" for part in (50, 10, 90)]


def show(heads, rows):
    for row in [heads, ["---"] * len(heads), *rows]:
        print("| " + " | ".join(row) + " |")


def sh(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr or 'failed'}")
    return done.stdout.strip()
