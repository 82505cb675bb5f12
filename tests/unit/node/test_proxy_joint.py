"""Two data planes as one mode: who is told what, in which order, also when one of them refuses."""

import asyncio
import errno
from collections.abc import Iterable, Mapping

import pytest

from clew.base.metrics import Measure
from clew.ir.balancing import Balancer, Frontend, Protocol
from clew.ir.proxying import Settings
from clew.kernel.errors import KernelError
from clew.node.proxy_joint import JointBackend

Owner = tuple[str, str]
WEB, DNS = ("default", "web"), ("default", "dns")


def balancer(protocol: Protocol) -> Balancer:
    frontend = Frontend("10.96.0.1", protocol, 53, "internal", "Cluster", None, "spec.clusterIPs[0]")
    return Balancer("default/dns", 4, 0, (), (), (), any_backend=False, frontends=(frontend,))


TCP, UDP = balancer("TCP"), balancer("UDP")


class Plane:
    """A backend that keeps what it was told, and refuses while it is told to."""

    quick = True

    def __init__(self, journal: list[str], name: str) -> None:
        self.settings = Settings(4)
        self.wanted: dict[Owner, list[Balancer]] = {}
        self.applied: dict[Owner, list[Balancer]] = {}
        self.refuses, self.intact = False, True
        self._journal, self._name = journal, name

    def expect(self, changes: Mapping[Owner, Iterable[Balancer]]) -> None:
        self.wanted |= {key: list(balancers) for key, balancers in changes.items()}

    def sync(self, changes: Mapping[Owner, Iterable[Balancer]]) -> object:
        self.expect(changes)
        if self.refuses:
            raise KernelError(errno.EBUSY, self._name)
        if self.wanted:
            self._journal.append(self._name)
        done, self.wanted = bool(self.wanted), {}
        self.applied |= {key: list(balancers) for key, balancers in changes.items()}
        return done

    def settle(self, settings: Settings) -> None:
        self.settings = settings

    def verify(self) -> bool:
        return self.intact

    def prepare(self) -> None: ...
    def tidy(self) -> None: ...
    def remove(self) -> None: ...
    def close(self) -> None: ...
    async def serve(self) -> None: ...
    def measures(self) -> Iterable[Measure]:
        return [Measure(self._name, "", 1)]


class Joint:
    def __init__(self) -> None:
        self.journal: list[str] = []
        self.main, self.tables = Plane(self.journal, "main"), Plane(self.journal, "tables")
        self.both = JointBackend(self.main, self.tables, lambda each: each.frontends[0].protocol == "UDP")


def test_tables_are_told_of_theirs_alone_and_first() -> None:
    joint = Joint()
    assert joint.both.sync({WEB: [TCP], DNS: [UDP, TCP]})
    assert joint.journal == ["tables", "main"]
    assert joint.tables.applied == {DNS: [UDP]}
    assert joint.main.applied == {WEB: [TCP], DNS: [UDP, TCP]}
    joint.journal.clear()
    joint.both.sync({WEB: []})
    assert joint.journal == ["main"]


def test_tables_hear_that_a_service_of_theirs_has_gone_or_is_none_any_more() -> None:
    joint = Joint()
    for without in ([], [TCP]):
        joint.both.sync({DNS: [UDP]})
        joint.both.sync({DNS: without})
        assert joint.tables.applied[DNS] == []
        joint.journal.clear()
        joint.both.sync({DNS: without})
        assert joint.journal == ["main"], "they are told once"


@pytest.mark.parametrize("refusing", ["main", "tables"])
def test_a_refusal_loses_nothing(refusing: str) -> None:
    joint = Joint()
    plane: Plane = getattr(joint, refusing)
    plane.refuses = True
    with pytest.raises(KernelError):
        joint.both.sync({DNS: [UDP]})
    assert (joint.journal == ["tables"]) == (refusing == "main"), "what is led to comes before what leads there"
    plane.refuses = False
    joint.both.sync({})
    assert sorted(joint.journal) == ["main", "tables"]


def test_both_are_asked_and_set() -> None:
    joint = Joint()
    assert joint.both.verify()
    for plane in (joint.main, joint.tables):
        plane.intact = False
        assert not joint.both.verify()
        plane.intact = True
    joint.both.settle(Settings(6))
    assert (joint.main.settings, joint.tables.settings) == (Settings(6), Settings(6))
    assert [each.name for each in joint.both.measures()] == ["main", "tables"]
    asyncio.run(joint.both.serve())
