"""Security contexts of pods and containers."""

from collections.abc import Iterator
from typing import Any

from clew.api.objects import Object
from clew.cluster.admission.field_errors import FieldError, forbidden, invalid, one_of, required

_MOST_ID = 2**31 - 1
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")


def pod_security_errors(spec: Object, at: str) -> Iterator[FieldError]:
    context = spec.get("securityContext") or {}
    here = f"{at}.securityContext"
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        yield from _id(context.get(field), f"{here}.{field}")
    for index, group in enumerate(context.get("supplementalGroups") or []):
        yield from _id(group, f"{here}.supplementalGroups[{index}]")
    yield from _profile(context.get("seccompProfile"), f"{here}.seccompProfile", "seccomp")
    for index, sysctl in enumerate(context.get("sysctls") or []):
        if not sysctl.get("name"):
            yield required(f"{here}.sysctls[{index}].name")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{at}.shareProcessNamespace", spec["shareProcessNamespace"], text)
    if spec.get("hostUsers") is False:
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                yield forbidden(f"{at}.{field}", "when `hostUsers` is false")


def security_errors(context: Object, at: str) -> Iterator[FieldError]:
    """A container's own context."""
    for field in ("runAsUser", "runAsGroup"):
        yield from _id(context.get(field), f"{at}.{field}")
    yield from _profile(context.get("seccompProfile"), f"{at}.seccompProfile", "seccomp")
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            yield invalid(at, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        added = (context.get("capabilities") or {}).get("add") or []
        if "CAP_SYS_ADMIN" in added:
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid(at, context, text)


def _id(value: Any, at: str) -> Iterator[FieldError]:
    if value is not None and not 0 <= value <= _MOST_ID:
        yield invalid(at, value, f"must be between 0 and {_MOST_ID}, inclusive")


def _profile(profile: Object | None, at: str, what: str) -> Iterator[FieldError]:
    if profile is None:
        return
    local = profile.get("localhostProfile")
    yield from one_of(f"{at}.type", profile.get("type"), _SECCOMP)
    if profile.get("type") == "Localhost":
        if not local:
            yield required(f"{at}.localhostProfile", f"must be set when {what} type is Localhost")
    elif local is not None:
        yield invalid(f"{at}.localhostProfile", local, f"can only be set when {what} type is Localhost")
