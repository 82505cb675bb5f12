"""A request's path as Kubernetes reads it: which resource, where, which object, which part, and the verb. Pure."""

from clew.base.value import Value


class RequestInfo(Value):
    """A resource request; `resource` is empty for paths that are none."""

    verb: str
    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""  # after `…/proxy`: what the program in the pod is asked for


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get", "DELETE": "delete"}
_PARTS_OF_NAMESPACES = {"status", "finalize"}


def read_path(method: str, path: str, *, watch: bool) -> RequestInfo:
    """`/api/v1/namespaces/default/pods/web/log` and its kin; a path that is no resource keeps only its verb."""
    verb = _VERBS.get(method, method.lower())
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return RequestInfo(verb, path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _PARTS_OF_NAMESPACES:
        namespace, rest = rest[1], rest[2:]
    elif rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
    tail = beyond(path, len(parts) - len(rest) + 3) if rest[2:3] == ["proxy"] else ""
    if len(rest) > 3 and not tail:
        return RequestInfo(verb, path)
    resource, name, subresource = (*rest, "", "")[:3]
    if not name:
        verb = {"get": "watch" if watch else "list", "delete": "deletecollection"}.get(verb, verb)
    elif watch and verb == "get" and not subresource:
        verb = "watch"
    return RequestInfo(verb, path, group, version, namespace, resource, name, subresource, tail)


def beyond(path: str, count: int) -> str:
    """What stands after so many names of a path, as it stands there."""
    at = 0
    for _ in range(count):
        while path.startswith("/", at):
            at += 1
        at = path.find("/", at) if "/" in path[at:] else len(path)
    return path[at:]
