"""Logins of users who were never on this host, with AWS at 30 ms a call."""

import collections
import pathlib
import shlex
import subprocess
import sys
import threading
import time

from logins import local_user, more
from measuring import sh, show, shuffled, spread, table

PAIRS, AT_ONCE, PACED = 20, 200, 30
# Of users whose keys it never had keymakerd asks for 60 calls at once and then five a second (docs/protocol.md), and one takes four.
PACE = 0.85
AWS_MS = 30
# Who has alice's key, on the host of 1,000 users and on that of 5,000: as many as these tables need, from the last and from the first on.
FEW, MANY = range(1000 - PAIRS - 2 * PACED - AT_ONCE, 1000), range(PAIRS)


@table
def first_logins():
    users = int(metrics("keymakerd_users ")[0].split()[-1])
    numbers = MANY if users > 1001 else FEW
    for number in range(PAIRS):
        local_user(f"new{number}")
    # Until /etc/passwd has been read again.
    sh("keymaker sync")
    sh(f"sandbox-fault slow:{AWS_MS}")
    taken, calls = {"of IAM": [], "local": []}, Calls()
    for at, number in enumerate(numbers[:PAIRS]):
        for kind, user in shuffled({"of IAM": f"u{number:05}", "local": f"new{at}"}.items()):
            seconds, refused = login(user)
            assert not refused, f"{user}: {refused}"
            taken[kind].append(seconds * 1e9)
    sh("sandbox-fault none")
    print(f"\n### First logins, among {users:,} users\n")
    print(
        f"milliseconds of {PAIRS} pairs in turn, each of two users who were never there before; the local one has a home and authorized_keys. "
        f"AWS takes {AWS_MS} ms a call. The IAM user's takes {more(taken, 'of IAM', 'local'):+.0f} ms more (median), and {calls.told(PAIRS)} calls, "
        "passes of the time included\n"
    )
    show(["user", "median", "10 %", "90 %"], [[kind, *spread(times)] for kind, times in taken.items()])


@table
def many_logins():
    settings = [f"MaxStartups {AT_ONCE * 2}", *(["PerSourcePenalties no"] if "persourcepenalties" in sh("sshd -T") else [])]
    sh(f"printf '%s\\n' {' '.join(map(shlex.quote, settings))} > /etc/ssh/sshd_config.d/10-bench.conf; systemctl restart ssh")
    users = [f"u{number:05}" for number in FEW[PAIRS:]]
    paced, unknown, known = users[:PACED], users[PACED:2 * PACED], users[2 * PACED:]
    sh(f"sandbox-fault slow:{AWS_MS}")
    rows = [[f"{PACED} first ones, {PACE} s apart", *crowd(paced, PACE)]]
    # Until the tokens are there again.
    time.sleep(12)
    rows.append([f"{PACED} first ones at once", *crowd(unknown)])
    # As PAM asks once a key is proved.
    sh(f"printf '%s\\n' {' '.join(known)} | xargs -P 16 -I NAME sh -c 'echo keys NAME | nc -NU /run/keymaker/login.sock'")
    rows.append([f"{AT_ONCE} at once, whose keys the host has had", *crowd(known)])
    sh("sandbox-fault none")
    print("\n### Many logins\n")
    print(
        f"seconds, among 1,000 users; AWS takes {AWS_MS} ms a call; {', '.join(settings)} in sshd_config. By default sshd turns away "
        "from the tenth on, and from OpenSSH 9.8 on everybody at an address where some were refused. For users whose keys this host never had "
        "keymakerd asks IAM for 60 calls at once and then five a second, so that nobody spends the account's quota by knowing names: when more come at once the "
        "later ones are refused and have to try again, and 1,000 who were never here take "
        f"{1000 * 4 / 5 / 60:.0f} minutes. Answers and calls include those of passes\n"
    )
    show(["logins", "refused", "all", "median of one", "longest", "keymakerd's answers", "calls of AWS"], rows)


def login(user):
    """Seconds, and what ssh said if it was not let in."""
    began = time.monotonic()
    asking = ["ssh", "-i", "/sandbox/keys/alice", "-o", "BatchMode=yes", f"{user}@localhost", "id", "-un"]
    done = subprocess.run(asking, capture_output=True, text=True)
    seconds = time.monotonic() - began
    return seconds, "" if done.stdout.strip() == user else done.stderr.strip().split(": ")[-1] or f"ssh exits with {done.returncode}"


def crowd(users, apart=0):
    results = []

    def work(user):
        results.append(login(user))

    calls, answers, began = Calls(), questions(), time.monotonic()
    threads = [threading.Thread(target=work, args=[user]) for user in users]
    for thread in threads:
        thread.start()
        time.sleep(apart)
    for thread in threads:
        thread.join()
    seconds = sorted(seconds for seconds, _ in results)
    refused = [said for _, said in results if said]
    if refused:
        print("refused:", collections.Counter(refused).most_common(3), file=sys.stderr)
    answers = ", ".join(f"{words} {number:,}" for words, number in sorted((questions() - answers).items()))
    return [str(len(refused)), f"{time.monotonic() - began:.1f}", f"{seconds[len(seconds) // 2]:.2f}", f"{seconds[-1]:.2f}", answers, calls.told()]


def questions():
    """How often keymakerd gave which answer to which question."""
    counts = collections.Counter()
    for line in metrics("keymakerd_questions_total{"):
        words = line.split('"')
        counts[f"{words[1]}: {words[3]}"] = int(line.split()[-1])
    return counts


def metrics(beginning):
    said = sh("curl -sS --unix-socket /run/keymaker/status.sock http://keymakerd/metrics")
    return [line for line in said.splitlines() if line.startswith(beginning)]


class Calls:
    """Of the fake AWS, since this was made."""

    def __init__(self):
        self.before = self.counts()

    @staticmethod
    def counts():
        lines = pathlib.Path("/sandbox/calls.log").read_text().splitlines()
        return collections.Counter(line.split()[1] for line in lines if "/Administrator/" not in line)

    def told(self, of=1):
        since = self.counts() - self.before
        number = sum(since.values())
        each = f"{number / of:.1f}" if of > 1 else f"{number:,}"
        return f"{each} ({', '.join(f'{action.split(chr(58))[1]} {count:,}' for action, count in since.most_common())})"
