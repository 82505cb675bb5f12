"""Which cluster address is which Service's, and which IPAddress objects are to be looked at because of it (KEP-1880).

Written to by the strategies when something is stored; address_objects.py makes the objects what this says.
"""

import asyncio
from ipaddress import ip_address

from clew.api.kinds import IP_ADDRESS, SERVICE
from clew.api.objects import Object
from clew.base.clock import rfc3339
from clew.cluster.apiserver import service_fields as fields
from clew.cluster.apiserver.state import State

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
Owner = tuple[str, str]


class AddressBook:
    """Which Service has which address, and whose objects have to be looked at."""

    def __init__(self, state: State) -> None:
        self.parents: dict[str, Owner] = {}
        self._of: dict[Owner, tuple[str, ...]] = {}
        self.pending: set[str] = {obj["metadata"]["name"] for obj in state.objects(IP_ADDRESS)}
        self.changed = asyncio.Event()
        self.changed.set()
        for service in state.objects(SERVICE):
            self.put(service)

    def put(self, service: Object) -> None:
        """A Service as it is stored now."""
        owner = _owner(service)
        self._assign(owner, tuple(str(ip_address(ip)) for ip in fields.addresses(service.get("spec") or {})))

    def drop(self, service: Object) -> None:
        """A Service that is gone."""
        self._assign(_owner(service), ())

    def look_at(self, *addresses: str) -> None:
        """Somebody touched these objects, or a ServiceCIDR."""
        self.pending.update(addresses)
        self.changed.set()

    def _assign(self, owner: Owner, addresses: tuple[str, ...]) -> None:
        before = self._of.get(owner, ())
        if before == addresses:
            return
        for ip in before:
            if self.parents.get(ip) == owner:
                del self.parents[ip]
        self.parents.update(dict.fromkeys(addresses, owner))
        self._of.pop(owner, None)
        if addresses:
            self._of[owner] = addresses
        self.look_at(*before, *addresses)


def condition(state: State, status: str, reason: str, message: str) -> Object:
    """A ServiceCIDR's one condition."""
    moment = rfc3339(state.clock.now())
    return {"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": moment}


def _owner(service: Object) -> Owner:
    return service["metadata"]["namespace"], service["metadata"]["name"]
