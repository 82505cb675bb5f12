"""What a pod's volumes hold and where they stand on the node. Pure: objects in, files and places out.

Kinds: emptyDir, hostPath, configMap, secret, downwardAPI, projected. Paths and messages are the kubelet's.
"""

import base64
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from clew.api.objects import Object
from clew.base.errors import WorldError
from clew.base.value import Value
from clew.cluster.kubelet.env import field_value, resource_value

PODS = "/var/lib/kubelet/pods"
_PLUGINS = {
    "emptyDir": "empty-dir", "configMap": "configmap", "secret": "secret", "projected": "projected",
    "downwardAPI": "downward-api",
}  # fmt: skip
FILES = ("configMap", "secret", "projected", "downwardAPI")
_MODE = 0o644


class MountError(WorldError):
    """A volume cannot be had yet; `volume` is its name, the text what the Event says after the colon."""

    def __init__(self, volume: str, message: str) -> None:
        super().__init__(message)
        self.volume = volume


class FileEntry(Value):
    """A file of a volume; `uid` -1 is root's."""

    data: bytes
    mode: int
    uid: int = -1

    def wire(self) -> dict[str, Any]:
        return {"data": base64.b64encode(self.data).decode(), "mode": self.mode, "uid": self.uid}


Files = dict[str, FileEntry]


def kind_of(volume: Object) -> str:
    """The volume's kind: its only field beside the name."""
    return next((name for name in volume if name != "name"), "emptyDir")


def place(uid: str, volume: Object) -> str:
    """Where the volume stands in the node's tree."""
    kind = kind_of(volume)
    if kind == "hostPath":
        return str(volume["hostPath"]["path"])
    if kind not in _PLUGINS:
        raise MountError(
            volume["name"],
            f'failed to get Plugin from volumeSpec for volume "{volume["name"]}" err=no volume plugin matched',
        )
    return f"{PODS}/{uid}/volumes/kubernetes.io~{_PLUGINS[kind]}/{volume['name']}"


def sources(volume: Object) -> tuple[list[Object], int]:
    """The parts that a volume of files is made of, as `projected` has them, and the mode of its files."""
    kind = kind_of(volume)
    body = volume[kind] or {}
    mode = body.get("defaultMode")
    mode = _MODE if mode is None else int(mode)
    if kind == "projected":
        return list(body.get("sources") or ()), mode
    if kind == "secret":
        body = {**body, "name": body.get("secretName", "")}
    return [{kind: body}], mode


def chosen(volume: str, about: str, data: Mapping[str, bytes], reference: Object, mode: int) -> Files:
    """The keys of an object as files: all of them, or those that `items` names."""
    items = reference.get("items")
    if not items:
        return {name: FileEntry(content, mode) for name, content in data.items()}
    found: Files = {}
    for item in items:
        if item["key"] not in data:
            if reference.get("optional"):
                continue
            raise MountError(volume, f"{about} references non-existent config key: {item['key']}")
        own = item.get("mode")
        found[item["path"]] = FileEntry(data[item["key"]], mode if own is None else int(own))
    return found


def downward(pod: Object, items: list[Object], mode: int, allocatable: Mapping[str, Fraction | int]) -> Files:
    """The downward API as files."""
    found: Files = {}
    for item in items:
        own = item.get("mode")
        if item.get("fieldRef"):
            text = field_value(pod, item["fieldRef"]["fieldPath"])
        else:
            selector = item["resourceFieldRef"]
            text = resource_value(pod, pod["spec"]["containers"][0], selector, allocatable)
        found[item["path"]] = FileEntry(text.encode(), mode if own is None else int(own))
    return found


def token_owner(pod: Object) -> int:
    """The user who alone may read a token: the one all containers run as, if the pod says so; -1 otherwise."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {
        (each.get("securityContext") or {}).get("runAsUser", shared)
        for each in (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
    }
    only = users.pop() if len(users) == 1 else None
    return -1 if only is None else int(only)


def file_group(pod: Object) -> int | None:
    found = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return None if found is None else int(found)
