"""Logins, and what sshd runs for one."""

import contextlib
import os
import pathlib
import pwd
import statistics
import subprocess

from measuring import in_turn, run, sh, show, spread, table
from peers import FETCHED, network_of


@table
def logins():
    print("\n### A login, `ssh localhost true`\n")
    local_user("local")
    local_user("mkhomedir")
    # For this user alone, whose home is there, as everybody's.
    with open("/etc/pam.d/sshd", "a") as rules:
        rules.write("session [success=1 default=ignore] pam_succeed_if.so quiet user != mkhomedir\nsession required pam_mkhomedir.so\n")
    users = {"of IAM": "alice", "local, authorized_keys": "local", "local, with pam_mkhomedir, too": "mkhomedir"}
    taken = compared_logins(users, 50)
    print(f"milliseconds, 50 in turn; of a pair the IAM user's takes {more(taken, 'of IAM', 'local, authorized_keys'):+.1f} ms more (median) than the local user's, "
          f"{more(taken, 'of IAM', 'local, with pam_mkhomedir, too'):+.1f} ms more than one with pam_mkhomedir\n")
    show(["user", "median", "10 %", "90 %"], [[kind, *spread(taken[kind])] for kind in users])


def local_user(name):
    sh(f"useradd -m -s /bin/bash {name} && install -d -o {name} -m 700 /home/{name}/.ssh && "
       f"install -o {name} -m 600 /sandbox/keys/alice.pub /home/{name}/.ssh/authorized_keys")


def compared_logins(users, rounds):
    def login(user):
        return lambda: run(["ssh", "-i", "/sandbox/keys/alice", f"{user}@localhost", "true"])

    for user in users.values():
        said = sh(f"ssh -i /sandbox/keys/alice {user}@localhost id -un")
        assert said == user, said
    return in_turn({kind: login(user) for kind, user in users.items()}, rounds)


def more(taken, one, other):
    """Milliseconds, the median of the pairs'."""
    return statistics.median(first - second for first, second in zip(taken[one], taken[other])) / 1e6


@table
def sudo():
    print("\n### sudo of a member, `sudo -n true`\n")
    sh("groupadd -f admins; id -u member || useradd -m -G admins member")
    pathlib.Path("/etc/sudoers.d/admins").write_text("%admins ALL=(ALL:ALL) NOPASSWD: ALL\n")
    # After that: until /etc/group has been read again, what it says of IAM users' groups counts for nothing.
    sh("echo 'sudo_iam_group = \"keymaker_sudo\"' >> /etc/keymaker/keymakerd.toml; systemctl reload keymakerd; keymaker sync")
    members = {"of IAM": "alice", "local": "member"}
    asked = {kind: by_sudo(user) for kind, user in members.items()}
    taken = in_turn(asked, 200)
    print(f"milliseconds of 200 pairs in turn; of a pair the IAM user's takes {more(taken, 'of IAM', 'local'):+.2f} ms more (median)\n")
    show(["member", "median", "10 %", "90 %"], [[kind, *spread(taken[kind])] for kind in members])


def by_sudo(name):
    user = pwd.getpwnam(name)
    whose = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": os.getgrouplist(name, user.pw_gid), "cwd": "/"}
    said = subprocess.run(["sudo", "-n", "id", "-u"], capture_output=True, text=True, **whose)
    assert said.stdout == "0\n", f"{name}: {said.stderr}"
    return lambda: subprocess.run(["sudo", "-n", "true"], check=True, **whose)


@table
def keys_command():
    print("\n### The keys command, whole process\n")
    key = pathlib.Path("/sandbox/keys/alice.pub").read_text().split()
    uid = subprocess.run(["id", "-u", "alice"], capture_output=True, text=True, check=True).stdout.strip()
    print_of_key = subprocess.run(["ssh-keygen", "-lf", "/sandbox/keys/alice.pub"], capture_output=True, text=True, check=True).stdout
    words = subprocess.run(["sshd", "-T", "-C", "user=alice,host=localhost,addr=127.0.0.1"], capture_output=True, text=True, check=True)
    command = next(line.split()[1:] for line in words.stdout.splitlines() if line.startswith("authorizedkeyscommand "))
    values = {"%u": "alice", "%U": uid, "%f": print_of_key.split()[1], "%t": key[0], "%k": key[1]}
    python = python_keymaker()
    # What each is, and how small a part of its time ours is to be.
    programs = {
        "keymaker-keys": ([values.get(word, word) for word in command], None),
        "/bin/true": (["/bin/true"], "≤ 1.25"),
        "sss_ssh_authorizedkeys": (["sss_ssh_authorizedkeys", "alice"], "≤ 0.5"),
        "google_authorized_keys": (["google_authorized_keys", "alice"], "≤ 0.5"),
        PREDECESSOR: ([python, "get_authorized_keys", "alice"], "≤ 1/250"),
    }
    refused = {name: why_not(command, key[1]) for name, (command, _) in programs.items() if name != "/bin/true"}
    able = {name: command for name, (command, _) in programs.items() if not refused.get(name)}
    # As sshd does.
    unheard = {"stderr": subprocess.DEVNULL}
    with network_of("oslogin"):
        quick = in_turn({name: lambda command=command: run(command, **unheard) for name, command in able.items() if name != PREDECESSOR}, 300)
    slow = in_turn({name: lambda name=name: run(able[name], **unheard) for name in able if name in ("keymaker-keys", PREDECESSOR)}, 12)
    print("milliseconds of 300 in turn, and of 12 with the Python one; the last column is the part of its time that `keymaker-keys` takes\n")
    rows = []
    for name, (_, goal) in programs.items():
        if refused.get(name):
            rows.append([f"`{name}`", f"not possible: {refused[name]}", "", "", ""])
            continue
        times = slow if name == PREDECESSOR else quick
        part = statistics.median(times["keymaker-keys"]) / statistics.median(times[name])
        told = f"{part:.2f}" if part > 0.1 else f"1/{1 / part:.0f}"
        rows.append([f"`{name}`", *spread(times[name]), f"{told} ({goal})" if goal else ""])
    show(["program", "median", "10 %", "90 %", "ours of it (goal)"], rows)


PREDECESSOR = "keymaker 1.1.0 (Python)"


def python_keymaker():
    """Installed as from PyPI, but into no setting of sshd's; that it finds the fake AWS is in this environment."""
    home = "/opt/predecessor"
    sh(f"/opt/aws/bin/python -m venv {home} && {home}/bin/pip install -q --no-index --find-links {FETCHED}/pypi keymaker")
    return f"{home}/bin/keymaker"


def why_not(command, key):
    """Nothing where this prints the key."""
    with network_of("oslogin") if command[0] == "google_authorized_keys" else contextlib.nullcontext():
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if key in done.stdout:
        return None
    return (done.stderr.strip().splitlines() or ["prints no key"])[-1]


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
