"""STS: AssumeRole, GetSessionToken, GetCallerIdentity and the sessions that the first two made. moto's own answers every AssumeRole with yes.

`Caller` is who signed a request; iam.py asks it for its policies. Sessions outlive a reset of the seed, as the daemons'
credentials would.
"""

import datetime
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

import iam
import policies
import tokens
from wire import AwsError, invalid, members

UPPER = string.ascii_uppercase + string.digits
NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
# What every device shows here; 000000 is wrong.
GOOD_CODE = re.compile(r"(?!000000)[0-9]{6}")


@dataclass(kw_only=True)
class Temporary:
    """Credentials that end."""

    account: str
    expiration: datetime.datetime
    key: str = field(default_factory=lambda: "ASIA" + "".join(secrets.choice(UPPER) for _ in range(16)))
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    token: str = field(default_factory=lambda: "FwoGZXIvYXdzE" + secrets.token_urlsafe(180))

    @property
    def expired(self):
        return utcnow() >= self.expiration

    def shown(self):
        return {"AccessKeyId": self.key, "SecretAccessKey": self.secret, "SessionToken": self.token, "Expiration": self.expiration}


@dataclass(kw_only=True)
class UserSession(Temporary):
    """What GetSessionToken made: the user again, perhaps with a second factor."""

    user_name: str
    mfa: bool

    def caller(self):
        user = iam.backend(self.account).users.get(self.user_name)
        if user is None:
            raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        return Caller(self.account, user.arn, user.id, user_name=user.name, credentials=self, mfa=self.mfa)


@dataclass(kw_only=True)
class Session(Temporary):
    """What AssumeRole made, and everything that shapes what it may do."""

    role_name: str
    role_arn: str
    user_id: str
    name: str
    policy: str | None = None
    policy_arns: list = field(default_factory=list)
    tags: dict = field(default_factory=dict)
    transitive: set = field(default_factory=set)
    source_identity: str | None = None
    external: dict = field(default_factory=dict)

    @property
    def arn(self):
        return f"arn:aws:sts::{self.account}:assumed-role/{self.role_name}/{self.name}"

    def caller(self):
        return Caller(self.account, self.arn, self.user_id, session=self, credentials=self)


@dataclass
class Caller:
    """Who signed a request: the administrator, an IAM user, or a role session."""

    account: str
    arn: str
    user_id: str
    admin: bool = False
    user_name: str | None = None
    session: Session | None = None  # of a role
    credentials: Temporary | None = None  # what the request was signed with, if it ends
    mfa: bool = False

    def principals(self):
        """The ARNs by which a trust policy may name this caller."""
        return [self.arn] + ([self.session.role_arn] if self.session else [])

    def layers(self):
        """The layers of policies that all have to allow what the caller does."""
        entity = iam.role_or_none(self.account, self.session.role_name) if self.session else iam.user(self.account, self.user_name)
        found = [("identity-based policy", iam.identity_policies(self.account, entity))]
        boundary = getattr(entity, "permissions_boundary_arn", None)
        if boundary:
            found.append(("permissions boundary", iam.documents(self.account, [boundary])))
        if self.session and (self.session.policy or self.session.policy_arns):
            inline = [self.session.policy] if self.session.policy else []
            found.append(("session policy", inline + iam.documents(self.account, self.session.policy_arns)))
        return found

    def context(self):
        found = {"aws:principalarn": self.arn, "aws:userid": self.user_id, "aws:principalaccount": self.account,
                 "aws:principaltype": "User" if self.user_name else "AssumedRole", "aws:viaawsservice": "false"}
        if self.credentials:
            # "present … only when the principal uses temporary security credentials": a long-term access key has none.
            found["aws:multifactorauthpresent"] = str(self.mfa).lower()
        if self.user_name:
            found["aws:username"] = self.user_name
        else:
            found["aws:sourceidentity"] = self.session.source_identity if self.session else None
            found["aws:principalarn"] = self.session.role_arn if self.session else self.arn
        found.update({f"aws:principaltag/{k}".lower(): v for k, v in self.tags().items()})
        return found

    def tags(self):
        if self.user_name:
            return iam.tags_of(self.account, iam.user(self.account, self.user_name))
        return self.session.tags if self.session else {}


def utcnow():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


class Sts:
    """The sessions, and the actions."""

    def __init__(self):
        self.sessions = {}

    def issue(self, account, role, name, seconds, **shape):
        """A new session of the role `role` (a moto Role). The metadata stand-in calls this too."""
        return self.keep(Session(account=account, role_name=role.name, role_arn=role.arn, user_id=f"{role.id}:{name}", name=name,
                                 expiration=utcnow() + datetime.timedelta(seconds=seconds), **shape))

    def keep(self, made):
        for stale in [k for k, s in self.sessions.items() if s.expired]:
            del self.sessions[stale]
        self.sessions[made.key] = made
        return made

    def answer(self, action, caller, params):
        if action == "GetCallerIdentity":
            return {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}
        if action == "AssumeRole":
            return self.assume_role(caller, params)
        if action == "GetWebIdentityToken":
            return tokens.token(caller, params)
        if action == "GetSessionToken":
            return self.session_token(caller, params)
        raise AwsError("InvalidAction", f"Could not find operation {action} for version 2011-06-15")

    def session_token(self, caller, params):
        """No permission is asked; a second factor makes sessions that policies can tell from others."""
        if caller.user_name is None or caller.credentials:
            raise AwsError("AccessDenied", "Cannot call GetSessionToken with session credentials", 403)
        seconds, device, code = int(params.get("DurationSeconds", 43200)), params.get("SerialNumber"), params.get("TokenCode", "")
        if not 900 <= seconds <= 129600:
            invalid("durationSeconds", seconds, "Member must have value between 900 and 129600")
        if device is not None and (device not in iam.user(caller.account, caller.user_name).mfa_devices or not GOOD_CODE.fullmatch(code)):
            raise AwsError("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.", 403)
        made = self.keep(UserSession(account=caller.account, user_name=caller.user_name, mfa=device is not None,
                                     expiration=utcnow() + datetime.timedelta(seconds=seconds)))
        return {"Credentials": made.shown()}

    def assume_role(self, caller, params):
        request = checked(caller, params)
        match = re.fullmatch(r"arn:aws:iam::(\d{12}):role/(?:.*/)?([^/]+)", params.get("RoleArn", ""))
        role = iam.role_or_none(match[1], match[2]) if match else None
        refuse_unless_trusted(caller, role, params, request)
        limit = 3600 if caller.session else int(role.max_session_duration or 3600)
        if request["seconds"] > limit and caller.session:
            raise AwsError("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
        if request["seconds"] > limit:
            raise AwsError("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
        size = packed_size(params, request)
        if size > 100:
            raise AwsError("PackedPolicyTooLarge", f"Serialized token too large for session: the packed size is {size}% of what is allowed.")
        made = self.issue(match[1], role, request["name"], request["seconds"], policy=params.get("Policy"),
                          policy_arns=request["arns"], tags=request["tags"], transitive=request["transitive"],
                          source_identity=request["source"], external={"ExternalId": params.get("ExternalId")})
        return {
            "Credentials": made.shown(),
            "AssumedRoleUser": {"AssumedRoleId": made.user_id, "Arn": made.arn},
            "PackedPolicySize": size or None,
            "SourceIdentity": made.source_identity,
        }


def checked(caller, params):
    """What STS refuses before it looks at the role: lengths, names, counts. Returns the request in plain values."""
    name, source = params.get("RoleSessionName", ""), params.get("SourceIdentity")
    if not NAME.fullmatch(name):
        invalid("roleSessionName", name, r"Member must satisfy regular expression pattern: [\w+=,.@-]*")
    if source is not None and not NAME.fullmatch(source):
        invalid("sourceIdentity", source, r"Member must satisfy regular expression pattern: [\w+=,.@-]*")
    seconds = int(params.get("DurationSeconds", 3600))
    if not 900 <= seconds <= 43200:
        invalid("durationSeconds", seconds, "Member must have value between 900 and 43200")
    policy = params.get("Policy")
    if policy is not None:
        if len(policy) > 2048:
            invalid("policy", policy, "Member must have length less than or equal to 2048")
        policies.parse(policy)
    arns = [m["arn"] for m in members(params, "PolicyArns")]
    if len(arns) > 10:
        invalid("policyArns", arns, "Member must have length less than or equal to 10")
    tags = {t["Key"]: t.get("Value", "") for t in members(params, "Tags")}
    if len(tags) > 50 or any(len(k) > 128 or len(v) > 256 for k, v in tags.items()):
        invalid("tags", tags, "Member must have length less than or equal to 50, keys 128, values 256")
    session = caller.session
    passed_on = {k: session.tags[k] for k in session.transitive} if session else {}
    if any(k in passed_on for k in tags):
        raise AwsError("InvalidParameterValue", "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
    if session and session.source_identity and source not in (None, session.source_identity):
        raise AwsError("AccessDenied", "SourceIdentity cannot be changed in a chained session.", 403)
    return {
        "name": name, "seconds": seconds, "arns": arns, "requested_tags": tags, "tags": {**passed_on, **tags},
        "transitive": set(members(params, "TransitiveTagKeys")) | set(passed_on),
        "requested_source": source, "source": source or (session.source_identity if session else None),
    }


def refuse_unless_trusted(caller, role, params, request):
    """A missing role, an untrusting one and a caller without the permission are one answer, AccessDenied."""
    wanted = ["sts:AssumeRole"]
    wanted += ["sts:TagSession"] if request["requested_tags"] else []
    wanted += ["sts:SetSourceIdentity"] if request["requested_source"] else []
    arn = params.get("RoleArn", "")
    context = {**caller.context(), "sts:rolesessionname": request["name"], "sts:externalid": params.get("ExternalId"),
               "sts:sourceidentity": request["requested_source"], "aws:tagkeys": list(request["requested_tags"])}
    context.update({f"aws:requesttag/{k}".lower(): v for k, v in request["requested_tags"].items()})
    for action in wanted:
        if role is None or role.arn != arn or not may_assume(caller, role, action, context):
            raise AwsError("AccessDenied", f"User: {caller.arn} is not authorized to perform: {action} on resource: {arn}", 403)
    known = iam.backend(role.account_id).managed_policies
    if any(a not in known for a in request["arns"]):
        raise AwsError("MalformedPolicyDocument", "The specified managed policy does not exist or is not in the role's account.")


def may_assume(caller, role, action, context):
    said = policies.trust(role.assume_role_policy_document, caller.principals(), caller.account, action, context)
    if said is None:
        return False
    if caller.admin:
        return True
    refused = policies.allowed(caller.layers(), action, role.arn, context)
    if refused is None:
        return True
    # In one account the role's word alone is enough where it names the caller, unless something denies.
    same = caller.account == role.account_id
    return same and said == "named" and refused.startswith("because no identity-based")


def packed_size(params, request):
    """AWS does not publish its packing. Ours: 1,200 bytes, deflated, are full; without policies and tags 0."""
    text = (params.get("Policy") or "") + "".join(request["arns"]) + "".join(f"{k}{v}" for k, v in request["tags"].items())
    return -(-len(zlib.compress(text.encode(), 9)) * 100 // 1200) if text else 0
