"""Puts a seed (JSON, format in docs/sandbox.md) into moto, in-process: 5,000 users take a tenth of a second.

Called by server.py at its start and whenever /sandbox/seed.json changes. What the seed does not say is derived from the
names, so that ids are the same at every boot.
"""

import base64
import datetime
import hashlib
import json
import shutil

import iam
import iam_answers
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.iam.models import Group, ManagedPolicy, User

HOME = "123456789012"
REGION = "us-east-1"
INSTANCE_ROLE = "sandbox-instance"
GRADE_2 = ["GetUser", "ListGroupsForUser", "ListSSHPublicKeys", "GetSSHPublicKey", "GetRole", "ListGroups", "GetGroup", "ListUsers"]


def plant(path, keys):
    """Replaces all of IAM by the seed file's content. `keys` is a KeyPairs. Returns how many users there are."""
    wanted = json.loads(path.read_text())
    check_fields(wanted)
    iam.reset()
    accounts = {HOME: wanted, **wanted.get("accounts", {})}
    for account, content in accounts.items():
        for policy in content.get("policies", []):
            add_policy(account, policy)
        for group in content.get("groups", []):
            add_group(account, group)
        for user in content.get("users", []):
            add_user(account, user, keys)
        for role in content.get("roles", []):
            add_role(account, role)
    if iam.role_or_none(HOME, INSTANCE_ROLE) is None:
        add_role(HOME, {"name": INSTANCE_ROLE})
    return sum(len(content.get("users", [])) for content in accounts.values())


def replant(wanted, keys):
    """Replaces the users and groups of the path that a seed names, and leaves everybody else alone."""
    path, content = wanted["path"], {kind: wanted[kind] for kind in ("users", "groups")}
    check_fields(content)
    here = iam.backend(HOME)
    for user in [u for u in here.users.values() if u.path == path]:
        here.tagger.delete_all_tags_for_resource(user.arn)
        del here.users[user.name]
    for group in [g for g in here.groups.values() if g.path == path]:
        del here.groups[group.name]
    for group in here.groups.values():
        group.users = [u for u in group.users if u.path != path]
    for group in content["groups"]:
        add_group(HOME, {**group, "path": path})
    for user in content["users"]:
        add_user(HOME, {**user, "path": path}, keys)


FIELDS = {
    "users": {"name", "id", "created", "path", "groups", "keys", "tags", "policies", "attached", "boundary"},
    "groups": {"name", "id", "created", "path", "policies", "attached"},
    "roles": {"name", "id", "created", "path", "description", "trust", "policies", "attached", "tags", "boundary", "max_session"},
    "policies": {"name", "path", "document"},
}


def check_fields(wanted):
    """A misspelt field is an error, not a seed that means something else."""
    for where, content in {"the seed": wanted, **wanted.get("accounts", {})}.items():
        for kind, entities in content.items():
            if kind == "accounts" and content is wanted:
                continue
            for entity in entities if kind in FIELDS else [None]:
                if entity is None or "name" not in entity or set(entity) - FIELDS[kind]:
                    raise ValueError(f"{where}: cannot use {entity or kind!r}")


def derived_id(prefix, account, kind, name):
    digest = hashlib.sha256(f"{account}/{kind}/{name}".encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:17]


def created(entity):
    text = entity.get("created", "2024-01-01T00:00:00Z")
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(datetime.timezone.utc).replace(tzinfo=None)


def policies_and_attachments(account, owner, entity):
    owner.policies = {name: json.dumps(document) for name, document in entity.get("policies", {}).items()}
    for arn in entity.get("attached", []):
        iam.backend(account).managed_policies[arn].attach_to(owner)
    if "boundary" in entity:
        owner.permissions_boundary_arn = entity["boundary"]


def add_policy(account, policy):
    made = ManagedPolicy(policy["name"], account, REGION, description="", document=json.dumps(policy["document"]), path=policy.get("path"))
    iam.backend(account).managed_policies[made.arn] = made


def add_group(account, group):
    made = Group(account, REGION, group["name"], group.get("path", "/"))
    made.id = group.get("id") or derived_id("AGPA", account, "group", group["name"])
    made.create_date = created(group)
    policies_and_attachments(account, made, group)
    iam.backend(account).groups[made.name] = made


def add_user(account, user, keys):
    here = iam.backend(account)
    made = User(account, REGION, user["name"], user.get("path", "/"))
    made.id = user.get("id") or derived_id("AIDA", account, "user", user["name"])
    made.create_date = created(user)
    policies_and_attachments(account, made, user)
    here.users[made.name] = made
    for name in user.get("groups", []):
        if name not in here.groups:
            add_group(account, {"name": name})
        here.groups[name].users.append(made)
    if "tags" in user:
        here.tagger.tag_resource(made.arn, [{"Key": k, "Value": v} for k, v in user["tags"].items()])
    for number, key in enumerate(user["keys"] if "keys" in user else [keys.public_half(made.name)]):
        key = {"body": key} if isinstance(key, str) else key
        filed = iam_answers.add_key(made, key["body"])
        filed.status = key.get("status", "Active")
        filed.ssh_public_key_id = key.get("id") or derived_id("APKA", account, f"key{number}", made.name)


def add_role(account, role):
    instance = f"arn:aws:iam::{HOME}:role/{INSTANCE_ROLE}"
    name = role["name"]
    is_instance = (account, name) == (HOME, INSTANCE_ROLE)
    trusted = {"Service": "ec2.amazonaws.com"} if is_instance else {"AWS": instance}
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": trusted, "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]}]}
    made = iam.backend(account).create_role(
        role_name=name, assume_role_policy_document=json.dumps(role.get("trust", trust)), path=role.get("path", "/"),
        permissions_boundary=None, description=role.get("description", ""), max_session_duration=role.get("max_session", 3600),
        tags=[{"Key": k, "Value": v} for k, v in role.get("tags", {}).items()])
    del iam.backend(account).roles[made.id]
    made.id = role.get("id") or derived_id("AROA", account, "role", name)
    iam.backend(account).roles[made.id] = made
    made.create_date = created(role)
    if is_instance and "policies" not in role:
        role = {**role, "policies": {"keymaker": instance_policy()}}
    policies_and_attachments(account, made, role)


def instance_policy():
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": [f"iam:{a}" for a in GRADE_2], "Resource": "*"},
        {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"], "Resource": f"arn:aws:iam::{HOME}:role/user-*"},
    ]}


class KeyPairs:
    """Key pairs for seeded users without keys of their own: in `folder` (/sandbox/keys in the box), made once and kept in `cache`."""

    def __init__(self, folder, cache):
        self.folder, self.cache = folder, cache

    def public_half(self, name):
        public = self.folder / f"{name}.pub"
        if not public.exists():
            if not (self.cache / f"{name}.pub").exists():
                self.make(name)
            shutil.copy(self.cache / name, self.folder / name)
            shutil.copy(self.cache / f"{name}.pub", public)
        return public.read_text().strip()

    def make(self, name):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        for path, content, mode in ((name, private, 0o600), (f"{name}.pub", public + f" {name}\n".encode(), 0o644)):
            aside = self.cache / f".{path}.{id(self)}"
            aside.touch(mode=0o600)
            aside.write_bytes(content)
            aside.chmod(mode)
            aside.rename(self.cache / path)
