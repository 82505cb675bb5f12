"""Defaults of the kinds that have few."""

import base64

from clew.api.objects import Object
from clew.cluster.admission.defaults.fill import fill, fill_empty, part

_RBAC = "rbac.authorization.k8s.io"


def namespace(obj: Object) -> None:
    fill_empty(part(obj, "spec"), finalizers=["kubernetes"])
    name = (obj.get("metadata") or {}).get("name")
    if name:
        part(part(obj, "metadata"), "labels")["kubernetes.io/metadata.name"] = name


def node(obj: Object) -> None:
    spec = part(obj, "spec")
    if spec.get("podCIDR"):
        fill_empty(spec, podCIDRs=[spec["podCIDR"]])
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    capacity = (obj.get("status") or {}).get("capacity")
    if capacity:
        fill_empty(obj["status"], allocatable=dict(capacity))


def secret(obj: Object) -> None:
    """The texts of stringData are written only: they move to data, over what is there."""
    fill_empty(obj, type="Opaque")
    texts = obj.pop("stringData", None)
    if texts:
        data = part(obj, "data")
        for key, text in texts.items():
            data[key] = base64.b64encode(str(text or "").encode()).decode()


def role_binding(obj: Object) -> None:
    fill_empty(part(obj, "roleRef"), apiGroup=_RBAC)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            fill_empty(subject, apiGroup=_RBAC)


def definition(obj: Object) -> None:
    spec = part(obj, "spec")
    fill_empty(part(spec, "conversion"), strategy="None")
    names = part(spec, "names")
    if names.get("kind"):
        fill_empty(names, singular=names["kind"].lower(), listKind=f"{names['kind']}List")


def event(obj: Object) -> None:
    source = part(obj, "source")
    fill(obj, reportingComponent=source.get("component") or "", reportingInstance=source.get("host") or "")
