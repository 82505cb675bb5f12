"""The kubelet's small pure rules, each as a table: restarts' pauses, who may run, limits, Service links, volumes."""

from fractions import Fraction
from typing import Any

import pytest

from clew.cluster.images import Image
from clew.cluster.kubelet import volumes
from clew.cluster.kubelet.backoff import Backoff
from clew.cluster.kubelet.container_spec import Made, container_spec, limits
from clew.cluster.kubelet.env import ConfigError
from clew.cluster.kubelet.instances import Sandbox
from clew.cluster.kubelet.pod_admission import refusal, request
from clew.cluster.kubelet.requests import RequestError, port_of
from clew.cluster.kubelet.service_links import ServiceLinks, decode
from clew.cluster.kubelet.volumes import MountError
from clew.cluster.runtime.oci import User

from .conftest import CONFIG, pod


def test_ten_quiet_minutes_are_forgiven() -> None:
    backoff = Backoff()
    now, pauses = 0.0, []
    for _ in range(8):
        backoff.started(now)
        pauses.append(backoff.pause)
        now += backoff.pause + 1
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert backoff.due(now, now) == now + 300
    assert backoff.due(now, now + 601) == now + 601
    backoff.started(now + 700)
    assert backoff.pause == 10


def asking(**requests: str) -> dict[str, Any]:
    return {"name": "a", "resources": {"requests": requests}}


NODE = {"metadata": {"labels": {"disk": "ssd"}}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}


@pytest.mark.parametrize(
    ("wanted", "others", "reason"),
    [
        (pod(), [], ""), (pod(asking(cpu="2")), [], ""), (pod(asking(cpu="2001m")), [], "OutOfcpu"),
        (pod(asking(cpu="1500m")), [pod(asking(cpu="600m"))], "OutOfcpu"),
        (pod(asking(memory="600Mi")), [pod(asking(memory="600Mi"))], "OutOfmemory"),
        (pod(asking(cpu="2")), [{**pod(asking(cpu="2")), "status": {"phase": "Succeeded"}}], ""),
        (pod(nodeSelector={"disk": "ssd"}), [], ""), (pod(nodeSelector={"disk": "hdd"}), [], "NodeAffinity"),
        (pod(), [pod() for _ in range(110)], "OutOfpods"), (pod(), [pod() for _ in range(109)], ""),
    ],
)  # fmt: skip
def test_who_may_run_here(wanted: Any, others: list[Any], reason: str) -> None:
    assert refusal(wanted, NODE, others, CONFIG)[0] == reason


def tuned(*names: str, **spec: Any) -> Any:
    return pod(securityContext={"sysctls": [{"name": name, "value": "1"} for name in names]}, **spec)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (tuned("net.ipv4.tcp_rmem", "kernel.shm_rmid_forced"), ""), (tuned("net/ipv4/tcp_rmem"), ""),
        (tuned("kernel.core_pattern"), '"kernel.core_pattern" not allowlisted'),
        (tuned("kernel/core_pattern"), '"kernel/core_pattern" not allowlisted'),
        (tuned("net.ipv4.tcp_rmem", "fs.file-max"), '"fs.file-max" not allowlisted'),
        (tuned("net.ipv4/../../kernel/panic"), '"net.ipv4/../../kernel/panic" not allowlisted'),
        (tuned("net.ipv4.tcp_rmem", hostNetwork=True), '"net.ipv4.tcp_rmem" not allowed with host net enabled'),
        (tuned("kernel.shm_rmid_forced", hostIPC=True), '"kernel.shm_rmid_forced" not allowed with host ipc enabled'),
    ],
)  # fmt: skip
def test_no_pod_changes_the_machines_settings(wanted: Any, message: str) -> None:
    """Any pod could set kernel.core_pattern, which is no namespace's: it was the machine's that changed."""
    refused = refusal(wanted, NODE, [], CONFIG)
    assert refused == (("SysctlForbidden", f"Pod was rejected: forbidden sysctl: {message}") if message else ("", ""))


def test_what_would_be_less_safe_than_asked_for_is_refused() -> None:
    assert refusal(pod(hostUsers=False), NODE, [], CONFIG)[0] == "UnexpectedAdmissionError"
    own = {"name": "a", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}}}
    with pytest.raises(ConfigError, match=r"cannot load seccomp profile x\.json"):
        container_spec(pod(own), own, Image("i", "", ()), Sandbox("s", 0, ready=True), Made((), (), User(), (), "/g"))


def test_a_pod_asks_for_its_largest_moment() -> None:
    inits = [asking(cpu="3"), {**asking(cpu="1"), "restartPolicy": "Always"}, asking(cpu="2500m")]
    assert request(pod(asking(cpu="1"), asking(cpu="500m"), initContainers=inits), "cpu") == 3.5
    assert request(pod(asking(cpu="4"), initContainers=inits, overhead={"cpu": "100m"}), "cpu") == Fraction("5.1")


@pytest.mark.parametrize(
    ("resources", "shares", "quota", "memory"),
    [
        ({}, 102, 0, 0), ({"requests": {"cpu": "1"}}, 1024, 0, 0), ({"requests": {"cpu": "1m"}}, 2, 0, 0),
        ({"limits": {"cpu": "500m"}}, 512, 50_000, 0), ({"limits": {"cpu": "1m"}}, 2, 1000, 0),
        ({"limits": {"memory": "64Mi"}}, 102, 0, 64 << 20),
        ({"requests": {"cpu": "0"}, "limits": {"cpu": "2"}}, 2, 200_000, 0),
    ],
)  # fmt: skip
def test_limits(resources: dict[str, Any], shares: int, quota: int, memory: int) -> None:
    made = limits({"resources": resources})
    assert (made.cpu_shares, made.cpu_quota, made.memory) == (shares, quota, memory)


@pytest.mark.parametrize(("port", "number"), [(80, 80), ("web", 8080), ("9000", 9000)])
def test_ports_by_name_or_number(port: int | str, number: int) -> None:
    assert port_of({"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}, port) == number


def test_a_port_that_nobody_named() -> None:
    with pytest.raises(RequestError, match="couldn't find port: 'none' in container a"):
        port_of({"name": "a"}, "none")


def test_service_links_are_the_namespaces_own_and_the_masters() -> None:
    links = ServiceLinks()
    for name, space, body in (
        ("kubernetes", "default", b'"clusterIP":"10.96.0.1","ports":[{"name":"https","port":443}]'),
        ("my-db", "shop", b'"clusterIP":"fd00::5","ports":[{"port":53,"protocol":"UDP"},{"name":"a-b","port":80}]'),
        ("headless", "shop", b'"clusterIP":"None","ports":[{"port":1}]'),
        ("other", "else", b'"clusterIP":"10.96.0.9","ports":[{"port":1}]'),
    ):
        data = b'{"metadata":{"name":"%b","namespace":"%b"},"spec":{%b}}' % (name.encode(), space.encode(), body)
        links.put(*decode(data))
    shop = links.environment("shop", enabled=True)
    assert shop["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert shop["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert shop["MY_DB_SERVICE_HOST"] == "fd00::5"
    assert shop["MY_DB_SERVICE_PORT_A_B"] == "80"
    assert shop["MY_DB_PORT"] == "udp://[fd00::5]:53"
    assert shop["MY_DB_PORT_80_TCP_ADDR"] == "fd00::5"
    assert not [name for name in shop if name.startswith(("HEADLESS", "OTHER"))]
    assert {name.split("_")[0] for name in links.environment("shop", enabled=False)} == {"KUBERNETES"}


def test_items_choose_name_and_mode_and_a_missing_key_is_named() -> None:
    data = {"a": b"1", "b": b"2"}
    everything = volumes.chosen("v", "configmap n/c", data, {}, 0o644)
    assert {name: entry.mode for name, entry in everything.items()} == {"a": 0o644, "b": 0o644}
    some = volumes.chosen("v", "configmap n/c", data, {"items": [{"key": "a", "path": "x/y", "mode": 0}]}, 0o644)
    assert [(name, entry.data, entry.mode) for name, entry in some.items()] == [("x/y", b"1", 0)]
    missing = {"items": [{"key": "z", "path": "z"}]}
    with pytest.raises(MountError, match="configmap n/c references non-existent config key: z"):
        volumes.chosen("v", "configmap n/c", data, missing, 0o644)
    assert volumes.chosen("v", "configmap n/c", data, {**missing, "optional": True}, 0o644) == {}


@pytest.mark.parametrize(
    ("volume", "place"),
    [
        ({"name": "v", "emptyDir": {}}, "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/v"),
        ({"name": "v", "hostPath": {"path": "/data"}}, "/data"),
        ({"name": "v", "projected": {}}, "/var/lib/kubelet/pods/u/volumes/kubernetes.io~projected/v"),
    ],
)
def test_places_are_the_kubelets(volume: dict[str, Any], place: str) -> None:
    assert volumes.place("u", volume) == place


def test_a_volume_of_a_kind_nobody_serves_is_named() -> None:
    with pytest.raises(MountError, match="no volume plugin matched"):
        volumes.place("u", {"name": "v", "nfs": {"server": "x", "path": "/"}})
