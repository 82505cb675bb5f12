"""Finding the names of the Kubernetes DNS specification 1.1.0, one service at a time, when they are asked for.

A name tells which service it belongs to, so nothing is made for a service before somebody asks: 10,000 services cost
no more here than their facts, and one change forgets one service. What was made is remembered in wire form.
"""

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Literal, Protocol

from clew.ir.names import Record
from clew.servers.dns import wire
from clew.servers.dns.zone import Authority, Sets, ancestors, entry

VERSION = "1.1.0"  # of the specification, as dns-version says
_REMEMBERED = 4096  # services whose names are kept in wire form

Key = tuple[str, str]  # namespace, name of a service
Names = dict[bytes, dict[int, tuple[bytes, ...]]]


class Source(Protocol):
    """The cluster, as far as names go. Always current: asked each time, never cached for long."""

    def has_namespace(self, name: str) -> bool: ...

    def records(self, key: Key, domain: str) -> Collection[Record]:
        """Everything that one service gives rise to below `domain`."""
        ...

    def holders(self, ip: str) -> Collection[Key]:
        """The services with a reverse name for the address, those whose cluster IP it is alone if there are any."""
        ...

    def pod_namespaces(self, ip: str) -> Collection[str]:
        """Where a pod with that address is."""
        ...


PodMode = Literal["disabled", "insecure", "verified"]  # pod names: none, for any address, for pods that exist


def pod_address(label: str) -> str:
    """`10-244-1-5` or `fd00--5` to an address; empty where it is none."""
    separator = "." if label.count("-") == 3 and "--" not in label else ":"
    try:
        return str(ip_address(label.replace("-", separator)))
    except ValueError:
        return ""


def reversed_address(labels: list[bytes], apex: bytes) -> str:
    """The address that a whole reverse name below in-addr.arpa or ip6.arpa stands for; empty for another name."""
    parts = [*labels, *wire.labels(apex)[:-2]]
    if apex.endswith(b"\x07in-addr\x04arpa\0"):
        text = b".".join(reversed(parts)).decode("ascii", "replace") if len(parts) == 4 else ""
    else:
        digits = b"".join(reversed(parts)).decode("ascii", "replace")
        whole = len(parts) == 32 and len(digits) == 32
        text = ":".join(digits[at : at + 4] for at in range(0, 32, 4)) if whole else ""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _made(records: Iterable[Record], base: bytes, ttl: int) -> Names:
    """One service's names in wire form, those between them and `base` included."""
    names: dict[bytes, dict[int, list[bytes]]] = {}
    for record in records:
        if record.type != "PTR":
            owner, kind, body = entry(record, ttl)
            names.setdefault(owner, {}).setdefault(kind, []).append(body)
    for name in list(names):
        for between in ancestors(name, base):
            names.setdefault(between, {})
    return {name: {kind: tuple(bodies) for kind, bodies in sets.items()} for name, sets in names.items()}


def _text(label: bytes) -> str:
    return label.decode("ascii", "replace")


class ClusterZone(Authority):
    """`cluster.local`: services, endpoints and pods."""

    def __init__(self, apex: str, ttl: int, source: Source, pods: PodMode) -> None:
        super().__init__(apex, ttl)
        self.domain = apex
        self.source = source
        self.pods = pods
        self.stands_at: Collection[Key] = ()  # the services that lead to this very server
        self.own_ips: Collection[str] = ()
        self.pods_token = b"\3pod" + self.apex
        self._remembered: dict[Key, Names] = {}
        version = Record(f"dns-version.{apex}", "TXT", VERSION)
        self._version = {wire.TXT: (entry(version, ttl)[2],)}

    def forget(self, key: Key) -> None:
        """The service changed."""
        self._remembered.pop(key, None)

    def forget_all(self) -> None:
        self._remembered.clear()

    def _labels(self, lower: bytes) -> list[bytes]:
        return wire.labels(lower[: len(lower) - len(self.apex)] + b"\0")

    def token(self, lower: bytes) -> bytes:
        """All names at and below a service change together, under the service's own name; pods are one crowd."""
        labels = self._labels(lower)
        if labels[-1:] == [b"pod"]:
            return self.pods_token
        if len(labels) <= 3:
            return lower
        return lower[sum(1 + len(label) for label in labels[:-3]) :]

    def service_token(self, key: Key) -> bytes:
        return wire.name_to_wire(f"{key[1]}.{key[0]}.svc.{self.domain}".lower())

    def tokens(self, key: Key) -> set[bytes]:
        """What a service's change is announced under; empty for a name that cannot be written."""
        try:
            return {self.service_token(key)}
        except ValueError:
            return set()

    def find(self, lower: bytes) -> Sets | None:
        match self._labels(lower):
            case [] | [b"svc"] | [b"pod"] | [b"dns"]:
                return {}
            case [b"dns-version"]:
                return self._version
            case [b"ns", b"dns"]:
                return self._own_addresses()
            case [*_, b"svc"] as labels:
                return self._service(labels, lower)
            case [namespace, b"pod"]:
                return {} if self._has_pods(_text(namespace)) else None
            case [label, namespace, b"pod"]:
                return self._pod(_text(label), _text(namespace))
        return None

    def names_of(self, key: Key) -> Names:
        """A service's names in wire form; ValueError where one cannot be written as such."""
        names = self._remembered.get(key)
        if names is None:
            records = self.source.records(key, self.domain)
            if not records:
                return {}  # and not remembered: else whoever asks for what is not there would push out what is
            names = _made(records, self.service_token(key), self.ttl)
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = names
        return names

    def name_servers(self) -> Collection[bytes]:
        found = [self.service_token(key) for key in self.stands_at]
        return found or super().name_servers()

    def _service(self, labels: list[bytes], lower: bytes) -> Sets | None:
        namespace = _text(labels[-2])
        if not self.source.has_namespace(namespace):
            return None
        if len(labels) == 2:
            return {}
        try:
            return self.names_of((namespace, _text(labels[-3]))).get(lower)
        except ValueError:
            return None  # the feed has said which service cannot be named

    def _has_pods(self, namespace: str) -> bool:
        return self.pods != "disabled" and self.source.has_namespace(namespace)

    def _pod(self, label: str, namespace: str) -> Sets | None:
        address = pod_address(label)
        if not address or not self._has_pods(namespace):
            return None
        if self.pods == "verified" and namespace not in self.source.pod_namespaces(address):
            return None
        return self._address_sets([address])

    def _own_addresses(self) -> Sets:
        ips = [
            record.data
            for key in self.stands_at
            for record in self.source.records(key, self.domain)
            if record.type in {"A", "AAAA"} and record.name == f"{key[1]}.{key[0]}.svc.{self.domain}"
        ]
        return self._address_sets(ips or self.own_ips)

    def _address_sets(self, ips: Iterable[str]) -> Mapping[int, Collection[bytes]]:
        found: dict[int, list[bytes]] = {}
        for text in ips:
            ip = ip_address(text)
            kind = wire.AAAA if isinstance(ip, IPv6Address) else wire.A
            found.setdefault(kind, []).append(wire.body(kind, self.ttl, ip.packed))
        return found


class ReverseZone(Authority):
    """`in-addr.arpa`, `ip6.arpa` or a part of one: the names of cluster IPs and endpoints in the first domain."""

    def __init__(self, apex: str, ttl: int, source: Source, domain: str) -> None:
        super().__init__(apex, ttl)
        self.source = source
        self.domain = domain

    def find(self, lower: bytes) -> Sets | None:
        labels = wire.labels(lower[: len(lower) - len(self.apex)] + b"\0")
        if not labels:
            return {}
        ip = reversed_address(labels, self.apex)
        if not ip:
            return None
        pointer = ip_address(ip).reverse_pointer
        bodies = {
            entry(record, self.ttl)[2]: None
            for key in self.source.holders(ip)
            for record in self.source.records(key, self.domain)
            if record.type == "PTR" and record.name == pointer
        }
        return {wire.PTR: tuple(bodies)} if bodies else None
