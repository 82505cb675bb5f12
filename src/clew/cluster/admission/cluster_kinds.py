"""The rules of the kinds that describe the cluster itself: namespaces, nodes, leases, events, service accounts.

Source of rules and texts: k8s.io/kubernetes pkg/apis/core/validation and pkg/apis/coordination/validation.
"""

from collections.abc import Iterator

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import (
    FieldError,
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    one_of,
    required,
)
from clew.cluster.admission.pods.placement import EFFECTS


def namespace_errors(obj: Object) -> Iterator[FieldError]:
    for index, finalizer in enumerate((obj.get("spec") or {}).get("finalizers") or []):
        yield from each_invalid(f"spec.finalizers[{index}]", finalizer, names.qualified(finalizer))


def node_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    several = spec.get("podCIDRs") or []
    for index, text in enumerate(_pod_cidrs(spec)):
        yield from each_invalid(f"spec.podCIDRs[{index}]", text, names.cidr(text))
    if several and spec.get("podCIDR") and several[0] != spec["podCIDR"]:
        yield invalid("spec.podCIDRs[0]", several[0], "must contain the same value as podCIDR")
    if len(several) > 1 and len({":" in text for text in several}) != len(several):
        yield invalid("spec.podCIDRs", several, "may specify no more than one CIDR for each IP family")
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or []):
        at = f"spec.taints[{index}]"
        key, value = taint.get("key") or "", taint.get("value") or ""
        yield from each_invalid(f"{at}.key", key, names.qualified(key))
        yield from each_invalid(f"{at}.value", value, names.label_value(value))
        yield from one_of(f"{at}.effect", taint.get("effect"), EFFECTS)
        if (key, taint.get("effect", "")) in seen:
            yield duplicate(at, taint)
        seen.add((key, taint.get("effect", "")))


def _pod_cidrs(spec: Object) -> list[str]:
    return spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])


def node_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if _pod_cidrs(before) and _pod_cidrs(after) != _pod_cidrs(before):
        yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        yield forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def service_account_errors(obj: Object) -> Iterator[FieldError]:
    for field in ("imagePullSecrets", "secrets"):
        for index, reference in enumerate(obj.get(field) or []):
            if not reference.get("name"):
                yield required(f"{field}[{index}].name")


def lease_errors(obj: Object) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
    if spec.get("holderIdentity") == "":
        yield invalid("spec.holderIdentity", "", "must not be empty")


def event_errors(obj: Object) -> Iterator[FieldError]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    field = "involvedObject" if "regarding" not in obj else "regarding"
    namespace = (obj.get("metadata") or {}).get("namespace") or ""
    if about.get("namespace"):
        if about["namespace"] != namespace:
            yield invalid(f"{field}.namespace", about["namespace"], "does not match event.namespace")
    elif namespace not in ("default", "kube-system", ""):
        yield invalid(f"{field}.namespace", "", "does not match event.namespace")
    if obj.get("eventTime"):
        for name, most in (("reason", 128), ("reportingInstance", 128)):
            if len(obj.get(name) or "") > most:
                yield invalid(name, obj[name], f"can have at most {most} characters")


def token_request_errors(obj: Object) -> Iterator[FieldError]:
    """A body posted to serviceaccounts/token."""
    seconds = (obj.get("spec") or {}).get("expirationSeconds")
    if seconds is not None and seconds < 600:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds is not None and seconds > 1 << 32:
        yield invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
