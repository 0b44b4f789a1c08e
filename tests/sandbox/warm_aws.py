"""The AWS command line without its start, which is most of what a call costs: a process that has it loaded forks one for each call.

`sandbox-admin aws …` runs this file with the command line's arguments. It hands them, its environment, its folder and its three
standard files to the loaded process and ends with that one's status. Where none listens it starts one and runs the command line itself.
"""

import array
import json
import os
import socket
import subprocess
import sys

ADDRESS = "/run/sandbox-aws.sock"
PYTHON = "/opt/aws/bin/python3"


def main():
    if sys.argv[1:] == ["--serve"]:
        serve()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(ADDRESS)
    except OSError:
        start_server()
        os.execvp("aws", ["aws", *sys.argv[1:]])
    sys.exit(ask(connection))


def ask(connection):
    question = json.dumps({"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(question) + 65536)
    connection.sendmsg([question], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    status = connection.recv(1)
    if not status:
        print("sandbox-admin: the loaded AWS command line died; journalctl -u sandbox-aws", file=sys.stderr)
    return status[0] if status else 255


def start_server():
    command = ["systemd-run", "--quiet", "--collect", "--unit=sandbox-aws", PYTHON, "-B", os.path.abspath(__file__), "--serve"]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def serve():
    load()
    os.umask(0o077)
    # One that was killed leaves it.
    if os.path.exists(ADDRESS):
        os.unlink(ADDRESS)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(ADDRESS)
    listener.listen(64)
    while True:
        connection, _ = listener.accept()
        # The grandchild is init's to reap.
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                listener.close()
                answer(connection)
            os._exit(0)
        os.waitpid(child, 0)
        connection.close()


def load():
    """Everything that no argument and no variable changes: the modules, and what the services look like."""
    import awscli.clidriver  # noqa: F401
    import botocore.loaders
    import botocore.session

    read, loaded = botocore.loaders.JSONFileLoader.load_file, {}

    def load_file(self, path):
        if path not in loaded:
            loaded[path] = read(self, path)
        return loaded[path]

    botocore.loaders.JSONFileLoader.load_file = load_file
    for service in ("iam", "sts"):
        botocore.session.get_session().create_client(
            service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def answer(connection):
    question, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    question = json.loads(question)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.umask(0o022)
    os.chdir(question["folder"])
    # awscli says there at its import where its own data lies.
    data = os.environ["AWS_DATA_PATH"]
    os.environ.clear()
    os.environ.update({"AWS_DATA_PATH": data, **question["environment"]})
    sys.argv = ["aws", *question["arguments"]]
    import awscli.clidriver
    try:
        status = awscli.clidriver.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 255
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([(status or 0) & 255]))
    os._exit(0)


main()
