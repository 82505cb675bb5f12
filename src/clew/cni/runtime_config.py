"""What a runtime asks for one container, beside the network's own configuration: capabilities of the CNI conventions.

`portMappings`, `ips`, `ipRanges`, `mac`, `dns`, `bandwidth` in `runtimeConfig`; `ips` and `mac` in `args.cni`; `IP` and
`MAC` in CNI_ARGS, by which runtimes without capabilities ask. Others are for other plugins. Refusals name the field,
its value and what would be right. Source: containernetworking/cni CONVENTIONS.md; the plugins host-local and bridge.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from typing import Any, Literal

import msgspec

from clew.base.value import Value
from clew.cni.errors import CniError, Code
from clew.cni.ip_ranges import AskedRange

Protocol = Literal["TCP", "UDP", "SCTP"]
PROTOCOLS: dict[str, Protocol] = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}
MOST_PORT = 65535
LEAST_RATE, MOST_RATE = 1000, 10**15  # bits a second, as Kubernetes has them for its annotations
MOST_BURST = 8 * (2**32 - 1)  # bits: a kernel's bucket holds 4 GiB
MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def folded(value: Any) -> Any:
    """With the conventions' spelling of every name below it.

    containerd writes its own types' names, `HostPort` for `hostPort`; plugins in Go never notice, for Go's JSON does
    not tell the two apart.
    """
    if isinstance(value, dict):
        return {_NAMES.get(name.lower(), name): folded(inner) for name, inner in value.items()}
    return [folded(each) for each in value] if isinstance(value, list) else value


class Port(Value):
    """One checked entry of `portMappings`."""

    host_port: int
    container_port: int
    protocol: Protocol = "TCP"
    host_ip: str = ""


class _Port(msgspec.Struct):
    containerPort: int  # noqa: N815 - the conventions' own names
    hostPort: int = 0  # noqa: N815 - 0: nothing is asked of the node
    protocol: str = "tcp"
    hostIP: str = ""  # noqa: N815


class Bandwidth(Value):
    """Checked: bits a second and bits at once, as the pod sees it; 0: no limit, or a burst that nobody chose."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class _Bandwidth(msgspec.Struct):
    ingressRate: int = 0  # noqa: N815 - the conventions' own names
    ingressBurst: int = 0  # noqa: N815
    egressRate: int = 0  # noqa: N815
    egressBurst: int = 0  # noqa: N815


class Dns(msgspec.Struct):
    """The configuration's own, in the names of the specification."""

    nameservers: list[str] = []
    domain: str = ""
    search: list[str] = []
    options: list[str] = []


class _Dns(msgspec.Struct):
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []


class RuntimeConfig(msgspec.Struct):
    portMappings: list[_Port] | None = None  # noqa: N815
    ips: list[str] = []
    mac: str = ""
    dns: _Dns | None = None
    bandwidth: _Bandwidth | None = None
    ipRanges: list[list[AskedRange]] = []  # noqa: N815


_NAMES = {
    field.encode_name.lower(): field.encode_name
    for kind in (RuntimeConfig, _Port, _Bandwidth, _Dns, AskedRange)
    for field in msgspec.structs.fields(kind)
}


class _Cni(msgspec.Struct):
    ips: list[str] = []
    mac: str = ""


class Args(msgspec.Struct):
    cni: _Cni = msgspec.field(default_factory=_Cni)


def ports(asked: RuntimeConfig) -> tuple[Port, ...]:
    """Checked mappings; one without a host port asks for nothing. CniError (7) names the field."""
    return tuple(
        _port(f"runtimeConfig.portMappings[{place}]", port)
        for place, port in enumerate(asked.portMappings or ())
        if port.hostPort
    )


def _port(field: str, port: _Port) -> Port:
    for name, number in (("hostPort", port.hostPort), ("containerPort", port.containerPort)):
        if not 1 <= number <= MOST_PORT:
            raise _refusal(f"{field}.{name}", number, f"1 to {MOST_PORT}")
    protocol = PROTOCOLS.get(port.protocol.lower() or "tcp")
    if protocol is None:
        raise _refusal(f"{field}.protocol", port.protocol, "tcp, udp or sctp")
    host_ip = ""
    if port.hostIP:
        try:
            chosen = ip_address(port.hostIP)
        except ValueError:
            raise _refusal(f"{field}.hostIP", port.hostIP, "an address of the node, or empty") from None
        host_ip = str(getattr(chosen, "ipv4_mapped", None) or chosen)  # ::ffff:10.0.0.1 is 10.0.0.1, as in Go
    return Port(port.hostPort, port.containerPort, protocol, host_ip)


def ips(asked: RuntimeConfig, args: Args, words: Mapping[str, str]) -> tuple[str, ...]:
    """Bare addresses, at most one a family; a length that is given along with one is the pool's business.

    `words` are CNI_ARGS. A runtime may say the same in more than one place, as ocicni does.
    """
    listed = [("ips", each) for each in (*asked.ips, *args.cni.ips)]
    listed += [("CNI_ARGS: IP", each) for each in words.get("IP", "").split(",") if each]
    found: dict[int, str] = {}
    for field, text in listed:
        try:
            chosen = ip_interface(text).ip
        except ValueError:
            raise _refusal(field, text, "an address, with or without a prefix length") from None
        if found.setdefault(chosen.version, str(chosen)) != str(chosen):
            raise _refusal(field, text, f"the only one of IPv{chosen.version}")
    return tuple(found.values())


def mac(asked: RuntimeConfig, args: Args, words: Mapping[str, str]) -> str:
    """In lower case; a group address cannot be a link's own. The first who says one has it, as with `bridge`."""
    said = {"runtimeConfig.mac": asked.mac, "args.cni.mac": args.cni.mac, "CNI_ARGS: MAC": words.get("MAC", "")}
    for field, text in said.items():
        if text and (not MAC.fullmatch(text) or int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16)):
            raise _refusal(field, text, "a unicast hardware address such as 02:00:00:00:00:07")
    return next((text.lower() for text in said.values() if text), "")


def bandwidth(asked: RuntimeConfig) -> Bandwidth:
    """CniError (7) names the field."""
    found = asked.bandwidth
    if found is None:
        return Bandwidth()
    pairs = (("ingress", found.ingressRate, found.ingressBurst), ("egress", found.egressRate, found.egressBurst))
    for word, rate, burst in pairs:
        field = f"runtimeConfig.bandwidth.{word}"
        if rate and not LEAST_RATE <= rate <= MOST_RATE:
            raise _refusal(f"{field}Rate", rate, f"0, or {LEAST_RATE} to {MOST_RATE} bits a second")
        if not 0 <= burst <= MOST_BURST:
            raise _refusal(f"{field}Burst", burst, f"0, or a number of bits up to {MOST_BURST}")
        if burst and not rate:
            raise _refusal(f"{field}Burst", burst, f"0 where there is no {word}Rate")
    return Bandwidth(found.ingressRate, found.ingressBurst, found.egressRate, found.egressBurst)


def dns(asked: RuntimeConfig) -> dict[str, Any]:
    """As a result shows it; empty where nothing is asked."""
    found = asked.dns
    return {} if found is None else shown(Dns(found.servers, "", found.searches, found.options))


def shown(found: Dns) -> dict[str, Any]:
    """As a result shows it."""
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value}


def _refusal(field: str, value: object, rule: str) -> CniError:
    return CniError(Code.INVALID_CONFIGURATION, f"{field} is {str(value)!r}", f"it must be {rule}")
