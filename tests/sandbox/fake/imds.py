"""The stand-in for the EC2 metadata service: small, and strict about IMDSv2. Every request is a line in the request log.

What it fakes is the table PATHS at the end; to fake more, add a line there. It speaks on 169.254.169.254 and
[fd00:ec2::254], port 80, and is part of the fake AWS's process because its credentials are sessions of that STS.
"""

import json
import re
import secrets
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{0} - {1}</title>
 </head>
 <body>
  <h1>{0} - {1}</h1>
 </body>
</html>
"""
VERSION = re.compile(r"latest|1\.0|20\d\d-\d\d-\d\d")
REASONS = {500: "Internal Server Error", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
DEFAULT_INSTANCE = {
    "instance-id": "i-0123456789abcdef0",
    "account": "123456789012",
    "region": "us-east-1",
    "availability-zone": "us-east-1a",
    "role": "sandbox-instance",
    "http-tokens": "required",
    "clock-ahead": "0",
    "http-endpoint": "enabled",
    "user-data": "#!/bin/sh\n# user data of the sandbox: not for every user's eyes\n",
}


class MetadataService(ThreadingHTTPServer):
    """`folder` is the box's /sandbox; `credentials(instance)` gives a session of its role in the fake's STS, or None without one."""

    daemon_threads = True
    address_family = socket.AF_INET6
    request_queue_size = 128

    def __init__(self, address, folder, credentials):
        self.instance_file, self.log_file = folder / "instance.json", folder / "imds-requests.log"
        self.credentials, self.tokens = credentials, {}
        for file in (self.instance_file, folder / "instance.default.json"):
            file.write_text(json.dumps(DEFAULT_INSTANCE, indent=2) + "\n")
        self.log_file.touch(mode=0o600)
        super().__init__(address, Request)

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def instance(self):
        """What this instance is; `sandbox-imds set` changes the file."""
        return {**DEFAULT_INSTANCE, **json.loads(self.instance_file.read_text())}

    def log(self, entry):
        with self.log_file.open("a") as log:
            log.write(json.dumps(entry) + "\n")


class Request(BaseHTTPRequestHandler):
    """One request. Answers as the real service: HTTP/1.1, `Server: EC2ws`, connection closed."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10

    def do_PUT(self):
        if self.is_out_of_order():
            return
        if self.path.split("?")[0].strip("/").split("/")[1:] != ["api", "token"]:
            return self.refuse(405)
        if "X-Forwarded-For" in self.headers:
            return self.refuse(403)
        ttl = self.headers.get_all("X-aws-ec2-metadata-token-ttl-seconds") or []
        if len(ttl) != 1 or not ttl[0].isdecimal() or not 1 <= int(ttl[0]) <= 21600:
            return self.refuse(400)
        token = "AQAA" + secrets.token_urlsafe(39)
        self.server.tokens[token] = time.monotonic() + int(ttl[0])
        return self.reply(200, token, {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl[0]})

    def do_GET(self):
        instance = self.server.instance()
        if self.is_out_of_order():
            return
        if self.path.rstrip("/").endswith("/api/token"):
            return self.reply(405, "", {"Allow": "OPTIONS, PUT"})
        token, headers = self.headers.get("X-aws-ec2-metadata-token"), {}
        if token is not None:
            left = self.server.tokens.get(token, 0) - time.monotonic()
            if left <= 0:
                return self.refuse(401)
            if "X-Forwarded-For" in self.headers:
                return self.refuse(403)
            headers = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": str(int(left))}
        elif instance["http-tokens"] == "required":
            return self.refuse(401)
        text = answer(self.path, instance, self.server.credentials)
        return self.refuse(404) if text is None else self.reply(200, text, headers)

    do_HEAD = do_GET

    def do_POST(self):
        self.refuse(405)

    do_DELETE = do_OPTIONS = do_POST

    def is_out_of_order(self):
        """As where an administrator has switched the service off, and as where it is broken."""
        endpoint = self.server.instance()["http-endpoint"]
        if endpoint != "enabled":
            self.refuse(403 if endpoint == "disabled" else 500)
        return endpoint != "enabled"

    def refuse(self, status):
        self.reply(status, PAGE.format(status, REASONS[status]), {"Content-Type": "text/html"})

    def reply(self, status, text, headers):
        self.server.log({"time": round(time.time(), 3), "from": self.client_address[0], "method": self.command, "path": self.path,
                         "headers": list(self.headers.items()), "status": status,
                         "token_ttl": headers.get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds")})
        body = text.encode()
        self.close_connection = True
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain", "Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self):
        return "EC2ws"

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + float(self.server.instance()["clock-ahead"]))

    def log_message(self, *_):
        pass


def answer(target, instance, credentials):
    """The text at a path, a listing for a folder, None for neither. A slash at the end makes no difference."""
    parts = [p for p in target.split("?")[0].split("/") if p]
    if not parts:
        return "latest"
    if not VERSION.fullmatch(parts[0]):
        return None
    for path, value in PATHS.items():
        wanted = path.split("/")
        if len(wanted) == len(parts) - 1 and all(w == "*" or w == p for w, p in zip(wanted, parts[1:])):
            return value(instance, credentials, parts[-1])
    return listing(parts[1:])


def listing(folder):
    found = {}
    for path in PATHS:
        parts = path.split("/")
        if parts[: len(folder)] == folder and len(parts) > len(folder):
            name = parts[len(folder)]
            is_folder = folder and len(parts) > len(folder) + 1  # the service puts no slash to the folders of /latest
            found[name + "/" if is_folder else name] = None
    # What has a text of its own and a folder is listed as the folder.
    return "\n".join(name for name in found if name + "/" not in found) or None


def role_name(instance, credentials, _):
    return instance["role"] if credentials(instance) else None


def role_credentials(instance, credentials, name):
    session = credentials(instance) if name == instance["role"] else None
    if session is None:
        return None
    return json.dumps({
        "Code": "Success", "LastUpdated": utc(time.time()), "Type": "AWS-HMAC", "AccessKeyId": session.key,
        "SecretAccessKey": session.secret, "Token": session.token, "Expiration": session.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }, indent=2)


def iam_info(instance, credentials, _):
    if not credentials(instance):
        return None
    return json.dumps({"Code": "Success", "LastUpdated": utc(time.time()),
                       "InstanceProfileArn": f"arn:aws:iam::{instance['account']}:instance-profile/{instance['role']}",
                       "InstanceProfileId": "AIPASANDBOXINSTANCE00"}, indent=2)


def identity_document(instance, *_):
    return json.dumps({
        "accountId": instance["account"], "architecture": "x86_64", "availabilityZone": instance["availability-zone"],
        "imageId": "ami-0123456789abcdef0", "instanceId": instance["instance-id"], "instanceType": "t3.micro",
        "pendingTime": "2026-01-01T00:00:00Z", "privateIp": "10.77.0.2", "region": instance["region"], "version": "2017-09-30",
    }, indent=2)


def utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def field(name):
    return lambda instance, *_: instance[name]


def constant(text):
    return lambda *_: text


MAC = "meta-data/network/interfaces/macs/02:29:96:8f:6a:2d"
# Below /latest/ and every dated version. `*` stands for any one segment, given to the function as its last argument.
PATHS = {
    "dynamic/instance-identity/document": identity_document,
    "meta-data/ami-id": constant("ami-0123456789abcdef0"),
    "meta-data/hostname": constant("ip-10-77-0-2.ec2.internal"),
    "meta-data/iam/info": iam_info,
    "meta-data/iam/security-credentials": role_name,
    "meta-data/iam/security-credentials/*": role_credentials,
    "meta-data/instance-id": field("instance-id"),
    "meta-data/instance-type": constant("t3.micro"),
    "meta-data/local-hostname": constant("ip-10-77-0-2.ec2.internal"),
    "meta-data/local-ipv4": constant("10.77.0.2"),
    "meta-data/mac": constant("02:29:96:8f:6a:2d"),
    "meta-data/managed-ssh-keys/active-keys/bob": constant("ssh-ed25519 BBBB pushed"),
    "meta-data/managed-ssh-keys/signer-cert": constant("-----BEGIN CERTIFICATE-----"),
    f"{MAC}/device-number": constant("0"),
    f"{MAC}/ipv4-associations/203.0.113.7": constant("10.77.0.2"),
    f"{MAC}/mac": constant("02:29:96:8f:6a:2d"),
    "meta-data/placement/availability-zone": field("availability-zone"),
    "meta-data/placement/region": field("region"),
    "meta-data/public-keys": constant("0=my-key"),
    "meta-data/public-keys/0/openssh-key": constant("ssh-ed25519 AAAA my-key"),
    "meta-data/services/domain": constant("amazonaws.com"),
    "meta-data/services/partition": constant("aws"),
    "meta-data/tags/instance/Name": constant("web"),
    "user-data": field("user-data"),
}
