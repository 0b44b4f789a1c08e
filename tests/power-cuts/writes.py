#!/usr/bin/env python3
"""Reads what qemu's blklogwrites wrote of a disk, and makes the disk as a power cut would have left it.

usage: writes.py cuts LOG FROM COUNT SEED        prints COUNT places of the log, chosen at random behind the byte FROM
       writes.py disk LOG DISK PLACE whole       replays the log onto DISK, a copy of what it began with, up to PLACE
       writes.py disk LOG DISK PLACE SEED        the same, but each write since the last flush is lost with an even chance
       writes.py disk LOG DISK PLACE lie         the same, as a disk that never flushed: of the last 5,000 writes each may be lost
"""

import os
import random
import struct
import sys

# The format is dm-log-writes': a sector for the log, then one for each write, followed by its data.
SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4


def main(words):
    if words[0] == "cuts":
        log, begin, count, seed = words[1], *map(int, words[2:])
        later = [end for _, _, _, _, end in entries(log) if end > begin]
        if len(later) < count:
            sys.exit(f"{log} has only {len(later)} writes behind byte {begin}")
        print(*sorted(random.Random(seed).sample(later, count)), sep="\n")
    else:
        log, disk, place, losing = words[1], words[2], int(words[3]), words[4]
        print("%d writes, %d of them since the last flush, %d of these lost" % replay(log, disk, place, losing))


def replay(log, disk, place, losing):
    written = [entry for entry in entries(log) if entry[4] <= place]
    flushes = [number for number, entry in enumerate(written) if entry[2] & FLUSH]
    settled = flushes[-1] + 1 if flushes else 0
    if losing == "lie":
        settled, losing = max(0, len(written) - 5000), place
    chance = None if losing == "whole" else random.Random(int(losing))
    lost = 0
    with open(log, "rb") as source, open(disk, "r+b") as target:
        for number, (sector, sectors, flags, data, _) in enumerate(written):
            if flags & DISCARD or not sectors:
                continue
            if chance and number >= settled and not flags & FUA and chance.random() < 0.5:
                lost += 1
                continue
            source.seek(data)
            target.seek(sector * SECTOR)
            target.write(source.read(sectors * SECTOR).ljust(sectors * SECTOR, b"\0"))
    return len(written), len(written) - settled, lost


def entries(log):
    """Each as (first sector, sectors, flags, where its data begins, where the next one begins)."""
    size = os.path.getsize(log)
    with open(log, "rb") as source:
        (magic,) = struct.unpack("<Q", source.read(8))
        if magic != MAGIC:
            sys.exit(f"{log} is no log of writes")
        begin = SECTOR
        while begin + SECTOR <= size:
            source.seek(begin)
            sector, sectors, flags = struct.unpack("<QQQ", source.read(24))
            data = begin + SECTOR
            end = data if flags & DISCARD else data + sectors * SECTOR
            if end > size:
                break
            yield sector, sectors, flags, data, end
            begin = end


if __name__ == "__main__":
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    main(sys.argv[1:])
