"""CNI calls on a whole node in memory: journal on disk, kernel and pods' namespaces of stand-ins, time held still."""

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clew.base.metrics import Registry
from clew.cni import framing
from clew.compile.asks import Asks, asks
from clew.compile.routes import Between
from clew.dataplane.bandwidth.apply import BandwidthPlane
from clew.dataplane.bird.apply import BirdPlane
from clew.dataplane.bird.homes import OwnBird
from clew.dataplane.hostports.apply import SETS, HostPortPlane
from clew.dataplane.hostports.objects import Place
from clew.dataplane.masquerade.apply import MasqueradePlane
from clew.dataplane.netlink.apply import NetlinkPlane
from clew.dataplane.netlink.objects import LINK_GROUP
from clew.dataplane.overlay.apply import OverlayPlane
from clew.dataplane.overlay.esp import EspEnds
from clew.dataplane.overlay.secure import SecureEnds
from clew.facts.attachment import Linking, PodRef
from clew.facts.node import Node
from clew.facts.pod_asks import PodAsks, decode_namespace
from clew.ir.routes import Encapsulation
from clew.kernel.conntrack import FakeConntrack
from clew.kernel.inside import FakeInside
from clew.kernel.netlink import Add, Address, Delete, Link, Redirect, Request, Route, SetLink, TokenBucket
from clew.kernel.netlink.fake import FakeNetlink
from clew.kernel.nft import FakeNft, NftError
from clew.kernel.sysctl import FakeSysctl
from clew.kernel.wireguard import FakeWireGuard
from clew.kernel.xfrm import FakeXfrm
from clew.node.attachments import Attachments
from clew.node.cni_calls import CniCalls
from clew.node.ipam.lookup import PodLookup
from clew.node.ipam.pod_cidr import PodCidrIpam
from clew.node.ipsec import Identity
from clew.node.journal import Journal
from clew.node.planes import Planes
from clew.node.podnet import PodNetwork
from clew.node.podnet_settings import NetworkSettings
from clew.node.spool import Spool
from clew.store.table import Table
from clew.watch.errors import ApiError, Unreachable

OWN = Node("one", ("172.30.0.11",), pod_cidrs=("10.244.1.0/28",))
TWO = Node("two", ("172.30.0.12",), pod_cidrs=("10.244.2.0/24",))


class StillClock:
    """Time stands still: what waits for it waits until it is cancelled."""

    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    async def sleep(self, _seconds: float) -> None:
        await asyncio.Event().wait()


class Machine:
    """What outlives the agent: kernel, namespaces, disk. `agent()` is one life of it."""

    def __init__(self, folder: Path, *nodes: Node) -> None:
        self.folder = folder
        self.pods = {number: FakeNetlink() for number in range(1, 30)}
        self.kernel = FakeNetlink(self.pods)
        self.nft = FakeNft()
        self.kernel.request([Add(Link("eth0", up=True, mtu=9000)), Add(Address("172.30.0.11/24", "eth0"))])
        self.nodes: Table[Node] = Table("nodes")
        if nodes:
            self.nodes.replace({node.key: node for node in nodes})
        self.asks: Table[PodAsks] = Table("pods")  # what the agent's watch has shown it
        self.namespaces: Table[PodAsks] = Table("namespaces")
        self.namespaces.replace({})
        self.results: dict[str, Any] = {}  # what ADD answered, by container, as a runtime keeps it
        self.server: dict[tuple[str, str], PodAsks] | None = {}  # what the API server says; None: it is away

    async def ask(self, namespace: str, name: str) -> PodAsks:
        if self.server is None:
            raise Unreachable("it", ConnectionRefusedError("Connection refused"))
        if (namespace, name) not in self.server:
            raise ApiError(404, "NotFound", f'pods "{name}" not found')
        return self.server[namespace, name]

    @asynccontextmanager
    async def agent(self, linking: Linking = "bridge") -> AsyncIterator["Agent"]:
        journal = Journal(self.folder / "log", slack=50)
        agent = Agent(self, journal, linking)
        agent.calls.adopt()
        running = asyncio.create_task(agent.network.run())
        try:
            await agent.calls.start()
            yield agent
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            journal.close()

    def aliases(self) -> set[str]:
        return {link.alias for link in self.kernel.links() if link.group == LINK_GROUP}


class Agent:
    def __init__(self, machine: Machine, journal: Journal, linking: Linking) -> None:
        plane = NetlinkPlane(machine.kernel, FakeSysctl(), FakeInside(machine.pods))
        ipam = PodCidrIpam()
        self.attachments = Attachments(journal, ipam)
        identity = Identity(machine.folder / "ipsec", "keys", Table("keys"))
        self.network = PodNetwork(
            NetworkSettings("one", ("10.244.0.0/16",), linking=linking), machine.nodes, self.attachments.table,
            Planes(
                plane, OverlayPlane(
                    machine.kernel, SecureEnds(FakeWireGuard(machine.kernel), str),
                    EspEnds(FakeXfrm(), identity, lambda: 0.0),
                ), identity, BirdPlane(OwnBird(machine.folder / "bird")),
                HostPortPlane(machine.nft, FakeConntrack(), FakeSysctl(), Place("cbr0", 147)),
                MasqueradePlane(machine.nft), BandwidthPlane(machine.kernel),
            ), StillClock(), ipam,
        )  # fmt: skip
        self.registry = Registry()
        self.results = machine.results
        lookup = PodLookup(machine.asks, None, machine.ask)
        self.calls = CniCalls(self.attachments, self.network, Spool(machine.folder / "spool"), lookup, self.registry)

    async def call(
        self, command: str, container: str = "c1", ns: int | None = None, *, ifname: str = "eth0", **config: Any
    ) -> tuple[int, Any]:
        """(0 or the error's code, the document). CHECK gets what ADD answered, as a runtime has it, or `config`'s."""
        if command == "CHECK" and container in self.results:
            config = {"prevResult": self.results[container], **config}
        answer = await self.calls.answer(
            framing.encode_call({**environment(command, container), "CNI_IFNAME": ifname}, configuration(**config)), ns
        )
        found = json.loads(answer[1:]) if len(answer) > 1 else {}
        if command == "ADD" and answer[:1] == b"0":
            self.results[container] = found
        return (found["code"] if answer[:1] == b"1" else 0), found

    async def add(self, number: int) -> tuple[int, Any]:
        return await self.call("ADD", f"c{number}", number)


def environment(command: str, container: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_NETNS": f"/ns/{container}", "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin", "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}",
    }  # fmt: skip


def configuration(**more: Any) -> bytes:
    return json.dumps({"cniVersion": "1.1.0", "name": "clew", "type": "clew-cni", **more}).encode()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, OWN, TWO)


async def test_a_life(machine: Machine) -> None:
    async with machine.agent() as agent:
        assert await agent.call("STATUS") == (0, {})
        code, result = await agent.add(1)
        assert code == 0
        assert result["ips"][0]["address"] == "10.244.1.2/28"
        assert result["interfaces"][2]["mtu"] == 9000, "as much as the way to the other nodes takes"
        assert machine.aliases() == {"c1/eth0"}
        assert await agent.call("CHECK", ns=1) == (0, {})
        assert [route.destination for route in machine.kernel.routes(proto=147)] == ["10.244.2.0/24"]
        assert "10.244.1.0/28" in (machine.nft.listing("inet", "clew-pods") or "")
        assert 'clew_ipam_addresses_in_use{family="IPv4"} 1' in agent.registry.render()
        assert await agent.call("DEL") == (0, {})
        assert machine.aliases() == set()
        assert await agent.call("DEL") == (0, {})


async def test_before_the_nodes_are_known(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    async with machine.agent() as agent:
        code, error = await agent.call("STATUS")
        assert (code, error["details"]) == (50, "the list of nodes has not arrived from the API server")
        assert (await agent.add(1))[0] == 11
        assert not agent.network.ready.is_set()
        machine.nodes.replace({TWO.key: TWO})
        machine.nodes.put(OWN.key, Node("one", ("172.30.0.11",)))
        await agent.network.settled(("any", "eth0"))
        assert "no usable spec.podCIDRs" in (await agent.call("STATUS"))[1]["details"]
        machine.nodes.put(OWN.key, OWN)
        await agent.network.ready.wait()
        assert (await agent.add(1))[0] == 0


async def test_links_outlive_an_agent_that_cannot_reach_the_api(machine: Machine) -> None:
    async with machine.agent() as agent:
        await agent.add(1)
        await agent.add(2)
    machine.nodes = Table("nodes")  # a new life, and no list yet
    async with machine.agent() as agent:
        assert machine.aliases() == {"c1/eth0", "c2/eth0"}
        assert [route.destination for route in machine.kernel.routes(proto=147)] == ["10.244.2.0/24"], "nothing swept"
        assert (await agent.call("CHECK", "c1", 1))[0] == 0
        assert (await agent.call("DEL", "c1"))[0] == 0
        assert machine.aliases() == {"c2/eth0"}


async def test_addresses_of_links_that_went_while_nobody_looked_are_free(machine: Machine) -> None:
    async with machine.agent() as agent:
        for number in (1, 2, 3):
            await agent.add(number)
    host = {link.alias: link.name for link in machine.kernel.links()}
    machine.kernel.request([Delete(Link(host["c1/eth0"])), SetLink(host["c2/eth0"], alias="")])
    async with machine.agent() as agent:
        assert set(agent.attachments.attached()) == {("c3", "eth0")}
        assert machine.aliases() == {"c3/eth0"}
        assert (await agent.call("CHECK", "c1", 1))[0] == 3


@pytest.mark.parametrize("number", [errno.EBUSY, errno.ENOBUFS])
async def test_a_failed_add_leaves_nothing(machine: Machine, number: int) -> None:
    async with machine.agent() as agent:
        machine.pods[1].refuse = lambda request: number if isinstance(request, Add) else 0
        code, error = await agent.add(1)
        assert code == 102
        assert errno.errorcode[number] in error["details"]
        assert machine.aliases() == set()
        assert agent.attachments.attached() == set()
        machine.pods[1].refuse = lambda _request: 0
        code, result = await agent.add(1)
        assert (code, result["ips"][0]["address"]) == (0, "10.244.1.3/28")


async def test_a_link_that_the_kernel_keeps_keeps_its_address(machine: Machine) -> None:
    async with machine.agent() as agent:
        await agent.add(1)
        machine.kernel.refuse = lambda request: errno.EBUSY if isinstance(request, SetLink) and request.group else 0
        assert (await agent.call("DEL"))[0] == 102
        assert len(agent.attachments.attached()) == 1
        machine.kernel.refuse = lambda _request: 0
        assert (await agent.call("DEL"))[0] == 0
        assert len(agent.attachments.attached()) == 0


async def test_calls_for_one_container_follow_each_other(machine: Machine) -> None:
    async with machine.agent() as agent:
        codes = await asyncio.gather(*(agent.add(1) for _ in range(5)))
        assert sorted(code for code, _ in codes) == [0, 100, 100, 100, 100]
        codes = await asyncio.gather(agent.add(2), agent.call("DEL", "c2"), agent.add(2))
        assert [code for code, _ in codes] == [0, 0, 0]
        assert machine.aliases() == {"c1/eth0", "c2/eth0"}


async def test_all_at_once_until_the_range_is_used_up(machine: Machine) -> None:
    async with machine.agent() as agent:
        answers = await asyncio.gather(*(agent.add(number) for number in range(1, 21)))
        given = [result["ips"][0]["address"] for code, result in answers if code == 0]
        assert len(given) == len(set(given)) == 13
        errors = [result for code, result in answers if code]
        assert {error["code"] for error in errors} == {101}
        assert errors[0]["msg"] == "no free address in 10.244.1.0/28: all 13 are in use"


async def test_garbage_goes_and_other_networks_stay(machine: Machine) -> None:
    async with machine.agent() as agent:
        for number in (1, 2):
            await agent.add(number)
        await agent.call("ADD", "c3", 3, name="other")
        valid = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        assert await agent.call("GC", **valid) == (0, {})
        assert machine.aliases() == {"c1/eth0", "c3/eth0"}


async def test_one_that_cannot_go_holds_up_no_other(machine: Machine) -> None:
    """A kernel that kept one link ended GC at the first, and a tombstone of it refused every ADD and every start."""
    async with machine.agent() as agent:
        for number in (1, 2, 3):
            await agent.add(number)
        kept = next(link.name for link in machine.kernel.links() if link.alias == "c1/eth0")
        machine.kernel.refuse = lambda request: (
            errno.EBUSY if isinstance(request, SetLink) and request.group and request.name == kept else 0
        )
        valid = {"cni.dev/valid-attachments": [{"containerID": "c3", "ifname": "eth0"}]}
        code, answer = await agent.call("GC", **valid)
        assert (code, answer["msg"]) == (102, "GC left 1 of 2 attachments")
        assert "c1/eth0: " in answer["details"]
        assert machine.aliases() == {"c1/eth0", "c3/eth0"}
    tombstone = machine.folder / "spool" / "c1@eth0"
    tombstone.write_bytes(framing.encode_call(environment("DEL", "c1"), configuration()))
    async with machine.agent() as agent:
        assert (await agent.add(4))[0] == 0
        assert set(agent.attachments.attached()) == {("c1", "eth0"), ("c3", "eth0"), ("c4", "eth0")}
        machine.kernel.refuse = lambda _request: 0
        assert (await agent.add(5))[0] == 0
        assert machine.aliases() == {"c3/eth0", "c4/eth0", "c5/eth0"}
        assert not tombstone.exists()


async def test_tombstones_are_carried_out_at_start_and_before_an_add(machine: Machine) -> None:
    async with machine.agent() as agent:
        await agent.add(1)
        await agent.add(2)
    spool = machine.folder / "spool"
    (spool / "c1@eth0").write_bytes(framing.encode_call(environment("DEL", "c1"), configuration()))
    (spool / "rubbish").write_bytes(b"?")
    (spool / ".c9@eth0.77").write_bytes(b"half a dr")
    async with machine.agent() as agent:
        assert machine.aliases() == {"c2/eth0"}
        assert list(spool.iterdir()) == []
        (spool / "c2@eth0").write_bytes(framing.encode_call(environment("DEL", "c2"), configuration()))
        await agent.add(2)
        assert machine.aliases() == {"c2/eth0"}
        assert list(spool.iterdir()) == []


async def test_a_runtime_chooses_addresses_mac_and_names(machine: Machine) -> None:
    chosen = {
        "ips": ["10.244.1.9/28"],
        "mac": "02:00:00:00:00:07",
        "dns": {"servers": ["10.96.0.10"], "searches": ["a"]},
    }
    async with machine.agent() as agent:
        status, result = await agent.call("ADD", "c1", 1, runtimeConfig=chosen)
        assert status == 0
        assert [ip["address"] for ip in result["ips"]] == ["10.244.1.9/28"]
        assert result["interfaces"][2]["mac"] == "02:00:00:00:00:07"
        assert result["dns"] == {"nameservers": ["10.96.0.10"], "search": ["a"]}
        eth0 = machine.pods[1].link("eth0")
        assert eth0 is not None
        assert eth0.mac == "02:00:00:00:00:07"
        status, answer = await agent.call("ADD", "c2", 2, args={"cni": {"ips": ["10.244.1.9"]}})
        assert (status, answer["msg"]) == (105, "ips: 10.244.1.9 is in use by another pod; ranges: 10.244.1.0/28")
        for text, words in (("10.9.9.9", "none of this node's ranges"), ("10.244.1.1", "it is the gateway")):
            status, answer = await agent.call("ADD", "c2", 2, runtimeConfig={"ips": [text]})
            assert status == 105
            assert words in answer["msg"]
        status, result = await agent.add(2)
        assert result["ips"][0]["address"] == "10.244.1.2/28", "a choice does not move what comes next by itself"


async def test_pods_that_nobody_finds_any_more_are_named(machine: Machine) -> None:
    """The node came back under its name with another range."""
    async with machine.agent() as agent:
        await agent.add(1)
        assert agent.network.problems == ()
        machine.nodes.put(OWN.key, replace(OWN, pod_cidrs=("10.244.7.0/28",)))
        await agent.network.caught_up()
        (problem,) = agent.network.problems
        assert (problem.origin, problem.field) == ("Pod default/c1", "status.podIPs")
        assert problem.message.startswith("10.244.1.2 is not in this node's spec.podCIDRs (10.244.7.0/28): other nodes")
        await agent.call("DEL")
        assert (await agent.add(2))[1]["ips"][0]["address"] == "10.244.7.2/28"


async def test_a_runtime_names_ranges(machine: Machine) -> None:
    def among(*subnets: str) -> dict[str, Any]:
        return {"ipRanges": [[{"subnet": subnet} for subnet in subnets]]}

    async with machine.agent() as agent:
        status, result = await agent.call("ADD", "c1", 1, runtimeConfig=among("10.244.1.8/30", "192.0.2.0/24"))
        assert (status, result["ips"][0]["address"]) == (0, "10.244.1.8/28")
        for config, words in (
            (among("10.9.0.0/24"), "runtimeConfig.ipRanges 10.9.0.0-10.9.0.255: no address of it is a pod's in this"),
            (among("10.244.1.0/31"), "no address of it is a pod's in this node's range 10.244.1.0/28"),
            (among("fd00::/64"), "this pod gets no address of IPv6 on this node"),
            (among("10.244.1.8/30") | {"ips": ["10.244.1.2"]}, "ips: 10.244.1.2 is not in runtimeConfig.ipRanges"),
        ):
            status, answer = await agent.call("ADD", "c2", 2, runtimeConfig=config)
            assert status == 105, config
            assert words in answer["msg"]
        assert (await agent.call("ADD", "c2", 2, runtimeConfig=among("10.244.1.8/32")))[0] == 101
        assert machine.aliases() == {"c1/eth0"}
        none = {"cni.dev/valid-attachments": []}
        assert await agent.call("GC", **none) == (0, {})
        assert machine.aliases() == set(), "a list with nothing in it keeps nothing"


async def test_a_pods_rates_come_and_go_with_it(machine: Machine) -> None:
    slow = {"bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 1_000_000}}
    async with machine.agent() as agent:
        assert (await agent.call("ADD", "c1", 1, runtimeConfig=slow))[0] == 0
        (veth,) = [link for link in machine.kernel.links() if link.group == LINK_GROUP]
        (ifb,) = [link for link in machine.kernel.links() if link.group == 149]
        buckets = {each.dev: each.bucket for each in machine.kernel.qdiscs() if each.bucket is not None}
        assert buckets == {veth.name: TokenBucket(1_000_000, 125_000), ifb.name: TokenBucket(125_000, 3_125 + 18_036)}
        assert machine.kernel.redirects(veth.name) == [Redirect(veth.name, ifb.name, 60000)]
        assert (await agent.call("CHECK", "c1", 1))[0] == 0
        machine.kernel.request([Delete(Redirect(veth.name, ifb.name, 60000))])
        status, answer = await agent.call("CHECK", "c1", 1)
        assert (status, answer["details"]) == (103, "its bandwidth is not limited as it was asked for")
        await agent.network.caught_up()
        assert (await agent.call("CHECK", "c1", 1))[0] == 0, "put back"
    async with machine.agent() as agent:
        assert (await agent.call("CHECK", "c1", 1))[0] == 0, "the next agent knows it"
        assert (await agent.call("DEL", "c1"))[0] == 0
        assert [link.name for link in machine.kernel.links() if link.group] == []
        machine.kernel.refuse = lambda request: errno.ENOENT * (isinstance(request, Add) and "ifb" in str(request))
        status, answer = await agent.call("ADD", "c2", 2, runtimeConfig=slow)
        assert status == 102
        assert "ifb" in answer["details"]
        machine.kernel.refuse = lambda _request: 0
        assert machine.aliases() == set()
        assert len(agent.attachments.attached()) == 0


async def test_the_loopback_plugin_of_runtimes(machine: Machine) -> None:
    async with machine.agent() as agent:
        lo = {"type": "loopback", "name": "cni-loopback"}
        status, result = await agent.call("ADD", "c1", 1, **lo)
        assert (status, result["interfaces"][0]["sandbox"], result["routes"]) == (0, "/ns/c1", [])
        link = machine.pods[1].link("lo")
        assert link is not None
        assert link.up
        for command, ns in (("CHECK", 1), ("DEL", None), ("STATUS", None)):
            assert await agent.call(command, "c1", ns, **lo) == (0, {})
        assert (await agent.call("ADD", "c1", None, **lo))[0] == 4
        assert len(agent.attachments.attached()) == 0, "there is nothing to keep of it"


def static(name: str, text: str, uid: str = "") -> PodAsks:
    return PodAsks("default", name, uid, (("cni.projectcalico.org/ipAddrs", text),))


async def test_a_pod_chooses_its_address_by_annotation(machine: Machine) -> None:
    field = "metadata.annotations[cni.projectcalico.org/ipAddrs]"
    machine.server = {("default", "c2"): static("c2", '["10.244.1.9"]')}
    machine.asks.put(("default", "c1"), static("c1", '["10.244.1.9"]'))
    async with machine.agent() as agent:
        status, result = await agent.add(1)
        assert (status, result["ips"][0]["address"]) == (0, "10.244.1.9/28")
        status, answer = await agent.add(2)  # which the watch has not shown: the server is asked
        text = f"{field}: 10.244.1.9 is in use by another pod; ranges: 10.244.1.0/28"
        assert (status, answer["msg"], answer["details"]) == (105, text, "pod default/c2")
        for number, (said, words) in enumerate(
            [('["10.9.9.9"]', "10.9.9.9 is in none of this node's ranges"), ("10.244.1.8", "it must be a list in JSON"),
             ('["x"]', "'x' is no address"), ('["10.244.1.7", "10.244.1.8"]', "one address of a family")],
            3,
        ):  # fmt: skip
            machine.server["default", f"c{number}"] = static(f"c{number}", said)
            status, answer = await agent.add(number)
            assert status == 105
            assert words in answer["msg"]
            assert field in answer["msg"]
        machine.server["default", "c9"] = PodAsks("default", "c9", "", (("cni.projectcalico.org/ipv4pools", '["a"]'),))
        status, answer = await agent.add(9)
        assert (status, "ipam.type" in answer["msg"]) == (105, True)
        assert machine.aliases() == {"c1/eth0"}, "what is refused leaves nothing"


async def test_a_namespace_chooses_pools_for_its_pods(machine: Machine) -> None:
    key, said = decode_namespace(
        json.dumps({"metadata": {"name": "default", "labels": {"team": "a"}, "annotations": {
            "cni.projectcalico.org/ipv4pools": '["theirs"]', "cni.projectcalico.org/ipAddrs": '["10.244.1.9"]',
        }}}).encode()
    )  # fmt: skip
    machine.namespaces.put(key, said)
    own = PodAsks("default", "own", "", (("cni.projectcalico.org/ipv4pools", '["mine"]'),))
    machine.asks.put(("default", "own"), own)
    machine.asks.put(("default", "plain"), PodAsks("default", "plain"))
    lookup = PodLookup(machine.asks, machine.namespaces, machine.ask)
    assert asks(await lookup.find(PodRef("default", "plain"))) == Asks((), {4: ("theirs",)}, {"team": "a"})
    assert asks(await lookup.find(PodRef("default", "own"))) == Asks((), {4: ("mine",)}, {"team": "a"}), (
        "a pod's own word goes first"
    )
    with pytest.raises(Unreachable, match="the list of Namespaces has not arrived"):
        await PodLookup(machine.asks, Table("namespaces"), machine.ask).find(PodRef("default", "plain"))
    machine.asks.put(("young", "early"), PodAsks("young", "early"))
    with pytest.raises(Unreachable, match="Namespace young has not arrived"):
        await lookup.find(PodRef("young", "early"))
    assert await lookup.find(PodRef("no", "pod")) == PodAsks("no", "pod"), "a runtime's own names ask nothing"


async def test_the_nodes_own_network_is_no_pods(machine: Machine) -> None:
    async with machine.agent() as agent:
        for override, code in (("", 4), ("1", 0)):
            env = environment("ADD", "c1") | ({"CNI_NETNS_OVERRIDE": override} if override else {})
            answer = await agent.calls.answer(framing.encode_call(env, configuration()), 1, "node")
            assert json.loads(answer[1:]).get("code", 0) == code
        assert "the node's own network" not in answer.decode()


async def test_without_the_servers_word_a_pod_that_is_not_known_waits(machine: Machine) -> None:
    machine.server = None
    machine.asks.put(("default", "c1"), PodAsks("default", "c1"))
    async with machine.agent() as agent:
        assert (await agent.add(1))[0] == 0, "the watch has shown it before"
        status, answer = await agent.add(2)
        assert status == 11
        assert "Connection refused" in answer["details"]
        machine.server = {}
        assert (await agent.add(2))[0] == 0


async def test_a_host_port_is_there_as_long_as_its_pod(machine: Machine) -> None:
    web = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    async with machine.agent() as agent:
        assert (await agent.call("ADD", "c1", 1, runtimeConfig=web))[0] == 0
        assert len([key for target in SETS for key in machine.nft.elements(target)]) == 2
        assert (await agent.call("CHECK", "c1", 1, runtimeConfig=web))[0] == 0
        status, answer = await agent.call("ADD", "c2", 2, runtimeConfig=web)
        assert (status, answer["msg"]) == (104, "host port 8080/TCP belongs to Pod default/c1")
        twice = {"portMappings": [{"hostPort": 81, "containerPort": port} for port in (80, 90)]}
        status, answer = await agent.call("ADD", "c2", 2, runtimeConfig=twice)
        assert (status, answer["msg"]) == (104, "host port 81/TCP is asked for twice")
        assert machine.aliases() == {"c1/eth0"}
    async with machine.agent() as agent:
        machine.nft.run("flush chain inet clew-hostports translate")
        status, answer = await agent.call("CHECK", "c1", 1)
        assert status == 103
        assert "the host port 8080/TCP is missing or was changed" in answer["details"]
        await agent.network.caught_up()
        assert (await agent.call("CHECK", "c1", 1))[0] == 0
        assert (await agent.call("DEL", "c1"))[0] == 0
        assert machine.nft.listing("inet", "clew-hostports") is None
        assert (await agent.call("ADD", "c2", 2, runtimeConfig=web))[0] == 0


async def test_a_refused_host_port_undoes_the_add(machine: Machine) -> None:
    async with machine.agent() as agent:
        machine.nft.fault = lambda write: NftError(errno.EBUSY, "run an nft script") if write == "run" else None
        status, answer = await agent.call(
            "ADD", "c1", 1, runtimeConfig={"portMappings": [{"hostPort": 80, "containerPort": 80}]}
        )
        assert (status, answer["msg"]) == (102, "cannot attach Pod default/c1")
        assert machine.aliases() == set()
        assert agent.attachments.attached() == set()


async def test_routed_pods_have_their_addresses_alone(machine: Machine) -> None:
    web = {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}
    async with machine.agent("routed") as agent:
        status, result = await agent.call("ADD", "c1", 1, runtimeConfig=web)
        assert status == 0
        assert [interface["name"] for interface in result["interfaces"]][1:] == ["eth0"]
        assert result["ips"] == [{"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1}]
        assert machine.kernel.link("cbr0") is None
        near = result["interfaces"][0]["name"]
        ways = {route.destination: (route.dev, route.kind) for route in machine.kernel.routes(proto=147)}
        assert ways["10.244.1.2/32"] == (near, "unicast")
        assert ways["10.244.1.0/28"][1] == "unreachable", "an address that no pod has is not looked for elsewhere"
        assert [(each.address, each.dev) for each in machine.pods[1].neighbours()] == [("169.254.1.1", "eth0")]
        assert (await agent.call("CHECK", "c1", 1, prevResult=result))[0] == 0
        machine.kernel.request([Delete(Route("10.244.1.2/32", proto=147))])
        status, answer = await agent.call("CHECK", "c1", 1)
        assert (status, "was changed" in answer["details"]) == (103, True)
        await agent.network.caught_up()
        assert (await agent.call("CHECK", "c1", 1))[0] == 0
        assert (await agent.call("DEL", "c1"))[0] == 0
        assert "10.244.1.2/32" not in {route.destination for route in machine.kernel.routes(proto=147)}


async def test_a_pod_stays_as_it_was_connected(machine: Machine) -> None:
    async with machine.agent() as agent:
        assert (await agent.add(1))[0] == 0
    async with machine.agent("routed") as agent:
        assert (await agent.call("CHECK", "c1", 1))[0] == 0
        status, result = await agent.add(2)
        assert (status, result["ips"][0]["address"]) == (0, "10.244.1.3/32")
        assert machine.kernel.link("cbr0") is not None
        assert (await agent.call("DEL", "c1"))[0] == 0
    async with machine.agent("routed") as agent:
        assert (await agent.call("CHECK", "c2", 2))[0] == 0
        assert machine.kernel.link("cbr0") is None, "the last pod on it is gone"


async def test_a_check_compares_with_the_result_that_the_runtime_kept(machine: Machine) -> None:
    async with machine.agent() as agent:
        _, result = await agent.add(1)
        assert (await agent.call("CHECK", "c1", 1, prevResult=result))[0] == 0
        result["ips"][0]["address"] = "10.244.1.7/28"
        status, answer = await agent.call("CHECK", "c1", 1, prevResult=result)
        assert (status, answer["msg"]) == (103, "prevResult does not say 10.244.1.2/28")
        status, answer = await agent.call("CHECK", "c1", 1, prevResult=None)
        assert (status, answer["msg"]) == (7, "prevResult is missing")


async def test_a_later_plugin_may_choose_the_hardware_address(machine: Machine) -> None:
    """`tuning` changes it and says so in the result; who changes it without a word leaves a pod that nobody finds."""
    async with machine.agent() as agent:
        _, result = await agent.add(1)
        machine.pods[1].request([SetLink("eth0", mac="02:00:00:00:00:09")])
        status, answer = await agent.call("CHECK", "c1", 1)
        assert (status, answer["details"]) == (
            103, "interface eth0 has the hardware address 02:00:00:00:00:09 and not 0a:58:0a:f4:01:02",
        )  # fmt: skip
        result["interfaces"][2]["mac"] = "02:00:00:00:00:09"
        assert (await agent.call("CHECK", "c1", 1, prevResult=result))[0] == 0


async def test_the_second_in_a_chain_hands_on_what_it_got(machine: Machine) -> None:
    earlier = {
        "interfaces": [{"name": "net1", "sandbox": "/ns/c1"}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
    }
    async with machine.agent() as agent:
        status, result = await agent.call("ADD", "c1", 1, prevResult=earlier)
        assert status == 0
        assert [each["name"] for each in result["interfaces"]][:2] == ["net1", "cbr0"]
        assert [each["interface"] for each in result["ips"]] == [0, 3]
        assert await agent.call("CHECK", "c1", 1) == (0, {})


async def test_a_pod_of_two_interfaces(machine: Machine) -> None:
    """The specification allows it by another name; the second's default route was once refused, and the ADD with it."""
    async with machine.agent() as agent:
        assert (await agent.add(1))[0] == 0
        status, result = await agent.call("ADD", "c1", 1, ifname="net1")
        assert (status, result["ips"][0]["address"]) == (0, "10.244.1.3/28")
        assert machine.aliases() == {"c1/eth0", "c1/net1"}
        assert [each.dev for each in machine.pods[1].routes() if each.destination == "0.0.0.0/0"] == ["eth0"]
        assert await agent.call("CHECK", "c1", 1, ifname="net1", prevResult=result) == (0, {})
        assert await agent.call("DEL", "c1", ifname="net1") == (0, {})
        assert machine.aliases() == {"c1/eth0"}


async def test_a_name_that_is_no_text_ends_nobody(machine: Machine) -> None:
    """The kernel takes any bytes. A DEL of such a name ended the agent, and its tombstone each agent after it."""
    data = framing.encode_call(environment("DEL", "c1"), configuration()).replace(b"eth0", b"eth\xff")
    async with machine.agent() as agent:
        assert json.loads((await agent.calls.answer(data, None))[1:])["code"] == 4
        assert (await agent.add(1))[0] == 0
    (machine.folder / "spool" / "c9").write_bytes(data)
    async with machine.agent() as agent:
        assert await agent.call("CHECK", "c1", 1) == (0, {})
        assert list((machine.folder / "spool").iterdir()) == []


async def test_where_no_pod_can_be(machine: Machine) -> None:
    async with machine.agent() as agent:
        answer = await agent.calls.answer(framing.encode_call(environment("ADD", "c1"), configuration()), 1, "nowhere")
        assert json.loads(answer[1:])["code"] == 4
        assert json.loads(answer[1:])["msg"] == "CNI_NETNS is '/ns/c1': no network namespace"


@pytest.mark.parametrize("tunnel", ["vxlan", "wireguard", "ipsec"])
async def test_a_node_without_an_address_waits_for_one(tmp_path: Path, tunnel: Encapsulation) -> None:
    """As where a cloud's controller enters it later than the range: the agents of the encrypted backends ended."""
    machine = Machine(tmp_path, replace(OWN, internal_ips=()), TWO)
    async with machine.agent() as agent:
        agent.network.configure(NetworkSettings("one", ("10.244.0.0/16",), between=Between(tunnel, port=8472)))
        await agent.network.settled(("any", "eth0"))
        status, answer = await agent.call("STATUS")
        assert (status, answer["details"]) == (50, "Node one has no InternalIP yet, and tunnels end at one")
        assert (await agent.add(1))[0] == 11
        if tunnel == "vxlan":
            machine.nodes.put(OWN.key, OWN)
            await agent.network.settled(("any", "eth0"))
            assert await agent.call("STATUS") == (0, {})
            assert (await agent.add(1))[1]["interfaces"][2]["mtu"] == 8950


async def test_ipv6_needs_1280_bytes(tmp_path: Path) -> None:
    """RFC 8200; the kernel's own word for it is EINVAL."""
    machine = Machine(tmp_path, replace(OWN, internal_ips=("fd00::1",), pod_cidrs=("fd00:1::/112",)))
    async with machine.agent() as agent:
        status, answer = await agent.call("ADD", "c1", 1, mtu=1279)
        assert (status, answer["msg"], answer["details"]) == (
            7,
            "mtu is 1279",
            "it must be 0, or at least 1280 for IPv6",
        )
        assert (await agent.call("ADD", "c1", 1, mtu=1280))[0] == 0
    machine.kernel.request([Add(Address("fd00::1/64", "eth0")), SetLink("eth0", mtu=1279)])
    async with machine.agent() as agent:
        status, answer = await agent.call("STATUS")
        assert (status, answer["details"]) == (50, "pods would have an MTU of 1279, and IPv6 needs 1280")


async def test_what_does_not_fit_is_refused(machine: Machine) -> None:
    async with machine.agent() as agent:
        assert (await agent.call("ADD", "c1", None))[0] == 4
        assert (await agent.call("CHECK", "stranger", 1))[0] == 3
        assert (await agent.call("CHECK", "c1"))[0] == 3
        answer = await agent.calls.answer(b"rubbish", None)
        assert json.loads(answer[1:])["code"] == 6
        assert 'clew_cni_requests_total{command="?",code="6"} 1' in agent.registry.render()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_kernel_and_promises_agree(tmp_path: Path, seed: int) -> None:
    """Random ADDs and DELs, a kernel that refuses one step in ten, agents that die between calls."""
    random = Random(seed)
    folder = tmp_path / str(seed)
    folder.mkdir()
    machine = Machine(folder, OWN, TWO)

    def fickle(_request: Request) -> int:
        return errno.EBUSY if random.random() < 0.1 else 0

    async def life() -> None:
        for kernel in (machine.kernel, *machine.pods.values()):
            kernel.refuse = lambda _request: 0
        async with machine.agent() as agent:
            for kernel in (machine.kernel, *machine.pods.values()):
                kernel.refuse = fickle
            for _ in range(20):
                number = random.randrange(1, 18)
                code, _answer = await (agent.add(number) if random.random() < 0.6 else agent.call("DEL", f"c{number}"))
                assert code in {0, 100, 101, 102}
            for kernel in (machine.kernel, *machine.pods.values()):
                kernel.refuse = lambda _request: 0
            for number in {int(key[0][1:]) for key in agent.attachments.attached()}:
                if (await agent.call("CHECK", f"c{number}", number))[0]:
                    await agent.call("DEL", f"c{number}")
            assert machine.aliases() == {f"{container}/{ifname}" for container, ifname in agent.attachments.attached()}
            given = list(agent.attachments.addresses())
            assert len(given) == len(set(given))

    async def lives() -> None:
        for _ in range(3):
            await life()

    asyncio.run(lives())
