"""A ServiceCIDR, trimmed to its ranges: cluster addresses of Services come from them (KEP-1880).

It counts for as long as it exists, whether or not it is ready to give addresses away, as with kube-proxy. Called by
reflectors (`decode`); read by the service proxy. Source: networking.k8s.io/v1 ServiceCIDR.
"""

import msgspec

from clew.base.addresses import network
from clew.base.value import Value
from clew.facts.partial import Name, Partial, decode_partial


class ServiceCidr(Value):
    name: str
    cidrs: tuple[str, ...]  # at most one a family; what is no range, or every address there is, is left out


class _Spec(Partial):
    cidrs: list[str] | None = None


class _ServiceCidr(Partial):
    metadata: Name
    spec: _Spec = msgspec.field(default_factory=_Spec)


def decode(data: bytes) -> tuple[tuple[str, str], ServiceCidr | None]:
    """For a reflector: key and fact."""
    obj = decode_partial(data, _ServiceCidr)
    name = obj.metadata.name
    return ("", name), ServiceCidr(name, tuple(filter(_is_range, obj.spec.cidrs or ())))


def _is_range(text: str) -> bool:
    try:
        return network(text).prefixlen > 0
    except ValueError:
        return False
