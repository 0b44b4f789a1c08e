"""The rules of AWS IAM that moto does not keep: limits, names, sizes, what stands in the way of a deletion. Called by iam.py.

docs/sandbox.md lists each with AWS's text; a rule there without a line here, or the reverse, is a mistake.
"""

import json
import re
import secrets
import string

import iam
import policies
from wire import AwsError, members

UPPER = string.ascii_uppercase + "234567"
ENTITY_NAME = re.compile(r"[\w+=,.@-]+", re.ASCII)
INLINE_LIMITS = {"PutUserPolicy": ("user", 2048), "PutGroupPolicy": ("group", 5120), "PutRolePolicy": ("role", 10240)}


def check(action, account, params):
    """Raises what AWS would answer instead of doing the call."""
    if action in ("CreateUser", "CreateGroup", "CreateRole", "UpdateUser", "UpdateGroup"):
        unique_name(action, account, params)
    if action in ("CreateUser", "TagUser", "CreateRole", "TagRole"):
        tag_sizes(params)
    if action in INLINE_LIMITS:
        inline_size(action, account, params)
    if action in ("CreatePolicy", "CreatePolicyVersion"):
        document = params.get("PolicyDocument", "")
        policies.parse(document)
        if len(unspaced(document)) > 6144:
            raise AwsError("LimitExceeded", "Cannot exceed quota for PolicySize: 6144", 409)
    if action in ("AttachUserPolicy", "AttachGroupPolicy", "AttachRolePolicy"):
        attachment(action, account, params)
    if action in ("CreateRole", "UpdateAssumeRolePolicy"):
        trust_policy(params.get("AssumeRolePolicyDocument") or params.get("PolicyDocument", ""))
    if action in ("CreateRole", "UpdateRole", "UpdateRoleDescription"):
        role_fields(params)
    if action == "AddUserToGroup":
        group_quota(account, params)
    if action == "DeleteUser":
        nothing_left(iam.user(account, params["UserName"]), iam.backend(account))
    if action == "DeleteGroup" and iam.group(account, params["GroupName"]).users:
        raise AwsError("DeleteConflict", "Cannot delete entity, must remove users from group first.", 409)
    if action == "UpdateUser" and "NewUserName" in params:
        keep_tags(account, params)


def after(action, account, params):
    """What a call that moto did has left to do: AWS's form of ids."""
    if action == "CreateUser":
        iam.user(account, params["UserName"]).id = new_id("AIDA")
    if action == "CreateGroup":
        iam.group(account, params["GroupName"]).id = new_id("AGPA")
    if action == "CreateUser" and "PermissionsBoundary" in params:
        iam.user(account, params["UserName"]).permissions_boundary_arn = params["PermissionsBoundary"]


def new_id(prefix):
    return prefix + "".join(secrets.choice(UPPER) for _ in range(17))


def unique_name(action, account, params):
    kind = action.removeprefix("Create").removeprefix("Update")
    name = params.get(f"{kind}Name" if action.startswith("Create") else f"New{kind}Name")
    if name is None:
        return
    if not ENTITY_NAME.fullmatch(name) or len(name) > (128 if kind == "Group" else 64):
        raise AwsError("ValidationError", f"The specified value for {kind[0].lower()}{kind[1:]}Name is invalid. "
                       "It must contain only alphanumeric characters and/or the following: +=,.@_-")
    here = iam.backend(account)
    taken = {"User": here.users, "Group": here.groups, "Role": {r.name for r in here.roles.values()}}[kind]
    if any(n.lower() == name.lower() for n in taken if n != params.get(f"{kind}Name") or action.startswith("Create")):
        raise AwsError("EntityAlreadyExists", f"{kind} with name {name} already exists.", 409)


def tag_sizes(params):
    tags = members(params, "Tags")
    if len(tags) > 50:
        raise AwsError("LimitExceeded", "The number of tags has reached the maximum limit.", 409)
    for tag in tags:
        if len(tag.get("Key", "")) > 128 or len(tag.get("Value", "")) > 256:
            raise AwsError("ValidationError", "1 validation error detected: a tag's key has at most 128 characters, its value 256")


def unspaced(document):
    return re.sub(r"\s", "", document)


def inline_size(action, account, params):
    kind, limit = INLINE_LIMITS[action]
    policies.parse(params.get("PolicyDocument", ""))
    name = params[f"{kind.capitalize()}Name"]
    owner = {"user": iam.user, "group": iam.group, "role": iam.role_or_none}[kind](account, name)
    others = [d for n, d in owner.policies.items() if n != params["PolicyName"]] if owner else []
    if sum(len(unspaced(d)) for d in [*others, params["PolicyDocument"]]) > limit:
        raise AwsError("LimitExceeded", f"Maximum policy size of {limit} bytes exceeded for {kind} {name}", 409)


def attachment(action, account, params):
    kind = action.removeprefix("Attach").removesuffix("Policy")
    if params["PolicyArn"] not in iam.backend(account).managed_policies:
        raise AwsError("NoSuchEntity", f"Policy {params['PolicyArn']} does not exist or is not attachable.", 404)
    owner = {"User": iam.user, "Group": iam.group, "Role": iam.role_or_none}[kind](account, params[f"{kind}Name"])
    if owner and len(set(owner.managed_policies) | {params["PolicyArn"]}) > 10:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for PoliciesPer{kind}: 10", 409)


def trust_policy(document):
    """A trust policy is JSON whose principals exist; `role/*` is none."""
    policies.parse(document)
    for statement in policies.as_list(json.loads(document)["Statement"]):
        principal = statement.get("Principal")
        if principal is None:
            raise AwsError("MalformedPolicyDocument", "Missing required field Principal")
        for named in [] if principal == "*" else policies.as_list(principal.get("AWS", [])):
            if not principal_exists(named):
                raise AwsError("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{named}"')


def principal_exists(named):
    if named == "*" or re.fullmatch(r"\d{12}|arn:aws:iam::\d{12}:root|arn:aws:sts::\d{12}:assumed-role/[^*]+", named):
        return True
    match = re.fullmatch(r"arn:aws:iam::(\d{12}):(user|role)/(?:.*/)?([^/*]+)", named)
    if not match:
        return False
    found = iam.role_or_none(match[1], match[3]) if match[2] == "role" else iam.backend(match[1]).users.get(match[3])
    return found is not None and found.arn == named


def role_fields(params):
    if len(params.get("Description", "")) > 1000:
        raise AwsError("ValidationError", "1 validation error detected: Value at 'description' failed to satisfy constraint: "
                       "Member must have length less than or equal to 1000")
    if not 3600 <= int(params.get("MaxSessionDuration", 3600)) <= 43200:
        raise AwsError("ValidationError", "1 validation error detected: Value at 'maxSessionDuration' failed to satisfy constraint: "
                       "Member must have value between 3600 and 43200")


def group_quota(account, params):
    owner = iam.user(account, params["UserName"])
    iam.group(account, params["GroupName"])
    held = {g.name for g in iam.backend(account).groups.values() if owner in g.users} | {params["GroupName"]}
    if len(held) > 10:
        raise AwsError("LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10", 409)


def nothing_left(user, backend):
    """DeleteUser is refused until everything that hangs on the user is gone."""
    obstacles = [
        (any(user in g.users for g in backend.groups.values()), "remove users from group"),
        (user.managed_policies, "detach all policies"),
        (user.policies, "delete policies"),
        (user.access_keys, "delete access keys"),
        (user.ssh_public_keys, "delete SSH public keys"),
        (user.mfa_devices, "delete MFA device"),
    ]
    for present, remedy in obstacles:
        if present:
            raise AwsError("DeleteConflict", f"Cannot delete entity, must {remedy} first.", 409)


def keep_tags(account, params):
    """moto files tags by ARN and forgets them when a user is renamed."""
    renamed = iam.user(account, params["UserName"])
    tagger, old = iam.backend(account).tagger, renamed.arn
    prefix = f"arn:aws:iam::{account}:user{params.get('NewPath', renamed.path)}"
    tagger.copy_tags(old, prefix + params["NewUserName"])
    tagger.delete_all_tags_for_resource(old)
