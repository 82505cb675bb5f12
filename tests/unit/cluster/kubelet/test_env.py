from typing import Any

import pytest

from clew.cluster.images import Image
from clew.cluster.kubelet.env import ConfigError, Environment, command, expand, field_value, references, resource_value

KNOWN = {"A": "1", "B_C": "two", "EMPTY": "", "x.y-z": "3"}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("$(A)", "1"), ("$(A)$(B_C)", "1two"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$$$$(A)", "$$(A)"),
        ("$(NOT)", "$(NOT)"), ("$A", "$A"), ("$", "$"), ("a$", "a$"), ("$(", "$("), ("$(A", "$(A"), ("$()", "$()"),
        ("$(EMPTY)", ""), ("$(x.y-z)", "3"), ("100%$$", "100%$"), ("$(A $(A)", "$(A $(A)"),
    ],
)  # fmt: skip
def test_references_are_expanded_as_kubernetes_does(text: str, made: str) -> None:
    assert expand(text, KNOWN) == made


POD: dict[str, Any] = {
    "metadata": {
        "name": "p", "namespace": "n", "uid": "u", "labels": {"app": "a", "b/c.d": "e"},
        "annotations": {"q": 'say "x"\n\\'},
    },
    "spec": {
        "nodeName": "node-1",
        "containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "100m"}}},
        ],
    },
    "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "hostIP": "172.30.0.11"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"), ("metadata.labels['app']", "a"), ("metadata.labels['b/c.d']", "e"),
        ("metadata.labels['none']", ""), ("metadata.labels", 'app="a"\nb/c.d="e"'),
        ("metadata.annotations", 'q="say \\"x\\"\\n\\\\"'), ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "default"), ("status.podIPs", "10.0.0.1,fd00::1"), ("status.hostIP", "172.30.0.11"),
    ],
)  # fmt: skip
def test_fields(path: str, value: str) -> None:
    assert field_value(POD, path) == value


@pytest.mark.parametrize(
    ("container", "selector", "value"),
    [
        (0, {"resource": "limits.cpu"}, "2"),  # rounded up
        (0, {"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        (0, {"resource": "requests.cpu", "divisor": "1m"}, "1500"),  # what limits say is asked for too
        (0, {"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        (1, {"resource": "limits.cpu"}, "4"),  # none: the node's
        (1, {"resource": "limits.memory", "divisor": "1Gi"}, "8"),
        (1, {"resource": "requests.memory"}, "0"),
        (1, {"resource": "limits.cpu", "containerName": "a", "divisor": "1"}, "2"),
    ],
)
def test_resources(container: int, selector: dict[str, str], value: str) -> None:
    room = {"cpu": 4, "memory": 8 << 30}
    assert resource_value(POD, POD["spec"]["containers"][container], selector, room) == value


OBJECTS = {("ConfigMap", "c"): {"k": "v", "x.y": "z"}, ("Secret", "s"): {"p": "$(A)"}}


def made(**container: Any) -> dict[str, str]:
    builder = Environment(POD, container, lambda kind, name: OBJECTS.get((kind, name)), {})
    return builder.build(Image("i", "", (), env=("PATH=/x", "FROM=image")), {"SVC_HOST": "1.2.3.4"}, "host")


def test_later_sources_win_and_see_what_was_before() -> None:
    found = made(
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        env=[
            {"name": "A", "value": "$(P_k)$(LATER)"}, {"name": "LATER", "value": "1"}, {"name": "FROM", "value": "env"},
            {"name": "p", "value": "$(p)!"}, {"name": "SVC_HOST", "value": "$(SVC_HOST):80"}, {"name": "NONE"},
        ],
    )  # fmt: skip
    assert found == {
        "PATH": "/x", "FROM": "env", "HOSTNAME": "host", "SVC_HOST": "1.2.3.4:80", "P_k": "v", "P_x.y": "z",
        "p": "$(A)!", "A": "v$(LATER)", "LATER": "1", "NONE": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"envFrom": [{"configMapRef": {"name": "no"}}]}, 'configmap "no" not found'),
        ({"envFrom": [{"secretRef": {"name": "no"}}]}, 'secret "no" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "no"}}}]},
            "couldn't find key no in ConfigMap n/c",
        ),
        ({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "no", "key": "k"}}}]}, 'secret "no" not found'),
    ],
)
def test_what_is_missing_is_named(container: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(**container)


def test_what_is_optional_may_be_missing() -> None:
    keys = {"configMapKeyRef": {"name": "c", "key": "no", "optional": True}}
    nothing = {"secretKeyRef": {"name": "no", "key": "k", "optional": True}}
    found = made(
        envFrom=[{"configMapRef": {"name": "no", "optional": True}}],
        env=[{"name": "A", "valueFrom": keys}, {"name": "B", "valueFrom": nothing}],
    )
    assert not {"A", "B"} & found.keys()


def test_references_name_every_object_once() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "B", "value": "x"},
            {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        ],
    }
    assert references(container) == {("ConfigMap", "c"), ("Secret", "s")}


@pytest.mark.parametrize(
    ("container", "made"),
    [
        ({}, ("entry", "cmd")), ({"args": ["a"]}, ("entry", "a")), ({"command": ["c"]}, ("c",)),
        ({"command": ["c"], "args": ["$(A)", "$$(A)"]}, ("c", "1", "$(A)")), ({"command": []}, ("entry", "cmd")),
    ],
)  # fmt: skip
def test_commands_and_arguments_replace_the_images(container: dict[str, Any], made: tuple[str, ...]) -> None:
    image = Image("i", "", (), entrypoint=("entry",), cmd=("cmd",))
    assert command(container, image, KNOWN) == made
