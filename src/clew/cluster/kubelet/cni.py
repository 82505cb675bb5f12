"""The runtime's side of CNI (spec 1.1, section 3): find the configuration, execute the plugins, chain their results."""

import json
from pathlib import Path
from typing import Any

from clew.base.errors import WorldError
from clew.cluster.oci.handle import NodeHandle

_IFNAME = "eth0"
_BIN = "/opt/cni/bin"

NetworkList = dict[str, Any]


class CniError(WorldError):
    """A plugin refused; the text is its message."""


def load_network(folder: Path) -> NetworkList | None:
    """The lexically first configuration of the node, as a list; None where there is none that can be read."""
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix in {".conflist", ".conf", ".json"})
    except OSError:
        return None
    for path in names:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if path.suffix != ".conflist":
            found = {"cniVersion": found.get("cniVersion", "0.4.0"), "name": found.get("name"), "plugins": [found]}
        if found.get("plugins"):
            made: NetworkList = found
            return made
    return None


class Cni:
    """ADD and DEL of one node's pods."""

    def __init__(self, handle: NodeHandle, folder: Path) -> None:
        self.handle = handle
        self.folder = folder

    def network(self) -> NetworkList | None:
        return load_network(self.folder)

    async def add(self, sandbox: str, netns: str, pod: tuple[str, str, str]) -> tuple[str, ...]:
        """The pod's addresses; CniError where a plugin refuses, after what was done has been undone."""
        network = self._need()
        result: dict[str, Any] | None = None
        try:
            for plugin in network["plugins"]:
                result = await self._execute("ADD", network, plugin, sandbox, netns, pod, result)
        except CniError:
            await self.delete(sandbox, netns, pod)
            raise
        ips = (result or {}).get("ips") or []
        return tuple(each["address"].partition("/")[0] for each in ips)

    async def delete(self, sandbox: str, netns: str, pod: tuple[str, str, str]) -> None:
        """In reverse order, each whatever the others say (DEL is idempotent)."""
        network = self.network()
        for plugin in reversed((network or {}).get("plugins", [])):
            try:
                await self._execute("DEL", network or {}, plugin, sandbox, netns, pod, None)
            except CniError:
                continue

    def _need(self) -> NetworkList:
        network = self.network()
        if network is None:
            raise CniError("cni plugin not initialized")
        return network

    async def _execute(  # noqa: PLR0913, PLR0917 - the parameters of the CNI protocol
        self, command: str, network: NetworkList, plugin: dict[str, Any], sandbox: str, netns: str,
        pod: tuple[str, str, str], previous: dict[str, Any] | None,
    ) -> dict[str, Any]:  # fmt: skip
        namespace, name, uid = pod
        config = {**plugin, "name": network.get("name"), "cniVersion": network.get("cniVersion", "1.0.0")}
        config.pop("capabilities", None)
        if previous is not None:
            config["prevResult"] = previous
        arguments = {
            "IgnoreUnknown": "1", "K8S_POD_NAMESPACE": namespace, "K8S_POD_NAME": name,
            "K8S_POD_INFRA_CONTAINER_ID": sandbox, "K8S_POD_UID": uid,
        }  # fmt: skip
        env = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": sandbox, "CNI_NETNS": netns, "CNI_IFNAME": _IFNAME,
            "CNI_PATH": _BIN, "CNI_ARGS": ";".join(f"{key}={value}" for key, value in arguments.items()),
        }  # fmt: skip
        code, out, err = await self.handle.program([f"{_BIN}/{plugin['type']}"], json.dumps(config), env)
        if code:
            raise CniError(_message(out) or err.strip() or f"plugin {plugin['type']} ended with {code}")
        found: dict[str, Any] = json.loads(out) if out.strip() else {}
        return found


def _message(out: str) -> str:
    try:
        error = json.loads(out)
    except ValueError:
        return out.strip()
    details = f": {error['details']}" if error.get("details") else ""
    return f"{error.get('msg', '')}{details}"
