"""Lookups, and what people feel of them."""

import os
import re
import subprocess
import time

from measuring import in_turn, ratio, sh, show, shuffled, table
from peers import AS_PACKAGED, LIST, LOCAL_LINES, SERVICES, SPACES, USERS, fill_sssd, inside, start_sssd_with_nothing

LOOKUPS = "/sandbox/e2e/lookups"
ROUNDS = 5
# What ps has to show.
PROCESSES = 100
KINDS = {"name": "by name", "uid": "by uid", "absent": "nobody's name", "groups": "groups of a user"}
FIRST = "first of a process, with loading"


def timed(asked, milliseconds=150, file=LIST, rounds=ROUNDS):
    """Of each service and kind: the first lookups of a process, each user's in turn, and later ones; nothing where an answer was wrong."""
    taken = {}
    for _ in range(rounds):
        for service, kind in shuffled(asked):
            if taken.get((service, kind), "not yet") is None:
                continue
            answered = inside(service, [LOOKUPS, kind, str(file), str(milliseconds)])
            if answered.returncode:
                taken[service, kind] = None
                continue
            times = taken.setdefault((service, kind), {"first": [], "once": [], "later": []})
            for moment, word in zip(times, answered.stdout.split(), strict=True):
                times[moment].append(int(word))
    return {
        (service, kind, moment): times and times[moment] for (service, kind), times in taken.items() for moment in ("first", "once", "later")
    }


@table
def lookups():
    print(f"\n### One lookup, {USERS} users\n")
    taken = timed([(service, kind) for service in SERVICES for kind in KINDS])
    print("nanoseconds: median of the runs, and in brackets the ratio to SSSD's\n")
    rows = [
        [f"`{service}`"]
        + [ratio(taken[service, kind, "later"], taken["sss", kind, "later"]) for kind in KINDS]
        + [ratio(taken[service, "name", "first"], taken["sss", "name", "first"])]
        for service in SERVICES
    ]
    show(["service", *KINDS.values(), FIRST], rows)


@table
def as_packaged():
    print(f"\n### As packaged, {LOCAL_LINES} local lines\n")
    alone, with_sssd, with_keymaker = AS_PACKAGED
    kinds = {"name": "by name", "uid": "by uid", "absent": "nobody's name"}
    # There it is a name that nobody has.
    unknown = {"name": "unknown-name", "uid": "unknown-uid", "absent": "absent"}
    taken = timed([(alone, unknown[kind]) for kind in kinds] + [(service, kind) for service in (with_sssd, with_keymaker) for kind in kinds])
    print(f"nanoseconds: median of the runs, and in brackets the ratio to `{alone}`, which says of each that it has nobody\n")
    rows = []
    for service in AS_PACKAGED:
        cells = []
        for moment, of_this in [("later", kinds), ("first", ["name"])]:
            for kind in of_this:
                times = taken[service, unknown[kind] if service == alone else kind, moment]
                cells.append(ratio(times, taken[alone, unknown[kind], moment]))
        rows.append([f"`{service}`", *cells])
    show(["nsswitch.conf", *kinds.values(), FIRST], rows)
    ours, theirs = ({kind: taken[service, kind, "later"] for kind in kinds} for service in (with_keymaker, with_sssd))
    told = ", ".join(f"{heading} {ratio(ours[kind], theirs[kind])}" for kind, heading in kinds.items())
    print(f"\nof `{with_sssd}`: {told}")


@table
def stopped():
    print(f"\n### While the daemon is stopped, {USERS} users\n")
    # Nobody waits for a heartbeat of keymakerd's that is four seconds old.
    sh("systemctl stop sssd keymakerd")
    time.sleep(5)
    running = {"keymaker": "keymakerd", "sss": "sssd"}
    taken = timed([(service, kind) for service in running for kind in KINDS], rounds=3)
    sh("systemctl start keymakerd")
    start_sssd_with_nothing()
    cold = timed([("sss", "name")], rounds=1)
    fill_sssd()
    print("nanoseconds: median of the runs, and in brackets the ratio to SSSD's\n")
    rows = [
        [f"`{service}`, {daemon} stopped"]
        + [ratio(taken[service, kind, "later"], taken["sss", kind, "later"]) for kind in KINDS]
        + [ratio(taken[service, "name", "first"], taken["sss", "name", "first"])]
        for service, daemon in running.items()
    ]
    show(["service", *KINDS.values(), FIRST], rows)
    once = cold["sss", "name", "once"]
    print(f"\nSSSD started with an empty cache, each user once, by name: {ratio(once, None)} a lookup; keymaker has nothing to fill")


@table
def commands():
    print(f"\n### Commands, 10,000 files of {USERS} owners\n")
    people = [line.split(":") for line in LIST.read_text().splitlines()]
    files, copy = SPACES / "files", SPACES / "copy"
    if not files.exists():
        files.mkdir()
        copy.mkdir()
        for number in range(10_000):
            path = files / f"f{number}"
            path.touch()
            os.chown(path, *map(int, people[number % len(people)][2:4]))
    somebody = people[0][0]
    told = {
        f"id {somebody}": ["id", somebody],
        "ls -l": ["ls", "-l", str(files)],
        f"find -user {somebody}": ["find", str(files), "-user", somebody],
        "find -printf '%u %g'": ["find", str(files), "-printf", "%u %g\n"],
        "tar": ["tar", "-cf", "-", "-C", str(files), "."],
        "rsync -a --dry-run": ["rsync", "-a", "--dry-run", "--itemize-changes", f"{files}/", f"{copy}/"],
        "ps aux": ["ps", "aux"],
        f"sudo -l -U {somebody}": ["sudo", "-l", "-U", somebody],
        "bash -c 'echo ~NAME'": ["bash", "-c", f"echo ~{somebody}"],
    }
    services = ["files keymaker", "files sss", "files"]
    crowd = [subprocess.Popen(["sleep", "infinity"], user=int(uid), group=int(gid), extra_groups=[]) for _, _, uid, gid, *_ in people[:PROCESSES]]
    rows = []
    for name, command in told.items():
        taken = in_turn({service: lambda service=service, command=command: inside(service, command) for service in services}, 15)
        right = answers(name, command, services)
        base = taken["files sss"]
        rows.append([f"`{name}`"] + [ratio(taken[service] if right[service] else None, base, 1e6) for service in services])
    for process in crowd:
        process.kill()
        process.wait()
    print(f"milliseconds of the whole command: median of 15 in turn, and the ratio to SSSD's; `files` has all {USERS} in /etc/passwd; `ps` shows "
          f"{PROCESSES} processes of as many of them\n")
    show(["command"] + [f"`{service}`" for service in services], rows)


def answers(name, command, services):
    """Who says the same as /etc/passwd does, but for the one group of the host's that Keymaker's users are in."""
    told = {service: inside(service, command) for service in services}
    # Of ps it is who runs what; the order of groups may differ.
    if name == "ps aux":
        said = {service: sorted(re.findall(r"^(\S+) .* sleep infinity$", done.stdout, re.M)) for service, done in told.items()}
    elif name.startswith("id "):
        said = {service: sorted(re.findall(r"\d+\((?!keymaker-users)\w+\)", done.stdout)) for service, done in told.items()}
    else:
        said = {service: done.stdout for service, done in told.items()}
    # sudo's exit status says who may do something.
    failed = {service for service, done in told.items() if done.returncode and not done.stdout}
    return {service: service not in failed and said[service] == said["files"] for service in services}
