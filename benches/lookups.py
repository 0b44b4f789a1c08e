"""Lookups, and what people feel of them."""

import os

from measuring import in_turn, ratio, shuffled, show, table
from peers import LIST, SERVICES, SPACES, USERS, inside

LOOKUPS = "/sandbox/e2e/lookups"
ROUNDS = 5


@table
def lookups():
    print(f"\n### One lookup, {USERS} users\n")
    kinds = ["name", "uid", "absent", "groups"]
    firsts, warm = {}, {}
    for _ in range(ROUNDS):
        for service in shuffled(SERVICES):
            for kind in kinds:
                answered = inside(service, [LOOKUPS, kind, str(LIST), "200"])
                if answered.returncode:
                    warm[service, kind] = None
                    continue
                first, later = map(int, answered.stdout.split())
                if warm.setdefault((service, kind), []) is not None:
                    warm[service, kind].append(later)
                    firsts.setdefault(service, []).append(first)
    heads = ["by name", "by uid", "nobody's name", "groups of a user", "first of a process, with loading"]
    print("nanoseconds: median of the runs, and in brackets the ratio to SSSD's\n")
    rows = [
        [f"`{service}`"]
        + [ratio(warm[service, kind], warm["sss", kind]) for kind in kinds]
        + [ratio(firsts.get(service), firsts.get("sss"))]
        for service in SERVICES
    ]
    show(["service"] + heads, rows)


@table
def commands():
    print(f"\n### Commands, 10,000 files of {USERS} owners\n")
    files = SPACES / "files"
    if not files.exists():
        owners = [line.split(":")[2:4] for line in LIST.read_text().splitlines()]
        files.mkdir()
        for number in range(10_000):
            path = files / f"f{number}"
            path.touch()
            os.chown(path, *map(int, owners[number % len(owners)]))
    somebody = LIST.read_text().split(":")[0]
    told = {
        f"id {somebody}": ["id", somebody],
        "ls -l": ["ls", "-l", str(files)],
        "find -printf '%u %g'": ["find", str(files), "-printf", "%u %g\n"],
        "tar": ["tar", "-cf", "-", "-C", str(files), "."],
        "bash -c 'echo ~NAME'": ["bash", "-c", f"echo ~{somebody}"],
    }
    services = ["files keymaker", "files sss", "files"]
    rows = []
    for name, command in told.items():
        taken = in_turn({service: lambda service=service, command=command: inside(service, command) for service in services}, 15)
        base = taken["files sss"]
        rows.append([f"`{name}`"] + [ratio(taken[service], base, 1e6) for service in services])
    print(f"milliseconds of the whole command: median of 15 in turn, and the ratio to SSSD's; `files` has all {USERS} in /etc/passwd\n")
    show(["command"] + [f"`{service}`" for service in services], rows)
