"""Capture, end to end. Called by capture.rs as root in a network namespace of its own, with the paths of credd and credd-capture.

This namespace is the host. Behind a veth pair another one is the hypervisor, with the metadata addresses on its loopback; a
third is a container that the host routes. Every request that reaches the stand-in is recorded; users' must not be there.
"""

import contextlib
import ctypes
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

V4, V6 = "169.254.169.254", "fd00:ec2::254"
ALICE, CREDD, CAPTURE = 2001, 998, 997
# Who asked for a token shows in the record by the life that they asked for.
TTL = {0: 61, ALICE: 62}
USERS = "/latest/meta-data/iam/security-credentials/role?user"
ROOTS = "/latest/meta-data/iam/security-credentials/role?root"
SECRET = "THE-INSTANCE-SECRET"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="credd-capture-"))
RECORD = WORK / "record"
STATE = WORK / "state" / "state"
LAST_PLAN = WORK / "state" / "last-plan"


def main(credd, capture, what):
    config = WORK / "credd.toml"
    config.write_text(f'exempt_uids = ["root", {CREDD}]\n')
    if what == "steps":
        return at_each_step(capture, config)
    promise("the stand is real: without capture a user and a container reach the service",
            lambda: all(SECRET in got for got in (ask(ALICE, V4), ask(ALICE, V6), ask_in_container())))
    promise("the stand is honest: what a user reached is in the record", lambda: len(heard_of_users()) >= 4)
    old = OldConnection(ALICE)
    keeper = start_capture(capture, config)
    eventually("capture goes up with no capability but CAP_NET_ADMIN", lambda: is_up(capture, config), 20)
    with serving(credd, config, transparent=True):
        keeper = under_capture(capture, config, old, keeper)
    RECORD.write_text("")
    promise("with credd stopped a user reaches nothing", lambda: not reaches_anything(ALICE))
    keeper.kill()
    keeper.wait()
    promise("with capture killed as well a user reaches nothing", lambda: not reaches_anything(ALICE))
    promise("and the real service heard of none of it", lambda: heard_of_users() == [])
    other_ways(credd, capture, config)


def under_capture(capture, config, old, keeper):
    RECORD.write_text("")
    for address in (V4, V6):
        answer = ask(ALICE, address, "/latest/meta-data/instance-id")
        promise(f"a user's request to {address} is answered by credd", lambda: "EC2ws" in answer and "i-real" in answer)
        promise(f"credd hands none of the instance's credentials out at {address}", lambda: SECRET not in ask(ALICE, address))
        promise(f"a socket bound to the device does not reach {address}", lambda: ask(ALICE, address, device="veth0") == "")
        promise(f"another port of {address} is closed", lambda: ask(ALICE, address, port=8080) == "")
    promise("a user's own source address changes nothing", lambda: SECRET not in ask(ALICE, V4, source="10.77.0.2"))
    promise("a connection from before capture is dead", lambda: old.ask() == "")
    promise("a routed container reaches nothing", lambda: ask_in_container() == "")
    eventually("root, exempt, reaches the real service", lambda: all(SECRET in ask(0, address, ROOTS) for address in (V4, V6)), 20)
    for broken in (["nft", "flush", "ruleset"],
                   ["nft", "delete", "table", "inet", "keymaker_credd"],
                   ["nft", "flush", "chain", "inet", "keymaker_credd", "guard"],
                   ["ip", "rule", "del", "pref", "100"], ["ip", "-6", "rule", "del", "pref", "100"],
                   ["ip", "rule", "del", "pref", "101"], ["ip", "-6", "rule", "del", "pref", "101"],
                   ["ip", "rule", "del", "pref", "98"], ["ip", "-6", "rule", "del", "pref", "99"],
                   ["ip", "route", "flush", "table", "169"], ["ip", "-6", "route", "flush", "table", "169"],
                   ["tc", "filter", "del", "dev", "veth0", "egress"], ["tc", "qdisc", "del", "dev", "veth0", "clsact"]):
        run(*broken)
        start = time.monotonic()
        # Within a second, as the clock in the report shows; the limit is for a machine that is busy with other tests.
        eventually(f"`{' '.join(broken)}` is put right", lambda: is_up(capture, config), 20)
        print(f"      after {time.monotonic() - start:.2f} s")
        promise("and credd answers", lambda: "EC2ws" in ask(ALICE, V4) and "EC2ws" in ask(ALICE, V6))
    told(capture, config)
    keeper = without_filters(keeper, capture, config)
    half_broken(keeper, capture, config)
    ipv6_off(capture, config)
    promise("the real service heard of none of the user's requests but what credd passed on", lambda: heard_of_users() == [])
    config.write_text(f'exempt_uids = ["root", {CREDD}, "a-user-of-iam"]\n')
    eventually("whom no account exempts is named, with the remedy", lambda: "a-user-of-iam, which exempts nobody" in (WORK / "capture.log").read_text(), 20)
    config.write_text(f'exempt_uids = ["root", {CREDD}]\ncontainers = ["172.17.0.0/16"]\n')
    eventually("a container network that is named may ask, once the settings say so", lambda: SECRET in ask_in_container(), 20)
    promise("and users still may not", lambda: SECRET not in ask(ALICE, V4))
    return keeper


def told(capture, config):
    """What the keeper cannot put right it tells credd, which gives no credentials meanwhile."""
    promise("credd is told that all is as planned", lambda: STATE.read_text() == "planned\n")
    path = os.path.realpath("/usr/sbin/ip")
    run("mount", "--bind", "/bin/false", path)
    run("nft", "flush", "ruleset")
    eventually("credd is told what cannot be put right", lambda: STATE.read_text() == "broken\n", 20)
    promise("and answers 503", lambda: " 503 " in ask(ALICE, V4))
    # One line a second tells of alice's refusals.
    eventually("and says why", lambda: "capture cannot be repaired" in (WORK / "credd.log").read_text(), 20)
    promise("and plain metadata all the same", lambda: "i-real" in ask(ALICE, V4, "/latest/meta-data/instance-id"))
    # Lazily: the keeper may be running it at this moment.
    run("umount", "--lazy", path)
    run("nft", "flush", "ruleset")
    eventually("until it is put right", lambda: STATE.read_text() == "planned\n" and is_up(capture, config), 20)


def without_filters(keeper, capture, config):
    """Where the third part cannot be had, the two before it are no worse. Returns the keeper that runs then."""
    path = os.path.realpath("/usr/sbin/tc")
    run("mount", "--bind", "/bin/false", path)
    run("nft", "flush", "ruleset")
    guard = lambda: run("nft", "list", "table", "inet", "keymaker_credd", check=False).returncode == 0
    eventually("without tc the guard comes back, and the state says that a part is missing", lambda: guard() and STATE.read_text() == "degraded\n", 20)
    said = run(capture, "--config", str(config), "check", check=False).stderr
    promise("and check says what is missing, and what to do", lambda: "tc -json qdisc show failed" in said and "iproute-tc" in said or print(said))
    promise("and credd answers", lambda: "EC2ws" in ask(ALICE, V4))
    keeper.kill()
    keeper.wait()
    STATE.unlink()
    keeper = start_capture(capture, config)
    eventually("a new keeper that cannot read the filters says so, too", lambda: STATE.exists() and STATE.read_text() == "degraded\n", 20)
    promise("and writes it down", lambda: "third part of capture is missing" in (WORK / "capture.log").read_text())
    eventually("and leaves root its way, which the filters still know", lambda: all(SECRET in ask(0, address, ROOTS) for address in (V4, V6)), 20)
    run("umount", "--lazy", path)
    run("tc", "qdisc", "del", "dev", "veth0", "clsact")
    eventually("with tc the filter comes back", lambda: is_up(capture, config) and STATE.read_text() == "planned\n", 20)
    return keeper


def half_broken(keeper, capture, config):
    """With the keeper stopped nothing is repaired: each half has to hold alone as far as it can."""
    keeper.send_signal(signal.SIGSTOP)
    run("ip", "route", "flush", "table", "169")
    promise("without the route a user reaches nothing", lambda: ask(ALICE, V4) == "")
    run("ip", "rule", "del", "pref", "100")
    run("ip", "rule", "del", "pref", "101")
    promise("without the rules the guard holds", lambda: ask(ALICE, V4) == "")
    as_uid(0, lambda: datagram("root"))
    as_uid(ALICE, lambda: datagram("a user"))
    eventually("a datagram reaches the real service where nobody is captured", lambda: "root's datagram" in RECORD.read_text(), 20)
    promise("and a user's does not", lambda: "a user's datagram" not in RECORD.read_text())
    keeper.send_signal(signal.SIGCONT)
    eventually("and all of it comes back", lambda: is_up(capture, config), 20)
    keeper.send_signal(signal.SIGSTOP)
    run("nft", "flush", "ruleset")
    promise("without the guard routing holds", lambda: "EC2ws" in ask(ALICE, V4) and SECRET not in ask(ALICE, V6))
    promise("for a socket bound to the device as well", lambda: all(ask(ALICE, address, device="veth0") == "" for address in (V4, V6)))
    promise("and for a routed container", lambda: ask_in_container() == "")
    keeper.send_signal(signal.SIGCONT)
    eventually("and the guard comes back", lambda: is_up(capture, config), 20)


def ipv6_off(capture, config):
    """IPv6 off by sysctl, as hardening guides have it: no route of it can lead to credd, and none is needed."""
    sysctl = pathlib.Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
    routes = lambda: run("ip", "-6", "route", "show", "table", "169", check=False).stdout
    sysctl.write_text("1")
    eventually("with IPv6 off capture is as planned", lambda: V6 not in routes() and is_up(capture, config) and STATE.read_text() == "planned\n", 20)
    promise("and credd answers on IPv4", lambda: "EC2ws" in ask(ALICE, V4))
    run("nft", "flush", "ruleset")
    promise("with IPv6 off its rules and guard keep users from the real service", lambda: ask(ALICE, V6) == "" and ask(ALICE, V6, device="veth0") == "")
    eventually("and the guard comes back", lambda: is_up(capture, config), 20)
    sysctl.write_text("0")
    eventually("with IPv6 on again credd answers there", lambda: V6 in routes() and is_up(capture, config) and "EC2ws" in ask(ALICE, V6), 20)


def other_ways(credd, capture, config):
    settings = f'exempt_uids = ["root", {CREDD}]\n'
    config.write_text(settings + 'capture = "nft"\n')
    keeper = start_capture(capture, config)
    eventually("the nft way goes up", lambda: is_up(capture, config), 20)
    with serving(credd, config, transparent=False):
        RECORD.write_text("")
        for address in (V4, V6):
            answer = ask(ALICE, address, "/latest/meta-data/instance-id")
            promise(f"the nft way: a request to {address} is answered by credd", lambda: "EC2ws" in answer and "i-real" in answer)
        promise("the nft way: credd's port cannot be dialled", lambda: ask(ALICE, "127.0.0.1", port=988) == "")
        promise("the nft way: nor on IPv6", lambda: ask(ALICE, "::1", port=988) == "")
        promise("the nft way: a socket bound to the device reaches nothing real", lambda: SECRET not in ask(ALICE, V4, device="veth0"))
        for _ in range(5):
            run("nft", "flush", "ruleset")
            promise("the nft way: while nftables is flushed a user reaches nothing real",
                    lambda: SECRET not in ask(ALICE, V4) + ask(ALICE, V6, device="veth0"))
            eventually("and it is put right", lambda: is_up(capture, config), 20)
        promise("the nft way: the real service heard of no user", lambda: heard_of_users() == [])
    promise("the nft way: with credd stopped a user reaches nothing", lambda: not reaches_anything(ALICE))
    config.write_text(settings + 'mode = "observe"\n')
    eventually("observe captures nothing", lambda: SECRET in ask(ALICE, V4), 20)
    seen = lambda: any('"observed"' in line and f'"uid":{ALICE}' in line for line in (WORK / "capture.log").read_text().splitlines())
    eventually("observe says who would have been captured", seen, 20)
    keeper.terminate()
    keeper.wait()
    one_half_missing(capture, config, settings)
    without_settings(credd, capture, config, settings)
    run(capture, "--config", str(config), "down")
    tried_out(capture, config, settings)
    run(capture, "--config", str(config), "down")
    promise("down takes everything down", lambda: "keymaker" not in run("nft", "list", "ruleset").stdout)


def tried_out(capture, config, settings):
    config.write_text(settings)
    log = open(WORK / "capture.log", "a")
    trial = subprocess.Popen([capture, "--config", str(config), "try"], stderr=log, stdout=log)
    eventually("a trial puts capture up", lambda: is_up(capture, config), 20)
    trial.send_signal(signal.SIGINT)
    promise("^C ends it", lambda: trial.wait(5) == 0)
    promise("and takes everything down", lambda: "169.254" not in run("ip", "rule").stdout)
    eventually("and lets everybody through", lambda: SECRET in ask(ALICE, V4), 20)


def one_half_missing(capture, config, settings):
    """Each half goes up alone where the other's program does not work."""
    for way, program in (("route", "ip"), ("route", "nft"), ("nft", "nft")):
        run(capture, "--config", str(config), "down")
        config.write_text(settings + f'capture = "{way}"\n')
        path = os.path.realpath(f"/usr/sbin/{program}")
        run("mount", "--bind", "/bin/false", path)
        failed = run(capture, "--config", str(config), "up", check=False)
        run("umount", "--lazy", path)
        RECORD.write_text("")
        promise(f"the {way} way without {program}: it says so", lambda: failed.returncode != 0 and f"{program} " in failed.stderr)
        reached = [ask(ALICE, address) for address in (V4, V6)]
        promise(f"the {way} way without {program}: a user reaches nothing", lambda: reached == ["", ""] and heard_of_users() == [])
        # keymakerd and credd are exempt like root: without the service they have no way to AWS.
        eventually(f"the {way} way without {program}: who is exempt reaches the service", lambda: all(SECRET in ask(0, address, ROOTS) for address in (V4, V6)), 20)


def at_each_step(capture, config):
    """Each command that changes the host fails once, where nothing of capture was up: a trial leaves the host as it was; by `up`
    users reach nothing, and exempt ones the service."""
    changes = WORK / "changes"
    for program in ("ip", "nft", "tc"):
        real = shutil.copy(os.path.realpath(f"/usr/sbin/{program}"), WORK / f"real-{program}")
        failing = WORK / f"failing-{program}"
        failing.write_text(f'''#!/bin/sh
case " $* " in *" add "*|*" replace "*|*" -f "*) echo "$0 $*" >>{changes}
    case " $(cat {WORK}/fails) " in *" $(wc -l <{changes}) "*|*" {program} "*) echo "no place for it" >&2; exit 1; esac ;;
esac
exec {real} "$@"
''')
        failing.chmod(0o755)
        run("mount", "--bind", str(failing), os.path.realpath(f"/usr/sbin/{program}"))

    def commanded(failing, *command):
        changes.write_text("")
        (WORK / "fails").write_text(f"{failing}\n")
        return subprocess.Popen([capture, "--config", str(config), *command], stderr=subprocess.PIPE, text=True)

    def without_places():
        """So that each position is the same step."""
        for device in devices():
            run("tc", "qdisc", "del", "dev", device, "clsact", check=False)

    without_places()
    before = host_state()
    steps, refused, position = 0, 0, 0
    while position <= steps:
        what = f"step {position} of {steps} fails" if position else "no step fails"
        up = commanded(position, "up")
        said = up.communicate()[1]
        steps = steps or len(changes.read_text().splitlines())
        is_whole = is_up(capture, config)
        promise(f"{what}: up says so, and check knows", lambda: (up.returncode == 0) == is_whole == (position == 0) or print(said))
        RECORD.write_text("")
        promise(f"{what}: a user reaches nothing", lambda: [ask(ALICE, address) for address in (V4, V6)] == ["", ""] and heard_of_users() == [])
        eventually(f"{what}: who is exempt reaches the service", lambda: all(SECRET in ask(0, address, ROOTS) for address in (V4, V6)), 20)
        run(capture, "--config", str(config), "down")
        promise(f"{what}: down leaves the host as it was", lambda: host_state() == before or print(host_state(), before))
        without_places()
        trial = commanded(position, "try")
        for line in trial.stderr:
            if "^C takes it down" in line:
                trial.send_signal(signal.SIGINT)
            refused += "everybody reaches the metadata service as before" in line
        trial.wait()
        promise(f"{what}: a trial leaves the host as it was", lambda: host_state() == before or print(host_state(), before))
        promise(f"{what}: and everybody reaches the service", lambda: all(SECRET in ask(uid, address) for uid in (0, ALICE) for address in (V4, V6)))
        without_places()
        position += 1
    up = commanded("ip nft", "up")
    up.communicate()
    RECORD.write_text("")
    promise("without rules and guard, the filters hold users back", lambda: up.returncode != 0 and [ask(ALICE, address) for address in (V4, V6)] == ["", ""] and heard_of_users() == [])
    (WORK / "fails").write_text("0")
    run(capture, "--config", str(config), "down")
    promise("without rules and guard: down leaves the host as it was", lambda: host_state() == before or print(host_state(), before))
    for program in ("ip", "nft", "tc"):
        run("umount", "--lazy", os.path.realpath(f"/usr/sbin/{program}"))
    # The filters can be missing: such a host is degraded, and the trial goes on.
    filters = 2 * len(devices())
    promise(f"of {steps} steps each but the {filters} of filters ends a trial", lambda: steps > 15 and steps - filters <= refused < steps or print(refused))


def host_state():
    """Rules, routes that the kernel did not make itself, nftables and filters; an empty clsact is nobody's."""
    shown = [[line for line in run(*command.split(), check=False).stdout.splitlines() if "proto kernel" not in line] for command in
             ("ip rule", "ip -6 rule", "ip route show table all", "ip -6 route show table all", "nft list ruleset")]
    return shown + [run("tc", "filter", "show", "dev", device, "egress", check=False).stdout for device in devices()]


def devices():
    return [link["ifname"] for link in json.loads(run("ip", "-json", "link", "show").stdout) if link["ifname"] != "lo"]


def without_settings(credd, capture, config, settings):
    """At a start at which no plan can be made the narrowest goes up, in each way of having had one before, or none."""
    def unreadable(path):
        hidden = WORK / "hidden"
        hidden.write_text("")
        hidden.chmod(0)
        run("mount", "--bind", str(hidden), path)
        return lambda: run("umount", "--lazy", path)

    def written(text):
        config.write_text(text)
        return lambda: None

    def gone():
        config.unlink()
        return lambda: None

    faults = {"a typo": lambda: written("exempt_uids = [\n"), "a newer version's key": lambda: written("from_tomorrow = 1\n"),
              "no file": gone, "an empty name": lambda: written('exempt_uids = [""]\nmode = "off"\n'),
              "no right to read it": lambda: unreadable(str(config)), "no right to read passwd": lambda: unreadable("/etc/passwd")}
    some = ("a typo", "no right to read passwd")
    for before, tried in (('containers = ["172.17.0.0/16"]\n', faults), ("", some), ('capture = "nft"\n', some)):
        for fault in tried:
            LAST_PLAN.unlink(missing_ok=True)
            config.write_text(settings + before)
            if before:
                keeper = start_capture(capture, config)
                eventually("a good plan is kept on disk", LAST_PLAN.exists, 20)
                keeper.kill()
                keeper.wait()
            run(capture, "--config", str(config), "down")
            STATE.unlink(missing_ok=True)
            end = faults[fault]()
            keeper = start_capture(capture, config)
            what = f"{fault} after {before.strip() or 'no good plan'}"
            eventually(f"{what}: credd is told", lambda: STATE.exists() and STATE.read_text() == "broken\n", 20)
            RECORD.write_text("")
            promise(f"{what}: users and containers reach nothing",
                    lambda: not reaches_anything(ALICE) and ask_in_container() == "" and heard_of_users() == [])
            # A first packet may be lost while rules change; the next goes a second later.
            eventually(f"{what}: root reaches the real service", lambda: SECRET in ask(0, V4, ROOTS), 20)
            end()
            config.write_text(settings + before)
            eventually(f"{what}: once it can be read all is as planned", lambda: STATE.read_text() == "planned\n" and is_up(capture, config), 20)
            config.write_text("nonsense = 1\n")
            eventually("the keeper says what it cannot read", lambda: "nonsense" in (WORK / "capture.log").read_text(), 20)
            promise("and leaves capture as it is", lambda: STATE.read_text() == "planned\n")
            keeper.kill()
            keeper.wait()
    config.write_text(settings)


# What the promises are made of

def promise(sentence, holds):
    if not holds():
        sys.exit(f"BROKEN: {sentence}\n{RECORD.read_text()[-2000:]}\n" + "".join(log.read_text()[-3000:] for log in WORK.glob("*.log")))
    print(f"kept: {sentence}")


def eventually(sentence, holds, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return promise(sentence, lambda: True)
        time.sleep(0.02)
    return promise(sentence, holds)


def ask(uid, address, path=USERS, port=80, device=None, source=None):
    """What `uid` gets for `path`: a token first, as every SDK does. Nothing is "", whatever the reason."""
    def conversation():
        token = exchange(connect(address, port, device, source), f"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: {TTL[uid]}")
        token = token.rsplit("\r\n\r\n", 1)[-1].strip()
        return exchange(connect(address, port, device, source), f"GET {path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}")
    return as_uid(uid, conversation)


def connect(address, port=80, device=None, source=None):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.settimeout(1)
    if device:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if source:
        stream.bind((source, 0))
    stream.connect((address, port))
    # What is dropped is known after a second; who answers may be busy.
    stream.settimeout(5)
    return stream


def datagram(sender):
    """To the real service, without TCP. Sent twice: an error of the first shows at the second."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        for _ in range(2):
            stream.sendto(f"{sender}'s datagram".encode(), (V4, 80))
    return ""


def exchange(stream, head):
    stream.sendall(f"{head}\r\nHost: {V4}\r\n\r\n".encode())
    got = b""
    with contextlib.suppress(TimeoutError):
        while chunk := stream.recv(65536):
            got += chunk
            head_end = got.find(b"\r\n\r\n")
            lengths = [line for line in got[:head_end].lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if head_end > 0 and lengths and len(got) >= head_end + 4 + int(lengths[0].split(b":")[1]):
                break
    return got.decode()


def as_uid(uid, conversation):
    """In a child, since a socket belongs to the uid that made it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writing, conversation().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        got = pipe.read()
    os.waitpid(child, 0)
    return got


def reaches_anything(uid):
    return any(ask(uid, address, device=device) for address in (V4, V6) for device in (None, "veth0"))


class OldConnection:
    """A user's connection to the real service from before capture, kept open."""

    def __init__(self, uid):
        self.near, far = socket.socketpair()
        self.child = os.fork()
        if self.child == 0:
            os.setresuid(uid, uid, uid)
            stream = connect(V4)
            exchange(stream, "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 62")
            far.send(b"connected")
            far.recv(16)
            got = ""
            with contextlib.suppress(OSError):
                got = exchange(stream, f"GET {USERS} HTTP/1.1\r\nX-aws-ec2-metadata-token: x")
            far.send(got.encode() or b"-")
            os._exit(0)
        assert self.near.recv(16) == b"connected"

    def ask(self):
        self.near.send(b"ask")
        got = self.near.recv(65536).decode()
        os.waitpid(self.child, 0)
        return "" if got == "-" else got


def heard_of_users():
    """What reached the stand-in and came neither from root nor from credd: allow-listed metadata, and its own way to AWS."""
    own = [f"GET /latest/meta-data/{path} " for path in
           ("instance-id", "placement/region", "iam/security-credentials/", "iam/security-credentials/role")]
    of_credd = ("PUT /latest/api/token ttl=21600", "PUT /latest/api/token ttl=60", *own)
    of_root = (f"PUT /latest/api/token ttl={TTL[0]}", "GET /latest/meta-data/iam/security-credentials/role?root")
    return [line for line in RECORD.read_text().splitlines() if not line.startswith((*of_credd, *of_root))]


# The programs under test

def start_capture(capture, config):
    log = open(WORK / "capture.log", "a")
    net_admin = ["setpriv", f"--reuid={CAPTURE}", f"--regid={CAPTURE}", "--clear-groups", "--inh-caps=-all,+net_admin",
                 "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin", "--no-new-privs"]
    return subprocess.Popen([*net_admin, capture, "--config", str(config), "--state", str(STATE), "--last-plan", str(LAST_PLAN), "run"], stderr=log, stdout=log)


def is_up(capture, config):
    return run(capture, "--config", str(config), "check", check=False).returncode == 0


@contextlib.contextmanager
def serving(credd, config, transparent):
    """credd as systemd starts it: the sockets are passed, the uid is its own, and it has no capability."""
    listeners = []
    for family, address in ((socket.AF_INET, V4 if transparent else "127.0.0.1"), (socket.AF_INET6, V6 if transparent else "::1")):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            level, option = (socket.SOL_IP, 19) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 75)
            listener.setsockopt(level, option, 1)
        listener.bind((address, 80 if transparent else 988))
        listener.listen(64)
        listeners.append(listener)
    child = os.fork()
    if child == 0:
        pair = [os.dup(listener.fileno()) for listener in listeners]
        for wanted, descriptor in zip((30, 31), pair):
            os.dup2(descriptor, wanted)
        os.dup2(30, 3)
        os.dup2(31, 4)
        log = os.open(WORK / "credd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        os.setgroups([])
        os.setresgid(CREDD, CREDD, CREDD)
        os.setresuid(CREDD, CREDD, CREDD)
        environment = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}
        os.execve(credd, [credd, "--config", str(config), "--token-key", str(WORK / "run" / "key"), "--capture-state", str(STATE)], environment)
    for listener in listeners:
        listener.close()
    yield
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


# The network

def build_network():
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    (WORK / "run").mkdir()
    os.chown(WORK / "run", CREDD, CREDD)
    STATE.parent.mkdir()
    os.chown(STATE.parent, CAPTURE, CAPTURE)
    RECORD.write_text("")
    service = other_namespace()
    container = other_namespace()
    run("ip", "link", "set", "lo", "up")
    link("veth0", "10.77.0.2/24", "fd77::2/64", service, "10.77.0.1/24", "fd77::1/64")
    link("veth1", "172.17.0.1/16", "fd78::1/64", container, "172.17.0.2/16", "fd78::2/64")
    run("ip", "route", "add", "default", "via", "10.77.0.1")
    run("ip", "-6", "route", "add", "default", "via", "fd77::1")
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        pathlib.Path("/proc/sys/net", switch).write_text("1")
    inside(service, "ip", "addr", "add", f"{V4}/32", "dev", "lo")
    inside(service, "ip", "addr", "add", f"{V6}/128", "dev", "lo")
    inside(service, "ip", "route", "add", "172.17.0.0/16", "via", "10.77.0.2")
    inside(container, "ip", "route", "add", "default", "via", "172.17.0.1")
    inside(service, "ip", "-6", "route", "add", "fd78::/64", "via", "fd77::2")
    inside(container, "ip", "-6", "route", "add", "default", "via", "fd78::1")
    globals().update(CONTAINER=container, SERVICE=service)
    if os.fork() == 0:
        die_with_parent()
        enter(service)
        serve_as_the_real_service()
        signal.pause()
    eventually("the network is built", lambda: ask(0, V4, ROOTS) != "" and ask(0, V6, ROOTS) != "", 20)


def other_namespace():
    """A process that holds a network namespace; its pid."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        die_with_parent()
        if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
            os._exit(1)
        os.write(writing, b"x")
        signal.pause()
    os.close(writing)
    if os.read(reading, 1) != b"x":
        raise OSError("a network namespace could not be made")
    inside(child, "ip", "link", "set", "lo", "up")
    return child


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def enter(pid):
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(namespace, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def link(name, v4, v6, pid, other_v4, other_v6, other="eth0"):
    run("ip", "link", "add", name, "type", "veth", "peer", "name", other, "netns", str(pid))
    run("ip", "addr", "add", v4, "dev", name)
    run("ip", "addr", "add", v6, "dev", name, "nodad")
    run("ip", "link", "set", name, "up")
    inside(pid, "ip", "addr", "add", other_v4, "dev", other)
    inside(pid, "ip", "addr", "add", other_v6, "dev", other, "nodad")
    inside(pid, "ip", "link", "set", other, "up")


def inside(pid, *command):
    return run("nsenter", "-t", str(pid), "-n", *command)


def run(*command, check=True):
    return subprocess.run(command, check=check, capture_output=True, text=True)


def ask_in_container():
    def conversation():
        enter(CONTAINER)
        return exchange(connect(V4), f"GET {USERS} HTTP/1.1")
    return as_uid(0, conversation)


class RealService(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "REAL"

    def answer(self):
        with open(RECORD, "a") as record:
            ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            record.write(f"{self.command} {self.path} ttl={ttl} from {self.client_address[0]}\n")
        body = "real-token"
        if self.command == "GET":
            body = "i-real" if self.path.endswith("instance-id") else SECRET
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = answer

    def log_message(self, *_):
        pass


def serve_as_the_real_service():
    class V6Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
    def receive(family, address):
        with socket.socket(family, socket.SOCK_DGRAM) as stream:
            stream.bind((address, 80))
            while True:
                got, sender = stream.recvfrom(64)
                with open(RECORD, "a") as record:
                    record.write(f"PUT /latest/api/token ttl={TTL[0]} {got.decode()}\n")
                stream.sendto(SECRET.encode(), sender)
    for family, address in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        threading.Thread(target=receive, args=(family, address)).start()
    for port in (80, 8080):
        threading.Thread(target=http.server.ThreadingHTTPServer((V4, port), RealService).serve_forever).start()
        threading.Thread(target=V6Server((V6, port), RealService).serve_forever).start()


def begin(main):
    """With a network, and the paths of the programs under test."""
    if os.geteuid() != 0:
        print("only root can make network namespaces")
        sys.exit(77)
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables"), ("setpriv", "util-linux")):
        if shutil.which(tool) is None:
            print(f"{tool} is missing: install {package}")
            sys.exit(78)
    WORK.chmod(0o755)
    try:
        build_network()
    except (subprocess.CalledProcessError, OSError) as why:
        print(f"no network namespaces here: {why}")
        sys.exit(77)
    try:
        main(*sys.argv[1:])
    finally:
        subprocess.run(["rm", "-rf", str(WORK)], check=False)
    print("all promises kept")
    os._exit(0)


if __name__ == "__main__":
    begin(main)
