"""A Pod, trimmed to who holds which address. A pod that is over or being deleted holds none.

Called by reflectors (`decode`) for the DNS server's feed, and by node/ipam/ledger.py (`still_there`).
"""

import msgspec

from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial

_OVER = frozenset({"Succeeded", "Failed", "Unknown"})


class Pod(Value):
    namespace: str
    name: str
    ips: tuple[str, ...]


class _Meta(Partial):
    name: str
    namespace: str = ""
    deletion_timestamp: str | None = None


class _IP(Partial):
    ip: str = ""


class _Status(Partial):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: list[_IP] | None = msgspec.field(default=None, name="podIPs")


class _Pod(Partial):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


def decode(data: bytes) -> tuple[tuple[str, str], Pod | None]:
    """For a reflector: key and fact."""
    pod = decode_partial(data, _Pod)
    meta, status = pod.metadata, pod.status
    key = meta.namespace, meta.name
    if status.phase in _OVER or meta.deletion_timestamp:
        return key, None
    return key, Pod(*key, _ips(status))


def still_there(data: bytes) -> Pod:
    """Whatever has become of it: as long as the API server has a Pod, it may not have let go of its addresses."""
    pod = decode_partial(data, _Pod)
    return Pod(pod.metadata.namespace, pod.metadata.name, _ips(pod.status))


def _ips(status: _Status) -> tuple[str, ...]:
    return tuple(each.ip for each in status.pod_ips or () if each.ip) or tuple(filter(None, (status.pod_ip,)))
