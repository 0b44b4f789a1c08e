"""The fake AWS of the sandbox: IAM and STS over HTTP, and the metadata stand-in, in one process.

`sandbox` starts it outside the box, in the namespace that plays AWS: server.py FOLDER KEY_CACHE, FOLDER being the box's
/sandbox. The files there are its whole control surface, read at each request: seed.json (a change reseeds), faults
(sandbox-fault writes it), changes.json (what happens between two calls). It writes calls.log (one line a call) and admin.env.
Administrator calls meet no fault.
"""

import datetime
import json
import os
import re
import secrets
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import iam
import seed
import tokens
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from imds import MetadataService
from sts import Caller, Sts, utcnow
from wire import AwsError, error, result

AWS_ADDRESS = ("0.0.0.0", 5000)
METADATA_ADDRESS = ("::", 80)
ADMIN_KEY = "AKIAADMN"  # followed by the account's twelve digits
ADMINISTRATOR = "arn:aws:sts::{}:assumed-role/Administrator/sandbox"
AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d+)/([\w-]+)/(\w+)/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=(\w+)")
WHOLE_LISTINGS = {"ListUsers", "ListGroups", "GetGroup", "GetAccountAuthorizationDetails"}
NOT_AWS = b"<html><head><title>Sign in</title></head><body>Accept the terms to use this network.</body></html>"


def main():
    folder, key_cache = Path(sys.argv[1]), Path(sys.argv[2])
    fake = Fake(folder, seed.KeyPairs(folder / "keys", key_cache))
    fake.reseed_if_changed()  # A seed that cannot be used ends the process here, with the reason.
    metadata = MetadataService(METADATA_ADDRESS, folder, fake.instance_credentials)
    threading.Thread(target=metadata.serve_forever, daemon=True).start()
    tokens.serve(folder)
    server = AwsServer(AWS_ADDRESS, AwsRequest)
    server.fake = fake
    print("ready", flush=True)
    server.serve_forever()


class Fake:
    """Everything behind the two addresses."""

    def __init__(self, folder, keys):
        self.folder, self.keys = folder, keys
        self.lock = threading.RLock()
        self.sts = Sts()
        self.seeded = None
        self.planned, self.changes, self.calls_since = None, [], 0
        self.instance_sessions = {}
        self.admin_secret = secrets.token_urlsafe(30)
        admin = folder / "admin.env"
        admin.touch(mode=0o600)
        admin.write_text(f"AWS_ACCESS_KEY_ID={ADMIN_KEY}{seed.HOME}\nAWS_SECRET_ACCESS_KEY={self.admin_secret}\n")
        self.calls = os.open(folder / "calls.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def reseed_if_changed(self):
        with self.lock:
            path = self.folder / "seed.json"
            stamp = (path.stat().st_mtime_ns, path.stat().st_size)
            if stamp != self.seeded:
                users = seed.plant(path, self.keys)
                self.seeded = stamp
                print(f"seeded {users} users", flush=True)

    def let_happen(self, action):
        """What changes.json wants to have happened by this call: [[1, SEED], [3, SEED]] before the first and the third from now on."""
        path = self.folder / "changes.json"
        try:
            found = path.stat()
        except FileNotFoundError:
            return
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self.planned:
            self.planned, self.changes, self.calls_since = stamp, json.loads(path.read_text()), 0
        self.calls_since += 1
        while self.changes and self.changes[0][0] <= self.calls_since:
            _, content = self.changes.pop(0)
            seed.replant(content, self.keys)
            self.log("sandbox", f"Change:{action}", ADMINISTRATOR.format(seed.HOME), 200)

    def faults(self):
        try:
            return (self.folder / "faults").read_text().split()
        except FileNotFoundError:
            return []

    def instance_credentials(self, instance):
        """The instance's own credentials: a session of six hours, another when less than one is left. None without the role."""
        with self.lock:
            self.reseed_if_changed()
            key = (instance["account"], instance["role"], instance["instance-id"])
            role = iam.role_or_none(instance["account"], instance["role"])
            session = self.instance_sessions.get(key)
            if role and (session is None or session.expiration < utcnow() + datetime.timedelta(hours=1)):
                session = self.instance_sessions[key] = self.sts.issue(instance["account"], role, instance["instance-id"], 6 * 3600)
            return session if role else None

    def handle(self, request):
        """One signed call: who, may faults touch it, may they do it, do it. Returns (status, body)."""
        params = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        action, service, who = params.get("Action", "-"), "iam", "-"
        try:
            self.reseed_if_changed()
            service, caller = self.identify(request)
            who = caller.arn
            truncation = None if caller.admin else self.meet_faults(request, service, action, caller)
            status, body = 200, self.answer(service, action, caller, params, truncation)
        except AwsError as failure:
            status, body = failure.status, error(service, failure)
        except iam.MotoRefusal as refusal:
            status, body = refusal.status, refusal.body
        except NotAws:
            status, body = 200, NOT_AWS
        except Gone:
            self.log(service, action, who, "-")
            raise
        self.log(service, action, who, status)
        return status, body

    def answer(self, service, action, caller, params, truncation):
        with self.lock:
            if service == "iam" and not caller.admin:
                self.let_happen(action)
            if service == "sts":
                return result("sts", action, self.sts.answer(action, caller, params))
            return iam.answer(action, caller, params, truncation)

    def log(self, service, action, who, status):
        os.write(self.calls, f"{time.time():.3f} {service}:{action} {status} {who}\n".encode())

    def identify(self, request):
        """The service asked for and who signed. The signature is checked as AWS does."""
        match = AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if not match:
            raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        key, _, region, service, signed, signature = match.groups()
        if service not in ("iam", "sts"):
            raise AwsError("InvalidAction", f"The sandbox has IAM and STS only, not {service}.")
        if service == "iam" and region != "us-east-1":
            raise AwsError("SignatureDoesNotMatch", "Credential should be scoped to a valid region.", 403)
        with self.lock:
            caller, secret = self.lookup(key, request.headers.get("X-Amz-Security-Token"))
        if signature != expected_signature(request, signed, region, service, key, secret):
            raise AwsError("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. "
                           "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.", 403)
        return service, caller

    def lookup(self, key, token):
        if key.startswith(ADMIN_KEY):
            account = key.removeprefix(ADMIN_KEY)
            return Caller(account, ADMINISTRATOR.format(account), "AROASANDBOXADMINISTRA:sandbox", admin=True), self.admin_secret
        session = self.sts.sessions.get(key)
        if session is not None and token == session.token:
            if session.expired:
                raise AwsError("ExpiredToken", "The security token included in the request is expired", 403)
            return session.caller(), session.secret
        found = iam.access_key(key)
        if session is None and found:
            account, user, access_key = found
            return Caller(account, user.arn, user.id, user_name=user.name), access_key.secret_access_key
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)

    def meet_faults(self, request, service, action, caller):
        """Does what the present faults say; returns "partial" or "cut" where a listing is to be cut short."""
        truncation = None
        for fault in self.faults():
            mode, *rest = fault.split(":")
            milliseconds = int(rest.pop(0)) if mode == "slow" else 0
            if rest and rest[0] != action:
                continue
            if mode == "slow":
                time.sleep(milliseconds / 1000)
            elif mode in ("partial", "cut"):
                truncation = mode if rest or action in WHOLE_LISTINGS else truncation
            else:
                self.strike(mode, request, service, action, caller)
        return truncation

    def strike(self, mode, request, service, action, caller):
        if mode == "throttle":
            raise AwsError("Throttling", "Rate exceeded")
        if mode == "deny":
            raise AwsError("AccessDenied", f"User: {caller.arn} is not authorized to perform: {service}:{action} because no identity-based policy allows the {service}:{action} action", 403)
        if mode == "500":
            code = "ServiceFailure" if service == "iam" else "InternalFailure"
            raise AwsError(code, "The request processing has failed because of an unknown error, exception or failure.", 500)
        if mode == "wrong":
            raise NotAws
        if mode == "hang":
            while "hang" in " ".join(self.faults()) and not request.client_has_gone():
                time.sleep(0.1)
            raise Gone
        if mode == "down":
            raise Gone


class Gone(Exception):
    """The connection is to be reset, not answered."""


class NotAws(Exception):
    """What comes back is a page of somebody else's."""


def expected_signature(request, signed, region, service, key, secret):
    headers = {name: request.headers.get(name, "") for name in signed.split(";")}
    again = AWSRequest("POST", f"http://{request.headers.get('Host', '')}{request.path}", headers=headers, data=request.body)
    again.context["timestamp"] = request.headers.get("X-Amz-Date", "")
    signer = SigV4Auth(Credentials(key, secret), service, region)
    return signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)


class AwsServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class AwsRequest(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive, as AWS; a client's pooled connections are reused."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, body = self.server.fake.handle(self)
        except Gone:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if body is NOT_AWS else "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def do_GET(self):
        """Not AWS: `sandbox` and sandbox-reset ask here whether the seed is in place."""
        status, body = 200, b"ready\n"
        try:
            self.server.fake.reseed_if_changed()
        except (ValueError, KeyError, TypeError, OSError) as failure:
            status, body = 500, f"cannot use the seed: {failure!r}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def client_has_gone(self):
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    main()
