"""An IPAddress object for every cluster address that a Service has, as kube-apiserver keeps them (KEP-1880).

The Services are the truth: objects follow what is stored of them, a moment later. ServiceCIDRs on their way out wait
here for the last of their addresses. Run by the server's chores.
"""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address

from clew.api.kinds import IP_ADDRESS, SERVICE_CIDR
from clew.api.objects import Object
from clew.cluster.apiserver.address_book import FINALIZER, AddressBook, Owner, condition
from clew.cluster.apiserver.errors import ApiRefusal
from clew.cluster.apiserver.registry import Registry
from clew.cluster.apiserver.state import Writer

OURS = "ipallocator.k8s.io"
MANAGED_BY, FAMILY = "ipaddress.kubernetes.io/managed-by", "ipaddress.kubernetes.io/ip-family"
AT_ONCE = 200  # objects written side by side, so that they share commits
_STILL = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


async def write(book: AddressBook, registry: Registry, writer: Writer) -> bool:
    """Make the objects what the Services say; False where some could not be written and are to be looked at again."""
    book.changed.clear()
    for part in _parts(sorted(book.pending)):
        await asyncio.gather(*(_write(ip, book, registry, writer) for ip in part))
    for cidr in registry.state.objects(SERVICE_CIDR):
        if "deletionTimestamp" in cidr["metadata"] and FINALIZER in (cidr["metadata"].get("finalizers") or ()):
            await _let_go(cidr, registry, writer)
    return not book.pending


async def _write(ip: str, book: AddressBook, registry: Registry, writer: Writer) -> None:
    parent = book.parents.get(ip)
    record = registry.state.latest(IP_ADDRESS, "", ip)
    found = record.decode() if record else None
    ours = found is not None and (found["metadata"].get("labels") or {}).get(MANAGED_BY) == OURS
    wanted = _object(ip, parent) if parent else None
    try:
        if ours and (wanted is None or found is None or found["spec"] != wanted["spec"]):
            await registry.deleter.delete(IP_ADDRESS, "", ip, {})
            found = None
        if wanted is not None and found is None:
            await registry.create(IP_ADDRESS, "", wanted, writer)
    except ApiRefusal:
        return  # somebody else has just written it
    if book.parents.get(ip) == parent:
        book.pending.discard(ip)


async def _let_go(cidr: Object, registry: Registry, writer: Writer) -> None:
    name, cidrs = cidr["metadata"]["name"], cidr["spec"]["cidrs"]
    ranges = registry.strategies.pools.ranges
    held = (ip_address(ip) for kind, ip in registry.strategies.pools.held if kind == "IP")
    if any(ranges.only_in(name, cidrs, address) for address in held):
        if (cidr.get("status") or {}).get("conditions", [{}])[0].get("status") != "False":
            cidr["status"] = {"conditions": [condition(registry.state, "False", "Terminating", _STILL)]}
            await registry.update(SERVICE_CIDR, "", name, cidr, writer, "status")
        return
    cidr["metadata"]["finalizers"] = [each for each in cidr["metadata"]["finalizers"] if each != FINALIZER]
    await registry.update(SERVICE_CIDR, "", name, cidr, writer)


def _object(ip: str, parent: Owner) -> Object:
    labels = {FAMILY: f"IPv{ip_address(ip).version}", MANAGED_BY: OURS}
    reference = {"group": "", "resource": "services", "namespace": parent[0], "name": parent[1]}
    reference = {key: value for key, value in reference.items() if value}
    return {"metadata": {"name": ip, "labels": labels}, "spec": {"parentRef": reference}}


def _parts(listed: list[str]) -> Iterable[list[str]]:
    return (listed[start : start + AT_ONCE] for start in range(0, len(listed), AT_ONCE))
