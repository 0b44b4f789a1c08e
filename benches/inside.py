#!/usr/bin/python3
"""Measures Keymaker beside its peers in the box; `bench` starts it there, and docs/benchmarks.md says what each table means.

Two are asked in turn without a change in between. Everybody answers for the same people. Who answers wrong is not timed.
"""

import sys

# Each brings its tables, which are printed in this order.
import lookups
import logins
import first_logins
import credentials
import weight
import crowd

import peers
from measuring import TABLES

# Tables in which nobody but Keymaker answers for users.
ALONE = {"logins", "proofs", "credentials", "load"}
ALONE |= {"sudo", "first-logins", "many-logins", "packages"}
# These are of another host (large.py).
ELSEWHERE = {"memory"}


def main(wanted):
    if not wanted or set(wanted) - ALONE:
        peers.prepare()
    for name, table in TABLES.items():
        if name in wanted or not wanted and name not in ELSEWHERE:
            table()
    for held in peers.HELD.values():
        held.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
