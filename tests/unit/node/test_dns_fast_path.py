"""The DNS fast path at work on a kernel in memory: when it answers, when it must not, and what follows a change."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from struct import unpack
from typing import Any

import pytest

from clew.base.metrics import Registry
from clew.dataplane.dns_fast_path.apply import LIVE, NAMES, SERVERS, FastPathPlane
from clew.dataplane.netlink.render import host_name
from clew.facts import endpointslice, service
from clew.facts.attachment import Attachment
from clew.facts.corefile import Corefile, decode
from clew.facts.namespace import Namespace
from clew.kernel import bpf
from clew.kernel.bpf.fake import FakeMap
from clew.kernel.errors import KernelError
from clew.kernel.netlink import Add, Link, LinkChanged, Overrun, Plain
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.netlink.values import Filter
from clew.node.dns_fast_path import PATIENCE, RETRY, DnsFastPath, FastPathSettings, FastPathTables
from clew.store.table import Table

PLAIN = ".:53 {\n kubernetes cluster.local in-addr.arpa {\n ttl 7\n }\n}"
POD = Attachment("c1", "eth0", "clew", "/run/netns/c1", ("10.244.1.5/24",), 1500)
LINK = host_name(*POD.key)


class Hands:
    """A clock that the test moves; whoever sleeps wakes when it is late enough."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._moved = asyncio.Event()

    def monotonic(self) -> float:
        return self.time

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    async def sleep(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            await self._moved.wait()

    def move(self, seconds: float) -> None:
        self.time += seconds
        self._moved.set()
        self._moved = asyncio.Event()


class Loaded:
    """What kernel/bpf would have loaded, with maps in memory."""

    def __init__(self, number: int) -> None:
        self.maps = {name: FakeMap(spec) for name, spec in bpf.image("dns").maps.items()}
        self.programs = {"dns": type("Program", (), {"id": number, "fd": number, "name": "dns"})()}
        self.closed = False

    def close(self) -> None:
        self.closed = True


def a_service(name: str, ip: str, where: str = "shop", **spec: Any) -> service.Service:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    return service.from_api({
        "metadata": {"name": name, "namespace": where}, "spec": {"clusterIPs": [ip], "ports": ports, **spec},
    })  # fmt: skip


def a_slice(ip: str) -> endpointslice.EndpointSlice:
    return endpointslice.from_api({
        "metadata": {"name": "d", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "endpoints": [{"addresses": [ip]}],
        "ports": [{"name": "dns", "port": 1053, "protocol": "UDP"}, {"name": "dns-tcp", "port": 1053}],
    })  # fmt: skip


class World:
    """Tables that a test fills, and what came of it in the kernel."""

    def __init__(self) -> None:
        self.tables = FastPathTables(Table(), Table(), Table(), Table(), Table())
        self.kernel = FakeNetlink()
        self.clock = Hands()
        self.loads: list[Loaded] = []
        self.refusals: list[KernelError] = []
        self.registry = Registry()
        self.path = DnsFastPath(
            FastPathSettings(), self.tables, FastPathPlane(self.kernel, self._load), self.clock, self.registry
        )

    def _load(self) -> Any:
        if self.refusals:
            raise self.refusals.pop(0)
        self.loads.append(Loaded(len(self.loads) + 1))
        return self.loads[-1]

    def fill(self, corefile: str = PLAIN) -> None:
        known = self.tables
        known.services.replace({
            ("shop", "web"): a_service("web", "10.96.0.7"),
            ("kube-system", "kube-dns"): a_service("kube-dns", "10.96.0.10", "kube-system"),
        })  # fmt: skip
        known.slices.replace({("kube-system", "d"): a_slice("10.244.2.2")})
        known.namespaces.replace({("", each): Namespace(each) for each in ("shop", "kube-system")})
        known.attachments.replace({POD.key: POD})
        known.corefiles.replace({("kube-system", "coredns"): Corefile("kube-system", "coredns", corefile)})
        self.kernel.request([Add(Link(LINK, Plain("dummy")))])

    @property
    def maps(self) -> dict[str, FakeMap]:
        return self.loads[-1].maps

    def names(self) -> set[str]:
        return {key.rstrip(b"\0").decode("latin-1") for key, _ in self.maps[NAMES].items()}

    def sure(self) -> bool:
        """Whether the program may answer at this moment."""
        if not self.loads:
            return False
        until, _serial = unpack("=Q4s4x", self.maps[LIVE].lookup(bytes(4)) or b"")
        return bool(until > time.monotonic_ns())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another task's work is waited for
            await asyncio.sleep(0.002)


async def in_time(world: World, condition: Callable[[], object]) -> None:
    """The same while time passes: who goes to sleep after a single step forward would sleep for ever."""
    async with asyncio.timeout(30):
        while not condition():
            world.clock.move(RETRY / 4)
            await asyncio.sleep(0.002)


@asynccontextmanager
async def at_work() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.path.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


WEB = "\3web\4shop\3svc"


async def test_from_facts_to_maps_and_filters() -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        assert world.names() >= {WEB, "\4shop\3svc", "\3svc", "\3pod", "\3dns", "\x0ahostmaster"}
        servers = {(key[12:16], int.from_bytes(key[16:18])) for key, _ in world.maps[SERVERS].items()}
        assert servers == {(bytes((10, 96, 0, 10)), 53), (bytes((10, 244, 2, 2)), 1053)}, "TCP is the servers'"
        assert [(each.dev, each.program_id or each.program) for each in world.kernel.filters(LINK)] == [(LINK, 1)]
        page = world.registry.render()
        assert "clew_dns_fast_path_sure 1" in page
        assert 'clew_dns_fast_path_queries_total{result="answered",reason="nxdomain"} 0' in page


@pytest.mark.parametrize("last", ["services", "slices", "namespaces", "corefiles"])
async def test_nothing_is_answered_before_every_list_is_complete(last: str) -> None:
    async with at_work() as world:
        table = getattr(world.tables, last)
        replaced: list[Any] = []
        table.replace, real = replaced.append, table.replace
        world.fill()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not world.sure()
        real(*replaced)
        await until(world.sure)


async def test_a_change_touches_its_own_entries() -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        world.maps[NAMES].update(b"\7foreign".ljust(128, b"\0"), bytes(24))
        world.tables.services.put(("shop", "new"), a_service("new", "10.96.0.8"))
        await until(lambda: "\3new\4shop\3svc" in world.names())
        world.tables.services.put(("shop", "web"), None)
        await until(lambda: WEB not in world.names())
        assert "\7foreign" in world.names(), "nothing else was written, or looked at"
        world.tables.namespaces.put(("", "shop"), None)
        await until(lambda: not any("shop" in each for each in world.names()))
        assert len(world.loads) == 1


async def test_what_somebody_else_wrote_goes_when_it_is_read_back() -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        world.maps[NAMES].update(b"\7foreign".ljust(128, b"\0"), bytes(24))
        world.path.notice([Overrun()])
        await until(lambda: "\7foreign" not in world.names())


async def test_a_corefile_that_is_not_plain_ends_it_and_a_plain_one_begins_it_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        strange = PLAIN.replace("}\n}", "}\n hosts {\n 192.0.2.1 web.shop.svc.cluster.local\n }\n}")
        world.tables.corefiles.put(("kube-system", "coredns"), Corefile("kube-system", "coredns", strange))
        await until(lambda: not world.kernel.filters(LINK))
        assert world.loads[0].closed
        assert "'hosts' stands in the same server block" in caplog.text
        world.tables.corefiles.put(("kube-system", "coredns"), Corefile("kube-system", "coredns", PLAIN))
        await until(lambda: len(world.loads) == 2 and world.sure())
        assert WEB in world.names()
        other = Corefile("kube-system", "coredns", PLAIN.replace("cluster.local", "other.test"))
        world.tables.corefiles.put(("kube-system", "coredns"), other)
        await until(lambda: len(world.loads) == 3 and world.sure() and world.loads[1].closed)
        world.tables.corefiles.put(("kube-system", "coredns"), None)
        await until(lambda: not world.kernel.filters(LINK))
        assert "has no Corefile" in caplog.text


async def test_unheard_for_long_it_is_not_sure() -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        world.path.heard("services", False)
        world.path.heard("services", False)
        world.clock.move(PATIENCE / 2)
        await until(lambda: world.clock.time and world.sure())
        await in_time(world, lambda: not world.sure())
        world.path.heard("services", True)
        await in_time(world, world.sure)


async def test_a_kernel_that_refuses_a_name_gets_no_answers_until_it_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        names = world.maps[NAMES]

        def refuse(_entries: object) -> None:
            raise KernelError(errno.E2BIG, "put an entry of the BPF map dns_names")

        names.update_all, real = refuse, names.update_all  # type: ignore[method-assign]
        world.tables.services.put(("shop", "new"), a_service("new", "10.96.0.8"))
        said = "by the servers alone for now: put an entry of the BPF map dns_names"
        await until(lambda: said in caplog.text and not world.sure())
        names.update_all = real  # type: ignore[method-assign]
        await in_time(world, lambda: world.sure() and "\3new\4shop\3svc" in world.names())


async def test_a_kernel_that_does_not_take_the_program_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async with at_work() as world:
        world.refusals = [KernelError(errno.EPERM, "load the program dns")] * 2
        world.fill()
        await in_time(world, world.sure)
        assert caplog.text.count("load the program dns") == 1, "said once"
        other = Corefile("kube-system", "coredns", PLAIN.replace("cluster.local", "other.test"))
        world.refusals = [KernelError(errno.EPERM, "load the program dns")] * 2
        world.tables.corefiles.put(("kube-system", "coredns"), other)
        await in_time(world, lambda: len(world.loads) == 2 and world.sure())
        assert world.loads[0].closed
        assert 'reason="nodata"} 0' in world.registry.render()


async def test_a_link_that_refuses_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with at_work() as world:
        world.kernel.refuse = lambda request: errno.EINVAL if isinstance(getattr(request, "thing", None), Filter) else 0
        world.fill()
        await until(lambda: "DNS fast path: add" in caplog.text)
        assert world.sure()
        world.kernel.refuse = lambda _request: 0
        await in_time(world, lambda: world.kernel.filters(LINK))


async def test_links_follow_attachments_and_come_again() -> None:
    async with at_work() as world:
        world.fill()
        await until(world.sure)
        second = Attachment("c2", "eth0", "clew", "/run/netns/c2", ("10.244.1.6/24",), 1500)
        world.tables.attachments.put(second.key, second)  # its link is not there yet
        name = host_name(*second.key)
        link = Link(name, Plain("dummy"))
        world.kernel.request([Add(link)])
        made = world.kernel.link(name)
        assert made is not None
        world.path.notice([LinkChanged(made, gone=False)])
        await until(lambda: world.kernel.filters(name))
        world.tables.attachments.put(second.key, None)
        await until(lambda: not world.kernel.filters(name))
        assert world.kernel.filters(LINK)


def test_a_config_map_is_its_corefile() -> None:
    raw = b'{"metadata": {"name": "coredns", "namespace": "kube-system"}, "data": {"Corefile": "x", "other": "y"}}'
    assert decode(raw) == (("kube-system", "coredns"), Corefile("kube-system", "coredns", "x"))
    assert decode(b'{"metadata": {"name": "a", "namespace": "b"}}')[1] == Corefile("b", "a", "")


@pytest.fixture(autouse=True)
def heard_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("INFO"):
        yield
