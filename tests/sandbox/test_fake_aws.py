"""The fake AWS and the metadata stand-in keep the rules that docs/sandbox.md lists. Runs in the box, as root:

    ./sandbox --no-packages -- /opt/aws/bin/python3 /sandbox/project/tests/sandbox/test_fake_aws.py
"""

import base64
import hashlib
import json
import ssl
import subprocess
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session

ONCE = Config(retries={"max_attempts": 0}, read_timeout=2)
INSTANCE_ROLE = "arn:aws:iam::123456789012:role/sandbox-instance"


def tool(name, *arguments):
    return subprocess.run([name, *arguments], check=True, capture_output=True, text=True).stdout


def admin(service="iam", account="123456789012"):
    lines = Path("/sandbox/admin.env").read_text().split()
    secret = dict(line.split("=", 1) for line in lines)["AWS_SECRET_ACCESS_KEY"]
    return boto3.client(service, aws_access_key_id=f"AKIAADMN{account}", aws_secret_access_key=secret, config=ONCE)


def instance(service="iam"):
    """A client with the instance's own credentials, from the metadata service."""
    return boto3.client(service, config=ONCE)


def with_credentials(credentials, service="iam"):
    return boto3.client(service, aws_access_key_id=credentials["AccessKeyId"], aws_secret_access_key=credentials["SecretAccessKey"],
                        aws_session_token=credentials.get("SessionToken"), config=ONCE)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def trust(principal, *actions, **more):
    return policy({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions) or "sts:AssumeRole", **more})


class FakeAwsCase(unittest.TestCase):
    def setUp(self):
        tool("sandbox-reset")
        self.iam = admin()

    def refused(self, code, call, *arguments, **parameters):
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **parameters)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)
        return caught.exception.response["Error"]["Message"]


class Users(FakeAwsCase):
    def test_ids_have_the_form_of_awss(self):
        self.assertRegex(self.iam.create_user(UserName="dave")["User"]["UserId"], "^AIDA[A-Z2-7]{17}$")
        self.assertRegex(self.iam.create_group(GroupName="g")["Group"]["GroupId"], "^AGPA[A-Z2-7]{17}$")
        role = self.iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust(INSTANCE_ROLE))["Role"]
        self.assertRegex(role["RoleId"], "^AROA[A-Z0-9]{17}$")
        self.assertEqual(self.iam.get_user(UserName="dave")["User"]["UserId"][:4], "AIDA")

    def test_seeded_ids_are_the_same_after_a_reset_and_a_user_made_again_has_another(self):
        first = self.iam.get_user(UserName="carol")["User"]["UserId"]
        tool("sandbox-reset")
        self.assertEqual(self.iam.get_user(UserName="carol")["User"]["UserId"], first)
        for key in self.iam.list_ssh_public_keys(UserName="carol")["SSHPublicKeys"]:
            self.iam.delete_ssh_public_key(UserName="carol", SSHPublicKeyId=key["SSHPublicKeyId"])
        self.iam.delete_user(UserName="carol")
        self.assertNotEqual(self.iam.create_user(UserName="carol")["User"]["UserId"], first)

    def test_names_are_unique_without_regard_to_case(self):
        self.refused("EntityAlreadyExists", self.iam.create_user, UserName="ALICE")
        self.refused("EntityAlreadyExists", self.iam.create_group, GroupName="Keymaker_Devs")
        self.refused("EntityAlreadyExists", self.iam.update_user, UserName="bob", NewUserName="Alice")
        self.iam.update_user(UserName="bob", NewUserName="Bob")

    def test_illegal_names_are_refused(self):
        for name in ("a b", "a/b", "ä", "x" * 65):
            self.refused("ValidationError", self.iam.create_user, UserName=name)

    def test_a_user_with_anything_left_cannot_be_deleted(self):
        self.refused("DeleteConflict", self.iam.delete_user, UserName="alice")
        self.refused("DeleteConflict", self.iam.delete_user, UserName="carol")
        self.refused("DeleteConflict", self.iam.delete_group, GroupName="keymaker_devs")

    def test_a_renamed_user_keeps_id_groups_and_tags(self):
        before = self.iam.get_user(UserName="bob")["User"]["UserId"]
        self.iam.tag_user(UserName="bob", Tags=[{"Key": "k", "Value": "v"}])
        self.iam.update_user(UserName="bob", NewUserName="robert")
        for key in self.iam.list_ssh_public_keys(UserName="robert")["SSHPublicKeys"]:
            self.assertEqual(key["UserName"], "robert")
        user = self.iam.get_user(UserName="robert")["User"]
        self.assertEqual((user["UserId"], user["Tags"]), (before, [{"Key": "k", "Value": "v"}]))
        self.assertEqual(len(self.iam.list_groups_for_user(UserName="robert")["Groups"]), 2)
        self.refused("NoSuchEntity", self.iam.get_user, UserName="bob")

    def test_group_and_tag_quotas_hold(self):
        for number in range(7):
            self.iam.create_group(GroupName=f"g{number}")
            self.iam.add_user_to_group(GroupName=f"g{number}", UserName="alice")
        self.iam.create_group(GroupName="eleventh")
        self.refused("LimitExceeded", self.iam.add_user_to_group, GroupName="eleventh", UserName="alice")
        self.refused("ValidationError", self.iam.tag_user, UserName="alice", Tags=[{"Key": "k", "Value": "v" * 257}])

    def test_a_permissions_boundary_is_kept_and_shown(self):
        arn = self.iam.create_policy(PolicyName="edge", PolicyDocument=policy(allow("s3:*")))["Policy"]["Arn"]
        self.iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=arn)
        self.assertEqual(self.iam.get_user(UserName="alice")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"], arn)
        self.iam.put_role_permissions_boundary(RoleName="user-alice", PermissionsBoundary=arn)
        role = next(r for r in self.iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"] if r["RoleName"] == "user-alice")
        self.assertEqual(role["PermissionsBoundary"]["PermissionsBoundaryArn"], arn)

    def test_the_default_seed_is_the_contracts(self):
        groups = {u["UserName"]: [g["GroupName"] for g in self.iam.list_groups_for_user(UserName=u["UserName"])["Groups"]]
                  for u in self.iam.list_users()["Users"]}
        self.assertEqual(groups, {"alice": ["keymaker_devs", "keymaker_sudo", "prod_ssh_users"],
                                  "bob": ["keymaker_devs", "prod_ssh_users"], "carol": [], "root": []})
        for name in groups:
            key = self.iam.list_ssh_public_keys(UserName=name)["SSHPublicKeys"][0]["SSHPublicKeyId"]
            body = self.iam.get_ssh_public_key(UserName=name, SSHPublicKeyId=key, Encoding="SSH")["SSHPublicKey"]["SSHPublicKeyBody"]
            self.assertEqual(body, Path(f"/sandbox/keys/{name}.pub").read_text().strip())

    def test_another_account_is_separate(self):
        self.assertEqual(admin(account="222222222222").list_users()["Users"], [])


class Pages(FakeAwsCase):
    def seed(self, users):
        seed = {"groups": [{"name": "all"}], "users": [{"name": f"u{n:05}", "groups": ["all"], "keys": []} for n in range(users)]}
        Path("/sandbox/own-seed.json").write_text(json.dumps(seed))
        tool("sandbox-reset", "/sandbox/own-seed.json")

    def test_listings_come_in_pages_of_100_and_the_pages_hold_everybody(self):
        self.seed(250)
        first = self.iam.list_users()
        self.assertEqual((len(first["Users"]), first["IsTruncated"]), (100, True))
        for operation, field, arguments in (("list_users", "Users", {}), ("get_group", "Users", {"GroupName": "all"}),
                                            ("get_account_authorization_details", "UserDetailList", {"Filter": ["User"]})):
            pages = list(self.iam.get_paginator(operation).paginate(**arguments))
            self.assertEqual(([len(p[field]) for p in pages], pages[-1]["IsTruncated"]), ([100, 100, 50], False), operation)
            self.assertEqual(len({u["UserName"] for p in pages for u in p[field]}), 250)

    def test_nobody_vanishes_from_a_listing_because_another_was_deleted_between_two_pages(self):
        self.seed(10)
        first = self.iam.list_users(MaxItems=5)
        self.iam.remove_user_from_group(UserName="u00000", GroupName="all")
        self.iam.delete_user(UserName="u00000")
        second = self.iam.list_users(MaxItems=5, Marker=first["Marker"])
        self.assertEqual([u["UserName"] for u in second["Users"]], [f"u{n:05}" for n in range(5, 10)])

    def test_maxitems_and_markers_are_checked(self):
        self.refused("ValidationError", self.iam.list_users, Marker="rubbish!")
        self.assertEqual(len(self.iam.list_groups(MaxItems=1)["Groups"]), 1)
        self.assertTrue(self.iam.list_groups_for_user(UserName="alice", MaxItems=2)["IsTruncated"])

    def test_path_prefixes_narrow(self):
        self.iam.create_user(UserName="pathed", Path="/staff/")
        self.assertEqual([u["UserName"] for u in self.iam.list_users(PathPrefix="/staff/")["Users"]], ["pathed"])
        self.assertEqual(self.iam.list_groups(PathPrefix="/staff/")["Groups"], [])

    def test_five_thousand_users_are_seeded_and_listed_in_seconds(self):
        started = time.monotonic()
        self.seed(5000)
        self.assertEqual(sum(len(p["Users"]) for p in self.iam.get_paginator("list_users").paginate()), 5000)
        self.assertLess(time.monotonic() - started, 15)


class Keys(FakeAwsCase):
    def make(self, *arguments):
        subprocess.run(["rm", "-f", "/tmp/k", "/tmp/k.pub"], check=True)
        tool("ssh-keygen", "-q", "-N", "", "-f", "/tmp/k", *arguments)
        return Path("/tmp/k.pub").read_text().strip()

    def test_only_rsa_of_2048_bits_and_more_is_taken(self):
        upload = self.iam.upload_ssh_public_key
        self.refused("UnrecognizedPublicKeyEncoding", upload, UserName="carol", SSHPublicKeyBody="rubbish")
        self.refused("UnrecognizedPublicKeyEncoding", upload, UserName="carol", SSHPublicKeyBody=self.make("-t", "ed25519"))
        self.refused("InvalidPublicKey", upload, UserName="carol", SSHPublicKeyBody=self.make("-t", "rsa", "-b", "1024"))
        self.refused("InvalidPublicKey", upload, UserName="carol", SSHPublicKeyBody="ssh-rsa AAAA")

    def test_a_key_comes_back_with_awss_fingerprint_and_in_both_encodings(self):
        body = self.make("-t", "rsa", "-b", "2048")
        key = self.iam.upload_ssh_public_key(UserName="carol", SSHPublicKeyBody=body)["SSHPublicKey"]
        digest = hashlib.md5(base64.b64decode(body.split()[1])).hexdigest()
        self.assertEqual(key["Fingerprint"].replace(":", ""), digest)
        self.assertEqual(key["Fingerprint"].count(":"), 15)
        pem = self.iam.get_ssh_public_key(UserName="carol", SSHPublicKeyId=key["SSHPublicKeyId"], Encoding="PEM")["SSHPublicKey"]
        self.assertEqual(pem["SSHPublicKeyBody"].strip(), tool("ssh-keygen", "-e", "-m", "PKCS8", "-f", "/tmp/k.pub").strip())
        self.refused("DuplicateSSHPublicKey", self.iam.upload_ssh_public_key, UserName="carol", SSHPublicKeyBody=pem["SSHPublicKeyBody"])

    def test_a_sixth_key_is_refused(self):
        for _ in range(4):
            self.iam.upload_ssh_public_key(UserName="carol", SSHPublicKeyBody=self.make("-t", "rsa", "-b", "2048"))
        self.refused("LimitExceeded", self.iam.upload_ssh_public_key, UserName="carol", SSHPublicKeyBody=self.make("-t", "rsa", "-b", "2048"))

    def test_status_is_active_or_inactive(self):
        key = self.iam.list_ssh_public_keys(UserName="carol")["SSHPublicKeys"][0]["SSHPublicKeyId"]
        self.refused("ValidationError", self.iam.update_ssh_public_key, UserName="carol", SSHPublicKeyId=key, Status="Foo")
        self.iam.update_ssh_public_key(UserName="carol", SSHPublicKeyId=key, Status="Inactive")
        self.assertEqual(self.iam.list_ssh_public_keys(UserName="carol")["SSHPublicKeys"][0]["Status"], "Inactive")
        self.refused("NoSuchEntity", self.iam.get_ssh_public_key, UserName="bob", SSHPublicKeyId=key, Encoding="SSH")

    def test_who_calls_without_a_user_name_means_themselves_if_they_are_a_user(self):
        self.iam.put_user_policy(UserName="carol", PolicyName="own", PolicyDocument=policy(allow("iam:*SSHPublicKey*", "arn:aws:iam::*:user/${aws:username}")))
        carol = with_credentials(self.iam.create_access_key(UserName="carol")["AccessKey"])
        self.assertEqual(carol.list_ssh_public_keys()["SSHPublicKeys"][0]["UserName"], "carol")
        self.refused("AccessDenied", carol.list_ssh_public_keys, UserName="bob")
        self.refused("ValidationError", instance().list_ssh_public_keys)


class Permissions(FakeAwsCase):
    def test_the_instance_has_grade_2_and_nothing_more(self):
        client = instance()
        for call in (client.list_users, client.list_groups):
            call()
        client.get_user(UserName="alice")
        client.get_group(GroupName="keymaker_devs")
        client.get_role(RoleName="sandbox-instance")
        message = self.refused("AccessDenied", client.get_account_authorization_details)
        self.assertTrue(message.endswith("is not authorized to perform: iam:GetAccountAuthorizationDetails on resource: * "
                                         "because no identity-based policy allows the iam:GetAccountAuthorizationDetails action"), message)
        self.refused("AccessDenied", client.create_user, UserName="dave")

    def test_a_resource_narrows_and_a_deny_wins(self):
        self.iam.put_role_policy(RoleName="sandbox-instance", PolicyName="keymaker", PolicyDocument=policy(
            allow("iam:GetUser", "arn:aws:iam::*:user/alice"), allow("iam:List*"), {"Effect": "Deny", "Action": "iam:ListGroups", "Resource": "*"}))
        client = instance()
        client.get_user(UserName="alice")
        client.list_users()
        self.refused("AccessDenied", client.get_user, UserName="bob")
        self.assertIn("with an explicit deny in an identity-based policy", self.refused("AccessDenied", client.list_groups))

    def test_a_call_to_iam_is_signed_for_the_region_of_iam(self):
        credentials = self.iam._request_signer._credentials
        signer = SigV4Auth(credentials, "iam", "eu-central-1")
        request = AWSRequest("POST", self.iam.meta.endpoint_url, data="Action=ListUsers&Version=2010-05-08",
                             headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
        signer.add_auth(request)
        answer = URLLib3Session().send(request.prepare())
        self.assertEqual(answer.status_code, 403)
        self.assertIn("scoped to a valid region", answer.text)

    def test_unknown_keys_and_wrong_secrets_are_refused(self):
        self.refused("InvalidClientTokenId", with_credentials({"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"}).list_users)
        forged = boto3.client("iam", aws_access_key_id="AKIAADMN123456789012", aws_secret_access_key="guessed", config=ONCE)
        self.refused("SignatureDoesNotMatch", forged.list_users)

    def test_policy_sizes_are_limited(self):
        big = policy(allow([f"s3:Action{n:05}" for n in range(200)]))
        message = self.refused("LimitExceeded", self.iam.put_user_policy, UserName="alice", PolicyName="p", PolicyDocument=big)
        self.assertEqual(message, "Maximum policy size of 2048 bytes exceeded for user alice")
        self.iam.put_group_policy(GroupName="keymaker_devs", PolicyName="p", PolicyDocument=big)
        self.refused("MalformedPolicyDocument", self.iam.put_user_policy, UserName="alice", PolicyName="p", PolicyDocument="{nope")

    def test_a_trust_policys_principals_must_exist(self):
        for principal in ("arn:aws:iam::123456789012:role/nobody", "arn:aws:iam::123456789012:role/*"):
            self.refused("MalformedPolicyDocument", self.iam.create_role, RoleName="r", AssumeRolePolicyDocument=trust(principal))


class AssumingRoles(FakeAwsCase):
    def assume(self, role="user-alice", client=None, **more):
        arn = role if role.startswith("arn:") else f"arn:aws:iam::123456789012:role/{role}"
        return (client or instance("sts")).assume_role(RoleArn=arn, RoleSessionName=more.pop("name", "session"), **more)

    def test_the_instance_assumes_user_alice_and_is_her_role(self):
        answer = self.assume(name="alice")
        who = with_credentials(answer["Credentials"], "sts").get_caller_identity()
        self.assertEqual(who["Arn"], "arn:aws:sts::123456789012:assumed-role/user-alice/alice")
        self.assertRegex(who["UserId"], "^AROA[A-Z0-9]{17}:alice$")
        client = with_credentials(answer["Credentials"])
        client.list_ssh_public_keys(UserName="alice")
        self.refused("AccessDenied", client.list_ssh_public_keys, UserName="bob")

    def test_a_missing_role_an_untrusting_one_and_one_not_permitted_are_one_answer(self):
        self.iam.create_role(RoleName="user-far", AssumeRolePolicyDocument=trust("arn:aws:iam::222222222222:root"))
        self.iam.create_role(RoleName="other", AssumeRolePolicyDocument=trust("123456789012"))
        self.iam.create_role(RoleName="user-pathed", Path="/p/", AssumeRolePolicyDocument=trust(INSTANCE_ROLE))
        for role in ("user-nobody", "user-far", "other", "user-pathed", "sandbox-instance"):
            message = self.refused("AccessDenied", self.assume, role)
            self.assertTrue(message.endswith(f"is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/{role}"), message)

    def test_a_role_that_names_the_caller_needs_no_permission_of_the_callers_in_one_account(self):
        self.iam.create_role(RoleName="other", AssumeRolePolicyDocument=trust(INSTANCE_ROLE))
        self.assume("other")
        far = admin(account="222222222222")
        far.create_role(RoleName="other", AssumeRolePolicyDocument=trust(INSTANCE_ROLE))
        self.refused("AccessDenied", self.assume, "arn:aws:iam::222222222222:role/other")
        self.iam.put_role_policy(RoleName="sandbox-instance", PolicyName="far", PolicyDocument=policy(allow("sts:AssumeRole")))
        answer = self.assume("arn:aws:iam::222222222222:role/other")
        self.assertEqual(with_credentials(answer["Credentials"], "sts").get_caller_identity()["Account"], "222222222222")

    def test_a_session_policy_narrows(self):
        reader = self.iam.create_policy(PolicyName="reader", PolicyDocument=policy(allow("iam:Get*")))["Policy"]["Arn"]
        self.iam.put_role_policy(RoleName="user-alice", PolicyName="own-keys", PolicyDocument=policy(allow("iam:*")))
        narrowed = with_credentials(self.assume(PolicyArns=[{"arn": reader}])["Credentials"])
        narrowed.get_user(UserName="alice")
        self.assertIn("because no session policy allows", self.refused("AccessDenied", narrowed.list_users))
        denied = with_credentials(self.assume(Policy=policy({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}))["Credentials"])
        self.refused("AccessDenied", denied.get_user, UserName="alice")

    def test_tags_and_source_identity_need_the_roles_leave_and_are_bound_to_the_session(self):
        tags = [{"Key": "keymaker-user", "Value": "alice"}]
        self.iam.put_role_policy(RoleName="user-alice", PolicyName="own-keys", PolicyDocument=policy(
            allow("iam:GetUser", "arn:aws:iam::*:user/${aws:PrincipalTag/keymaker-user}"),
            allow("iam:ListUsers", Condition={"StringEquals": {"aws:SourceIdentity": "alice"}})))
        answer = self.assume(Tags=tags, SourceIdentity="alice")
        self.assertEqual(answer["SourceIdentity"], "alice")
        self.assertGreater(answer["PackedPolicySize"], 0)
        client = with_credentials(answer["Credentials"])
        client.get_user(UserName="alice")
        client.list_users()
        self.refused("AccessDenied", client.get_user, UserName="bob")
        self.iam.update_assume_role_policy(RoleName="user-alice", PolicyDocument=trust(INSTANCE_ROLE))
        self.assertIn("sts:TagSession", self.refused("AccessDenied", self.assume, Tags=tags))
        self.assertIn("sts:SetSourceIdentity", self.refused("AccessDenied", self.assume, SourceIdentity="alice"))

    def test_an_external_id_must_be_the_trusts(self):
        self.iam.create_role(RoleName="user-ext", AssumeRolePolicyDocument=trust(INSTANCE_ROLE, Condition={"StringEquals": {"sts:ExternalId": "secret"}}))
        self.refused("AccessDenied", self.assume, "user-ext", ExternalId="other")
        self.refused("AccessDenied", self.assume, "user-ext")
        self.assume("user-ext", ExternalId="secret")

    def test_requests_are_checked_for_length_and_form(self):
        long = policy(allow([f"s3:Action{n:05}" for n in range(200)]))
        self.refused("ValidationError", self.assume, Policy=long)
        self.refused("MalformedPolicyDocument", self.assume, Policy="{nope")
        self.refused("ValidationError", self.assume, name="a b/c")
        self.refused("ValidationError", self.assume, DurationSeconds=43201)
        noise = hashlib.sha512(b"x").hexdigest()
        tags = [{"Key": hashlib.sha256(bytes([n])).hexdigest(), "Value": noise * 2} for n in range(50)]
        self.refused("PackedPolicyTooLarge", self.assume, Tags=tags)

    def test_a_chained_session_lasts_an_hour_at_most(self):
        self.iam.update_role(RoleName="user-alice", MaxSessionDuration=43200)
        self.refused("ValidationError", self.assume, DurationSeconds=3601)
        self.iam.update_assume_role_policy(RoleName="user-alice", PolicyDocument=trust("123456789012"))
        self.assume(client=admin("sts"), DurationSeconds=43200)


class Tokens(FakeAwsCase):
    """sts:GetWebIdentityToken, and what an account has to do with it."""

    ACTIONS = ["sts:GetWebIdentityToken", "sts:TagGetWebIdentityToken"]
    KEY = [{"Key": "keymaker-key", "Value": "SHA256:x"}]

    def setUp(self):
        super().setUp()
        self.disable()
        self.iam.create_user(UserName="dave", Path="/staff/")
        self.own = self.iam.create_access_key(UserName="dave")["AccessKey"]
        self.may(allow(self.ACTIONS))

    def disable(self):
        try:
            self.iam.disable_outbound_web_identity_federation()
        except ClientError as failure:
            self.assertEqual(failure.response["Error"]["Code"], "FeatureDisabled")

    def may(self, *statements):
        self.iam.put_user_policy(UserName="dave", PolicyName="tokens", PolicyDocument=policy(*statements))

    def ask(self, credentials=None, **more):
        asked = {"Audience": ["keymaker:123456789012"], "SigningAlgorithm": "ES384", "DurationSeconds": 300, "Tags": self.KEY, **more}
        client = with_credentials(credentials or self.own, "sts")
        return client.get_web_identity_token(**{k: v for k, v in asked.items() if v is not None})["WebIdentityToken"]

    @staticmethod
    def decoded(part):
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    def claims(self, token):
        return json.loads(self.decoded(token.split(".")[1]))

    def session(self, code="123456"):
        """dave's session, with a second factor if there is a code."""
        sts = with_credentials(self.own, "sts")
        return sts.get_session_token(**({"SerialNumber": self.device(), "TokenCode": code} if code else {}))["Credentials"]

    def device(self):
        if not self.iam.list_mfa_devices(UserName="dave")["MFADevices"]:
            made = self.iam.create_virtual_mfa_device(VirtualMFADeviceName="dave")["VirtualMFADevice"]["SerialNumber"]
            self.iam.enable_mfa_device(UserName="dave", SerialNumber=made, AuthenticationCode1="111111", AuthenticationCode2="222222")
        return self.iam.list_mfa_devices(UserName="dave")["MFADevices"][0]["SerialNumber"]

    def test_an_account_makes_tokens_from_when_it_is_told_to_until_it_is_told_not_to(self):
        self.refused("FeatureDisabled", self.iam.disable_outbound_web_identity_federation)
        self.refused("OutboundWebIdentityFederationDisabledException", self.ask)
        issuer = self.iam.enable_outbound_web_identity_federation()["IssuerIdentifier"]
        self.refused("FeatureEnabled", self.iam.enable_outbound_web_identity_federation)
        info = self.iam.get_outbound_web_identity_federation_info()
        self.assertEqual((info["IssuerIdentifier"], info["JwtVendingEnabled"]), (issuer, True))
        self.assertEqual(self.claims(self.ask())["iss"], issuer)
        self.refused("FeatureDisabled", admin(account="222222222222").get_outbound_web_identity_federation_info)
        self.iam.disable_outbound_web_identity_federation()
        self.refused("OutboundWebIdentityFederationDisabledException", self.ask)

    def test_a_token_has_the_form_of_the_public_records_and_the_issuers_published_key_verifies_it(self):
        self.iam.tag_user(UserName="dave", Tags=[{"Key": "Team", "Value": "x"}])
        issuer = self.iam.enable_outbound_web_identity_federation()["IssuerIdentifier"]
        token = self.ask()
        header, claims = json.loads(self.decoded(token.split(".")[0])), self.claims(token)
        self.assertEqual(header, {"alg": "ES384", "kid": "EC384_0", "typ": "JWT"})
        self.assertEqual(set(claims), {"iss", "aud", "sub", "iat", "exp", "jti", "https://sts.amazonaws.com/"})
        self.assertEqual((claims["aud"], claims["sub"]), ("keymaker:123456789012", "arn:aws:iam::123456789012:user/staff/dave"))
        self.assertEqual((claims["exp"] - claims["iat"], type(claims["iat"])), (300, int))
        self.assertEqual(claims["https://sts.amazonaws.com/"], {
            "aws_account": "123456789012", "source_region": "eu-central-1", "principal_id": claims["sub"],
            "principal_tags": {"Team": "x"}, "request_tags": {"keymaker-key": "SHA256:x"}})
        self.assertNotIn("request_tags", self.claims(self.ask(Tags=None))["https://sts.amazonaws.com/"])
        self.assertEqual(self.claims(self.ask(Audience=["a", "b"]))["aud"], ["a", "b"])
        trusted = ssl.create_default_context(cafile="/sandbox/issuer-ca.pem")
        get = lambda url: json.load(urllib.request.urlopen(url, context=trusted, timeout=5))
        document = get(f"{issuer}/.well-known/openid-configuration")
        self.assertEqual(document["issuer"], issuer)
        keys = {key["kid"]: key for key in get(document["jwks_uri"])["keys"]}
        self.assertEqual({kid: (key["kty"], key["alg"]) for kid, key in keys.items()}, {"RSA_0": ("RSA", "RS256"), "EC384_0": ("EC", "ES384")})
        self.assertTrue(self.verifies(token, keys["EC384_0"]))
        self.assertFalse(self.verifies(token.replace(".", ".A", 1), keys["EC384_0"]))
        self.assertEqual(json.loads(self.decoded(self.ask(SigningAlgorithm="RS256").split(".")[0]))["kid"], "RSA_0")
        self.assertRaises(urllib.error.URLError, urllib.request.urlopen, document["jwks_uri"], timeout=5)

    def verifies(self, token, key):
        """As openssl sees it, which knows neither JWK nor JWS."""
        signed, _, signature = token.rpartition(".")
        raw = self.decoded(signature)
        integer = lambda part: b"\x02" + bytes([len(part) + (part[0] >> 7)]) + b"\0" * (part[0] >> 7) + part
        halves = integer(raw[:48].lstrip(b"\0")) + integer(raw[48:].lstrip(b"\0"))
        point = b"\x04" + self.decoded(key["x"]) + self.decoded(key["y"])
        Path("/tmp/t.der").write_bytes(bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200") + point)
        Path("/tmp/t.sig").write_bytes(b"\x30" + bytes([len(halves)]) + halves)
        line = ["openssl", "dgst", "-sha384", "-keyform", "DER", "-verify", "/tmp/t.der", "-signature", "/tmp/t.sig"]
        return subprocess.run(line, input=signed.encode(), capture_output=True).returncode == 0

    def test_both_permissions_are_asked_and_the_one_for_tags_only_where_there_are_tags(self):
        self.iam.enable_outbound_web_identity_federation()
        self.may(allow("sts:TagGetWebIdentityToken"))
        self.assertIn("perform: sts:GetWebIdentityToken on resource: * because no identity-based policy allows", self.refused("AccessDenied", self.ask))
        self.may(allow("sts:GetWebIdentityToken"))
        self.assertIn("perform: sts:TagGetWebIdentityToken on", self.refused("AccessDenied", self.ask))
        self.ask(Tags=None)
        self.ask(Tags=[])

    def test_what_is_out_of_range_is_refused_before_anybody_is_asked_for_a_permission(self):
        self.may(allow("s3:*"))
        tags = [{"Key": f"k{n}", "Value": ""} for n in range(51)]
        for more in ({"Audience": []}, {"Audience": ["x"] * 11}, {"Audience": ["x" * 1001]}, {"DurationSeconds": 59}, {"DurationSeconds": 3601},
                     {"SigningAlgorithm": "HS256"}, {"SigningAlgorithm": "none"}, {"Tags": tags}, {"Tags": [{"Key": "k", "Value": "v" * 257}]}):
            self.refused("ValidationError", self.unchecked, **more)
        self.refused("InvalidParameterValue", self.unchecked, Tags=[{"Key": "Keymaker-Key", "Value": "y"}, *self.KEY])
        self.iam.enable_outbound_web_identity_federation()
        self.may(allow(self.ACTIONS))
        self.ask(Tags=tags[:50], DurationSeconds=60)
        self.ask(Audience=[f"a{n}" for n in range(10)], DurationSeconds=3600)
        big = [{"Key": f"k{n}", "Value": "v" * 256} for n in range(50)]
        self.refused("JWTPayloadSizeExceededException", self.ask, Tags=big)

    def unchecked(self, **more):
        """By a client that does not look at what it sends."""
        bare = boto3.client("sts", aws_access_key_id=self.own["AccessKeyId"], aws_secret_access_key=self.own["SecretAccessKey"],
                            config=ONCE.merge(Config(parameter_validation=False)))
        asked = {"Audience": ["x"], "SigningAlgorithm": "ES384", "DurationSeconds": 300, "Tags": self.KEY, **more}
        return bare.get_web_identity_token(**asked)

    def test_for_any_value_lets_foreign_audiences_in_and_for_all_values_does_not_but_an_empty_set(self):
        self.iam.enable_outbound_web_identity_federation()
        ours, key = "keymaker:123456789012", "sts:IdentityTokenAudience"
        both = [ours, "https://elsewhere.example"]
        self.may(allow(self.ACTIONS, Condition={"ForAnyValue:StringEquals": {key: ours}}))
        self.ask(Audience=both)
        self.refused("AccessDenied", self.ask, Audience=both[1:])
        self.may(allow(self.ACTIONS, Condition={"ForAllValues:StringEquals": {key: ours}}))
        self.ask()
        self.refused("AccessDenied", self.ask, Audience=both)
        # Of tags there may be none: then ForAllValues is fulfilled, and Null says that there must be some.
        tags = {"ForAllValues:StringEquals": {"aws:TagKeys": ["keymaker-key"]}}
        self.may(allow(self.ACTIONS, Condition=tags))
        self.ask(Tags=None)
        self.ask()
        self.refused("AccessDenied", self.ask, Tags=[*self.KEY, {"Key": "other", "Value": ""}])
        self.may(allow(self.ACTIONS, Condition={**tags, "Null": {"aws:TagKeys": "false"}}))
        self.refused("AccessDenied", self.ask, Tags=None)
        self.ask()
        self.may(allow(self.ACTIONS, Condition={"ForAnyValue:StringNotEquals": {"aws:TagKeys": "x"}}))
        self.refused("AccessDenied", self.ask, Tags=None)

    def test_the_other_conditions_of_a_policy_for_tokens_hold(self):
        self.iam.enable_outbound_web_identity_federation()
        self.may(allow(self.ACTIONS, Condition={
            "NumericLessThanEquals": {"sts:DurationSeconds": "300"}, "StringEquals": {"sts:SigningAlgorithm": "ES384", "aws:RequestTag/keymaker-key": "SHA256:x"},
            "Bool": {"aws:ViaAWSService": "false"}}))
        self.ask()
        self.refused("AccessDenied", self.ask, DurationSeconds=301)
        self.refused("AccessDenied", self.ask, SigningAlgorithm="RS256")
        self.refused("AccessDenied", self.ask, Tags=[{"Key": "keymaker-key", "Value": "SHA256:y"}])

    def test_a_session_with_a_second_factor_is_told_from_one_without_and_from_an_access_key(self):
        self.iam.enable_outbound_web_identity_federation()
        self.may(allow(self.ACTIONS, Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}), allow("iam:GetUser"))
        self.refused("AccessDenied", self.ask)
        plain, strong = self.session(None), self.session()
        self.refused("AccessDenied", self.ask, plain)
        token = self.claims(self.ask(strong))
        self.assertEqual(token["sub"], "arn:aws:iam::123456789012:user/staff/dave")
        self.assertEqual(with_credentials(strong, "sts").get_caller_identity()["Arn"], token["sub"])
        # STS API Reference, GetSessionToken.
        self.refused("AccessDenied", with_credentials(plain).get_user, UserName="dave")
        with_credentials(strong).get_user(UserName="dave")
        self.refused("AccessDenied", self.session, "000000")
        self.refused("AccessDenied", with_credentials(strong, "sts").get_session_token)
        # The access key alone: BoolIfExists would let it in, for it has no such key.
        self.may(allow(self.ACTIONS, Condition={"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}))
        self.ask()
        self.refused("AccessDenied", self.ask, plain)

    def test_who_is_no_user_is_told_from_one_and_a_session_of_a_role_is_its_role(self):
        self.iam.enable_outbound_web_identity_federation()
        guard = {"Effect": "Deny", "Action": self.ACTIONS, "Resource": "*", "Condition": {
            "ForAnyValue:StringLike": {"sts:IdentityTokenAudience": "keymaker:*"}, "StringNotEquals": {"aws:PrincipalType": "User"}}}
        self.may(allow(self.ACTIONS), guard)
        self.ask()
        self.iam.put_role_policy(RoleName="user-alice", PolicyName="tokens", PolicyDocument=policy(allow(self.ACTIONS)))
        role = instance("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/user-alice", RoleSessionName="dave")["Credentials"]
        self.assertEqual(self.claims(self.ask(role))["sub"], "arn:aws:iam::123456789012:role/user-alice")
        self.iam.put_role_policy(RoleName="user-alice", PolicyName="guard", PolicyDocument=policy(guard))
        self.assertIn("explicit deny", self.refused("AccessDenied", self.ask, role))
        self.assertIn("explicit deny", self.refused("AccessDenied", self.ask, role, Audience=["x", "keymaker:other"]))
        self.ask(role, Audience=["x"])

    def test_a_token_outlives_no_session(self):
        self.iam.enable_outbound_web_identity_federation()
        short = with_credentials(self.own, "sts").get_session_token(DurationSeconds=900)["Credentials"]
        self.ask(short, DurationSeconds=600)
        self.refused("SessionDurationEscalationException", self.ask, short, DurationSeconds=1200)

    def test_calls_are_counted(self):
        self.iam.enable_outbound_web_identity_federation()
        tool("sandbox-calls", "--reset")
        self.ask()
        self.assertEqual(tool("sandbox-calls").splitlines(), ["sts:GetWebIdentityToken 1"])


class Changes(FakeAwsCase):
    def test_they_happen_before_the_call_that_they_name_and_to_their_path_alone(self):
        client, names = instance(), lambda path: [u["UserName"] for u in client.list_users(PathPrefix=path)["Users"]]
        everybody = names("/")
        ann, ben = ({"name": name, "id": name.upper(), "keys": [], "groups": ["few"]} for name in ("ann", "ben"))
        few = {"name": "few", "id": "AGPAFEW"}
        states = [[2, [ann, ben]], [3, [{**ann, "name": "ben"}, {**ben, "name": "ann"}]], [5, []]]
        changes = [[call, {"path": "/few/", "users": users, "groups": [few]}] for call, users in states]
        aside = Path("/sandbox/changes.new")
        aside.write_text(json.dumps(changes))
        aside.rename("/sandbox/changes.json")
        self.assertEqual(names("/few/"), [])
        self.assertEqual(client.get_user(UserName="ann")["User"]["UserId"], "ANN")
        self.iam.list_users()
        self.assertEqual(client.get_user(UserName="ann")["User"]["UserId"], "BEN")
        members = client.get_group(GroupName="few")["Users"]
        self.assertEqual({(u["UserName"], u["UserId"]) for u in members}, {("ann", "BEN"), ("ben", "ANN")})
        self.assertEqual(names("/"), everybody)
        self.assertEqual(tool("sandbox-calls", "--log").count("sandbox:Change:"), 3)


class Faults(FakeAwsCase):
    def fault(self, *modes):
        tool("sandbox-fault", *modes)

    def test_each_fault_is_what_it_says_and_the_administrator_never_meets_it(self):
        client = instance()
        client.list_users()
        for mode, code in (("throttle", "Throttling"), ("deny", "AccessDenied"), ("500", "ServiceFailure")):
            self.fault(mode)
            self.refused(code, client.list_users)
            self.iam.list_users()
        for mode in ("down", "hang"):
            self.fault(mode)
            self.assertRaises(HTTPClientError, client.list_users)
            self.iam.list_users()
        self.fault("wrong")
        with self.assertRaises(KeyError):  # boto3 takes the page for a result that lacks what it looks for
            client.get_user(UserName="alice")
        self.fault("none")
        client.list_users()

    def test_a_fault_can_be_for_one_action_and_several_hold_at_once(self):
        client = instance()
        self.fault("throttle:ListUsers", "slow:300:GetUser")
        self.refused("Throttling", client.list_users)
        client.list_groups()
        started = time.monotonic()
        client.get_user(UserName="alice")
        self.assertGreater(time.monotonic() - started, 0.29)

    def test_partial_ends_the_listings_of_the_account_early_and_says_that_they_are_complete(self):
        self.fault("partial")
        listing = instance().list_users()
        self.assertEqual(([u["UserName"] for u in listing["Users"]], listing["IsTruncated"]), (["alice", "bob"], False))
        self.assertEqual(len(instance().list_groups_for_user(UserName="alice")["Groups"]), 3)
        self.fault("partial:ListGroupsForUser")
        self.assertEqual(len(instance().list_groups_for_user(UserName="alice")["Groups"]), 1)

    def test_cut_answers_a_first_page_and_fails_the_next(self):
        self.fault("cut")
        first = instance().list_users()
        self.assertEqual((len(first["Users"]), first["IsTruncated"]), (2, True))
        self.refused("ServiceFailure", instance().list_users, Marker=first["Marker"])

    def test_calls_are_counted_by_action_without_the_administrators(self):
        tool("sandbox-calls", "--reset")
        instance().list_users()
        instance().get_user(UserName="bob")
        instance().get_user(UserName="carol")
        self.iam.list_groups()
        self.assertEqual(tool("sandbox-calls").splitlines(), ["iam:GetUser 2", "iam:ListUsers 1"])

    def test_a_connection_is_kept_between_calls(self):
        client = instance()
        client.list_users()
        pool = client._endpoint.http_session._manager.connection_from_url("http://10.77.0.1:5000")
        for _ in range(5):
            client.list_users()
        self.assertEqual(pool.num_connections, 1)


class Metadata(unittest.TestCase):
    def setUp(self):
        tool("sandbox-reset")

    def ask(self, path, method="GET", address="169.254.169.254", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{address}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode(), refusal.headers

    def token(self, address="169.254.169.254"):
        return self.ask("/latest/api/token", "PUT", address, X_aws_ec2_metadata_token_ttl_seconds="60")[1]

    def get(self, path, address="169.254.169.254"):
        return self.ask(path, address=address, X_aws_ec2_metadata_token=self.token(address))

    def test_both_addresses_answer_the_same(self):
        for address in ("169.254.169.254", "[fd00:ec2::254]"):
            self.assertEqual(self.get("/latest/meta-data/placement/region", address)[:2], (200, "us-east-1"))

    def test_tokens_are_required_echo_their_life_and_are_refused_to_forwarders(self):
        self.assertEqual(self.ask("/latest/meta-data/instance-id")[0], 401)
        self.assertEqual(self.ask("/latest/meta-data/instance-id", X_aws_ec2_metadata_token="guess")[0], 401)
        status, _, headers = self.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="21600")
        self.assertEqual((status, headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"]), (200, "21600"))
        for ttl in ("0", "-1", "21601", "abc", "", "1.5"):
            self.assertEqual(self.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds=ttl)[0], 400, ttl)
        self.assertEqual(self.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60", X_Forwarded_For="1.2.3.4")[0], 403)
        self.assertEqual(self.ask("/latest/api/token")[0], 405)

    def test_the_role_name_ends_without_a_newline_and_its_credentials_are_valid(self):
        name = self.get("/latest/meta-data/iam/security-credentials/")[1]
        self.assertEqual(name, "sandbox-instance")
        found = json.loads(self.get(f"/latest/meta-data/iam/security-credentials/{name}")[1])
        self.assertRegex(found["Expiration"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        who = with_credentials({**found, "SessionToken": found["Token"]}, "sts").get_caller_identity()
        self.assertEqual(who["Arn"], "arn:aws:sts::123456789012:assumed-role/sandbox-instance/i-0123456789abcdef0")
        self.assertEqual(self.get("/latest/meta-data/iam/security-credentials/other")[0], 404)

    def test_listings_leaves_and_the_unknown(self):
        self.assertEqual(self.get("/latest")[1], "dynamic\nmeta-data\nuser-data")
        self.assertEqual(self.get("/latest/meta-data/placement/")[1], "availability-zone\nregion")
        self.assertEqual(self.get("/latest/meta-data/placement/availability-zone/")[1], "us-east-1a")
        self.assertEqual(self.get("/latest/meta-data/nothing")[0], 404)
        self.assertEqual(json.loads(self.get("/latest/dynamic/instance-identity/document")[1])["region"], "us-east-1")

    def test_every_request_is_recorded_and_the_instance_can_be_changed(self):
        tool("sandbox-imds", "clear")
        self.ask("/latest/meta-data/%2e%2e/x", X_Forwarded_For="1.2.3.4")
        entry = json.loads(tool("sandbox-imds"))
        self.assertEqual((entry["method"], entry["path"], entry["status"]), ("GET", "/latest/meta-data/%2e%2e/x", 401))
        self.assertIn(["X-Forwarded-For", "1.2.3.4"], entry["headers"])
        tool("sandbox-imds", "set", "instance-id", "i-0feed")
        self.assertEqual(self.get("/latest/meta-data/instance-id")[1], "i-0feed")
        self.assertEqual(json.loads(self.get("/latest/dynamic/instance-identity/document")[1])["instanceId"], "i-0feed")


if __name__ == "__main__":
    unittest.main()
