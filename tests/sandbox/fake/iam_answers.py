"""The answers that moto gives wrongly or not at all: pages, SSH public keys, users with boundaries. Called by iam.py.

Each function takes (account, params, truncation) and returns the result as plain values for wire.xml, None for an empty one.
"""

import base64
import binascii
import hashlib
import re
from urllib.parse import quote

import iam
import tokens
from cryptography.hazmat.primitives import serialization
from wire import AwsError, members


def page(params, items, key, truncation, default=100):
    """One page of `items`, and the fields that say whether there is more. A marker names the last item of the page before,
    so an entity that is deleted in between makes nobody else vanish."""
    limit = int(params.get("MaxItems", default))
    if not 1 <= limit <= 1000:
        raise AwsError("ValidationError", f"1 validation error detected: Value '{limit}' at 'maxItems' failed to satisfy constraint: "
                       "Member must have value between 1 and 1000")
    items = sorted(items, key=key)
    half = len(items) // 2
    if truncation == "partial":
        items = items[:half]
    if truncation == "cut":
        limit = max(1, min(limit, half))
    if "Marker" in params:
        if truncation == "cut":
            raise AwsError("ServiceFailure", "The request processing has failed because of an unknown error, exception or failure.", 500)
        last = marker(params["Marker"])
        items = [i for i in items if key(i) > last]
    more = len(items) > limit
    items = items[:limit]
    after = base64.urlsafe_b64encode(key(items[-1]).encode()).decode() if more else None
    return items, {"IsTruncated": more, "Marker": after}


def marker(text):
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise AwsError("ValidationError", "Invalid Marker.") from None


def by_name(entity):
    return entity.name.lower()


def below(params, entities):
    prefix = params.get("PathPrefix", "/")
    return [e for e in entities if e.path.startswith(prefix)]


def user_fields(user):
    return {"Path": user.path, "UserName": user.name, "UserId": user.id, "Arn": user.arn, "CreateDate": user.create_date}


def group_fields(group):
    return {"Path": group.path, "GroupName": group.name, "GroupId": group.id, "Arn": group.arn, "CreateDate": group.create_date}


def tag_list(tags):
    return [{"Key": k, "Value": v} for k, v in tags.items()] or None


def boundary(entity):
    arn = getattr(entity, "permissions_boundary_arn", None)
    return {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn} if arn else None


def get_user(account, params, _):
    user = iam.user(account, params["UserName"])
    return {"User": {**user_fields(user), "PermissionsBoundary": boundary(user), "Tags": tag_list(iam.tags_of(account, user))}}


def list_users(account, params, truncation):
    users, more = page(params, below(params, iam.backend(account).users.values()), by_name, truncation)
    return {"Users": [user_fields(u) for u in users], **more}


def list_groups(account, params, truncation):
    groups, more = page(params, below(params, iam.backend(account).groups.values()), by_name, truncation)
    return {"Groups": [group_fields(g) for g in groups], **more}


def get_group(account, params, truncation):
    group = iam.group(account, params["GroupName"])
    users, more = page(params, group.users, by_name, truncation)
    return {"Group": group_fields(group), "Users": [user_fields(u) for u in users], **more}


def groups_of(account, user):
    return [g for g in iam.backend(account).groups.values() if user in g.users]


def list_groups_for_user(account, params, truncation):
    groups, more = page(params, groups_of(account, iam.user(account, params["UserName"])), by_name, truncation)
    return {"Groups": [group_fields(g) for g in groups], **more}


def put_user_permissions_boundary(account, params, _):
    iam.user(account, params["UserName"]).permissions_boundary_arn = params["PermissionsBoundary"]


def delete_user_permissions_boundary(account, params, _):
    iam.user(account, params["UserName"]).permissions_boundary_arn = None


def list_ssh_public_keys(account, params, truncation):
    user = iam.user(account, params["UserName"])
    keys, more = page(params, user.ssh_public_keys, lambda k: k.ssh_public_key_id, truncation)
    fields = ("UserName", "SSHPublicKeyId", "Status", "UploadDate")
    return {"SSHPublicKeys": [{k: v for k, v in key_fields(user, key).items() if k in fields} for key in keys], **more}


def key_fields(user, key):
    """moto keeps a renamed user's old name in the keys."""
    return {"UserName": user.name, "SSHPublicKeyId": key.ssh_public_key_id, "Fingerprint": key.fingerprint,
            "SSHPublicKeyBody": key.ssh_public_key_body, "Status": key.status, "UploadDate": key.upload_date}


def get_ssh_public_key(account, params, _):
    fields = key_fields(iam.user(account, params["UserName"]), find_key(account, params))
    encoding = params.get("Encoding")
    if encoding not in ("SSH", "PEM"):
        raise AwsError("UnrecognizedPublicKeyEncoding", "The public key encoding is not recognized: SSH or PEM.")
    try:
        fields["SSHPublicKeyBody"] = encoded(fields["SSHPublicKeyBody"], encoding)
    except ValueError:
        pass  # A seed may hold what AWS would not; it comes out as it went in.
    return {"SSHPublicKey": fields}


def find_key(account, params):
    user = iam.user(account, params["UserName"])
    for key in user.ssh_public_keys:
        if key.ssh_public_key_id == params["SSHPublicKeyId"]:
            return key
    raise AwsError("NoSuchEntity", f"The Public Key with id {params['SSHPublicKeyId']} cannot be found.", 404)


def encoded(body, encoding):
    """An uploaded body in the encoding asked for; what was uploaded in it comes back as it is."""
    is_pem = body.lstrip().startswith("-----BEGIN")
    if is_pem == (encoding == "PEM"):
        return body
    key = serialization.load_pem_public_key(body.encode()) if is_pem else serialization.load_ssh_public_key(body.encode())
    if encoding == "PEM":
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def upload_ssh_public_key(account, params, _):
    user = iam.user(account, params["UserName"])
    body = params.get("SSHPublicKeyBody", "")
    fingerprint = rsa_fingerprint(body)
    if any(k.fingerprint == fingerprint for k in user.ssh_public_keys):
        raise AwsError("DuplicateSSHPublicKey", "The SSH public key is already associated with the user.")
    if len(user.ssh_public_keys) >= 5:
        raise AwsError("LimitExceeded", "Cannot exceed quota for SSHPublicKeysPerUser: 5", 409)
    return {"SSHPublicKey": key_fields(user, add_key(user, body))}


def add_key(user, body):
    """Files a key under a user, unchecked; seed.py uses it too."""
    key = user.upload_ssh_public_key(body)
    try:
        key.fingerprint = rsa_fingerprint(body)
    except AwsError:
        pass  # From a seed: anything goes, under moto's fingerprint.
    return key


def rsa_fingerprint(body):
    """The MD5 of the key's blob with colons. Only RSA of 2048 bits or more passes, in OpenSSH or PEM form."""
    text = body.strip()
    if not text.startswith(("ssh-rsa ", "-----BEGIN")) or len(body) > 16384:
        raise AwsError("UnrecognizedPublicKeyEncoding", "The public key encoding format is unsupported or unrecognized.")
    try:
        blob = base64.b64decode(encoded(text, "SSH").split()[1], validate=True)
        key = serialization.load_ssh_public_key(encoded(text, "SSH").encode())
    except (ValueError, IndexError, binascii.Error):
        raise AwsError("InvalidPublicKey", "The public key is malformed or otherwise invalid.") from None
    if not hasattr(key, "public_numbers") or not hasattr(key.public_numbers(), "n") or key.key_size < 2048:
        raise AwsError("InvalidPublicKey", "The public key is malformed or otherwise invalid.")
    return re.sub("(..)(?=.)", r"\1:", hashlib.md5(blob).hexdigest())


def update_ssh_public_key(account, params, _):
    if params.get("Status") not in ("Active", "Inactive"):
        raise AwsError("ValidationError", f"1 validation error detected: Value '{params.get('Status')}' at 'status' failed to satisfy "
                       "constraint: Member must satisfy enum value set: [Active, Inactive, Expired]")
    find_key(account, params).status = params["Status"]


def delete_ssh_public_key(account, params, _):
    key = find_key(account, params)
    iam.user(account, params["UserName"]).ssh_public_keys.remove(key)


def inline(entity):
    return [{"PolicyName": n, "PolicyDocument": quote(d)} for n, d in entity.policies.items()]


def attached(entity):
    return [{"PolicyName": p.name, "PolicyArn": p.arn} for p in entity.managed_policies.values()]


def user_detail(account, user):
    return {**user_fields(user), "UserPolicyList": inline(user), "GroupList": [g.name for g in groups_of(account, user)],
            "AttachedManagedPolicies": attached(user), "PermissionsBoundary": boundary(user),
            "Tags": tag_list(iam.tags_of(account, user)) or []}


def group_detail(_, group):
    return {**group_fields(group), "GroupPolicyList": inline(group), "AttachedManagedPolicies": attached(group)}


def role_detail(_, role):
    return {"Path": role.path, "RoleName": role.name, "RoleId": role.id, "Arn": role.arn, "CreateDate": role.create_date,
            "AssumeRolePolicyDocument": quote(role.assume_role_policy_document), "InstanceProfileList": [],
            "RolePolicyList": inline(role), "AttachedManagedPolicies": attached(role), "PermissionsBoundary": boundary(role),
            "Tags": role.tags or []}


def policy_detail(_, policy):
    versions = [{"Document": quote(v.document), "VersionId": v.version_id, "IsDefaultVersion": v.version_id == policy.default_version_id,
                 "CreateDate": v.create_date} for v in policy.versions]
    return {"PolicyName": policy.name, "PolicyId": policy.id, "Arn": policy.arn, "Path": policy.path, "DefaultVersionId":
            policy.default_version_id, "AttachmentCount": policy.attachment_count, "IsAttachable": True,
            "CreateDate": policy.create_date, "UpdateDate": policy.update_date, "PolicyVersionList": versions}


DETAILS = {
    "User": ("UserDetailList", user_detail, lambda here: here.users.values()),
    "Group": ("GroupDetailList", group_detail, lambda here: here.groups.values()),
    "Role": ("RoleDetailList", role_detail, lambda here: here.roles.values()),
    "LocalManagedPolicy": ("Policies", policy_detail, lambda here: here.managed_policies.values()),
}


def get_account_authorization_details(account, params, truncation):
    wanted = [f for f in members(params, "Filter") or DETAILS if f in DETAILS]
    here = iam.backend(account)
    entities = [(kind, entity) for kind in wanted for entity in DETAILS[kind][2](here)]
    entities, more = page(params, entities, lambda pair: f"{pair[0]}/{by_name(pair[1])}", truncation)
    found = {listing: [] for listing, _, _ in DETAILS.values()}
    for kind, entity in entities:
        listing, detail, _ = DETAILS[kind]
        found[listing].append(detail(account, entity))
    return {**found, **more}


def rewritten(action, account, params, body):
    """moto answers CreateUser and CreateGroup before their ids have AWS's form."""
    if action == "CreateUser":
        entity, tag = iam.user(account, params["UserName"]), b"UserId"
    elif action == "CreateGroup":
        entity, tag = iam.group(account, params["GroupName"]), b"GroupId"
    else:
        return body
    return re.sub(rb"<%s>[^<]*" % tag, b"<%s>%s" % (tag, entity.id.encode()), body)


ANSWERS = {
    "GetUser": get_user,
    "ListUsers": list_users,
    "ListGroups": list_groups,
    "GetGroup": get_group,
    "ListGroupsForUser": list_groups_for_user,
    "PutUserPermissionsBoundary": put_user_permissions_boundary,
    "DeleteUserPermissionsBoundary": delete_user_permissions_boundary,
    "ListSSHPublicKeys": list_ssh_public_keys,
    "GetSSHPublicKey": get_ssh_public_key,
    "UploadSSHPublicKey": upload_ssh_public_key,
    "UpdateSSHPublicKey": update_ssh_public_key,
    "DeleteSSHPublicKey": delete_ssh_public_key,
    "GetAccountAuthorizationDetails": get_account_authorization_details,
    "EnableOutboundWebIdentityFederation": tokens.enable,
    "DisableOutboundWebIdentityFederation": tokens.disable,
    "GetOutboundWebIdentityFederationInfo": tokens.info,
}
