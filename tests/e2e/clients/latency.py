#!/usr/bin/python3
"""What credentials cost through credd, against the real service's stand-in asked directly, as rows of a table for benches/inside.py. By
itself, as root:

    ./sandbox -- /sandbox/project/tests/e2e/clients/latency.py

With the words USER NUMBER, and an ADDRESS:PORT that is not the service's own, it prints the milliseconds of that many conversations of this user.
A conversation is what an SDK does: a token, the role's name, the credentials; a connection for each, since both close it.
"""

import http.client
import os
import pwd
import statistics
import subprocess
import sys
import time

ADDRESS = "169.254.169.254:80"
LIST = "/latest/meta-data/iam/security-credentials/"
WARM, COLD = 1000, 20


def main():
    if len(sys.argv) > 1:
        print(*times(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
        return
    direct = times("root", WARM)
    report("direct, stand-in, conversation", direct, direct)
    warm = times("alice", WARM)
    report("credd, warm, conversation", warm, direct)
    # The daemon's own start is not in it: a token is had first, as by a shell that asks again.
    cold = []
    for _ in range(COLD):
        subprocess.run(["systemctl", "restart", "credd"], check=True)
        cold += times("alice", 1)
    report("credd, cold, conversation", cold, direct)
    single, direct = (times(user, WARM, only_credentials=True) for user in ("alice", "root"))
    report("direct, stand-in, credentials alone", direct, direct)
    report("credd, warm, credentials alone", single, direct)


def times(user, number, address=ADDRESS, only_credentials=False):
    """Milliseconds of each conversation, by a process of that user."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        uid = pwd.getpwnam(user).pw_uid
        os.setgroups([])
        os.setresuid(uid, uid, uid)
        taken = measured(number, address, only_credentials)
        os.write(writing, " ".join(taken).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return [float(word) for word in text.split()]


def measured(number, address, only_credentials):
    taken = []
    token, role, headers = None, None, {}
    for _ in range(number):
        start = time.perf_counter()
        if token is None or not only_credentials:
            token = request(address, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
            # As an SDK, where a service has no tokens.
            headers = {"X-aws-ec2-metadata-token": token} if token else {}
            role = request(address, "GET", LIST, headers)
            if only_credentials:
                start = time.perf_counter()
        assert "SecretAccessKey" in request(address, "GET", LIST + role, headers)
        taken.append(f"{(time.perf_counter() - start) * 1000:.3f}")
    return taken


def request(address, method, path, headers):
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200 or (method, answer.status) == ("PUT", 405), (answer.status, text)
    return text if answer.status == 200 else ""


def report(name, taken, direct):
    median = statistics.median(taken)
    ratio = median / statistics.median(direct)
    highest = sorted(taken)[max(0, int(len(taken) * 0.99) - 1)]
    print(f"| {name} | {median:.2f} | {highest:.2f} | {ratio:.2f} |", flush=True)


main()
