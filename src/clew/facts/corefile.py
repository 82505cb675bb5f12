"""A ConfigMap, trimmed to the Corefile in it: what the cluster's DNS servers are told to do."""

import msgspec

from clew.base.value import Value
from clew.facts.partial import Partial, decode_partial


class Corefile(Value):
    namespace: str
    name: str
    text: str  # "" where there is none

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


class _Meta(Partial):
    name: str
    namespace: str = ""


class _Data(Partial):
    corefile: str = msgspec.field(default="", name="Corefile")


class _ConfigMap(Partial):
    metadata: _Meta
    data: _Data | None = None


def decode(data: bytes) -> tuple[tuple[str, str], Corefile | None]:
    """For a reflector: key and fact."""
    found = decode_partial(data, _ConfigMap)
    fact = Corefile(found.metadata.namespace, found.metadata.name, found.data.corefile if found.data else "")
    return fact.key, fact
