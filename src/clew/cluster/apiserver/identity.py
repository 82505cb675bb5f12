"""Who asks: a client certificate's subject, and the user somebody asks to act as.

Service account tokens are next door; whoever has neither is refused, there is no anonymous user.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from clew.base.value import Value
from clew.cluster.apiserver.errors import ApiRefusal, bad_request
from clew.cluster.apiserver.rbac import Attributes, Subject

AUTHENTICATED = "system:authenticated"
_EXTRA = "Impersonate-Extra-"


class Identity(Value):
    """A user as RBAC and reviews know it."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def subject(self) -> Subject:
        return Subject(self.name, self.groups)


def unauthorized() -> ApiRefusal:
    return ApiRefusal(401, "Unauthorized", "Unauthorized")


def from_certificate(peer: Mapping[str, Any]) -> Identity | None:
    """CN is the user and each O a group (`ssl.SSLSocket.getpeercert` form; the TLS layer has verified the chain)."""
    names: dict[str, list[str]] = {}
    for relative in peer.get("subject", ()):
        for kind, value in relative:
            names.setdefault(kind, []).append(value)
    if not names.get("commonName"):
        return None
    return Identity(names["commonName"][0], (*names.get("organizationName", ()), AUTHENTICATED))


def service_account(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def impersonated(request: web.BaseRequest, who: Identity, check: Callable[[Identity, Attributes], None]) -> Identity:
    """Who `--as`, `--as-group` and `--as-uid` name; `check` raises unless `who` may impersonate each of them."""
    headers = request.headers
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    uid = headers.get("Impersonate-Uid", "")
    extra = _extra(headers.items())
    if not name:
        if groups or uid or extra:
            raise bad_request("requested impersonation of groups, uid or extra without impersonating a user")
        return who
    account = name.split(":") if name.startswith("system:serviceaccount:") else []
    if len(account) == 4:
        check(who, Attributes("impersonate", "", "serviceaccounts", namespace=account[2], name=account[3]))
        groups = groups or account_groups(account[2])
    else:
        check(who, Attributes("impersonate", "", "users", name=name))
    for group in headers.getall("Impersonate-Group", ()):
        check(who, Attributes("impersonate", "", "groups", name=group))
    review = "authentication.k8s.io"
    if uid:
        check(who, Attributes("impersonate", review, "uids", name=uid))
    for key, values in extra:
        for value in values:
            check(who, Attributes("impersonate", review, "userextras", key, name=value))
    if AUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return Identity(name, groups, uid, extra)


def _extra(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, list[str]] = {}
    for header, value in headers:
        if header.lower().startswith(_EXTRA.lower()):
            found.setdefault(header[len(_EXTRA) :].lower(), []).append(value)
    return tuple((key, tuple(values)) for key, values in found.items())
