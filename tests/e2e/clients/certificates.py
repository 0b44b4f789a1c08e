#!/usr/bin/env python3
"""Gives the keys command certificates made of a good one, as sshd would, and says what became of them.

usage: certificates.py CERTIFICATE NAME UID COUNT FIRST    as root

Every second one has another nonce and is right in all else: to the keys command it is another certificate of the same token, since
sshd has looked at the signature by then. The others are damaged somewhere.
"""
import base64
import collections
import os
import pwd
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

TYPE, TEXT = open(sys.argv[1]).read().split()[:2]
BLOB = base64.b64decode(TEXT)
NAME, UID, COUNT, FIRST = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
USER = pwd.getpwnam("keymaker-keys")
# The type's name and the nonce, each after its length.
NONCE = 4 + len(TYPE) + 4


def made(number):
    numbers, blob = random.Random(number), bytearray(BLOB)
    if number % 2 == 0:
        blob[NONCE:NONCE + 32] = numbers.randbytes(32)
        return "another", bytes(blob)
    for _ in range(numbers.randint(1, 3)):
        # Not in the nonce, nor in the signature, which only sshd reads.
        at = numbers.choice([numbers.randrange(4, NONCE - 4), numbers.randrange(NONCE + 32, len(blob) - 64)])
        way = numbers.randrange(3)
        if way == 0:
            blob[at] ^= 1 << numbers.randrange(8)
        elif way == 1:
            del blob[at:at + numbers.randrange(1, 9)]
        else:
            blob[at:at] = numbers.randbytes(8)
    return "broken", bytes(blob)


def judged(number):
    kind, blob = made(number)
    run = subprocess.run(
        ["/usr/libexec/keymaker/keymaker-keys", NAME, UID, "SHA256:x", TYPE, base64.b64encode(blob).decode()],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, user=USER.pw_uid, group=USER.pw_gid, extra_groups=[], env={})
    return kind, run.returncode, len(run.stdout.splitlines())


with ThreadPoolExecutor(2) as several:
    became = collections.Counter(several.map(judged, range(FIRST, FIRST + COUNT)))
for (kind, status, lines), count in sorted(became.items()):
    print(f"{kind}: exit {status}, {lines} lines: {count}")
