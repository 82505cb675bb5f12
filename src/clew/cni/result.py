"""What a CNI call prints: results in the shape of each version, and the error object. Pure; bytes of JSON.

CNI specification 1.1, section 5. What newer versions added (mtu of an interface, the family left out of an address) is
written or not by the version that the configuration asked for.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from clew.base.value import Value
from clew.cni.errors import CniError
from clew.cni.versions import NEWEST, SUPPORTED


class Interface(Value):
    name: str
    mac: str
    mtu: int
    sandbox: str = ""  # path of the namespace; empty on the host


class IP(Value):
    address: str  # with its prefix length
    gateway: str
    interface: int  # place in `interfaces`


class Result(Value):
    """What ADD did."""

    interfaces: tuple[Interface, ...]
    ips: tuple[IP, ...]
    routes: tuple[tuple[str, str], ...]  # destination, gateway
    dns: Mapping[str, Any] = {}

    def document(self, version: str) -> dict[str, Any]:
        """In the shape of `version`, one of versions.SUPPORTED."""
        return {
            "cniVersion": version,
            "interfaces": [_interface(interface, version) for interface in self.interfaces],
            "ips": [_ip(ip, version) for ip in self.ips],
            "routes": [{"dst": destination, "gw": gateway} for destination, gateway in self.routes],
            "dns": dict(self.dns),
        }


def encode(result: Result, version: str) -> bytes:
    """What ADD prints; `version` is one of versions.SUPPORTED."""
    return msgspec.json.encode(result.document(version))


def _interface(interface: Interface, version: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": interface.name, "mac": interface.mac}
    if version == NEWEST and interface.mtu:
        found["mtu"] = interface.mtu
    if interface.sandbox:
        found["sandbox"] = interface.sandbox
    return found


def _ip(ip: IP, version: str) -> dict[str, Any]:
    found: dict[str, Any] = {"address": ip.address, "interface": ip.interface}
    if ip.gateway:
        found["gateway"] = ip.gateway
    if version.startswith("0."):
        found["version"] = "6" if ":" in ip.address else "4"
    return found


def encode_versions() -> bytes:
    return msgspec.json.encode({"cniVersion": NEWEST, "supportedVersions": SUPPORTED})


def encode_error(error: CniError, version: str) -> bytes:
    """The error object; a version that Clew does not speak is answered in the newest that it does."""
    document = {
        "cniVersion": version if version in SUPPORTED else NEWEST,
        "code": int(error.code),
        "msg": error.message,
    }
    if error.details:
        document["details"] = error.details
    return msgspec.json.encode(document)
