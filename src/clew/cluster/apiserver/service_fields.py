"""Fields of a Service that follow from others, from its old state or from the cluster's families. Pure.

As kube-apiserver's service strategy and allocator complete them; see KEP-563 (dual stack) for the families.
"""

from collections.abc import Sequence
from ipaddress import ip_address

from clew.api.objects import Object
from clew.cluster.admission import FieldError

_WITH_NODE_PORTS = frozenset({"NodePort", "LoadBalancer"})
_BOTH = ("IPv4", "IPv6")
_POLICY = "spec.ipFamilyPolicy"


def kind_of(spec: Object) -> str:
    return str(spec.get("type") or "ClusterIP")


def has_addresses(spec: Object) -> bool:
    return kind_of(spec) != "ExternalName"


def is_headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None"


def has_node_ports(spec: Object) -> bool:
    return kind_of(spec) in _WITH_NODE_PORTS


def has_way_in(spec: Object) -> bool:
    """Whether something outside the cluster can reach it, so that a policy for such clients makes sense."""
    return has_node_ports(spec) or (kind_of(spec) == "ClusterIP" and bool(spec.get("externalIPs")))


def wants_node_ports(spec: Object) -> bool:
    """Whether ports that name no node port are to be given one."""
    allocates = kind_of(spec) == "NodePort" or spec.get("allocateLoadBalancerNodePorts") is not False
    return has_node_ports(spec) and allocates


def has_health_port(spec: Object) -> bool:
    return kind_of(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def addresses(spec: Object) -> list[str]:
    """The cluster addresses that a Service names, in their order."""
    if not has_addresses(spec) or is_headless(spec):
        return []
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]


def node_ports(spec: Object) -> list[int]:
    """Every node port that it names, the health check's among them."""
    ports = []
    if has_node_ports(spec):
        ports = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if has_health_port(spec) and spec.get("healthCheckNodePort"):
        ports.append(spec["healthCheckNodePort"])
    return ports


def join_addresses(spec: Object, before: Object | None) -> None:
    """Keep clusterIP and clusterIPs one: the client may have said either, or changed only one of them."""
    old = before or {}
    if not spec.get("clusterIPs") and spec.get("clusterIP") and spec["clusterIP"] == old.get("clusterIP"):
        spec["clusterIPs"] = old.get("clusterIPs")  # of a client that knows no second family
    if not spec.get("clusterIPs"):
        if spec.get("clusterIP"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        return
    if not spec.get("clusterIP") and before is not None and spec["clusterIPs"] == old.get("clusterIPs"):
        del spec["clusterIPs"]  # cleared by its first name
    elif not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]
    elif spec["clusterIP"] != spec["clusterIPs"][0] and spec["clusterIPs"] == old.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"], *spec["clusterIPs"][1:]]


def inherit(new: Object, old: Object) -> None:
    """An update that does not name addresses or ports keeps those it has; a new type drops what the old one had."""
    spec, before = new.get("spec"), old.get("spec") or {}
    if not isinstance(spec, dict):
        return
    join_addresses(spec, before)
    if has_addresses(spec) and has_addresses(before):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(field) and before.get(field):
                spec[field] = before[field]
    if wants_node_ports(spec) and has_node_ports(before):
        _inherit_ports(spec, before)
    if has_health_port(spec) and has_health_port(before) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = before.get("healthCheckNodePort")
    _drop(spec, before)


def _inherit_ports(spec: Object, before: Object) -> None:
    """By the port's name: its number and protocol may have been changed."""
    known = {port.get("name") or "": port.get("nodePort") for port in before.get("ports") or ()}
    taken = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        had = known.get(port.get("name") or "")
        if had and not port.get("nodePort") and had not in taken:
            port["nodePort"] = had


def _drop(spec: Object, before: Object) -> None:
    def forget(*fields: str) -> None:
        for field in fields:
            if spec.get(field) == before.get(field):
                spec.pop(field, None)

    if has_addresses(before) and not has_addresses(spec):
        forget("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if has_node_ports(before) and not has_node_ports(spec):
        had = {port.get("nodePort") for port in before.get("ports") or ()}
        ports = spec.get("ports") or []
        if all(port.get("nodePort") in {None, 0, *had} for port in ports):
            for port in ports:
                port.pop("nodePort", None)
    if has_way_in(before) and not has_way_in(spec):
        forget("externalTrafficPolicy")
    if has_health_port(before) and not has_health_port(spec):
        forget("healthCheckNodePort")
    if kind_of(before) == "LoadBalancer" != kind_of(spec):
        forget("allocateLoadBalancerNodePorts", "loadBalancerClass")


def complete_families(spec: Object, before: Object | None, configured: Sequence[str]) -> list[FieldError]:
    """Fill ipFamilyPolicy and ipFamilies; `configured` are the cluster's families, the primary first."""
    if not has_addresses(spec) or _stays_preferring(spec, before or {}):
        return []
    selectorless = is_headless(spec) and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        inherited = (before or {}).get("ipFamilyPolicy") if before and has_addresses(before) else None
        spec["ipFamilyPolicy"] = inherited or ("RequireDualStack" if selectorless else "SingleStack")
    _narrow(spec, before)
    errors = _contradictions(spec, before) or _infer(spec, configured)
    if errors:
        return errors
    policy = spec["ipFamilyPolicy"]
    if not selectorless:
        errors = _unavailable(spec, configured)
        if errors:
            return errors
    families = list(spec.get("ipFamilies") or configured[:1])
    if policy != "SingleStack" and len(families) == 1 and (selectorless or len(configured) == 2):
        families.append(_BOTH[families[0] == "IPv4"])
    spec["ipFamilies"] = families
    return []


def _stays_preferring(spec: Object, before: Object) -> bool:
    """PreferDualStack follows the cluster when it is asked for, not whenever the service is written."""
    same = all(spec.get(field) and spec[field] == before.get(field) for field in ("ipFamilies", "clusterIPs"))
    return same and spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == "PreferDualStack"


def _narrow(spec: Object, before: Object | None) -> None:
    """To say SingleStack and nothing else lets the second address go."""
    if before is None or spec["ipFamilyPolicy"] != "SingleStack":
        return
    for field in ("clusterIPs", "ipFamilies"):
        if len(spec.get(field) or ()) > 1 and spec[field] == before.get(field):
            spec[field] = spec[field][:1]


def _contradictions(spec: Object, before: Object | None) -> list[FieldError]:
    policy = spec["ipFamilyPolicy"]
    found: list[FieldError] = []
    for field, words, one in (
        ("clusterIPs", "cluster IPs", "cluster IP"),
        ("ipFamilies", "IP families", "IP family"),
    ):
        count, had = len(spec.get(field) or ()), len((before or {}).get(field) or ())
        if policy == "SingleStack" and count == 2:
            why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {words} are specified"
            found.append(FieldError(_POLICY, "FieldValueInvalid", policy, why))
        elif policy != "SingleStack" and 0 < count < had:
            why = f"must be 'SingleStack' to release the secondary {one}"
            found.append(FieldError(_POLICY, "FieldValueInvalid", policy, why))
    return found


def _infer(spec: Object, configured: Sequence[str]) -> list[FieldError]:
    """Families from the addresses that are named."""
    families = list(spec.get("ipFamilies") or ())
    for at, ip in enumerate(addresses(spec)):
        try:
            family = f"IPv{ip_address(ip).version}"
        except ValueError:
            text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            return [FieldError(f"spec.clusterIPs[{at}]", "FieldValueInvalid", ip, text)]
        if at < len(families):
            if families[at] != family:
                text = f"expected an {family} value as indicated by `ipFamilies[{at}]`"
                text = text.replace(family, families[at])
                return [FieldError(f"spec.clusterIPs[{at}]", "FieldValueInvalid", ip, text)]
        elif family not in configured:
            text = f"{family} is not configured on this cluster"
            return [FieldError(f"spec.clusterIPs[{at}]", "FieldValueInvalid", spec["clusterIPs"], text)]
        else:
            families.append(family)
    if families:
        spec["ipFamilies"] = families
    return []


def _unavailable(spec: Object, configured: Sequence[str]) -> list[FieldError]:
    found: list[FieldError] = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(configured) < 2:
        why = "this cluster is not configured for dual-stack services"
        found.append(FieldError(_POLICY, "FieldValueInvalid", spec["ipFamilyPolicy"], why))
    for at, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in configured:
            found.append(
                FieldError(f"spec.ipFamilies[{at}]", "FieldValueInvalid", family, "not configured on this cluster")
            )
    return found
