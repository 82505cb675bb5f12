r"""The envelope around a body: `k8s\0`, then runtime.Unknown with the object's apiVersion, kind and bytes."""

from clew.api.objects import Object
from clew.api.protobuf.messages import decode_message, is_known
from clew.api.protobuf.wire import as_bytes, as_text, fields

_MAGIC = b"k8s\0"
# the proto package is the group's first word, but for the groups of the API machinery
_PACKAGES = {"": "core", "rbac.authorization.k8s.io": "rbac", "meta.k8s.io": "meta"}


def decode(body: bytes) -> Object:
    """The object in a protobuf body. ValueError for a body that is none, and for a kind that is not known."""
    if not body.startswith(_MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    for number, part in fields(body[len(_MAGIC) :]):
        if number == 1:
            words = {index: as_text(value) for index, value in fields(as_bytes(part))}
            api_version, kind = words.get(1, ""), words.get(2, "")
        elif number == 2:
            raw = as_bytes(part)
    group, _, version = api_version.rpartition("/")
    package = _PACKAGES.get(group) or group.partition(".")[0]
    message = next((each for each in (f"{package}.{version}.{kind}", f"meta.v1.{kind}") if is_known(each)), "")
    if not message:
        raise ValueError(f'no kind "{kind}" is registered for version "{api_version}" in the protobuf tables')
    return {"apiVersion": api_version, "kind": kind, **decode_message(message, raw)}
