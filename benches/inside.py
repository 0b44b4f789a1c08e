#!/usr/bin/python3
"""Measures Keymaker beside its peers in the box; `bench` starts it there, and docs/benchmarks.md says what each table means.

Each service has a mount namespace with an nsswitch.conf of its own, so that two are asked in turn without a change in between. Everybody
answers for the same people. Who answers wrong is not timed.
"""

import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

USERS, GROUPS, ROUNDS = 1000, 20, 5
SPACES = pathlib.Path("/run/bench")
LOOKUPS = "/sandbox/e2e/lookups"
LIST = SPACES / "people"
# What stands behind `passwd:` and `group:` for each.
SERVICES = {
    "keymaker": "keymaker",
    "sss": "sss",
    "extrausers": "extrausers",
    "systemd": "systemd",
    "files": "files",
    "files keymaker": "files keymaker",
    "files sss": "files sss",
}
TABLES, HELD = {}, {}


def main(wanted):
    prepare()
    for name, table in TABLES.items():
        if not wanted or name in wanted:
            table()
    for held in HELD.values():
        held.kill()


def table(function):
    TABLES[function.__name__.replace("_", "-")] = function
    return function


# ---- tables ----


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


@table
def logins():
    print("\n### A login, `ssh localhost true`\n")
    subprocess.run("useradd -m -s /bin/bash local && install -d -o local -m 700 /home/local/.ssh", shell=True, check=True)
    subprocess.run("install -o local -m 600 /sandbox/keys/alice.pub /home/local/.ssh/authorized_keys", shell=True, check=True)
    whole = ["ssh", "-i", "/sandbox/keys/alice"]
    for user in ["alice", "local"]:
        run([*whole, f"{user}@localhost", "true"])
    taken = in_turn({user: lambda user=user: run([*whole, f"{user}@localhost", "true"]) for user in ["alice", "local"]}, 50)
    rows = [["of IAM", *spread(taken["alice"])], ["local, authorized_keys", *spread(taken["local"])]]
    pairs = sorted(one - other for one, other in zip(taken["alice"], taken["local"]))
    print(f"milliseconds, 50 pairs in turn; of a pair the IAM user's takes {pairs[25] / 1e6:+.1f} ms more (median)\n")
    show(["user", "median", "10 %", "90 %"], rows)


@table
def keys_command():
    print("\n### The keys command, whole process\n")
    key = pathlib.Path("/sandbox/keys/alice.pub").read_text().split()
    uid = subprocess.run(["id", "-u", "alice"], capture_output=True, text=True, check=True).stdout.strip()
    print_of_key = subprocess.run(["ssh-keygen", "-lf", "/sandbox/keys/alice.pub"], capture_output=True, text=True, check=True).stdout
    words = subprocess.run(["sshd", "-T", "-C", "user=alice,host=localhost,addr=127.0.0.1"], capture_output=True, text=True, check=True)
    command = next(line.split()[1:] for line in words.stdout.splitlines() if line.startswith("authorizedkeyscommand "))
    values = {"%u": "alice", "%U": uid, "%f": print_of_key.split()[1], "%t": key[0], "%k": key[1]}
    command = [values.get(word, word) for word in command]
    taken = in_turn({"ours": lambda: run(command), "true": lambda: run(["/bin/true"])}, 300)
    print("milliseconds of 300 in turn\n")
    show(["program", "median", "10 %", "90 %"], [["`keymaker-keys`", *spread(taken["ours"])], ["`/bin/true`", *spread(taken["true"])]])
    print(f"\nratio of the medians: {statistics.median(taken['ours']) / statistics.median(taken['true']):.2f}")


@table
def proofs():
    print("\n### Logins by proof\n")
    subprocess.run("sh /sandbox/project/tests/proofs-on alice", shell=True, check=True, stdout=subprocess.DEVNULL)
    # No key of IAM's, which root's own settings would offer; and sixteen tickets are as many as anybody may have.
    alone = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    person = ["sh", "-c", '. /root/alice.env; HOME=/root/laptop "$@"', "sh"]
    fresh = [*person, "sh", "-c", 'rm -rf "$HOME/.ssh" /run/keymaker-keys/*; exec keymaker ssh "$@" alice@localhost true', "sh", *alone]
    sts = [*person, "sh", "-c", """exec curl -sSf -o /dev/null --aws-sigv4 aws:amz:us-east-1:sts --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
        -d 'Action=GetWebIdentityToken&Version=2011-06-15&Audience.member.1=keymaker:x&SigningAlgorithm=ES384' "$AWS_ENDPOINT_URL" """]
    by_key = ["ssh", *alone, "-i", "/sandbox/keys/alice", "alice@localhost", "true"]
    for command in (fresh, sts, by_key):
        run(command)
    taken = in_turn({"sts": lambda: run(sts), "key": lambda: run(by_key), "fresh": lambda: run(fresh)}, 30)
    key = str(next(pathlib.Path("/root/laptop/.ssh/keymaker").glob("id-*-cert.pub"))).removesuffix("-cert.pub")
    by_proof = ["ssh", *alone, "-i", key, "-o", "IdentitiesOnly=yes", "alice@localhost", "true"]
    taken |= in_turn({"key, again": lambda: run(by_key), "proof": lambda: run(by_proof)}, 30)
    certificate = pathlib.Path(key + "-cert.pub").read_text().split()
    plain = pathlib.Path("/sandbox/keys/alice.pub").read_text().split()
    command = ["/usr/libexec/keymaker/keymaker-keys", "alice", sh("id -u alice"), "SHA256:x"]
    commands = in_turn({"plain": lambda: run([*command, *plain[:2]]), "certificate": lambda: run([*command, *certificate[:2]])}, 300)
    print("milliseconds in turn: 30 logins of each, 300 of the keys command\n")
    show(["what", "median", "10 %", "90 %"], [
        ["`ssh`, by key", *spread(taken["key"])],
        ["one call of STS, by curl", *spread(taken["sts"])],
        ["`keymaker ssh`, without a token yet", *spread(taken["fresh"])],
        ["`ssh`, by key, again", *spread(taken["key, again"])],
        ["`ssh`, by a token that is there", *spread(taken["proof"])],
        ["`keymaker-keys` for a key", *spread(commands["plain"])],
        ["`keymaker-keys` for a certificate, `proof` included", *spread(commands["certificate"])],
    ])
    median = {name: statistics.median(times) for name, times in (taken | commands).items()}
    print(f"\nwithout a token yet, of a login by key and one call of STS: {median['fresh'] / (median['key'] + median['sts']):.2f}; with a token, of a login by "
          f"key: {median['proof'] / median['key, again']:.2f}; a certificate takes the keys command {(median['certificate'] - median['plain']) / 1e6:.1f} ms more. "
          f"`proof` has {os.path.getsize('/usr/libexec/keymaker/proof') // 1024} KiB, `keymaker-keys` {os.path.getsize('/usr/libexec/keymaker/keymaker-keys') // 1024}.")


@table
def credentials():
    print("\n### Credentials\n")
    show(["asked", "median, ms", "99 % below, ms", "of direct"], [])
    sys.stdout.flush()
    subprocess.run(["/sandbox/project/tests/e2e/clients/latency.py"], check=True)


# ---- measuring ----


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


def run(command):
    return subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def inside(service, command):
    """With this service's nsswitch.conf. What it prints goes through a pipe, since tar looks at nothing for /dev/null."""
    entered = ["nsenter", f"--target={HELD[service].pid}", "--mount", "--", *command]
    return subprocess.run(entered, capture_output=True, text=True, errors="replace")


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


# ---- peers ----


def prepare():
    SPACES.mkdir(exist_ok=True)
    space("keymaker", SERVICES["keymaker"], [], [])
    people = [entry(f"u{number:05}") for number in range(USERS)]
    members, counts = {}, {}
    for person in people:
        name, _, _, own_gid = person.split(":")[:4]
        gids = inside("keymaker", ["id", "-G", name]).stdout.split()
        counts[name] = len(gids)
        for gid in set(gids) - {own_gid}:
            members.setdefault(gid, []).append(name)
    groups = [
        f"{sh(f'getent group {gid}').split(':')[0]}:x:{gid}:{','.join(names)}" for gid, names in members.items()
    ]
    LIST.write_text("".join(f"{person} {counts[person.split(':')[0]]}\n" for person in people))
    own = [f"{person.split(':')[0]}:x:{person.split(':')[3]}:" for person in people]
    extrausers(people, groups + own)
    userdb(people, groups + own)
    sssd()
    for service, words in SERVICES.items():
        if service != "keymaker":
            space(service, words, people, groups + own)


def entry(name):
    line = sh(f"getent -s keymaker passwd {name}")
    assert line, f"{name} is not there"
    return line


def extrausers(people, groups):
    folder = pathlib.Path("/var/lib/extrausers")
    folder.mkdir(exist_ok=True)
    (folder / "passwd").write_text("".join(f"{person}\n" for person in people))
    (folder / "group").write_text("".join(f"{group}\n" for group in groups))
    (folder / "shadow").write_text("")


def userdb(people, groups):
    folder = pathlib.Path("/run/userdb")
    folder.mkdir(exist_ok=True)
    for person in people:
        name, _, uid, gid, gecos, home, shell = person.split(":")
        record = {
            "userName": name, "uid": int(uid), "gid": int(gid), "realName": gecos, "homeDirectory": home, "shell": shell,
            "disposition": "regular",
        }
        put(folder, f"{name}.user", f"{uid}.user", record)
    for group in groups:
        name, _, gid, members = group.split(":")
        put(folder, f"{name}.group", f"{gid}.group", {"groupName": name, "gid": int(gid), "disposition": "regular"})
        for member in filter(None, members.split(",")):
            (folder / f"{member}:{name}.membership").touch()


def put(folder, name, number, record):
    (folder / name).write_text(json.dumps({key: value for key, value in record.items() if value != ""}))
    link = folder / number
    if not link.is_symlink():
        link.symlink_to(name)


def sssd():
    path = pathlib.Path("/etc/sssd/sssd.conf")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "[sssd]\nservices = nss\ndomains = bench\n[nss]\n[domain/bench]\nid_provider = proxy\nproxy_lib_name = extrausers\n"
        "auth_provider = none\naccess_provider = permit\n"
    )
    path.chmod(0o600)
    sh("systemctl restart sssd")
    # Each answer once, so that its cache has everybody.
    for line in LIST.read_text().splitlines():
        subprocess.run(["getent", "-s", "sss", "initgroups", line.split(":")[0]], stdout=subprocess.DEVNULL)


def space(service, words, people, groups):
    at = SPACES / service.replace(" ", "-")
    lines = f"passwd: {words}\ngroup: {words}\nshadow: files\ninitgroups: {words}\n"
    (SPACES / f"{at.name}.nsswitch").write_text(lines)
    binds = [f"mount --bind {at}.nsswitch /etc/nsswitch.conf"]
    if service == "files":
        for kind, more in [("passwd", people), ("group", groups)]:
            (SPACES / f"files.{kind}").write_text(pathlib.Path(f"/etc/{kind}").read_text() + "".join(f"{line}\n" for line in more))
            binds.append(f"mount --bind /run/bench/files.{kind} /etc/{kind}")
    # It lasts as long as a process in it.
    command = f"{' && '.join(binds)} && echo there && exec sleep infinity"
    held = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert held.stdout.readline() == "there\n", f"{service} has no namespace"
    HELD[service] = held


def sh(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr or 'failed'}")
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
