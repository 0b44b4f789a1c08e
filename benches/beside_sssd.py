#!/usr/bin/python3
"""A login of SSSD's user beside one of a local user, on a host without Keymaker, which `bench` starts."""

import pathlib
import time

from logins import compared_logins, local_user, more
from measuring import sh, show, spread

# SSSD has the user from libnss-extrausers, so that no server is in it; keys it could have of LDAP alone.
SETTINGS = """[sssd]
services = nss, pam
domains = bench
[nss]
[pam]
[domain/bench]
id_provider = proxy
proxy_lib_name = extrausers
auth_provider = none
access_provider = permit
"""


def main():
    local_user("local")
    sssd()
    users = {"of SSSD, authorized_keys": "central", "local, authorized_keys": "local"}
    taken = compared_logins(users, 50)
    print("\n### A login of SSSD's user, `ssh localhost true`\n")
    print(f"milliseconds, 50 pairs in turn, on a host of its own without Keymaker; of a pair SSSD's user's takes "
          f"{more(taken, *users):+.1f} ms more (median)\n")
    show(["user", "median", "10 %", "90 %"], [[kind, *spread(taken[kind])] for kind in users])


def sssd():
    pathlib.Path("/var/lib/extrausers").mkdir(exist_ok=True)
    pathlib.Path("/var/lib/extrausers/passwd").write_text("central:x:20000:20000::/home/central:/bin/bash\n")
    pathlib.Path("/var/lib/extrausers/group").write_text("central:x:20000:\n")
    pathlib.Path("/var/lib/extrausers/shadow").write_text("")
    settings = pathlib.Path("/etc/sssd/sssd.conf")
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(SETTINGS)
    settings.chmod(0o600)
    sh("systemctl restart sssd")
    sh("sed -i -E '/^(passwd|group):/s/$/ sss/' /etc/nsswitch.conf")
    # As its package has it.
    with open("/etc/pam.d/common-account", "a") as rules:
        rules.write("account sufficient pam_localuser.so\naccount [default=bad success=ok user_unknown=ignore] pam_sss.so\n")
    with open("/etc/pam.d/common-session", "a") as rules:
        rules.write("session optional pam_sss.so\n")
    deadline = time.monotonic() + 10
    while "central" not in sh("getent passwd central || true"):
        assert time.monotonic() < deadline, "SSSD does not know its user"
        time.sleep(0.1)
    sh("install -d -o central -g central -m 700 /home/central /home/central/.ssh && "
       "install -o central -m 600 /sandbox/keys/alice.pub /home/central/.ssh/authorized_keys")


main()
