"""Credentials, asked of credd: what an SDK's conversation takes, and what credd bears."""

import itertools
import json
import pathlib
import pwd
import socket
import statistics
import subprocess
import sys
import time

from measuring import sh, show, shuffled, spread, table

LATENCY = "/sandbox/project/tests/e2e/clients/latency.py"
LIST = "/latest/meta-data/iam/security-credentials/"
CREDD, HYPER = "169.254.169.254:80", "127.0.0.1:8000"
# Each may make 1,000 requests a second after a burst of 2,000, and have 64 connections at once.
CLIENTS = [f"u{number:05}" for number in range(16)]
ROUNDS, SECONDS = 3, 2
FOLDER = pathlib.Path("/run/bench/load")


@table
def credentials():
    print("\n### Credentials\n")
    show(["asked", "median, ms", "99 % below, ms", "of direct"], [])
    sys.stdout.flush()
    subprocess.run([LATENCY], check=True)
    predecessor()


def predecessor():
    """At its own port, without the rules of iptables that lead there: credd's capture stays, and the two are asked in turn."""
    print("\n### A conversation, credd and ec2userkeyd\n")
    sh("python3 -m venv /opt/ec2userkeyd && /opt/ec2userkeyd/bin/pip install -q --no-index --find-links /sandbox/tools/ec2userkeyd ec2userkeyd")
    pathlib.Path("/etc/ec2userkeyd.conf").write_text("[general]\niptables = /bin/true\n")
    # It knows no tokens, towards the real service either.
    sh("sandbox-imds set http-tokens optional")
    peer_at = "127.0.0.1:808"
    log = open("/run/ec2userkeyd.log", "w+")
    peer = subprocess.Popen(["/opt/ec2userkeyd/bin/ec2userkeyd", "daemon"], stdout=log, stderr=log)
    try:
        connected("127.0.0.1", 808, peer)
        asked = {
            "credd": (CREDD, "none"),
            "ec2userkeyd": (peer_at, "none"),
            "ec2userkeyd, STS at 30 ms a call": (peer_at, "slow:30:GetCallerIdentity"),
        }
        taken = {name: [] for name in asked}
        for _ in range(5):
            for name, (address, fault) in asked.items():
                sh(f"sandbox-fault {fault}")
                taken[name] += [float(word) * 1e6 for word in sh(f"{LATENCY} alice 21 {address}").split()[1:]]
        assert whose(CREDD) == whose(peer_at) == "user-alice", "they are of other roles"
    except (OSError, SystemExit) as error:
        log.seek(0)
        last = (log.read().splitlines() or [""])[-1]
        print(f"ec2userkeyd 0.5.0: not possible: {error} {last}")
        return
    finally:
        peer.kill()
        sh("sandbox-fault none; sandbox-imds set http-tokens required")
    times = [statistics.median(of) for of in taken.values()]
    print(f"warm, milliseconds of 100 in turn. ec2userkeyd 0.5.0, of PyPI, takes {times[1] / times[0]:.0f} times as long, "
          f"with an STS that is as far away as a real one {times[2] / times[0]:.0f} times: each time it asks STS who it is\n")
    show(["asked", "median", "10 %", "90 %"], [[name, *spread(taken[name])] for name in taken])


def whose(address):
    """The role whose credentials alice gets there."""
    token = alices(f"-X PUT -H X-aws-ec2-metadata-token-ttl-seconds:60 http://{address}/latest/api/token")
    header = f"-H X-aws-ec2-metadata-token:{token}" if "<" not in token else ""
    role = alices(f"{header} http://{address}{LIST}")
    got = json.loads(alices(f"{header} http://{address}{LIST}{role}"))
    names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey", "AWS_SESSION_TOKEN": "Token"}
    words = " ".join(f"{name}={got[field]}" for name, field in names.items())
    return sh(f"{words} aws sts get-caller-identity --query Arn --output text").split("/")[1]


def alices(words):
    return sh(f"runuser -u alice -- curl -sS {words}")


def connected(address, port, server):
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection((address, port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.05)


@table
def load():
    asked = {client: warm(client) for client in CLIENTS}
    hyper = bare_hyper(asked[CLIENTS[0]])
    taken, cells = {}, list(itertools.product((CREDD, HYPER), ("close", "keep-alive"), (1, 16, 256)))
    for turn in range(ROUNDS):
        for cell in shuffled(cells):
            taken.setdefault(cell, []).append(driven(*cell, asked, turn))
    hyper.kill()
    print("\n### Load\n")
    print(f"warm credentials, {ROUNDS} times {SECONDS} s of each in turn, by wrk; of hyper's in brackets. One user has one "
          "connection, sixteen users have 16, or 256; credd closes every connection after its answer, whatever the client asks\n")
    rows = []
    for kind in ("close", "keep-alive"):
        for number in (1, 16, 256):
            ours, theirs = taken[CREDD, kind, number], taken[HYPER, kind, number]
            rows.append([f"{number}, {kind}", *compared(ours, theirs, 0, ",.0f"), *compared(ours, theirs, 1, ".2f")])
    show(["connections", "credd, requests/s", "hyper", "credd, 99 % below, ms", "hyper"], rows)
    callers()


def warm(client):
    """This client's token, where its credentials are and what credd says for them, as it came."""
    token = answer(client, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600").split(b"\r\n\r\n", 1)[1].decode()
    with_token = f"X-aws-ec2-metadata-token: {token}"
    role = answer(client, "GET", LIST, with_token).split(b"\r\n\r\n", 1)[1].decode()
    whole = answer(client, "GET", LIST + role, with_token)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / client).write_bytes(whole.split(b"\r\n\r\n", 1)[1])
    return {"token": token, "path": LIST + role, "whole": whole}


def answer(client, method, path, header):
    asking = ["curl", "-sSi", "-X", method, "-H", header, f"http://{CREDD}{path}"]
    done = subprocess.run(asking, capture_output=True, check=True, **as_user(client))
    if not done.stdout.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"{client}: {method} {path}: {done.stdout.decode()}")
    return done.stdout


def as_user(client):
    entry = pwd.getpwnam(client)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def bare_hyper(asked):
    (FOLDER / "whole").write_bytes(asked["whole"])
    hyper = subprocess.Popen(["/sandbox/e2e/bare-hyper", HYPER, FOLDER / "whole"])
    connected(*HYPER.split(":"), hyper)
    return hyper


def driven(server, kind, number, asked, turn):
    """Requests a second, and milliseconds that 99 % are below; None where an answer was wrong."""
    clients = [CLIENTS[turn]] if number == 1 else CLIENTS
    running = []
    for client in clients:
        expected = FOLDER / (client if server == CREDD else CLIENTS[0])
        running.append(wrk(client, server, asked[client], kind, number // len(clients), SECONDS, expected))
    rate, latencies = 0, {}
    wrong = 0
    for one in running:
        for line in one.communicate()[0].splitlines():
            words = line.split()
            if words[:1] == ["all"]:
                rate += int(words[1]) / int(words[2]) * 1e6
                wrong += int(words[3])
            elif words[:1] == ["wrong"]:
                print(f"{server}, {number}, {kind}: status {words[1]}", file=sys.stderr)
            elif words[:1] == ["of"]:
                latencies[int(words[1])] = latencies.get(int(words[1]), 0) + int(words[2])
        if one.returncode:
            sys.exit(f"wrk: {one.returncode}")
    if wrong:
        print(f"{server}, {number}, {kind}: {wrong} answers wrong or none", file=sys.stderr)
        return None
    left = sum(latencies.values()) // 100
    for latency in sorted(latencies, reverse=True):
        left -= latencies[latency]
        if left < 0:
            return rate, latency / 1000


def wrk(client, server, asked, kind, connections, seconds, expected=None):
    command = [
        "/sandbox/tools/wrk/usr/bin/wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
        "-s", "/sandbox/project/benches/answers.lua",
        "-H", f"X-aws-ec2-metadata-token: {asked['token']}", "-H", "Host: 169.254.169.254", "-H", f"Connection: {kind}",
        f"http://{server}{asked['path']}", "--", expected or FOLDER / client,
    ]
    libraries = {"LD_LIBRARY_PATH": "/sandbox/tools/wrk/usr/lib/x86_64-linux-gnu"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=libraries, **as_user(client))


def compared(ours, theirs, which, form):
    if None in ours or None in theirs:
        return ["wrong answers" if None in ours else "", "wrong answers" if None in theirs else ""]
    median = [statistics.median(run[which] for run in runs) for runs in (ours, theirs)]
    return [f"{median[0]:{form}} ({median[0] / median[1]:.2f})", f"{median[1]:{form}}"]


def callers():
    """What it costs to be told apart, with many sockets on the host."""
    print("\n### The caller's lookup\n")
    print("microseconds: credd's two questions to the kernel by its own code, and a conversation of 100, with other sockets on the host\n")
    rows = []
    for sockets in (0, 2000, 20_000):
        crowd = crowded(sockets)
        each, secret = (int(word) / 1000 for word in sh("/sandbox/e2e/caller-lookup").split())
        taken = sorted(float(word) for word in sh(f"{LATENCY} alice 100").split())
        rows.append([f"{sockets:,}", f"{each:.1f}", f"{secret:,.0f}", f"{taken[50] * 1000:,.0f}"])
        for one in crowd:
            one.kill()
            one.wait()
    show(["other sockets", "at each connection", "before a secret", "conversation"], rows)


def crowded(sockets):
    """Processes that hold so many sockets of connections on the loopback."""
    holding = (
        "import socket, sys, time\n"
        "listener = socket.create_server(('127.0.0.1', 0), backlog=512)\n"
        "held = [(socket.create_connection(listener.getsockname()), listener.accept()) for _ in range(int(sys.argv[1]) // 2)]\n"
        "print('there', flush=True)\n"
        "time.sleep(600)\n"
    )
    parts = [min(800, sockets - at) for at in range(0, sockets, 800)]
    crowd = [subprocess.Popen([sys.executable, "-c", holding, str(part)], stdout=subprocess.PIPE, text=True) for part in parts]
    for one in crowd:
        assert one.stdout.readline() == "there\n", "no crowd"
    return crowd
