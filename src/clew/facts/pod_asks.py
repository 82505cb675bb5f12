"""What a Pod asks of the pod network by annotation, as its users type it: addresses and pools, by Calico's names.

Only a Pod's text is kept; compile/asks.py reads it, so that a refusal names the annotation to the one who wrote it.
Called by reflectors (`decode`, `decode_namespace`) and by node/ipam/lookup.py (`from_api`).
"""

from typing import Any

from clew.base.value import Value
from clew.facts.partial import Labels, Partial, decode_partial

ADDRESSES = "cni.projectcalico.org/ipAddrs"
POOLS = {4: "cni.projectcalico.org/ipv4pools", 6: "cni.projectcalico.org/ipv6pools"}
REFUSED = ("cni.projectcalico.org/ipAddrsNoIpam", "cni.projectcalico.org/floatingIPs")  # off in Calico, too
NAMES = (ADDRESSES, *POOLS.values(), *REFUSED)


class PodAsks(Value):
    namespace: str
    name: str
    uid: str = ""
    annotations: tuple[tuple[str, str], ...] = ()  # those of NAMES that it has
    namespace_labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class _Meta(Partial):
    name: str
    namespace: str = ""
    uid: str = ""
    annotations: Labels = None
    labels: Labels = None


class _Pod(Partial):
    metadata: _Meta


def from_api(obj: bytes | dict[str, Any]) -> PodAsks:
    meta = decode_partial(obj, _Pod).metadata
    said = meta.annotations or {}
    return PodAsks(meta.namespace, meta.name, meta.uid, tuple((name, said[name]) for name in NAMES if name in said))


def decode(data: bytes) -> tuple[tuple[str, str], PodAsks]:
    """For a reflector: key and fact."""
    found = from_api(data)
    return found.key, found


def decode_namespace(data: bytes) -> tuple[tuple[str, str], PodAsks]:
    """For a reflector of Namespaces: what their annotations choose for every Pod in them, and what chooses them."""
    found = from_api(data)
    pools = tuple((name, text) for name, text in found.annotations if name in POOLS.values())
    labels = decode_partial(data, _Pod).metadata.labels or {}
    return ("", found.name), PodAsks(found.name, "", found.uid, pools, tuple(labels.items()))
