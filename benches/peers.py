"""The services beside Keymaker's, each with a mount namespace with an nsswitch.conf of its own, and the same people in all of them."""

import contextlib
import ctypes
import json
import os
import pathlib
import subprocess

from measuring import sh

USERS = 1000
SPACES = pathlib.Path("/run/bench")
LIST = SPACES / "people"
PEOPLE_OF_GOOGLE = SPACES / "people.json"
# What `bench` has fetched.
FETCHED = pathlib.Path("/sandbox/peers")
# What stands behind `passwd:` and `group:` for each.
SERVICES = {
    "keymaker": "keymaker",
    "sss": "sss",
    "extrausers": "extrausers",
    "systemd": "systemd",
    "oslogin": "oslogin",
    "cache_oslogin": "cache_oslogin",
    "files": "files",
    "files keymaker": "files keymaker",
    "files sss": "files sss",
}
# As Debian's packages leave the line, with nobody in userdb.
AS_PACKAGED = {words: words for words in ("files systemd", "files systemd sss", "files systemd keymaker")}
LOCAL_LINES = 30
KEY = pathlib.Path("/sandbox/keys/alice.pub")
HELD = {}


def prepare():
    SPACES.mkdir(exist_ok=True)
    fill_up_local_lines()
    # Google's package would ask for users at once, the metadata service of this box. The folders are made by its google_oslogin_control,
    # which would write into nsswitch.conf, sshd_config and PAM's stacks as well.
    sh(f"systemctl mask google-oslogin-cache.service google-oslogin-cache.timer && dpkg -i {FETCHED}/debs/*.deb && "
       "mkdir -p /var/google-users.d /var/google-sudoers.d")
    space("keymaker", SERVICES["keymaker"])
    tell([f"u{number:05}" for number in range(USERS)])
    for service, words in {**SERVICES, **AS_PACKAGED}.items():
        if service not in HELD:
            space(service, words)
    inside("oslogin", ["google_oslogin_nss_cache"])


def tell(names, asked=None):
    """Everybody else is told what Keymaker says of these, and of alice, whose key they have as well. LIST has those `asked` for."""
    asked, names = len(names[:asked]), [*names, "alice"]
    people = known("passwd", names)
    local_gids = {line.split(":")[2] for line in pathlib.Path("/etc/group").read_text().splitlines()}
    gids = [line.split() for line in inside("keymaker", ["id", "-G", *names]).stdout.splitlines()]
    members, lines = {}, []
    for person, all_of_them in zip(people, gids, strict=True):
        name, _, _, own_gid = person.split(":")[:4]
        # That of all users is the host's own, and nobody but Keymaker can add to it.
        theirs = [gid for gid in all_of_them if gid not in local_gids]
        lines.append(f"{person} {','.join(theirs)} {','.join(local_gids)}\n")
        for gid in theirs:
            if gid != own_gid:
                members.setdefault(gid, []).append(name)
    LIST.write_text("".join(lines[:asked]))
    shared = [":".join(group.split(":")[:3]) + ":" + ",".join(members[gid]) for gid, group in zip(members, known("group", members), strict=True)]
    groups = [group.replace(":*:", ":x:", 1) for group in shared] + [f"{person.split(':')[0]}:x:{person.split(':')[3]}:" for person in people]
    files(people, groups)
    extrausers(people, groups)
    userdb(people, groups)
    sssd()
    google(people, groups)


def known(database, keys):
    lines = inside("keymaker", ["getent", "-s", "keymaker", database, *keys]).stdout.splitlines()
    assert len(lines) == len(keys), f"{len(keys) - len(lines)} are not there"
    return lines


def inside(service, command):
    """With this service's nsswitch.conf. What it prints goes through a pipe, since tar looks at nothing for /dev/null."""
    network = ["--net"] if service == "oslogin" else []
    entered = ["nsenter", f"--target={HELD[service].pid}", "--mount", *network, "--", *command]
    return subprocess.run(entered, capture_output=True, text=True, errors="replace")


@contextlib.contextmanager
def network_of(service):
    """This process, and what it starts, is in the service's network."""
    libc, clone_newnet = ctypes.CDLL(None, use_errno=True), 0x40000000
    own, other = (os.open(f"/proc/{pid}/ns/net", os.O_RDONLY) for pid in ("self", HELD[service].pid))
    try:
        for namespace in (other, own):
            if libc.setns(namespace, clone_newnet):
                raise OSError(ctypes.get_errno(), "setns")
            if namespace == other:
                yield
    finally:
        libc.setns(own, clone_newnet)
        os.close(own)
        os.close(other)


def fill_up_local_lines():
    path = pathlib.Path("/etc/passwd")
    lines = path.read_text().splitlines()
    more = [f"local{number}:x:{number}:65534::/nonexistent:/usr/sbin/nologin" for number in range(600, 600 + LOCAL_LINES - len(lines))]
    path.write_text("".join(f"{line}\n" for line in lines + more))
    # What is published says of which /etc/passwd it knows.
    sh("keymaker sync")


def files(people, groups):
    """Files are written where they are, since namespaces hold them."""
    for kind, more in [("passwd", people), ("group", groups)]:
        (SPACES / f"files.{kind}").write_text(pathlib.Path(f"/etc/{kind}").read_text() + "".join(f"{line}\n" for line in more))


def extrausers(people, groups):
    folder = pathlib.Path("/var/lib/extrausers")
    folder.mkdir(exist_ok=True)
    (folder / "passwd").write_text("".join(f"{person}\n" for person in people))
    (folder / "group").write_text("".join(f"{group}\n" for group in groups))
    (folder / "shadow").write_text("")


def userdb(people, groups):
    """Only its own namespace has them: logind would look at them as well."""
    folder = SPACES / "userdb"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
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
            # An empty file, as the manual has it, is taken for one that is masked.
            (folder / f"{member}:{name}.membership").write_text("{}\n")


def put(folder, name, number, record):
    (folder / name).write_text(json.dumps({key: value for key, value in record.items() if value != ""}))
    (folder / number).symlink_to(name)


def sssd():
    """SSSD gets everybody from a passwd and a group file of its own, and keeps them in its cache. libnss-extrausers would not do as what
    it asks: it has no answer to whose groups somebody is in."""
    drop_in = pathlib.Path("/etc/systemd/system/sssd.service.d/bench.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(f"[Service]\nBindReadOnlyPaths={SPACES}/files.passwd:/etc/passwd {SPACES}/files.group:/etc/group\n")
    # With its own timeout it ends its backend before that has stored a group of 5,000.
    path = pathlib.Path("/etc/sssd/sssd.conf")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "[sssd]\nservices = nss, ssh\ndomains = bench\n[nss]\n[ssh]\n[domain/bench]\nid_provider = proxy\nproxy_lib_name = files\n"
        "auth_provider = none\naccess_provider = permit\ntimeout = 300\n"
    )
    path.chmod(0o600)
    sh("systemctl daemon-reload")
    start_sssd_with_nothing()
    fill_sssd()


def start_sssd_with_nothing():
    sh("systemctl stop sssd && rm -f /var/lib/sss/db/*.ldb /var/lib/sss/mc/* && systemctl start sssd")


def fill_sssd():
    """Each answer once, so that its memory cache has everybody. Groups come last: those of a user bring theirs, with all the members."""
    give_sssd_a_key("alice")
    lines = [line.split(" ") for line in LIST.read_text().splitlines()]
    names = [entry.split(":")[0] for entry, *_ in lines]
    gids = {gid for _, gids, _ in lines for gid in gids.split(",")}
    for database, keys in [("passwd", names), ("initgroups", names), ("group", gids)]:
        subprocess.run(["getent", "-s", "sss", database, *keys], stdout=subprocess.DEVNULL)


def give_sssd_a_key(name):
    """Into its cache, where LDAP would bring it: the proxy has no keys."""
    change = (
        f"dn: name={name}@bench,cn=users,cn=bench,cn=sysdb\nchangetype: modify\nadd: sshPublicKey\nsshPublicKey: {KEY.read_text().split()[1]}\n"
    )
    (SPACES / "key.ldif").write_text(change)
    # SSSD's own module is among ldb's, wherever this Debian has them.
    modules = next(pathlib.Path("/usr/lib").glob("*-linux-gnu/**/memberof.so")).parent
    sh(f"getent -s sss passwd {name} && systemctl stop sssd && "
       f"LDB_MODULES_PATH={modules} ldbmodify -H /var/lib/sss/db/cache_bench.ldb {SPACES}/key.ldif && systemctl start sssd")


def google(people, groups):
    members = {group.split(":")[0]: group.split(":")[3].split(",") for group in groups if group.split(":")[3]}
    of_each = {}
    for group, names in members.items():
        for name in names:
            of_each.setdefault(name, []).append(group)
    users = []
    for person in people:
        name, _, uid, gid, _, home, shell = person.split(":")
        keys = [KEY.read_text().strip()] if name == "alice" else []
        users.append({"name": name, "uid": int(uid), "gid": int(gid), "home": home, "shell": shell, "groups": of_each.get(name, []), "keys": keys})
    shared = [{"name": group.split(":")[0], "gid": int(group.split(":")[2])} for group in groups if group.split(":")[0] in members]
    PEOPLE_OF_GOOGLE.write_text(json.dumps({"users": users, "groups": shared}))


def space(service, words):
    at = SPACES / service.replace(" ", "-")
    lines = f"passwd: {words}\ngroup: {words}\nshadow: files\ninitgroups: {words}\n"
    (SPACES / f"{at.name}.nsswitch").write_text(lines)
    steps = [f"mount --bind {at}.nsswitch /etc/nsswitch.conf"]
    own, stays = ["--mount"], "echo there && exec sleep infinity"
    if service == "files":
        steps += [f"mount --bind {SPACES}/files.{kind} /etc/{kind}" for kind in ("passwd", "group")]
    if service == "systemd":
        steps.append(f"mkdir -p /run/userdb && mount --bind {SPACES}/userdb /run/userdb")
    if service == "oslogin":
        own.append("--net")
        steps += ["ip link set lo up", "ip address add 169.254.169.254/32 dev lo"]
        stays = f"exec /sandbox/project/benches/oslogin.py {PEOPLE_OF_GOOGLE}"
    # It lasts as long as a process in it.
    command = f"{' && '.join(steps)} && {stays}"
    held = subprocess.Popen(["unshare", *own, "--propagation", "private", "sh", "-c", command], stdout=subprocess.PIPE, text=True)
    assert held.stdout.readline() == "there\n", f"{service} has no namespace"
    HELD[service] = held
