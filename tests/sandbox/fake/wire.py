"""How the fake speaks AWS's query protocol: errors, and XML from plain Python values. Knows nothing of IAM."""

import datetime
import uuid
from xml.sax.saxutils import escape

NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}


class AwsError(Exception):
    """An answer that AWS gives instead of a result."""

    def __init__(self, code, message, status=400):
        super().__init__(code, message)
        self.code, self.message, self.status = code, message, status


def invalid(field_name, value, rule):
    raise AwsError("ValidationError", f"1 validation error detected: Value '{value}' at '{field_name}' failed to satisfy constraint: {rule}")


def xml(value):
    """A dict becomes elements, a list `member`s, None nothing; the rest is text."""
    if isinstance(value, dict):
        return "".join(f"<{k}>{xml(v)}</{k}>" for k, v in value.items() if v is not None)
    if isinstance(value, (list, tuple)):
        return "".join(f"<member>{xml(v)}</member>" for v in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return escape(str(value))


def result(service, action, value):
    body = xml({"ResponseMetadata": {"RequestId": uuid.uuid4()}})
    if value is not None:
        body = f"<{action}Result>{xml(value)}</{action}Result>{body}"
    return f'<{action}Response xmlns="{NAMESPACES[service]}">{body}</{action}Response>'.encode()


def error(service, failure):
    kind = "Sender" if failure.status < 500 else "Receiver"
    body = xml({"Error": {"Type": kind, "Code": failure.code, "Message": failure.message}, "RequestId": uuid.uuid4()})
    return f'<ErrorResponse xmlns="{NAMESPACES[service]}">{body}</ErrorResponse>'.encode()


def members(params, name):
    """The list parameter `name` of a query: Tags.member.1.Key=… becomes [{"Key": …}], Names.member.1=… becomes […]."""
    found = {}
    for key, value in params.items():
        head, _, rest = key.partition(".member.")
        if head == name and rest:
            number, _, field = rest.partition(".")
            if field:
                found.setdefault(int(number), {})[field] = value
            else:
                found[int(number)] = value
    return [found[number] for number in sorted(found)]
