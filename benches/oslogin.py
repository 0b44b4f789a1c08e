#!/usr/bin/python3
"""Stands in for what Google's metadata service answers about OS Login, in a network of its own where it has 169.254.169.254.

usage: oslogin.py PEOPLE

It fakes the paths below /computeMetadata/v1/oslogin/ that Google's programs ask: users by username, uid, groupname and page, groups by
groupname, gid, email and page, and authorize, which lets everybody in, and nobody as an administrator. PEOPLE is JSON: a list of users
(name, uid, gid, home, shell, groups, keys) and one of groups (name, gid). Every answer is made before the first question, so that this
program takes hardly more time than a connection does. It asks for no Metadata-Flavor, and a page of users holds all of them.
"""

import asyncio
import json
import pathlib
import sys
import urllib.parse

PATH = "/computeMetadata/v1/oslogin/"
LAST = {"nextPageToken": "0"}


def main(path):
    people = json.loads(pathlib.Path(path).read_text())
    answers = {question: rendered("200 OK", answer) for question, answer in all_answers(people["users"], people["groups"])}
    asyncio.run(serve(answers))


def all_answers(users, groups):
    gids = {group["name"]: group["gid"] for group in groups}
    profiles = {user["name"]: profile(user) for user in users}
    for user in users:
        found = {"loginProfiles": [profiles[user["name"]]]}
        yield f"users?username={user['name']}", found
        yield f"users?uid={user['uid']}", found
        yield f"groups?email={email(user)}", entries(*((name, gids[name]) for name in user["groups"]))
        yield f"authorize?email={email(user)}&policy=login", {"success": True}
        yield f"authorize?email={email(user)}&policy=adminLogin", {"success": False}
    for name, gid in gids.items():
        yield f"groups?groupname={name}", entries((name, gid))
        yield f"groups?gid={gid}", entries((name, gid))
        yield f"users?groupname={name}", {"usernames": [user["name"] for user in users if name in user["groups"]], **LAST}
    # The last page of users is an empty one, that of groups is not.
    yield "users?pagesize=2048", {"loginProfiles": list(profiles.values()), "nextPageToken": "1"}
    yield "users?pagesize=2048&pagetoken=1", LAST
    yield "groups?pagesize=499", entries(*gids.items())


def profile(user):
    account = {
        "primary": True, "username": user["name"], "uid": str(user["uid"]), "gid": str(user["gid"]), "homeDirectory": user["home"],
        "shell": user["shell"],
    }
    return {"name": email(user), "posixAccounts": [account], "sshPublicKeys": {str(at): {"key": key} for at, key in enumerate(user["keys"])}}


def email(user):
    return f"{user['name']}@example.com"


def entries(*groups):
    return {"posixGroups": [{"name": name, "gid": str(gid)} for name, gid in groups], **LAST}


def rendered(status, answer):
    body = json.dumps(answer).encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    def __init__(self, answers):
        self.answers, self.received = answers, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            request, self.received = self.received.split(b"\r\n\r\n", 1)
            asked = urllib.parse.unquote(request.split(b" ", 2)[1].decode()).removeprefix(PATH)
            self.transport.write(self.answers.get(asked, NOBODY))


NOBODY = rendered("404 Not Found", {"error": "nobody of that name"})


async def serve(answers):
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answers), "169.254.169.254", 80)
    print("there", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
