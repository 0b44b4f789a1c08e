"""What Keymaker takes of memory and disk."""

import collections
import os
import pathlib
import sys
import time

from credentials import CLIENTS, CREDD, warm, wrk
from measuring import sh, show, table

MODULE = "/lib/x86_64-linux-gnu/libnss_keymaker.so.2"
SESSIONS = 500
# In which a daemon gives back what it had for a moment.
SETTLED = 10


@table
def memory():
    print("\n### Memory, 5,000 users\n")
    settle()
    rows = [["keymakerd, idle", *of_unit("keymakerd")], ["credd, idle", *of_unit("credd")]]
    for number in range(SESSIONS):
        asked_once(f"u{number:05}")
    settle()
    rows += [[f"credd, {SESSIONS} users asked", *of_unit("credd")], ["keymakerd then", *of_unit("keymakerd")]]
    flood()
    settle()
    rows += [["credd, after a flood", *of_unit("credd")], ["keymakerd then", *of_unit("keymakerd")]]
    print(f"KiB, {SETTLED} s after; the flood: {len(CLIENTS)} users with 64 connections each ask for credentials for 5 s. "
          "Private is also what no other process maps of the program's file; anonymous is what it has written\n")
    show(["daemon", "proportional (PSS)", "resident (RSS)", "private", "anonymous", "highest resident"], rows)
    module()


def settle():
    time.sleep(SETTLED)


def of_unit(unit):
    return of_process(sh(f"systemctl show -p MainPID --value {unit}"))


def of_process(pid):
    sizes = collections.Counter()
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        kind, size, _ = line.split()
        # Private_Clean and Private_Dirty together; of the others there are parts beside the whole.
        sizes["Private" if kind.startswith("Private_") else kind.rstrip(":")] += int(size)
    peak = next(line.split()[1] for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return [f"{int(size):,}" for size in (sizes["Pss"], sizes["Rss"], sizes["Private"], sizes["Anonymous"], peak)]


def asked_once(user):
    """A conversation of an SDK, in a process of the user."""
    sh(f"/sandbox/project/tests/e2e/clients/latency.py {user} 1")


def flood():
    asked = {client: warm(client) for client in CLIENTS}
    running = [wrk(client, CREDD, asked[client], "close", 64, 5) for client in CLIENTS]
    for one in running:
        one.communicate()


def module():
    """In a process that has asked for a local user before, so that what it takes is the module's."""
    asking = (
        "import os, pwd, re, sys\n"
        "def anonymous(of=''):\n"
        "    total, counts = 0, False\n"
        "    for line in open('/proc/self/smaps'):\n"
        "        if re.match('[0-9a-f]+-', line): counts = of in line\n"
        "        elif line.startswith('Anonymous') and counts: total += int(line.split()[1])\n"
        "    return total\n"
        "def ask(names):\n"
        "    for name in names:\n"
        "        entry = pwd.getpwnam(name); pwd.getpwuid(entry.pw_uid); os.getgrouplist(name, entry.pw_gid)\n"
        # The groups of a local user, too, would load it.
        "for _ in range(20): pwd.getpwnam('root'); anonymous()\n"
        "before = anonymous()\n"
        "for number in (1, 1000):\n"
        "    ask(f'u{at:05}' for at in range(number)); print(number, anonymous() - before, anonymous('libnss_keymaker'))\n"
    )
    lines = [line.split() for line in sh(f'{sys.executable} -c "{asking}"').splitlines()]
    print("\n### The module's memory\n")
    print("KiB that a process, Python here, has written to and so has for itself, more than before its first question about an IAM user\n")
    show(["users asked for", "all", "of the file's mapping"], [[f"{int(number):,}", *sizes] for number, *sizes in lines])
    print(f"\nOn disk the module has {os.path.getsize(MODULE) // 1024} KiB.")


@table
def packages():
    print("\n### Packages\n")
    print("KiB installed, as the packages say\n")
    installed = collections.defaultdict(dict)
    for line in sh("dpkg-query -W -f '${source:Package} ${Package} ${Installed-Size}\\n'").splitlines():
        source, package, size = line.split()
        installed[source][package] = int(size)
    ours = {package: size for source in installed if source.startswith("keymaker") for package, size in installed[source].items()}
    rows = [[f"`{package}`", f"{size:,}"] for package, size in sorted(ours.items())]
    rows.append([f"Keymaker, all {len(ours)}", f"{sum(ours.values()):,}"])
    sssd = installed["sssd"]
    below = {package: size for source in ("ding-libs", "ldb", "samba", "talloc", "tdb", "tevent") for package, size in installed[source].items()}
    rows.append([f"SSSD, the {len(sssd)} packages of the host: {', '.join(sorted(sssd))}", f"{sum(sssd.values()):,}"])
    rows.append([f"beside them what only they need: {', '.join(sorted(below))}", f"{sum(below.values()):,}"])
    oslogin = {}
    for deb in pathlib.Path("/sandbox/peers/debs").glob("*.deb"):
        package, size = sh(f"dpkg-deb -W --showformat='${{Package}} ${{Installed-Size}}' {deb}").split()
        if package in ("google-compute-engine-oslogin", "libjson-c5"):
            oslogin[package] = int(size)
    if oslogin:
        rows.append([f"OS Login of Google: {', '.join(sorted(oslogin))}", f"{sum(oslogin.values()):,}"])
    show(["package", "KiB"], rows)
    files = [path for package in ours for path in sh(f"dpkg -L {package}").splitlines() if os.path.isfile(path) and not os.path.islink(path)]
    largest = sorted(((os.path.getsize(path), path) for path in files), reverse=True)[:6]
    print("\nThe largest files: " + ", ".join(f"`{path}` {size // 1024:,} KiB" for size, path in largest) + ".")
