"""A group of 5,000 members. The last table: afterwards the fake AWS has other users than the box began with."""

import json
import pathlib

from lookups import timed
from measuring import in_turn, ratio, sh, show, table
from peers import SPACES, inside, known, tell

MEMBERS = 5000
GROUP = SPACES / "group-of-many"
SERVICES = ["keymaker", "sss", "extrausers", "systemd", "files"]


@table
def crowd():
    print(f"\n### A group of {MEMBERS:,} members\n")
    names = [f"u{number:05}" for number in range(MEMBERS)]
    users = [{"name": name, "keys": [], "groups": ["keymaker_crowd"]} for name in names] + [{"name": "alice"}]
    seed = SPACES / "crowd.json"
    seed.write_text(json.dumps({"groups": [{"name": "keymaker_crowd"}], "roles": [{"name": "user-alice"}], "users": users}))
    sh(f"sandbox-reset {seed} && keymaker sync")
    tell(names)
    GROUP.write_text(f"{known('group', ['crowd'])[0].split(':*:')[0]}:x:{known('group', ['crowd'])[0].split(':')[2]}:{','.join(names)}\n")
    somebody = names[MEMBERS // 2]
    lookups = timed([(service, "groups") for service in SERVICES]) | timed([(service, "group") for service in SERVICES], file=GROUP)
    commands = {"getent group crowd": ["getent", "group", "crowd"], f"id {somebody}": ["id", somebody]}
    taken = {
        name: in_turn({service: lambda service=service, command=command: inside(service, command) for service in SERVICES}, 15)
        for name, command in commands.items()
    }
    right = {(service, name): answer_is_right(service, name, command) for service in SERVICES for name, command in commands.items()}
    print("microseconds of a lookup, milliseconds of a whole command: medians, and in brackets the ratio to SSSD's\n")
    rows = []
    for service in SERVICES:
        of_lookups = [ratio(lookups[service, kind, "later"], lookups["sss", kind, "later"], 1e3) for kind in ("group", "groups")]
        of_commands = [ratio(times[service] if right[service, name] else None, times["sss"], 1e6) for name, times in taken.items()]
        rows.append([f"`{service}`", *of_lookups, *of_commands])
    show(["service", "getgrnam", "groups of a member", *(f"`{name}`" for name in commands)], rows)


def answer_is_right(service, name, command):
    said = inside(service, command).stdout
    if name.startswith("id "):
        return "(crowd)" in said
    return sorted(said.strip().split(":")[-1].split(",")) == sorted(pathlib.Path(GROUP).read_text().strip().split(":")[-1].split(","))
