#!/usr/bin/python3
"""Run by a user: holds every port that this host gives to whoever asks for any, TCP and UDP, until it is killed. Says "held" then."""

import os
import resource
import signal
import socket
import sys


def take(kind, port):
    """Alone; else sharing it with whoever has it, in either way that the kernel knows."""
    for sharing in (None, socket.SO_REUSEPORT, socket.SO_REUSEADDR):
        one = socket.socket(socket.AF_INET6, kind)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if sharing is not None:
            one.setsockopt(socket.SOL_SOCKET, sharing, 1)
        try:
            one.bind(("::", port))
            return one
        except OSError:
            one.close()
    return None


_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
with open("/proc/sys/net/ipv4/ip_local_port_range") as text:
    first, last = map(int, text.read().split())
wanted = [(kind, port) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for port in range(first, last + 1)]
# A process may not hold them all.
share = most - 50
for begin in range(0, len(wanted), share):
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os.read(ready, 1)
        continue
    held = [take(kind, port) for kind, port in wanted[begin : begin + share]]
    os.write(tell, b".")
    signal.pause()
print("held")
sys.stdout.flush()
signal.pause()
