"""The rules of ServiceCIDR and IPAddress. Source: k8s.io/kubernetes pkg/apis/networking/validation."""

from collections.abc import Iterator
from ipaddress import ip_network

from clew.api.objects import Object
from clew.cluster.admission import names
from clew.cluster.admission.field_errors import FieldError, each_invalid, invalid, required

_BITS = "must not have bits set beyond the prefix length"
_PAIR = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"


def service_cidr_errors(obj: Object) -> Iterator[FieldError]:
    cidrs: list[str] = (obj.get("spec") or {}).get("cidrs") or []
    if not cidrs:
        yield required("spec.cidrs", "at least one CIDR required")
    if len(cidrs) > 2:
        yield invalid("spec", obj.get("spec"), "may only hold up to 2 values")
    elif len({":" in text for text in cidrs}) != len(cidrs):
        yield invalid("spec", obj.get("spec"), _PAIR)
    for index, text in enumerate(cidrs):
        problems = names.cidr(text)
        if not problems and str(ip_network(text, strict=False).network_address) != text.partition("/")[0].lower():
            problems = [f"{_BITS}, or is not in its canonical form ({ip_network(text, strict=False)})"]
        yield from each_invalid(f"spec.cidrs[{index}]", text, problems)


def service_cidr_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    """A second family may join; nothing else changes."""
    after, before = (list((obj.get("spec") or {}).get("cidrs") or ()) for obj in (new, old))
    for index, text in enumerate(before):
        if index >= len(after) or after[index] != text:
            yield invalid(f"spec.cidrs[{index}]", after[index] if index < len(after) else None, "field is immutable")


def ip_address_errors(obj: Object) -> Iterator[FieldError]:
    name = obj["metadata"].get("name") or ""
    address = names.parse_ip(name)
    if address is None:
        yield invalid("metadata.name", name, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
    elif str(address) != name:
        yield invalid("metadata.name", name, f'must be in canonical form ("{address}")')
    parent = (obj.get("spec") or {}).get("parentRef")
    if not parent:
        yield required("spec.parentRef")
        return
    for field in ("resource", "name"):
        if not parent.get(field):
            yield required(f"spec.parentRef.{field}")


def ip_address_update_errors(new: Object, old: Object) -> Iterator[FieldError]:
    after, before = ((obj.get("spec") or {}).get("parentRef") for obj in (new, old))
    if after != before:
        yield invalid("spec.parentRef", after, "field is immutable")
