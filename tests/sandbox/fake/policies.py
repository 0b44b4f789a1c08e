"""IAM policies as AWS evaluates them, as far as the sandbox needs: who may do what on which resource.

Called by iam.py and sts.py. An unknown condition operator narrows: an Allow with it grants nothing, a Deny with it denies.
"""

import functools
import json
import re

from wire import AwsError


def allowed(layers, action, resource, context):
    """Each layer is (its name in AWS's message, its documents) and must allow; a Deny in any of them wins.

    Returns None when allowed, else the end of AWS's sentence.
    """
    for name, documents in layers:
        if any(applies(s, action, resource, context) for s in statements(documents, "Deny")):
            return f"with an explicit deny in {article(name)} {name}"
    for name, documents in layers:
        if not any(applies(s, action, resource, context) for s in statements(documents, "Allow")):
            return f"because no {name} allows the {action} action"
    return None


def article(name):
    return "an" if name[0] in "aeiou" else "a"


def statements(documents, effect):
    for document in documents:
        for statement in parse(document):
            if statement.get("Effect") == effect:
                yield statement


@functools.lru_cache(maxsize=4096)
def parse(document):
    try:
        found = json.loads(document)["Statement"]
    except (ValueError, TypeError, KeyError):
        raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.") from None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(s, dict) and s.get("Effect") in ("Allow", "Deny") for s in found):
        raise AwsError("MalformedPolicyDocument", "Syntax errors in policy.")
    return found


def applies(statement, action, resource, context):
    return (
        one_of(statement, "Action", action.lower(), lambda p: p.lower())
        and one_of(statement, "Resource", resource, lambda p: substitute(p, context))
        and conditions_met(statement, context)
    )


def one_of(statement, element, value, prepare):
    if "Not" + element in statement:
        return not any(glob(prepare(p), value) for p in as_list(statement["Not" + element]))
    return any(glob(prepare(p), value) for p in as_list(statement.get(element, [])))


def as_list(value):
    return value if isinstance(value, list) else [value]


@functools.lru_cache(maxsize=4096)
def pattern(text):
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in text), re.DOTALL)


def glob(text, value):
    """IAM's wildcards: * and ? only; `[` is literal."""
    return pattern(text).fullmatch(value) is not None


def substitute(text, context):
    """`${aws:username}` and its like, with 'default' or not; a variable without a value matches nothing."""
    def value(match):
        found = context.get(match[1].lower(), match[2])
        return "\0" if found is None else str(found)
    return re.sub(r"\$\{([^},]+)(?:, *'([^']*)')?\}", value, text)


OPERATORS = {
    "stringequals": lambda want, have: want == have,
    "stringequalsignorecase": lambda want, have: want.lower() == have.lower(),
    "stringlike": glob,
    "arnequals": glob,
    "arnlike": glob,
    "bool": lambda want, have: want.lower() == have.lower(),
    "numericlessthanequals": lambda want, have: float(have) <= float(want),
}


def conditions_met(statement, context):
    return all(
        condition_met(operator.lower(), key.lower(), as_list(wanted), context, statement["Effect"])
        for operator, block in statement.get("Condition", {}).items()
        for key, wanted in block.items()
    )


def condition_met(operator, key, wanted, context, effect):
    set_prefix, _, plain = operator.rpartition(":")
    if_exists = plain.endswith("ifexists")
    plain = plain.removesuffix("ifexists")
    # A key whose set is empty is not there.
    have = None if context.get(key) == [] else context.get(key)
    if plain == "null":
        return (have is None) == (str(wanted[0]).lower() == "true")
    negated = plain.replace("not", "") in OPERATORS and "not" in plain
    compare = OPERATORS.get(plain.replace("not", "") if negated else plain)
    if compare is None:
        return effect == "Deny"
    if have is None:
        # "ForAnyValue … returns false if there are no matching keys"; ForAllValues returns true.
        return if_exists or set_prefix == "forallvalues" or negated and set_prefix != "foranyvalue"
    wanted = [substitute(str(w), context) for w in wanted]
    hits = [any(compare(w, str(h)) for w in wanted) != negated for h in as_list(have)]
    return all(hits) if set_prefix == "forallvalues" else any(hits)


def trust(document, principals, account, action, context):
    """What a role's trust policy says to a caller: "named" (itself, or everybody), "account" (its account), or None."""
    answer = None
    for effect in ("Deny", "Allow"):
        for statement in statements([document], effect):
            if not one_of(statement, "Action", action.lower(), lambda p: p.lower()) or not conditions_met(statement, context):
                continue
            named = statement.get("Principal", {})
            named = ["*"] if named == "*" else as_list(named.get("AWS", []))
            direct = any(p == "*" or p in principals for p in named)
            whole = any(p in (account, f"arn:aws:iam::{account}:root") for p in named)
            if effect == "Deny" and (direct or whole):
                return None
            if direct:
                answer = "named"
            elif whole and answer is None:
                answer = "account"
    return answer
