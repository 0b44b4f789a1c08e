"""Prints the table of boots; `bench` hands over a line for each: the host and its microseconds."""

import statistics
import sys

from measuring import show, spread

taken = {"with": [], "without": []}
for line in sys.stdin:
    host, microseconds = line.split()
    taken[host].append(int(microseconds) * 1000)
more = statistics.median(one - other for one, other in zip(taken["with"], taken["without"]))
print("\n### Boot\n")
print(f"milliseconds to multi-user.target of the host's systemd, which is a container's (nspawn): no kernel and no hardware "
      f"are in it. {len(taken['with'])} pairs in turn, credd turned on; with the packages it takes {more / 1e6:+.0f} ms more (median of the pairs)\n")
show(["host", "median", "10 %", "90 %"], [[f"{host} the packages", *spread(times)] for host, times in taken.items()])
