"""The container runtime's side of CNI (specification 1.1): find the configuration, run the plugins, chain results.

The plugins are the node's: executed by its supervisor from /opt/cni/bin by the lexically first configuration in
/etc/cni/net.d. What ADD was called with and answered is kept with the sandbox, so that DEL is right even if the
configuration has changed or gone since.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clew.api.objects import Object, annotations
from clew.api.quantity import QuantityError
from clew.api.quantity import parse as parse_quantity
from clew.base.errors import WorldError
from clew.base.value import Value
from clew.cluster.kubelet.instances import Sandbox, pod_labels
from clew.cluster.runtime.errors import NodeError, NodeLostError
from clew.cluster.runtime.handle import NodeHandle

FOLDER = "etc/cni/net.d"  # in the node's tree
BIN = "/opt/cni/bin"
IFNAME = "eth0"
TIMEOUT = 120.0  # seconds; a plugin may have to wait for the network's control plane
_SPEAKS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LEAST_RATE, MOST_RATE = 1000, 10**15  # bits a second
NO_BURST = 2**31 - 1  # what container runtimes say for none
_STATUS_SINCE = ("1.1.0",)
_SUFFIXES = (".conf", ".conflist", ".json")

NOT_INITIALIZED = "cni plugin not initialized"


class CniError(WorldError):
    """A plugin refused or there is none; the text is as containerd words it."""


class Network(Value):
    """A configuration list; `plugins` as they stand in the file."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]

    def wire(self) -> Object:
        return {"name": self.name, "version": self.version, "plugins": list(self.plugins)}


class Attachment(Value):
    addresses: tuple[str, ...]
    result: Object


def load(folder: Path) -> Network | None:
    """The first configuration that can be read, None where there is none."""
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError:
        return None
    for path in names:
        try:
            found = parse(json.loads(path.read_text(encoding="utf-8")), is_list=path.suffix == ".conflist")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found is not None:
            return found
    return None


def parse(document: Mapping[str, Any], *, is_list: bool) -> Network | None:
    plugins = tuple(document.get("plugins") or ()) if is_list else (document,)
    if not plugins or not all(plugin.get("type") for plugin in plugins):
        return None
    offered = [version for version in document.get("cniVersions") or () if version in _SPEAKS]
    version = max(offered, key=_SPEAKS.index) if offered else document.get("cniVersion") or "0.3.1"
    return Network(str(document["name"]), str(version), plugins)


def arguments(pod: Mapping[str, str], sandbox: str) -> str:
    """CNI_ARGS; `pod` has namespace, pod and uid, as in a sandbox's labels."""
    pairs = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": pod["namespace"],
        "K8S_POD_NAME": pod["pod"],
        "K8S_POD_INFRA_CONTAINER_ID": sandbox,
        "K8S_POD_UID": pod["uid"],
    }
    return ";".join(f"{name}={value}" for name, value in pairs.items())


def configuration(
    network: Network, plugin: Mapping[str, Any], previous: Object | None, capabilities: Mapping[str, Any]
) -> Object:
    """What one plugin is given: its part of the list, the list's name, the result before it, its capabilities."""
    made = {name: value for name, value in plugin.items() if name not in {"capabilities", "cniVersions"}}
    made |= {"name": network.name, "cniVersion": network.version}
    wanted = {
        name: capabilities[name]
        for name, on in (plugin.get("capabilities") or {}).items()
        if on and name in capabilities
    }
    if wanted:
        made["runtimeConfig"] = wanted
    if previous is not None:
        made["prevResult"] = previous
    return made


def port_mappings(pod: Object) -> list[Object]:
    """Every hostPort of the pod, for the capability `portMappings`."""
    listed = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    ports = [port for container in listed for port in container.get("ports") or () if port.get("hostPort")]
    return [
        {
            "hostPort": port["hostPort"], "containerPort": port["containerPort"],
            "protocol": str(port.get("protocol") or "TCP").lower(), "hostIP": port.get("hostIP") or "",
        }
        for port in ports
    ]  # fmt: skip


def bandwidth(pod: Object) -> Object:
    """The pod's annotations for the capability `bandwidth`, bits a second; CniError where one is no such rate.

    Source: k8s.io/kubernetes pkg/util/bandwidth; a burst is never said.
    """
    found: Object = {}
    for way in ("ingress", "egress"):
        name = f"kubernetes.io/{way}-bandwidth"
        text = annotations(pod).get(name)
        if text is None:
            continue
        try:
            rate = parse_quantity(text)
        except QuantityError as wrong:
            raise CniError(f"metadata.annotations[{name}] is {text!r}: {wrong}") from None
        if not LEAST_RATE <= rate <= MOST_RATE:
            raise CniError(f"metadata.annotations[{name}] is {text!r}: it must be 1k to 1P bits a second")
        found |= {f"{way}Rate": int(rate), f"{way}Burst": NO_BURST}
    return found


class Cni:
    """ADD, DEL and STATUS of one node."""

    def __init__(self, handle: NodeHandle, tree: Path) -> None:
        self._handle = handle
        self._tree = tree
        self._folder = tree / FOLDER

    def network(self) -> Network | None:
        """The configuration as it is now."""
        return load(self._folder)

    async def problem(self) -> str:
        """Why pods cannot be attached now, or nothing."""
        network = self.network()
        if network is None:
            return NOT_INITIALIZED
        if network.version not in _STATUS_SINCE:
            return ""
        for plugin in network.plugins:
            try:
                await self._run("STATUS", network, plugin, {}, None)
            except CniError as problem:
                return f"status of plugin {plugin['type']}: {problem}"
        return ""

    def plan(self, pod: Object) -> Object:
        """What ADD, and later DEL, is to be called with: for Sandbox.network. CniError without a configuration."""
        network = self.network()
        if network is None:
            raise CniError(NOT_INITIALIZED)
        asked = {"portMappings": port_mappings(pod), "bandwidth": bandwidth(pod)}
        return network.wire() | {"capabilities": {name: value for name, value in asked.items() if value}}

    async def add(self, sandbox: str, netns: str, pod: Object, planned: Object) -> Attachment:
        """Attach. After a CniError some plugins may have done their part: `delete` undoes it."""
        network, capabilities = _planned(planned)
        env = _environment(sandbox, netns, pod_labels(pod))
        result: Object | None = None
        for plugin in network.plugins:
            result = await self._run("ADD", network, plugin, env, result, capabilities)
        found = tuple(str(each["address"]).partition("/")[0] for each in (result or {}).get("ips") or ())
        if not found:
            raise CniError("the network's plugins gave the pod no address")
        return Attachment(found, result or {})

    async def delete(self, sandbox: Sandbox, labels: Mapping[str, str]) -> None:
        """Detach, in reverse order. CniError when a plugin cannot (whatever its code): it must be tried again."""
        network, capabilities = _planned(sandbox.network)
        there = (self._tree / sandbox.netns.lstrip("/")).exists()  # a node that was switched off has lost it
        netns = sandbox.netns if there else ""
        env = _environment(sandbox.id, netns, labels)
        for plugin in reversed(network.plugins):
            await self._run("DEL", network, plugin, env, sandbox.result, capabilities)

    async def _run(
        self, command: str, network: Network, plugin: Mapping[str, Any], env: Mapping[str, str],
        previous: Object | None, capabilities: Mapping[str, Any] | None = None,
    ) -> Object:  # fmt: skip
        config = configuration(network, plugin, previous, capabilities or {})
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_PATH": BIN, "CNI_COMMAND": command, **env}
        try:
            done = await self._handle.ask(
                "program", argv=[f"{BIN}/{plugin['type']}"], env=environment, stdin=_encoded(config), timeout=TIMEOUT
            )
        except NodeLostError:
            raise
        except NodeError as problem:
            raise CniError(f'failed to find plugin "{plugin["type"]}" in path [{BIN}]: {problem.message}') from problem
        if done["timed_out"]:
            raise CniError(f'plugin type="{plugin["type"]}" did not end in {TIMEOUT:.0f} s')
        if done["code"]:
            what = _refusal(done["stdout"]) or done["stderr"].strip() or f"exit status {done['code']}"
            raise CniError(f'plugin type="{plugin["type"]}" failed ({command.lower()}): {what}')
        try:
            found: Object = json.loads(done["stdout"]) if done["stdout"].strip() else {}
        except ValueError as problem:
            raise CniError(f'plugin type="{plugin["type"]}" answered no JSON: {problem}') from problem
        return found


def _planned(planned: Object) -> tuple[Network, Mapping[str, Any]]:
    network = Network(planned["name"], planned["version"], tuple(planned["plugins"]))
    return network, planned.get("capabilities") or {}


def _environment(sandbox: str, netns: str, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "CNI_CONTAINERID": sandbox, "CNI_NETNS": netns, "CNI_IFNAME": IFNAME, "CNI_ARGS": arguments(labels, sandbox),
    }  # fmt: skip


def _encoded(config: Object) -> str:
    return base64.b64encode(json.dumps(config).encode()).decode()


def _refusal(out: str) -> str:
    try:
        error = json.loads(out)
    except ValueError:
        return out.strip()
    details = error.get("details")
    return f"{error.get('msg', '')}; {details}" if details else str(error.get("msg", ""))
