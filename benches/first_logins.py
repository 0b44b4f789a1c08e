"""Logins of users who were never on this host, with AWS at 30 ms a call."""

import collections
import pathlib
import statistics
import subprocess
import threading
import time

from measuring import sh, show, shuffled, spread, table

PAIRS, AT_ONCE, MANY, WORKERS = 30, 200, 1000, 8
AWS_MS = 30


@table
def first_logins():
    sh(f"echo 'MaxStartups {AT_ONCE * 2}' > /etc/ssh/sshd_config.d/10-bench.conf; systemctl restart ssh")
    for number in range(PAIRS):
        sh(f"useradd -m -s /bin/bash local{number} && install -d -o local{number} -m 700 ~local{number}/.ssh && "
           f"install -o local{number} -m 600 /sandbox/keys/alice.pub ~local{number}/.ssh/authorized_keys")
    sh(f"sandbox-fault slow:{AWS_MS}")
    print("\n### First logins\n")
    pairs()
    users = [f"u{number:05}" for number in range(PAIRS, PAIRS + AT_ONCE + MANY)]
    crowds = [
        [f"{AT_ONCE} first logins at once", *crowd(users[:AT_ONCE], AT_ONCE)],
        [f"{AT_ONCE} logins at once, of the same users", *crowd(users[:AT_ONCE], AT_ONCE)],
        [f"{MANY} first logins, {WORKERS} at once", *crowd(users[AT_ONCE:], WORKERS)],
    ]
    sh("sandbox-fault none")
    print("\n### Many logins\n")
    print(f"seconds; AWS likewise; MaxStartups {AT_ONCE * 2} in sshd_config, whose default would turn away whoever is the hundredth. What keymakerd answered and what it "
          "asked includes the passes of the time\n")
    show(["what", "refused", "all", "median of one", "longest", "keymakerd's answers", "calls of AWS"], crowds)


def pairs():
    taken = {"of IAM": [], "local": []}
    calls = Calls()
    for number in range(PAIRS):
        for kind, user in shuffled({"of IAM": f"u{number:05}", "local": f"local{number}"}.items()):
            seconds, refused = login(user)
            assert not refused, refused
            taken[kind].append(seconds * 1e9)
    more = statistics.median(one - other for one, other in zip(taken["of IAM"], taken["local"]))
    print(f"milliseconds of {PAIRS} pairs in turn, each of two users who were never there before; the local one has a home and authorized_keys. AWS takes {AWS_MS} ms "
          f"a call. The IAM user's takes {more / 1e6:+.0f} ms more (median), {calls.told(PAIRS)} calls a login, passes included\n")
    show(["user", "median", "10 %", "90 %"], [[kind, *spread(times)] for kind, times in taken.items()])


def login(user):
    """Seconds, and what ssh said if it was not let in."""
    began = time.monotonic()
    done = subprocess.run(["ssh", "-i", "/sandbox/keys/alice", "-o", "BatchMode=yes", f"{user}@localhost", "id", "-un"], capture_output=True, text=True)
    seconds = time.monotonic() - began
    return seconds, "" if done.stdout.strip() == user else done.stderr or f"ssh exits with {done.returncode}"


def crowd(users, workers):
    results, left, lock = [], list(users), threading.Lock()

    def work():
        while True:
            with lock:
                if not left:
                    return
                user = left.pop()
            result = login(user)
            with lock:
                results.append(result)

    calls, answers, began = Calls(), questions(), time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = sorted(seconds for seconds, _ in results)
    refused = [said for _, said in results if said]
    if refused:
        print("refused:", collections.Counter(refused).most_common(3))
    answers = ", ".join(f"{words} {number:,}" for words, number in sorted((questions() - answers).items()))
    return [str(len(refused)), f"{time.monotonic() - began:.1f}", f"{seconds[len(seconds) // 2]:.2f}", f"{seconds[-1]:.2f}", answers, calls.told()]


def questions():
    """How often keymakerd gave which answer to which question."""
    counts = collections.Counter()
    for line in sh("curl -sS --unix-socket /run/keymaker/status.sock http://keymakerd/metrics").splitlines():
        if line.startswith("keymakerd_questions_total{"):
            words = line.split('"')
            counts[f"{words[1]}: {words[3]}"] = int(line.split()[-1])
    return counts


class Calls:
    """Of the fake AWS, since this was made."""

    def __init__(self):
        self.before = self.counts()

    @staticmethod
    def counts():
        return collections.Counter(line.split()[1] for line in pathlib.Path("/sandbox/calls.log").read_text().splitlines() if "/Administrator/" not in line)

    def told(self, of=1):
        since = self.counts() - self.before
        number = sum(since.values())
        each = f"{number / of:.1f}" if of > 1 else f"{number:,}"
        return f"{each} ({', '.join(f'{action.split(chr(58))[1]} {count:,}' for action, count in since.most_common())})"
