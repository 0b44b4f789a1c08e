"""The services beside Keymaker's, each with a mount namespace with an nsswitch.conf of its own, and the same people in all of them."""

import json
import pathlib
import subprocess

from measuring import sh

USERS = 1000
SPACES = pathlib.Path("/run/bench")
LIST = SPACES / "people"
# What stands behind `passwd:` and `group:` for each.
SERVICES = {
    "keymaker": "keymaker",
    "sss": "sss",
    "extrausers": "extrausers",
    "systemd": "systemd",
    "files": "files",
    "files keymaker": "files keymaker",
    "files sss": "files sss",
}
HELD = {}


def prepare():
    SPACES.mkdir(exist_ok=True)
    space("keymaker", SERVICES["keymaker"], [], [])
    people = [entry(f"u{number:05}") for number in range(USERS)]
    members, counts = {}, {}
    for person in people:
        name, _, _, own_gid = person.split(":")[:4]
        gids = inside("keymaker", ["id", "-G", name]).stdout.split()
        counts[name] = len(gids)
        for gid in set(gids) - {own_gid}:
            members.setdefault(gid, []).append(name)
    groups = [
        f"{sh(f'getent group {gid}').split(':')[0]}:x:{gid}:{','.join(names)}" for gid, names in members.items()
    ]
    LIST.write_text("".join(f"{person} {counts[person.split(':')[0]]}\n" for person in people))
    own = [f"{person.split(':')[0]}:x:{person.split(':')[3]}:" for person in people]
    extrausers(people, groups + own)
    userdb(people, groups + own)
    sssd()
    for service, words in SERVICES.items():
        if service != "keymaker":
            space(service, words, people, groups + own)


def inside(service, command):
    """With this service's nsswitch.conf. What it prints goes through a pipe, since tar looks at nothing for /dev/null."""
    entered = ["nsenter", f"--target={HELD[service].pid}", "--mount", "--", *command]
    return subprocess.run(entered, capture_output=True, text=True, errors="replace")


def entry(name):
    line = sh(f"getent -s keymaker passwd {name}")
    assert line, f"{name} is not there"
    return line


def extrausers(people, groups):
    folder = pathlib.Path("/var/lib/extrausers")
    folder.mkdir(exist_ok=True)
    (folder / "passwd").write_text("".join(f"{person}\n" for person in people))
    (folder / "group").write_text("".join(f"{group}\n" for group in groups))
    (folder / "shadow").write_text("")


def userdb(people, groups):
    folder = pathlib.Path("/run/userdb")
    folder.mkdir(exist_ok=True)
    for person in people:
        name, _, uid, gid, gecos, home, shell = person.split(":")
        record = {
            "userName": name, "uid": int(uid), "gid": int(gid), "realName": gecos, "homeDirectory": home, "shell": shell,
            "disposition": "regular",
        }
        put(folder, f"{name}.user", f"{uid}.user", record)
    for group in groups:
        name, _, gid, members = group.split(":")
        put(folder, f"{name}.group", f"{gid}.group", {"groupName": name, "gid": int(gid), "disposition": "regular"})
        for member in filter(None, members.split(",")):
            (folder / f"{member}:{name}.membership").touch()


def put(folder, name, number, record):
    (folder / name).write_text(json.dumps({key: value for key, value in record.items() if value != ""}))
    link = folder / number
    if not link.is_symlink():
        link.symlink_to(name)


def sssd():
    path = pathlib.Path("/etc/sssd/sssd.conf")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "[sssd]\nservices = nss\ndomains = bench\n[nss]\n[domain/bench]\nid_provider = proxy\nproxy_lib_name = extrausers\n"
        "auth_provider = none\naccess_provider = permit\n"
    )
    path.chmod(0o600)
    sh("systemctl restart sssd")
    # Each answer once, so that its cache has everybody.
    for line in LIST.read_text().splitlines():
        subprocess.run(["getent", "-s", "sss", "initgroups", line.split(":")[0]], stdout=subprocess.DEVNULL)


def space(service, words, people, groups):
    at = SPACES / service.replace(" ", "-")
    lines = f"passwd: {words}\ngroup: {words}\nshadow: files\ninitgroups: {words}\n"
    (SPACES / f"{at.name}.nsswitch").write_text(lines)
    binds = [f"mount --bind {at}.nsswitch /etc/nsswitch.conf"]
    if service == "files":
        for kind, more in [("passwd", people), ("group", groups)]:
            (SPACES / f"files.{kind}").write_text(pathlib.Path(f"/etc/{kind}").read_text() + "".join(f"{line}\n" for line in more))
            binds.append(f"mount --bind /run/bench/files.{kind} /etc/{kind}")
    # It lasts as long as a process in it.
    command = f"{' && '.join(binds)} && echo there && exec sleep infinity"
    held = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert held.stdout.readline() == "there\n", f"{service} has no namespace"
    HELD[service] = held
