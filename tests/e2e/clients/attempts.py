#!/usr/bin/python3
"""Run by a user: tries every way to the real metadata service that needs no privilege, all at once, for some seconds.

attempts.py NAME SECONDS [DEVICE]   one line a way: WAY, tries, answered, reached, the last error; separated by tabs
attempts.py NAME hold               connects, says "open", waits for a line, and only then asks on the old connections
attempts.py NAME meanwhile          says "open" once each way was tried, goes on until it reads a line, and tries each once more after it

Each request says `X-Attempt: NAME/WAY`, which credd passes on to nobody: what the stand-in records with it, it got from here.
Answered is what anybody sent back; reached is what has the name of the instance's own role in it.
"""

import contextlib
import socket
import sys
import threading
import time

V4, V6 = "169.254.169.254", "fd00:ec2::254"
LIST = "/latest/meta-data/iam/security-credentials/"
IP_UNICAST_IF, IPV6_UNICAST_IF, IPPROTO_MPTCP = 50, 76, 262
PATIENCE = 1


def ways(device):
    # The first form of IP_UNICAST_IF takes the number of the interface in network order.
    index = socket.if_nametoindex(device)
    bound = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return {
        "IPv4": lambda: dial(V4),
        "IPv6": lambda: dial(V6),
        "IPv4 by an IPv6 socket": lambda: dial("::ffff:" + V4),
        "device, IPv4": lambda: dial(V4, option=bound),
        "device, IPv6": lambda: dial(V6, option=bound),
        "interface, IPv4": lambda: dial(V4, option=(socket.IPPROTO_IP, IP_UNICAST_IF, socket.htonl(index))),
        "interface, IPv6": lambda: dial(V6, option=(socket.IPPROTO_IPV6, IPV6_UNICAST_IF, socket.htonl(index))),
        "source, IPv4": lambda: dial(V4, source="10.77.0.2"),
        "source, IPv6": lambda: dial(V6, source="fd00:77::2"),
        "MPTCP, IPv4": lambda: dial(V4, protocol=IPPROTO_MPTCP),
        "MPTCP, IPv6": lambda: dial(V6, protocol=IPPROTO_MPTCP),
    }


def dial(address, option=None, source=None, protocol=0, port=80):
    stream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, protocol)
    stream.settimeout(PATIENCE)
    if option:
        stream.setsockopt(*option)
    if source:
        stream.bind((source, 0))
    stream.connect((address, port))
    return stream


def exchange(stream, head, mark):
    stream.sendall(f"{head}\r\nHost: {V4}\r\nX-Attempt: {mark}\r\n\r\n".encode())
    got = b""
    with contextlib.suppress(OSError), stream:
        while chunk := stream.recv(65536):
            got += chunk
    return got.decode(errors="replace")


def ask(connect, mark):
    """A token, the role's name with it, and the same without a token. What came back, all together."""
    got = token = exchange(connect(), "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60", mark)
    token = token.rsplit("\r\n\r\n", 1)[-1].strip()
    if token and "<" not in token:
        got += exchange(connect(), f"GET {LIST} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}", mark)
    return got + exchange(connect(), f"GET {LIST} HTTP/1.1", mark)


class Tally:
    def __init__(self):
        self.tries = self.answered = self.reached = 0
        self.error = "-"

    def count(self, attempt):
        self.tries += 1
        try:
            got = attempt()
        except OSError as why:
            self.error = str(why)
            return
        self.answered += got != ""
        self.reached += "sandbox-instance" in got


def repeat(name, seconds, device):
    tallies, end = {}, time.monotonic() + seconds
    def go(way, connect):
        while time.monotonic() < end:
            tallies[way].count(lambda: ask(connect, f"{name}/{way}"))
            time.sleep(0.01)
    threads = []
    for way, connect in ways(device).items():
        tallies[way] = Tally()
        threads.append(threading.Thread(target=go, args=(way, connect)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    report(tallies)


def meanwhile(name):
    tallies, told = {way: Tally() for way in ways("host0")}, threading.Event()
    def go(way, connect, tried):
        last = False
        while not last:
            last = told.is_set()
            tallies[way].count(lambda: ask(connect, f"{name}/{way}"))
            tried.set()
            time.sleep(0.01)
    threads, firsts = [], []
    for way, connect in ways("host0").items():
        firsts.append(threading.Event())
        threads.append(threading.Thread(target=go, args=(way, connect, firsts[-1])))
        threads[-1].start()
    for first in firsts:
        first.wait()
    print("open", flush=True)
    sys.stdin.readline()
    told.set()
    for thread in threads:
        thread.join()
    report(tallies)


def hold(name):
    held = {f"kept, {family}": dial(address) for family, address in (("IPv4", V4), ("IPv6", V6))}
    print("open", flush=True)
    sys.stdin.readline()
    tallies = {way: Tally() for way in held}
    for way, stream in held.items():
        tallies[way].count(lambda: exchange(stream, f"GET {LIST} HTTP/1.1", f"{name}/{way}"))
    report(tallies)


def report(tallies):
    for way, tally in tallies.items():
        print(way, tally.tries, tally.answered, tally.reached, tally.error, sep="\t")


if __name__ == "__main__":
    if sys.argv[2] == "hold":
        hold(sys.argv[1])
    elif sys.argv[2] == "meanwhile":
        # What leaves is at the service at once, or never.
        PATIENCE = 0.4
        meanwhile(sys.argv[1])
    else:
        repeat(sys.argv[1], float(sys.argv[2]), *(sys.argv[3:] or ["host0"]))
