#!/usr/bin/python3
"""Run by root: connections of several users to the metadata address that reuse each other's ports, close, reset, hand sockets
over and change their uid. Whoever made the socket must be the one whom the answer names.

crowd.py CONNECTIONS USER…   prints as JSON how each way went: named rightly, refused, and named as somebody else

One request a connection (credd must not require a token). The answer to USER's socket is the role `user-USER`.
"""

import collections
import ctypes
import json
import os
import pwd
import random
import socket
import struct
import sys

ADDRESSES = (("169.254.169.254", socket.AF_INET, "127.0.0.1"), ("fd00:ec2::254", socket.AF_INET6, "::1"))
REQUEST = b"GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
WAYS = ("plain", "half closed", "closed", "reset", "asked twice", "handed over", "made, then setuid")
CLONE_NEWUSER = 0x10000000


def main(number, *users):
    share = int(number) // (len(users) * 3) + 1
    # Two sockets for each user, so that each hands sockets to the next: a ring.
    rings = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in users]
    children = []
    for place, user in enumerate(users):
        # Two parts of three ordinary, one in a user namespace, where the user is root.
        children.append(child(lambda: heir_and_client(user, share * 2, rings, place)))
        children.append(child(lambda: in_user_namespace(user, share)))
    # Or a socket in a queue that nobody reads any more would stay open, and with it its port.
    for ends in rings:
        for end in ends:
            end.close()
    total = collections.Counter()
    for reading, pid in children:
        with os.fdopen(reading) as pipe:
            text = pipe.read()
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"a client failed: {text}"
        total.update(json.loads(text))
    print(json.dumps(total))


def child(work):
    """Runs `work` in a process of its own; where its count is to be read, and its pid."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        counts = work()
        os.write(writing, json.dumps(counts).encode())
        os._exit(0)
    os.close(writing)
    return reading, pid


def heir_and_client(user, number, rings, place):
    """Keeps of all rings its own two ends: what it hands over, and what it inherits."""
    heir, inherited = rings[place][0], rings[place - 1][1]
    for ends in rings:
        for end in ends:
            if end not in (heir, inherited):
                end.close()
    return Client(user, number, heir, inherited).run()


class Client:
    def __init__(self, user, number, heir=None, inherited=None, prefix=""):
        self.user, self.uid, self.number = user, pwd.getpwnam(user).pw_uid, number
        self.heir, self.inherited, self.prefix = heir, inherited, prefix
        self.counts, self.connected = collections.Counter(), 0
        self.dice = random.Random(user + prefix)

    def run(self):
        # root stays the saved uid, for the way back from another one.
        os.setgroups([])
        os.setresuid(self.uid, self.uid, 0)
        for stream in (self.heir, self.inherited):
            stream.setblocking(False)
        while self.connected < self.number:
            self.one(self.dice.choice(WAYS))
            self.ask_on_inherited()
        return self.counts

    def one(self, way):
        address, family, source = self.dice.choice(ADDRESSES)
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.settimeout(5)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if way == "made, then setuid":
            self.become(65534)
        try:
            # Few ports, so that one uid soon has the pair of addresses that another had; those in TIME_WAIT among them.
            stream.bind((source, 40000 + self.dice.randrange(60)))
            stream.connect((address, 80))
            self.connected += 1
            self.converse(stream, way)
        except OSError:
            self.counts[f"{self.prefix}{way}: not connected"] += 1
        finally:
            if way == "made, then setuid":
                self.become(self.uid)

    def become(self, uid):
        os.seteuid(0)
        os.setresuid(uid, uid, 0)

    def converse(self, stream, way):
        if way == "handed over":
            try:
                socket.send_fds(self.heir, [self.user.encode()], [stream.fileno()])
            except (BlockingIOError, ConnectionError):
                self.counts[f"{self.prefix}handed over: to nobody"] += 1
            stream.close()
            return
        stream.sendall(REQUEST)
        if way == "half closed":
            stream.shutdown(socket.SHUT_WR)
        if way == "reset":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if way in ("closed", "reset"):
            stream.close()
            self.counts[f"{self.prefix}{way}: gone"] += 1
            return
        if way == "asked twice":
            stream.sendall(REQUEST)
        self.count(way, self.user, stream)

    def ask_on_inherited(self):
        """Somebody else's socket in our hands is still somebody else's."""
        try:
            maker, descriptors, _, _ = socket.recv_fds(self.inherited, 64, 1)
        except (BlockingIOError, ConnectionError):
            return
        for descriptor in descriptors:
            stream = socket.socket(fileno=descriptor)
            try:
                stream.settimeout(5)
                stream.sendall(REQUEST)
                self.count("handed over", maker.decode(), stream)
            except OSError:
                self.counts[f"{self.prefix}handed over: refused"] += 1

    def count(self, way, maker, stream):
        got = b""
        try:
            while chunk := stream.recv(65536):
                got += chunk
        except OSError:
            pass
        stream.close()
        head, _, body = got.decode().partition("\r\n\r\n")
        if " 200 " not in head:
            result = "refused"
        else:
            result = "right" if body == f"user-{maker}" else f"WRONG, {maker} was taken for {body}"
        self.counts[f"{self.prefix}{way}: {result}"] += 1


def in_user_namespace(user, number):
    """The user is root there; outside, and to credd, nobody but themselves. A second uid of that namespace is nobody at all."""
    client = Client(user, number, prefix="user namespace, ")
    ways = ("plain", "half closed", "closed", "reset", "asked twice")
    uid = client.uid
    os.setgroups([])
    os.setresuid(uid, uid, 0)
    os.setresuid(uid, uid, uid)
    # Changing uid made the process undumpable, and with that /proc/self root's.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(4, 1, 0, 0, 0)
    if libc.unshare(CLONE_NEWUSER) != 0:
        return {"user namespaces: not permitted": 1}
    with open("/proc/self/uid_map", "w") as uid_map:
        uid_map.write(f"0 {uid} 1")
    assert os.getuid() == 0
    while client.connected < number:
        client.one(client.dice.choice(ways))
    return client.counts


if __name__ == "__main__":
    main(*sys.argv[1:])
