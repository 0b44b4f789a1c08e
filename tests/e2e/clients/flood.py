#!/usr/bin/python3
"""Clients of the metadata address for tests/flood.rs. Root runs them; each connection is made by the uid that is meant.

flood.py flood SECONDS UID...   as fast as it goes, by each uid in turn: requests that are refused, answers that nobody reads
flood.py ask SECONDS UID        one conversation of three requests after another; prints how many, how many of them failed, and
                                the time of the slowest hundredth in milliseconds
flood.py refused UID            conversations until one is refused; prints its status, then what plain metadata answers
flood.py fill UID               writes to the journal until its queue is full; prints how many lines that took
"""
import collections
import os
import socket
import sys
import time

ADDRESS = ("169.254.169.254", 80)
ROLES = "/latest/meta-data/iam/security-credentials/"


def connect(uid):
    os.seteuid(uid)
    try:
        return socket.create_connection(ADDRESS, 10)
    finally:
        os.seteuid(0)


def flood(seconds, uids):
    request = f"GET {ROLES} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".encode()
    end, made, held = time.monotonic() + seconds, 0, collections.deque()
    while time.monotonic() < end:
        try:
            stream = connect(uids[made % len(uids)])
            stream.sendall(request)
            held.append(stream)
        except OSError:
            pass
        made += 1
        if len(held) > 100:
            held.popleft().close()
    print(made)


def ask(uid, method, path, *headers):
    with connect(uid) as stream:
        lines = "".join(f"{header}\r\n" for header in headers)
        stream.sendall(f"{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{lines}\r\n".encode())
        reply = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    head, _, body = reply.partition("\r\n\r\n")
    return head.split(" ")[1] if head else "closed", body


def token_of(uid):
    return "X-aws-ec2-metadata-token: " + ask(uid, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 600")[1]


def conversation(uid):
    """The status of the first request that is not answered as it should be, or 200."""
    token = token_of(uid)
    status, role = ask(uid, "GET", ROLES, token)
    if status == "200":
        status, document = ask(uid, "GET", ROLES + role, token)
        if status == "200" and "SecretAccessKey" not in document:
            return "denied"
    return status


def conversations(seconds, uid):
    end, took, failed = time.monotonic() + seconds, [], 0
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            failed += conversation(uid) != "200"
        except OSError:
            failed += 1
        took.append(time.monotonic() - began)
    took.sort()
    print(len(took), failed, round(took[len(took) * 99 // 100] * 1000))


def refused(uid):
    token = token_of(uid)
    for _ in range(2000):
        status = conversation(uid)
        if status != "200":
            break
    print(status, ask(uid, "GET", "/latest/meta-data/instance-id", token)[0])


def fill(uid):
    os.seteuid(uid)
    taken, before, writers = 0, -1, []
    # What one socket may have on its way is bounded, too.
    while before < taken:
        before = taken
        writers.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        writers[-1].setblocking(False)
        try:
            while True:
                writers[-1].sendto(b"MESSAGE=what anybody may write\n", "/run/systemd/journal/socket")
                taken += 1
        except BlockingIOError:
            pass
    print(taken)


mode, *words = sys.argv[1:]
numbers = [int(word) for word in words]
if mode == "flood":
    flood(numbers[0], numbers[1:])
elif mode == "ask":
    conversations(*numbers)
elif mode == "fill":
    fill(*numbers)
else:
    refused(*numbers)
