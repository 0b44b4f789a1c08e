"""IAM: moto keeps the state and answers what it answers rightly; this file is the way in.

`answer` authorises a call by the caller's policies, applies AWS's rules that moto lacks (iam_rules.py), gives the answers
that moto gives wrongly (iam_answers.py), and hands the rest to moto. The others read IAM's state by the functions below.
"""

import iam_answers
import iam_rules
import policies
from moto.core.request import Request
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse
from wire import AwsError, members, result


def backend(account):
    return iam_backends[account]["aws"]


def reset():
    for account in list(iam_backends):
        backend(account).reset()


def user(account, name):
    found = backend(account).users.get(name)
    if found is None:
        raise AwsError("NoSuchEntity", f"The user with name {name} cannot be found.", 404)
    return found


def group(account, name):
    found = backend(account).groups.get(name)
    if found is None:
        raise AwsError("NoSuchEntity", f"The group with name {name} cannot be found.", 404)
    return found


def role_or_none(account, name):
    return next((r for r in backend(account).roles.values() if r.name == name), None)


def tags_of(account, owner):
    return backend(account).tagger.get_tag_dict_for_resource(owner.arn)


def documents(account, arns):
    """The policy documents of managed policies; one that is gone grants nothing."""
    known = backend(account).managed_policies
    found = (known[a] for a in arns if a in known)
    return [v.document for p in found for v in p.versions if v.version_id == p.default_version_id]


def identity_policies(account, entity):
    """The inline and managed policies of a user (with those of the groups) or a role; None has none."""
    if entity is None:
        return []
    owners = [entity] + [g for g in backend(account).groups.values() if entity in g.users]
    return [p for o in owners for p in [*o.policies.values(), *documents(account, o.managed_policies)]]


def access_key(key_id):
    """(account, AccessKey) of an IAM user's active access key, or None."""
    for account in list(iam_backends):
        for owner in backend(account).users.values():
            for key in owner.access_keys:
                if key.access_key_id == key_id and key.status == "Active":
                    return account, owner, key
    return None


OPTIONAL_USER = {"GetUser", "ListSSHPublicKeys", "UpdateSSHPublicKey", "DeleteSSHPublicKey", "ListAccessKeys",
                 "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"}


def answer(action, caller, params, truncation):
    """The body of the answer. `truncation` is the fault `partial` or `cut`, or None."""
    if "UserName" not in params and action in OPTIONAL_USER:
        if caller.user_name is None:
            raise AwsError("ValidationError", "Must specify userName when calling with non-User credentials")
        params["UserName"] = caller.user_name
    authorise(action, caller, params)
    iam_rules.check(action, caller.account, params)
    own = iam_answers.ANSWERS.get(action)
    if own:
        return result("iam", action, own(caller.account, params, truncation))
    body = from_moto(caller.account, params)
    iam_rules.after(action, caller.account, params)
    return iam_answers.rewritten(action, caller.account, params, body)


def authorise(action, caller, params):
    if caller.admin:
        return
    if caller.user_name and caller.credentials and not caller.mfa:
        # STS API Reference, GetSessionToken.
        raise AwsError("AccessDenied", "Cannot call IAM API with GetSessionToken credentials that have no MFA information", 403)
    resource = resource_of(action, caller.account, params)
    context = caller.context()
    # IAM User Guide, "Controlling access during AWS requests".
    if tag_keys := [tag["Key"] for tag in members(params, "Tags")] + members(params, "TagKeys"):
        context["aws:tagkeys"] = tag_keys
    refused = policies.allowed(caller.layers(), f"iam:{action}", resource, context)
    if refused:
        raise denied(caller, action, resource, refused)


def denied(caller, action, resource, reason):
    return AwsError("AccessDenied", f"User: {caller.arn} is not authorized to perform: iam:{action} on resource: {resource} {reason}", 403)


def resource_of(action, account, params):
    """The ARN that a call is about, as AWS's AccessDenied names it; an entity that is not there by the name asked for."""
    arn = f"arn:aws:iam::{account}:"
    listings = {"ListUsers": "user/", "ListGroups": "group/", "ListRoles": "role/", "ListPolicies": "policy/"}
    if action in listings:
        return arn + listings[action]
    if "GroupName" in params:
        found = backend(account).groups.get(params["GroupName"])
        return found.arn if found else f"{arn}group/{params['GroupName']}"
    if "UserName" in params:
        found = backend(account).users.get(params["UserName"])
        return found.arn if found else f"{arn}user{params.get('Path', '/')}{params['UserName']}"
    if "RoleName" in params:
        found = role_or_none(account, params["RoleName"])
        return found.arn if found else f"{arn}role{params.get('Path', '/')}{params['RoleName']}"
    if "InstanceProfileName" in params:
        return f"{arn}instance-profile/{params['InstanceProfileName']}"
    if "PolicyName" in params:
        return f"{arn}policy{params.get('Path', '/')}{params['PolicyName']}"
    return params.get("PolicyArn", "*")


def from_moto(account, params):
    headers = {"x-moto-account-id": account, "Content-Type": "application/x-www-form-urlencoded"}
    request = Request.from_values(method="POST", base_url="https://iam.amazonaws.com/", data=params, headers=headers)
    try:
        status, _, body = IamResponse.dispatch(request)
    except NotImplementedError:
        raise AwsError("InvalidAction", f"The sandbox's IAM does not know {params['Action']}.") from None
    body = body.encode() if isinstance(body, str) else body
    if status >= 300:
        raise MotoRefusal(status, body)
    return body


class MotoRefusal(Exception):
    """An error answer that moto wrote itself."""

    def __init__(self, status, body):
        super().__init__(status)
        self.status, self.body = status, body
