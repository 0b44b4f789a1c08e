#!/usr/bin/python3
"""Measures on a host of 5,000 users, which `bench` starts: what everything weighs, and logins of users who were never there."""

import sys

# Each brings its tables, which are printed in this order.
import weight  # noqa: F401
import first_logins  # noqa: F401

from measuring import TABLES

for name, table in TABLES.items():
    if name in sys.argv[1:]:
        table()
