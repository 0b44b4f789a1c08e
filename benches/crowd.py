"""A group of 5,000 members. The last table: afterwards the fake AWS has other users than the box began with."""

import json
import pathlib
import time

from lookups import timed
from measuring import in_turn, ratio, sh, show, table
from peers import HELD, SPACES, inside, known, space, tell

MEMBERS = 5000
ASKED = 1
GROUP = SPACES / "group-of-many"
SEED = SPACES / "crowd.json"
SERVICES = ["keymaker", "sss", "extrausers", "systemd", "files"]


@table
def crowd():
    print(f"\n### A group of {MEMBERS:,} members\n")
    names = [f"u{number:05}" for number in range(MEMBERS)]
    SEED.write_text(json.dumps(with_a_crowd(json.loads(pathlib.Path("/sandbox/seed.start.json").read_text()), names)))
    sh(f"sandbox-reset {SEED} && keymaker sync")
    began = time.monotonic()
    # SSSD stores the whole group for each member whom it is asked for.
    tell(names, ASKED)
    filled = time.monotonic() - began
    # The useradd of a table before has put another /etc/passwd there, and what was mounted over the former one is gone.
    HELD["files"].kill()
    space("files", "files")
    entry = known("group", ["crowd"])[0].split(":")
    GROUP.write_text(":".join([*entry[:3], ",".join(names)]) + "\n")
    somebody = names[0]
    lookups = timed([(service, "groups") for service in SERVICES]) | timed([(service, "group") for service in SERVICES], file=GROUP)
    commands = {"getent group crowd": ["getent", "group", "crowd"], f"id {somebody}": ["id", somebody]}
    taken = {
        name: in_turn({service: lambda service=service, command=command: inside(service, command) for service in SERVICES}, 15)
        for name, command in commands.items()
    }
    right = {(service, name): answer_is_right(service, name, command) for service in SERVICES for name, command in commands.items()}
    rows = []
    for service in SERVICES:
        of_lookups = [ratio(lookups[service, kind, "later"], lookups["sss", kind, "later"], 1e3) for kind in ("group", "groups")]
        of_commands = [ratio(times[service] if right[service, name] else None, times["sss"], 1e6) for name, times in taken.items()]
        rows.append([f"`{service}`", *of_lookups, *of_commands])
    print("microseconds of a lookup, milliseconds of a whole command: medians, and in brackets the ratio to SSSD's, which took "
          f"{filled:.0f} s until it had the group and one member in its cache\n")
    show(["service", "getgrnam", "groups of a member", *(f"`{name}`" for name in commands)], rows)


def with_a_crowd(seed, names):
    """Nobody loses a group: of each who does, keymakerd would ask IAM first."""
    there = {user["name"]: user for user in seed["users"]}
    for name in names:
        user = there.setdefault(name, {"name": name, "keys": [], "groups": []})
        user["groups"] = [*user["groups"], "keymaker_crowd"]
    return {**seed, "groups": [*seed["groups"], {"name": "keymaker_crowd"}], "users": list(there.values())}


def answer_is_right(service, name, command):
    said = inside(service, command).stdout
    if name.startswith("id "):
        return "(crowd)" in said
    members = [sorted(line.strip().split(":")[-1].split(",")) for line in (said, GROUP.read_text())]
    return members[0] == members[1]
