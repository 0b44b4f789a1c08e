#!/usr/bin/env python3
"""Makes an issuer, and proofs of its tokens of which each differs in one thing from a right one; says of each what it must open.

usage: proofs.py issuer KEYS                   writes the key set for login_keys_file, and KEYS.pem
       proofs.py make KEYS FOLDER NAME ID FIRST COUNT
                                               FOLDER/NUMBER/key and key-cert.pub; prints NUMBER TAB opens|nothing TAB what it is
       proofs.py one KEYS FOLDER NAME ID       the right one alone, in FOLDER

Everything but the tokens' issuer is the product's and the distribution's: sshd checks the certificates first.
"""
import base64
import json
import os
import struct
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://11111111-2222-3333-4444-555555555555.tokens.example"
ACCOUNT, INSTANCE, AWS = "123456789012", "i-0123456789abcdef0", "https://sts.amazonaws.com/"
EXTENSIONS = ["permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"]
TOKEN = "proof-v1@keymaker.github.io"
PEM, SSH, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
NOW = int(time.time())
NO = object()


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def string(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def sign(key, text):
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


class Proof:
    """A right one of this user; what a row changes, it changes here."""

    def __init__(self, name, user_id, issuer):
        self.issuer_key, self.name = issuer, name
        self.key = self.signer = ed25519.Ed25519PrivateKey.generate()
        self.kind, self.serial, self.type = 1, 0, "ssh-ed25519"
        self.principals, self.options, self.extensions = ["keymaker-proof"], b"", [(name, None) for name in EXTENSIONS]
        self.after, self.before, self.key_id = None, None, None
        subject = f"arn:aws:iam::{ACCOUNT}:user/{name}"
        self.header = {"alg": "ES384", "kid": "EC384_0", "typ": "JWT"}
        self.claims = {
            "iss": ISSUER, "aud": f"keymaker:{ACCOUNT}", "sub": subject, "iat": NOW, "exp": NOW + 300, "jti": f"jti-{os.urandom(8).hex()}",
            AWS: {"aws_account": ACCOUNT, "source_region": "us-east-1", "principal_id": subject, "org_id": "o-1", "ou_path": ["o-1/r-1/"],
                  "principal_tags": {"team": "x"}, "request_tags": {"keymaker-user": user_id}},
        }
        self.raw = lambda text: text
        self.token = lambda token: token

    def blob(self):
        public = self.key.public_key()
        if self.type == "ssh-ed25519":
            fields = string(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
        else:
            fields = string("nistp256") + string(public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))
        return fields, string(self.type) + fields

    def fingerprint(self):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.blob()[1])
        return "SHA256:" + base64.b64encode(digest.finalize()).rstrip(b"=").decode()

    def subject(self, arn, principal=None):
        self.claims["sub"], self.claims[AWS]["principal_id"] = arn, principal or arn

    def made_token(self):
        tags = self.claims.get(AWS, {}).get("request_tags")
        if isinstance(tags, dict):
            tags.setdefault("keymaker-key", self.fingerprint())
        text = base64url(json.dumps(self.header).encode()) + "." + base64url(self.raw(json.dumps(self.claims)).encode())
        return self.token(text + "." + base64url(sign(self.issuer_key, text.encode())))

    def certificate(self):
        token = self.made_token()
        fields, plain = self.blob()
        iat, exp = self.claims.get("iat"), self.claims.get("exp")
        after = self.after if self.after is not None else int(iat or NOW) - 60
        before = self.before if self.before is not None else int(exp or NOW + 300)
        extensions = sorted(self.extensions + ([(TOKEN, token)] if token else []))
        blob = string(self.type + "-cert-v01@openssh.com") + string(os.urandom(32)) + fields + struct.pack(">QI", self.serial, self.kind)
        blob += string(self.key_id or str(self.claims.get("jti"))) + string(b"".join(string(name) for name in self.principals))
        blob += struct.pack(">QQ", after, before) + string(self.options)
        blob += string(b"".join(string(name) + string(string(value) if value is not None else b"") for name, value in extensions)) + string(b"")
        signer = Proof(self.name, "", self.issuer_key)
        signer.key, signer.type = self.signer, self.type
        blob += string(signer.blob()[1])
        if self.type == "ssh-ed25519":
            signature = self.signer.sign(blob)
        else:
            r, s = decode_dss_signature(self.signer.sign(blob, ec.ECDSA(hashes.SHA256())))
            mpint = lambda n: string(n.to_bytes(n.bit_length() // 8 + 1, "big"))
            signature = mpint(r) + mpint(s)
        return blob + string(string(self.type) + string(signature))

    def write(self, folder):
        os.makedirs(folder)
        with open(os.open(f"{folder}/key", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(self.key.private_bytes(PEM, SSH, PLAIN))
        with open(f"{folder}/key-cert.pub", "w") as file:
            file.write(f"{self.type}-cert-v01@openssh.com {base64.b64encode(self.certificate()).decode()}\n")


def rows(name):
    """Each: whether it opens, what it is, and what it changes."""
    user = f"arn:aws:iam::{ACCOUNT}:user/"

    def claim(path, value):
        def change(proof):
            *names, last = path
            inside = proof.claims
            for part in names:
                inside = inside[part]
            if value is NO:
                del inside[last]
            else:
                inside[last] = value
        return change

    def attribute(attribute, value):
        return lambda proof: setattr(proof, attribute, value)

    def header(**changes):
        return lambda proof: [proof.header.pop(k) if v is NO else proof.header.update({k: v}) for k, v in changes.items()]

    def subject(arn, principal=None):
        return lambda proof: proof.subject(arn, principal)

    def times(iat, exp):
        return lambda proof: proof.claims.update(iat=iat, exp=exp)

    def spelled(old, new):
        return lambda proof: setattr(proof, "raw", lambda text: text.replace(old, new, 1))

    def retold(change):
        return lambda proof: setattr(proof, "token", change)

    def p256(proof):
        proof.key = proof.signer = ec.generate_private_key(ec.SECP256R1())
        proof.type = "ecdsa-sha2-nistp256"

    def plus(*extension):
        return lambda proof: proof.extensions.append(extension)

    def without(extension):
        return lambda proof: proof.extensions.remove((extension, None))

    def other_letters(token):
        """The last character of the claims with bits that base64url does not need."""
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        head, tail = token[:-1], token[-1]
        return head + letters[letters.index(tail) ^ 1]

    yield True, "a right one", lambda proof: None
    yield True, "of an ECDSA key", p256
    yield True, "the path changed in IAM", subject(f"{user}other/path/{name}")
    yield True, "no typ in the header", header(typ=NO)
    yield True, "for this host", claim([AWS, "request_tags", "keymaker-host"], INSTANCE)
    yield True, "with another tag, too", claim([AWS, "request_tags", "team"], "x")
    yield True, "a claim that nobody knows", claim(["nonce"], "x")
    yield True, "subject_mode AWSIdentity", claim([AWS, "subject_mode"], "AWSIdentity")
    yield True, "made half a minute ahead", lambda proof: proof.claims.update(iat=NOW + 30, exp=NOW + 330) or setattr(proof, "after", NOW - 30)

    yield False, "another user's", subject(f"{user}somebody-else")
    yield False, "of a role named like the user", subject(f"arn:aws:iam::{ACCOUNT}:role/{name}")
    yield False, "of a session named like the user", subject(f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{name}")
    yield False, "of a federated user", subject(f"arn:aws:sts::{ACCOUNT}:federated-user/{name}")
    yield False, "of the account's root", subject(f"arn:aws:iam::{ACCOUNT}:root")
    yield False, "user/aws-reserved", subject(f"{user}aws-reserved/sso.amazonaws.com/{name}")
    yield False, "the name in capitals", subject(f"{user}{name.upper()}")
    yield False, "nothing behind the name", subject(f"{user}{name}/")
    yield False, "a new line behind the name", subject(f"{user}{name}\n")
    yield False, "another partition", subject(f"arn:aws-cn:iam::{ACCOUNT}:user/{name}")
    yield False, "another account in the subject", subject(f"arn:aws:iam::210987654321:user/{name}")
    yield False, "another account in the claims", claim([AWS, "aws_account"], "210987654321")
    yield False, "the account as a number", claim([AWS, "aws_account"], int(ACCOUNT))
    yield False, "another principal_id", subject(f"{user}{name}", f"{user}somebody-else")
    yield False, "no principal_id", claim([AWS, "principal_id"], NO)
    yield False, "no claims of AWS's", claim([AWS], NO)
    yield False, "another issuer", claim(["iss"], ISSUER + "/")
    yield False, "no issuer", claim(["iss"], NO)
    yield False, "another audience", claim(["aud"], "keymaker:210987654321")
    yield False, "no audience", claim(["aud"], NO)
    yield False, "an audience in an array", claim(["aud"], [f"keymaker:{ACCOUNT}"])
    yield False, "two audiences", claim(["aud"], [f"keymaker:{ACCOUNT}", "other"])
    yield False, "subject_mode OriginIdentity", claim([AWS, "subject_mode"], "OriginIdentity")
    yield False, "a scope", claim(["scope"], "x")
    yield False, "a scope of AWS's", claim([AWS, "scope"], "x")
    for acting in ["federated_provider", "identity_store_user_id", "ec2_instance_source_vpc", "lambda_source_function_arn", "glue_credential_issuing_service"]:
        yield False, f"{acting}", claim([AWS, acting], "x")
    yield False, "for another host", claim([AWS, "request_tags", "keymaker-host"], "i-00000000000000000")
    yield False, "for another key", claim([AWS, "request_tags", "keymaker-key"], "SHA256:" + "A" * 43)
    yield False, "the key's tag in other letters, too", claim([AWS, "request_tags", "Keymaker-Key"], "SHA256:" + "A" * 43)
    yield False, "for whoever has the name", claim([AWS, "request_tags", "keymaker-user"], NO)
    yield False, "for another UserId, which had the name then", claim([AWS, "request_tags", "keymaker-user"], "AIDASOMEBODYELSE00000")
    yield False, "the user's tag in other letters, too", claim([AWS, "request_tags", "Keymaker-User"], "AIDASOMEBODYELSE00000")
    yield False, "the host's tag in other letters", claim([AWS, "request_tags", "KEYMAKER-HOST"], INSTANCE)
    yield False, "the key among the principal's tags only", lambda proof: (
        proof.claims[AWS].update(principal_tags={"keymaker-key": proof.fingerprint()}, request_tags=[]))
    yield False, "ended a second ago", times(NOW - 200, NOW - 1)
    yield False, "made two minutes ahead", lambda proof: proof.claims.update(iat=NOW + 600, exp=NOW + 900) or setattr(proof, "after", NOW - 60)
    yield False, "lives 301 seconds", times(NOW, NOW + 301)
    yield False, "ends before it begins", lambda proof: proof.claims.update(iat=NOW, exp=NOW - 10) or setattr(proof, "before", NOW + 300)
    yield False, "iat as a float", spelled(f'"iat": {NOW}', f'"iat": {NOW}.0')
    yield False, "iat with an exponent", spelled(f'"iat": {NOW}', f'"iat": {NOW}e0')
    yield False, "exp as 1e9 times", spelled(f'"exp": {NOW + 300}', f'"exp": {(NOW + 300) / 1e9}e9')
    yield False, "iat as text", spelled(f'"iat": {NOW}', f'"iat": "{NOW}"')
    yield False, "no exp", claim(["exp"], NO)
    yield False, "another jti than the certificate's", attribute("key_id", "another")
    yield False, "no jti", claim(["jti"], NO)
    yield False, "a jti with a blank", claim(["jti"], "a b")
    yield False, "sub twice", spelled('"sub"', f'"sub": "{user}root", "sub"')
    yield False, "aws_account twice", spelled('"aws_account"', '"aws_account": "1", "aws_account"')
    yield False, "the key's tag twice", spelled('"keymaker-key"', '"keymaker-key": "1", "keymaker-key"')
    yield False, "something after the claims", spelled("}}}", "}}}x")

    yield False, "alg none", header(alg="none")
    yield False, "alg RS256", header(alg="RS256")
    yield False, "alg HS384", header(alg="HS384")
    yield False, "alg in small letters", header(alg="es384")
    yield False, "a kid that nobody published", header(kid="EC384_9")
    yield False, "no kid", header(kid=NO)
    yield False, "another typ", header(typ="at+jwt")
    for more in ["crit", "jwk", "jku", "x5c", "b64", "zip"]:
        yield False, f"{more} in the header", header(**{more: "x"})
    yield False, "signed by another key of the same name", attribute("issuer_key", ec.generate_private_key(ec.SECP384R1()))
    yield False, "four parts", retold(lambda token: token + ".x")
    yield False, "two parts", retold(lambda token: token.rsplit(".", 1)[0])
    yield False, "no signature", retold(lambda token: token.rsplit(".", 1)[0] + ".")
    yield False, "zeros as the signature", retold(lambda token: token.rsplit(".", 1)[0] + "." + base64url(bytes(96)))
    yield False, "padded base64", retold(lambda token: token + "=")
    yield False, "a blank before it", retold(lambda token: " " + token)
    yield False, "another spelling of the header", retold(lambda token: other_letters(token.split(".")[0]) + "." + token.split(".", 1)[1])
    yield False, "8 KiB and one character", retold(lambda token: token + "A" * (8193 - len(token)))

    yield False, "no token", retold(lambda token: None)
    yield False, "a foreign authority", attribute("signer", ed25519.Ed25519PrivateKey.generate())
    yield False, "two principals", attribute("principals", ["keymaker-proof", name])
    yield False, "a principal with a comma", attribute("principals", [f"keymaker-proof,{name}"])
    yield False, "no principals", attribute("principals", [])
    yield False, "the user as the principal", attribute("principals", [name])
    yield False, "a host's certificate", attribute("kind", 2)
    yield False, "a serial number", attribute("serial", 1)
    yield False, "a force-command", attribute("options", string("force-command") + string(string("id")))
    yield False, "a source-address", attribute("options", string("source-address") + string(string("0.0.0.0/0")))
    yield False, "an extension more", plus("no-touch-required", None)
    yield False, "without permit-pty", without("permit-pty")
    yield False, "valid for ever", attribute("before", 2**64 - 1)
    yield False, "valid from ever", attribute("after", 0)


def main():
    what, keys, *rest = sys.argv[1:]
    if what == "issuer":
        issuer = ec.generate_private_key(ec.SECP384R1())
        numbers = issuer.public_key().public_numbers()
        point = {which: base64url(getattr(numbers, which).to_bytes(48, "big")) for which in "xy"}
        with open(keys, "w") as file:
            json.dump({"issuer": ISSUER, "keys": [{"kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": "EC384_0", **point}]}, file)
        with open(os.open(keys + ".pem", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
            file.write(issuer.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN))
        return
    with open(keys + ".pem", "rb") as file:
        issuer = serialization.load_pem_private_key(file.read(), None)
    folder, name, user_id, *which = rest
    if what == "one":
        return Proof(name, user_id, issuer).write(folder)
    first, count = map(int, which)
    for number, (opens, said, change) in list(enumerate(rows(name)))[first:first + count]:
        proof = Proof(name, user_id, issuer)
        change(proof)
        proof.write(f"{folder}/{number}")
        print(number, "opens" if opens else "nothing", said, sep="\t")


main()
