"""Logins, and what sshd runs for one."""

import os
import pathlib
import statistics
import subprocess

from measuring import in_turn, run, sh, show, spread, table


@table
def logins():
    print("\n### A login, `ssh localhost true`\n")
    subprocess.run("useradd -m -s /bin/bash local && install -d -o local -m 700 /home/local/.ssh", shell=True, check=True)
    subprocess.run("install -o local -m 600 /sandbox/keys/alice.pub /home/local/.ssh/authorized_keys", shell=True, check=True)
    whole = ["ssh", "-i", "/sandbox/keys/alice"]
    for user in ["alice", "local"]:
        run([*whole, f"{user}@localhost", "true"])
    taken = in_turn({user: lambda user=user: run([*whole, f"{user}@localhost", "true"]) for user in ["alice", "local"]}, 50)
    rows = [["of IAM", *spread(taken["alice"])], ["local, authorized_keys", *spread(taken["local"])]]
    pairs = sorted(one - other for one, other in zip(taken["alice"], taken["local"]))
    print(f"milliseconds, 50 pairs in turn; of a pair the IAM user's takes {pairs[25] / 1e6:+.1f} ms more (median)\n")
    show(["user", "median", "10 %", "90 %"], rows)


@table
def keys_command():
    print("\n### The keys command, whole process\n")
    key = pathlib.Path("/sandbox/keys/alice.pub").read_text().split()
    uid = subprocess.run(["id", "-u", "alice"], capture_output=True, text=True, check=True).stdout.strip()
    print_of_key = subprocess.run(["ssh-keygen", "-lf", "/sandbox/keys/alice.pub"], capture_output=True, text=True, check=True).stdout
    words = subprocess.run(["sshd", "-T", "-C", "user=alice,host=localhost,addr=127.0.0.1"], capture_output=True, text=True, check=True)
    command = next(line.split()[1:] for line in words.stdout.splitlines() if line.startswith("authorizedkeyscommand "))
    values = {"%u": "alice", "%U": uid, "%f": print_of_key.split()[1], "%t": key[0], "%k": key[1]}
    command = [values.get(word, word) for word in command]
    taken = in_turn({"ours": lambda: run(command), "true": lambda: run(["/bin/true"])}, 300)
    print("milliseconds of 300 in turn\n")
    show(["program", "median", "10 %", "90 %"], [["`keymaker-keys`", *spread(taken["ours"])], ["`/bin/true`", *spread(taken["true"])]])
    print(f"\nratio of the medians: {statistics.median(taken['ours']) / statistics.median(taken['true']):.2f}")


@table
def proofs():
    print("\n### Logins by proof\n")
    subprocess.run("sh /sandbox/project/tests/proofs-on alice", shell=True, check=True, stdout=subprocess.DEVNULL)
    # No key of IAM's, which root's own settings would offer; and sixteen tickets are as many as anybody may have.
    alone = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    person = ["sh", "-c", '. /root/alice.env; HOME=/root/laptop "$@"', "sh"]
    fresh = [*person, "sh", "-c", 'rm -rf "$HOME/.ssh" /run/keymaker-keys/*; exec keymaker ssh "$@" alice@localhost true', "sh", *alone]
    sts = [*person, "sh", "-c", """exec curl -sSf -o /dev/null --aws-sigv4 aws:amz:us-east-1:sts --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" \\
        -d 'Action=GetWebIdentityToken&Version=2011-06-15&Audience.member.1=keymaker:x&SigningAlgorithm=ES384' "$AWS_ENDPOINT_URL" """]
    by_key = ["ssh", *alone, "-i", "/sandbox/keys/alice", "alice@localhost", "true"]
    for command in (fresh, sts, by_key):
        run(command)
    taken = in_turn({"sts": lambda: run(sts), "key": lambda: run(by_key), "fresh": lambda: run(fresh)}, 30)
    key = str(next(pathlib.Path("/root/laptop/.ssh/keymaker").glob("id-*-cert.pub"))).removesuffix("-cert.pub")
    by_proof = ["ssh", *alone, "-i", key, "-o", "IdentitiesOnly=yes", "alice@localhost", "true"]
    taken |= in_turn({"key, again": lambda: run(by_key), "proof": lambda: run(by_proof)}, 30)
    certificate = pathlib.Path(key + "-cert.pub").read_text().split()
    plain = pathlib.Path("/sandbox/keys/alice.pub").read_text().split()
    command = ["/usr/libexec/keymaker/keymaker-keys", "alice", sh("id -u alice"), "SHA256:x"]
    commands = in_turn({"plain": lambda: run([*command, *plain[:2]]), "certificate": lambda: run([*command, *certificate[:2]])}, 300)
    print("milliseconds in turn: 30 logins of each, 300 of the keys command\n")
    show(["what", "median", "10 %", "90 %"], [
        ["`ssh`, by key", *spread(taken["key"])],
        ["one call of STS, by curl", *spread(taken["sts"])],
        ["`keymaker ssh`, without a token yet", *spread(taken["fresh"])],
        ["`ssh`, by key, again", *spread(taken["key, again"])],
        ["`ssh`, by a token that is there", *spread(taken["proof"])],
        ["`keymaker-keys` for a key", *spread(commands["plain"])],
        ["`keymaker-keys` for a certificate, `proof` included", *spread(commands["certificate"])],
    ])
    median = {name: statistics.median(times) for name, times in (taken | commands).items()}
    print(f"\nwithout a token yet, of a login by key and one call of STS: {median['fresh'] / (median['key'] + median['sts']):.2f}; with a token, of a login by "
          f"key: {median['proof'] / median['key, again']:.2f}; a certificate takes the keys command {(median['certificate'] - median['plain']) / 1e6:.1f} ms more. "
          f"`proof` has {os.path.getsize('/usr/libexec/keymaker/proof') // 1024} KiB, `keymaker-keys` {os.path.getsize('/usr/libexec/keymaker/keymaker-keys') // 1024}.")
