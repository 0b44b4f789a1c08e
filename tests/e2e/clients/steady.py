#!/usr/bin/python3
"""Run by a user: so many clients, each of which fetches credentials again and again as SDKs do, until standard input ends.

steady.py CLIENTS   prints: conversations that brought credentials, those that did not, the longest in seconds, the first error

An SDK waits a second for an answer and does not try again, so neither do these.
"""

import http.client
import sys
import threading
import time

V4, V6 = "169.254.169.254", "fd00:ec2::254"
LIST = "/latest/meta-data/iam/security-credentials/"
done, failed, longest = [], [], []


def converse(address):
    token = request(address, "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"})
    headers = {"X-aws-ec2-metadata-token": token}
    role = request(address, "GET", LIST, headers)
    credentials = request(address, "GET", LIST + role, headers)
    assert '"Success"' in credentials, credentials[:200]


def request(address, method, path, headers):
    connection = http.client.HTTPConnection(address, 80, timeout=1)
    connection.request(method, path, headers={"Host": V4, "User-Agent": "steady", **headers})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200, f"{method} {path}: {answer.status}"
    return text


def go(address, over):
    while not over.is_set():
        start = time.monotonic()
        try:
            converse(address)
            done.append(1)
        except (OSError, http.client.HTTPException, AssertionError) as why:
            failed.append(repr(why))
        longest.append(time.monotonic() - start)
        time.sleep(0.01)


def main():
    over = threading.Event()
    clients = [threading.Thread(target=go, args=((V4, V6)[number % 2], over)) for number in range(int(sys.argv[1]))]
    for client in clients:
        client.start()
    sys.stdin.read()
    over.set()
    for client in clients:
        client.join()
    print(len(done), len(failed), f"{max(longest):.3f}", (failed or ["-"])[0])


main()
