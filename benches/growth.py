#!/usr/bin/python3
"""Counts what work costs against how much there is of what it works on, and fits an exponent: `bench growth` starts it.

Instructions under callgrind, so a busy machine changes nothing. Of each size the work is done a few times and many times, and the
difference counts: what begins and ends a program is in neither. Exits with 1 where something grows faster than it may.
"""

import ctypes
import json
import math
import os
import platform
import re
import struct
import subprocess
import sys

CALLGRIND = "valgrind --tool=callgrind --callgrind-out-file=/dev/null"
MODULE_ALONE = f"{CALLGRIND} --toggle-collect=_nss_keymaker_*"
# A fit over five points is not exact, and a table of hashes doubles in steps.
SLACK = 0.08
CONSTANT, LINEAR = "constant", "n log n"
USERS = [500, 2_000, 8_000, 32_000, 100_000]
FEWER = [100, 200, 400, 800, 1_600]
# Of tests, whose build is not optimized.
PEOPLE = [20, 40, 80, 160, 320]


def main(programs):
    harness, module, keymakerd, credd = (programs[name] for name in ("nss-harness", "module", "keymakerd", "credd"))

    def lookup(kind):
        return lambda size, times: under(MODULE_ALONE, [harness, module, f"cost-{kind}", str(times)], users=size)

    def layout(size, times):
        return under(CALLGRIND, [harness, module, "cost-layout", f"{times} {size}"], users=500)

    def test(program, name):
        return lambda size, times: under(CALLGRIND, [program, "--exact", name], f"{size} {times}")

    growth = "directory::tests::growth::"
    cached = "credentials::tests::cached::"
    # What is done, of how much, how often, and how it may grow.
    works = [
        ("a lookup by name", "users", lookup("name"), USERS, (100, 300), CONSTANT),
        ("a lookup by uid", "users", lookup("uid"), USERS, (100, 300), CONSTANT),
        ("a uid that nobody has", "users", lookup("nobody"), USERS, (100, 300), CONSTANT),
        ("the groups of a user", "users", lookup("groups"), USERS, (100, 300), CONSTANT),
        ("a directory laid out", "users", layout, [250, 500, 1_000, 2_000, 4_000], (1, 2), LINEAR),
        ("a pass in which nothing has changed", "users", test(keymakerd, growth + "a_steady_pass_over_many_changes_nothing"), PEOPLE, (1, 3), LINEAR),
        ("a publication of one change", "users", test(keymakerd, growth + "a_change_of_one_among_many_is_one_publication"), PEOPLE, (1, 3), LINEAR),
        ("a line of the audit", "users refused before", test(keymakerd, "audit::tests::a_line_about_one_more_is_written_after_whatever_number_of_others"),
         [1_000, 2_000, 4_000, 8_000, 16_000], (500, 1_500), CONSTANT),
        ("credentials out of credd's cache", "answers kept", test(credd, cached + "what_is_kept_among_many_is_no_call"), FEWER, (100, 300), CONSTANT),
        ("credd's cache tidied", "answers kept", test(credd, cached + "what_is_tidied_among_many_is_what_has_ended"), FEWER, (1, 3), LINEAR),
    ]
    wanted, rows, wrong = os.environ.get("GROWTH_OF", ""), [], []
    for what, of, work, sizes, (few, many), may in works:
        if not re.search(wanted, what):
            continue
        costs = [(work(size, many) - work(size, few)) / (many - few) for size in sizes]
        fitted, most = exponent(sizes, costs), limit(may, sizes)
        rows.append([what, of, *(f"{cost:,.0f}" for cost in costs), f"{sizes[0]:,} to {sizes[-1]:,}", f"{round(fitted, 2) + 0.0:.2f}", may])
        print(f"growth: {what}: {fitted:.2f}", file=sys.stderr)
        if fitted > most:
            wrong.append(f"{what} grows with the {fitted:.2f}th power of the {of}; it may grow with the {most:.2f}th ({may})")
    for row in [["what", "with the number of", "first size", "2nd", "3rd", "4th", "last", "sizes", "exponent", "may be"], ["---"] * 10, *rows]:
        print("| " + " | ".join(row) + " |")
    if wrong:
        sys.exit("\n".join(wrong))


def under(tool, command, wanted=None, users=None):
    """The instructions of a command; of the harness, inside the host that it makes, whose directory is of so many users."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    if users:
        environment |= {"KEYMAKER_HARNESS_UNDER": tool, "KEYMAKER_HARNESS_USERS": str(users)}
    else:
        environment["KEYMAKER_COUNTED"] = wanted
        command = [*tool.split(), *command]
    # A pass has deadlines, which a machine that does other things may miss.
    for _ in range(5):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", preexec_fn=hide_the_vdso)
        collected = re.findall(r"Collected : (\d+)", done.stderr)
        if done.returncode == 0 and collected:
            return int(collected[-1])
    sys.exit(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def hide_the_vdso():
    """The rustix crate asks the kernel where it is by prctl(PR_GET_AUXV), behind valgrind's back, which has taken it out. With EINVAL it
    reads /proc/self/auxv, which is valgrind's."""
    prctl = {"x86_64": 157, "aarch64": 167}[platform.machine()]
    load, is_equal, give = 0x20, 0x15, 0x06
    # seccomp_data: the call's number at 0, its first argument at 16.
    filters = [(load, 0, 0, 0), (is_equal, 0, 3, prctl), (load, 0, 0, 16), (is_equal, 0, 1, 0x41555856), (give, 0, 0, 0x00050016), (give, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in filters))
    program = struct.pack("HxxxxxxP", len(filters), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def limit(may, sizes):
    """The exponent that the fit finds for what is allowed, and some slack."""
    shape = [1.0 if may == CONSTANT else size * math.log2(size) for size in sizes]
    return exponent(sizes, shape) + SLACK


def exponent(sizes, costs):
    """The slope of the straight line through the logarithms (least squares)."""
    xs, ys = [math.log(size) for size in sizes], [math.log(max(cost, 1.0)) for cost in costs]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)


if __name__ == "__main__":
    main(json.load(sys.stdin))
