#!/usr/bin/python3
"""Run by a user: holds every port that this host gives to whoever asks for any, TCP and UDP, until it is killed. Says "held" then."""

import os
import resource
import signal
import socket
import sys

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
    held = []
    for kind, port in wanted[begin : begin + share]:
        one = socket.socket(socket.AF_INET6, kind)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            one.bind(("::", port))
        except OSError:
            one.close()
        else:
            held.append(one)
    os.write(tell, b".")
    signal.pause()
print("held")
sys.stdout.flush()
signal.pause()
