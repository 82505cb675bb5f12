"""What a change of a lab's shape applies, and which agents begin anew for it: against the API server's own code."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.cluster.apiserver.conftest import Running

from clew.api.kinds import CONFIG_MAP, DAEMON_SET, POD
from clew.api.objects import Object
from clew.app.lab_agents import FORMER, REPLACED, unready_agents
from clew.app.lab_config import Flags, amended, read_spec
from clew.app.lab_manifests import Manifests, read_record, shape_of
from clew.app.lab_spec import LabSpec
from clew.app.manifest_objects import STARTED_WITH, ClusterFacts, objects
from clew.watch.client import Client
from clew.watch.errors import ApiError

CONFIGURATION, AGENTS = "ConfigMap clew-agent", "DaemonSet clew-agent"
SPACE = "kube-system"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("server")).start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    """As if nothing had been applied yet."""
    async with server.client() as client:
        for name in ("clew-manifests", "clew-agent"):
            with contextlib.suppress(ApiError):
                await client.delete(CONFIG_MAP, name, SPACE)
        yield client


@pytest.fixture
def spec() -> LabSpec:
    return read_spec("clew", None, Flags(nodes=2))


@pytest.fixture
def manifests() -> Manifests:
    return Manifests(("172.30.0.1", 6443))


def told(configuration: Object) -> Any:
    """The service proxy's part of what agents are told."""
    return json.loads(configuration["data"]["agent.yaml"].split("\n---\n")[1])


async def template(client: Client) -> Object:
    found: Object = (await client.get(DAEMON_SET, "clew-agent", SPACE))["spec"]["template"]
    return found


async def test_another_mode_changes_two_objects_and_the_same_again_none(
    client: Client, spec: LabSpec, manifests: Manifests
) -> None:
    made = await manifests.apply(client, spec, 0)
    assert {CONFIGURATION, AGENTS, "Deployment coredns", "ClusterRole system:coredns"} <= set(made)
    before = await template(client)
    other = amended(spec, Flags(proxy_mode="ebpf"))
    assert await manifests.apply(client, other, 0) == [CONFIGURATION, AGENTS]
    assert told(await client.get(CONFIG_MAP, "clew-agent", SPACE))["mode"] == "ebpf"
    after = await template(client)
    assert after["metadata"]["annotations"].keys() == before["metadata"]["annotations"].keys() == {STARTED_WITH}
    assert after["metadata"] != before["metadata"]
    assert after["spec"] == before["spec"]
    assert (await read_record(client)).shape == shape_of(other)
    for insist in (False, True):
        assert not await manifests.apply(client, other, 0, insist=insist)


async def test_agents_follow_another_network_and_do_not_begin_anew(
    client: Client, spec: LabSpec, manifests: Manifests
) -> None:
    await manifests.apply(client, spec, 0)
    assert await manifests.apply(client, amended(spec, Flags(network="vxlan")), 0) == [CONFIGURATION]
    both = amended(spec, Flags(network="host-gw", proxy_mode="iptables"))
    assert await manifests.apply(client, both, 0) == [CONFIGURATION, AGENTS]


async def test_what_is_only_written_out_changes_no_agent(client: Client, spec: LabSpec, manifests: Manifests) -> None:
    await manifests.apply(client, spec, 0)
    for said, changed in (({"mode": "nftables"}, []), ({"mode": ""}, [CONFIGURATION])):
        assert await manifests.apply(client, replace(spec, proxy=said), 0) == changed
    assert await manifests.apply(client, replace(spec, proxy={"nodePortAddresses": ["primary"]}), 0) == [
        CONFIGURATION, AGENTS,
    ]  # fmt: skip


async def test_the_users_own_changes_stay_when_something_else_changes(
    client: Client, spec: LabSpec, manifests: Manifests
) -> None:
    """Once a changed network brought the Corefile of the beginning back."""
    await manifests.apply(client, spec, 0)
    await client.patch(CONFIG_MAP, "coredns", {"data": {"Corefile": ".:53 {\n  whoami\n}\n"}}, SPACE)
    await manifests.apply(client, amended(spec, Flags(proxy_mode="ebpf", network="vxlan")), 0)
    assert "whoami" in (await client.get(CONFIG_MAP, "coredns", SPACE))["data"]["Corefile"]


async def test_an_edited_configuration_stays_until_its_user_insists(
    client: Client, spec: LabSpec, manifests: Manifests
) -> None:
    """And then agents begin anew although the text is the one that they began with."""
    await manifests.apply(client, spec, 0)
    before = (await template(client))["metadata"]
    await client.patch(CONFIG_MAP, "clew-agent", {"data": {"agent.yaml": "nonsense"}}, SPACE)
    assert not await manifests.apply(client, spec, 0)
    assert await manifests.apply(client, spec, 0, insist=True) == [CONFIGURATION, AGENTS]
    assert told(await client.get(CONFIG_MAP, "clew-agent", SPACE))["mode"] == "nftables"
    assert (await template(client))["metadata"] != before
    await client.delete(CONFIG_MAP, "clew-agent", SPACE)
    assert await manifests.apply(client, spec, 0, insist=True) == [CONFIGURATION, AGENTS]
    assert not await manifests.apply(client, spec, 0, insist=True)


class Cut(Client):
    """Goes away after so many patches."""

    patches = 0

    async def patch(self, *arguments: Any, **named: Any) -> Object:
        self.patches -= 1
        if self.patches < 0:
            raise ApiError(503, "ServiceUnavailable", "cut off")
        return await super().patch(*arguments, **named)


@pytest.mark.parametrize("edited", [False, True])
async def test_a_change_that_is_cut_off_anywhere_is_gone_on_with(
    server: Running, client: Client, spec: LabSpec, manifests: Manifests, *, edited: bool
) -> None:
    """However far it came, agents begin anew with what is wanted in the end."""
    wanted = spec if edited else amended(spec, Flags(proxy_mode="userspace"))
    for patches in range(1, 4) if edited else range(3):  # of an edit nothing is known before the first
        await manifests.apply(client, spec, 0, insist=True)
        if edited:
            await client.patch(CONFIG_MAP, "clew-agent", {"data": {"agent.yaml": "nonsense"}}, SPACE)
        before = (await template(client))["metadata"]
        async with server.client() as short:
            short.__class__ = Cut
            short.patches = patches  # type: ignore[attr-defined]
            with pytest.raises(ApiError, match="cut off"):
                await manifests.apply(short, wanted, 0, insist=True)
        assert edited or (await read_record(client)).shape != shape_of(wanted)
        await manifests.apply(client, wanted, 0)
        assert told(await client.get(CONFIG_MAP, "clew-agent", SPACE))["mode"] == wanted.proxy.get("mode", "nftables")
        assert (await template(client))["metadata"] != before
        assert (await read_record(client)).shape == shape_of(wanted)


async def test_agents_elsewhere_do_not_wait_for_nodes_that_are_off(
    client: Client, spec: LabSpec, manifests: Manifests
) -> None:
    """A DaemonSet leaves the others alone while as many pods as it may miss are missing already."""
    for away in (0, 1):
        mode = "ebpf" if away else "iptables"
        await manifests.apply(client, amended(spec, Flags(proxy_mode=mode)), away)
        found = await client.get(DAEMON_SET, "clew-agent", SPACE)
        assert found["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1 + away


@pytest.mark.parametrize(
    ("said", "host", "port"),
    [("", None, 10256), ("0.0.0.0:9", None, 9), ("[::]:9", None, 9), ("127.0.0.1", "127.0.0.1", 10256),
     ("[::1]:99", "::1", 99)],
)  # fmt: skip
def test_an_agent_is_asked_where_it_answers(said: str, host: str | None, port: int) -> None:
    made = objects(ClusterFacts(("10.244.0.0/16",), ("10.96.0.0/12",), proxy={"healthzBindAddress": said}))
    agents = next(each for each in made if each["kind"] == "DaemonSet")
    probe = agents["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["httpGet"]
    assert (probe.get("host"), probe["port"], probe["path"]) == (host, port, "/readyz")


def pod(node: str, annotations: dict[str, str], **status: Any) -> Object:
    labels = {"k8s-app": "clew-agent"}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"agent-{node}", "labels": labels,
        "annotations": annotations, "namespace": SPACE},
        "spec": {"nodeName": node, "serviceAccountName": "clew-agent",
                 "containers": [{"name": "kube-proxy", "image": "clew"}]},
        "status": {"containerStatuses": [{"name": "kube-proxy", "image": "clew", "imageID": "", "restartCount": 0,
                                          **status}]},
    }  # fmt: skip


async def test_which_nodes_are_waited_for_and_why(client: Client, spec: LabSpec, manifests: Manifests) -> None:
    await manifests.apply(client, spec, 0)
    current = (await template(client))["metadata"]["annotations"]
    said = {"terminated": {"exitCode": 1, "message": "2026 INFO begins\nclew: mode 'x': no\n"}}
    pods = [
        pod("well", {**current, "more": "of somebody's"}, ready=True),
        pod("former", {}, ready=True),
        pod("begins", current, ready=False, state={"running": {}}),
        pod("ends", current, ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=said),
    ]
    for each in pods:
        await client.create(POD, each)
        await client.patch(POD, each["metadata"]["name"], {"status": each["status"]}, SPACE, subresource="status")
    nodes = ["well", "former", "begins", "ends", "none"]
    try:
        wanted = {"status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberMisscheduled": 0,
                             "numberReady": 2}}  # fmt: skip
        await client.patch(DAEMON_SET, "clew-agent", wanted, SPACE, subresource="status")
        amiss = {
            "former": FORMER,
            "begins": "its agent has not all rules in yet",
            "ends": "its agent ends: clew: mode 'x': no",
        }
        assert await unready_agents(client, nodes, 5) == {**amiss, "none": REPLACED}
        assert await unready_agents(client, nodes, 6) == amiss, "its user wants none there"
        await client.delete(DAEMON_SET, "clew-agent", SPACE)
        assert not await unready_agents(client, nodes, 5)
    finally:
        for each in pods:
            await client.delete(POD, each["metadata"]["name"], SPACE)


def test_the_shape_is_known_by_its_content(tmp_path: Path, spec: LabSpec) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("kind: Lab\nnodes: 2\n")
    assert shape_of(read_spec("clew", file, Flags())) == shape_of(spec)
    assert shape_of(amended(spec, Flags(proxy_mode="ebpf"))) != shape_of(spec)
