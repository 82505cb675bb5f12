"""What the plugins before ours in a chain have made, or our own ADD a while ago: `prevResult`, of any version. Pure.

An ADD hands it on with our own part behind it; CHECK holds the pod against it. CNI specification 1.1, section 2: a
plugin must pass it through or modify it, and CHECK must consult it. Called by cni/request.py and node/cni_calls.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from clew.base.value import Value
from clew.cni.errors import CniError, Code
from clew.cni.result import IP, Result
from clew.cni.versions import NEWEST

_LATER = {  # what came with 1.1.0
    "interfaces": ("mtu", "socketPath", "pciID"),
    "ips": (),
    "routes": ("mtu", "advmss", "priority", "table", "scope"),
}


class Previous(Value):
    """As it came: entries that somebody else made hold whatever they hold."""

    interfaces: tuple[dict[str, Any], ...] = ()
    ips: tuple[dict[str, Any], ...] = ()
    routes: tuple[dict[str, Any], ...] = ()
    dns: Mapping[str, Any] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """With their lengths."""
        return tuple(str(entry.get("address", "")) for entry in self.ips)

    def problem(self, ifname: str, sandbox: str, addresses: Sequence[str]) -> str:
        """What of ours it does not say; empty where it says all."""
        if missing := sorted(set(addresses) - set(self.addresses)):
            return f"prevResult does not say {', '.join(missing)}"
        entry = self._pod_end(ifname)
        if entry is None:
            return f"prevResult says no interface {ifname} in a sandbox"
        said = entry["sandbox"]
        return "" if said == sandbox else f"prevResult's sandbox of {ifname} is {said!r}, and CNI_NETNS {sandbox!r}"

    def mac(self, ifname: str) -> str:
        """The pod's hardware address, which a later plugin may have chosen; empty where it is not said."""
        return str((self._pod_end(ifname) or {}).get("mac") or "").lower()

    def _pod_end(self, ifname: str) -> dict[str, Any] | None:
        """Of the pod's interfaces the one of this name."""
        return next((each for each in self.interfaces if each.get("name") == ifname and each.get("sandbox")), None)


class _Previous(msgspec.Struct):
    interfaces: list[dict[str, Any]] = []
    ips: list[dict[str, Any]] = []
    routes: list[dict[str, Any]] = []
    dns: dict[str, Any] = {}


def read(result: dict[str, Any] | None) -> Previous | None:
    """None where there is none; CniError (7) where it is no result."""
    if result is None:
        return None
    try:
        found = msgspec.convert(result, _Previous)
    except msgspec.ValidationError as wrong:
        raise CniError(Code.INVALID_CONFIGURATION, "prevResult is no result of a plugin", str(wrong)) from wrong
    return Previous(tuple(found.interfaces), tuple(found.ips), tuple(found.routes), found.dns)


def behind(earlier: Previous, ours: Result, version: str) -> bytes:
    """What ADD prints in a chain, in the shape of `version`: theirs first, for their interfaces keep their places."""
    place = len(earlier.interfaces)
    moved = Result(
        ours.interfaces,
        tuple(IP(ip.address, ip.gateway, ip.interface + place) for ip in ours.ips),
        ours.routes,
        ours.dns or earlier.dns,
    )
    document = moved.document(version)
    theirs = {"interfaces": earlier.interfaces, "ips": earlier.ips, "routes": earlier.routes}
    for name, entries in theirs.items():
        unknown = () if version == NEWEST else _LATER[name]
        known = [{key: value for key, value in entry.items() if key not in unknown} for entry in entries]
        document[name] = [*(_family(entry, version) if name == "ips" else entry for entry in known), *document[name]]
    return msgspec.json.encode(document)


def _family(ip: dict[str, Any], version: str) -> dict[str, Any]:
    """Until 1.0.0 each address said its family."""
    bare = {key: value for key, value in ip.items() if key != "version"}
    return {**bare, "version": "6" if ":" in str(ip.get("address")) else "4"} if version.startswith("0.") else bare
