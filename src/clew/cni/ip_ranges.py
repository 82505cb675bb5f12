"""The capability `ipRanges`: the ranges among which a runtime wants a pod's addresses, in host-local's words. Pure.

`[[{subnet, rangeStart, rangeEnd}, …], …]`: each list is a choice for one address, so one a family here. Checked by
cni/request.py. Source: containernetworking/cni CONVENTIONS.md, and the `ranges` of the plugin host-local.
"""

from ipaddress import ip_address, ip_network

import msgspec

from clew.base.addresses import Address, Network
from clew.base.value import Value
from clew.cni.errors import CniError, Code

FIELD = "runtimeConfig.ipRanges"


class Range(Value):
    """Checked: from `first` to `last`, bare addresses of one family."""

    first: str
    last: str


class AskedRange(msgspec.Struct):
    subnet: str = ""
    rangeStart: str = ""  # noqa: N815 - the conventions' own names
    rangeEnd: str = ""  # noqa: N815
    gateway: str = ""


def checked(asked: list[list[AskedRange]]) -> dict[int, tuple[Range, ...]]:
    """By family. CniError (7) names the field, (2) a gateway that is not the subnet's first address."""
    found: dict[int, tuple[Range, ...]] = {}
    for place, choice in enumerate(asked):
        field = f"{FIELD}[{place}]"
        pairs = [_range(f"{field}[{at}]", each) for at, each in enumerate(choice)]
        families = {family for family, _ in pairs}
        if len(families) != 1:
            raise _refusal(field, f"{len(pairs)} ranges of {len(families)} families", "ranges of one family")
        family = families.pop()
        if family in found:
            raise _refusal(field, f"one more choice of IPv{family}", f"the only one of IPv{family}")
        found[family] = tuple(each for _, each in pairs)
    return found


def _range(field: str, asked: AskedRange) -> tuple[int, Range]:
    try:
        subnet = ip_network(asked.subnet)
    except ValueError as wrong:
        raise _refusal(f"{field}.subnet", asked.subnet, f"a range as 10.244.1.0/24: {wrong}") from wrong
    first = _inside(f"{field}.rangeStart", asked.rangeStart, subnet) or subnet.network_address
    last = _inside(f"{field}.rangeEnd", asked.rangeEnd, subnet) or subnet.broadcast_address
    if int(first) > int(last):
        raise _refusal(f"{field}.rangeEnd", asked.rangeEnd, f"no less than {first}")
    gateway = _inside(f"{field}.gateway", asked.gateway, subnet)
    if gateway is not None and gateway != subnet.network_address + 1:
        text = f"{field}.gateway is {asked.gateway!r}"
        raise CniError(Code.UNSUPPORTED_FIELD, text, "the agent chooses pods' gateways: leave it out")
    return subnet.version, Range(str(first), str(last))


def _inside(field: str, text: str, subnet: Network) -> Address | None:
    if not text:
        return None
    try:
        found = ip_address(text)
    except ValueError as wrong:
        raise _refusal(field, text, f"an address of {subnet}") from wrong
    if found not in subnet:
        raise _refusal(field, text, f"an address of {subnet}")
    return found


def _refusal(field: str, value: object, rule: str) -> CniError:
    return CniError(Code.INVALID_CONFIGURATION, f"{field} is {str(value)!r}", f"it must be {rule}")
