#!/usr/bin/env python3
"""The policies of the examples against the one that `keymaker configure` prints, and HCL as its parser reads it.

usage: tests/examples.py WANTED EXAMPLES    WANTED: the output of keymaker configure --print cloudformation for the role keymaker-host.
Prints what differs and fails. tests/examples.sh runs it.
"""

import json
import pathlib
import sys

import hcl2
from cfnlint.decode import cfn_yaml

wrong = []


def main(wanted, examples):
    wanted = json.loads(pathlib.Path(wanted).read_text())["Resources"]
    trust, policy = of_cloudformation(wanted)
    own_role = sorted(policy)[0][3][0]
    assert ":role/keymaker-host" in own_role, policy
    template = plain(cfn_yaml.load(str(examples / "cloudformation/keymaker-host.yaml")), own_role)["Resources"]
    compare("CloudFormation", (trust, policy), of_cloudformation(template))
    user_data = template["KeymakerLaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    compare("CloudFormation's user data", (examples / "cloud-init/debian.yaml").read_text(), user_data)

    documents = {}
    for file in sorted(examples.glob("*/*.tf")) + sorted(examples.glob("*/*.hcl")):
        try:
            parsed = hcl2.loads(file.read_text())
        except Exception as why:
            wrong.append(f"{file}: cannot be parsed: {why}")
            continue
        for data in parsed.get("data", []):
            for kind, named in unquoted(data).items():
                if kind == "aws_iam_policy_document":
                    documents.update(named)
    compare("Terraform", (trust, policy), tuple(of_terraform(documents[name], own_role) for name in ("trust", "keymaker")))
    print("\n".join(wrong))
    return not wrong


def compare(what, wanted, found):
    if wanted != found:
        wrong.append(f"{what}: wanted {wanted}\n  found {found}")


def one_or_more(value):
    return value if isinstance(value, list) else [value]


def statement(sid, effect, actions, resources, principal):
    return (sid, effect, tuple(sorted(one_or_more(actions))), tuple(sorted(one_or_more(resources))), principal)


def of_cloudformation(resources):
    """The statements of the role's trust and of its one policy."""

    def of(document):
        return {
            statement(s.get("Sid", ""), s["Effect"], s["Action"], s.get("Resource", []), json.dumps(s.get("Principal")))
            for s in one_or_more(document["Statement"])
        }

    role = resources["KeymakerRole"]["Properties"]
    assert "Policies" not in role and "ManagedPolicyArns" not in role, "a policy that is not looked at"
    return of(role["AssumeRolePolicyDocument"]), of(resources["KeymakerPolicy"]["Properties"]["PolicyDocument"])


def plain(value, own_role):
    """The template with what AWS would put in for account and role of `own_role`."""
    if isinstance(value, dict):
        if list(value) == ["Fn::GetAtt"] and "".join(map(str, value["Fn::GetAtt"])).startswith("KeymakerRole"):
            return own_role
        if list(value) == ["Fn::Sub"]:
            return value["Fn::Sub"].replace("${AWS::URLSuffix}", "amazonaws.com")
        return {str(key): plain(inner, own_role) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, own_role) for inner in value]
    return str(value) if isinstance(value, str) else value


def unquoted(value):
    """Some versions of the parser leave the quotation marks of HCL in place."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unquoted(inner) for inner in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def of_terraform(document, own_role):
    def filled(text):
        return text.replace("${aws_iam_role.keymaker.arn}", own_role).replace("${data.aws_partition.current.dns_suffix}", "amazonaws.com")

    found = set()
    for s in document["statement"]:
        [principal] = s.get("principals") or [None]
        if principal:
            assert len(principal["identifiers"]) == 1, principal
            principal = {principal["type"]: filled(principal["identifiers"][0])}
        resources = [filled(resource) for resource in s.get("resources", [])]
        found.add(statement(s.get("sid", ""), s.get("effect", "Allow"), s["actions"], resources, json.dumps(principal)))
    return found


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1], pathlib.Path(sys.argv[2])) else 1)
