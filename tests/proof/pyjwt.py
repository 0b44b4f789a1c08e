#!/usr/bin/env python3
"""Has PyJWT judge the mutated tokens that the tests beside it have judged, from the file that KEYMAKER_JUDGED names.

usage: pyjwt.py JUDGED    Fails where one opened that PyJWT refuses, and where one that anybody may make was judged otherwise.
"""
import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

AWS = "https://sts.amazonaws.com/"


def main():
    with open(sys.argv[1]) as judged:
        rules = json.loads(next(judged))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), bytes(rules["point"]))
        tokens, opened, otherwise = 0, 0, []
        for line in judged:
            case = json.loads(line)
            tokens += 1
            opened += case["opens"]
            theirs = opens(case["token"], key, rules)
            if case["opens"] and not theirs or case["by_anybody"] and theirs != case["opens"]:
                otherwise.append(case)
    for case in otherwise[:5]:
        print("judged otherwise by PyJWT:", json.dumps(case))
    print(f"PyJWT {jwt.__version__}: {tokens} tokens, of which {opened} opened; {len(otherwise)} judged otherwise")
    sys.exit(bool(otherwise) or tokens < 10_000 or not opened)


def opens(token, key, rules):
    """As PyJWT reads it. The times are compared with the rules' own, since the tokens are of another year."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, key, algorithms=["ES384"], audience=rules["audience"], issuer=rules["issuer"],
                            options={"verify_exp": False, "verify_iat": False, "require": ["aud", "iss", "sub", "iat", "exp", "jti"]})
        aws = claims[AWS]
        return (header["kid"] == "EC384_0" and claims["iat"] == rules["issued_at"] and claims["exp"] == rules["issued_at"] + 300
                and claims["jti"] == rules["token_id"] and aws["aws_account"] == rules["account"]
                and aws["request_tags"]["keymaker-key"] == rules["fingerprint"]
                and aws["request_tags"]["keymaker-user"] == rules["user_id"]
                and claims["sub"] == aws["principal_id"] and claims["sub"].startswith("arn:aws:iam::123456789012:user/"))
    except (jwt.PyJWTError, KeyError, TypeError, AttributeError, ValueError):
        return False


main()
