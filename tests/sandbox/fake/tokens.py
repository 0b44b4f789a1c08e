"""Tokens: sts:GetWebIdentityToken, IAM's three calls about the account's issuer, and the issuer itself over HTTPS.

sts.py and iam_answers.py call this; server.py starts the issuer. A token has the form of the public records of AWS's. The issuer's
authority is FOLDER/issuer-ca.pem. Where a test writes them, FOLDER/issuer-keys says which of its keys are shown, by their names ("nothing":
a set without any; "elsewhere": by a redirect, behind which EC384_2 is), and FOLDER/signing-key by which of them tokens are signed, then under
which name, and whether by the "other" issuer's word. That one is OTHER: its EC384_0 is the first one's EC384_1. FOLDER/issuer-ahead says by how
many seconds the clock is ahead that tokens are made by.
"""

import base64
import datetime
import ipaddress
import json
import re
import ssl
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import iam
import policies
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from wire import AwsError, invalid, members

ADDRESS, PORT = "10.77.0.1", 5443
NAMESPACE = "https://sts.amazonaws.com/"
OTHER = f"https://{ADDRESS}:{PORT}/22222222-2222-3333-4444-555555555555"
KEYS = {kid: ec.generate_private_key(ec.SECP384R1()) for kid in ("EC384_0", "EC384_1", "EC384_2")}
RSA = rsa.generate_private_key(65537, 2048)
# AWS does not publish its own.
LARGEST_PAYLOAD = 4096
issuers = {}  # by account: [URL, whether tokens are made]
folders = []  # where tests say what is otherwise


def said(file, otherwise="EC384_0"):
    for folder in folders:
        if (folder / file).exists():
            return (folder / file).read_text().split()
    return [otherwise]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length):
    return base64url(value.to_bytes(length, "big"))


def enable(account, params, _):
    found = issuers.setdefault(account, [f"https://{ADDRESS}:{PORT}/{uuid.uuid4()}", False])
    if found[1]:
        raise AwsError("FeatureEnabled", "Outbound identity federation is already enabled for the account.", 409)
    found[1] = True
    return {"IssuerIdentifier": found[0]}


def disable(account, params, _):
    if not issuers.get(account, (None, False))[1]:
        raise AwsError("FeatureDisabled", "Outbound identity federation is not enabled for the account.", 404)
    issuers[account][1] = False


def info(account, params, _):
    if account not in issuers:
        raise AwsError("FeatureDisabled", "Outbound identity federation is not enabled for the account.", 404)
    issuer, enabled = issuers[account]
    return {"IssuerIdentifier": issuer, "JwtVendingEnabled": enabled}


def token(caller, params):
    audience, seconds, algorithm, tags = asked(params)
    refuse_unless_allowed(caller, audience, seconds, algorithm, tags)
    issuer, enabled = issuers.get(caller.account, (None, False))
    if not enabled:
        raise AwsError("OutboundWebIdentityFederationDisabledException", "The outbound web identity federation feature is not enabled for this account.", 403)
    now = int(time.time()) + int(said("issuer-ahead", "0")[0])
    ends = datetime.datetime.fromtimestamp(now + seconds, datetime.timezone.utc)
    if caller.credentials and caller.credentials.expiration < ends.replace(tzinfo=None):
        raise AwsError("SessionDurationEscalationException", "The requested token duration would extend the session beyond its original expiration time.", 403)
    subject = caller.session.role_arn if caller.session else caller.arn
    of_aws = {"aws_account": caller.account, "source_region": "eu-central-1", "principal_id": subject,
              "principal_tags": caller.tags(), "request_tags": tags}
    claims = {
        "aud": audience[0] if len(audience) == 1 else audience, "sub": subject, NAMESPACE: {k: v for k, v in of_aws.items() if v},
        "iss": issuer, "exp": now + seconds, "iat": now, "jti": str(uuid.uuid4()),
    }
    if len(json.dumps(claims)) > LARGEST_PAYLOAD:
        raise AwsError("JWTPayloadSizeExceededException", "The requested token payload size exceeds the maximum allowed size.")
    key, kid, whose = [*said("signing-key"), None, None][:3]
    claims["iss"] = OTHER if whose == "other" else issuer
    made = signed(claims, kid or key, key=KEYS[key]) if algorithm == "ES384" else signed_by_rsa(claims)
    return {"WebIdentityToken": made, "Expiration": ends}


def asked(params):
    """What STS refuses before it looks at permissions: STS API Reference, GetWebIdentityToken."""
    audience, tags = members(params, "Audience"), {t["Key"]: t.get("Value", "") for t in members(params, "Tags")}
    seconds, algorithm = int(params.get("DurationSeconds", 300)), params.get("SigningAlgorithm", "")
    if not 1 <= len(audience) <= 10:
        invalid("audience", audience, "Member must have length between 1 and 10")
    if not all(1 <= len(one) <= 1000 for one in audience):
        invalid("audience", audience, "Member must have length between 1 and 1000")
    if not 60 <= seconds <= 3600:
        invalid("durationSeconds", seconds, "Member must have value between 60 and 3600")
    if algorithm not in ("RS256", "ES384"):
        invalid("signingAlgorithm", algorithm, "Member must satisfy enum value set: [RS256, ES384]")
    if len(members(params, "Tags")) > 50 or any(len(k) > 128 or len(v) > 256 for k, v in tags.items()):
        invalid("tags", tags, "Member must have length less than or equal to 50, keys 128, values 256")
    if len({k.lower() for k in tags}) < len(members(params, "Tags")):
        raise AwsError("InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    return audience, seconds, algorithm, tags


def refuse_unless_allowed(caller, audience, seconds, algorithm, tags):
    context = {**caller.context(), "sts:identitytokenaudience": audience, "sts:durationseconds": str(seconds), "sts:signingalgorithm": algorithm,
               "aws:tagkeys": list(tags)}
    context.update({f"aws:requesttag/{k}".lower(): v for k, v in tags.items()})
    for action in ["sts:GetWebIdentityToken"] + (["sts:TagGetWebIdentityToken"] if tags else []):
        refused = None if caller.admin else policies.allowed(caller.layers(), action, "*", context)
        if refused:
            raise AwsError("AccessDenied", f"User: {caller.arn} is not authorized to perform: {action} on resource: * {refused}", 403)


def signed(claims, kid="EC384_0", header=None, key=None):
    header = header or {"kid": kid, "typ": "JWT", "alg": "ES384"}
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    r, s = decode_dss_signature((key or KEYS[kid]).sign(text.encode(), ec.ECDSA(hashes.SHA384())))
    return text + "." + base64url(r.to_bytes(48, "big") + s.to_bytes(48, "big"))


def signed_by_rsa(claims):
    header = {"kid": "RSA_0", "typ": "JWT", "alg": "RS256"}
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return text + "." + base64url(RSA.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


def key_set(shown):
    points = {kid: KEYS[key].public_key().public_numbers() for kid, key in shown.items()}
    ours = [{"kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": kid, "x": number(p.x, 48), "y": number(p.y, 48)} for kid, p in points.items()]
    public = RSA.public_key().public_numbers()
    return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "RSA_0", "n": number(public.n, 256), "e": "AQAB"}] + ours}


def serve(folder):
    """The issuer of every account, at a path of its own."""
    certificate = certify(folder)
    folders.append(folder)

    class Issuer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            match = re.fullmatch(r"/([0-9a-f-]+)/\.well-known/(openid-configuration|jwks\.json)(\?elsewhere)?", self.path)
            issuer = f"https://{ADDRESS}:{PORT}/{match[1]}" if match else None
            known = issuer == OTHER or any(issuer == url for url, _ in issuers.values())
            down = "down" in ((folder / "faults").read_text() if (folder / "faults").exists() else "")
            words = said("issuer-keys")
            shown = {"EC384_0": "EC384_1"} if issuer == OTHER else {"EC384_2": "EC384_2"} if match and match[3] else {kid: kid for kid in words if kid in KEYS}
            status, body = (404, {}) if not known else (503, {}) if down else (200, {"keys": []} if words == ["nothing"] else key_set(shown))
            if known and words == ["elsewhere"] and match[2] == "jwks.json" and not match[3]:
                status = 302
            if known and match[2] == "openid-configuration":
                body = {"issuer": issuer, "jwks_uri": f"{issuer}/.well-known/jwks.json", "id_token_signing_alg_values_supported": ["RS256", "ES384"]}
            text = json.dumps(body).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{issuer}/.well-known/jwks.json?elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("0.0.0.0", PORT), Issuer)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def certify(folder):
    """An authority for the box, and a certificate of this address; the latter's file, with its key."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(subject, issuer, key, signer, extensions):
        name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
        made = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30)))
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(signer, hashes.SHA256())

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("Sandbox", "Sandbox", authority, authority, [(x509.BasicConstraints(True, None), True)])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    leaf = certificate("issuer", "Sandbox", own, authority, [(x509.BasicConstraints(False, None), True), (address, False)])
    pem = serialization.Encoding.PEM
    (folder / "issuer-ca.pem").write_bytes(root.public_bytes(pem))
    private = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "issuer.pem"
    file.touch(mode=0o600)
    file.write_bytes(leaf.public_bytes(pem) + private)
    return file
