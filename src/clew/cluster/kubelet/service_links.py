"""The Services a container is told of in its environment: KUBERNETES_SERVICE_HOST, MY_NGINX_SERVICE_PORT.

A sink of a reflector. Rules: the Kubernetes documentation "Accessing the Service", the names Docker's links once had.
"""

import asyncio
from collections.abc import Mapping

import msgspec

from clew.api.objects import Key
from clew.base.value import Value

MASTER = ("default", "kubernetes")


class _Port(msgspec.Struct):
    port: int
    name: str = ""
    protocol: str = "TCP"


class _Spec(msgspec.Struct):
    clusterIP: str = ""  # noqa: N815 - the API's own name
    ports: list[_Port] = []


class _Meta(msgspec.Struct):
    name: str
    namespace: str


class _Service(msgspec.Struct):
    metadata: _Meta
    spec: _Spec


class Link(Value):
    """A Service with an address; ports are (name, number, protocol)."""

    name: str
    address: str
    ports: tuple[tuple[str, int, str], ...]


_decoder = msgspec.json.Decoder(_Service)


def decode(data: bytes) -> tuple[Key, Link | None]:
    """The reflector's decoder; None for Services without an address."""
    service = _decoder.decode(data)
    key = (service.metadata.namespace, service.metadata.name)
    address = service.spec.clusterIP
    if address in {"", "None"}:
        return key, None
    return key, Link(key[1], address, tuple((port.name, port.port, port.protocol) for port in service.spec.ports))


class ServiceLinks:
    """All Services with an address, by namespace."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, Link]] = {}
        self.known = asyncio.Event()  # the first list has come: no container starts before it

    def replace(self, items: Mapping[Key, Link]) -> None:
        self._spaces = {}
        for key, link in items.items():
            self.put(key, link)
        self.known.set()

    def put(self, key: Key, fact: Link | None) -> None:
        space = self._spaces.setdefault(key[0], {})
        if fact is None:
            space.pop(key[1], None)
        else:
            space[key[1]] = fact

    def environment(self, namespace: str, *, enabled: bool) -> dict[str, str]:
        """Variables of the namespace's Services (if enabled) and, always, of the API server's."""
        chosen = dict(self._spaces.get(namespace, {})) if enabled else {}
        master = self._spaces.get(MASTER[0], {}).get(MASTER[1])
        if master is not None:
            chosen.setdefault(master.name, master)
        made: dict[str, str] = {}
        for name in sorted(chosen):
            made |= _variables(chosen[name])
        return made


def _variables(link: Link) -> dict[str, str]:
    if not link.ports:
        return {}
    prefix = link.name.upper().replace("-", "_")
    first = link.ports[0]
    made = {f"{prefix}_SERVICE_HOST": link.address, f"{prefix}_SERVICE_PORT": str(first[1])}
    for name, number, _ in link.ports:
        if name:
            made[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(number)
    shown = f"[{link.address}]" if ":" in link.address else link.address
    for position, (_, number, protocol) in enumerate(link.ports):
        word = protocol.lower()
        url = f"{word}://{shown}:{number}"
        if not position:
            made[f"{prefix}_PORT"] = url
        base = f"{prefix}_PORT_{number}_{protocol.upper()}"
        made |= {base: url, f"{base}_PROTO": word, f"{base}_PORT": str(number), f"{base}_ADDR": link.address}
    return made
