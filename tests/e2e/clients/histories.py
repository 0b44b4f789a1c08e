#!/usr/bin/python3
"""Run by root: histories of an IAM that changes between two calls of the daemons, against the installed product.

histories.py FIRST NUMBER ROUNDS GRADE [required]   prints what was tried, or ends with the seed and the sentence that does not hold

One history is one seed: four names, three groups, and whoever has them. All of them stand in one IAM, each under a path of its own, and
take turns, so that seconds pass between two questions about the same person. The vocabulary is that of keymakerd's own model
(keymakerd/src/directory/tests/model.rs), which sees the facts; here only what a host shows is looked at. Uids are by the documented formula.
A name does not move away and back within one question, or the next: nothing that IAM answers shows it (SECURITY.md).
"""

import base64
import collections
import copy
import grp
import hashlib
import http.client
import json
import os
import pwd
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request

USERS = ("alice", "bob", "carol", "dave")
GROUPS = ("keymaker_devs", "keymaker_ops", "other")
REQUIRED = "AGPAREQUIRED"
DIRECTORY = "/var/lib/keymaker/public/directory"
REFUSAL = "/usr/libexec/keymaker/refusal"
KEYS_COMMAND = "/usr/libexec/keymaker/keymaker-keys"
FAKE = "http://10.77.0.1:5000/"
METADATA = ("169.254.169.254", 80)
ROLES = "/latest/meta-data/iam/security-credentials/"
# Answers asked closer together have no order, and keymakerd believes a refusal for as long.
TOGETHER = 6
# A pass asks for no more than so many users one by one (keymakerd/src/directory/asking/sync.rs); of the others it learns later.
MOST_SIGHTINGS = 50
SETTLED_WITHIN = 120
LOGS_IN = 25  # One history of so many has real keys, and ssh.


def number(iam_id):
    """The uid or gid of an IAM id (docs/man: id_scheme = "wide")."""
    return 1879048192 + int.from_bytes(hashlib.sha256(iam_id.encode()).digest()[:8], "big") % (2147352575 - 1879048192 + 1)


def rsa_key(name):
    """A public key to which nobody has the private half."""
    modulus = random.Random(name).getrandbits(2048) | 1 << 2047 | 1
    parts = (b"ssh-rsa", (65537).to_bytes(3, "big"), b"\0" + modulus.to_bytes(256, "big"))
    return base64.b64encode(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).decode()


class Iam:
    """Users and groups of one history as they are at one time: a value."""

    def __init__(self):
        self.users, self.groups, self.members, self.keys, self.spent = {}, {}, set(), {}, set()

    def seed(self, history):
        groups = {**self.groups, REQUIRED: "required"}
        users = [{"name": name, "id": user, "created": history.created(user), "tags": {"gecos": user},
                  "groups": [groups[group] for group, member in sorted(self.members) if member == user],
                  "keys": [{"body": f"ssh-rsa {history.bodies[key]}", "id": key, "status": "Active" if active else "Inactive"}
                           for key, (owner, active) in self.keys.items() if owner == user]}
                 for user, name in self.users.items()]
        return {"path": history.path, "users": users,
                "groups": [{"name": name, "id": group, "created": history.created(group)} for group, name in self.groups.items()]}

    def facts(self):
        """Everything that IAM gives somebody now."""
        names = {("name", user, name) for user, name in self.users.items()}
        members = {("member", user, group) for group, user in self.members}
        return names | members | {("key", owner, key) for key, (owner, active) in self.keys.items() if active}


class History:
    def __init__(self, seed, required):
        self.seed, self.dice, self.required = seed, random.Random(seed), required
        self.path, self.made = f"/history{seed}/", 0
        self.user_names, self.group_names = [f"{n}{seed}" for n in USERS], [f"{n}{seed}" for n in GROUPS]
        self.bodies, self.logs_in = {}, seed % LOGS_IN == 0
        self.now, self.ever, self.taken, self.known = Iam(), set(), set(), set()
        self.group_had, self.held, self.held_before = {}, set(), set()
        for name in self.group_names:
            self.make_group(self.now, name)
        for name in self.user_names[:3]:
            self.make_user(self.now, name)
        self.happened(self.now)

    def new_id(self, kind):
        self.made += 1
        return f"{kind}{self.seed:012}{self.made:05}"

    def created(self, iam_id):
        return f"2024-01-01T00:{int(iam_id[-5:]) // 60:02}:{int(iam_id[-5:]) % 60:02}Z"

    # What happens in IAM. The state is a copy that may come true or not.

    def make_user(self, iam, name):
        user = self.new_id("AIDA")
        iam.users[user] = name
        self.held.add((name, user))
        self.make_key(iam, user)
        iam.members |= {(group, user) for group in iam.groups if self.dice.random() < 0.5}
        if self.dice.random() < 0.75:
            iam.members.add((REQUIRED, user))

    def make_group(self, iam, name):
        group = self.new_id("AGPA")
        iam.groups[group] = name
        self.held.add((name, group))

    def make_key(self, iam, user):
        key = self.new_id("APKA")
        if self.logs_in:
            self.bodies[key] = subprocess.run(["sandbox-key", key], check=True, capture_output=True, text=True).stdout.split()[1]
        else:
            self.bodies[key] = rsa_key(key)
        iam.keys[key] = (user, True)

    def changed(self, iam):
        iam = copy.deepcopy(iam)
        self.dice.choices((self.change_a_user, self.change_a_group, self.change_a_membership, self.change_a_key), (8, 4, 3, 2))[0](iam)
        return iam

    def change_a_user(self, iam):
        free = [name for name in self.user_names if name not in iam.users.values()]
        if not iam.users or free and self.dice.random() < 0.2:
            return self.make_user(iam, self.dice.choice(free))
        user, other = self.dice.choice(list(iam.users)), self.dice.choice(list(iam.users))
        way = self.dice.choice(("delete", "rename", "rename", "swap", "swap", "swap"))
        if way == "delete":
            name = iam.users.pop(user)
            iam.members = {(group, member) for group, member in iam.members if member != user}
            iam.keys = {key: (owner, active) for key, (owner, active) in iam.keys.items() if owner != user}
            if self.dice.random() < 0.5:
                self.make_user(iam, name)
        elif way == "rename" and free:
            self.move(iam.users, {user: self.dice.choice(free)})
        elif way == "swap":
            self.move(iam.users, {user: iam.users[other], other: iam.users[user]})

    def change_a_group(self, iam):
        free = [name for name in self.group_names if name not in iam.groups.values()]
        if not iam.groups or free and self.dice.random() < 0.5:
            return self.make_group(iam, self.dice.choice(free))
        group, other = self.dice.choice(list(iam.groups)), self.dice.choice(list(iam.groups))
        way = self.dice.choice(("delete", "rename", "swap", "swap"))
        if way == "delete":
            name = iam.groups.pop(group)
            iam.spent |= {pair for pair in iam.members if pair[0] == group}
            iam.members = {pair for pair in iam.members if pair[0] != group}
            if self.dice.random() < 0.5:
                self.make_group(iam, name)
        elif way == "rename" and free:
            self.move(iam.groups, {group: self.dice.choice(free)})
        elif way == "swap":
            self.move(iam.groups, {group: iam.groups[other], other: iam.groups[group]})

    def move(self, entries, moves):
        """Gives these ids these names, unless one of them had its new name since the question began."""
        moves = {iam_id: name for iam_id, name in moves.items() if entries[iam_id] != name}
        pairs = {(name, iam_id) for iam_id, name in moves.items()}
        if not pairs & (self.held | self.held_before):
            self.held |= pairs
            entries.update(moves)

    def change_a_membership(self, iam):
        if not iam.users:
            return
        pair = self.dice.choice([*iam.groups, REQUIRED]), self.dice.choice(list(iam.users))
        if pair in iam.members:
            iam.members.remove(pair)
            # What was taken away does not come back.
            iam.spent.add(pair)
        elif pair not in iam.spent:
            iam.members.add(pair)

    def change_a_key(self, iam):
        active = [key for key, (_, is_active) in iam.keys.items() if is_active]
        if active and self.dice.random() < 0.7:
            key = self.dice.choice(active)
            if self.dice.random() < 0.5:
                iam.keys[key] = (iam.keys[key][0], False)
            else:
                del iam.keys[key]
        elif iam.users:
            self.make_key(iam, self.dice.choice(list(iam.users)))

    # What is true.

    def begin(self):
        """From now on a name may move to whoever does not have it now."""
        self.held_before = self.held
        self.held = {(name, iam_id) for entries in (self.now.users, self.now.groups) for iam_id, name in entries.items()}

    def plan(self, boundaries):
        """Changes before these calls, and how IAM is after each."""
        states = [self.now]
        for _ in boundaries:
            states.append(self.changed(states[-1]))
        return [[boundary, state.seed(self), state] for boundary, state in zip(boundaries, states[1:])]

    def happened(self, iam):
        before, after = self.now.facts(), iam.facts()
        self.ever |= after
        self.taken = (self.taken | before - after) - after
        self.known -= after  # A name may come back.
        for group, name in iam.groups.items():
            self.group_had.setdefault(group, set()).add(name)
        self.now = iam

    def is_known(self, is_asked):
        """IAM was asked about these facts after they were taken away, and the host has heard the answer."""
        self.known |= {fact for fact in self.taken if is_asked(fact)}

    def must(self, holds, sentence):
        if not holds:
            fail(f"seed {self.seed}: {sentence}\nIAM now: {vars(self.now)}\nknown to be taken away: {sorted(self.known)}")

    def may(self, *fact):
        kind, user, what = fact
        self.must(fact in self.ever, f"{user} has the {kind} {what}, which IAM never gave them")
        self.must(fact not in self.known, f"{user} has the {kind} {what} again, which IAM has taken away")

    # What the host shows.

    def ids(self):
        return sorted({user for _, user, _ in self.ever})

    def look(self):
        """Whoever is published has their own name, number, groups and tags."""
        users, groups = {number(user): user for user in self.ids()}, {number(group): group for group in self.group_had}
        entries, members = one_publication(lambda: (read_users(users), read_members(groups)))
        for user, (entry, by_name, given) in entries.items():
            self.may("name", user, entry.pw_name)
            self.must(by_name == entry.pw_uid, f"{entry.pw_name} is {by_name} by name and {entry.pw_uid} by number")
            self.must(entry.pw_gecos in (user, "", entry.pw_name), f"{user} has the tag of {entry.pw_gecos}")
            for gid in given:
                self.must(gid in groups, f"{user} has the number {gid}, which is no group's")
                self.may("member", user, groups[gid])
            if entry.pw_shell == REFUSAL:
                self.must(not given, f"{user} is refused and has {given}")
            elif self.required:
                self.may("member", user, REQUIRED)
        for group, (name, uids) in members.items():
            self.must(f"keymaker_{name}" in self.group_had[group], f"{group} is called {name}")
            for uid in uids:
                self.must(uid in users, f"the group {group} has the member {uid}, who is nobody's number")
                self.may("member", users[uid], group)
        return {user: entry for user, (entry, _, _) in entries.items()}

    def look_at_keys(self, entry, user):
        """What sshd would be told."""
        printed = subprocess.run([KEYS_COMMAND, entry.pw_name, str(entry.pw_uid)], user="keymaker-keys", group="keymaker-keys",
                                 extra_groups=[], capture_output=True, text=True, check=True).stdout
        owners = {body: key for key, body in self.bodies.items()}
        keys = {owners.get(body, body) for body in re.findall(r"ssh-rsa (\S+)", printed)}
        for key in keys:
            self.may("key", user, key)
        return set() if REFUSAL in printed else keys

    def look_at_role(self, entry, user):
        """As whom credd would have this uid act in AWS."""
        role = role_of(entry.pw_uid)
        if role:
            self.may("name", user, role.removeprefix("user-"))
        return role

    def look_at_login(self, name):
        """Whoever has proved that a key is theirs is in as themselves, in a home of their own, or out."""
        keys = [(key, owner) for key, (owner, _) in self.now.keys.items()]
        if not keys:
            return
        key, owner = self.dice.choice(keys)
        line = f"id -u; cat diary 2>&1; stat -c %u . diary 2>&1; echo {owner} > diary"
        login = subprocess.run(["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10",
                                "-i", f"/sandbox/keys/{key}", f"{name}@localhost", line], capture_output=True, text=True, timeout=300)
        words = login.stdout.split()
        if login.returncode == 0:
            did["logged in"] += 1
            ids = {str(number(other)) for other in self.ids() if other != owner} | set(self.ids()) - {owner}
            self.must(words[0] == str(number(owner)) and not ids & set(words), f"the key of {owner} opened {name}: {login.stdout}")
        else:
            did["turned away"] += 1


def one_publication(read):
    """What is read of one directory: what is published meanwhile makes it begin again."""
    while True:
        before = os.stat(DIRECTORY)
        try:
            found = read()
        except KeyError:
            found = None
        after = os.stat(DIRECTORY)
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            if found is None:
                fail("a name that is published does not resolve")
            return found


def read_users(users):
    """By UserId: the entry, the number by name, and the groups but those that everybody has."""
    entries = {user: entry for uid, user in users.items() if (entry := passwd_of(uid))}
    return {user: (entry, pwd.getpwnam(entry.pw_name).pw_uid, groups_of(entry)) for user, entry in entries.items()}


def groups_of(entry):
    return set(os.getgrouplist(entry.pw_name, entry.pw_gid)) - {entry.pw_uid, USERS_GID}


def read_members(groups):
    """By GroupId: the name, and the numbers of the members."""
    found = {}
    for gid, group in groups.items():
        try:
            entry = grp.getgrgid(gid)
        except KeyError:
            continue
        found[group] = entry.gr_name, [pwd.getpwnam(name).pw_uid for name in entry.gr_mem]
    return found


def passwd_of(uid):
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def role_of(uid):
    """The role that the metadata address names to this uid; None where there is no answer."""
    try:
        token = metadata(uid, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return token and metadata(uid, "GET", ROLES, {"X-aws-ec2-metadata-token": token})
    except (OSError, http.client.HTTPException):
        return None


def metadata(uid, method, path, headers):
    connection = http.client.HTTPConnection(*METADATA, timeout=5)
    os.seteuid(uid)
    try:
        connection.connect()
    finally:
        os.seteuid(0)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return text if answer.status == 200 else None


def order(line):
    """Says a line to keymakerd as root; its answer."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(300)
        stream.connect("/run/keymaker/login.sock")
        stream.sendall(line.encode() + b"\n")
        answer = b""
        while chunk := stream.recv(4096):
            answer += chunk
        return answer.decode().strip()


class Log:
    """The calls that the fake AWS got."""

    def __init__(self):
        self.file, self.rest = open("/sandbox/calls.log"), ""

    def news(self):
        """Actions since the last time; `Change:X` before the X that came after it."""
        # Asks for the fake's lock: whatever was being answered is.
        urllib.request.urlopen(FAKE).read()
        *lines, self.rest = (self.rest + self.file.read()).split("\n")
        fields = (line.split() for line in lines)
        return [action.partition(":")[2] for _, action, _, who in fields if "Change" in action or "Administrator" not in who]


def put_in_place(changes):
    with open("/sandbox/changes.new", "w") as aside:
        json.dump([[boundary, seed] for boundary, seed in changes], aside)
    os.rename("/sandbox/changes.new", "/sandbox/changes.json")


def while_it_changes(changes, question):
    """Puts a question while these changes happen, [boundary, seed, state, history]; returns the answer and the calls."""
    changes.sort(key=lambda change: change[0])
    put_in_place([change[:2] for change in changes])
    answer = question()
    put_in_place([])
    calls = log.news()
    reached = [call for call in calls if call.startswith("Change:")]
    for change, call in zip(changes, reached):
        change[3].happened(change[2])
        did[call] += 1
    did["calls"] += len(calls) - len(reached)
    return answer, calls


def is_quiet(calls):
    """Whether all changes were made before the first call of the question."""
    first = next((place for place, call in enumerate(calls) if not call.startswith("Change:")), len(calls))
    return not any(call.startswith("Change:") for call in calls[first:])


def flow(history):
    """One question about one history, and then what the host shows of it."""
    history.begin()
    dice, name = history.dice, history.dice.choice(history.user_names)
    kinds = {"account": 4, "keys": 6, "lookup": 2, "keys command": 3, "role": 3, "sync beside keys": 0.5, "ssh": 6 * history.logs_in}
    kind = dice.choices(list(kinds), kinds.values())[0]
    furthest = CALLS_OF_A_PASS if kind == "sync beside keys" else 7
    changes = [[*change, history] for change in history.plan(sorted(dice.randint(1, furthest) for _ in range(dice.choice((0, 1, 1, 2, 3)))))]
    did[f"question: {kind}"] += 1
    entry, user = None, next((user for user, has in history.now.users.items() if has == name), None)
    if user and kind in ("keys command", "role"):
        entry = passwd_of(number(user))
    # These are about who is published.
    if kind in ("keys command", "role") and (entry is None or entry.pw_name != name):
        kind = "keys"
    questions = {
        "account": lambda: order(f"account {name}"),
        "keys": lambda: order(f"keys {name}"),
        "lookup": lambda: subprocess.run(["getent", "passwd", name], capture_output=True, text=True).stdout,
        "keys command": lambda: subprocess.run([KEYS_COMMAND, name, str(entry.pw_uid)], user="keymaker-keys", group="keymaker-keys",
                                               extra_groups=[], capture_output=True, text=True).stdout,
        "role": lambda: role_of(entry.pw_uid),
        "sync beside keys": lambda: beside("sync", f"keys {name}"),
        "ssh": lambda: history.look_at_login(name),
    }
    answer, calls = while_it_changes(changes, questions[kind])
    learn(history, name, kind, answer, calls)
    entries = history.look()
    if entries and kind not in ("account", "lookup"):
        user = dice.choice(sorted(entries))
        history.look_at_keys(entries[user], user)
        if kind == "role":
            history.look_at_role(entries[user], user)


def learn(history, name, kind, answer, calls):
    """What the host must have heard by this."""
    if kind not in ("account", "keys") or answer != "fresh" or not is_quiet(calls):
        return
    user = next((user for user, has in history.now.users.items() if has == name), None)
    if "ListGroupsForUser" in calls:
        history.is_known(lambda fact: fact[:2] == ("member", user))
    if "ListSSHPublicKeys" in calls:
        history.is_known(lambda fact: fact[:2] == ("key", user))


def beside(*orders):
    threads = [threading.Thread(target=order, args=(line,)) for line in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sync(histories, changing):
    """A pass, while some histories change, or none does."""
    changes = []
    if not changing:
        # Who was seen just before a pass is nobody whom its listing lacks.
        time.sleep(TOGETHER)
    for history in changing:
        history.begin()
        changes += [[*change, history] for change in history.plan([history.dice.randint(1, CALLS_OF_A_PASS)])]
    answer, calls = while_it_changes(changes, lambda: order("sync"))
    did["passes"] += 1
    is_whole = answer.startswith("done ") and calls.count("ListGroupsForUser") < MOST_SIGHTINGS
    for history in histories:
        if not changing and is_whole:
            # A pass asks for nobody's keys.
            history.is_known(lambda fact: fact[0] != "key")
        history.look()


def settle(histories):
    """Once nothing changes, everybody has what IAM gives them, unless their name was somebody else's here."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while True:
        sync(histories, [])
        different = [found for history in histories for user in history.now.users if (found := difference(history, user))]
        if not different:
            did["settled"] += sum(len(history.now.users) for history in histories)
            return
        if time.monotonic() > deadline:
            fail(f"nothing changes any more, and still: {different}")


def difference(history, user):
    """What a user has that IAM does not say, or the reverse; None where they agree."""
    name = history.now.users[user]
    order(f"keys {name}")
    entry = history.look().get(user)
    if entry is None or entry.pw_name != name:
        return f"seed {history.seed}: {user} is not {name} but {entry}"
    has = {(kind, what) for kind, whose, what in history.now.facts() if whose == user}
    keys = history.look_at_keys(entry, user)
    if entry.pw_shell == REFUSAL:
        others = {fact for fact in history.ever if fact[0] == "name" and fact[1] != user and fact[2] == name}
        is_right = others or history.required and ("member", REQUIRED) not in has
        return None if is_right else f"seed {history.seed}: {user} is refused although nobody else was ever {name}"
    ours = {group for group, called in history.now.groups.items() if called.startswith("keymaker_")}
    groups = {number(what) for kind, what in has if kind == "member" and what in ours}
    if groups_of(entry) != groups or keys != {what for kind, what in has if kind == "key"}:
        return f"seed {history.seed}: {user} has {groups_of(entry)} and {keys}, and should have {groups} and {has}"
    return None


def check_witness():
    """Nobody ever changes anything about her."""
    entry = pwd.getpwnam("zoe")
    has = os.getgrouplist("zoe", entry.pw_gid)
    if entry.pw_uid != number("AIDAZOE") or entry.pw_shell == REFUSAL or number("AGPAWITNESSES") not in has:
        fail(f"zoe lost something: {entry} {has}")


def fail(sentence):
    print(summary(), f"\nFAILED: {sentence}", sep="", flush=True)
    os._exit(1)


def summary():
    return "\n".join(f"{count:6} {what}" for what, count in sorted(did.items()))


def seed_of(histories, grade):
    users = [{"name": "zoe", "id": "AIDAZOE", "groups": ["keymaker_witnesses", "required"], "keys": [f"ssh-rsa {rsa_key('zoe')}"]}]
    groups = [{"name": "keymaker_witnesses", "id": "AGPAWITNESSES"}, {"name": "required", "id": REQUIRED}]
    for history in histories:
        content = history.now.seed(history)
        users += [{**user, "path": history.path} for user in content["users"]]
        groups += [{**group, "path": history.path} for group in content["groups"]]
    roles = [{"name": f"user-{name}"} for history in histories for name in history.user_names]
    if grade == "1":
        may = ["iam:Get*", "iam:List*", "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": may, "Resource": "*"}]}
        roles.append({"name": "sandbox-instance", "policies": {"keymaker": policy}})
    return {"users": users, "groups": groups, "roles": roles}


def main(first, count, rounds, grade, *settings):
    global log, CALLS_OF_A_PASS
    began = time.monotonic()
    histories = [History(seed, "required" in settings) for seed in range(int(first), int(first) + int(count))]
    # A call for each group, or one for everything.
    CALLS_OF_A_PASS = 8 if grade == "1" else 2 * len(histories) + 4
    with open("/run/e2e/histories.json", "w") as file:
        json.dump(seed_of(histories, grade), file)
    subprocess.run(["sandbox-reset", "/run/e2e/histories.json"], check=True)
    log = Log()
    subprocess.run(["systemctl", "start", "keymakerd"], check=True)
    while not order("sync").startswith("done "):
        if time.monotonic() > began + SETTLED_WITHIN:
            fail("keymakerd cannot read all of IAM")
        time.sleep(1)
    log.news()
    for turn in range(int(rounds)):
        for history in histories:
            flow(history)
            check_witness()
        sync(histories, histories[turn % 5::5] if turn % 2 == 0 else [])
        check_witness()
    settle([history for history in histories if history.seed % 3 == 0])
    print(f"{count} histories, seeds from {first} on, grade {grade} {' '.join(settings)}, {time.monotonic() - began:.1f} s")
    print(summary())


did = collections.Counter()
USERS_GID = grp.getgrnam("keymaker-users").gr_gid
main(*sys.argv[1:])
