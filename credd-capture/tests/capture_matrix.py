"""The matrix: every way to connect, in each way of capture, with no, one and two faults. Called by capture.rs as capture.py is.

No keeper runs, so that nothing is ever put right: what holds here holds in the moment before a keeper notices, and for as long as it
is dead. Then the plan itself is tried: with all else gone, each of its lines is taken out, and somebody has to reach the real service,
or these cells would be green whatever capture did.
"""

import contextlib
import ctypes
import itertools
import json
import os
import re
import socket
import struct
import time

import capture as stand
from capture import ALICE, CREDD, SECRET, V4, V6, enter, inside, link, other_namespace, run

IP_UNICAST_IF, IPV6_UNICAST_IF, SO_MARK, MPTCP = 50, 76, 36, 262
NEW_USER_AND_NET = 0x10000000 | 0x40000000
# What leaves is at the service at once, or never.
PATIENCE = 0.4
CONFIG = stand.WORK / "credd.toml"
SETTINGS = f'exempt_uids = ["root", {CREDD}]\n'


def main(credd, capture, what):
    more = neighbours()
    CONFIG.write_text(SETTINGS)
    ways = {**ways_of_a_user(), **ways_of_neighbours(more)}
    reached = set()
    # A busy machine may need longer than PATIENCE, once.
    stand.eventually("each way that is one leads to the real service while nothing is captured",
                     lambda: reached.update(attempt_all(ways)) or reached >= ways.keys() - NO_WAY, 60)
    stand.promise("and no other does", lambda: not reached & NO_WAY)
    if what == "lines":
        each_line_counts(capture, ways)
    else:
        matrix(credd, capture, ways)


# Faults

# Who has a link of their own, and which.
BY_LINK = {"macvlan": "mac0", "bridge over the device": "inner", "bridge elsewhere over a macvlan": "inner",
           "ipvlan l2": "ipv0", "ipvlan l3": "ipv0", "ipvlan l3s": "ipv0", "VLAN": "vlan0", "VLAN with tags of its own": "vlan0"}
# Nothing answers there, or the device takes no frames.
ONLY_FRAMES, NO_FRAMES = ("bridge elsewhere over a macvlan",), ("ipvlan l3", "ipvlan l3s")


def fault(*commands):
    return lambda: [run(*command.split(), check=False) for command in commands]


PARTS = {
    "nft": fault("nft flush ruleset"),
    # What a flush leaves is what is always there; an administrator puts the ways to the tables back.
    "rules": fault(*(f"ip {family} rule {what}" for family in ("-4", "-6") for what in ("flush", "add pref 32766 lookup main"))),
    "routes": fault("ip -4 route flush table 169", "ip -6 route flush table 169"),
    "devices": lambda: [run("tc", "qdisc", "del", "dev", device, "clsact", check=False) for device in devices()],
}
WORLD = ("no credd", "no settings")


def matrix(credd, capture, ways):
    """Each combination on a capture that has just been put up whole."""
    tally, leaks = {}, []
    for way_of_capture in ("route", "nft"):
        CONFIG.write_text(f'{SETTINGS}capture = "{way_of_capture}"\n')
        keeper = stand.start_capture(capture, CONFIG)
        stand.eventually("a good plan is kept", lambda: f'"capture":"{way_of_capture}"' in kept_plan(), 20)
        keeper.kill()
        keeper.wait()
        clear(capture)
        for number in (0, 1, 2):
            for faults in itertools.combinations((*PARTS, *WORLD), number):
                CONFIG.write_text(f'{SETTINGS}capture = "{way_of_capture}"\n')
                with contextlib.ExitStack() as until_then:
                    if "no credd" not in faults:
                        until_then.enter_context(stand.serving(credd, CONFIG, transparent=way_of_capture == "route"))
                        answers = lambda: "EC2ws" in stand.ask(ALICE, V4)
                    put_up(capture, is_readable="no settings" not in faults)
                    if faults == ():
                        stand.eventually(f"{way_of_capture}: with all in place credd answers", answers, 20)
                    for part in faults:
                        PARTS.get(part, lambda: None)()
                    name = f"{way_of_capture}, {' and '.join(faults) or 'no fault'}"
                    # At the link only the filters stand.
                    tried = {way: what for way, what in ways.items() if "devices" not in faults or not way.startswith(tuple(BY_LINK))}
                    reached = attempt_all(tried)
                attempts, so_far = tally.get((way_of_capture, number), (0, 0))
                tally[way_of_capture, number] = (attempts + len(tried), so_far + len(reached))
                leaks += [f"{name}: {way}" for way in reached]
                clear(capture)
    for (way_of_capture, number), (attempts, leaked) in tally.items():
        print(f"{way_of_capture}, {number} faults: {attempts} attempts, {leaked} leaks")
    stand.promise("with no, one and two faults no way leads to the real service", lambda: leaks == [] or print("\n".join(leaks)))


def kept_plan():
    return stand.LAST_PLAN.read_text() if stand.LAST_PLAN.exists() else ""


def put_up(capture, is_readable):
    """Once, by nobody who stays. Without settings the last good plan is what counts."""
    if not is_readable:
        CONFIG.unlink()
    ended = run(capture, "--config", str(CONFIG), "--last-plan", str(stand.LAST_PLAN), "up", check=False)
    stand.promise("capture goes up" if is_readable else "without settings capture says so",
                  lambda: (ended.returncode == 0) == is_readable or print(ended.stderr))


def clear(capture):
    CONFIG.write_text(SETTINGS)
    run(capture, "--config", str(CONFIG), "down")
    PARTS["devices"]()


# Ways

def ways_of_a_user():
    """Each by its name; what it connects by, as alice."""
    index = socket.if_nametoindex("veth0")
    bound = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"veth0")
    ways = {
        "IPv4 by an IPv6 socket": lambda: dial("::ffff:" + V4),
        "interface, IPv4": lambda: dial(V4, option=(socket.IPPROTO_IP, IP_UNICAST_IF, socket.htonl(index))),
        "interface, IPv6": lambda: dial(V6, option=(socket.IPPROTO_IPV6, IPV6_UNICAST_IF, socket.htonl(index))),
        "source, IPv4": lambda: dial(V4, source="10.77.0.2"),
        "source, IPv6": lambda: dial(V6, source="fd77::2"),
    }
    for family, address in (("IPv4", V4), ("IPv6", V6)):
        for name, options in (("", {}), ("device, ", {"option": bound}), ("MPTCP, ", {"protocol": MPTCP})):
            ways[name + family] = lambda address=address, options=options: dial(address, **options)
        for name, option in (("", None), ("device, ", bound)):
            ways[f"UDP, {name}{family}"] = lambda address=address, option=option: datagrams(address, option)
        ways[f"another port, {family}"] = lambda address=address: dial(address, port=8080)
        loopback = "127.0.0.1" if family == "IPv4" else "::1"
        ways[f"the port of the redirect, {family}"] = lambda loopback=loopback: dial(loopback, port=988)
        ways[f"a mark, {family}"] = lambda address=address: dial(address, option=(socket.SOL_SOCKET, SO_MARK, 1))
        ways[f"raw, {family}"] = lambda address=address: raw(address)
        ways[f"own namespaces, {family}"] = lambda address=address: in_own_namespaces(address)
    return {way: (None, connect) for way, connect in ways.items()}


def ways_of_neighbours(neighbours):
    """As root in a network namespace of another's, with the mark that an own socket may have there."""
    ways = {
        f"{name}, {what}{family}": (pid, lambda address=address, option=option: dial(address, option=option))
        for name, pid in neighbours.items()
        for family, address in (("IPv4", V4), ("IPv6", V6))
        for what, option in (("", None), ("a mark, ", (socket.SOL_SOCKET, SO_MARK, 1)))
    }
    tags = {"frames": b"", "frames of priority 0": TAG, "frames with two tags": OUTER_TAG + TAG, "frames with four tags": OUTER_TAG + 3 * TAG}
    frames = {
        f"{name}, {what}": (neighbours[name], lambda device=device, tag=tag: Frames(device, tag))
        for name, device in BY_LINK.items() if name in neighbours and name not in NO_FRAMES
        for what, tag in tags.items()
    }
    return {way: how for way, how in ways.items() if not way.startswith(ONLY_FRAMES)} | frames


# They need a privilege that alice lacks, or a network that her own namespace lacks, or they do not lead to the service.
NO_WAY = {f"{way}, {family}" for way in ("a mark", "raw", "own namespaces", "the port of the redirect") for family in ("IPv4", "IPv6")}


def dial(address, option=None, source=None, protocol=0, port=80):
    stream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, protocol)
    stream.settimeout(PATIENCE)
    if option:
        stream.setsockopt(*option)
    if source:
        stream.bind((source, 0))
    stream.connect((address, port))
    # Who answers may be busy.
    stream.settimeout(20)
    return stream


def datagrams(address, option):
    stream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    if option:
        stream.setsockopt(*option)
    stream.connect((address, 80))
    return stream


# VLAN 0 is no VLAN: whoever gets such frames takes them for untagged ones, however many tags they have.
TAG, OUTER_TAG = b"\x81\x00\x00\x00", b"\x88\xa8\x00\x00"


class Frames:
    """A datagram in a frame of one's own, of which the kernel is told that it is something else."""
    type = socket.SOCK_RAW

    def __init__(self, device, tags):
        self.tags = tags
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((device, 0))
        self.own = self.socket.getsockname()[4]

    def send(self, text):
        datagram = struct.pack("!HHHH", 4000, 80, 8 + len(text), 0) + text
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0, bytes((10, 77, 0, 9)), socket.inet_aton(V4))
        words = sum(struct.unpack("!10H", head))
        head = head[:10] + struct.pack("!H", ~((words & 0xFFFF) + (words >> 16)) & 0xFFFF) + head[12:]
        frame = b"\xff" * 6 + self.own + self.tags + b"\x08\x00" + head + datagram
        self.socket.sendto(frame, (self.socket.getsockname()[0], 0x1234))

    def settimeout(self, _):
        pass

    def recv(self, _):
        # Whether it came there stands in the record.
        time.sleep(PATIENCE)
        return b""


def raw(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)


def in_own_namespaces(address):
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER_AND_NET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return dial(address)


def attempt_all(ways):
    """The ways by which something came to the real service, or from it. All at once, each in a process of its own."""
    stand.RECORD.write_text("")
    running = {}
    for number, (way, (namespace, connect)) in enumerate(ways.items()):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(OSError):
                if namespace is not None:
                    enter(namespace)
                else:
                    os.setgroups([])
                    os.setresgid(ALICE, ALICE, ALICE)
                    os.setresuid(ALICE, ALICE, ALICE)
                os.write(writing, converse(connect(), f"attempt-{number:03}").encode())
            os._exit(0)
        os.close(writing)
        running[way] = (child, reading, f"attempt-{number:03}")
    reached = []
    for way, (child, reading, mark) in running.items():
        with os.fdopen(reading) as pipe:
            got = pipe.read()
        os.waitpid(child, 0)
        if SECRET in got or mark in stand.RECORD.read_text():
            reached.append(way)
    return reached


def converse(stream, mark):
    if stream.type == socket.SOCK_STREAM:
        return stand.exchange(stream, f"GET /latest/meta-data/iam/security-credentials/role?{mark} HTTP/1.1")
    # An error of the first shows at the second. Whoever is there answers.
    stream.settimeout(PATIENCE)
    for _ in range(2):
        stream.send(mark.encode())
    return stream.recv(64).decode()


# Lines

# What is taken away beside a line of a part, so that nothing else stands in its place.
OTHERS = {"routing": ("nft", "devices"), "guard": ("rules", "devices"), "filter": ("nft", "rules")}
# Of routing, either holds whom no device binds: taken out with what stands behind it.
BACKED = r"100: .*|local \S+ dev lo .*"
# Lines whose loss opens nothing to these ways: they let through, are about others (uids below alice's, devices that lead nowhere), hold
# what another line holds as well, or close what has a test of its own (source routes, the redirect's port). Tried in the long form.
# nft(8) knows the word tcp where there is an /etc/protocols.
SPARE = "|".join((
    r"10[01]: .* uidrange 1-997 .*", rf"98: from all to {V6} iif lo goto 100", rf"101: from all to {V4} .*", r"local \S+ dev (br0|veth[123]) .*",
    r"br0|veth[13]", r'oifname "lo" accept', "meta skuid @exempt (accept|return)", ".* meta skuid @exempt meta mark set ours",
    "meta l4proto (tcp|6) counter reject with tcp reset", "(exthdr rt|ip option [ls]srr) exists (jump guard|counter drop)",
    "tcp dport 988 ct status dnat accept", "fib daddr type local tcp dport 988 .*", r"ip6? daddr \S+ tcp dport 80 redirect to :988",
))


def each_line_counts(capture, ways):
    """With the other parts gone, a line that is taken out opens a way, or is spare and opens none."""
    ways = {way: what for way, what in ways.items() if way not in NO_WAY}
    not_by_link = {way: what for way, what in ways.items() if not way.startswith(tuple(BY_LINK))}
    unlike, tried = [], 0
    for way_of_capture in ("route", "nft"):
        settings = f'{SETTINGS}capture = "{way_of_capture}"\n'
        CONFIG.write_text(settings)
        put_up(capture, is_readable=True)
        lines = [(part, line) for part, line, _ in lines_now()]
        clear(capture)
        for part, line in lines:
            is_spare = re.fullmatch(SPARE, line) is not None
            if is_spare and not os.environ.get("KEYMAKER_LONG"):
                continue
            CONFIG.write_text(settings)
            put_up(capture, is_readable=True)
            for other in OTHERS[part]:
                PARTS[other]()
            now = list(lines_now())
            run(*next(command for _, name, command in now if name == line))
            if re.fullmatch(BACKED, line):
                for _, name, command in now:
                    # Behind the line of the other family, too, which changes nothing there.
                    run(*command) if name.startswith("101:") else None
            reached = attempt_all(ways if part == "filter" else not_by_link)
            for _ in range(0 if is_spare else 20):
                # A busy machine may need longer than PATIENCE, once.
                reached = reached or attempt_all(ways if part == "filter" else not_by_link)
            clear(capture)
            tried += 1
            print(f"{way_of_capture}, without «{line}»: {len(reached)} ways lead there{' (spare)' if is_spare else ''}")
            unlike += [f"{way_of_capture}: {line}"] if bool(reached) == is_spare else []
    print(f"{tried} lines were taken out of the one part that was left, each alone")
    stand.promise("each line is missed by some way, unless it is spare, and then by none", lambda: unlike == [] or print("\n".join(unlike)))


def lines_now():
    """Each line of capture: its part, what it says, and the command that takes it out."""
    for family in ("-4", "-6"):
        for rule in run("ip", family, "rule").stdout.splitlines():
            line = " ".join(rule.split())
            if V4 in line or V6 in line:
                priority, words = line.split(":", 1)
                # Printed as "lookup 169", "goto 100", "prohibit": as they are typed, but for the last.
                yield "routing", line, ("ip", family, "rule", "del", "pref", priority, *words.replace("prohibit", "type prohibit").split())
        for route in run("ip", family, "route", "show", "table", "169", check=False).stdout.splitlines():
            yield "routing", " ".join(route.split()), ("ip", family, "route", "del", *route.split(), "table", "169")
    chain = ""
    for line in map(str.strip, run("nft", "-a", "-s", "list", "table", "inet", "keymaker_credd", check=False).stdout.splitlines()):
        said, _, handle = re.sub("mark set \\S+", "mark set ours", line).partition(" # handle ")
        if said.startswith("chain "):
            chain = said.split()[1]
        elif handle and not said.startswith(("table ", "set ")):
            yield "guard", said, ("nft", "delete", "rule", "inet", "keymaker_credd", chain, "handle", handle)
    for device in devices():
        if "bytecode" in run("tc", "filter", "show", "dev", device, "egress", check=False).stdout:
            yield "filter", device, ("tc", "filter", "del", "dev", device, "egress")


# The stand

def devices():
    return [link["ifname"] for link in json.loads(run("ip", "-json", "link", "show", "up").stdout) if link["ifname"] != "lo"]


def neighbours():
    """Root elsewhere: behind routing, and on links of their own to the network, with no routing in between. The pids."""
    found = {"routed": stand.CONTAINER, "macvlan": other_namespace(), "bridge over the device": other_namespace(),
             "bridge elsewhere over a macvlan": other_namespace()}
    run("ip", "link", "add", "link", "veth0", "name", "mac0", "type", "macvlan", "mode", "bridge")
    move("mac0", found["macvlan"], 9)
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "add", "veth2", "type", "veth", "peer", "name", "eth1", "netns", str(stand.SERVICE))
    run("ip", "link", "add", "veth3", "type", "veth", "peer", "name", "inner", "netns", str(found["bridge over the device"]))
    answer_at("eth1", 79)
    for device in ("veth2", "veth3"):
        run("ip", "link", "set", device, "master", "br0")
    for device in ("br0", "veth2", "veth3"):
        run("ip", "link", "set", device, "up")
    move("inner", found["bridge over the device"], 9, network=79)
    bridge_elsewhere(found["bridge elsewhere over a macvlan"])
    return found | by_ipvlan() | by_vlan()


def bridge_elsewhere(behind):
    """A namespace has a macvlan, a bridge over it, and behind that another namespace."""
    between = other_namespace()
    run("ip", "link", "add", "link", "veth0", "name", "mac1", "type", "macvlan", "mode", "bridge")
    run("ip", "link", "set", "mac1", "netns", str(between))
    inside(between, "ip", "link", "add", "br1", "type", "bridge")
    inside(between, "ip", "link", "add", "outer", "type", "veth", "peer", "name", "inner", "netns", str(behind))
    for device in ("mac1", "outer"):
        inside(between, "ip", "link", "set", device, "master", "br1")
    for device in ("mac1", "outer", "br1"):
        inside(between, "ip", "link", "set", device, "up")
    move("inner", behind, 11)


def by_ipvlan():
    """One namespace for each mode, each over a device of its own, since a device has one mode."""
    found = {}
    for number, mode in enumerate(("l2", "l3", "l3s")):
        parent, network = f"veth{number + 4}", 80 + number
        link(parent, f"10.{network}.0.2/24", f"fd{network}::2/64", stand.SERVICE, f"10.{network}.0.1/24", f"fd{network}::1/64", f"eth{number + 2}")
        if not can("link", "add", "link", parent, "name", "ipv0", "type", "ipvlan", "mode", mode):
            print("not tried: ipvlan, which this kernel does not have")
            run("ip", "link", "del", parent)
            return {}
        pid = found[f"ipvlan {mode}"] = other_namespace()
        move("ipv0", pid, 9, network)
        if mode != "l2":
            # No neighbours there: what leaves is routed here, by the parent, and what comes is sent here.
            for family, far, near in (("-4", f"10.{network}.0.1", f"10.{network}.0.2"), ("-6", f"fd{network}::1", f"fd{network}::2")):
                run("ip", family, "route", "add", "default", "via", far, "dev", parent, "metric", str(2000 + number))
                inside(stand.SERVICE, "ip", family, "route", "add", near[:-1] + "9", "via", near)
    return found


def by_vlan():
    """The device of a VLAN in another namespace, which tags by the card, or writes the tag into the frame."""
    found = {}
    for name, number, options in (("VLAN", 5, ()), ("VLAN with tags of its own", 6, ("reorder_hdr", "off"))):
        of_vlan = ("type", "vlan", "id", str(number))
        if not can("link", "add", "link", "veth0", "name", "vlan0", *of_vlan, *options):
            print("not tried: VLANs, which this kernel does not have")
            return {}
        inside(stand.SERVICE, "ip", "link", "add", "link", "eth0", "name", f"eth0.{number}", *of_vlan)
        answer_at(f"eth0.{number}", 85 + number)
        pid = found[name] = other_namespace()
        move("vlan0", pid, 9, 85 + number)
    return found


def can(*words):
    return run("ip", *words, check=False).returncode == 0


def answer_at(device, network):
    """The service's end of a link."""
    for command in (("address", "add", f"10.{network}.0.1/24", "dev", device), ("address", "add", f"fd{network}::1/64", "dev", device, "nodad"),
                    ("link", "set", device, "up")):
        inside(stand.SERVICE, "ip", *command)


def move(device, pid, host, network=77):
    """Puts a link into a namespace, with an address there and its way by the service's end."""
    run("ip", "link", "set", device, "netns", str(pid), check=False)
    for command in (("address", "add", f"10.{network}.0.{host}/24", "dev", device), ("address", "add", f"fd{network}::{host}/64", "dev", device, "nodad"),
                    ("link", "set", device, "up"),
                    ("route", "add", "default", "via", f"10.{network}.0.1"), ("-6", "route", "add", "default", "via", f"fd{network}::1")):
        inside(pid, "ip", *command)


if __name__ == "__main__":
    stand.begin(main)
